//! Group append: the threads that append through one handle stand in one queue before the
//! lock, and those that wait go with the one who is next, in one write.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};

use super::append::Append;
use super::kept::KeptFiles;
use crate::error::{Error, Result};
use crate::mailbox::Mailbox;
use crate::sys::clock::Deadline;

/// What the clones of a mailbox share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    is_busy: bool,
    files: KeptFiles,
}

/// Lines that wait for somebody to write them.
#[derive(Debug)]
struct Waiting {
    lines: Vec<u8>,
    sync: bool,
    outcome: Outcome,
    thread: Thread,
}

/// What became of lines, once that is known.
type Outcome = Arc<OnceLock<Fate>>;

#[derive(Debug)]
enum Fate {
    /// Somebody wrote them, or failed to.
    Written(Result<()>),
    /// Nobody else writes: whoever waits for this does.
    Leads,
}

impl Shared {
    pub(super) fn keeping(files: KeptFiles) -> Shared {
        Shared {
            queue: Mutex::new(Queue {
                files,
                ..Queue::default()
            }),
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
        let mut queue = self.shared.queue();
        if queue.is_busy {
            let outcome = Outcome::default();
            queue.waiting.push_back(Waiting {
                lines: lines.to_vec(),
                sync: how.sync,
                outcome: Arc::clone(&outcome),
                thread: thread::current(),
            });
            drop(queue);
            if let Some(result) = self.wait_for(&outcome) {
                return result;
            }
        } else {
            queue.is_busy = true;
            drop(queue);
        }
        let mut leader = Leader::of(self);
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

    /// What became of lines in the queue; `None` when it is on us to write them.
    fn wait_for(&self, outcome: &Outcome) -> Option<Result<()>> {
        let deadline = Deadline::after(self.wait);
        loop {
            match outcome.get() {
                Some(Fate::Written(result)) => {
                    return Some(result.as_ref().copied().map_err(Error::again));
                }
                Some(Fate::Leads) => return None,
                // Once they go with somebody, what becomes of them is about to be known.
                None if deadline.has_passed() && self.shared.queue().leave(outcome) => {
                    return Some(Err(self.lock.busy()));
                }
                None if deadline.has_passed() => thread::park(),
                None => thread::park_timeout(deadline.left()),
            }
        }
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
        // One that is longer than that goes by itself.
        while let Some(next) = self.waiting.front()
            && (lines.is_empty() || lines.len() + next.lines.len() <= MOST)
        {
            let next = self.waiting.pop_front().expect("it was looked at");
            lines.to_mut().extend_from_slice(&next.lines);
            *sync |= next.sync;
            group.push(next);
        }
    }
}

impl Waiting {
    fn tell(self, fate: Fate) {
        let _ = self.outcome.set(fate); // nobody else sets it
        self.thread.unpark();
    }
}

/// The thread that writes, for itself and for those that go with it.
struct Leader<'a> {
    mailbox: &'a Mailbox,
    group: Vec<Waiting>,
    files: KeptFiles,
}

impl<'a> Leader<'a> {
    fn of(mailbox: &'a Mailbox) -> Leader<'a> {
        Leader {
            mailbox,
            group: Vec::new(),
            files: std::mem::take(&mut mailbox.shared.queue().files),
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
        for one in self.group.drain(..) {
            let result = result.as_ref().map(|_| ()).map_err(Error::again);
            one.tell(Fate::Written(result));
        }
        result.map(drop)
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let mut queue = self.mailbox.shared.queue();
        // After a panic: they wait for the next one.
        for one in self.group.drain(..).rev() {
            queue.waiting.push_front(one);
        }
        queue.files = std::mem::take(&mut self.files);
        match queue.waiting.pop_front() {
            Some(next) => next.tell(Fate::Leads),
            None => queue.is_busy = false,
        }
    }
}

/// How much goes in one write, but for what is longer by itself, in bytes.
const MOST: usize = 1 << 20;

/// How often a thread writes for others alone before it goes back to its own work.
const ROUNDS: usize = 16;
