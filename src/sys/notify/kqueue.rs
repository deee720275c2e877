//! kqueue(2): told that a directory changed, found out what by looking.
//!
//! One descriptor for each watched directory, by the nature of the call. A write into a
//! file that was there already changes no directory and is not told; the look at the
//! next change of the directory finds it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent};
use nix::sys::time::TimeSpec;

use super::scan::{Looked, Scanned, TICK};
use super::{Change, Interest, Source, WatchId, What, push};

/// How many events are fetched at a time.
const EVENTS: usize = 64;

pub(super) struct Kqueue {
    queue: nix::sys::event::Kqueue,
    watched: BTreeMap<WatchId, Watched>,
    /// When the entries that were changed a moment ago are to be looked at again.
    again: Option<Instant>,
}

struct Watched {
    /// Closing it ends the watch.
    dir: File,
    scanned: Scanned,
    is_fresh: bool,
}

impl Kqueue {
    pub(super) fn open() -> io::Result<Kqueue> {
        Ok(Kqueue {
            queue: nix::sys::event::Kqueue::new()?,
            watched: BTreeMap::new(),
            again: None,
        })
    }

    fn look(&mut self, id: WatchId, sink: &mut Vec<Change>) -> io::Result<()> {
        let Some(watched) = self.watched.get_mut(&id) else {
            return Ok(());
        };
        match watched.scanned.look(id, sink)? {
            Looked::Quiet => watched.is_fresh = false,
            Looked::AgainSoon => {
                watched.is_fresh = true;
                self.again.get_or_insert_with(|| Instant::now() + TICK);
            }
            Looked::Gone => {
                self.watched.remove(&id);
            }
        }
        Ok(())
    }

    fn find(&self, descriptor: usize) -> Option<WatchId> {
        let is_it = |watched: &Watched| usize::try_from(watched.dir.as_raw_fd()) == Ok(descriptor);
        let found = self.watched.iter().find(|(_, watched)| is_it(watched));
        found.map(|(&id, _)| id)
    }
}

impl Source for Kqueue {
    fn add(&mut self, id: WatchId, dir: &Path, interest: Interest) -> io::Result<()> {
        let mut notes = FilterFlag::NOTE_DELETE | FilterFlag::NOTE_RENAME | FilterFlag::NOTE_REVOKE;
        if !matches!(interest, Interest::Itself) {
            // An entry made or removed; LINK is a directory in it.
            notes |= FilterFlag::NOTE_WRITE | FilterFlag::NOTE_EXTEND | FilterFlag::NOTE_LINK;
        }
        let open = File::open(dir)?;
        if !open.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let ident = usize::try_from(open.as_raw_fd()).map_err(io::Error::other)?;
        // CLEAR: each change once.
        let flags = EvFlags::EV_ADD | EvFlags::EV_CLEAR;
        let event = KEvent::new(ident, EventFilter::EVFILT_VNODE, flags, notes, 0, 0);
        self.queue.kevent(&[event], &mut [], None)?;
        // Only now, so that nothing happens between the two unseen.
        let watched = Watched {
            dir: open,
            scanned: Scanned::new(dir, interest)?,
            is_fresh: false,
        };
        self.watched.insert(id, watched);
        Ok(())
    }

    fn remove(&mut self, id: WatchId) {
        self.watched.remove(&id);
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.as_fd())
    }

    fn next_due(&self) -> Option<Instant> {
        self.again
    }

    fn collect(&mut self, sink: &mut Vec<Change>) -> io::Result<()> {
        let nothing = KEvent::new(
            0,
            EventFilter::EVFILT_VNODE,
            EvFlags::empty(),
            FilterFlag::empty(),
            0,
            0,
        );
        let mut events = [nothing; EVENTS];
        let at_once = Some(*TimeSpec::from_duration(Duration::ZERO).as_ref());
        let count = match self.queue.kevent(&[], &mut events, at_once) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            let Some(id) = self.find(event.ident()) else {
                continue;
            };
            let end = FilterFlag::NOTE_DELETE | FilterFlag::NOTE_RENAME | FilterFlag::NOTE_REVOKE;
            if event.fflags().intersects(end) {
                self.watched.remove(&id);
                push(sink, id, What::DirGone);
            } else {
                self.look(id, sink)?;
            }
        }
        if self.again.is_some_and(|again| again <= Instant::now()) {
            self.again = None;
            let fresh = self.watched.iter().filter(|(_, watched)| watched.is_fresh);
            let fresh: Vec<WatchId> = fresh.map(|(&id, _)| id).collect();
            for id in fresh {
                self.look(id, sink)?;
            }
        }
        Ok(())
    }
}
