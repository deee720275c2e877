//! The ledger of a name: what was sent to it, so that an id that was shown to somebody leads
//! to the message when the mailbox has it no more.
//!
//! A ledger is a record file with the lock, the claims and the rules of any other
//! (LEDGER-1): an entry is appended, old ones are pruned by a bounded drain whose records go
//! nowhere, and a look-up is a peek.

use std::collections::HashSet;
use std::io::Write;

use crate::error::{Error, ErrorKind, Result};
use crate::format::receipt::{Pruned, Receipt, appended, parse_all};
use crate::format::record::Record;
use crate::format::{LEDGER_WAIT, suffix};
use crate::lock::beside;
use crate::mailbox::{Append, Bounded, Mailbox, Match, Peek};
use crate::root::Root;
use crate::sys::{clock, fs};

/// Size up to which a ledger is counted for every message, in bytes.
const SMALL: u64 = 64 << 10;

/// The ledger of one name.
pub(crate) struct Ledger {
    records: Mailbox,
}

impl Ledger {
    /// The ledger of `name` in `root`. Nothing is created.
    ///
    /// # Errors
    /// For what is not a name, and for an unsafe root.
    pub(crate) fn of(root: &Root, name: &str) -> Result<Ledger> {
        Ok(Ledger::at(root.ledger(name)?.waiting(LEDGER_WAIT)))
    }

    /// The one whose record file is `records`.
    pub(crate) fn at(records: Mailbox) -> Ledger {
        Ledger { records }
    }

    /// The same, whose lock is waited for no longer than `wait`, and 1 s (LEDGER-3).
    pub(crate) fn waiting(self, wait: std::time::Duration) -> Ledger {
        let records = self.records.waiting(wait.min(LEDGER_WAIT));
        Ledger { records }
    }

    /// Writes an entry, a record and its newline. With `unless` it does so only when no entry
    /// has that id (LEDGER-4).
    ///
    /// # Errors
    /// [`ErrorKind::Data`] when another message has it.
    pub(crate) fn enter(&self, line: &[u8], unless: Option<&str>, how: &Append) -> Result<()> {
        let is_there = || {
            let Some(id) = unless else {
                return Ok(false);
            };
            let Some(entry) = self.find(id)? else {
                return Ok(false);
            };
            match is_same(&entry, line) {
                true => Ok(true),
                false => Err(Error::new(
                    ErrorKind::Data,
                    "enter the message in",
                    self.records.path(),
                    format!("another message has the id {id}"),
                    "send it with an id of its own",
                )),
            }
        };
        self.records.append_unless(line, how, is_there).map(drop)
    }

    /// The entry with this id (LEDGER-5).
    pub(crate) fn find(&self, id: &str) -> Result<Option<Record>> {
        let found = self.records.find(id)?;
        Ok(found.map(|(_, record)| record))
    }

    /// The id of the last entry that is `wanted`, if a receipt says that it was handed over.
    pub(crate) fn find_handed_over(&self, wanted: &Match) -> Result<Option<String>> {
        let Some(id) = self.find_id(wanted)? else {
            return Ok(None);
        };
        Ok(self.receipt(&id)?.map(|_| id))
    }

    fn find_id(&self, wanted: &Match) -> Result<Option<String>> {
        let entries = self.entries()?;
        let answer = entries.iter().rfind(|entry| wanted.fits(entry));
        Ok(answer.and_then(Record::id).map(str::to_owned))
    }

    /// Every entry, oldest first.
    pub(crate) fn entries(&self) -> Result<Vec<Record>> {
        Ok(self.records.peek(&Peek::default())?.records)
    }

    /// How many entries there are, damaged lines included.
    pub(crate) fn count(&self) -> Result<u64> {
        self.records.count_lines()
    }

    /// Removes what is older than the newest `max` entries, when there is enough of it that
    /// it is worth it (LEDGER-6), and returns how many. `entered` is how much was just written.
    pub(crate) fn prune(&self, max: u64, entered: usize) -> Result<u64> {
        if !self.may_be_long(entered as u64)? {
            return Ok(0);
        }
        let over = self.count()?.saturating_sub(max);
        if over <= max / 8 {
            return Ok(0);
        }
        // Counted again, of what is in nobody else's hands by then.
        let Bounded::Mail(mut old) = self.records.drain_all_but(max)? else {
            return Ok(0); // another prunes it, or has
        };
        let mut pruned = 0;
        for entry in old.messages() {
            entry?;
            pruned += 1;
        }
        self.note_pruned(pruned)?;
        old.ack()?;
        Ok(pruned)
    }

    /// Whether it is time to count: a ledger that is not small is counted when it has grown by
    /// a sixteenth to an eighth, so that it costs the same for each message however long it is.
    fn may_be_long(&self, entered: u64) -> Result<bool> {
        let failed = |e| Error::io("look at", self.records.path(), e);
        let meta = fs::lstat(self.records.path()).map_err(failed)?;
        let size = meta.map_or(0, |meta| meta.len());
        let step = (size / 16).next_power_of_two();
        Ok(size < SMALL || size / step != size.saturating_sub(entered) / step)
    }

    /// LEDGER-7.
    fn note_pruned(&self, pruned: u64) -> Result<()> {
        let path = beside(self.records.path(), suffix::PRUNED);
        let failed = |e| Error::io("note what was pruned in", &path, e);
        let note = Pruned {
            at: clock::unix_seconds(),
            pruned,
        };
        let (mut file, _) = fs::open_append(&path).map_err(failed)?;
        file.write_all(&appended(&note)).map_err(failed)
    }

    /// How many entries were pruned so far.
    pub(crate) fn count_pruned(&self) -> Result<u64> {
        let notes = self.read_beside(suffix::PRUNED)?;
        Ok(parse_all(&notes).map(|note: Pruned| note.pruned).sum())
    }

    /// The first receipt of a message.
    pub(crate) fn receipt(&self, id: &str) -> Result<Option<Receipt>> {
        for ending in [suffix::OLD_RECEIPTS, suffix::RECEIPTS] {
            let receipts = self.read_beside(ending)?;
            let is_of_it = |receipt: &Receipt| receipt.ids.iter().any(|of| of == id);
            if let Some(receipt) = parse_all(&receipts).find(is_of_it) {
                return Ok(Some(receipt));
            }
        }
        Ok(None)
    }

    /// Enters in `to` what it lacks of the entries with these ids, in their order.
    pub(crate) fn copy_to(&self, to: &Ledger, ids: &HashSet<String>) -> Result<()> {
        let has = to.records.peek(&Peek::default())?.records;
        let has: HashSet<&str> = has.iter().filter_map(Record::id).collect();
        let mut missing = Vec::new();
        for entry in self.records.peek(&Peek::default())?.records {
            let is_missing = |id: &str| ids.contains(id) && !has.contains(id);
            if entry.id().is_some_and(is_missing) {
                missing.extend_from_slice(entry.bytes());
                missing.push(b'\n');
            }
        }
        to.records.append_many(&missing, &Append::default())?;
        Ok(())
    }

    fn read_beside(&self, ending: &str) -> Result<Vec<u8>> {
        let path = beside(self.records.path(), ending);
        let read = fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        Ok(read.unwrap_or_default())
    }
}

/// Whether a line is the message of an entry, sent again: by the same sender, with the same
/// body. What it answers may be left out the second time.
fn is_same(entry: &Record, line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    Record::from_line(line.to_owned())
        .is_ok_and(|message| entry.from() == message.from() && entry.body() == message.body())
}
