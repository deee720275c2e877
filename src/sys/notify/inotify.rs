//! inotify(7), with exactly the events that mean a change.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, InotifyEvent, WatchDescriptor};

use super::{Change, Interest, Source, WatchId, What, push};

/// The end of the directory itself.
const ITSELF: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF.union(AddWatchFlags::IN_MOVE_SELF);

/// Entries that come and go; link(2) counts as a creation.
const COMING: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO);

/// And what is written into them, or truncated. Never OPEN and ACCESS: who reads because
/// of an event would wake himself. Not CLOSE_WRITE: each write is told already.
const CONTENTS: AddWatchFlags = COMING.union(AddWatchFlags::IN_MODIFY);

/// `IN_MASK_ADD`, which nix does not name: a second watch of a directory does not take
/// anything from the first.
const ADD: AddWatchFlags = AddWatchFlags::from_bits_retain(0x2000_0000);

/// How many times a collection reads from the kernel, some hundred events each time, so
/// that a flood does not keep it from returning.
const READS: usize = 64;

pub(super) struct Inotify {
    inotify: nix::sys::inotify::Inotify,
    directories: HashMap<WatchDescriptor, Directory>,
    watched: BTreeMap<WatchId, WatchDescriptor>,
}

/// Who wants to know what of one directory.
#[derive(Default)]
struct Directory {
    ids: Vec<WatchId>,
    all: Vec<WatchId>,
    /// Whether contents count, too.
    by_name: HashMap<OsString, Vec<(WatchId, bool)>>,
}

impl Inotify {
    pub(super) fn open() -> io::Result<Inotify> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        Ok(Inotify {
            inotify: nix::sys::inotify::Inotify::init(flags)?,
            directories: HashMap::new(),
            watched: BTreeMap::new(),
        })
    }

    fn dispatch(&mut self, event: InotifyEvent, sink: &mut Vec<Change>) {
        use AddWatchFlags as Flags;
        if event.mask.contains(Flags::IN_Q_OVERFLOW) {
            for &id in self.watched.keys() {
                push(sink, id, What::Overflow);
            }
            return;
        }
        let Some(directory) = self.directories.get(&event.wd) else {
            return; // removed meanwhile
        };
        if let Some(name) = event.name {
            for &id in &directory.all {
                push(sink, id, What::Entry(name.clone()));
            }
            let is_contents = event.mask.contains(Flags::IN_MODIFY);
            let wanted = directory.by_name.get(&name).into_iter().flatten();
            for &(id, _) in wanted.filter(|(_, contents_count)| *contents_count || !is_contents) {
                push(sink, id, What::Entry(name.clone()));
            }
        } else if event
            .mask
            .intersects(ITSELF | Flags::IN_UNMOUNT | Flags::IN_IGNORED)
        {
            for &id in &directory.ids {
                self.watched.remove(&id);
                push(sink, id, What::DirGone);
            }
            self.directories.remove(&event.wd);
            // Moved, it would go on telling of a directory that is not where it was; gone,
            // it has ended already.
            let _ = self.inotify.rm_watch(event.wd);
        }
    }
}

impl Source for Inotify {
    fn add(&mut self, id: WatchId, dir: &Path, interest: Interest) -> io::Result<()> {
        let mask = match interest {
            Interest::Itself => ITSELF,
            Interest::Coming(_) => ITSELF | COMING,
            Interest::Names(_) | Interest::All => ITSELF | CONTENTS,
        };
        let wd = self
            .inotify
            .add_watch(dir, mask | AddWatchFlags::IN_ONLYDIR | ADD)?;
        let directory = self.directories.entry(wd).or_default();
        directory.ids.push(id);
        let contents_count = matches!(interest, Interest::Names(_));
        match interest {
            Interest::Itself => {}
            Interest::All => directory.all.push(id),
            Interest::Coming(names) | Interest::Names(names) => {
                for name in names {
                    let wanted = directory.by_name.entry(name).or_default();
                    wanted.push((id, contents_count));
                }
            }
        }
        self.watched.insert(id, wd);
        Ok(())
    }

    fn remove(&mut self, id: WatchId) {
        let Some(wd) = self.watched.remove(&id) else {
            return;
        };
        let Some(directory) = self.directories.get_mut(&wd) else {
            return;
        };
        directory.ids.retain(|&other| other != id);
        directory.all.retain(|&other| other != id);
        directory.by_name.retain(|_, wanted| {
            wanted.retain(|&(other, _)| other != id);
            !wanted.is_empty()
        });
        if directory.ids.is_empty() {
            self.directories.remove(&wd);
            let _ = self.inotify.rm_watch(wd); // the directory is gone, and the watch with it
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.inotify.as_fd())
    }

    fn next_due(&self) -> Option<Instant> {
        None
    }

    fn collect(&mut self, sink: &mut Vec<Change>) -> io::Result<()> {
        for _ in 0..READS {
            match self.inotify.read_events() {
                Ok(events) => {
                    for event in events {
                        self.dispatch(event, sink);
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
