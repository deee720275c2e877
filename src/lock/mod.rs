//! The lock: acquire, recover, verify, release. Knows nothing of mailboxes.
//!
//! `waiting.rs` is the guard, where peers wait for each other; `recover.rs` clears the lock
//! of a dead holder; `kept.rs` has the files that a handle keeps open. The rest is here.
//!
//! It owns four paths beside a file, and refuses anything there that the protocol
//! would not have put there. [`Lock::acquire`] publishes a token; what was done
//! under it counts only when [`LockGuard::release`] says it was still held.
//!
//! The lock gives order and progress. It cannot exclude a process that stalls for
//! longer than 30 s and wakes up; that is what the answer of `release` is for.

mod kept;
mod recover;
mod waiting;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use self::kept::Private;
pub(crate) use self::kept::{Kept, Opened};
use self::recover::Recovered;
use crate::error::{Error, ErrorKind, Result};
use crate::format::token::{Owner, Token};
use crate::format::{BACKOFF, STALE, suffix};
use crate::sys::clock::{self, Backoff, Deadline};
use crate::sys::fs::{self, Identity};
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
    /// What the name of a temporary begins with.
    temporary: PathBuf,
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
            temporary: beside(base, suffix::TEMPORARY),
        }
    }

    /// Takes the lock, waiting until `deadline` and trying at least once.
    pub(crate) fn acquire(
        &self,
        peer: Peer,
        deadline: &Deadline,
        signals: &Deferred,
    ) -> Result<LockGuard> {
        self.acquire_with(&mut Kept::default(), peer, deadline, signals)
    }

    /// The same with the files in `kept`.
    pub(crate) fn acquire_with(
        &self,
        kept: &mut Kept,
        peer: Peer,
        deadline: &Deadline,
        signals: &Deferred,
    ) -> Result<LockGuard> {
        let process = kept.begin();
        let guard = match peer {
            Peer::WithGuard => self.take_guard(kept, deadline, signals)?,
            Peer::WithoutGuard => None,
        };
        let (guard, _turn) = guard.unzip();
        let token = Token::new(process, rand::random(), guard.is_some());
        let mut private = match guard {
            Some(_) => self.private(&token, kept)?,
            None => None,
        };
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            let progress = if fs::mkdir(&self.dir).map_err(|e| self.failed(&self.dir, e))? {
                if let Some(published) = self.publish(&token, &mut private, kept)? {
                    let lock = self.clone();
                    return Ok(LockGuard {
                        lock,
                        token,
                        guard,
                        published,
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

    /// A file to link the owner from, if files are kept.
    fn private(&self, token: &Token, kept: &mut Kept) -> Result<Option<Private>> {
        let path = || beside(&self.temporary, &format!("{token}.owner"));
        let private = kept.private(token, path);
        private.map_err(|e| self.failed(&path(), e))
    }

    /// ACQ-4: makes the owner file hold the token; `None` when there is one already.
    fn publish(
        &self,
        token: &Token,
        private: &mut Option<Private>,
        kept: &mut Kept,
    ) -> Result<Option<Published>> {
        // A planted link or FIFO is refused, not waited for, and D was ours.
        let is_taken = || {
            let owner = self.read_owner();
            owner.map(|_| None).inspect_err(|_| self.undo(None))
        };
        if let Some(linked) = private.take() {
            match linked.link_to(&self.owner) {
                Ok(true) => return Ok(Some(Published::Linked(linked))),
                Ok(false) => {
                    *private = Some(linked);
                    return is_taken();
                }
                Err(e) => match e.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::ENOENT) => {} // somebody tidied up
                    Some(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EMLINK) => {
                        kept.without_links();
                    }
                    _ => {
                        self.undo(None);
                        return Err(self.failed(&self.owner, e));
                    }
                },
            }
        }
        let mut file = match fs::create_new(&self.owner) {
            Ok(Some(file)) => file,
            Ok(None) => return is_taken(),
            Err(e) => {
                self.undo(None);
                return Err(self.failed(&self.owner, e));
            }
        };
        if let Err(e) = file.write_all(token.as_str().as_bytes()) {
            self.undo(Some(&file));
            return Err(self.failed(&self.owner, e));
        }
        Ok(Some(Published::Created(Some(file))))
    }

    /// ACQ-5: removes what a failed try to publish made.
    fn undo(&self, made: Option<&File>) {
        // Ours only while the name is still the file we made.
        if let (Some(made), Ok(Some(there))) = (made, fs::lstat(&self.owner))
            && made.metadata().is_ok_and(|made| fs::is_same(&made, &there))
        {
            let _ = fs::unlink(&self.owner); // already failing
        }
        let _ = fs::rmdir(&self.dir); // likewise; a wrong rmdir costs a retry
    }

    /// Release with a token that was printed by an earlier process (RELV-1).
    pub(crate) fn release(&self, token: &Token) -> Result<Released> {
        // Verify (REL-1). An owner file that was made and not written yet is nobody's.
        let is_ours = |owner: Owner| owner.is(token) && !token.as_str().is_empty();
        if !self.read_owner()?.is_some_and(is_ours) {
            return Ok(Released::Lost);
        }
        self.remove()
    }

    /// What Release does once the lock was found to be held.
    fn remove(&self) -> Result<Released> {
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
        let is_free = || Ok(self.state()?.is_free());
        Ok(
            self.read_owner()?.is_some()
                && is_free()?
                && self.read_owner()?.is_some()
                && is_free()?,
        )
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
    pub(crate) fn busy(&self) -> Error {
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
    guard: Option<Opened>,
    published: Published,
    done: bool,
}

/// How the owner file came to be.
#[derive(Debug)]
enum Published {
    /// Made anew. Closed before it is read again, so that [`release`](LockGuard::release)
    /// never lacks a descriptor.
    Created(Option<File>),
    /// Linked from a file of ours, which says what it reads.
    Linked(Private),
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
        self.end()
    }

    /// The same; leaves in `kept` what it may be acquired with again.
    pub(crate) fn release_into(mut self, kept: &mut Kept) -> Result<Released> {
        let released = self.end()?;
        let published = std::mem::replace(&mut self.published, Published::Created(None));
        if let (Released::Held, Published::Linked(private)) = (released, published) {
            kept.keep_private(private);
        }
        if let Some(opened) = self.guard.take() {
            guard::unlock(&opened.file);
            kept.keep_guard(opened);
        }
        Ok(released)
    }

    fn end(&mut self) -> Result<Released> {
        self.done = true;
        match &mut self.published {
            Published::Created(reserve) => {
                *reserve = None;
                self.lock.release(&self.token)
            }
            Published::Linked(private) => {
                match private.is_owner(&self.lock.owner, &self.token) {
                    Ok(true) => self.lock.remove(),
                    Ok(false) => Ok(Released::Lost),
                    Err(_) => self.lock.release(&self.token), // the owner file itself says it too
                }
            }
        }
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
            let _ = self.end(); // nobody to tell; it goes stale by itself
        }
        if let Some(opened) = &self.guard {
            guard::unlock(&opened.file);
        }
    }
}
