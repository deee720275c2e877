//! What a handle keeps open between its appends (ACQ-9).

use std::fs::File;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::lock::{Kept, Opened};
use crate::mailbox::Mailbox;
use crate::sys::fs;

/// Files kept open; with the default, none.
#[derive(Debug, Default)]
pub(super) struct KeptFiles {
    pub(super) lock: Kept,
    records: Option<Opened>,
    /// Whether the names on the way to the records are on stable storage.
    has_synced_names: bool,
}

impl KeptFiles {
    pub(super) fn keeping() -> KeptFiles {
        KeptFiles {
            lock: Kept::keeping(),
            ..KeptFiles::default()
        }
    }

    /// Whether an append has gone well with them, and so all directories are there.
    pub(super) fn are_there(&self) -> bool {
        self.records.is_some()
    }

    /// Lets go of them all; the next append begins anew.
    pub(super) fn close(&mut self) {
        if self.lock.is_keeping() {
            *self = KeptFiles::keeping();
        }
    }

    /// The record file as it is named now, open for appending, and its length (APP-2, ACQ-9).
    /// To be called with the lock.
    pub(super) fn records(&mut self, mailbox: &Mailbox) -> Result<(Arc<File>, u64)> {
        let failed = |e| Error::io("append to", &mailbox.records, e);
        if let Some(opened) = &self.records
            && let Some(there) = fs::lstat(&mailbox.records).map_err(failed)?
            && opened.is(&there)
            && self.lock.is_ours(opened)
        {
            return Ok((Arc::clone(&opened.file), there.len()));
        }
        let (file, meta) = fs::open_append(&mailbox.records).map_err(failed)?;
        let length = meta.len();
        let opened = self.lock.opened((file, meta));
        let file = Arc::clone(&opened.file);
        self.has_synced_names = false;
        self.records = Some(opened).filter(|_| self.lock.is_keeping());
        Ok((file, length))
    }

    /// APP-6, of the names. Those on the way to a file that has kept its name since are
    /// there already.
    pub(super) fn sync_names(&mut self, mailbox: &Mailbox) -> Result<()> {
        if !self.has_synced_names {
            mailbox.sync_names()?;
            self.has_synced_names = self.are_there();
        }
        Ok(())
    }
}
