//! The backend that works everywhere: looking often.
//!
//! Every 10 ms for a second after something happened, then less often, down to every
//! 40 ms. That is a promise about latency and not about load: with a thousand names to
//! look at, use another backend.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::scan::{Looked, Scanned};
use super::{Change, Interest, Source, WatchId};

/// Between two looks while something happens.
const BUSY: Duration = Duration::from_millis(10);

/// Between two looks when nothing happens.
const IDLE: Duration = Duration::from_millis(40);

/// How long something happens after it happened.
const ACTIVITY: Duration = Duration::from_secs(1);

pub(super) struct Poller {
    watched: BTreeMap<WatchId, Scanned>,
    last_change: Instant,
    step: Duration,
    due: Instant,
}

impl Poller {
    pub(super) fn new() -> Poller {
        let now = Instant::now();
        Poller {
            watched: BTreeMap::new(),
            last_change: now,
            step: BUSY,
            due: now,
        }
    }
}

impl Source for Poller {
    fn add(&mut self, id: WatchId, dir: &Path, interest: Interest) -> io::Result<()> {
        self.watched.insert(id, Scanned::new(dir, interest)?);
        Ok(())
    }

    fn remove(&mut self, id: WatchId) {
        self.watched.remove(&id);
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn next_due(&self) -> Option<Instant> {
        Some(self.due)
    }

    fn collect(&mut self, sink: &mut Vec<Change>) -> io::Result<()> {
        if Instant::now() < self.due {
            return Ok(());
        }
        let before = sink.len();
        let mut gone = Vec::new();
        for (&id, scanned) in &mut self.watched {
            if scanned.look(id, sink)? == Looked::Gone {
                gone.push(id);
            }
        }
        for id in gone {
            self.watched.remove(&id);
        }
        let now = Instant::now();
        if sink.len() > before {
            self.last_change = now;
        }
        self.step = if now.duration_since(self.last_change) < ACTIVITY {
            BUSY
        } else {
            (self.step * 2).min(IDLE)
        };
        self.due = now + self.step;
        Ok(())
    }
}
