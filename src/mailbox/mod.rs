//! One mailbox: append, drain, take, peek. Each verb has its file.
//!
//! Everything that removes records goes by way of claims (`claim.rs`): the records
//! leave the record file by a rename, are read only behind the fence, and are
//! unlinked only when the reader says so.

mod append;
mod claim;
mod drain;
mod group;
mod kept;
mod migrate;
mod peek;
mod reader;
mod receipt;
mod repair;
mod take;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use append::Append;
pub(crate) use claim::GiveUp;
pub use claim::{Claim, Delivered, Messages};
pub(crate) use peek::Place;
pub use peek::{Peek, Peeked};
pub use take::{Bounded, Limit, Match};

use self::group::Shared;
use self::kept::KeptFiles;
use crate::error::{Error, Result};
use crate::format::token::Token;
use crate::format::{DEFAULT_WAIT, suffix};
use crate::lock::{Lock, LockGuard, Peer, Released, State, beside};
use crate::root::Root;
use crate::sys::clock::Deadline;
use crate::sys::fs;
use crate::sys::signals::Deferred;

/// A mailbox: a record file and what stands beside it. Cheap to clone; holds nothing open
/// unless told to.
///
/// Threads that append through clones of one handle at once do so together, under one lock.
#[derive(Clone, Debug)]
pub struct Mailbox {
    title: String,
    records: PathBuf,
    claims: PathBuf,
    damaged: PathBuf,
    lock: Lock,
    /// Set when it was given by name: its root is created when needed.
    root: Option<Root>,
    /// Where what is sent to its name is noted, if it has one.
    ledger: Option<PathBuf>,
    wait: Duration,
    shared: Arc<Shared>,
}

impl Mailbox {
    /// The mailbox whose record file is `path`. Nothing is created or looked at yet.
    pub fn at(path: impl AsRef<Path>) -> Mailbox {
        let records = path.as_ref().to_owned();
        Mailbox {
            title: records.display().to_string(),
            claims: beside(&records, suffix::CLAIMS),
            damaged: beside(&records, suffix::DAMAGED),
            lock: Lock::beside(&records),
            records,
            root: None,
            ledger: None,
            wait: DEFAULT_WAIT,
            shared: Arc::default(),
        }
    }

    pub(crate) fn named(name: &str, path: PathBuf, root: Root) -> Mailbox {
        Mailbox {
            title: name.to_owned(),
            root: Some(root),
            ..Mailbox::at(path)
        }
    }

    pub(crate) fn with_ledger(self, ledger: PathBuf) -> Mailbox {
        Mailbox {
            ledger: Some(ledger),
            ..self
        }
    }

    /// Where its ledger is, or would be.
    pub(crate) fn ledger_path(&self) -> Option<&Path> {
        self.ledger.as_deref()
    }

    /// Its ledger, when it was given by name.
    pub(crate) fn its_ledger(&self) -> Result<Option<Mailbox>> {
        let root = self.root.as_ref().filter(|_| self.ledger.is_some());
        let ledger = root.map(|root| root.ledger(&self.title)).transpose()?;
        Ok(ledger.map(|ledger| ledger.waiting(self.wait)))
    }

    /// The same mailbox, whose operations wait this long for the lock (5 s by default).
    #[must_use]
    pub fn waiting(self, wait: Duration) -> Mailbox {
        Mailbox { wait, ..self }
    }

    /// The same mailbox, which from its first append on keeps three files open, and one more
    /// beside its own that is removed with the last clone. An append then takes about two
    /// thirds of the time; see `benches/README.md`.
    #[must_use]
    pub fn keeping_open(self) -> Mailbox {
        let shared = Arc::new(Shared::keeping(KeptFiles::keeping()));
        Mailbox { shared, ..self }
    }

    /// Its name, or its path when it was given by path; of a ledger, whose it is.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The path of the record file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.records
    }

    /// Where lines that were not records are set aside.
    #[must_use]
    pub fn damaged_path(&self) -> &Path {
        &self.damaged
    }

    /// Whether there is mail: the record file is not empty, or claims are there (HAS-1).
    /// Three calls of stat at most; takes no lock.
    ///
    /// # Errors
    /// When a path is unsafe or cannot be looked at.
    pub fn has_mail(&self) -> Result<bool> {
        let has_records = || Ok::<_, Error>(self.records_len()?.is_some_and(|len| len > 0));
        // Again, because a take may put mail back between the first look and the second.
        Ok(has_records()? || self.has_claims()? || has_records()?)
    }

    /// Takes the lock, with the guard where there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) when it is not had in time.
    ///
    /// # Pitfalls
    /// The lock is stale, and another's for the taking, when it is 30 s old: see
    /// [`LockGuard::renew`]. A signal that ends the process leaves it behind.
    pub fn lock(&self) -> Result<LockGuard> {
        self.lock_holding(Peer::WithGuard, &Deferred::not())
    }

    /// Takes the lock as `peer`, waiting with `signals` let through.
    pub(crate) fn lock_holding(&self, peer: Peer, signals: &Deferred) -> Result<LockGuard> {
        self.make_place()?;
        self.lock
            .acquire(peer, &Deadline::after(self.wait), signals)
    }

    /// Makes the root, where it was given by name (ROOT-3).
    fn make_place(&self) -> Result<()> {
        let root = self.root.as_ref();
        root.map_or(Ok(()), |root| root.create(self.directory()))
    }

    /// Releases a lock that an earlier process took (RELV-1).
    pub(crate) fn release(&self, token: &Token) -> Result<Released> {
        self.lock.release(token)
    }

    /// What the lock looks like now.
    pub(crate) fn lock_state(&self) -> Result<State> {
        self.lock.state()
    }

    /// Lines that were set aside so far.
    pub(crate) fn count_set_aside(&self) -> Result<usize> {
        let failed = |e| Error::io("read", &self.damaged, e);
        let Some(file) = fs::open_read(&self.damaged).map_err(failed)? else {
            return Ok(0);
        };
        let mut lines = reader::Lines::of(file);
        let mut count = 0;
        while lines.next().map_err(failed)?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// ROOT-4, for whoever looks at a mailbox again and again: the root may be another's by
    /// now.
    pub(crate) fn check_place(&self) -> Result<()> {
        let root = self.root.as_ref();
        root.map_or(Ok(()), |root| root.check_place(self.directory()))
    }

    fn acquire(&self, signals: &Deferred) -> Result<LockGuard> {
        self.lock_holding(Peer::WithGuard, signals)
    }

    /// Refuses what is in the way where damaged lines go, before anything is delivered
    /// that could then not be acknowledged (FILE-2).
    fn check_damaged_path(&self) -> Result<()> {
        match fs::lstat(&self.damaged).map_err(|e| Error::io("look at", &self.damaged, e))? {
            Some(meta) if !meta.is_file() => Err(Error::unsafe_file("use", &self.damaged)),
            _ => Ok(()),
        }
    }

    /// Whether both are the same files, however they were named.
    pub(crate) fn is_same(&self, other: &Mailbox) -> bool {
        let place = |mailbox: &Mailbox| {
            let dir = fs::directory_identity(mailbox.directory());
            dir.map(|dir| (dir, mailbox.records.file_name().map(ToOwned::to_owned)))
        };
        self.records == other.records || place(self).is_some_and(|it| Some(it) == place(other))
    }

    /// Length of the record file; `None` when there is none.
    fn records_len(&self) -> Result<Option<u64>> {
        match fs::lstat(&self.records).map_err(|e| Error::io("look at", &self.records, e))? {
            Some(meta) if meta.is_file() => Ok(Some(meta.len())),
            Some(_) => Err(Error::unsafe_file("use", &self.records)),
            None => Ok(None),
        }
    }

    /// The directory of the record file.
    fn directory(&self) -> &Path {
        match self.records.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        }
    }

    /// Puts the entry of the record file on stable storage.
    fn sync_directory(&self) -> Result<()> {
        let dir = self.directory();
        fs::sync_directory(dir).map_err(|e| Error::io("sync", dir, e))
    }

    fn has_claims(&self) -> Result<bool> {
        match fs::lstat(&self.claims).map_err(|e| Error::io("look at", &self.claims, e))? {
            Some(meta) if meta.is_dir() => Ok(true),
            Some(_) => Err(Error::unsafe_file("use", &self.claims)),
            None => Ok(false),
        }
    }
}
