//! Take: remove chosen records and put the others back. A bounded drain is a take too.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::format::record::{Line, Record};
use crate::format::suffix;
use crate::lock::{LockGuard, Released, beside};
use crate::mailbox::Mailbox;
use crate::mailbox::claim::{Claim, Claims};
use crate::mailbox::reader::{Lines, Seen};
use crate::sys::fs;
use crate::sys::guard;
use crate::sys::signals::Deferred;

/// What a message must be like to be taken: all that is given must match.
#[derive(Clone, Debug, Default)]
pub struct Match {
    /// Its `id`.
    pub id: Option<String>,
    /// Its `reply_to`.
    pub reply_to: Option<String>,
    /// Its `from_session_id`.
    pub from: Option<String>,
}

impl Match {
    pub(crate) fn fits(&self, record: &Record) -> bool {
        let fits = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        fits(&self.id, record.id())
            && fits(&self.reply_to, record.reply_to())
            && fits(&self.from, record.from())
    }
}

/// How much to hand over at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit {
    /// Number of messages.
    pub messages: Option<u64>,
    /// Bytes of records, newlines included.
    pub bytes: Option<u64>,
}

/// What a bounded drain came to.
pub enum Bounded {
    /// There is no mail, or another reader has it.
    Nothing,
    /// Mail within the limit.
    Mail(Box<Claim>),
    /// Not even the first message fits.
    TooLarge {
        /// What it needs.
        bytes: u64,
    },
}

impl Mailbox {
    /// Takes the first message that matches into the caller's hands; `None` when there
    /// is none. All others stay, byte for byte and in order.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) when the lock was not had in time;
    /// the mail stays.
    pub fn take(&self, wanted: &Match) -> Result<Option<Claim>> {
        self.take_holding(wanted, &Deferred::begin())
    }

    /// The same for a caller who holds signals back until the claim is in good hands.
    pub(crate) fn take_holding(&self, wanted: &Match, signals: &Deferred) -> Result<Option<Claim>> {
        match self.take_chosen(&Rule::First(wanted), signals)? {
            Bounded::Mail(claim) => Ok(Some(*claim)),
            Bounded::Nothing | Bounded::TooLarge { .. } => Ok(None),
        }
    }

    /// Takes the oldest messages within `limit` into the caller's hands; the rest stay.
    ///
    /// # Errors
    /// As for [`take`](Mailbox::take).
    pub fn drain_some(&self, limit: &Limit) -> Result<Bounded> {
        self.drain_some_holding(limit, &Deferred::begin())
    }

    /// The same for a caller who holds signals back until the claim is in good hands.
    pub(crate) fn drain_some_holding(&self, limit: &Limit, signals: &Deferred) -> Result<Bounded> {
        self.take_chosen(&Rule::UpTo(limit), signals)
    }

    /// Takes all but the `newest` messages into the caller's hands.
    pub(crate) fn drain_all_but(&self, newest: u64) -> Result<Bounded> {
        self.take_chosen(&Rule::AllBut(newest), &Deferred::begin())
    }

    fn take_chosen(&self, rule: &Rule<'_>, signals: &Deferred) -> Result<Bounded> {
        // Look (TAKE-1)
        if !self.has_mail()? {
            return Ok(Bounded::Nothing);
        }
        if let Rule::First(wanted) = rule
            && self.place_of(wanted)?.is_none()
        {
            return Ok(Bounded::Nothing);
        }
        let mut claims = Claims::of(self);
        loop {
            let lock = self.acquire(signals)?;
            claims.adopt(&lock)?;
            claims.claim_records(&lock)?;
            // Fence (TAKE-7), with the lock kept
            if !lock.still_held()? {
                continue;
            }
            if claims.is_empty() {
                claims.remove_dir()?;
                return Ok(Bounded::Nothing);
            }
            let mut split = self.split(&claims, &lock, rule)?;
            if split.hands_over_all {
                let (Released::Held | Released::Lost) = lock.release()?;
                return Ok(Bounded::Mail(Box::new(Claim::new(claims, 0, rule.name()))));
            }
            let mut chosen = None;
            if !split.chosen.is_empty() {
                self.set_aside(&split.damaged)?;
                let file = split.chosen_file(self, &lock)?;
                let (path, birth) = (file.path.clone(), claims.oldest_birth());
                if !claims.make_ours(&path, birth, Some(file.try_clone()?), &lock)? {
                    continue; // another adopted all we held and finished (TAKE-2)
                }
                chosen = Some(claims.split_off_last_made());
            }
            // Put back (TAKE-3), Sync (TAKE-8)
            let put_back = split.rest.put_back(self);
            let put_back = put_back.and_then(|is_back| self.sync_places().map(|()| is_back));
            if !matches!(put_back, Ok(true)) {
                // The old claims still hold everything: the chosen one would be a second copy.
                if let Some(mut chosen) = chosen {
                    chosen.unlink()?;
                }
                put_back?;
                continue; // somebody who stalled made a record file
            }
            claims.unlink()?; // TAKE-4
            let Some(chosen) = chosen else {
                claims.remove_dir()?;
                return Ok(split
                    .too_large
                    .map_or(Bounded::Nothing, |bytes| Bounded::TooLarge { bytes }));
            };
            // Lost or not: what we hold and what we put back is not touched by it.
            let (Released::Held | Released::Lost) = lock.release()?;
            return Ok(Bounded::Mail(Box::new(Claim::new(
                chosen,
                split.damaged.len(),
                rule.name(),
            ))));
        }
    }

    /// Split: the chosen records here, all others in a temporary (TAKE-5).
    fn split(&self, claims: &Claims, lock: &LockGuard, rule: &Rule<'_>) -> Result<Split> {
        let mut split = Split {
            rest: Temporary::create(self, lock, "rest")?,
            chosen: Vec::new(),
            damaged: Vec::new(),
            hands_over_all: !matches!(rule, Rule::First(_)),
            too_large: None,
        };
        let older = match rule {
            Rule::AllBut(newest) => Some(Limit {
                messages: Some(self.count_records(claims)?.saturating_sub(*newest)),
                bytes: None,
            }),
            Rule::First(_) | Rule::UpTo(_) => None,
        };
        let older = older.as_ref().map(Rule::UpTo);
        let mut choice = Choice::by(older.as_ref().unwrap_or(rule));
        let mut seen = Seen::default();
        let mut record = Record::place();
        self.each_line(claims, |line, _| {
            match Line::classify(line, &mut record) {
                Line::Blank => {}
                Line::Damaged(line) => split.damaged.push(line.to_vec()),
                Line::Record(record) if !seen.is_new(record) => {}
                Line::Record(record) if choice.wants(record) => {
                    push_line(&mut split.chosen, record.bytes());
                }
                Line::Record(record) => {
                    split.hands_over_all = false;
                    split.rest.write(record.bytes())?;
                    split.rest.write(b"\n")?;
                }
            }
            Ok(())
        })?;
        if split.hands_over_all {
            return Ok(split);
        }
        if split.chosen.is_empty() {
            // Everything goes back as it was, whatever it is (TAKE-1).
            split.rest = Temporary::create(self, lock, "all")?;
            self.each_line(claims, |line, is_ended| {
                split.rest.write(line)?;
                if is_ended {
                    split.rest.write(b"\n")
                } else {
                    Ok(())
                }
            })?;
            split.too_large = choice.too_large;
        }
        split.rest.finish()?;
        Ok(split)
    }

    /// How many messages are in the claims held, each id once.
    fn count_records(&self, claims: &Claims) -> Result<u64> {
        let (mut count, mut seen, mut record) = (0, Seen::default(), Record::place());
        self.each_line(claims, |line, _| {
            if let Line::Record(record) = Line::classify(line, &mut record) {
                count += u64::from(seen.is_new(record));
            }
            Ok(())
        })?;
        Ok(count)
    }

    /// Puts the entries of the record file and of the claims on stable storage.
    fn sync_places(&self) -> Result<()> {
        self.sync_directory()?;
        match fs::sync_directory(&self.claims) {
            // Another adopted what we held, and finished.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|e| Error::io("sync", &self.claims, e)),
        }
    }

    /// Calls `each` with every line of every claim, and whether it has its newline. One
    /// that lacks it gets it when another claim follows.
    fn each_line(
        &self,
        claims: &Claims,
        mut each: impl FnMut(&[u8], bool) -> Result<()>,
    ) -> Result<()> {
        let last = claims.held().len().saturating_sub(1);
        for (index, held) in claims.held().iter().enumerate() {
            let failed = |e: io::Error| Error::io("read", held.path(), e);
            let Some(file) = fs::open_read(held.path()).map_err(failed)? else {
                continue; // adopted by another reader (DRAIN-5)
            };
            let mut lines = Lines::of(file);
            while let Some((line, is_ended)) = lines.next().map_err(failed)? {
                each(line, is_ended || index < last)?;
            }
        }
        Ok(())
    }
}

/// Which records are chosen.
enum Rule<'a> {
    First(&'a Match),
    UpTo(&'a Limit),
    /// The oldest, so that this many stay.
    AllBut(u64),
}

impl Rule<'_> {
    /// The verb that has it.
    fn name(&self) -> &'static str {
        match self {
            Rule::First(_) => "take",
            Rule::UpTo(_) | Rule::AllBut(_) => "drain",
        }
    }
}

/// A rule on its way through the records.
struct Choice<'a> {
    rule: &'a Rule<'a>,
    messages: u64,
    bytes: u64,
    is_done: bool,
    too_large: Option<u64>,
}

impl<'a> Choice<'a> {
    fn by(rule: &'a Rule<'a>) -> Choice<'a> {
        Choice {
            rule,
            messages: 0,
            bytes: 0,
            is_done: false,
            too_large: None,
        }
    }

    fn wants(&mut self, record: &Record) -> bool {
        if self.is_done {
            return false;
        }
        match self.rule {
            Rule::First(wanted) => {
                self.is_done = wanted.fits(record);
                self.is_done
            }
            Rule::AllBut(_) => false, // it was made one by number
            Rule::UpTo(limit) => {
                let bytes = self.bytes + record.size();
                let is_over = |max: Option<u64>, value| max.is_some_and(|max| value > max);
                if is_over(limit.messages, self.messages + 1) || is_over(limit.bytes, bytes) {
                    self.is_done = true;
                    self.too_large = (self.messages == 0).then_some(record.size());
                    return false;
                }
                (self.messages, self.bytes) = (self.messages + 1, bytes);
                true
            }
        }
    }
}

struct Split {
    rest: Temporary,
    /// Lines.
    chosen: Vec<u8>,
    damaged: Vec<Vec<u8>>,
    /// A bounded drain of which no record stays: no copies are made (TAKE-9).
    hands_over_all: bool,
    too_large: Option<u64>,
}

impl Split {
    /// The chosen records in a file that is flocked where that is due (CLAIM-3).
    fn chosen_file(&mut self, mailbox: &Mailbox, lock: &LockGuard) -> Result<Temporary> {
        let mut file = Temporary::create(mailbox, lock, "chosen")?;
        if lock.is_guarded() {
            let held = guard::try_lock(file.file.get_ref());
            held.map_err(|e| Error::io("lock", &file.path, e))?;
        }
        file.write(&self.chosen)?;
        file.finish()?;
        Ok(file)
    }
}

/// A temporary beside the record file, removed when it is dropped (FILE-5).
struct Temporary {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Temporary {
    fn create(mailbox: &Mailbox, lock: &LockGuard, what: &str) -> Result<Temporary> {
        let ending = format!("{}{}.{what}", suffix::TEMPORARY, lock.token());
        let path = beside(&mailbox.records, &ending);
        match fs::create_new(&path) {
            Ok(Some(file)) => Ok(Temporary {
                path,
                file: BufWriter::with_capacity(64 << 10, file),
            }),
            Ok(None) => Err(Error::unsafe_file("create", &path)),
            Err(e) => Err(Error::io("create", &path, e)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|e| Error::io("write", &self.path, e))
    }

    /// All of it is on stable storage (TAKE-8).
    fn finish(&mut self) -> Result<()> {
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_data())
            .map_err(|e| Error::io("write", &self.path, e))
    }

    /// Links it to the record file; `false` when there is one.
    fn put_back(&self, mailbox: &Mailbox) -> Result<bool> {
        let failed = |e| Error::io("put back into", &mailbox.records, e);
        if self.file.get_ref().metadata().map_err(failed)?.len() == 0 {
            return Ok(true);
        }
        fs::link(&self.path, &mailbox.records).map_err(failed)
    }

    /// The open file, with its flock, to outlive this temporary.
    fn try_clone(&self) -> Result<File> {
        self.file
            .get_ref()
            .try_clone()
            .map_err(|e| Error::io("open", &self.path, e))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::unlink(&self.path); // a copy: nothing is lost by it, nobody reads it
    }
}

fn push_line(lines: &mut Vec<u8>, line: &[u8]) {
    lines.extend_from_slice(line);
    lines.push(b'\n');
}
