//! The guard as the waiting room: taking it, turn by turn, and going on without it when the
//! one who has it is frozen.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use super::kept::{Kept, Opened};
use super::{Lock, age};
use crate::error::Result;
use crate::format::{BACKOFF, PATIENCE, STALE, TURN};
use crate::sys::clock::{Backoff, Deadline};
use crate::sys::fs::{self, Identity};
use crate::sys::guard::{self, Flock, Turn, Turns};
use crate::sys::signals::Deferred;

/// Those who found the guard held, one behind the other (ACQ-10).
pub(super) enum Queue {
    /// Whether to wait at once: who has just had the guard and found others waiting for it
    /// does not go before them.
    At(bool),
    /// Next to have the guard, from this moment on.
    Next { _turn: Turn, soon: Deadline },
    /// Had no turn in time, or there is none: on with the others who look now and then.
    Left,
}

impl Queue {
    /// Whether there is a turn to wait for now.
    fn join(&mut self) -> bool {
        let is_new = matches!(self, Queue::At(false));
        if is_new {
            *self = Queue::At(true);
        }
        is_new
    }

    fn wait_for_turn(
        &mut self,
        turns: &mut Turns,
        guard: &Arc<File>,
        deadline: &Deadline,
        signals: &Deferred,
    ) {
        if let Queue::At(true) = self {
            let at_most = deadline.left().min(TURN);
            let turn = signals.let_through(|| turns.wait(guard, at_most));
            *self = turn.map_or(Queue::Left, |turn| Queue::Next {
                _turn: turn,
                soon: Deadline::after(SPIN),
            });
        }
    }

    /// Whether the guard may be had any moment, and only by us: a sleep would last longer
    /// than its holder needs.
    fn is_next_soon(&self) -> bool {
        let is_soon = matches!(self, Queue::Next { soon, .. } if !soon.has_passed());
        if is_soon {
            std::thread::yield_now();
        }
        is_soon
    }

    fn has_waited(&self) -> bool {
        !matches!(self, Queue::At(false))
    }
}

/// How long the next one looks without a pause.
const SPIN: Duration = Duration::from_millis(1);

/// Whether the holder of the guard may be at work.
enum Signs {
    /// D is held with the guard, or S was just made.
    OfHolder,
    /// D is held, as far as one can see without the guard.
    OfAnother,
    /// D and S are old, or not there.
    None(Idle),
}

/// D and S at one moment, each old or not there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Idle {
    lock: Option<Identity>,
    mark: Option<Identity>,
}

impl Lock {
    /// ACQ-1, ACQ-2: the guard, or `None` to go on without it. Whoever is behind us has his
    /// turn when the queue is dropped: not before he can no longer be overtaken by the one
    /// who has just let go of the guard.
    pub(super) fn take_guard(
        &self,
        kept: &mut Kept,
        deadline: &Deadline,
        signals: &Deferred,
    ) -> Result<Option<(Opened, Queue)>> {
        let failed = |e| self.failed(&self.guard, e);
        let open = || fs::open_guard(&self.guard);
        let (mut guard, mut was_kept) = kept.guard(open).map_err(failed)?;
        let mut queue = Queue::At(kept.had_to_wait);
        if kept.had_to_wait {
            std::thread::yield_now(); // or none of those who wait can get in line before us
        }
        kept.had_to_wait = false;
        let mut backoff = Backoff::new(BACKOFF);
        let mut idle: Option<(Idle, Deadline)> = None;
        let mut is_first = true;
        loop {
            queue.wait_for_turn(&mut kept.turns, &guard.file, deadline, signals);
            // Before the looks: they are to span the whole of it.
            let is_over = idle.as_ref().is_some_and(|(_, end)| end.has_passed());
            let is_late = deadline.has_passed();
            match guard::try_lock(&guard.file).map_err(failed)? {
                Flock::Held if was_kept && !self.is_guard(&guard)? => {
                    // Its name is another file's by now; closed, it is let go of.
                    (guard, was_kept) = kept.guard(open).map_err(failed)?;
                    continue;
                }
                Flock::Held => {
                    kept.had_to_wait = queue.has_waited();
                    return Ok(Some((guard, queue)));
                }
                Flock::Unsupported => return Ok(None),
                Flock::Contended => {}
            }
            if queue.join() {
                continue;
            }
            // A holder of the guard that is frozen must not wedge anybody. One that runs
            // changes D or S within the patience, or lets go.
            let is_as_before = match self.signs()? {
                Signs::None(found) => {
                    let is_as_before = idle.as_ref().is_some_and(|(before, _)| *before == found);
                    if is_as_before && is_over && (found.lock.is_some() || is_late) {
                        return Ok(None);
                    }
                    if !is_as_before {
                        idle = Some((found, Deadline::after(PATIENCE)));
                    }
                    is_as_before
                }
                Signs::OfAnother => false,
                Signs::OfHolder => {
                    idle = None;
                    false
                }
            };
            if is_late && !is_as_before && !(is_first && idle.is_some()) {
                return Err(self.busy());
            }
            is_first = false;
            let until = match &idle {
                Some((_, patience)) if is_late => patience,
                _ => deadline,
            };
            if !queue.is_next_soon() {
                backoff.wait(until, signals);
            }
        }
    }

    /// ACQ-9: whether the guard's name is still the file that is open.
    fn is_guard(&self, guard: &Opened) -> Result<bool> {
        let there = fs::lstat(&self.guard).map_err(|e| self.failed(&self.guard, e))?;
        Ok(there.is_some_and(|there| guard.is(&there)))
    }

    /// What a peer that waits at the guard can tell of the one who has it (ACQ-2).
    fn signs(&self) -> Result<Signs> {
        let lock = self.read_dir()?;
        let mark = fs::lstat(&self.steal).map_err(|e| self.failed(&self.steal, e))?;
        if mark.as_ref().is_some_and(|meta| age(meta) <= STALE) {
            return Ok(Signs::OfHolder);
        }
        if lock.as_ref().is_some_and(|(_, age)| *age <= STALE) {
            let is_guarded = self.read_owner()?.is_some_and(|owner| owner.is_guarded());
            return Ok(match is_guarded {
                true => Signs::OfHolder,
                false => Signs::OfAnother,
            });
        }
        Ok(Signs::None(Idle {
            lock: lock.map(|(id, _)| id),
            mark: mark.as_ref().map(Identity::of),
        }))
    }
}
