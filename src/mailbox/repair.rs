//! What `doctor` looks for in a mailbox, and the steps of the protocol that put it right.
//!
//! Nothing here removes or changes a record. A stale lock is cleared by Recover, which any
//! acquire does; a torn tail is healed as an append heals it (APP-3); orphaned claims are
//! adopted and given up, as a reader does that is about to end (DRAIN-2, CLAIM-7).

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::format::name::is_id;
use crate::format::record::{Line, Record};
use crate::format::token::ClaimName;
use crate::format::{STALE, TEMPORARY_STALE, suffix};
use crate::lock::{Lock, Released};
use crate::mailbox::Mailbox;
use crate::mailbox::claim::Claims;
use crate::mailbox::reader::Lines;
use crate::sys::guard::{self, Flock};
use crate::sys::signals::Deferred;
use crate::sys::{clock, fs};

/// What is wrong among the records.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Records {
    /// Lines that are no records, less a torn last one.
    pub(crate) damaged: usize,
    /// The last line has no newline and is no record.
    pub(crate) is_torn: bool,
}

impl Mailbox {
    pub(crate) fn its_lock(&self) -> &Lock {
        &self.lock
    }

    pub(crate) fn claims_path(&self) -> &std::path::Path {
        &self.claims
    }

    /// Reads the record file to its end.
    pub(crate) fn examine_records(&self) -> Result<Records> {
        self.records_len()?; // refuses what is unsafe
        let failed = |e| Error::io("read", &self.records, e);
        let mut found = Records::default();
        let Some(file) = fs::open_read(&self.records).map_err(failed)? else {
            return Ok(found);
        };
        let (mut lines, mut record) = (Lines::of(file), Record::place());
        while let Some((line, is_ended)) = lines.next().map_err(failed)? {
            if let Line::Damaged(_) = Line::classify(line, &mut record) {
                found.damaged += usize::from(is_ended);
                found.is_torn = !is_ended;
            }
        }
        Ok(found)
    }

    /// Ends a torn last line, so that it is one damaged line and nothing more.
    pub(crate) fn heal(&self) -> Result<()> {
        let signals = Deferred::begin();
        let lock = self.acquire(&signals)?;
        let failed = |e| Error::io("heal", &self.records, e);
        // Nobody may have made it anew by opening it.
        if self.records_len()?.is_some() && self.examine_records()?.is_torn {
            let (mut file, _) = fs::open_append(&self.records).map_err(failed)?;
            file.write_all(b"\n").map_err(failed)?;
        }
        // A newline too many is a blank line, so it does not matter whose the lock was.
        let (Released::Held | Released::Lost) = lock.release()?;
        Ok(())
    }

    /// Claims whose reader is dead and did not give them up.
    pub(crate) fn orphans(&self) -> Result<usize> {
        let now = clock::unix_millis();
        let is_orphan = |name: &ClaimName| -> Result<bool> {
            if !name.is_guarded() {
                return Ok(name.is_older_than(STALE, now));
            }
            let path = self.claims.join(name.to_entry());
            let failed = |e| Error::io("look at", &path, e);
            let Some(file) = fs::open_read(&path).map_err(failed)? else {
                return Ok(false);
            };
            let held = guard::try_lock(&file).map_err(failed)?;
            guard::unlock(&file);
            Ok(matches!(held, Flock::Held))
        };
        let mut orphans = 0;
        for name in &self.list_claims()?.names {
            orphans += usize::from(!name.is_given_up() && is_orphan(name)?);
        }
        Ok(orphans)
    }

    /// Whether the claims directory is empty, and was for so long that nobody is about to
    /// use it: it then stands for mail that is not there (HAS-1).
    pub(crate) fn has_empty_claims(&self) -> Result<bool> {
        let meta = fs::lstat(&self.claims).map_err(|e| Error::io("look at", &self.claims, e))?;
        let Some(meta) = meta.filter(std::fs::Metadata::is_dir) else {
            return Ok(false);
        };
        let listing = self.list_claims()?;
        let is_old = meta
            .modified()
            .is_ok_and(|mtime| clock::distance_from_now(mtime) > STALE);
        Ok(is_old && listing.names.is_empty() && listing.foreign.is_empty())
    }

    /// Adopts what is orphaned and gives it up at once, so that the next reader, of whatever
    /// kind, need not wait; removes an empty claims directory.
    pub(crate) fn give_up_orphans(&self) -> Result<()> {
        let signals = Deferred::begin();
        let mut claims = Claims::of(self);
        let lock = self.acquire(&signals)?;
        claims.adopt(&lock)?;
        if claims.is_empty() {
            claims.remove_dir()?;
        }
        // Nothing was read, so it does not matter whether the lock was held to the end.
        let (Released::Held | Released::Lost) = lock.release()?;
        Ok(())
    }

    /// What is in the directory of the mailbox and may be a temporary, its own or another's.
    pub(crate) fn temporaries_here(&self) -> Result<Vec<OsString>> {
        let dir = self.directory();
        let entries = fs::list(dir).map_err(|e| Error::io("look at", dir, e))?;
        let mut entries = entries.unwrap_or_default();
        let is_one = |entry: &OsString| {
            let ending = suffix::TEMPORARY.as_bytes();
            let mut parts = entry.as_encoded_bytes().windows(ending.len());
            parts.any(|part| part == ending)
        };
        entries.retain(is_one);
        Ok(entries)
    }

    /// Those of the mailbox whose maker is dead, by their age.
    pub(crate) fn old_temporaries(&self, here: &[OsString]) -> Result<Vec<PathBuf>> {
        let Some(name) = self.records.file_name() else {
            return Ok(Vec::new());
        };
        let mut prefix = name.to_owned();
        prefix.push(suffix::TEMPORARY);
        let mut old = Vec::new();
        for entry in here {
            let bytes = entry.as_encoded_bytes();
            let ending = bytes.strip_prefix(prefix.as_encoded_bytes());
            if !ending.is_some_and(is_of_a_temporary) {
                continue;
            }
            let path = self.directory().join(entry);
            let meta = fs::lstat(&path).map_err(|e| Error::io("look at", &path, e))?;
            let mtime = meta.filter(std::fs::Metadata::is_file);
            let mtime = mtime.and_then(|meta| meta.modified().ok());
            if mtime.is_some_and(|mtime| clock::distance_from_now(mtime) > TEMPORARY_STALE) {
                old.push(path);
            }
        }
        old.sort();
        Ok(old)
    }

    /// Removes them under the lock. A taker that wakes up after all finds its temporary
    /// gone, fails, and has lost nothing: its claims hold everything (TAKE-3).
    pub(crate) fn remove_old_temporaries(&self) -> Result<()> {
        let signals = Deferred::begin();
        let lock = self.acquire(&signals)?;
        for path in self.old_temporaries(&self.temporaries_here()?)? {
            fs::unlink(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
        let (Released::Held | Released::Lost) = lock.release()?; // they were old before and after
        Ok(())
    }

    /// Takes the lock, which clears one that is stale, and releases it.
    pub(crate) fn clear_lock(&self) -> Result<()> {
        let signals = Deferred::begin();
        // Taken is cleared, whatever the release says.
        let (Released::Held | Released::Lost) = self.acquire(&signals)?.release()?;
        Ok(())
    }
}

/// Whether this is how the name of a temporary goes on: with a token (TOKEN-1), and not to
/// the name of a record file. `a.jsonl.tmp.b` is a name too, and so is
/// `a.jsonl.tmp.1.0123456789abcdef`: the files of those mailboxes are mail.
fn is_of_a_temporary(ending: &[u8]) -> bool {
    let records = suffix::RECORDS.as_bytes();
    let mut parts = ending.split(|&b| b == b'.');
    let pid = parts.next().unwrap_or_default();
    !pid.is_empty()
        && pid.iter().all(u8::is_ascii_digit)
        && parts.next().is_some_and(is_id)
        && !ending.windows(records.len()).any(|part| part == records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporaries_and_mail_by_name() {
        for ending in [
            "1.0123456789abcdef",
            "1.0123456789abcdef.rest",
            "1.0123456789abcdef.g.chosen",
        ] {
            assert!(is_of_a_temporary(ending.as_bytes()), "{ending}");
        }
        for ending in [
            "",
            "b.jsonl",
            "b.jsonl.damaged",
            "b.jsonl.lock.guard",
            "1.b.jsonl",
            "1.0123456789abcdef.jsonl",
            "1.0123456789abcdef.rest.jsonl.lock.owner",
            "1",
            "1.",
            "1.rest",
            ".0123456789abcdef",
        ] {
            assert!(!is_of_a_temporary(ending.as_bytes()), "{ending}");
        }
    }
}
