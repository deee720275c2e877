//! One connection to a hub: what it asks for, what it was sent, how far it is behind.
//!
//! It keeps no copies of events: a subscriber is a place in the backlog, and the rest of
//! the one line its socket has taken half of. When its socket takes nothing while the
//! backlog leaves that place behind, only a count is kept.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::events::backlog::Backlog;
use crate::format::event::{self, Event, Request};
use crate::format::{EVENT_QUEUE, MAX_REQUEST};
use crate::sys::socket::{self, Moved, Readiness};

/// Whether a subscriber is still to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Served {
    Yes,
    /// It has hung up, or was refused.
    No,
}

pub(super) struct Subscriber {
    stream: UnixStream,
    asking: Asking,
    request: Request,
    /// Of a line, or lines that are no events, what was not written yet.
    rest: Vec<u8>,
    /// `seq` of the next event to write.
    next: u64,
    /// Wanted events that were dropped since the socket took the last one.
    missed: Option<u64>,
    /// The socket took less than it was given: not to be tried before it is ready.
    is_blocked: bool,
    last_sent: Instant,
}

/// How far the request of a subscriber has come.
enum Asking {
    /// Its line has begun, or not.
    Line(Vec<u8>),
    /// It was read; anything more is refused.
    Done,
    /// It will send nothing more.
    Ended,
}

impl Subscriber {
    /// Begins with a hello; events from now on.
    pub(super) fn welcome(stream: UnixStream, hub: &str, backlog: &Backlog) -> Subscriber {
        Subscriber {
            stream,
            asking: Asking::Line(Vec::new()),
            request: Request::default(),
            rest: event::hello(hub, backlog.newest(), None),
            next: backlog.newest() + 1,
            missed: None,
            is_blocked: false,
            last_sent: Instant::now(),
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// What to wait for.
    pub(super) fn readiness(&self) -> Readiness {
        let mut readiness = Readiness::empty();
        // One that has ended its side would be readable for ever.
        readiness.set(Readiness::POLLIN, !matches!(self.asking, Asking::Ended));
        readiness.set(Readiness::POLLOUT, self.is_blocked);
        readiness
    }

    /// When the next heartbeat is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let every = self.request.heartbeat.filter(|_| !self.is_blocked)?;
        self.last_sent.checked_add(every)
    }

    /// Does what its descriptor is ready for.
    pub(super) fn serve(&mut self, ready: Readiness, hub: &str, backlog: &Backlog) -> Served {
        if ready.intersects(Readiness::POLLHUP | Readiness::POLLERR | Readiness::POLLNVAL) {
            return Served::No;
        }
        if ready.contains(Readiness::POLLIN) && self.read(hub, backlog) == Served::No {
            return Served::No;
        }
        if ready.contains(Readiness::POLLOUT) {
            self.is_blocked = false;
        }
        self.send(backlog)
    }

    /// Counts events that cannot be kept for this subscriber any more.
    pub(super) fn miss(&mut self, events: &[Event]) {
        if let Some(missed) = &mut self.missed {
            let wanted = |event: &&Event| self.request.wants(&event.mailbox);
            *missed += events.iter().filter(wanted).count() as u64;
        }
    }

    /// Sends a heartbeat when one is due (EVENT-11).
    pub(super) fn beat(&mut self, now: Instant, backlog: &Backlog) -> Served {
        if self.due().is_none_or(|due| due > now) {
            return Served::Yes;
        }
        self.rest.extend(event::heartbeat(backlog.newest()));
        self.send(backlog)
    }

    /// Writes what the socket takes of what is due, and then, if it is too far behind,
    /// lets its queue collapse into a count (HUB-9).
    pub(super) fn send(&mut self, backlog: &Backlog) -> Served {
        while !self.is_blocked {
            if !self.rest.is_empty() {
                match socket::write(&self.stream, &self.rest) {
                    Moved::Bytes(n) => {
                        self.rest.drain(..n);
                        self.last_sent = Instant::now();
                    }
                    Moved::Blocked => self.is_blocked = true,
                    Moved::Gone => return Served::No,
                }
                continue;
            }
            if let Some(missed) = self.missed {
                if self.report(missed, backlog) == Served::No {
                    return Served::No;
                }
                continue;
            }
            if self.next > backlog.newest() {
                return Served::Yes;
            }
            let pending = backlog.since(self.next, &self.request);
            let mut scratch = Vec::new();
            let bytes = pending.bytes(&mut scratch);
            if bytes.is_empty() {
                self.next = backlog.newest() + 1;
                return Served::Yes;
            }
            match socket::write(&self.stream, bytes) {
                Moved::Bytes(n) if n == bytes.len() => {
                    self.next = backlog.newest() + 1;
                    self.last_sent = Instant::now();
                }
                Moved::Bytes(n) => {
                    // Cut short: the next write says whether it is blocked.
                    let (next, rest) = pending.after(n);
                    (self.next, self.rest) = (next, rest.to_vec());
                    self.last_sent = Instant::now();
                }
                Moved::Blocked => self.is_blocked = true,
                Moved::Gone => return Served::No,
            }
        }
        if self.missed.is_none() && backlog.newest() + 1 - self.next > EVENT_QUEUE as u64 {
            self.missed = Some(backlog.since(self.next, &self.request).count());
            self.next = backlog.newest() + 1;
        }
        Served::Yes
    }

    /// Says how many events were missed, and goes on with those to come (EVENT-10).
    fn report(&mut self, missed: u64, backlog: &Backlog) -> Served {
        let resume = backlog.newest() + 1;
        if missed > 0 {
            let line = event::lagged(backlog.newest(), missed);
            match socket::write(&self.stream, &line) {
                Moved::Bytes(n) => self.rest = line[n..].to_vec(),
                // Nothing was said yet: the count goes on.
                Moved::Blocked => {
                    self.is_blocked = true;
                    return Served::Yes;
                }
                Moved::Gone => return Served::No,
            }
            self.last_sent = Instant::now();
        }
        (self.missed, self.next) = (None, resume);
        Served::Yes
    }

    /// Reads what it has to ask (HUB-7, HUB-8).
    fn read(&mut self, hub: &str, backlog: &Backlog) -> Served {
        let mut buffer = [0; 4096];
        loop {
            let got = match socket::read(&self.stream, &mut buffer) {
                Moved::Bytes(n) => n,
                Moved::Blocked => return Served::Yes,
                Moved::Gone => return Served::No,
            };
            let Asking::Line(line) = &mut self.asking else {
                if got > 0 {
                    return self.refuse("only one line may be sent");
                }
                self.asking = Asking::Ended;
                return Served::Yes;
            };
            line.extend_from_slice(&buffer[..got]);
            let end = line.iter().position(|&b| b == b'\n');
            if end.unwrap_or(line.len()) >= MAX_REQUEST {
                return self.refuse("the line is too long");
            }
            let line = match (end, got) {
                (Some(end), _) if end + 1 < line.len() => {
                    return self.refuse("only one line may be sent");
                }
                (Some(end), _) => line[..end].to_vec(),
                (None, 0) => std::mem::take(line),
                (None, _) => continue,
            };
            self.asking = if got == 0 {
                Asking::Ended
            } else {
                Asking::Done
            };
            if line.is_empty() && got == 0 {
                return Served::Yes; // nothing to ask
            }
            match Request::parse(&line) {
                Ok(request) => self.agree(request, hub, backlog),
                Err(reason) => return self.refuse(reason),
            }
        }
    }

    /// Takes the request on, and says from where it holds (HUB-7).
    fn agree(&mut self, request: Request, hub: &str, backlog: &Backlog) {
        // What was asked for by then goes out as it was wanted then, or is told as missed
        // (EVENT-10).
        match self.missed.take() {
            None => {
                let pending = backlog.since(self.next, &self.request);
                let mut scratch = Vec::new();
                self.rest.extend_from_slice(pending.bytes(&mut scratch));
            }
            Some(0) => {}
            Some(missed) => self.rest.extend(event::lagged(backlog.newest(), missed)),
        }
        let names = request.mailboxes.as_ref();
        self.rest.extend(event::hello(hub, backlog.newest(), names));
        self.next = backlog.newest() + 1;
        self.request = request;
    }

    /// Tells why it is not served, as far as it listens.
    pub(super) fn refuse(&mut self, reason: &str) -> Served {
        if !self.is_blocked {
            self.rest.extend(event::refused(reason));
            let _ = socket::write(&self.stream, &self.rest); // it is gone next in any case
        }
        Served::No
    }
}
