//! A power cut: which changes of names, and which contents of files, may be found after
//! it together. The rules are those of [`disk`](crate::disk).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::disk::{Disk, Image, Inode, Name, Op, TOP, set_all};

/// Sets of changes, and contents of files, beyond which only some are tried.
const MANY: usize = 4096;
const MANY_CONTENTS: usize = 256;

fn is_of_lock(name: &str) -> bool {
    name.contains(".jsonl.lock")
}

/// Which files are tried with everything they may hold.
#[derive(Clone, Copy, PartialEq)]
pub enum Vary {
    Nothing,
    Mail,
    LockBesideNewest,
    LockBesideOldest,
}

struct Change<'a> {
    names: &'a [(Name, Option<Inode>)],
    /// The changes without which it cannot have happened.
    needs: Vec<usize>,
    /// The one that made its directory.
    made_dir: Option<usize>,
    is_on_disk: bool,
    is_of_lock: bool,
}

/// A power cut after some operations.
pub struct Cut<'a> {
    disk: &'a Disk,
    changes: Vec<Change<'a>>,
    /// Of each file, what was done to it, and how much of that is on the disk.
    data: HashMap<Inode, (Vec<&'a Op>, usize)>,
}

impl<'a> Cut<'a> {
    pub fn new(disk: &'a Disk, ops: &'a [Op]) -> Cut<'a> {
        let mut cut = Cut {
            disk,
            changes: Vec::new(),
            data: HashMap::new(),
        };
        let mut last_of: HashMap<&Name, usize> = HashMap::new();
        let mut made: HashMap<Inode, usize> = HashMap::new();
        for op in ops {
            match op {
                Op::Change(names) => {
                    let n = cut.changes.len();
                    let last = names.last().expect("a name");
                    let mut needs: Vec<usize> = names
                        .iter()
                        .filter_map(|(name, _)| last_of.insert(name, n))
                        .collect();
                    let made_dir = made.get(&last.0.dir).copied();
                    if names.len() > 1 {
                        needs.extend(made_dir);
                    }
                    if let Some(inode) = last.1
                        && disk.is_dir[inode]
                    {
                        made.insert(inode, n);
                    }
                    cut.changes.push(Change {
                        names,
                        needs,
                        made_dir,
                        is_on_disk: false,
                        is_of_lock: names.iter().all(|(name, _)| is_of_lock(&name.name)),
                    });
                }
                Op::Write { inode, .. } | Op::Truncate { inode, .. } => {
                    cut.data.entry(*inode).or_default().0.push(op);
                }
                Op::Sync(inode) => cut.sync(|place| place == *inode),
                Op::SyncAll => cut.sync(|_| true),
                Op::Told { .. } => {}
            }
        }
        cut
    }

    fn sync(&mut self, is_synced: impl Fn(Inode) -> bool) {
        for n in (0..self.changes.len()).rev() {
            let change = &self.changes[n];
            let place = change.names.last().expect("a name").0.dir;
            if is_synced(place) && !change.is_on_disk {
                self.force(n);
            }
        }
        for (inode, (ops, on_disk)) in &mut self.data {
            if is_synced(*inode) {
                *on_disk = ops.len();
            }
        }
    }

    fn force(&mut self, n: usize) {
        if !std::mem::replace(&mut self.changes[n].is_on_disk, true) {
            for need in self.changes[n].needs.clone() {
                self.force(need);
            }
        }
    }

    /// Sets of changes that can be on the disk together, those of the lock left out: the
    /// fewest first, all of them last; and whether these are all such sets.
    pub fn mail_sets(&self) -> (Vec<Vec<bool>>, bool) {
        let mut sets = Vec::new();
        let mut set = Vec::new();
        self.extend(&mut set, &mut sets);
        if sets.len() <= MANY {
            return (sets, true);
        }
        // Too many: as if everything up to a moment were there; all but one or two; and
        // only one or two.
        let mail: Vec<usize> = (0..self.changes.len())
            .filter(|&n| !self.changes[n].is_of_lock && !self.changes[n].is_on_disk)
            .collect();
        let base: Vec<bool> = self.changes.iter().map(|c| c.is_on_disk).collect();
        let mut some = BTreeSet::new();
        for upto in 0..=mail.len() {
            let mut set = base.clone();
            mail[..upto].iter().for_each(|&n| set[n] = true);
            some.insert(set);
        }
        for &a in &mail {
            for &b in &mail {
                let mut without = base.clone();
                mail.iter().for_each(|&n| without[n] = n != a && n != b);
                self.drop_unfounded(&mut without);
                some.insert(without);
                let mut with = base.clone();
                self.include(a, &mut with);
                self.include(b, &mut with);
                some.insert(with);
            }
        }
        let mut sets: Vec<Vec<bool>> = some.into_iter().collect();
        sets.sort_by_key(|set| set.iter().filter(|&&is_in| is_in).count());
        (sets, false)
    }

    fn drop_unfounded(&self, set: &mut [bool]) {
        for n in 0..set.len() {
            let change = &self.changes[n];
            set[n] &= change.is_on_disk || change.needs.iter().all(|&need| set[need]);
        }
    }

    fn include(&self, n: usize, set: &mut [bool]) {
        if !std::mem::replace(&mut set[n], true) {
            let change = &self.changes[n];
            change
                .needs
                .iter()
                .chain(&change.made_dir)
                .for_each(|&need| self.include(need, set));
        }
    }

    fn extend(&self, set: &mut Vec<bool>, sets: &mut Vec<Vec<bool>>) {
        if sets.len() > MANY {
            return;
        }
        let n = set.len();
        let Some(change) = self.changes.get(n) else {
            return sets.push(set.clone());
        };
        // In a directory that is not there nothing can be told apart.
        let is_seen = change.made_dir.is_none_or(|made| set[made]);
        let is_free = !change.is_of_lock && is_seen;
        if !change.is_on_disk {
            set.push(false);
            self.extend(set, sets);
            set.pop();
        }
        let is_founded = change.needs.iter().all(|&need| set[need]);
        if change.is_on_disk || is_free && is_founded {
            set.push(true);
            self.extend(set, sets);
            set.pop();
        }
    }

    pub fn names(&self, set: &[bool]) -> HashMap<Name, Inode> {
        let mut names = self.disk.first.clone();
        for (change, is_in) in self.changes.iter().zip(set) {
            if *is_in {
                set_all(&mut names, change.names);
            }
        }
        names
    }

    /// Of each name of the lock, what it may stand for; the newest last.
    fn lock_choices(&self) -> BTreeMap<&Name, Vec<Option<Inode>>> {
        let mut choices: BTreeMap<&Name, Vec<Option<Inode>>> = BTreeMap::new();
        for change in self.changes.iter().filter(|change| change.is_of_lock) {
            for (name, inode) in change.names {
                let states = choices.entry(name).or_insert_with(|| vec![None]);
                if change.is_on_disk {
                    states.clear();
                }
                // Two empty directories are alike.
                let is_dir = |inode: &Option<Inode>| inode.map(|inode| self.disk.is_dir[inode]);
                if is_dir(inode) != Some(false) {
                    states.retain(|other| is_dir(other) != is_dir(inode));
                }
                states.push(*inode);
            }
        }
        for states in choices.values_mut() {
            // And so are two tokens of the dead.
            let files = |inode: &Option<Inode>| inode.is_some_and(|inode| !self.disk.is_dir[inode]);
            while states.iter().filter(|state| files(state)).count() > 2 {
                let oldest = states.iter().position(files).expect("there are three");
                states.remove(oldest);
            }
        }
        choices
    }

    /// The state of the lock that is in nobody's way, as far as there can be one.
    pub fn lock_free(&self) -> Vec<(Name, Option<Inode>)> {
        let choices = self.lock_choices().into_iter();
        let free = choices.map(|(name, states)| {
            let state = match states.contains(&None) && !name.name.ends_with(".guard") {
                true => None,
                false => *states.last().expect("one at least"),
            };
            (name.clone(), state)
        });
        free.collect()
    }

    pub fn lock_states(&self) -> Vec<Vec<(Name, Option<Inode>)>> {
        let mut all = vec![Vec::new()];
        for (name, states) in self.lock_choices() {
            let one_more = |before: &Vec<_>| {
                let before = before.clone();
                states.iter().map(move |state| {
                    let mut after = before.clone();
                    after.push((name.clone(), *state));
                    after
                })
            };
            all = all.iter().flat_map(one_more).collect();
        }
        all
    }

    /// The images with these names; `false` when there are more.
    pub fn push_images(
        &self,
        names: &HashMap<Name, Inode>,
        vary: Vary,
        images: &mut BTreeSet<Image>,
    ) -> bool {
        let mut children: HashMap<Inode, Vec<(&str, Inode)>> = HashMap::new();
        for (name, inode) in names {
            let child = (name.name.as_str(), *inode);
            children.entry(name.dir).or_default().push(child);
        }
        let mut image = Image::new();
        let mut files: Vec<(String, Inode)> = Vec::new();
        let mut todo = vec![(String::new(), TOP)];
        while let Some((path, dir)) = todo.pop() {
            for (name, inode) in children.get(&dir).into_iter().flatten() {
                let path = format!("{path}/{name}");
                if self.disk.is_dir[*inode] {
                    image.insert(path.clone(), None);
                    todo.push((path, *inode));
                } else if vary == Vary::Nothing || !name.contains(".tmp.") {
                    // Nobody reads a temporary, and no two have one name.
                    files.push((path, *inode));
                }
            }
        }
        let inodes: BTreeMap<Inode, &str> = files
            .iter()
            .map(|(path, inode)| (*inode, path.as_str()))
            .collect();
        let contents: Vec<(Inode, Vec<Vec<u8>>)> = inodes
            .into_iter()
            .map(|(inode, path)| {
                let mut contents = self.contents(inode);
                if vary == Vary::Nothing || is_of_lock(path) == (vary == Vary::Mail) {
                    match vary {
                        Vary::LockBesideOldest => contents.truncate(1),
                        _ => drop(contents.drain(..contents.len() - 1)),
                    }
                }
                (inode, contents)
            })
            .collect();
        let product: usize = contents
            .iter()
            .map(|(_, contents)| contents.len())
            .product();
        let mut push = |choice: &[usize]| {
            let mut image = image.clone();
            for (path, inode) in &files {
                let at = contents.iter().position(|(other, _)| other == inode);
                let at = at.expect("each of them is there");
                image.insert(path.clone(), Some(contents[at].1[choice[at]].clone()));
            }
            images.insert(image);
        };
        if product <= MANY_CONTENTS {
            for mut number in 0..product {
                let choice: Vec<usize> = contents
                    .iter()
                    .map(|(_, contents)| {
                        let digit = number % contents.len();
                        number /= contents.len();
                        digit
                    })
                    .collect();
                push(&choice);
            }
            return true;
        }
        let newest: Vec<usize> = contents.iter().map(|(_, all)| all.len() - 1).collect();
        for base in [vec![0; contents.len()], newest] {
            for (place, (_, all)) in contents.iter().enumerate() {
                for which in 0..all.len() {
                    let mut choice = base.clone();
                    choice[place] = which;
                    push(&choice);
                }
            }
        }
        false
    }

    /// What a file may hold: the least first, all of it last.
    fn contents(&self, inode: Inode) -> Vec<Vec<u8>> {
        let Some((ops, on_disk)) = self.data.get(&inode) else {
            return vec![Vec::new()];
        };
        let open = ops.len() - on_disk;
        let whole = vec![There::Whole; ops.len()];
        let mut choices: Vec<Vec<There>> = Vec::new();
        if open <= 2 {
            for number in 0..4_usize.pow(open as u32) {
                let mut choice = whole.clone();
                for place in 0..open {
                    choice[on_disk + place] = There::ALL[number / 4_usize.pow(place as u32) % 4];
                }
                choices.push(choice);
            }
        } else {
            // One of them otherwise than those before it, and than all others.
            for place in *on_disk..ops.len() {
                for there in There::ALL {
                    let mut choice = whole.clone();
                    choice[place] = there;
                    choices.push(choice.clone());
                    choice[place + 1..].fill(There::Absent);
                    choices.insert(0, choice);
                }
            }
            choices.push(whole);
        }
        let mut contents: Vec<Vec<u8>> = Vec::new();
        for choice in choices {
            let mut content = Vec::new();
            for (op, there) in ops.iter().zip(choice) {
                there.put(op, &mut content);
            }
            if let Some(same) = contents.iter().position(|other| *other == content) {
                contents.remove(same);
            }
            contents.push(content);
        }
        contents
    }
}

/// How much of a write is on the disk.
#[derive(Clone, Copy)]
enum There {
    Absent,
    Half,
    Zeros,
    Whole,
}

impl There {
    const ALL: [There; 4] = [There::Absent, There::Half, There::Zeros, There::Whole];

    fn put(self, op: &Op, content: &mut Vec<u8>) {
        match (op, self) {
            (_, There::Absent) => {}
            (Op::Truncate { length, .. }, _) => content.resize(*length, 0),
            (Op::Write { at, bytes, .. }, _) => {
                let length = match self {
                    There::Half => bytes.len() / 2,
                    _ => bytes.len(),
                };
                let end = at + length;
                if content.len() < end {
                    content.resize(end, 0);
                }
                match self {
                    There::Zeros => content[*at..end].fill(0),
                    _ => content[*at..end].copy_from_slice(&bytes[..length]),
                }
            }
            _ => unreachable!("only these are kept for a file"),
        }
    }
}
