//! Migrate: the mail of one mailbox becomes that of another, without a copy.

use crate::error::{Error, Result};
use crate::lock::Released;
use crate::mailbox::{Claim, Mailbox};
use crate::sys::fs;
use crate::sys::signals::Deferred;

impl Claim {
    /// Moves the mail into the claims of `to`, where it is the next reader's (MIGRATEV-1).
    ///
    /// # Guarantees
    /// Each claim is in one of the two mailboxes at every moment, so that no record is lost
    /// or there twice when this is stopped; what was not moved is put back.
    ///
    /// # Errors
    /// As for [`append`](Mailbox::append); [`ErrorKind::Io`](crate::ErrorKind::Io) when `to`
    /// is on another filesystem.
    pub fn move_to(self, to: &Mailbox) -> Result<()> {
        self.move_to_holding(to, &Deferred::begin())
    }

    /// The same for a caller who holds signals back.
    pub(crate) fn move_to_holding(self, to: &Mailbox, signals: &Deferred) -> Result<()> {
        let lock = to.acquire(signals)?;
        // Oldest first: a reader of `to` gets them in order, wherever this ends.
        for (from, there) in self.places_in(to) {
            let failed = |e| Error::io("move mail to", &there, e);
            to.make_claims_dir()?;
            let renamed = || {
                fs::rename(&from, &there).map_err(|e| {
                    let _ = to.remove_empty_claims(); // the error before it is told
                    failed(e)
                })
            };
            while !renamed()? {
                if fs::lstat(&from).map_err(failed)?.is_none() {
                    break; // adopted by another reader
                }
                // A reader who finished has removed the directory.
                to.make_claims_dir()?;
            }
        }
        self.remove_dir()?;
        // Nothing of it depends on the lock, which is for order.
        let (Released::Held | Released::Lost) = lock.release()?;
        Ok(())
    }
}
