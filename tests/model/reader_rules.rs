//! What a reader does behind the fence: read, deliver, acknowledge or give up.

use crate::mutations::Mutation;
use crate::properties::Property;
use crate::rules::Model;
use crate::state::*;

impl Model {
    /// What a reader does once the lock is given back.
    pub fn reader_call(&self, n: &mut State, p: usize, me: &Process, broke: &mut Option<Property>) {
        match me.pc {
            Pc::Read => {
                self.read_one(n, p);
                if n.peers[p].list == 0 {
                    n.peers[p].pc = if self.is(Mutation::UnlinkBeforeDeliver) {
                        Pc::Unlink
                    } else {
                        Pc::Deliver
                    };
                }
            }
            Pc::Deliver if me.job.fails() => {
                n.peers[p].read = Ids(0);
                if self.is(Mutation::NoGiveUp) {
                    n.peers[p].pc = Pc::CloseClaims;
                } else {
                    n.peers[p].pc = Pc::GiveUp;
                }
            }
            Pc::Deliver => {
                *broke = self.hand_over(n, me.read);
                n.peers[p].read = Ids(0);
                n.peers[p].pc = Pc::Unlink;
                if self.is(Mutation::FlockBeforeUnlink) {
                    n.drop_flocks(p);
                }
            }
            Pc::Unlink => {
                if me.held != 0 {
                    n.unlink_claim(me.held.ilog2() as usize);
                }
            }
            Pc::RemoveClaims => {
                if n.count == 0 {
                    n.has_claims_dir = false;
                }
                return self.finish(n, p);
            }
            Pc::GiveUp => {
                if me.held != 0 {
                    let place = me.held.trailing_zeros() as usize;
                    n.forget_name(place);
                    n.claims[place].age = 2;
                    n.claims[place].owner = NOBODY;
                }
            }
            Pc::CloseClaims => return self.finish(n, p),
            _ => unreachable!("not a call of a reader: {:?}", me.pc),
        }
        self.skip_idle(n, p);
    }

    /// Counts messages as delivered.
    pub fn hand_over(&self, n: &mut State, ids: Ids) -> Option<Property> {
        let mut broke = None;
        let is_calm = n.crashes == 0 && n.stalls == 0;
        for index in 0..ids.len() {
            let id = ids.get(index);
            let bit = 1u8 << (id - 1);
            if n.sent & bit == 0 {
                broke = Some(Property::Unsent);
            } else if is_calm && n.delivered & bit != 0 {
                broke = Some(Property::Twice);
            } else if is_calm
                && self.mix.is_ordered
                && id & 1 == 0
                && n.sent & (bit >> 1) != 0
                && n.delivered & (bit >> 1) == 0
            {
                broke = Some(Property::Order);
            }
            n.delivered |= bit;
        }
        broke
    }
}
