//! Receipts: what was handed over, when and by what, beside the ledger.

use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};
use crate::format::name::id_number;
use crate::format::receipt::{Receipt, appended};
use crate::format::record::Record;
use crate::format::{RECEIPT_IDS, RECEIPTS_MAX, SEEN_IDS, place, suffix};
use crate::lock::beside;
use crate::mailbox::Mailbox;
use crate::sys::{clock, fs};

const OP: &str = "write a receipt to";

/// What a claim hands over, as far as a receipt tells of it.
pub(super) struct Handed {
    /// Whether anybody asks.
    is_kept: bool,
    ids: Vec<u64>,
    /// The requests that were answered.
    answers: Vec<u64>,
}

impl Handed {
    pub(super) fn of(mailbox: &Mailbox) -> Handed {
        Handed {
            is_kept: mailbox.ledger.is_some(),
            ids: Vec::new(),
            answers: Vec::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.answers.clear();
    }

    /// Notes one more; of very many the first ones only.
    pub(super) fn note(&mut self, record: &Record) {
        if !self.is_kept || self.ids.len() >= SEEN_IDS {
            return;
        }
        self.ids.extend(record.id().and_then(id_number));
        self.answers.extend(record.reply_to().and_then(id_number));
    }
}

impl Mailbox {
    /// RECEIPT-1 and PENDING-2, for a mailbox that has a ledger.
    pub(super) fn note_handed_over(&self, handed: &Handed, by: &str) -> Result<()> {
        let (Some(root), Some(ledger)) = (&self.root, &self.ledger) else {
            return Ok(());
        };
        let answered = match handed.answers.is_empty() {
            true => Ok(()),
            false => root
                .pending(&self.title)
                .and_then(|pending| forget_requests(&pending, &handed.answers)),
        };
        if !handed.ids.is_empty() && Mailbox::at(ledger).has_mail()? {
            root.check_place(&root.place(place::RECEIVED))?;
            write_receipts(ledger, &handed.ids, by)?;
        }
        answered
    }
}

fn forget_requests(pending: &Path, answered: &[u64]) -> Result<()> {
    for request in answered {
        let path = pending.join(format!("{request:016x}"));
        fs::unlink(&path).map_err(|e| Error::io("remove", &path, e))?;
    }
    fs::rmdir(pending)
        .map(drop)
        .map_err(|e| Error::io("remove", pending, e))
}

fn write_receipts(ledger: &Path, ids: &[u64], by: &str) -> Result<()> {
    let path = beside(ledger, suffix::RECEIPTS);
    let failed = |e| Error::io(OP, &path, e);
    let (mut file, opened) = fs::open_append(&path).map_err(failed)?;
    if opened.len() > RECEIPTS_MAX {
        // RECEIPT-2, unless another did so since.
        let there = fs::lstat(&path).map_err(failed)?;
        if there.is_some_and(|there| fs::is_same(&there, &opened)) {
            fs::rename(&path, &beside(ledger, suffix::OLD_RECEIPTS)).map_err(failed)?;
        }
        (file, _) = fs::open_append(&path).map_err(failed)?;
    }
    for ids in ids.chunks(RECEIPT_IDS) {
        let receipt = Receipt {
            at: clock::unix_seconds(),
            by: by.to_owned(),
            ids: ids.iter().map(|id| format!("{id:016x}")).collect(),
        };
        file.write_all(&appended(&receipt)).map_err(failed)?;
    }
    Ok(())
}
