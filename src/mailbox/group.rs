//! Group append: the threads that append through one handle stand in one queue before the
//! lock, and those that wait go with the one who is next, in one write.

use std::borrow::Cow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::append::Append;
use super::kept::KeptFiles;
use crate::error::{Error, Result};
use crate::mailbox::Mailbox;
use crate::sys::clock::Deadline;

/// What the clones of a mailbox share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// Somebody's append has ended.
    has_ended: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    is_busy: bool,
    /// How many threads are to be woken when an append has ended.
    asleep: usize,
    files: KeptFiles,
}

/// Lines that wait for somebody to write them.
#[derive(Debug)]
struct Waiting {
    lines: Vec<u8>,
    sync: bool,
    outcome: Outcome,
}

/// What became of lines, once that is known.
type Outcome = Arc<OnceLock<Result<()>>>;

impl Shared {
    pub(super) fn keeping(files: KeptFiles) -> Shared {
        let queue = Queue {
            files,
            ..Queue::default()
        };
        Shared {
            queue: Mutex::new(queue),
            has_ended: Condvar::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing is done while it is held that could leave it half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mailbox {
    /// Appends text of whole lines until it is known to stand (APP-7), together with what
    /// other threads append meanwhile.
    pub(crate) fn append_lines(&self, lines: &[u8], how: &Append) -> Result<()> {
        let deadline = Deadline::after(self.wait);
        let mut queue = self.shared.queue();
        let outcome = Outcome::default();
        if queue.is_busy {
            queue.waiting.push(Waiting {
                lines: lines.to_vec(),
                sync: how.sync,
                outcome: Arc::clone(&outcome),
            });
        }
        while queue.is_busy {
            let left = deadline.left();
            queue.asleep += 1;
            let ended = self.shared.has_ended.wait_timeout(queue, left);
            queue = ended.unwrap_or_else(PoisonError::into_inner).0;
            queue.asleep -= 1;
            if let Some(result) = outcome.get() {
                return result.as_ref().copied().map_err(Error::again);
            }
            // Once they go with somebody, what becomes of them is about to be known.
            if queue.is_busy && deadline.has_passed() && queue.leave(&outcome) {
                return Err(self.lock.busy());
            }
        }
        queue.leave(&outcome);
        let mut leader = Leader::of(self, queue);
        let result = leader.write(lines.into(), how);
        // Those who came meanwhile need not wait until one of them is awake.
        for _ in 0..ROUNDS {
            if !leader.is_followed() {
                break;
            }
            let _ = leader.write(
                Cow::Borrowed(b""),
                &Append {
                    sync: false,
                    ..*how
                },
            ); // theirs alone
        }
        result
    }
}

impl Queue {
    /// Takes what is to be told this outcome out; `false` when it is not waiting any more.
    fn leave(&mut self, outcome: &Outcome) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|it| !Arc::ptr_eq(&it.outcome, outcome));
        self.waiting.len() < before
    }

    /// Moves those that wait to `group`, and their lines to the end of `lines`.
    fn join(&mut self, group: &mut Vec<Waiting>, lines: &mut Cow<'_, [u8]>, sync: &mut bool) {
        let mut size = 0;
        let over = self.waiting.iter().position(|it| {
            size += it.lines.len();
            size > MOST
        });
        // One that is longer goes by itself.
        let fit = over.unwrap_or(self.waiting.len());
        let fit = if lines.is_empty() { fit.max(1) } else { fit };
        for one in self.waiting.drain(..fit.min(self.waiting.len())) {
            lines.to_mut().extend_from_slice(&one.lines);
            *sync |= one.sync;
            group.push(one);
        }
    }
}

/// The thread that writes, for itself and for those that go with it.
struct Leader<'a> {
    mailbox: &'a Mailbox,
    group: Vec<Waiting>,
    files: KeptFiles,
}

impl<'a> Leader<'a> {
    fn of(mailbox: &'a Mailbox, mut queue: MutexGuard<'a, Queue>) -> Leader<'a> {
        queue.is_busy = true;
        Leader {
            mailbox,
            group: Vec::new(),
            files: std::mem::take(&mut queue.files),
        }
    }

    fn is_followed(&self) -> bool {
        !self.mailbox.shared.queue().waiting.is_empty()
    }

    /// Appends `lines`, and those of all who wait by the time the lock is had.
    fn write(&mut self, lines: Cow<'_, [u8]>, how: &Append) -> Result<()> {
        let Leader {
            mailbox,
            group,
            files,
        } = self;
        let result = mailbox.append_with(files, lines, how, |lines, sync| {
            mailbox.shared.queue().join(group, lines, sync);
            Ok(lines.is_empty()) // they have left
        });
        if !self.group.is_empty() {
            for one in self.group.drain(..) {
                let outcome = result.as_ref().map(|_| ()).map_err(Error::again);
                let _ = one.outcome.set(outcome); // nobody else sets it
            }
            self.mailbox.shared.has_ended.notify_all();
        }
        result.map(drop)
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let mut queue = self.mailbox.shared.queue();
        // After a panic: they wait for the next one.
        queue.waiting.splice(0..0, self.group.drain(..));
        queue.files = std::mem::take(&mut self.files);
        queue.is_busy = false;
        if queue.asleep > 0 {
            self.mailbox.shared.has_ended.notify_all();
        }
    }
}

/// How much goes in one write, the lines of the thread that writes not counted, in bytes.
const MOST: usize = 1 << 20;

/// How often a thread writes for others alone before it goes back to its own work.
const ROUNDS: usize = 16;
