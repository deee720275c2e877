//! A disk through a power cut: which files may be there afterwards.
//!
//! What a file holds is on the disk when the file was synced; what a name stands for,
//! when its directory was. Until then each write may be there, cut, zeros, or not there;
//! and each name as it was at any moment since. Assumed are two things only: a rename
//! has happened to both its names or to neither, and not before its directory was made.
//! A rename from one directory into another is on the disk when the other is synced, or
//! when its old name is and stands for something new.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::cut::{Cut, Vary};

pub type Inode = usize;

/// The directory that was there before everything.
pub const TOP: Inode = 0;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub dir: Inode,
    pub name: String,
}

/// What was done, in this order.
#[derive(Clone, Debug)]
pub enum Op {
    /// Names, and what each stands for from then on; the last one is the one that is
    /// made, where one is.
    Change(Vec<(Name, Option<Inode>)>),
    Write {
        inode: Inode,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        inode: Inode,
        length: usize,
    },
    /// Of a file or a directory.
    Sync(Inode),
    SyncAll,
    /// A write to stdout in this step: not to be taken back.
    Told {
        step: usize,
        bytes: Vec<u8>,
    },
}

impl Op {
    pub fn is_sync(&self) -> bool {
        matches!(self, Op::Sync(_) | Op::SyncAll)
    }
}

/// Paths below the top: what a file holds, or `None` for a directory.
pub type Image = BTreeMap<String, Option<Vec<u8>>>;

/// The inodes, and what was done to them.
#[derive(Clone, Default)]
pub struct Disk {
    pub is_dir: Vec<bool>,
    /// What is there, as every process sees it.
    names: HashMap<Name, Inode>,
    /// What was there before and is on the disk.
    pub first: HashMap<Name, Inode>,
    pub ops: Vec<Op>,
}

impl Disk {
    pub fn new() -> Disk {
        Disk {
            is_dir: vec![true],
            ..Disk::default()
        }
    }

    pub fn add(&mut self, is_dir: bool) -> Inode {
        self.is_dir.push(is_dir);
        self.is_dir.len() - 1
    }

    /// Everything so far was there before and is on the disk.
    pub fn begin(&mut self) {
        self.first = self.names.clone();
        self.ops.clear();
    }

    pub fn apply(&mut self, op: Op) {
        if let Op::Change(changes) = &op {
            set_all(&mut self.names, changes);
        }
        self.ops.push(op);
    }

    pub fn get(&self, name: &Name) -> Option<Inode> {
        self.names.get(name).copied()
    }

    /// The name at the end of `path`, when its directory is there.
    pub fn resolve(&self, path: &str) -> Option<Name> {
        let mut parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        let last = parts.next_back()?;
        let mut dir = TOP;
        for part in parts {
            let name = part.to_owned();
            dir = self.get(&Name { dir, name })?;
        }
        let name = last.to_owned();
        Some(Name { dir, name })
    }

    /// Everything that is there now, as every process sees it.
    pub fn everything(&self) -> Image {
        let cut = Cut::new(self, &self.ops);
        let mut images = BTreeSet::new();
        cut.push_images(&self.names, Vary::Nothing, &mut images);
        images.pop_last().expect("one image")
    }

    /// Every image a crash can leave right after the first `done` of `ops`, and whether
    /// these are all.
    pub fn images(&self, ops: &[Op], done: usize) -> (BTreeSet<Image>, bool) {
        let cut = Cut::new(self, &ops[..done]);
        let mut images = BTreeSet::new();
        let (mut sets, mut is_all) = cut.mail_sets();
        let free = cut.lock_free();
        for set in &sets {
            let mut names = cut.names(set);
            set_all(&mut names, &free);
            is_all &= cut.push_images(&names, Vary::Mail, &mut images);
        }
        // The lock is apart from the mail: every state of it, with the newest mail and
        // with the oldest.
        let newest = sets.pop().map(|set| (set, Vary::LockBesideNewest));
        let oldest = sets.into_iter().next();
        let oldest = oldest.map(|set| (set, Vary::LockBesideOldest));
        for (set, vary) in newest.into_iter().chain(oldest) {
            for lock in cut.lock_states() {
                let mut names = cut.names(&set);
                set_all(&mut names, &lock);
                is_all &= cut.push_images(&names, vary, &mut images);
            }
        }
        (images, is_all)
    }
}

pub fn set_all(names: &mut HashMap<Name, Inode>, changes: &[(Name, Option<Inode>)]) {
    for (name, inode) in changes {
        match inode {
            Some(inode) => drop(names.insert(name.clone(), *inode)),
            None => drop(names.remove(name)),
        }
    }
}
