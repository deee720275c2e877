//! Fence, Split, Put back and Unlink: what Take does under the lock.

use crate::mutations::Mutation;
use crate::rules::Model;
use crate::state::*;

impl Model {
    pub fn take_call(&self, n: &mut State, p: usize, me: &Process) {
        match me.pc {
            Pc::Fence => {
                if !n.owner_is(p) && !self.is(Mutation::NoFence) {
                    // DRAIN-4: let go of G and begin again.
                    n.peers[p].phase = Phase::Again;
                    n.peers[p].birth = 0;
                    if me.is_guarded {
                        n.peers[p].pc = Pc::CloseGuard;
                    } else {
                        n.peers[p].phase = Phase::Work;
                        self.acquire(n, p);
                    }
                } else if me.held == 0 {
                    n.peers[p].birth = 0;
                    n.peers[p].phase = Phase::Finish;
                    n.peers[p].pc = if n.has_claims_dir {
                        Pc::RemoveEmpty
                    } else {
                        Pc::Verify
                    };
                } else {
                    n.peers[p].list = me.held;
                    n.peers[p].read = Ids(0);
                    n.peers[p].pc = Pc::Split;
                }
            }
            Pc::Split => {
                self.read_one(n, p);
                if n.peers[p].list == 0 {
                    let chosen = !self.choose(n, p).is_empty();
                    n.peers[p].pc = if chosen && !self.is(Mutation::ChosenAfterPutBack) {
                        Pc::MakeChosen
                    } else if self.is(Mutation::UnlinkBeforePutBack) {
                        Pc::UnlinkOld
                    } else {
                        Pc::PutBack
                    };
                    self.skip_unlinked(n, p);
                }
            }
            Pc::MakeChosen if !n.has_claims_dir => {
                // TAKE-2: the claims are another's, who is through with them.
                n.peers[p].phase = Phase::Again;
                n.peers[p].read = Ids(0);
                n.peers[p].birth = 0;
                n.peers[p].pc = Pc::Verify;
            }
            Pc::MakeChosen => {
                let (chosen, _) = self.split(n, p);
                let oldest = n.peers[p].held.trailing_zeros() as usize;
                let is_guarded = me.is_guarded;
                let birth = if me.held == 0 {
                    me.birth + 1
                } else {
                    n.claims[oldest].birth
                };
                let is_flocked = is_guarded && !self.is(Mutation::ChosenNotFlocked);
                let place = n.insert_claim(Claim {
                    file: File {
                        ids: chosen,
                        flock: if is_flocked { p as u8 } else { NOBODY },
                    },
                    birth,
                    owner: p as u8,
                    is_guarded,
                    age: 0,
                });
                n.peers[p].chosen = 1 << place;
                self.go_on_from_split(n, p);
            }
            Pc::PutBack => {
                let (_, rest) = self.split(n, p);
                n.peers[p].birth = 0;
                if !rest.is_empty() && n.has_records && !self.is(Mutation::RenameOver) {
                    // TAKE-3: there is a B.
                    n.peers[p].phase = Phase::Again;
                    n.peers[p].read = Ids(0);
                    n.peers[p].pc = if me.chosen == 0 {
                        Pc::Verify
                    } else {
                        Pc::DropChosen
                    };
                } else {
                    if !rest.is_empty() {
                        n.move_fds(FD_RECORDS, FD_NOWHERE);
                        n.has_records = true;
                        n.records = File {
                            ids: rest,
                            flock: NOBODY,
                        };
                    }
                    n.peers[p].pc = if self.is(Mutation::UnlinkBeforePutBack) {
                        n.peers[p].held = me.chosen;
                        self.end_of_take(n, p)
                    } else {
                        Pc::UnlinkOld
                    };
                    self.skip_unlinked(n, p);
                }
            }
            Pc::DropChosen => {
                if me.chosen != 0 {
                    n.unlink_claim(me.chosen.trailing_zeros() as usize);
                }
                n.peers[p].pc = Pc::Verify;
            }
            Pc::UnlinkOld => {
                if me.held != 0 {
                    n.unlink_claim(me.held.ilog2() as usize);
                }
                self.skip_unlinked(n, p);
            }
            _ => unreachable!("not a call of a take: {:?}", me.pc),
        }
    }

    fn go_on_from_split(&self, n: &mut State, p: usize) {
        let is_rest_empty = self.split(n, p).1.is_empty();
        let is_early = self.is(Mutation::UnlinkBeforePutBack) && n.peers[p].held != 0;
        let is_late = self.is(Mutation::ChosenAfterPutBack);
        n.peers[p].birth = 0;
        n.peers[p].pc = if is_rest_empty || is_early || is_late {
            Pc::UnlinkOld
        } else {
            Pc::PutBack
        };
        self.skip_unlinked(n, p);
    }

    /// Past UnlinkOld when there is nothing left to unlink.
    fn skip_unlinked(&self, n: &mut State, p: usize) {
        if n.peers[p].pc != Pc::UnlinkOld || n.peers[p].held != 0 {
            return;
        }
        if self.is(Mutation::UnlinkBeforePutBack) && !self.split(n, p).1.is_empty() {
            n.peers[p].pc = Pc::PutBack;
            return;
        }
        let is_late = self.is(Mutation::ChosenAfterPutBack) && n.peers[p].chosen == 0;
        if is_late && !n.peers[p].read.is_empty() {
            n.peers[p].pc = Pc::MakeChosen;
            return;
        }
        n.peers[p].pc = self.end_of_take(n, p);
    }

    fn end_of_take(&self, n: &mut State, p: usize) -> Pc {
        let me = &mut n.peers[p];
        me.birth = 0;
        me.phase = if me.chosen == 0 {
            Phase::Finish
        } else {
            Phase::ToRead
        };
        me.held = me.chosen;
        me.chosen = 0;
        me.read = Ids(0);
        if me.held == 0 {
            Pc::RemoveEmpty
        } else {
            Pc::Verify
        }
    }

    /// What a take chooses of what it has read.
    fn choose(&self, n: &State, p: usize) -> Ids {
        let me = &n.peers[p];
        let mut chosen = Ids(0);
        match me.job {
            _ if me.read.is_empty() => {}
            Job::VainTake => {}
            Job::TakeLast => chosen.add(me.read.get(me.read.len() - 1)),
            _ => chosen.add(me.read.get(0)),
        }
        chosen
    }

    fn split(&self, n: &State, p: usize) -> (Ids, Ids) {
        let chosen = self.choose(n, p);
        (chosen, n.peers[p].read.without(chosen))
    }
}
