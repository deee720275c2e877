//! One form for states that nothing can tell apart.

use crate::state::*;

/// Length of a packed state.
pub const WORDS: usize = 2 + CLAIMS + 2 * PEERS;

impl State {
    /// Brings states that no later step can tell apart into one form.
    pub fn normalise(&mut self) {
        let at = |peers: &[Process; PEERS], maker: u8, what: fn(Pc) -> bool| {
            let peer = peers.get(usize::from(maker))?;
            what(peer.pc).then_some(maker)
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
            let is_at_it = owner.is_some_and(|owner| (owner.held | owner.chosen) >> place & 1 == 1);
            let is_guarded = claim.is_guarded;
            claim.age = claim.age.min(1 + u8::from(is_guarded)); // one that was given up
            if claim.age > u8::from(is_guarded) || !is_at_it {
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
            | u64::from(self.sent) << 28
            | u64::from(self.acknowledged) << 36
            | u64::from(self.delivered) << 44
            | u64::from(self.crashes) << 52
            | u64::from(self.stalls) << 55;
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
            let place = 2 + CLAIMS + 2 * index;
            words[place] = peer.pc as u64
                | (peer.life as u64) << 8
                | (peer.kind as u64) << 10
                | u64::from(peer.nth) << 12
                | (peer.job as u64) << 20
                | (peer.phase as u64) << 24
                | u64::from(peer.is_guarded) << 28
                | (peer.observed as u64) << 29
                | u64::from(peer.observed_guarded) << 31
                | u64::from(peer.same_dir) << 32
                | u64::from(peer.by_age) << 33
                | u64::from(peer.made_owner) << 34
                | u64::from(peer.fd) << 35
                | u64::from(peer.birth) << 40
                | u64::from(peer.waits) << 46;
            words[place + 1] = u64::from(peer.read.0)
                | u64::from(peer.list) << 32
                | u64::from(peer.held) << 42
                | u64::from(peer.chosen) << 52;
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
