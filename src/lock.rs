//! The lock: acquire, recover, verify, release. Knows nothing of mailboxes.
//!
//! It owns four paths beside a file, and refuses anything there that the protocol
//! would not have put there. [`Lock::acquire`] publishes a token; what was done
//! under it counts only when [`LockGuard::release`] says it was still held.
//!
//! The lock gives order and progress. It cannot exclude a process that stalls for
//! longer than 30 s and wakes up; that is what the answer of `release` is for.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::format::token::{Owner, Token};
use crate::format::{BACKOFF, NEARLY_STALE, PATIENCE, SETTLE, STALE, suffix};
use crate::sys::clock::{self, Backoff, Deadline};
use crate::sys::fs::{self, Identity, Removed};
use crate::sys::guard::{self, Flock};
use crate::sys::signals::Deferred;

/// The path of `base` with `ending` appended.
pub(crate) fn beside(base: &Path, ending: &str) -> PathBuf {
    let mut path = base.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// How a process takes the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// R: holds the guard, so that the kernel tells others when it dies.
    WithGuard,
    /// M: by the rules every shell can follow.
    WithoutGuard,
}

/// The lock beside one file.
#[derive(Clone, Debug)]
pub(crate) struct Lock {
    dir: PathBuf,
    owner: PathBuf,
    steal: PathBuf,
    guard: PathBuf,
}

/// What a look at the lock shows.
pub(crate) enum State {
    Free,
    Held {
        owner: Option<Owner>,
        age: std::time::Duration,
    },
}

impl State {
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self, State::Held { age, .. } if *age > STALE)
    }

    fn is_free(&self) -> bool {
        matches!(self, State::Free)
    }
}

impl Lock {
    pub(crate) fn beside(base: &Path) -> Lock {
        Lock {
            dir: beside(base, suffix::LOCK),
            owner: beside(base, suffix::OWNER),
            steal: beside(base, suffix::STEAL),
            guard: beside(base, suffix::GUARD),
        }
    }

    /// Takes the lock, waiting until `deadline` and trying at least once.
    pub(crate) fn acquire(
        &self,
        peer: Peer,
        deadline: &Deadline,
        signals: &Deferred,
    ) -> Result<LockGuard> {
        let guard = match peer {
            Peer::WithGuard => self.take_guard(deadline, signals)?,
            Peer::WithoutGuard => None,
        };
        let token = Token::new(std::process::id(), rand::random(), guard.is_some());
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            let progress = if fs::mkdir(&self.dir).map_err(|e| self.failed(&self.dir, e))? {
                if let Some(reserve) = self.publish(&token)? {
                    let (lock, reserve) = (self.clone(), Some(reserve));
                    return Ok(LockGuard {
                        lock,
                        token,
                        guard,
                        reserve,
                        done: false,
                    });
                }
                // O was there: somebody who stalled between his mkdir and his publish got
                // it in, or a clearer died between the two. D has to stay, so that its age
                // can tell (ACQ-5).
                Recovered::NotYet
            } else {
                self.recover(guard.is_some())?
            };
            match progress {
                Recovered::Yes => continue,
                Recovered::NotYet if deadline.has_passed() => return Err(self.busy()),
                Recovered::NotYet => backoff.wait(deadline, signals),
            }
        }
    }

    /// ACQ-1, ACQ-2: the guard, or `None` to go on without it.
    fn take_guard(&self, deadline: &Deadline, signals: &Deferred) -> Result<Option<File>> {
        let file = fs::open_guard(&self.guard).map_err(|e| self.failed(&self.guard, e))?;
        let mut backoff = Backoff::new(BACKOFF);
        let mut idle: Option<(Idle, Deadline)> = None;
        let mut is_first = true;
        loop {
            // Before the looks: they are to span the whole of it.
            let is_over = idle.as_ref().is_some_and(|(_, end)| end.has_passed());
            let is_late = deadline.has_passed();
            match guard::try_lock(&file).map_err(|e| self.failed(&self.guard, e))? {
                Flock::Held => return Ok(Some(file)),
                Flock::Unsupported => return Ok(None),
                Flock::Contended => {}
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
            backoff.wait(until, signals);
        }
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

    /// ACQ-4: makes the owner file hold the token; `None` when there is one already.
    fn publish(&self, token: &Token) -> Result<Option<File>> {
        let undo = |made: Option<&File>| {
            // Ours only while the name is still the file we made.
            if let (Some(made), Ok(Some(there))) = (made, fs::lstat(&self.owner))
                && made.metadata().is_ok_and(|made| fs::is_same(&made, &there))
            {
                let _ = fs::unlink(&self.owner); // already failing
            }
            let _ = fs::rmdir(&self.dir); // likewise; a wrong rmdir costs a retry
        };
        let mut file = match fs::create_new(&self.owner) {
            Ok(Some(file)) => file,
            Ok(None) => {
                // A planted link or FIFO is refused, not waited for, and D was ours.
                return self.read_owner().map(|_| None).inspect_err(|_| undo(None));
            }
            Err(e) => {
                undo(None);
                return Err(self.failed(&self.owner, e));
            }
        };
        if let Err(e) = file.write_all(token.as_str().as_bytes()) {
            undo(Some(&file));
            return Err(self.failed(&self.owner, e));
        }
        Ok(Some(file))
    }

    /// Clears a stale lock, when it is one.
    fn recover(&self, have_guard: bool) -> Result<Recovered> {
        // Observe: the token before the directory, so that a directory that is old
        // belongs to the token or to nobody.
        let observed = self.read_owner()?;
        let Some((id, age)) = self.read_dir()? else {
            return Ok(Recovered::Yes);
        };
        // Judge
        let is_dead = have_guard && observed.as_ref().is_some_and(Owner::is_guarded);
        let is_old = age > STALE;
        if !is_dead && !is_old {
            return Ok(Recovered::NotYet);
        }
        // Mark
        if !fs::mkdir(&self.steal).map_err(|e| self.failed(&self.steal, e))? {
            self.clear_stale_mark()?;
            return Ok(Recovered::NotYet);
        }
        let cleared = self.clear(observed.as_ref(), &id, is_old);
        fs::rmdir(&self.steal).map_err(|e| self.failed(&self.steal, e))?;
        cleared
    }

    /// Compare, Clear and Settle, holding the steal marker.
    fn clear(&self, observed: Option<&Owner>, id: &Identity, is_old: bool) -> Result<Recovered> {
        if self.read_owner()?.as_ref() != observed {
            return Ok(Recovered::NotYet);
        }
        let age = match self.read_dir()? {
            Some((now, age)) if now == *id => age,
            _ => return Ok(Recovered::NotYet),
        };
        if observed.is_some() {
            fs::unlink(&self.owner).map_err(|e| self.failed(&self.owner, e))?;
        }
        let removed = fs::rmdir(&self.dir).map_err(|e| self.failed(&self.dir, e))?;
        if is_old && removed == Removed::NotEmpty {
            fs::remove_tree(&self.dir).map_err(|e| self.failed(&self.dir, e))?;
        }
        if is_old || age > NEARLY_STALE {
            // A legacy peer that saw it old may be between its own look and its rmdir.
            std::thread::sleep(SETTLE);
        }
        Ok(Recovered::Yes)
    }

    /// REC-4: a marker whose maker died.
    pub(crate) fn clear_stale_mark(&self) -> Result<()> {
        let Some(meta) = fs::lstat(&self.steal).map_err(|e| self.failed(&self.steal, e))? else {
            return Ok(());
        };
        if !meta.is_dir() {
            return Err(Error::unsafe_file(OP, &self.steal));
        }
        if age(&meta) > STALE {
            let removed = fs::rmdir(&self.steal).map_err(|e| self.failed(&self.steal, e))?;
            if removed == Removed::NotEmpty {
                fs::remove_tree(&self.steal).map_err(|e| self.failed(&self.steal, e))?;
            }
        }
        Ok(())
    }

    /// Release with a token that was printed by an earlier process (RELV-1).
    pub(crate) fn release(&self, token: &Token) -> Result<Released> {
        // Verify (REL-1). An owner file that was made and not written yet is nobody's.
        let is_ours = |owner: Owner| owner.is(token) && !token.as_str().is_empty();
        if !self.read_owner()?.is_some_and(is_ours) {
            return Ok(Released::Lost);
        }
        fs::unlink(&self.owner).map_err(|e| self.failed(&self.owner, e))?;
        // From here on a wrong rmdir only costs somebody a retry.
        fs::rmdir(&self.dir).map_err(|e| self.failed(&self.dir, e))?;
        Ok(Released::Held)
    }

    /// Whether its holder is dead by the word of the kernel: it had the guard (REC-1).
    pub(crate) fn is_of_a_dead_holder(&self) -> Result<bool> {
        if !self.read_owner()?.is_some_and(|owner| owner.is_guarded()) || self.state()?.is_free() {
            return Ok(false);
        }
        let file = fs::open_read(&self.guard).map_err(|e| self.failed(&self.guard, e))?;
        let Some(file) = file else {
            return Ok(false);
        };
        let held = guard::try_lock(&file).map_err(|e| self.failed(&self.guard, e))?;
        // Its holder may have released it before we had the guard.
        let owner = self.read_owner()?;
        guard::unlock(&file);
        Ok(matches!(held, Flock::Held) && owner.is_some_and(|owner| owner.is_guarded()))
    }

    /// Whether there is an owner file and no lock: whoever takes the lock next finds that
    /// out, and waits until it is 30 s old (ACQ-5).
    pub(crate) fn has_owner_alone(&self) -> Result<bool> {
        Ok(self.state()?.is_free() && self.read_owner()?.is_some() && self.state()?.is_free())
    }

    /// Whether a steal marker is older than any that is in use.
    pub(crate) fn has_stale_mark(&self) -> Result<bool> {
        let meta = fs::lstat(&self.steal).map_err(|e| self.failed(&self.steal, e))?;
        Ok(meta.is_some_and(|meta| meta.is_dir() && age(&meta) > STALE))
    }

    /// What the lock looks like now.
    pub(crate) fn state(&self) -> Result<State> {
        let owner = self.read_owner()?;
        Ok(match self.read_dir()? {
            Some((_, age)) => State::Held { owner, age },
            None => State::Free,
        })
    }

    fn read_owner(&self) -> Result<Option<Owner>> {
        let bytes = fs::read(&self.owner).map_err(|e| self.failed(&self.owner, e))?;
        Ok(bytes.map(Owner::from_bytes))
    }

    fn read_dir(&self) -> Result<Option<(Identity, std::time::Duration)>> {
        match fs::lstat(&self.dir).map_err(|e| self.failed(&self.dir, e))? {
            Some(meta) if meta.is_dir() => Ok(Some((Identity::of(&meta), age(&meta)))),
            Some(_) => Err(Error::unsafe_file(OP, &self.dir)),
            None => Ok(None),
        }
    }

    /// The lock was not had in time: who holds it, and what to do.
    fn busy(&self) -> Error {
        let detail = match self.state() {
            Ok(State::Held { owner, age }) => {
                let who = match owner.as_ref().and_then(Owner::pid) {
                    Some(pid) => format!("held by process {pid}"),
                    None => "held".into(),
                };
                format!("{who} for {} s", age.as_secs())
            }
            _ => "contended".into(),
        };
        let next_step = "try again, or wait longer with --wait; a lock whose holder died is \
                         recovered when it is 30 s old";
        Error::new(ErrorKind::Busy, OP, &self.dir, detail, next_step)
    }

    fn failed(&self, path: &Path, error: std::io::Error) -> Error {
        Error::io(OP, path, error)
    }
}

const OP: &str = "lock";

fn age(meta: &std::fs::Metadata) -> std::time::Duration {
    // A filesystem without mtime reads as 1970, which is old.
    clock::distance_from_now(meta.modified().unwrap_or(std::time::UNIX_EPOCH))
}

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

#[derive(PartialEq, Eq)]
enum Recovered {
    /// The gate may be open: try it at once.
    Yes,
    /// Somebody holds the lock, or is clearing it: wait.
    NotYet,
}

/// Whether a lock that was released had been held until then (REL-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Released {
    /// It was, and is free now.
    Held,
    /// It was another's by then; nothing was touched.
    Lost,
}

/// A held lock.
///
/// # Pitfalls
/// Other peers take the lock of a process that stalls for 30 s. What was done
/// under it counts only when [`release`](LockGuard::release) answers
/// [`Released::Held`]. A holder that needs longer calls [`renew`](LockGuard::renew).
///
/// Dropping it releases it, and the answer is lost.
#[derive(Debug)]
pub struct LockGuard {
    lock: Lock,
    token: Token,
    guard: Option<File>,
    /// The owner file as it was published. Closed before it is read again, so that
    /// [`release`](LockGuard::release) never lacks a descriptor.
    reserve: Option<File>,
    done: bool,
}

impl LockGuard {
    /// The token in the owner file.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Whether the owner file still reads this token.
    ///
    /// # Errors
    /// When the owner file cannot be read.
    pub fn still_held(&self) -> Result<bool> {
        Ok(self
            .lock
            .read_owner()?
            .is_some_and(|owner| owner.is(&self.token)))
    }

    /// Makes the lock young again, if it is still held (ACQ-7).
    ///
    /// # Errors
    /// When the owner file cannot be read or the lock directory not be touched.
    pub fn renew(&self) -> Result<bool> {
        let held = self.still_held()?;
        if held {
            fs::touch_directory(&self.lock.dir).map_err(|e| self.lock.failed(&self.lock.dir, e))?;
        }
        Ok(held)
    }

    /// Releases the lock and says whether it was held until now.
    ///
    /// # Errors
    /// When the owner file cannot be read, or the lock not be removed.
    pub fn release(mut self) -> Result<Released> {
        self.done = true;
        self.reserve = None;
        self.lock.release(&self.token)
    }

    /// Lets go of the lock without removing it: whoever has the token releases it.
    pub(crate) fn leave(mut self) -> Token {
        self.done = true;
        self.token.clone()
    }

    /// Whether it was taken with the guard.
    pub(crate) fn is_guarded(&self) -> bool {
        self.guard.is_some()
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if !self.done {
            self.reserve = None;
            let _ = self.lock.release(&self.token); // nobody to tell; it goes stale by itself
        }
        if let Some(file) = &self.guard {
            guard::unlock(file);
        }
    }
}
