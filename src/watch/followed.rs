//! When to read: at once, then at most once in a window, then what came meanwhile.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::format::record::Record;
use crate::watch::follow::Follower;

/// A follower and its debounce.
pub(crate) struct Followed {
    follower: Follower,
    window: Duration,
    /// Until when what comes has to wait.
    closed_until: Option<Instant>,
    is_due: bool,
}

impl Followed {
    pub(crate) fn new(follower: Follower, window: Duration) -> Followed {
        Followed {
            follower,
            window,
            closed_until: None,
            is_due: true,
        }
    }

    pub(crate) fn follower(&self) -> &Follower {
        &self.follower
    }

    /// Says that the mailbox may have changed.
    pub(crate) fn changed(&mut self) -> Result<()> {
        self.is_due |= self.follower.note()?;
        Ok(())
    }

    /// When to [`read`](Followed::read); `None` when there is nothing to read.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let is_pressing = self.follower.is_full() || self.closed_until.is_none();
        let due = self.closed_until.filter(|_| !is_pressing).unwrap_or(now);
        self.is_due.then_some(due)
    }

    /// Hands over what is new. Where it hands over anything, the window begins.
    pub(crate) fn read(
        &mut self,
        take: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let mut is_any = false;
        self.is_due = false;
        let flow = self.follower.read(&mut |record| {
            take(record)?;
            is_any = true;
            ControlFlow::Continue(())
        });
        self.closed_until = is_any
            .then(|| Instant::now().checked_add(self.window))
            .flatten();
        if matches!(flow, Ok(ControlFlow::Break(()))) {
            self.is_due = true;
        }
        flow
    }
}
