//! Claims: records on their way to a reader, and whose they are.
//!
//! [`Claims`] is what one operation holds; it makes and adopts claims under the
//! lock. [`Claim`] is what a reader is given: it reads them, and either
//! acknowledges or gives them up.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::format::record::{Line, Record};
use crate::format::token::ClaimName;
use crate::format::{GUARDED_CLAIM_STALE, LAST_BIRTH, STALE};
use crate::lock::LockGuard;
use crate::mailbox::Mailbox;
use crate::mailbox::reader::{Lines, Seen};
use crate::mailbox::receipt::Handed;
use crate::sys::guard::{self, Flock};
use crate::sys::{clock, fs};

const OP: &str = "claim the mail of";

/// One claim of ours.
pub(super) struct Held {
    name: ClaimName,
    path: PathBuf,
    /// The flock that tells peers with guard that we live (CLAIM-3).
    flock: Option<File>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(file) = &self.flock {
            guard::unlock(file);
        }
    }
}

impl Held {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// What taking hold of a file came to.
enum Hold {
    Ours(Option<File>),
    Gone,
    Others,
}

/// The claims one operation holds, oldest first. Dropping them gives them up.
pub(super) struct Claims {
    mailbox: Mailbox,
    held: Vec<Held>,
    next_n: u64,
    newest_birth: u64,
    last_made: Option<ClaimName>,
}

/// What stands in the claims directory: claims in order of their names, and entries
/// that are none (CLAIM-8).
pub(crate) struct Listing {
    pub(crate) names: Vec<ClaimName>,
    pub(crate) foreign: Vec<OsString>,
}

impl Mailbox {
    /// Makes the claims directory, if there is none.
    pub(super) fn make_claims_dir(&self) -> Result<()> {
        let dir = &self.claims;
        fs::mkdir(dir).map_err(|e| Error::io(OP, dir, e))?;
        self.has_claims().map(drop) // refuses what is there and no directory
    }

    /// Removes the claims directory, if nothing is in it.
    pub(super) fn remove_empty_claims(&self) -> Result<()> {
        let dir = &self.claims;
        fs::rmdir(dir)
            .map(drop)
            .map_err(|e| Error::io("remove", dir, e))
    }

    /// The claims there are now.
    pub(crate) fn list_claims(&self) -> Result<Listing> {
        self.has_claims()?; // refuses a link to a directory (FILE-2)
        let entries = fs::list(&self.claims).map_err(|e| Error::io(OP, &self.claims, e))?;
        let mut listing = Listing {
            names: Vec::new(),
            foreign: Vec::new(),
        };
        for entry in entries.unwrap_or_default() {
            let name = ClaimName::parse(&entry);
            let is_file = || {
                let path = self.claims.join(&entry);
                // One that is gone by now was adopted; a rename to it says so again.
                fs::lstat(&path)
                    .ok()
                    .flatten()
                    .is_none_or(|meta| meta.is_file())
            };
            match name {
                Some(name) if is_file() => listing.names.push(name),
                _ => listing.foreign.push(entry),
            }
        }
        listing.names.sort();
        Ok(listing)
    }
}

impl Claims {
    pub(super) fn of(mailbox: &Mailbox) -> Claims {
        Claims {
            mailbox: mailbox.clone(),
            held: Vec::new(),
            next_n: 0,
            last_made: None,
            newest_birth: 0,
        }
    }

    pub(super) fn held(&self) -> &[Held] {
        &self.held
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Adopt (DRAIN-2): makes every orphaned claim ours, newest first.
    pub(super) fn adopt(&mut self, lock: &LockGuard) -> Result<()> {
        let names = self.mailbox.list_claims()?.names;
        self.newest_birth = names.iter().map(|name| name.birth).max().unwrap_or(0);
        for name in names.iter().rev() {
            if self.held.iter().any(|held| held.name == *name) || !is_orphan(name, lock) {
                continue;
            }
            let path = self.mailbox.claims.join(name.to_entry());
            if let Hold::Ours(flock) = take_hold(&path, lock)? {
                self.make_ours(&path, name.birth, flock, lock)?;
            }
        }
        Ok(())
    }

    /// Claim (DRAIN-3): renames the record file to a claim of ours, if there is one.
    pub(super) fn claim_records(&mut self, lock: &LockGuard) -> Result<()> {
        let records = self.mailbox.records.clone();
        while self.mailbox.records_len()?.is_some() {
            let flock = match take_hold(&records, lock)? {
                Hold::Ours(flock) => flock,
                Hold::Gone => continue,
                Hold::Others => {
                    let detail = "another program holds an flock on the record file";
                    return Err(Error::new(
                        ErrorKind::Busy,
                        OP,
                        &records,
                        detail,
                        "try again",
                    ));
                }
            };
            self.mailbox.make_claims_dir()?;
            let birth = clock::unix_millis()
                .max(self.newest_birth + 1)
                .min(LAST_BIRTH);
            if self.make_ours(&records, birth, flock, lock)? {
                break;
            }
            // The directory was removed by a reader who finished; or the file is gone.
        }
        Ok(())
    }

    /// Makes a claim of ours out of `from`, which is flocked already where that is due.
    pub(super) fn make_ours(
        &mut self,
        from: &Path,
        birth: u64,
        flock: Option<File>,
        lock: &LockGuard,
    ) -> Result<bool> {
        let name = ClaimName::new(birth, clock::unix_millis(), self.next_n, lock.token());
        let path = self.mailbox.claims.join(name.to_entry());
        if !fs::rename(from, &path).map_err(|e| Error::io(OP, from, e))? {
            return Ok(false);
        }
        self.next_n += 1;
        self.last_made = Some(name.clone());
        self.newest_birth = self.newest_birth.max(birth);
        self.held.push(Held { name, path, flock });
        self.held.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(true)
    }

    /// Moves the claim that [`make_ours`](Claims::make_ours) made last out of this set, to
    /// live on after the others are gone.
    pub(super) fn split_off_last_made(&mut self) -> Claims {
        let last_made = self.last_made.take();
        let is_last = |held: &Held| Some(&held.name) == last_made.as_ref();
        let mut split = Claims::of(&self.mailbox);
        (split.held, self.held) = self.held.drain(..).partition(is_last);
        split
    }

    /// The birth of the oldest claim held.
    pub(super) fn oldest_birth(&self) -> u64 {
        self.held
            .first()
            .map_or_else(clock::unix_millis, |held| held.name.birth)
    }

    /// Unlinks every claim, newest first, so that after a crash the older ones, which
    /// come first, are the ones that are still there.
    pub(super) fn unlink(&mut self) -> Result<()> {
        while let Some(held) = self.held.last() {
            fs::unlink(&held.path).map_err(|e| Error::io("remove", &held.path, e))?;
            self.held.pop();
        }
        Ok(())
    }

    /// Removes the claims directory if nothing is in it.
    pub(super) fn remove_dir(&self) -> Result<()> {
        self.mailbox.remove_empty_claims()
    }

    fn give_up(&self) -> GiveUp {
        GiveUp(self.given_up_in(&self.mailbox.claims))
    }

    /// Where each claim is, oldest first, and the path in `dir` at which it is anybody's.
    fn given_up_in(&self, dir: &Path) -> Vec<(PathBuf, PathBuf)> {
        let renamed = |held: &Held| (held.path.clone(), dir.join(held.name.given_up().to_entry()));
        self.held.iter().map(renamed).collect()
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.give_up().now();
    }
}

/// Makes claims adoptable at once, by whoever comes next (CLAIM-7).
pub(crate) struct GiveUp(Vec<(PathBuf, PathBuf)>);

impl GiveUp {
    pub(crate) fn now(&self) {
        for (from, to) in &self.0 {
            let _ = fs::rename(from, to); // else they are orphaned by their age
        }
    }
}

/// CLAIM-4, CLAIM-5: whether a claim may be another's no longer. For a peer with guard
/// the flock has the last word on a guarded one; see [`take_hold`].
fn is_orphan(name: &ClaimName, lock: &LockGuard) -> bool {
    let now = clock::unix_millis();
    match (name.is_guarded(), lock.is_guarded()) {
        (true, true) => true,
        (true, false) => name.is_older_than(GUARDED_CLAIM_STALE, now),
        (false, _) => name.is_older_than(STALE, now),
    }
}

/// CLAIM-3: flocks a file before it becomes ours, if we are a peer with guard.
fn take_hold(path: &Path, lock: &LockGuard) -> Result<Hold> {
    if !lock.is_guarded() {
        return Ok(Hold::Ours(None));
    }
    let failed = |e| Error::io(OP, path, e);
    loop {
        let Some(file) = fs::open_read(path).map_err(failed)? else {
            return Ok(Hold::Gone);
        };
        if let Flock::Contended = guard::try_lock(&file).map_err(failed)? {
            return Ok(Hold::Others);
        }
        let held = file.metadata().map_err(failed)?;
        match fs::lstat(path).map_err(failed)? {
            Some(there) if fs::is_same(&there, &held) => return Ok(Hold::Ours(Some(file))),
            Some(_) => {} // renamed away between our open and our flock
            None => return Ok(Hold::Gone),
        }
    }
}

/// Mail in the hands of a reader.
///
/// It is in nobody else's way: the lock is free. Read it with
/// [`messages`](Claim::messages), hand it on, then [`ack`](Claim::ack): only that
/// removes it.
///
/// # Crash
/// When the process dies before `ack`, the next reader gets everything again.
///
/// # Pitfalls
/// Dropping a `Claim` puts it back.
#[must_use = "mail that is not acknowledged is handed over again"]
pub struct Claim {
    claims: Claims,
    /// Lines to set aside, in order.
    damaged: Vec<Vec<u8>>,
    /// Lines set aside already.
    set_aside: usize,
    is_read: bool,
    /// What goes onto the receipt, and by whom.
    handed: Handed,
    by: String,
}

/// What an acknowledgement came to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivered {
    /// Lines that were not records and stand in [`Mailbox::damaged_path`] now.
    pub damaged: usize,
    /// Why the receipt could not be written (RECEIPT-1). The mail was removed all the same.
    pub no_receipt: Option<Error>,
}

impl Claim {
    pub(super) fn new(claims: Claims, set_aside: usize, by: &str) -> Claim {
        Claim {
            handed: Handed::of(&claims.mailbox),
            claims,
            damaged: Vec::new(),
            set_aside,
            is_read: false,
            by: by.to_owned(),
        }
    }

    /// The same claim, whose receipt says that `by` handed it over (RECEIPT-1); `drain` or
    /// `take` unless told otherwise.
    pub fn by(self, by: impl Into<String>) -> Claim {
        Claim {
            by: by.into(),
            ..self
        }
    }

    /// The messages, oldest first, each id once. Calling it again begins anew.
    pub fn messages(&mut self) -> Messages<'_> {
        self.damaged.clear();
        self.handed.clear();
        self.is_read = false;
        Messages {
            claim: self,
            next: 0,
            lines: None,
            record: Record::place(),
            seen: Seen::default(),
            failed: false,
        }
    }

    /// Removes the mail, read or not, and sets damaged lines aside.
    ///
    /// # Errors
    /// When a damaged line cannot be set aside or a file not be removed; what was
    /// not removed is handed over again.
    pub fn ack(mut self) -> Result<Delivered> {
        if !self.is_read {
            // For the damaged lines alone
            let mut messages = self.messages();
            while messages.next_record()?.is_some() {}
        }
        let mailbox = &self.claims.mailbox;
        mailbox.set_aside(&self.damaged)?;
        let receipt = mailbox.note_handed_over(&self.handed, &self.by);
        self.claims.unlink()?;
        self.claims.remove_dir()?;
        Ok(Delivered {
            damaged: self.set_aside + self.damaged.len(),
            no_receipt: receipt.err(),
        })
    }

    /// Leaves the mail to the next reader, at once.
    pub fn put_back(self) {
        drop(self);
    }

    /// Where each claim is, oldest first, and the path in the claims of `to` at which it is
    /// anybody's.
    pub(super) fn places_in(&self, to: &Mailbox) -> Vec<(PathBuf, PathBuf)> {
        self.claims.given_up_in(&to.claims)
    }

    /// Removes the directory the claims were in, if nothing is in it any more.
    pub(super) fn remove_dir(&self) -> Result<()> {
        self.claims.remove_dir()
    }

    /// How to give it up from another thread, when a signal ends the process.
    pub(crate) fn give_up(&self) -> GiveUp {
        self.claims.give_up()
    }
}

/// The messages of a [`Claim`].
pub struct Messages<'a> {
    claim: &'a mut Claim,
    next: usize,
    lines: Option<Lines<File>>,
    /// The message read last.
    record: Record,
    seen: Seen,
    failed: bool,
}

impl Messages<'_> {
    /// The next message, like the iterator does it but without a copy.
    pub(crate) fn next_record(&mut self) -> Result<Option<&Record>> {
        if self.failed {
            return Ok(None);
        }
        let advanced = self.advance();
        self.failed = advanced.is_err();
        Ok(advanced?.then_some(&self.record))
    }

    /// Reads the next message; `false` at the end.
    fn advance(&mut self) -> Result<bool> {
        loop {
            let Some(lines) = &mut self.lines else {
                let Some(held) = self.claim.claims.held.get(self.next) else {
                    self.claim.is_read = true;
                    return Ok(false);
                };
                self.next += 1;
                let file = fs::open_read(&held.path);
                // One that is gone was adopted by another reader (DRAIN-5).
                self.lines = file
                    .map_err(|e| Error::io("read", &held.path, e))?
                    .map(Lines::of);
                continue;
            };
            let path = || self.claim.claims.held[self.next - 1].path.as_path();
            let Some((line, _)) = lines.next().map_err(|e| Error::io("read", path(), e))? else {
                self.lines = None;
                continue;
            };
            match Line::classify(line, &mut self.record) {
                Line::Blank => {}
                Line::Damaged(line) => self.claim.damaged.push(line.to_vec()),
                Line::Record(record) if self.seen.is_new(record) => {
                    self.claim.handed.note(record);
                    return Ok(true);
                }
                Line::Record(_) => {}
            }
        }
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        if self.failed {
            return None;
        }
        let advanced = self.advance();
        self.failed = advanced.is_err();
        advanced
            .map(|is_there| is_there.then(|| std::mem::replace(&mut self.record, Record::place())))
            .transpose()
    }
}

impl Mailbox {
    /// DMG-2: appends lines that are not records to the file that keeps them.
    pub(super) fn set_aside(&self, lines: &[Vec<u8>]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let failed = |e| Error::io("set damaged lines aside in", &self.damaged, e);
        let (mut file, meta) = fs::open_append(&self.damaged).map_err(failed)?;
        let mut text = Vec::new();
        if fs::last_byte(&file, meta.len())
            .map_err(failed)?
            .is_some_and(|last| last != b'\n')
        {
            text.push(b'\n');
        }
        for line in lines {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        file.write_all(&text).map_err(failed)
    }
}
