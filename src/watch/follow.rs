//! Following one mailbox: every record once, whatever becomes of the file it is in.
//!
//! [`Follower::note`] is cheap and is called at every word of a change: it sees which file
//! the mailbox is now, and holds on to it. [`Follower::read`] hands over what is new in
//! the files noted, each to its end before the next one. A file that was noted is read
//! also when it was renamed to a claim, or unlinked, since.
//!
//! What is a repeat is told by the message id. A record without one is told by its place
//! in its file: it is shown again when a take or a bounded drain puts it back into a new
//! file, or when its file is written anew.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;

use crate::error::{Error, Result};
use crate::format::name::id_number;
use crate::format::record::Record;
use crate::mailbox::Mailbox;
use crate::sys::fs;
use crate::watch::ids::{self, Id, Ids};
use crate::watch::tail::{Identity, Tail};

const OP: &str = "watch";

/// How many files may wait to be read: each is an open descriptor.
const WAITING: usize = 16;

pub(crate) struct Follower {
    mailbox: Mailbox,
    since: Option<String>,
    has_begun: bool,
    /// The record file as it was noted last.
    current: Option<Tail>,
    /// Files to be read before that, in order.
    waiting: VecDeque<Waiting>,
    /// Claims that need no reading, by birth and identity.
    known_claims: HashSet<(u64, Identity)>,
    ids: Ids,
}

struct Waiting {
    tail: Tail,
    /// A claim that was never seen as the record file. What it holds may have been shown
    /// from another file before, which only an id can tell.
    ids_only: bool,
}

impl Follower {
    /// Begins behind the record with the id `since`, or with everything there is.
    pub(crate) fn of(mailbox: Mailbox, since: Option<String>) -> Follower {
        let mut ids = Ids::default();
        if let Some(id) = since.as_deref().and_then(id_number) {
            ids.insert(id); // also when it comes back from somewhere
        }
        Follower {
            mailbox,
            since,
            has_begun: false,
            current: None,
            waiting: VecDeque::new(),
            known_claims: HashSet::new(),
            ids,
        }
    }

    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Looks which file the mailbox is now; whether there may be something to read.
    pub(crate) fn note(&mut self) -> Result<bool> {
        if !self.has_begun {
            return Ok(true);
        }
        let there = fs::lstat(self.mailbox.path()).map_err(|e| self.failed(e))?;
        let there = there.map(|meta| (meta.dev(), meta.ino()));
        let known = self.current.as_ref().map(|tail| tail.identity);
        if there != known || known.is_none() {
            self.turn_over()?;
        }
        let has_changed = self.current.as_ref().map(Tail::has_changed).transpose();
        let has_changed = has_changed.map_err(|e| self.failed(e))?;
        Ok(!self.waiting.is_empty() || has_changed.unwrap_or(false))
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io(OP, self.mailbox.path(), error)
    }

    /// Whether so many files are waiting that they must be read now.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING
    }

    /// Hands over what is new, as of now. A record for which `take` breaks was not taken,
    /// and is the first one of the next read.
    pub(crate) fn read(
        &mut self,
        take: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        if !self.has_begun {
            self.begin()?;
        }
        self.note()?;
        let flow = self.read_noted(take)?;
        if self.ids.is_full() {
            self.forget()?;
        }
        Ok(flow)
    }

    fn read_noted(
        &mut self,
        take: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let ids = &mut self.ids;
        let mut take_new = |record: &Record, ids_only: bool| {
            let id = ids::id_of(record);
            let is_repeat = id.map_or(ids_only, |id| ids.contains(id));
            if !is_repeat {
                take(record)?;
            }
            if let Some(id) = id {
                ids.insert(id);
            }
            ControlFlow::Continue(())
        };
        let failed = |e| Error::io(OP, self.mailbox.path(), e);
        while let Some(next) = self.waiting.front_mut() {
            let ids_only = next.ids_only;
            let read = next.tail.read(&mut |record| take_new(record, ids_only));
            if read.map_err(failed)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.waiting.pop_front(); // not before: one that cannot be read now is not forgotten
        }
        match &mut self.current {
            Some(tail) => tail
                .read(&mut |record| take_new(record, false))
                .map_err(failed),
            None => Ok(ControlFlow::Continue(())),
        }
    }

    /// The first look: all claims, and the record file behind them, as a peek shows them.
    fn begin(&mut self) -> Result<()> {
        self.mailbox.check_place()?;
        let failed = |e| Error::io(OP, self.mailbox.path(), e);
        let files = self.mailbox.settled_snapshot()?;
        let mut claims = VecDeque::new();
        for (birth, file) in files.claims {
            let tail = Tail::of(file).map_err(failed)?;
            self.known_claims.insert((birth, tail.identity));
            claims.push_back(Waiting {
                tail,
                ids_only: false,
            });
        }
        self.current = files.records.map(Tail::of).transpose().map_err(failed)?;
        self.waiting = claims;
        self.has_begun = true;
        let Some(since) = self.since.take() else {
            return Ok(());
        };
        self.pass_over(&since)
    }

    /// Takes everything up to the record with the id `since`; nothing when there is none.
    fn pass_over(&mut self, since: &str) -> Result<()> {
        let is_it = |record: &Record| record.id() == Some(since);
        // A message stands there once, its repeats aside; of others' ids the last one counts.
        let is_message = id_number(since).is_some();
        let (mut place, mut found) = (0u64, None);
        let tails = self.waiting.iter().map(|waiting| &waiting.tail);
        for tail in tails.chain(&self.current) {
            let mut reader = tail
                .again()
                .map_err(|e| Error::io(OP, self.mailbox.path(), e))?;
            let read = reader.read(&mut |record| {
                place += 1;
                if is_it(record) && !(is_message && found.is_some()) {
                    found = Some(place);
                }
                ControlFlow::Continue(())
            });
            let _ = read.map_err(|e| Error::io(OP, self.mailbox.path(), e))?; // never breaks
        }
        let Some(found) = found else {
            return Ok(());
        };
        let ids = &mut self.ids;
        let mut place = 0u64;
        let mut pass = |record: &Record| {
            if place == found {
                return ControlFlow::Break(());
            }
            place += 1;
            if let Some(id) = ids::id_of(record) {
                ids.insert(id);
            }
            ControlFlow::Continue(())
        };
        let failed = |e| Error::io(OP, self.mailbox.path(), e);
        while let Some(next) = self.waiting.front_mut() {
            if next.tail.read(&mut pass).map_err(failed)?.is_break() {
                return Ok(());
            }
            self.waiting.pop_front();
        }
        if let Some(tail) = &mut self.current {
            let _ = tail.read(&mut pass).map_err(failed)?; // the end, or what follows `since`
        }
        Ok(())
    }

    /// The record file is another one, or there is none: what it was is read to its end,
    /// and then claims that were never seen as the record file.
    fn turn_over(&mut self) -> Result<()> {
        self.mailbox.check_place()?;
        let failed = |e| Error::io(OP, self.mailbox.path(), e);
        let records = fs::open_read(self.mailbox.path()).map_err(failed)?;
        let records = records.map(Tail::of).transpose().map_err(failed)?;
        let is_same = |a: &Option<Tail>, b: &Option<Tail>| {
            a.as_ref().map(|tail| tail.identity) == b.as_ref().map(|tail| tail.identity)
        };
        if !is_same(&records, &self.current) {
            let left = std::mem::replace(&mut self.current, records);
            let left = left.map(|tail| Waiting {
                tail,
                ids_only: false,
            });
            self.waiting.extend(left);
        }
        self.find_claims()
    }

    fn find_claims(&mut self) -> Result<()> {
        let mut present = HashSet::new();
        let claims = self.mailbox.open_claims(|birth, identity| {
            let is_it = |tail: &Tail| tail.identity == identity;
            let is_known = self.known_claims.contains(&(birth, identity))
                || self.waiting.iter().any(|waiting| is_it(&waiting.tail))
                || self.current.as_ref().is_some_and(is_it);
            if is_known {
                present.insert((birth, identity));
            }
            is_known
        })?;
        for (birth, file) in claims {
            let tail = Tail::of(file).map_err(|e| self.failed(e))?;
            present.insert((birth, tail.identity));
            self.waiting.push_back(Waiting {
                tail,
                ids_only: true,
            });
        }
        self.known_claims = present;
        Ok(())
    }

    /// Forgets the ids of records that stand nowhere any more.
    fn forget(&mut self) -> Result<()> {
        let failed = |e| Error::io(OP, self.mailbox.path(), e);
        let files = self.mailbox.settled_snapshot()?;
        let mut present: HashSet<Id> = HashSet::new();
        let claims = files.claims.into_iter().map(|(_, file)| file);
        for file in claims.chain(files.records) {
            let read = Tail::of(file).and_then(|mut tail| {
                tail.read(&mut |record| {
                    present.extend(ids::id_of(record));
                    ControlFlow::Continue(())
                })
            });
            let _ = read.map_err(failed)?; // never breaks
        }
        self.ids.forget(&present);
        Ok(())
    }
}
