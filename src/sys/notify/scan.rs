//! Finding what changed in a directory by looking at it twice.
//!
//! Two looks are compared by device, inode, size, mtime and ctime in nanoseconds. The
//! kernel's clock for files ticks every few milliseconds, so a file that was changed just
//! before a look can change again and look the same: such an entry counts as changed at
//! the next look too.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Change, Interest, WatchId, What, push};
use crate::sys::fs;

/// How recent a change must be to be hidden by the tick of the kernel's clock: 10 ms at
/// the slowest, and some more.
pub(super) const TICK: Duration = Duration::from_millis(30);

/// One directory, as it looked last.
pub(super) struct Scanned {
    dir: PathBuf,
    identity: (u64, u64),
    interest: Interest,
    entries: HashMap<OsString, Entry>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    signature: Signature,
    /// So recent that a further change may look the same.
    is_fresh: bool,
}

/// What tells one state of an entry from the next.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Signature {
    identity: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a look came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// All has been told.
    Quiet,
    /// Another look is due once [`TICK`] has passed.
    AgainSoon,
    /// The directory is not there any more, and that was told.
    Gone,
}

impl Scanned {
    pub(super) fn new(dir: &Path, interest: Interest) -> io::Result<Scanned> {
        let identity = identity(&std::fs::metadata(dir)?);
        let mut scanned = Scanned {
            dir: dir.to_owned(),
            identity,
            interest,
            entries: HashMap::new(),
        };
        scanned.entries = scanned.look_at_entries()?;
        Ok(scanned)
    }

    /// Looks again and tells what is different.
    pub(super) fn look(&mut self, id: WatchId, sink: &mut Vec<Change>) -> io::Result<Looked> {
        let gone = |sink: &mut Vec<Change>| {
            push(sink, id, What::DirGone);
            Ok(Looked::Gone)
        };
        match std::fs::metadata(&self.dir) {
            Ok(meta) if meta.is_dir() && identity(&meta) == self.identity => {}
            // Also when it may not be looked at: of one directory the others hear nothing.
            Ok(_) | Err(_) => return gone(sink),
        }
        let now = match self.look_at_entries() {
            Ok(now) => now,
            Err(e) if is_no_such_directory(&e) => return gone(sink),
            Err(e) => return Err(e),
        };
        let mut looked = Looked::Quiet;
        for (name, entry) in &now {
            let before = self.entries.remove(name);
            let is_same = before
                .is_some_and(|before| before.signature == entry.signature && !before.is_fresh);
            if !is_same {
                push(sink, id, What::Entry(name.clone()));
            }
            if entry.is_fresh {
                looked = Looked::AgainSoon;
            }
        }
        for (name, _) in self.entries.drain() {
            push(sink, id, What::Entry(name));
        }
        self.entries = now;
        Ok(looked)
    }

    fn look_at_entries(&self) -> io::Result<HashMap<OsString, Entry>> {
        let now = SystemTime::now();
        let listed;
        let (names, contents_count) = match &self.interest {
            Interest::Itself => return Ok(HashMap::new()),
            Interest::Coming(names) => (names, false),
            Interest::Names(names) => (names, true),
            Interest::All => {
                let names = fs::list(&self.dir)?;
                listed = names.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
                (&listed, true)
            }
        };
        let mut entries = HashMap::with_capacity(names.len());
        for name in names {
            // Gone between the listing and this is gone, and so is what may not be looked
            // at: whoever is told looks for himself, and learns why.
            if let Ok(Some(meta)) = fs::lstat(&self.dir.join(name)) {
                entries.insert(name.clone(), Entry::of(&meta, contents_count, now));
            }
        }
        Ok(entries)
    }
}

impl Entry {
    fn of(meta: &Metadata, contents_count: bool, now: SystemTime) -> Entry {
        if !contents_count {
            let signature = Signature {
                identity: identity(meta),
                ..Signature::default()
            };
            return Entry {
                signature,
                is_fresh: false,
            };
        }
        let signature = Signature {
            identity: identity(meta),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        };
        // Not the mtime, which anybody can set.
        let changed = Duration::new(
            u64::try_from(meta.ctime()).unwrap_or(0),
            u32::try_from(meta.ctime_nsec()).unwrap_or(0),
        );
        let changed = SystemTime::UNIX_EPOCH + changed;
        let distance = now.duration_since(changed).unwrap_or_else(|e| e.duration());
        Entry {
            signature,
            is_fresh: distance < TICK,
        }
    }
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

fn is_no_such_directory(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
