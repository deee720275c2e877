//! Where mailboxes are, watched: which of them may have changed.
//!
//! Of the directory of a mailbox the record file and the claims are watched, of the
//! directory above it the name, and of those further up that they stay where they are.
//! What does not exist yet is waited for in its nearest existing parent. Locks and
//! temporaries are no news.
//!
//! Every second each mailbox counts as changed, whatever the backend says: what no
//! backend tells (a directory that somebody has open and that was removed, the write of
//! another host) is then seen late and not never.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::format::suffix;
use crate::format::token::Token;
use crate::lock::beside;
use crate::mailbox::Mailbox;
use crate::sys::fs;
use crate::sys::limits;
use crate::sys::notify::{BackendKind, Change, Interest, Notifier, Waker, WatchId, What, Woke};
use crate::sys::signals::Deferred;

const OP: &str = "watch";

/// How often everything counts as changed.
const REVIEW: Duration = Duration::from_secs(1);

/// How long the backend may take to tell of a write that was made to prove it.
const PROOF: Duration = Duration::from_millis(250);

/// What the caller calls a mailbox.
pub(crate) type Key = u64;

/// Why another backend than the best one is used.
#[derive(Debug)]
pub(crate) struct FallBack {
    pub(crate) from: BackendKind,
    pub(crate) why: String,
}

pub(crate) struct Lookout {
    notifier: Notifier,
    /// The backend is not to be changed, whatever happens.
    is_forced: bool,
    dirs: BTreeMap<PathBuf, Dir>,
    meanings: HashMap<WatchId, Meaning>,
    /// Devices on which the backend has proved that it tells of changes.
    proved: HashSet<u64>,
    fallback: Option<FallBack>,
    /// To be told by the next wait.
    changed: BTreeSet<Key>,
    next_review: Instant,
}

/// A directory with mailboxes in it.
#[derive(Default)]
struct Dir {
    /// The record file of each.
    mailboxes: BTreeMap<Key, PathBuf>,
    watches: Vec<WatchId>,
    /// Device and inode, when it is there.
    identity: Option<(u64, u64)>,
}

enum Meaning {
    /// One mailbox may have changed.
    Mailbox(Key, PathBuf),
    /// This directory may be another one now.
    Dir(PathBuf),
}

/// What a wait came to.
pub(crate) struct Changed {
    pub(crate) keys: BTreeSet<Key>,
    /// Nobody reads the descriptor that was given any more.
    pub(crate) is_hung_up: bool,
}

impl Lookout {
    /// With the backend given; or the best one, and polling where that does not work.
    ///
    /// # Errors
    /// When the backend given is not there or cannot be had.
    pub(crate) fn open(choice: Option<BackendKind>) -> Result<Lookout> {
        let mut fallback = None;
        let notifier = Notifier::open(choice).or_else(|error| {
            if choice.is_some() || !is_exhausted(&error) {
                return Err(error);
            }
            fallback = Some(FallBack {
                from: BackendKind::available()[0],
                why: error.to_string(),
            });
            Notifier::open(Some(BackendKind::Poll))
        });
        Ok(Lookout {
            notifier: notifier.map_err(|e| Error::io(OP, Path::new("."), e))?,
            is_forced: choice.is_some(),
            dirs: BTreeMap::new(),
            meanings: HashMap::new(),
            proved: HashSet::new(),
            fallback,
            changed: BTreeSet::new(),
            next_review: Instant::now() + REVIEW,
        })
    }

    /// One whose backend fails when it is waited for.
    #[cfg(test)]
    pub(crate) fn broken() -> Result<Lookout> {
        let mut lookout = Lookout::open(None)?;
        lookout.notifier.break_down();
        Ok(lookout)
    }

    pub(crate) fn backend(&self) -> BackendKind {
        self.notifier.kind()
    }

    pub(crate) fn waker(&self) -> Waker {
        self.notifier.waker()
    }

    /// That another backend had to be taken; said once.
    pub(crate) fn take_fallback(&mut self) -> Option<FallBack> {
        self.fallback.take()
    }

    /// Watches a mailbox, from before this returns. It counts as changed.
    ///
    /// # Errors
    /// When its directory cannot be watched for another reason than that it is not there.
    pub(crate) fn add(&mut self, key: Key, mailbox: &Mailbox) -> Result<()> {
        let records = fs::absolute(mailbox.path());
        let records = records.map_err(|e| Error::io(OP, mailbox.path(), e))?;
        let dir = records.parent().unwrap_or(Path::new("/")).to_owned();
        let known = self.dirs.entry(dir.clone()).or_default();
        known.mailboxes.insert(key, records.clone());
        self.changed.insert(key);
        let is_there = known.identity.is_some();
        if is_there && self.watch_mailbox(&dir, key, &records).is_ok() {
            return Ok(());
        }
        // Not there yet, or not any more.
        self.resolve(&dir).map_err(|e| Error::io(OP, &dir, e))
    }

    pub(crate) fn remove(&mut self, key: Key) {
        let is_it = |meaning: &Meaning| matches!(meaning, Meaning::Mailbox(k, _) if *k == key);
        let mut ended: Vec<WatchId> = Vec::new();
        self.meanings.retain(|&id, meaning| {
            let stays = !is_it(meaning);
            ended.extend((!stays).then_some(id));
            stays
        });
        self.dirs.retain(|_, dir| {
            dir.mailboxes.remove(&key);
            let stays = !dir.mailboxes.is_empty();
            if !stays {
                ended.append(&mut dir.watches);
            }
            stays
        });
        for id in ended {
            self.notifier.remove(id);
            self.meanings.remove(&id);
        }
        self.changed.remove(&key);
    }

    /// Waits until a mailbox may have changed, `timeout` is over, the waker is used, or
    /// `reader` has hung up.
    ///
    /// # Errors
    /// When the backend fails. That a directory cannot be watched is told by the mailbox
    /// in it when it is looked at.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        reader: Option<BorrowedFd<'_>>,
    ) -> Result<Changed> {
        let is_told = !self.changed.is_empty();
        let review = self.next_review.saturating_duration_since(Instant::now());
        let timeout = match is_told {
            true => Duration::ZERO,
            false => timeout.map_or(review, |timeout| timeout.min(review)),
        };
        let mut changes = Vec::new();
        let woke = self
            .notifier
            .wait_or_hang_up(Some(timeout), reader, &mut changes)
            .map_err(|e| Error::io(OP, Path::new("."), e))?;
        self.understand(changes);
        if Instant::now() >= self.next_review {
            self.review();
        }
        Ok(Changed {
            keys: std::mem::take(&mut self.changed),
            is_hung_up: woke == Woke::HungUp,
        })
    }

    fn understand(&mut self, changes: Vec<Change>) {
        let mut moved = BTreeSet::new();
        for Change { watch, what } in changes {
            match (self.meanings.get(&watch), what) {
                (Some(Meaning::Mailbox(key, _)), What::Entry(_) | What::Overflow) => {
                    self.changed.insert(*key);
                }
                (Some(Meaning::Mailbox(_, dir) | Meaning::Dir(dir)), _) => {
                    moved.insert(dir.clone());
                }
                (None, _) => {} // ended meanwhile
            }
        }
        for dir in moved {
            self.resolve_or_retry(&dir);
        }
    }

    /// Everything counts as changed, and directories that are others now are found.
    fn review(&mut self) {
        self.next_review = Instant::now() + REVIEW;
        let keys = self.dirs.values().flat_map(|dir| dir.mailboxes.keys());
        self.changed.extend(keys);
        let is_another =
            |(path, dir): &(&PathBuf, &Dir)| fs::directory_identity(path) != dir.identity;
        let moved = self.dirs.iter().filter(is_another);
        let moved: Vec<PathBuf> = moved.map(|(path, _)| path.clone()).collect();
        for dir in moved {
            self.resolve_or_retry(&dir);
        }
    }

    /// A directory that cannot be watched now is tried again by the next review.
    fn resolve_or_retry(&mut self, path: &Path) {
        if self.resolve(path).is_err()
            && let Some(dir) = self.dirs.get_mut(path)
        {
            dir.identity = None;
        }
    }

    /// Watches a directory where it is now, or the place where it will be.
    fn resolve(&mut self, path: &Path) -> io::Result<()> {
        let Some(dir) = self.dirs.get_mut(path) else {
            return Ok(());
        };
        self.changed.extend(dir.mailboxes.keys());
        let mailboxes = dir.mailboxes.clone();
        let mut old = std::mem::take(&mut dir.watches);
        dir.identity = None;
        old.extend(self.meanings.iter().filter_map(|(&id, meaning)| {
            matches!(meaning, Meaning::Mailbox(_, at) if at == path).then_some(id)
        }));
        let resolved = self.watch_dir(path, &mailboxes);
        // The new ones first, so that nothing happens between the two unseen.
        for id in old {
            self.notifier.remove(id);
            self.meanings.remove(&id);
        }
        if self.notifier.kind() != BackendKind::Poll
            && !self.is_forced
            && let Err(error) = &resolved
            && is_exhausted(error)
        {
            return self.fall_back(error.to_string());
        }
        resolved?;
        self.prove(path)
    }

    fn watch_dir(&mut self, path: &Path, mailboxes: &BTreeMap<Key, PathBuf>) -> io::Result<()> {
        loop {
            let (there, missing) = nearest(path);
            let above = there.ancestors().skip(1);
            for (height, ancestor) in above.enumerate() {
                let below = there.ancestors().nth(height);
                let interest = match below.and_then(Path::file_name) {
                    Some(name) if height == 0 => Interest::Coming(vec![name.to_owned()]),
                    _ => Interest::Itself,
                };
                match self.watch(ancestor, interest, path) {
                    // Not ours to look into: what happens there is seen by the review.
                    Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
                    other => other?,
                }
            }
            let Some(missing) = missing else {
                let mut is_lost = false;
                for (&key, records) in mailboxes {
                    match self.watch_mailbox(path, key, records) {
                        Err(e) if is_absent(&e) => is_lost = true, // it went this moment
                        other => other?,
                    }
                }
                if is_lost {
                    continue;
                }
                if let Some(dir) = self.dirs.get_mut(path) {
                    dir.identity = fs::directory_identity(path);
                }
                return Ok(());
            };
            let next = there.join(&missing);
            match self.watch(&there, Interest::Coming(vec![missing]), path) {
                Err(e) if is_absent(&e) => continue,
                other => other?,
            }
            if fs::directory_identity(&next).is_none() {
                return Ok(());
            }
        }
    }

    fn watch(&mut self, dir: &Path, interest: Interest, of: &Path) -> io::Result<()> {
        let id = self.notifier.add(dir, interest)?;
        self.meanings.insert(id, Meaning::Dir(of.to_owned()));
        if let Some(of) = self.dirs.get_mut(of) {
            of.watches.push(id);
        }
        Ok(())
    }

    fn watch_mailbox(&mut self, dir: &Path, key: Key, records: &Path) -> io::Result<()> {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
        let names = vec![name(records), name(&beside(records, suffix::CLAIMS))];
        let id = self.notifier.add(dir, Interest::Names(names))?;
        self.meanings
            .insert(id, Meaning::Mailbox(key, dir.to_owned()));
        Ok(())
    }

    /// Writes a file and sees whether that is told: on some filesystems a watch succeeds
    /// and tells nothing. Once for a device; where nothing can be written there is no proof.
    fn prove(&mut self, path: &Path) -> io::Result<()> {
        let Some(dir) = self.dirs.get(path) else {
            return Ok(());
        };
        let (Some((device, _)), Some(records)) = (dir.identity, dir.mailboxes.values().next())
        else {
            return Ok(());
        };
        let is_trusted = self.is_forced || self.notifier.kind() == BackendKind::Poll;
        if is_trusted || !self.proved.insert(device) {
            return Ok(());
        }
        let token = Token::new(std::process::id(), rand::random(), false);
        let file = beside(records, &format!("{}{token}.watch", suffix::TEMPORARY));
        let name = vec![file.file_name().unwrap_or_default().to_owned()];
        let id = self.notifier.add(path, Interest::Names(name))?;
        let _signals = Deferred::begin(); // the file is not left behind
        let is_written = matches!(fs::create_new(&file), Ok(Some(_)));
        let mut changes = Vec::new();
        let is_told = match is_written {
            true => self.is_told_of(id, &mut changes),
            false => Ok(true),
        };
        let _ = fs::unlink(&file); // there is none, or it cannot be helped
        self.notifier.remove(id);
        self.understand(changes); // what came beside
        // A waker that was used meanwhile was used up: whoever waits next returns at once.
        self.changed
            .extend(self.dirs.values().flat_map(|dir| dir.mailboxes.keys()));
        match is_told? {
            true => Ok(()),
            false => self.fall_back(format!("it tells nothing of {}", path.display())),
        }
    }

    /// Whether a change that was just made is told in time.
    fn is_told_of(&mut self, id: WatchId, changes: &mut Vec<Change>) -> io::Result<bool> {
        let end = Instant::now() + PROOF;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // At least once, also where this process did not get the processor that long.
            self.notifier.wait(Some(left), changes)?;
            if changes.iter().any(|change| change.watch == id) {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Polls from here on.
    fn fall_back(&mut self, why: String) -> io::Result<()> {
        self.fallback = Some(FallBack {
            from: self.notifier.kind(),
            why,
        });
        self.notifier.poll_instead();
        self.meanings.clear();
        let paths: Vec<PathBuf> = self.dirs.keys().cloned().collect();
        for dir in self.dirs.values_mut() {
            dir.watches.clear();
        }
        paths.iter().try_for_each(|path| self.resolve(path))
    }
}

/// The nearest directory on the way to `path` that is there, and the name it lacks.
fn nearest(path: &Path) -> (PathBuf, Option<OsString>) {
    let mut missing = None;
    for ancestor in path.ancestors() {
        if fs::directory_identity(ancestor).is_some() {
            return (ancestor.to_owned(), missing);
        }
        missing = ancestor.file_name().map(OsString::from).or(missing);
    }
    (PathBuf::from("/"), missing)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether there is no more of what a backend needs, of which the poller needs none.
fn is_exhausted(error: &io::Error) -> bool {
    let is_full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::OutOfMemory
    );
    is_full || limits::is_out_of_descriptors(error)
}
