//! What the model knows of a mailbox and of the processes at it.
//!
//! Names that are never used twice (tokens, identities of D, names of claims) are not
//! numbered: whoever remembers one keeps a bit that says "still there", and the bit is
//! cleared when it goes. See the README for why nothing is lost by that.

/// Processes in one mix.
pub const PEERS: usize = 3;
/// Claims there can be at once.
pub const CLAIMS: usize = 6;
/// No process.
pub const NOBODY: u8 = 7;

/// Where a descriptor leads: a claim by its place, or one of these.
pub const FD_RECORDS: u8 = 8;
pub const FD_NOWHERE: u8 = 9;
pub const FD_NONE: u8 = 15;

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
    /// Of the stamp: 1 is over 30 s, 2 over 300 s or given up.
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
pub enum Kind {
    /// R
    WithGuard,
    /// M
    WithoutGuard,
    /// L
    Legacy,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    Append,
    Drain,
    /// A drain whose delivery fails, and that gives up.
    FailingDrain,
    /// A bounded drain of one message.
    TakeFirst,
    /// A take that chooses the last message there is.
    TakeLast,
    /// A take whose delivery fails, and that gives up.
    FailingTake,
    /// A take for which nothing matches any more at Split.
    VainTake,
}

impl Job {
    pub fn is_take(self) -> bool {
        matches!(
            self,
            Job::TakeFirst | Job::TakeLast | Job::FailingTake | Job::VainTake
        )
    }

    pub fn fails(self) -> bool {
        matches!(self, Job::FailingDrain | Job::FailingTake)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    Runs,
    Stalled,
    Dead,
}

/// The system call a process makes next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pc {
    Done,
    Start,
    OpenEarly,
    // Acquire
    Guard,
    Gate,
    // Recover
    ObserveToken,
    ObserveDir,
    Mark,
    LookMark,
    ClearMark,
    CompareToken,
    CompareDir,
    ClearToken,
    ClearDir,
    Settle,
    Unmark,
    // with D made by this process
    PublishCreate,
    PublishWrite,
    UndoLook,
    UndoOwner,
    UndoDir,
    // with the token published
    Open,
    Write,
    List,
    AdoptOpen,
    AdoptFlock,
    AdoptCheck,
    AdoptRename,
    LookRecords,
    ClaimOpen,
    ClaimFlock,
    ClaimCheck,
    MakeClaims,
    ClaimRename,
    RemoveEmpty,
    Fence,
    Split,
    MakeChosen,
    PutBack,
    DropChosen,
    UnlinkOld,
    LegacyRead,
    LegacyTruncate,
    Verify,
    ReleaseToken,
    ReleaseDir,
    // the lock is given back
    CloseGuard,
    Read,
    Deliver,
    Unlink,
    RemoveClaims,
    GiveUp,
    CloseClaims,
    // legacy
    LegacyLook,
    LegacyObserve,
}

impl Pc {
    /// Every call there is but the one of a mutation.
    pub const CALLS: &[Pc] = &[
        Pc::Start,
        Pc::Guard,
        Pc::Gate,
        Pc::ObserveToken,
        Pc::ObserveDir,
        Pc::Mark,
        Pc::LookMark,
        Pc::ClearMark,
        Pc::CompareToken,
        Pc::CompareDir,
        Pc::ClearToken,
        Pc::ClearDir,
        Pc::Settle,
        Pc::Unmark,
        Pc::PublishCreate,
        Pc::PublishWrite,
        Pc::UndoLook,
        Pc::UndoOwner,
        Pc::UndoDir,
        Pc::Open,
        Pc::Write,
        Pc::List,
        Pc::AdoptOpen,
        Pc::AdoptFlock,
        Pc::AdoptCheck,
        Pc::AdoptRename,
        Pc::LookRecords,
        Pc::ClaimOpen,
        Pc::ClaimFlock,
        Pc::ClaimCheck,
        Pc::MakeClaims,
        Pc::ClaimRename,
        Pc::RemoveEmpty,
        Pc::Fence,
        Pc::Split,
        Pc::MakeChosen,
        Pc::PutBack,
        Pc::DropChosen,
        Pc::UnlinkOld,
        Pc::LegacyRead,
        Pc::LegacyTruncate,
        Pc::Verify,
        Pc::ReleaseToken,
        Pc::ReleaseDir,
        Pc::CloseGuard,
        Pc::Read,
        Pc::Deliver,
        Pc::Unlink,
        Pc::RemoveClaims,
        Pc::GiveUp,
        Pc::CloseClaims,
        Pc::LegacyLook,
        Pc::LegacyObserve,
    ];

    /// From the mkdir of D to its rmdir.
    pub fn is_in_lock(self) -> bool {
        self >= Pc::PublishCreate && self <= Pc::ReleaseDir
    }

    /// Believes to hold the lock.
    pub fn is_holder(self) -> bool {
        self >= Pc::Open && self <= Pc::Verify
    }

    /// Has looked at somebody's lock and not acted yet.
    pub fn is_in_window(self) -> bool {
        (self >= Pc::ObserveDir && self <= Pc::ClearDir) || self == Pc::LegacyObserve
    }

    /// Has marked.
    pub fn is_marker(self) -> bool {
        self >= Pc::CompareToken && self <= Pc::Unmark
    }

    /// Takes its mail, the lock given back.
    pub fn is_reading(self) -> bool {
        self >= Pc::Read && self <= Pc::Unlink
    }
}

/// What Observe saw in O, as far as Compare can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observed {
    Nothing,
    Empty,
    /// The token that is still there.
    Token,
    /// A token that is gone and never comes back.
    GoneToken,
}

/// What comes after the next acquisition or release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Work,
    /// Acquire again and Release (DRAIN-4).
    Refence,
    /// Lost at Verify.
    Lost,
    /// Lost at Verify of a Refence: publishing was the fence.
    ToRead,
    Finish,
    Again,
    /// The token could not be published.
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    pub kind: Kind,
    pub life: Life,
    pub pc: Pc,
    /// Which job of its list, counted from 0.
    pub nth: u8,
    pub job: Job,
    pub phase: Phase,
    /// Whether this attempt has the guard and a token ending in `.g`.
    pub is_guarded: bool,
    pub observed: Observed,
    pub observed_guarded: bool,
    /// D is still the one that was observed.
    pub same_dir: bool,
    pub by_age: bool,
    /// The O this process created is still there.
    pub made_owner: bool,
    pub fd: u8,
    /// Claims listed, or to be read, by their places.
    pub list: u8,
    /// Claims of its own.
    pub held: u8,
    pub chosen: u8,
    /// Greatest birth listed.
    pub birth: u8,
    /// Peers Settle still waits for.
    pub waits: u8,
    pub read: Ids,
}

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
    pub peers: [Process; PEERS],
}

/// Puts a bit into a mask at `place`; the bits above move up.
fn widen(mask: u8, place: usize) -> u8 {
    let low = (1u8 << place) - 1;
    (mask & low) | ((mask & !low) << 1)
}

/// Takes the bit at `place` out of a mask; the bits above move down.
fn narrow(mask: u8, place: usize) -> u8 {
    let low = (1u8 << place) - 1;
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
        assert!(count < CLAIMS, "more claims than the model has room for");
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

    /// Brings states that no later step can tell apart into one form.
    pub fn normalise(&mut self) {
        let at = |peers: &[Process; PEERS], maker: u8, what: fn(Pc) -> bool| {
            let peer = peers.get(usize::from(maker))?;
            (peer.life != Life::Dead && what(peer.pc)).then_some(maker)
        };
        let lock = &mut self.lock;
        if lock.is_old || at(&self.peers, lock.maker, Pc::is_in_lock).is_none() {
            lock.maker = NOBODY;
        }
        let steal = &mut self.steal;
        if steal.is_old || at(&self.peers, steal.maker, Pc::is_marker).is_none() {
            steal.maker = NOBODY;
        }
        if let Owner::Token { maker, .. } = &mut self.owner
            && at(&self.peers, *maker, Pc::is_in_lock).is_none()
        {
            *maker = NOBODY;
        }
        if !self.has_records {
            self.records = EMPTY_FILE;
        }
        let mut births = 0u32;
        for (place, claim) in self.claims[..usize::from(self.count)]
            .iter_mut()
            .enumerate()
        {
            let owner = self.peers.get(usize::from(claim.owner));
            let is_at_it = owner.is_some_and(|owner| {
                owner.life != Life::Dead && (owner.held | owner.chosen) >> place & 1 == 1
            });
            if claim.age == 2 || !is_at_it {
                claim.owner = NOBODY;
            }
            births |= 1 << claim.birth;
        }
        for peer in &self.peers {
            births |= 1 << peer.birth;
        }
        births &= !1;
        let rank = |birth: u8| {
            let upto = births & ((2u32 << birth) - 1);
            upto.count_ones() as u8
        };
        for claim in &mut self.claims[..usize::from(self.count)] {
            claim.birth = rank(claim.birth);
        }
        for peer in &mut self.peers {
            peer.birth = rank(peer.birth);
        }
    }

    /// The state as words, to be compared and hashed.
    pub fn pack(&self) -> [u64; WORDS] {
        let mut words = [0u64; WORDS];
        let dir = |dir: &Dir| {
            u64::from(dir.is_there) | u64::from(dir.is_old) << 1 | u64::from(dir.maker) << 2
        };
        let owner = match self.owner {
            Owner::Absent => 0,
            Owner::Empty => 1,
            Owner::Token { maker, is_guarded } => {
                2 | u64::from(is_guarded) << 2 | u64::from(maker) << 3
            }
        };
        words[0] = dir(&self.lock)
            | dir(&self.steal) << 5
            | owner << 10
            | u64::from(self.guard) << 16
            | u64::from(self.has_records) << 19
            | u64::from(self.records.flock) << 20
            | u64::from(self.has_claims_dir) << 23
            | u64::from(self.count) << 24
            | u64::from(self.sent) << 27
            | u64::from(self.acknowledged) << 35
            | u64::from(self.delivered) << 43
            | u64::from(self.crashes) << 51
            | u64::from(self.stalls) << 54;
        words[1] = u64::from(self.records.ids.0);
        for (place, claim) in self.claims[..usize::from(self.count)].iter().enumerate() {
            words[2 + place] = u64::from(claim.file.ids.0)
                | u64::from(claim.file.flock) << 32
                | u64::from(claim.birth) << 35
                | u64::from(claim.owner) << 40
                | u64::from(claim.is_guarded) << 43
                | u64::from(claim.age) << 44;
        }
        for (index, peer) in self.peers.iter().enumerate() {
            words[8 + 2 * index] = peer.pc as u64
                | (peer.life as u64) << 6
                | (peer.kind as u64) << 8
                | u64::from(peer.nth) << 10
                | (peer.job as u64) << 18
                | (peer.phase as u64) << 21
                | u64::from(peer.is_guarded) << 24
                | (peer.observed as u64) << 25
                | u64::from(peer.observed_guarded) << 27
                | u64::from(peer.same_dir) << 28
                | u64::from(peer.by_age) << 29
                | u64::from(peer.made_owner) << 30
                | u64::from(peer.fd) << 31
                | u64::from(peer.list) << 35
                | u64::from(peer.held) << 41
                | u64::from(peer.chosen) << 47
                | u64::from(peer.birth) << 53
                | u64::from(peer.waits) << 58;
            words[9 + 2 * index] = u64::from(peer.read.0);
        }
        words
    }

    /// The same state with the processes in other places: `to[i]` is the new place of `i`.
    pub fn permute(&self, to: &[u8; PEERS]) -> State {
        let who = |p: u8| to.get(usize::from(p)).map_or(p, |&p| p);
        let id = |id: u8| match id {
            1..=6 => 1 + 2 * who((id - 1) / 2) + (id - 1) % 2,
            _ => id,
        };
        let ids = |ids: Ids| {
            let mut moved = 0;
            for index in 0..ids.len() {
                moved |= u32::from(id(ids.get(index))) << (4 * index);
            }
            Ids(moved)
        };
        let mask = |mask: u8| {
            let mut moved = mask & 0b1100_0000;
            for (p, &to) in to.iter().enumerate() {
                moved |= (mask >> (2 * p) & 3) << (2 * to);
            }
            moved
        };
        let mut moved = *self;
        moved.lock.maker = who(self.lock.maker);
        moved.steal.maker = who(self.steal.maker);
        if let Owner::Token { maker, .. } = &mut moved.owner {
            *maker = who(*maker);
        }
        moved.guard = who(self.guard);
        moved.records.ids = ids(self.records.ids);
        moved.records.flock = who(self.records.flock);
        for claim in &mut moved.claims[..usize::from(self.count)] {
            claim.file.ids = ids(claim.file.ids);
            claim.file.flock = who(claim.file.flock);
            claim.owner = who(claim.owner);
        }
        moved.sent = mask(self.sent);
        moved.acknowledged = mask(self.acknowledged);
        moved.delivered = mask(self.delivered);
        for (p, peer) in self.peers.iter().enumerate() {
            let place = &mut moved.peers[usize::from(to[p])];
            *place = *peer;
            place.read = ids(peer.read);
            place.waits = 0;
            for (q, &to) in to.iter().enumerate() {
                place.waits |= (peer.waits >> q & 1) << to;
            }
        }
        moved
    }
}

/// Length of a packed state.
pub const WORDS: usize = 8 + 2 * PEERS;
