//! The hub: one thread that looks, numbers what it sees, and hands it to all who listen.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::events::backlog::Backlog;
use crate::events::socket::{Bound, Ours, Place};
use crate::events::source::Source;
use crate::events::subscriber::{Served, Subscriber};
use crate::format::event::Event;
use crate::format::{LOOK_EVERY, SOCKET_CHECK};
use crate::root::Root;
use crate::sys::limits;
use crate::sys::socket::{self, Readiness};

/// Descriptors kept free for the files a look needs.
const SPARE_DESCRIPTORS: usize = 32;

/// The longest rest between two looks.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_millis(15);

/// How many are welcomed before those who are here have their turn again.
const ACCEPTS_AT_ONCE: usize = 64;

/// How long nobody is accepted after that has failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How many events are numbered before they are sent.
const AT_ONCE: usize = 512;

/// A server of the events of one root, on a socket in it.
///
/// # Guarantees
/// A subscriber that does not read delays nobody and costs no memory: what it does not
/// take is counted and said to it later.
///
/// # Pitfalls
/// The socket is removed when the hub is dropped. A signal that ends the process leaves a
/// dead one, which the next hub replaces.
pub struct Hub {
    id: String,
    source: Source,
    bound: Bound,
    backlog: Backlog,
    subscribers: Vec<Subscriber>,
    max_subscribers: usize,
    /// A look is not taken before, so that busy times cost one look for many changes.
    next_look: Instant,
    /// Nobody is accepted before: the last try has failed.
    next_accept: Instant,
    next_check: Instant,
}

impl Hub {
    /// Takes the place of the socket and begins to watch. Nobody is served before
    /// [`run`](Hub::run). The root is created if it is missing.
    ///
    /// `runtime_dir` is `$XDG_RUNTIME_DIR`, used when the path in the root is too long.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when another hub is alive; [`ErrorKind::Refused`] for an unsafe
    /// root, or something else in the place of the socket.
    pub fn start(root: &Root, runtime_dir: Option<&Path>) -> Result<Hub> {
        root.create(&root.mailboxes())?;
        let Some(place) = Place::of(root, runtime_dir)? else {
            return Err(Error::new(
                ErrorKind::Io,
                "make a socket in",
                root.dir(),
                "the path is too long for a socket, and there is no runtime directory",
                "set XDG_RUNTIME_DIR to a directory of your own with a short path",
            ));
        };
        let bound = Bound::take(place)?;
        let source = Source::begin(root)?;
        let now = Instant::now();
        Ok(Hub {
            id: format!("{:016x}", rand::random::<u64>()),
            source,
            bound,
            backlog: Backlog::new(),
            subscribers: Vec::new(),
            max_subscribers: limits::open_files().saturating_sub(SPARE_DESCRIPTORS),
            next_look: now,
            next_accept: now,
            next_check: now + SOCKET_CHECK,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.bound.place().socket()
    }

    /// Why changes are noticed by looking again and again, where that is so.
    #[must_use]
    pub fn fallback(&self) -> Option<&str> {
        self.source.fallback()
    }

    /// What to remove when a signal ends the process.
    pub(crate) fn ours(&self) -> Ours {
        self.bound.ours()
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// When the mailboxes cannot be looked at any more. Errors of a subscriber end that
    /// subscriber alone.
    pub fn run(&mut self) -> Result<Infallible> {
        loop {
            self.turn()?;
        }
    }

    /// Waits once, and does what has come up.
    fn turn(&mut self) -> Result<()> {
        let ready = self.wait()?;
        // First of all: what is ready goes by the order the subscribers had at the wait.
        let (id, backlog) = (&self.id, &self.backlog);
        let mut index = 0;
        self.subscribers.retain_mut(|subscriber| {
            let ready = ready.subscribers[index];
            index += 1;
            ready.is_empty() || subscriber.serve(ready, id, backlog) == Served::Yes
        });
        let now = Instant::now();
        if ready.to_look || (now >= self.next_look && self.source.due() <= now) {
            let events = self.source.look()?;
            self.publish(events);
            // As long a rest as the work was: many subscribers get more at a time, and
            // have a processor to read it with.
            let rest = now.elapsed().clamp(LOOK_EVERY, LOOK_AT_LEAST_EVERY);
            self.next_look = Instant::now() + rest;
        }
        let (now, backlog) = (Instant::now(), &self.backlog);
        self.subscribers
            .retain_mut(|subscriber| subscriber.beat(now, backlog) == Served::Yes);
        if ready.to_accept {
            self.accept(None);
        }
        if self.next_check <= now {
            self.next_check = now + SOCKET_CHECK;
            // What stands in the way today may be gone tomorrow; those here are served.
            if let Ok(Some(old)) = self.bound.keep() {
                self.accept(Some(&old));
            }
        }
        Ok(())
    }

    fn wait(&self) -> Result<Ready> {
        let now = Instant::now();
        let (can_accept, can_look) = (now >= self.next_accept, now >= self.next_look);
        let listener = Some(self.bound.listener().as_fd()).filter(|_| can_accept);
        let source = self.source.fd().filter(|_| can_look);
        let first: Vec<BorrowedFd<'_>> = listener.into_iter().chain(source).collect();
        let mut asked: Vec<_> = first.iter().map(|fd| (*fd, Readiness::POLLIN)).collect();
        let others = self.subscribers.iter();
        asked.extend(others.map(|other| (other.fd(), other.readiness())));

        let mut due = self.next_check.min(self.source.due().max(self.next_look));
        if !can_look {
            due = due.min(self.next_look);
        }
        if !can_accept {
            due = due.min(self.next_accept);
        }
        let beats = self.subscribers.iter().filter_map(Subscriber::due);
        let due = beats.fold(due, Instant::min);
        let limit = due.saturating_duration_since(now);
        let ready = socket::wait(&asked, Some(limit));
        let mut ready = ready.map_err(|e| Error::io("serve on", self.socket(), e))?;
        let mut is_first = |there: bool| there && !ready.remove(0).is_empty();
        Ok(Ready {
            to_accept: is_first(listener.is_some()),
            to_look: is_first(source.is_some()),
            subscribers: ready,
        })
    }

    /// Numbers events and sends them to everybody who keeps up.
    fn publish(&mut self, events: Vec<Event>) {
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let some: Vec<Event> = events.by_ref().take(AT_ONCE).collect();
            for subscriber in &mut self.subscribers {
                subscriber.miss(&some);
            }
            some.into_iter().for_each(|event| self.backlog.push(event));
            let backlog = &self.backlog;
            self.subscribers
                .retain_mut(|subscriber| subscriber.send(backlog) == Served::Yes);
            self.backlog.trim();
        }
    }

    /// Welcomes some of those who wait here, or everybody at the socket that was ours
    /// before: no more can come there, and it is closed next.
    fn accept(&mut self, old: Option<&UnixListener>) {
        let most = old.map_or(ACCEPTS_AT_ONCE, |_| usize::MAX);
        for _ in 0..most {
            let listener = old.unwrap_or(self.bound.listener());
            let stream = match socket::accept(listener) {
                Ok(Some(stream)) => stream,
                Ok(None) => return,
                Err(_) => {
                    // Mostly there are no descriptors. Whatever it is, those who wait keep
                    // the listener readable, and it would be tried without a rest.
                    self.next_accept = Instant::now() + ACCEPT_AGAIN;
                    return;
                }
            };
            let mut subscriber = Subscriber::welcome(stream, &self.id, &self.backlog);
            let served = if self.subscribers.len() < self.max_subscribers {
                subscriber.send(&self.backlog)
            } else {
                subscriber.refuse("there are too many subscribers")
            };
            if served == Served::Yes {
                self.subscribers.push(subscriber);
            }
        }
    }
}

/// What a wait has found ready.
struct Ready {
    to_accept: bool,
    to_look: bool,
    /// In the order of the subscribers.
    subscribers: Vec<Readiness>,
}
