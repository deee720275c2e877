//! Being told that something in a directory changed: inotify, kqueue, or looking often.
//!
//! A [`Notifier`] watches directories, never files: a file that is renamed over, linked in
//! or made anew stays in view. It says *which entry* may have changed and nothing else;
//! whoever asks looks for himself, so that one word too many costs a look and nothing
//! more. Opening and reading make no events: who is told and then reads is not told of
//! that.
//!
//! The calling sequence: [`open`](Notifier::open), [`add`](Notifier::add) the directories,
//! *then* look at what is there, and in a loop [`wait`](Notifier::wait) and look at what
//! it names. What happens between `add` and the look is seen by the look or told by the
//! wait, or both.
//!
//! - [`What::Entry`]: this entry was made, written to, moved or removed.
//! - [`What::Overflow`]: changes were lost; look at everything of this watch.
//! - [`What::DirGone`]: the directory was removed or moved; the watch has ended by itself.
//!
//! The backends differ in how they learn of a change. `inotify.rs` is told by the kernel,
//! name by name. `kqueue.rs` is told that a directory changed and finds the names with
//! `scan.rs`; it needs a descriptor for each directory. `poll.rs` asks `scan.rs` every 10
//! to 40 ms. kqueue is not told of a write into a file that was there: a writer of the
//! protocol makes and removes its lock in the same directory, and that it is told of.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod inotify;
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd"
))]
mod kqueue;
mod poll;
pub(crate) mod proof;
mod scan;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

/// How changes are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// inotify(7), on Linux.
    Inotify,
    /// kqueue(2), on macOS and the BSDs.
    Kqueue,
    /// Looking every 10 to 40 ms, everywhere.
    Poll,
}

impl BackendKind {
    /// What this platform has, the best first.
    #[must_use]
    pub fn available() -> &'static [BackendKind] {
        if cfg!(any(target_os = "linux", target_os = "android")) {
            &[BackendKind::Inotify, BackendKind::Poll]
        } else if cfg!(any(
            target_vendor = "apple",
            target_os = "freebsd",
            target_os = "dragonfly",
            target_os = "netbsd",
            target_os = "openbsd"
        )) {
            &[BackendKind::Kqueue, BackendKind::Poll]
        } else {
            &[BackendKind::Poll]
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BackendKind::Inotify => "inotify",
            BackendKind::Kqueue => "kqueue",
            BackendKind::Poll => "poll",
        })
    }
}

/// One watch of one [`Notifier`]; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WatchId(u64);

/// What of a directory is told. That the directory itself is gone always is.
#[derive(Clone, Debug)]
pub(crate) enum Interest {
    /// Nothing else.
    Itself,
    /// That these entries come and go, not what is written into them.
    Coming(Vec<OsString>),
    /// All about these entries.
    Names(Vec<OsString>),
    /// All about every entry.
    #[allow(dead_code)] // for whoever follows a whole directory
    All,
}

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) watch: WatchId,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Entry(OsString),
    #[allow(dead_code)] // only inotify has a queue that overflows
    Overflow,
    DirGone,
}

/// Adds a change, but not the same one twice in a row.
fn push(sink: &mut Vec<Change>, watch: WatchId, what: What) {
    let change = Change { watch, what };
    if sink.last() != Some(&change) {
        sink.push(change);
    }
}

/// A backend.
trait Source: Send {
    fn add(&mut self, id: WatchId, dir: &Path, interest: Interest) -> io::Result<()>;

    fn remove(&mut self, id: WatchId);

    /// Readable when there is something to collect.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// When to collect although the descriptor is not readable.
    fn next_due(&self) -> Option<Instant>;

    /// What there is now, without waiting.
    fn collect(&mut self, sink: &mut Vec<Change>) -> io::Result<()>;
}

/// Watches directories. One for a process is enough.
pub(crate) struct Notifier {
    kind: BackendKind,
    source: Box<dyn Source>,
    next_id: u64,
    /// Becomes readable when a [`Waker`] was used.
    woken: UnixStream,
    waker: Waker,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woke {
    /// There are changes, a [`Waker`] was used, or the time is over.
    Normally,
    /// Nobody reads any more what is written to the descriptor that was given.
    HungUp,
}

impl Notifier {
    /// With the backend given, or the best one of this platform.
    ///
    /// # Errors
    /// `Unsupported` for a backend this platform lacks; EMFILE when there are too many
    /// inotify instances or descriptors.
    pub(crate) fn open(choice: Option<BackendKind>) -> io::Result<Notifier> {
        let kind = choice.unwrap_or(BackendKind::available()[0]);
        let source: Box<dyn Source> = match kind {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            BackendKind::Inotify => Box::new(inotify::Inotify::open()?),
            #[cfg(any(
                target_vendor = "apple",
                target_os = "freebsd",
                target_os = "dragonfly",
                target_os = "netbsd",
                target_os = "openbsd"
            ))]
            BackendKind::Kqueue => Box::new(kqueue::Kqueue::open()?),
            BackendKind::Poll => Box::new(poll::Poller::new()),
            #[allow(unreachable_patterns)] // which one it is depends on the platform
            _ => {
                let why = format!("there is no {kind} on this platform");
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
        };
        let (woken, waker) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        Ok(Notifier {
            kind,
            source,
            next_id: 0,
            woken,
            waker: Waker(Arc::new(waker)),
        })
    }

    pub(crate) fn kind(&self) -> BackendKind {
        self.kind
    }

    /// Goes on with the poller. All watches have ended; wakers stay good.
    pub(crate) fn poll_instead(&mut self) {
        self.kind = BackendKind::Poll;
        self.source = Box::new(poll::Poller::new());
    }

    /// Watches the directory `dir`; links on the way to it are followed. One directory may
    /// be watched more than once.
    ///
    /// # Errors
    /// `NotFound` and `NotADirectory`; ENOSPC when there are too many watches.
    pub(crate) fn add(&mut self, dir: &Path, interest: Interest) -> io::Result<WatchId> {
        let id = WatchId(self.next_id);
        self.next_id += 1;
        self.source.add(id, dir, interest)?;
        Ok(id)
    }

    /// Ends a watch, also one that has ended. A change that was noticed already may still
    /// be told.
    pub(crate) fn remove(&mut self, id: WatchId) {
        self.source.remove(id);
    }

    /// Waits until something has changed, a [`Waker`] is used or `timeout` is over (without
    /// one: for ever), and adds what has changed to `sink`. A timeout of zero collects what
    /// there is; the poller looks only when it is due. At most some thousands of changes
    /// come at once; the next wait then returns at once.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        sink: &mut Vec<Change>,
    ) -> io::Result<()> {
        self.wait_or_hang_up(timeout, None, sink).map(drop)
    }

    /// The same, and notices when `reader` is the writing end of a pipe, a socket or a
    /// terminal whose other end was closed.
    pub(crate) fn wait_or_hang_up(
        &mut self,
        timeout: Option<Duration>,
        reader: Option<BorrowedFd<'_>>,
        sink: &mut Vec<Change>,
    ) -> io::Result<Woke> {
        // A time beyond what the clock can express is for ever.
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let due = [end, self.source.next_due()].into_iter().flatten().min();
            let (is_woken, is_hung_up) = self.poll(due, reader)?;
            if is_hung_up {
                return Ok(Woke::HungUp);
            }
            let mut found = Vec::new();
            self.source.collect(&mut found)?;
            if is_woken {
                self.swallow_wakes()?;
            }
            let is_over = end.is_some_and(|end| end <= Instant::now());
            if is_woken || is_over || !found.is_empty() {
                sink.append(&mut found);
                return Ok(Woke::Normally);
            }
        }
    }

    /// Readable when a [`wait`](Notifier::wait) would find something, for the poll(2) of
    /// somebody else; `None` for the poller, which has [`next_due`](Notifier::next_due).
    /// A [`Waker`] does not make it readable.
    #[allow(dead_code)] // for an event loop that waits for more than changes
    pub(crate) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.source.fd()
    }

    /// When to call [`wait`](Notifier::wait) although the descriptor is not readable.
    #[allow(dead_code)] // as above
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.source.next_due()
    }

    /// What ends a [`wait`](Notifier::wait) from another thread.
    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn poll(
        &self,
        due: Option<Instant>,
        reader: Option<BorrowedFd<'_>>,
    ) -> io::Result<(bool, bool)> {
        let mut fds = vec![PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        // Errors and hang-ups are told without being asked for.
        fds.extend(reader.map(|fd| PollFd::new(fd, PollFlags::empty())));
        fds.extend(
            self.source
                .fd()
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
        );
        loop {
            match nix::poll::poll(&mut fds, until(due)) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let is_set = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let is_hung_up = reader.is_some() && is_set(&fds[1]);
        Ok((is_set(&fds[0]), is_hung_up))
    }

    fn swallow_wakes(&mut self) -> io::Result<()> {
        let mut buffer = [0; 64];
        loop {
            match self.woken.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// The timeout of poll(2): whole milliseconds, rounded up, so that the time is over then.
fn until(due: Option<Instant>) -> PollTimeout {
    let Some(due) = due else {
        return PollTimeout::NONE;
    };
    let left = due.saturating_duration_since(Instant::now());
    let millis = left.as_nanos().div_ceil(1_000_000);
    // Longer than the call can express: it is called again.
    let millis = i32::try_from(millis).unwrap_or(i32::MAX);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

/// Ends the wait of a [`Notifier`] from any thread. One that comes before the wait counts.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<UnixStream>);

impl Waker {
    pub(crate) fn wake(&self) {
        // A full pipe wakes as well; without a reader there is nobody to wake.
        let _ = (&*self.0).write(&[1]);
    }
}
