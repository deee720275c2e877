//! Acquire and Recover.

use crate::mutations::Mutation;
use crate::rules::Model;
use crate::state::*;

impl Model {
    /// False: it waits.
    pub fn lock_call(&self, n: &mut State, p: usize, me: &Process) -> bool {
        let is_legacy = me.kind == Kind::Legacy;
        match me.pc {
            Pc::Guard => {
                if n.guard == NOBODY {
                    n.guard = p as u8;
                    n.peers[p].is_guarded = true;
                } else if self.may_go_on_without_guard(n) {
                    // ACQ-2
                    n.peers[p].is_guarded = self.is(Mutation::GoOnAsGuarded);
                } else {
                    return false;
                }
                n.peers[p].pc = Pc::Gate;
            }
            Pc::Gate => {
                if n.lock.is_there {
                    n.peers[p].pc = if is_legacy {
                        Pc::LegacyLook
                    } else {
                        Pc::ObserveToken
                    };
                } else {
                    n.make_lock(p);
                    n.peers[p].pc = Pc::PublishCreate;
                }
            }
            Pc::PublishCreate => {
                if n.owner == Owner::Absent || is_legacy {
                    n.set_owner(Owner::Empty); // a legacy peer truncates
                    n.peers[p].made_owner = true;
                    n.peers[p].pc = Pc::PublishWrite;
                } else {
                    // ACQ-5
                    if self.is(Mutation::RemoveDirOnExists) {
                        n.remove_lock();
                    }
                    n.peers[p].pc = Pc::Gate;
                }
            }
            Pc::PublishWrite => {
                if me.made_owner {
                    n.set_owner(Owner::Token {
                        maker: p as u8,
                        is_guarded: me.is_guarded,
                    });
                    n.peers[p].made_owner = false;
                }
                n.peers[p].pc = match (me.job, me.phase) {
                    _ if is_legacy && me.job != Job::Append => Pc::LegacyRead,
                    (Job::Append, _) if self.is(Mutation::OpenBeforePublish) => Pc::Write,
                    (Job::Append, _) => Pc::Open,
                    (_, Phase::Refence) => Pc::Verify,
                    _ if self.is(Mutation::ListAfterFence) => Pc::LookRecords,
                    _ => Pc::List,
                };
            }
            Pc::UndoLook => {
                n.peers[p].pc = if me.made_owner {
                    Pc::UndoOwner
                } else {
                    Pc::UndoDir
                };
            }
            Pc::UndoOwner => {
                n.unlink_owner();
                n.peers[p].pc = Pc::UndoDir;
            }
            Pc::UndoDir => {
                n.remove_lock();
                n.peers[p].made_owner = false;
                n.peers[p].phase = Phase::Failed;
                self.close_guard(n, p);
            }
            Pc::ObserveToken => {
                self.observe_token(n, p);
                n.peers[p].pc = Pc::ObserveDir;
            }
            Pc::ObserveDir => {
                let seen = n.lock;
                // Judge
                let is_dead =
                    me.is_guarded && me.observed_guarded && !self.is(Mutation::NoGuardShortcut);
                let me = &mut n.peers[p];
                if seen.is_there && (is_dead || seen.is_old) {
                    me.observed_guarded = false;
                    me.same_dir = true;
                    me.by_age = seen.is_old && !(is_dead && self.is(Mutation::DeadBeforeOld));
                    me.pc = if self.is(Mutation::NoMark) {
                        Pc::CompareToken
                    } else {
                        Pc::Mark
                    };
                } else {
                    back_to_gate(me);
                }
            }
            Pc::Mark => {
                if n.steal.is_there {
                    n.peers[p].forget_observed();
                    n.peers[p].pc = Pc::LookMark;
                } else {
                    n.steal = Dir {
                        is_there: true,
                        is_old: false,
                        maker: p as u8,
                    };
                    n.peers[p].pc = match me.observed {
                        Observed::Nothing if self.is(Mutation::NoCompare) => Pc::ClearDir,
                        _ if self.is(Mutation::NoCompare) => Pc::ClearToken,
                        _ => Pc::CompareToken,
                    };
                }
            }
            Pc::LookMark => {
                let is_stale = n.steal.is_there && n.steal.is_old;
                if is_stale && !self.is(Mutation::KeepStaleMark) {
                    n.peers[p].pc = Pc::ClearMark;
                } else {
                    back_to_gate(&mut n.peers[p]);
                }
            }
            Pc::ClearMark => {
                n.steal = NO_DIR; // REC-4
                back_to_gate(&mut n.peers[p]);
            }
            Pc::CompareToken => {
                n.peers[p].pc = if !n.owner_reads(me.observed) {
                    Pc::Unmark
                } else if is_legacy {
                    clear_from(me)
                } else {
                    Pc::CompareDir
                };
            }
            Pc::CompareDir => {
                self.compare_dir(n, p, me, n.lock.is_old);
            }
            Pc::ClearToken => {
                if !self.is(Mutation::KeepOwner) {
                    n.unlink_owner();
                }
                n.peers[p].pc = Pc::ClearDir;
            }
            Pc::ClearDir => {
                n.remove_lock();
                if me.by_age && !is_legacy && !self.is(Mutation::NoSettle) {
                    let mut waits = 0;
                    for (q, peer) in n.peers.iter().enumerate() {
                        if q != p && peer.life == Life::Runs && peer.pc.is_in_window() {
                            waits |= 1 << q;
                        }
                    }
                    n.peers[p].forget_observed();
                    n.peers[p].waits = waits;
                    n.peers[p].pc = Pc::Settle;
                } else {
                    n.peers[p].pc = Pc::Unmark;
                }
            }
            Pc::Settle => {
                if me.waits != 0 {
                    return false;
                }
                n.peers[p].pc = Pc::Unmark;
            }
            Pc::Unmark => {
                if !self.is(Mutation::NoMark) {
                    n.steal = NO_DIR;
                }
                back_to_gate(&mut n.peers[p]);
            }
            _ => unreachable!("not a call of the lock: {:?}", me.pc),
        }
        if n.peers[p].pc == Pc::Unmark {
            n.peers[p].forget_observed();
            if self.is(Mutation::NoMark) {
                back_to_gate(&mut n.peers[p]);
            }
        }
        true
    }

    /// D is the one that was observed: clear it. Else unmark.
    pub fn compare_dir(&self, n: &mut State, p: usize, me: &Process, is_over_25: bool) {
        let is_same = me.same_dir || self.is(Mutation::NoIdentity);
        if !n.lock.is_there || !is_same {
            n.peers[p].pc = Pc::Unmark;
            return;
        }
        // REC-6: it will have to settle, however it was judged.
        let is_by_judge = self.is(Mutation::SettleByJudge) || self.is(Mutation::DeadBeforeOld);
        n.peers[p].by_age |= is_over_25 && !is_by_judge;
        n.peers[p].pc = clear_from(me);
    }

    /// Whether Compare leaves 5 s in which a D that is not old yet is removed.
    pub fn has_margin(&self) -> bool {
        const WITHOUT: [Mutation; 3] = [
            Mutation::SettleByJudge,
            Mutation::DeadBeforeOld,
            Mutation::SettleOver30,
        ];
        !WITHOUT.iter().any(|&mutation| self.is(mutation))
    }

    /// ACQ-2: for a second D has been old, or absent and the deadline is over by now, and
    /// nobody has marked.
    fn may_go_on_without_guard(&self, n: &State) -> bool {
        let holder = &n.peers[usize::from(n.guard)];
        let mut is_over = holder.life == Life::Stalled || self.mix.is_hasty;
        let mut is_idle = !n.lock.is_there || n.lock.is_old;
        if n.lock.is_there && self.is(Mutation::NoPatience) {
            is_over = true;
        } else if n.steal.is_there && !n.steal.is_old {
            // A holder that runs waits for it to get old.
            is_over |= self.is(Mutation::NoLookAtMark);
            is_idle &= self.is(Mutation::NoLookAtMark);
        }
        is_idle && is_over && !self.is(Mutation::NoGoingOn)
    }

    pub fn observe_token(&self, n: &mut State, p: usize) {
        let me = &mut n.peers[p];
        (me.observed, me.observed_guarded) = match n.owner {
            Owner::Absent => (Observed::Nothing, false),
            Owner::Empty => (Observed::Empty, false),
            Owner::Token { is_guarded, .. } => (Observed::Token, is_guarded),
        };
    }
}

fn back_to_gate(me: &mut Process) {
    me.forget_observed();
    me.pc = Pc::Gate;
}

fn clear_from(me: &Process) -> Pc {
    match me.observed {
        Observed::Nothing => Pc::ClearDir,
        _ => Pc::ClearToken,
    }
}
