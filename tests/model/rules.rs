//! The steps of our own peers, one system call each, as spec/protocol.md has them.
//!
//! `step` takes one process one system call further. What follows a call without another
//! call (judging, choosing the next thing to do) belongs to the same step.

use crate::mutations::Mutation;
use crate::properties::Property;
use crate::state::*;

/// What a mix is made of; see `mixes`.
#[derive(Clone)]
pub struct Mix {
    pub peers: Vec<(Kind, Vec<Job>)>,
    /// Messages that are in B, acknowledged, when it begins.
    pub initial: u8,
    pub crashes: u8,
    pub stalls: u8,
    /// Crashes up to which one holder at a time is demanded.
    pub exclusive: u8,
    /// Guarded readers may need more than 30 s without any fault.
    pub is_slow: bool,
    /// Whether the order of one sender's messages is demanded.
    pub is_ordered: bool,
    /// ACQ-2: whether the second or the deadline can be over while the holder of the guard
    /// runs.
    pub is_hasty: bool,
    /// The disk may be full when a token is published (ACQ-5).
    pub is_full: bool,
    /// Every order of the same things is gone into.
    pub is_whole: bool,
}

pub struct Model {
    pub mix: Mix,
    pub mutation: Option<Mutation>,
}

/// A successor, and what the step broke.
pub struct Next {
    pub state: State,
    pub broke: Option<Property>,
}

impl Model {
    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// One system call of `p`; `None` when it waits, or for a choice there is not.
    pub fn step(&self, state: &State, p: usize, choice: u8) -> Option<Next> {
        let mut n = *state;
        let mut broke = None;
        let me = state.peers[p];
        if choice == 1 {
            if !self.other_way(&mut n, p, &me) {
                return None;
            }
        } else if !self.call(&mut n, p, &me, &mut broke) {
            return None;
        }
        self.settle_down(&mut n, p);
        n.normalise();
        Some(Next { state: n, broke })
    }

    /// A peer that has left its window is not waited for by Settle.
    pub fn settle_down(&self, n: &mut State, p: usize) {
        if !n.peers[p].pc.is_in_window() || n.peers[p].life != Life::Runs {
            for peer in &mut n.peers {
                peer.waits &= !(1 << p);
            }
        }
    }

    /// The second way a call can go; false when there is none.
    fn other_way(&self, n: &mut State, p: usize, me: &Process) -> bool {
        let is_ours = me.kind != Kind::Legacy;
        match me.pc {
            Pc::Guard | Pc::Gate if me.job.fails() && me.held != 0 => {
                // DRAIN-9: busy, with claims in hand.
                if n.guard == p as u8 {
                    n.guard = NOBODY;
                }
                n.peers[p].pc = Pc::GiveUp;
            }
            Pc::PublishCreate if self.mix.is_full && is_ours => n.peers[p].pc = Pc::UndoDir,
            Pc::PublishWrite if self.mix.is_full && is_ours => n.peers[p].pc = Pc::UndoLook,
            // REC-6: D, left by somebody, is over 25 s old and not over 30.
            Pc::CompareDir if is_ours && self.has_margin() && self.lock_may_age(n) => {
                self.compare_dir(n, p, me, true);
            }
            _ => return false,
        }
        true
    }

    /// False: it waits.
    fn call(&self, n: &mut State, p: usize, me: &Process, broke: &mut Option<Property>) -> bool {
        match me.pc {
            Pc::Done => return false,
            Pc::Start => self.start(n, p, me),
            Pc::OpenEarly => {
                self.open(n, p);
                self.acquire(n, p);
            }
            pc if pc >= Pc::Guard && pc <= Pc::UndoDir => {
                return self.lock_call(n, p, me);
            }
            Pc::Open => {
                self.open(n, p);
                n.peers[p].pc = Pc::Write;
            }
            Pc::Write => {
                let id = 1 + 2 * p as u8 + self.appends_before(p, me.nth);
                if let Some(file) = n.file(me.fd) {
                    file.ids.add(id);
                }
                n.sent |= 1 << (id - 1);
                n.peers[p].fd = FD_NONE;
                n.peers[p].pc = Pc::Verify;
            }
            pc if pc >= Pc::List && pc <= Pc::RemoveEmpty => self.claims_call(n, p, me),
            pc if pc >= Pc::Fence && pc <= Pc::UnlinkOld => self.take_call(n, p, me),
            Pc::LegacyRead | Pc::LegacyTruncate | Pc::LegacyLook | Pc::LegacyObserve => {
                return self.legacy_call(n, p, me, broke);
            }
            Pc::Verify => {
                let is_lost = !n.owner_is(p);
                if is_lost && me.kind == Kind::Legacy {
                    self.finish(n, p);
                } else if is_lost {
                    if n.peers[p].phase == Phase::Work {
                        n.peers[p].phase = Phase::Lost;
                    }
                    self.close_guard(n, p);
                } else {
                    n.peers[p].pc = Pc::ReleaseToken;
                }
            }
            Pc::ReleaseToken => {
                n.unlink_owner();
                n.peers[p].pc = Pc::ReleaseDir;
            }
            Pc::ReleaseDir => {
                n.remove_lock();
                self.close_guard(n, p);
            }
            Pc::CloseGuard => {
                if n.guard == p as u8 {
                    n.guard = NOBODY;
                }
                self.released(n, p);
            }
            _ => self.reader_call(n, p, me, broke),
        }
        true
    }

    /// How many appends come before the job in the process's list.
    fn appends_before(&self, p: usize, nth: u8) -> u8 {
        let jobs = &self.mix.peers[p].1[..usize::from(nth)];
        jobs.iter().filter(|&&job| job == Job::Append).count() as u8
    }

    fn start(&self, n: &mut State, p: usize, me: &Process) {
        if me.kind == Kind::Legacy {
            n.peers[p].pc = Pc::Gate;
        } else if me.job == Job::Append {
            if self.is(Mutation::OpenBeforePublish) {
                n.peers[p].pc = Pc::OpenEarly;
            } else {
                self.acquire(n, p);
            }
        } else if (n.has_records && !n.records.ids.is_empty()) || n.has_claims_dir {
            self.acquire(n, p);
        } else {
            self.finish(n, p); // DRAIN-1
        }
    }

    /// A new acquisition, with a new token (TOKEN-1).
    pub fn acquire(&self, n: &mut State, p: usize) {
        n.peers[p].is_guarded = false;
        n.peers[p].pc = match n.peers[p].kind {
            Kind::WithGuard => Pc::Guard,
            Kind::WithoutGuard | Kind::Legacy => Pc::Gate,
        };
    }

    fn open(&self, n: &mut State, p: usize) {
        if !n.has_records {
            n.has_records = true;
            n.records = EMPTY_FILE;
        }
        n.peers[p].fd = FD_RECORDS;
    }

    pub fn close_guard(&self, n: &mut State, p: usize) {
        if n.peers[p].is_guarded {
            n.peers[p].pc = Pc::CloseGuard;
        } else {
            self.released(n, p);
        }
    }

    /// What comes after Release, or after a lost one.
    fn released(&self, n: &mut State, p: usize) {
        let me = n.peers[p];
        n.peers[p].phase = Phase::Work;
        match (me.job, me.phase) {
            (_, Phase::Failed) if me.held != 0 => n.peers[p].pc = Pc::GiveUp,
            (_, Phase::Failed) => self.finish(n, p),
            (Job::Append, Phase::Lost) if !self.is(Mutation::NoVerify) => {
                // APP-7: the whole append again.
                if self.is(Mutation::OpenBeforePublish) {
                    n.peers[p].pc = Pc::OpenEarly;
                } else {
                    self.acquire(n, p);
                }
            }
            (Job::Append, _) => {
                if me.kind != Kind::Legacy {
                    n.acknowledged |= 1 << (2 * p as u8 + self.appends_before(p, me.nth));
                }
                self.finish(n, p);
            }
            (_, Phase::Finish) => self.finish(n, p),
            (_, Phase::Again) => self.acquire(n, p),
            (_, Phase::ToRead | Phase::Refence) => self.start_reading(n, p),
            (_, Phase::Lost) if me.job.is_take() => self.acquire(n, p),
            (_, Phase::Lost) if me.held != 0 && !self.is(Mutation::NoFence) => {
                n.peers[p].phase = Phase::Refence; // DRAIN-4
                self.acquire(n, p);
            }
            (_, Phase::Work | Phase::Lost) if self.is(Mutation::ListAfterFence) => {
                n.peers[p].pc = Pc::List;
            }
            (_, Phase::Work | Phase::Lost) => self.start_reading(n, p),
        }
    }

    pub fn start_reading(&self, n: &mut State, p: usize) {
        let me = &mut n.peers[p];
        me.list = me.held;
        me.read = Ids(0);
        me.pc = Pc::Read;
        if me.list == 0 {
            me.pc = Pc::Deliver;
        }
        self.skip_idle(n, p);
    }

    /// The next thing to do is known without a call: nothing to deliver, nothing to unlink.
    pub fn skip_idle(&self, n: &mut State, p: usize) {
        let me = &mut n.peers[p];
        if me.pc == Pc::Read && me.list == 0 {
            me.pc = Pc::Deliver;
        }
        if me.pc == Pc::Deliver && me.read.is_empty() && me.held == 0 {
            return self.finish(n, p);
        }
        if me.pc == Pc::Unlink && me.held == 0 {
            me.pc = if self.is(Mutation::UnlinkBeforeDeliver) && !me.read.is_empty() {
                Pc::Deliver
            } else {
                Pc::RemoveClaims
            };
        }
        if me.pc == Pc::GiveUp && me.held == 0 {
            me.pc = Pc::CloseClaims;
        }
    }

    /// The job is done: everything is closed, nothing remembered.
    pub fn finish(&self, n: &mut State, p: usize) {
        n.drop_flocks(p);
        if n.guard == p as u8 {
            n.guard = NOBODY;
        }
        let me = n.peers[p];
        let nth = me.nth.saturating_add(1);
        let next = self.mix.peers.get(p).map(|(_, jobs)| jobs);
        let job = next.and_then(|jobs| jobs.get(usize::from(nth)));
        n.peers[p] = match job {
            Some(&job) => Process::at_start(me.kind, nth, job),
            None => Process::done(me.kind),
        };
    }
}
