//! Crashes, stalls, and the passing of time.

use crate::rules::Model;
use crate::state::*;

/// What happens next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A process makes its next call; the second number tells ways it can go apart.
    Step(u8, u8),
    Crash(u8),
    Stall(u8),
    Resume(u8),
    LockAges,
    MarkAges,
    ClaimAges(u8),
}

impl Action {
    pub fn code(self) -> u8 {
        match self {
            Action::Step(p, choice) => p * 2 + choice,
            Action::Crash(p) => 16 + p,
            Action::Stall(p) => 24 + p,
            Action::Resume(p) => 32 + p,
            Action::LockAges => 40,
            Action::MarkAges => 41,
            Action::ClaimAges(place) => 48 + place,
        }
    }
}

fn is_stalled(state: &State, maker: u8) -> bool {
    state
        .peers
        .get(usize::from(maker))
        .is_none_or(|peer| peer.life == Life::Stalled)
}

impl Model {
    /// The process dies: the kernel closes what it had open. The rest of its jobs is done
    /// by a new process.
    pub fn crash(&self, state: &State, p: usize) -> State {
        let mut n = *state;
        self.finish(&mut n, p);
        if n.peers[p].pc == Pc::Done {
            n.peers[p].life = Life::Dead;
        }
        self.settle_down(&mut n, p);
        n.normalise();
        n
    }

    /// The process dies, and no other comes.
    pub fn kill(&self, state: &State, p: usize) -> State {
        let mut n = *state;
        n.peers[p].nth = u8::MAX;
        self.crash(&n, p)
    }

    pub fn stall(&self, state: &State, p: usize) -> State {
        let mut n = *state;
        n.peers[p].life = Life::Stalled;
        self.settle_down(&mut n, p);
        n
    }

    pub fn resume(&self, state: &State, p: usize) -> State {
        let mut n = *state;
        n.peers[p].life = Life::Runs;
        n
    }

    pub fn lock_may_age(&self, state: &State) -> bool {
        state.lock.is_there
            && !state.lock.is_old
            && is_stalled(state, state.lock.maker)
            && !state.peers.iter().any(|peer| self.clears_at_once(peer))
    }

    /// It found D under 25 s old, and needs less than 5 s to remove it.
    fn clears_at_once(&self, peer: &Process) -> bool {
        matches!(peer.pc, Pc::ClearToken | Pc::ClearDir)
            && peer.life == Life::Runs
            && peer.kind != Kind::Legacy
            && peer.same_dir
            && !peer.by_age
            && self.has_margin()
    }

    pub fn mark_may_age(&self, state: &State) -> bool {
        state.steal.is_there && !state.steal.is_old && is_stalled(state, state.steal.maker)
    }

    pub fn claim_may_age(&self, state: &State, place: usize) -> bool {
        let claim = &state.claims[place];
        if claim.age == 2 {
            return false;
        }
        is_stalled(state, claim.owner)
            || (self.mix.is_slow
                && claim.age == 0
                && claim.is_guarded
                && state.peers[usize::from(claim.owner)].pc.is_reading())
    }

    pub fn age_lock(&self, state: &State) -> State {
        let mut n = *state;
        n.lock.is_old = true;
        n.normalise();
        n
    }

    pub fn age_mark(&self, state: &State) -> State {
        let mut n = *state;
        n.steal.is_old = true;
        n.normalise();
        n
    }

    pub fn age_claim(&self, state: &State, place: usize) -> State {
        let mut n = *state;
        n.claims[place].age += 1;
        n.normalise();
        n
    }

    /// Everything that may be old is.
    pub fn age_all(&self, state: &mut State) {
        if self.lock_may_age(state) {
            state.lock.is_old = true;
        }
        if self.mark_may_age(state) {
            state.steal.is_old = true;
        }
        for place in 0..usize::from(state.count) {
            if is_stalled(state, state.claims[place].owner) {
                state.claims[place].age = 2;
            }
        }
        state.normalise();
    }

    /// Calls `each` with everything that can happen next.
    pub fn successors(&self, state: &State, each: &mut dyn FnMut(Action, crate::rules::Next)) {
        let mut quiet = |action, state| {
            let broke = None;
            each(action, crate::rules::Next { state, broke });
        };
        if self.lock_may_age(state) {
            quiet(Action::LockAges, self.age_lock(state));
        }
        if self.mark_may_age(state) {
            quiet(Action::MarkAges, self.age_mark(state));
        }
        for place in 0..usize::from(state.count) {
            if self.claim_may_age(state, place) {
                quiet(Action::ClaimAges(place as u8), self.age_claim(state, place));
            }
        }
        for p in 0..PEERS {
            let peer = &state.peers[p];
            if peer.pc == Pc::Done {
                continue;
            }
            if peer.life == Life::Stalled {
                quiet(Action::Resume(p as u8), self.resume(state, p));
            } else if peer.pc != Pc::Start && state.stalls < self.mix.stalls {
                let mut n = self.stall(state, p);
                n.stalls += 1;
                quiet(Action::Stall(p as u8), n);
            }
            if peer.pc != Pc::Start && state.crashes < self.mix.crashes {
                let mut n = self.crash(state, p);
                n.crashes += 1;
                quiet(Action::Crash(p as u8), n);
            }
        }
        for p in 0..PEERS {
            if state.peers[p].life != Life::Runs {
                continue;
            }
            for choice in 0..2 {
                if let Some(next) = self.step(state, p, choice) {
                    each(Action::Step(p as u8, choice), next);
                }
            }
        }
    }
}
