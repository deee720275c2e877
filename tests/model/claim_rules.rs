//! Adopt and Claim, under the lock.

use crate::mutations::Mutation;
use crate::rules::Model;
use crate::state::*;

impl Model {
    /// Adopt and Claim.
    pub fn claims_call(&self, n: &mut State, p: usize, me: &Process) {
        match me.pc {
            Pc::List => {
                let all: Places = (1 << n.count) - 1;
                let newest = n.claims[..usize::from(n.count)].last();
                n.peers[p].birth = newest.map_or(0, |claim| claim.birth);
                n.peers[p].list = all & !me.held;
                self.next_listed(n, p);
            }
            Pc::AdoptOpen => {
                if is_named(me) {
                    n.peers[p].pc = Pc::AdoptFlock;
                } else {
                    self.next_listed(n, p);
                }
            }
            Pc::AdoptFlock => {
                if self.flock(n, p, me.fd) {
                    n.peers[p].pc = Pc::AdoptCheck;
                } else {
                    self.next_listed(n, p); // CLAIM-4: it is another's
                }
            }
            Pc::AdoptCheck => {
                if is_named(me) {
                    n.peers[p].pc = Pc::AdoptRename;
                } else {
                    self.close(n, p);
                    self.next_listed(n, p);
                }
            }
            Pc::AdoptRename => self.adopt(n, p, me),
            Pc::LookRecords => {
                // An empty B too: a take could not put anything back beside it.
                let is_kept = n.records.ids.is_empty() && self.is(Mutation::KeepEmptyRecords);
                n.peers[p].pc = if !n.has_records || is_kept {
                    self.after_claim(n, p)
                } else if me.is_guarded {
                    Pc::ClaimOpen
                } else {
                    Pc::MakeClaims
                };
            }
            Pc::ClaimOpen => {
                let is_there = n.has_records;
                let me = &mut n.peers[p];
                if is_there {
                    me.fd = FD_RECORDS;
                    me.pc = Pc::ClaimFlock;
                } else {
                    me.pc = Pc::LookRecords;
                }
            }
            Pc::ClaimFlock => {
                n.peers[p].pc = if self.flock(n, p, me.fd) {
                    Pc::ClaimCheck
                } else {
                    n.peers[p].fd = FD_NONE;
                    self.after_claim(n, p)
                };
            }
            Pc::ClaimCheck => {
                if me.fd == FD_RECORDS {
                    n.peers[p].pc = Pc::MakeClaims;
                } else {
                    self.close(n, p);
                    n.peers[p].pc = Pc::LookRecords;
                }
            }
            Pc::MakeClaims => {
                n.has_claims_dir = true;
                n.peers[p].pc = Pc::ClaimRename;
            }
            Pc::ClaimRename => self.claim_records(n, p, me),
            Pc::RemoveEmpty => {
                if n.count == 0 {
                    n.has_claims_dir = false;
                }
                n.peers[p].pc = Pc::Verify;
            }
            _ => unreachable!("not a call under the lock: {:?}", me.pc),
        }
    }

    /// CLAIM-4, CLAIM-5; for a guarded claim and a peer with guard the flock decides.
    fn is_orphan(&self, claim: &Claim, is_guarded: bool) -> bool {
        match (claim.is_guarded, is_guarded) {
            (true, true) => true,
            _ if self.is(Mutation::AgeByMtime) => true,
            (true, false) if self.is(Mutation::GuardedAfter30) => claim.age >= 1,
            (true, false) => claim.age == 2,
            (false, _) => claim.age >= 1,
        }
    }

    /// DRAIN-2: the newest listed claim that is an orphan, or else on to Claim.
    fn next_listed(&self, n: &mut State, p: usize) {
        // The one in hand is done with.
        let fd = n.peers[p].fd;
        if usize::from(fd) < CLAIMS {
            n.peers[p].list &= !(1 << fd);
        }
        n.peers[p].fd = FD_NONE;
        while n.peers[p].list != 0 {
            let place = n.peers[p].list.ilog2() as usize;
            if self.is_orphan(&n.claims[place], n.peers[p].is_guarded) {
                n.peers[p].fd = place as u8;
                n.peers[p].pc = if n.peers[p].is_guarded {
                    Pc::AdoptOpen
                } else {
                    Pc::AdoptRename
                };
                return;
            }
            n.peers[p].list &= !(1 << place);
        }
        if self.is(Mutation::ListAfterFence) {
            n.peers[p].birth = 0;
            self.start_reading(n, p);
        } else {
            n.peers[p].pc = Pc::LookRecords;
        }
    }

    fn adopt(&self, n: &mut State, p: usize, me: &Process) {
        if !is_named(me) {
            self.close(n, p); // ENOENT: another peer did
            return self.next_listed(n, p);
        }
        let place = usize::from(me.fd);
        n.forget_name(place);
        let claim = &mut n.claims[place];
        claim.owner = p as u8;
        claim.is_guarded = me.is_guarded;
        claim.age = 0;
        let before = n.peers[p].held;
        n.peers[p].held |= 1 << place;
        if self.is(Mutation::OneClaimName) && before != 0 {
            n.unlink_claim(before.trailing_zeros() as usize);
        }
        self.next_listed(n, p);
    }

    /// DRAIN-3
    fn claim_records(&self, n: &mut State, p: usize, me: &Process) {
        if !n.has_records {
            self.close(n, p);
            n.peers[p].pc = self.after_claim(n, p);
            return;
        }
        if !n.has_claims_dir {
            n.peers[p].pc = Pc::MakeClaims;
            return;
        }
        if self.is(Mutation::OneClaimName) && me.held != 0 {
            n.unlink_claim(me.held.trailing_zeros() as usize);
        }
        let file = n.records;
        n.has_records = false;
        // CLAIM-2: the smallest birth there may be, as with a clock that stepped back.
        let birth = if self.is(Mutation::BirthByClock) {
            1
        } else {
            me.birth + 1
        };
        if self.is(Mutation::BirthByClock) {
            for claim in &mut n.claims {
                claim.birth += 1;
            }
            for peer in &mut n.peers {
                peer.birth += 1;
            }
        }
        let place = n.insert_claim(Claim {
            file,
            birth,
            owner: p as u8,
            is_guarded: me.is_guarded,
            age: 0,
        });
        n.peers[p].fd = FD_NONE;
        n.move_fds(FD_RECORDS, place as u8);
        n.peers[p].held |= 1 << place;
        n.peers[p].pc = self.after_claim(n, p);
    }

    fn after_claim(&self, n: &mut State, p: usize) -> Pc {
        let me = &mut n.peers[p];
        me.list = 0;
        if me.job.is_take() {
            return Pc::Fence;
        }
        me.birth = 0;
        if me.held == 0 && n.has_claims_dir && !self.is(Mutation::ListAfterFence) {
            Pc::RemoveEmpty
        } else {
            Pc::Verify
        }
    }

    /// Tries a flock without waiting.
    fn flock(&self, n: &mut State, p: usize, fd: u8) -> bool {
        match n.file(fd) {
            Some(file) if file.flock != NOBODY => false,
            Some(file) => {
                file.flock = p as u8;
                true
            }
            None => true, // unlinked: Check will see
        }
    }

    /// Closes the descriptor in hand, and its flock.
    fn close(&self, n: &mut State, p: usize) {
        let fd = n.peers[p].fd;
        if n.peers[p].is_guarded
            && let Some(file) = n.file(fd)
            && file.flock == p as u8
        {
            file.flock = NOBODY;
        }
        if fd >= FD_RECORDS {
            n.peers[p].fd = FD_NONE;
        }
    }

    pub fn read_one(&self, n: &mut State, p: usize) {
        let list = n.peers[p].list;
        if list != 0 {
            let place = list.trailing_zeros() as usize;
            n.peers[p].list &= !(1 << place);
            let ids = n.claims[place].file.ids;
            n.peers[p].read.add_all(ids);
        }
    }
}

/// Whether the claim in hand still has the name it was listed by.
fn is_named(me: &Process) -> bool {
    usize::from(me.fd) < CLAIMS && me.list >> me.fd & 1 == 1
}
