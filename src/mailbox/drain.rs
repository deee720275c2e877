//! Drain: look, acquire, adopt, claim, and release as the fence.

use crate::error::Result;
use crate::lock::Released;
use crate::mailbox::Mailbox;
use crate::mailbox::claim::{Claim, Claims};
use crate::sys::signals::Deferred;

impl Mailbox {
    /// Takes all mail into the caller's hands, oldest first; `None` when there is none.
    ///
    /// # Guarantees
    /// Every message acknowledged before the call is in the claim, unless another
    /// live reader has it. Nothing is removed before [`Claim::ack`].
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) when the lock was not had in time;
    /// the mail stays.
    pub fn drain(&self) -> Result<Option<Claim>> {
        self.drain_holding(&Deferred::begin())
    }

    /// The same for a caller who holds signals back until the claim is in good hands.
    pub(crate) fn drain_holding(&self, signals: &Deferred) -> Result<Option<Claim>> {
        // Look (DRAIN-1)
        if !self.has_mail()? {
            return Ok(None);
        }
        self.check_damaged_path()?;
        let mut claims = Claims::of(self);
        let lock = self.acquire(signals)?;
        claims.adopt(&lock)?;
        claims.claim_records(&lock)?;
        if claims.is_empty() {
            claims.remove_dir()?;
        }
        // Fence (DRAIN-4): an appender that wrote into what we hold either was
        // acknowledged before this, or finds its token gone.
        if lock.release()? == Released::Lost {
            // That we could publish anew says as much: no other token is in place.
            let (Released::Held | Released::Lost) = self.acquire(signals)?.release()?;
        }
        Ok((!claims.is_empty()).then(|| Claim::new(claims, 0, "drain")))
    }
}
