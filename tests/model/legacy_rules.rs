//! The calls of a legacy peer (oxtail 0.14) that ours do not have.
//!
//! It looks at D before O, compares O alone, truncates O on publishing and B on draining.

use crate::properties::Property;
use crate::rules::Model;
use crate::state::*;

impl Model {
    /// False: it waits.
    pub fn legacy_call(
        &self,
        n: &mut State,
        p: usize,
        me: &Process,
        broke: &mut Option<Property>,
    ) -> bool {
        match me.pc {
            Pc::LegacyLook => {
                n.peers[p].pc = if n.lock.is_there && n.lock.is_old {
                    Pc::LegacyObserve
                } else {
                    Pc::Gate
                };
            }
            Pc::LegacyObserve => {
                self.observe_token(n, p);
                n.peers[p].observed_guarded = false;
                n.peers[p].pc = Pc::Mark;
            }
            Pc::LegacyRead => {
                n.peers[p].read = if n.has_records { n.records.ids } else { Ids(0) };
                n.peers[p].pc = if n.peers[p].read.is_empty() {
                    Pc::Verify
                } else {
                    Pc::LegacyTruncate
                };
                n.peers[p].phase = Phase::Finish;
            }
            Pc::LegacyTruncate => {
                // What it took is its own affair from here on.
                *broke = self.hand_over(n, me.read);
                if n.has_records {
                    n.records.ids = Ids(0);
                } else {
                    n.has_records = true;
                    n.records = EMPTY_FILE;
                }
                n.peers[p].read = Ids(0);
                n.peers[p].pc = Pc::Verify;
            }
            _ => unreachable!("not a call of a legacy peer: {:?}", me.pc),
        }
        true
    }
}
