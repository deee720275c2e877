//! What the model knows of a mailbox and of the processes at it.
//!
//! Names that are never used twice (tokens, identities of D, names of claims) are not
//! numbered: whoever remembers one keeps a bit that says "still there", and the bit is
//! cleared when it goes. See the README for why nothing is lost by that.

pub use crate::pack::WORDS;
pub use crate::process::*;

/// Processes in one mix.
pub const PEERS: usize = 3;
/// Claims there can be at once.
pub const CLAIMS: usize = 10;
/// A bit for each claim, by its place.
pub type Places = u16;
/// No process.
pub const NOBODY: u8 = 7;

/// Where a descriptor leads: a claim by its place, or one of these.
pub const FD_RECORDS: u8 = 16;
pub const FD_NOWHERE: u8 = 17;
pub const FD_NONE: u8 = 31;

/// Message ids in the order of their lines, each once (a repeat in one file is dropped by
/// every reader): 1 and 2 of the first process, 3 and 4, 5 and 6; 7 and 8 were there
/// before.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Ids(pub u32);

impl Ids {
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn len(self) -> u32 {
        (35 - self.0.leading_zeros()) / 4
    }

    pub fn get(self, index: u32) -> u8 {
        (self.0 >> (4 * index) & 15) as u8
    }

    pub fn has(self, id: u8) -> bool {
        let mut rest = self.0;
        while rest != 0 {
            if (rest & 15) as u8 == id {
                return true;
            }
            rest >>= 4;
        }
        false
    }

    pub fn add(&mut self, id: u8) {
        if !self.has(id) {
            self.0 |= u32::from(id) << (4 * self.len());
        }
    }

    pub fn add_all(&mut self, others: Ids) {
        for index in 0..others.len() {
            self.add(others.get(index));
        }
    }

    pub fn without(self, other: Ids) -> Ids {
        let mut kept = Ids(0);
        for index in 0..self.len() {
            if !other.has(self.get(index)) {
                kept.add(self.get(index));
            }
        }
        kept
    }

    /// One bit for each id.
    pub fn mask(self) -> u8 {
        let (mut mask, mut rest) = (0, self.0);
        while rest != 0 {
            mask |= 1 << ((rest & 15) - 1);
            rest >>= 4;
        }
        mask
    }
}

/// D or S.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dir {
    pub is_there: bool,
    pub is_old: bool,
    /// Who made it and is still at it.
    pub maker: u8,
}

pub const NO_DIR: Dir = Dir {
    is_there: false,
    is_old: false,
    maker: NOBODY,
};

/// What O holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    Absent,
    /// Created and not written yet.
    Empty,
    /// A token: of the present acquisition of `maker`, or of nobody's any more.
    Token {
        maker: u8,
        is_guarded: bool,
    },
}

/// A file that holds records, and who has it flocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct File {
    pub ids: Ids,
    pub flock: u8,
}

pub const EMPTY_FILE: File = File {
    ids: Ids(0),
    flock: NOBODY,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    pub file: File,
    pub birth: u8,
    /// Whose stamp it is, while that process is at it.
    pub owner: u8,
    /// Whether its token ends in `.g`.
    pub is_guarded: bool,
    /// Of the stamp: 1 is over 30 s, 2 over 300 s; given up is the age at which it is anybody's.
    pub age: u8,
}

pub const NO_CLAIM: Claim = Claim {
    file: EMPTY_FILE,
    birth: 0,
    owner: NOBODY,
    is_guarded: false,
    age: 0,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    pub lock: Dir,
    pub owner: Owner,
    pub steal: Dir,
    pub guard: u8,
    pub has_records: bool,
    pub records: File,
    pub has_claims_dir: bool,
    pub count: u8,
    /// In the order of their names.
    pub claims: [Claim; CLAIMS],
    pub sent: u8,
    pub acknowledged: u8,
    pub delivered: u8,
    pub crashes: u8,
    pub stalls: u8,
    /// There would be more claims than there is room for: not gone into, and said.
    pub is_overfull: bool,
    pub peers: [Process; PEERS],
}

/// Puts a bit into a mask at `place`; the bits above move up.
fn widen(mask: Places, place: usize) -> Places {
    let low = (1 << place) - 1;
    (mask & low) | ((mask & !low) << 1)
}

/// Takes the bit at `place` out of a mask; the bits above move down.
fn narrow(mask: Places, place: usize) -> Places {
    let low = (1 << place) - 1;
    (mask & low) | ((mask >> 1) & !low)
}

impl State {
    pub fn make_lock(&mut self, maker: usize) {
        self.lock = Dir {
            is_there: true,
            is_old: false,
            maker: maker as u8,
        };
    }

    pub fn remove_lock(&mut self) {
        self.lock = NO_DIR;
        for peer in &mut self.peers {
            peer.same_dir = false;
        }
    }

    /// Any change of what O reads.
    pub fn set_owner(&mut self, owner: Owner) {
        if let Owner::Token { .. } = self.owner {
            for peer in &mut self.peers {
                if peer.observed == Observed::Token {
                    peer.observed = Observed::GoneToken;
                }
            }
        }
        self.owner = owner;
    }

    pub fn unlink_owner(&mut self) {
        self.set_owner(Owner::Absent);
        for peer in &mut self.peers {
            peer.made_owner = false;
        }
    }

    pub fn owner_is(&self, p: usize) -> bool {
        matches!(self.owner, Owner::Token { maker, .. } if maker as usize == p)
    }

    pub fn owner_reads(&self, observed: Observed) -> bool {
        match self.owner {
            Owner::Absent => observed == Observed::Nothing,
            Owner::Empty => observed == Observed::Empty,
            Owner::Token { .. } => observed == Observed::Token,
        }
    }

    pub fn file(&mut self, fd: u8) -> Option<&mut File> {
        match fd {
            FD_RECORDS => Some(&mut self.records),
            place if usize::from(place) < CLAIMS => Some(&mut self.claims[usize::from(place)].file),
            _ => None,
        }
    }

    /// Every descriptor of `from` leads to `to` now.
    pub fn move_fds(&mut self, from: u8, to: u8) {
        for peer in &mut self.peers {
            if peer.fd == from {
                peer.fd = to;
            }
        }
    }

    /// Makes a claim, in its place by birth; returns the place.
    pub fn insert_claim(&mut self, claim: Claim) -> usize {
        let count = usize::from(self.count);
        if count == CLAIMS {
            self.is_overfull = true;
            return CLAIMS - 1;
        }
        let mut place = count;
        while place > 0 && self.claims[place - 1].birth > claim.birth {
            self.claims[place] = self.claims[place - 1];
            place -= 1;
        }
        self.claims[place] = claim;
        self.count += 1;
        for peer in &mut self.peers {
            peer.list = widen(peer.list, place);
            peer.held = widen(peer.held, place);
            peer.chosen = widen(peer.chosen, place);
            if usize::from(peer.fd) < CLAIMS && usize::from(peer.fd) >= place {
                peer.fd += 1;
            }
        }
        place
    }

    pub fn unlink_claim(&mut self, place: usize) {
        self.move_fds(place as u8, FD_NOWHERE);
        self.count -= 1;
        let count = usize::from(self.count);
        for later in place..count {
            self.claims[later] = self.claims[later + 1];
        }
        self.claims[count] = NO_CLAIM;
        for peer in &mut self.peers {
            peer.list = narrow(peer.list, place);
            peer.held = narrow(peer.held, place);
            peer.chosen = narrow(peer.chosen, place);
            if usize::from(peer.fd) < CLAIMS && usize::from(peer.fd) > place {
                peer.fd -= 1;
            }
        }
    }

    /// The name of a claim is gone: nobody finds it under that name any more.
    pub fn forget_name(&mut self, place: usize) {
        for peer in &mut self.peers {
            peer.list &= !(1 << place);
            peer.held &= !(1 << place);
            peer.chosen &= !(1 << place);
        }
    }

    /// Closes every descriptor of `p` that has a flock.
    pub fn drop_flocks(&mut self, p: usize) {
        let p = p as u8;
        if self.records.flock == p {
            self.records.flock = NOBODY;
        }
        for claim in &mut self.claims {
            if claim.file.flock == p {
                claim.file.flock = NOBODY;
            }
        }
    }

    /// Ids in files a reader can find.
    pub fn linked(&self) -> u8 {
        let mut mask = 0;
        if self.has_records {
            mask |= self.records.ids.mask();
        }
        for claim in &self.claims[..usize::from(self.count)] {
            mask |= claim.file.ids.mask();
        }
        mask
    }
}
