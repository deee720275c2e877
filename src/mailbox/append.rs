//! Append: format, acquire, open, heal, write, sync, release, acknowledge.

use std::borrow::Cow;
use std::io::Write;

use crate::error::{Error, ErrorKind, Result};
use crate::format::message::Message;
use crate::format::record::{Line, Record, is_blank};
use crate::format::{MAX_BODY, MAX_RECORD};
use crate::lock::{LockGuard, Peer, Released};
use crate::mailbox::Mailbox;
use crate::mailbox::kept::KeptFiles;
use crate::mailbox::reader::lines_in;
use crate::root::Root;
use crate::sys::clock::{self, Deadline};
use crate::sys::fs;
use crate::sys::signals::Deferred;

/// How to append.
#[derive(Clone, Copy, Debug)]
pub struct Append {
    /// Put the records, the name of the record file, and the directories made on the way to
    /// it on stable storage before acknowledging.
    pub sync: bool,
    /// Largest body accepted, in bytes; 64 KiB by default.
    pub max_body: usize,
}

impl Default for Append {
    fn default() -> Append {
        Append {
            sync: false,
            max_body: MAX_BODY,
        }
    }
}

impl Mailbox {
    /// Appends one message and returns its id.
    ///
    /// # Guarantees
    /// When it returns an id the message is in the mailbox, whole, and no crash of
    /// any process loses it. With `sync` no crash of the machine does.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for a message that cannot be written: nothing was.
    /// [`ErrorKind::Busy`] when the lock was not had in time. After any other error
    /// the message may or may not be there; appending it again with the same id is safe.
    pub fn append(&self, message: &Message, how: &Append) -> Result<String> {
        let (id, line) = self.line_of(message, how)?;
        self.append_lines(&line, how)?;
        Ok(id)
    }

    /// The id of a message and its line, newline included.
    pub(crate) fn line_of(&self, message: &Message, how: &Append) -> Result<(String, Vec<u8>)> {
        let fresh_id = || format!("{:016x}", rand::random::<u64>());
        let (id, mut line) = message
            .to_record(fresh_id, clock::unix_seconds(), how.max_body)
            .map_err(|unfit| self.bad_data(unfit.to_string(), "nothing was written"))?;
        line.push(b'\n');
        Ok((id, line))
    }

    /// Appends records byte for byte, all under one lock, and returns their ids.
    ///
    /// `text` holds one record a line; blank lines are skipped and the newline of
    /// the last one may be missing. All are checked before anything is written.
    ///
    /// # Errors
    /// As for [`append`](Mailbox::append).
    pub fn append_many(&self, text: &[u8], how: &Append) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        self.append_all(text, how, |id| ids.push(id.to_owned()))?;
        Ok(ids)
    }

    /// The same, telling `note` the ids as the records are checked: before they are written.
    pub(crate) fn append_all(
        &self,
        text: &[u8],
        how: &Append,
        mut note: impl FnMut(&str),
    ) -> Result<()> {
        let mut record = Record::place();
        let mut is_as_written = text.ends_with(b"\n");
        for (number, line) in lines_in(text).enumerate() {
            let bad = |why: String| {
                self.bad_data(format!("line {}: {why}", number + 1), "nothing was written")
            };
            match Line::classify(line, &mut record) {
                Line::Blank => is_as_written = false,
                Line::Damaged(_) => {
                    return Err(bad(
                        "not a JSON object in valid UTF-8, nested at most 128 deep".into(),
                    ));
                }
                Line::Record(record) if record.size() > MAX_RECORD as u64 => {
                    return Err(bad(format!("the record is longer than {MAX_RECORD} bytes")));
                }
                Line::Record(record) => record.id().into_iter().for_each(&mut note),
            }
        }
        if is_as_written {
            return self.append_lines(text, how);
        }
        let mut lines = Vec::with_capacity(text.len() + 1);
        for line in lines_in(text).filter(|line| !is_blank(line)) {
            lines.extend_from_slice(line);
            lines.push(b'\n');
        }
        match lines.is_empty() {
            true => Ok(()),
            false => self.append_lines(&lines, how),
        }
    }

    /// Appends text of whole lines until it is known to stand (APP-7), unless `is_there`
    /// says under the lock that there is no need; returns whether it was appended.
    pub(crate) fn append_unless(
        &self,
        lines: &[u8],
        how: &Append,
        mut is_there: impl FnMut() -> Result<bool>,
    ) -> Result<bool> {
        let mut kept = KeptFiles::default();
        self.append_with(&mut kept, lines.into(), how, |_, _| is_there())
    }

    /// The same with the files in `kept`. `is_there` may add lines, and ask for a sync.
    pub(super) fn append_with(
        &self,
        kept: &mut KeptFiles,
        mut lines: Cow<'_, [u8]>,
        how: &Append,
        mut is_there: impl FnMut(&mut Cow<'_, [u8]>, &mut bool) -> Result<bool>,
    ) -> Result<bool> {
        let mut sync = how.sync;
        let signals = Deferred::begin();
        for _ in 0..CUTS {
            let lock = self.lock_to_append(kept, &signals)?;
            if is_there(&mut lines, &mut sync)? {
                if sync {
                    self.sync_records()?;
                }
                // What is there is there, whoever has the lock by now.
                let (Released::Held | Released::Lost) = lock.release()?;
                return Ok(false);
            }
            let stands = self.write_lines(kept, &lines, sync);
            if stands.is_err() {
                kept.close(); // whatever it is about them
            }
            // An error in writing is told before one in releasing.
            let (stands, released) = (stands?, lock.release_into(&mut kept.lock)?);
            if stands && released == Released::Held {
                return Ok(true);
            }
        }
        Err(Error::new(
            ErrorKind::Io,
            "append to",
            &self.records,
            "what was written does not stand there when it is read back",
            "see who else writes to it",
        ))
    }

    fn lock_to_append(&self, kept: &mut KeptFiles, signals: &Deferred) -> Result<LockGuard> {
        let deadline = Deadline::after(self.wait);
        if kept.are_there() {
            let lock = &self.lock;
            match lock.acquire_with(&mut kept.lock, Peer::WithGuard, &deadline, signals) {
                // The directory may have been removed.
                Err(error) if error.is_absence() => kept.close(),
                result => return result,
            }
        }
        self.records_len()?; // refuse what is no record file before leaving any trace
        self.make_place()?;
        self.lock
            .acquire_with(&mut kept.lock, Peer::WithGuard, &deadline, signals)
    }

    /// Open, Heal, Write, Sync; `false` when another's late write got in between.
    fn write_lines(&self, kept: &mut KeptFiles, lines: &[u8], sync: bool) -> Result<bool> {
        let failed = |e| Error::io("append to", &self.records, e);
        // Only now: what is opened before the token is published may be renamed away (APP-2).
        let (file, length) = kept.records(self)?;
        let last = fs::last_byte(&file, length).map_err(failed)?;
        let healed;
        let text = match last {
            Some(last) if last != b'\n' => {
                healed = [b"\n", lines].concat();
                &healed
            }
            _ => lines,
        };
        (&*file).write_all(text).map_err(failed)?;
        let stands = fs::stands_whole(&file, text, length).map_err(failed)?;
        if sync {
            file.sync_data().map_err(failed)?;
            kept.sync_names(self)?;
        }
        Ok(stands)
    }

    /// What an earlier append wrote is on stable storage.
    fn sync_records(&self) -> Result<()> {
        let failed = |e| Error::io("sync", &self.records, e);
        // In a claim it is already (TAKE-8).
        if let Some(file) = fs::open_read(&self.records).map_err(failed)? {
            file.sync_data().map_err(failed)?;
        }
        self.sync_names()
    }

    /// APP-6, of the names; each may have been made by an append that did not sync.
    pub(super) fn sync_names(&self) -> Result<()> {
        self.sync_directory()?;
        self.root.as_ref().map_or(Ok(()), Root::sync)
    }

    fn bad_data(&self, why: String, next_step: &str) -> Error {
        Error::new(ErrorKind::Data, "append to", &self.records, why, next_step)
    }
}

/// How often an append begins anew, for a lost lock or another's late write, before it
/// takes the file for one that does not keep what is written.
const CUTS: usize = 100;
