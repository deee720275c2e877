//! Crashes, stalls, and the passing of time.

use crate::rules::{Model, Next};
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
    /// Everything that can happen, in the order in which it is tried.
    pub fn all() -> impl Iterator<Item = Action> {
        let peers = 0..PEERS as u8;
        let ages = [Action::LockAges, Action::MarkAges].into_iter();
        let claims = (0..CLAIMS as u8).map(Action::ClaimAges);
        let faults = |p| [Action::Resume(p), Action::Stall(p), Action::Crash(p)];
        let steps = |p| [Action::Step(p, 0), Action::Step(p, 1)];
        let processes = peers.clone().flat_map(faults);
        let peers = peers.flat_map(steps);
        ages.chain(claims).chain(processes).chain(peers)
    }

    /// A number under 32.
    pub fn code(self) -> u8 {
        match self {
            Action::Step(p, choice) => p * 2 + choice,
            Action::LockAges => 6,
            Action::MarkAges => 7,
            Action::ClaimAges(place) => 8 + place,
            Action::Crash(p) => 16 + p,
            Action::Stall(p) => 19 + p,
            Action::Resume(p) => 22 + p,
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
            && self.lock_maker_is_away(state)
            && !state.peers.iter().any(|peer| self.clears_at_once(peer))
    }

    /// Whoever made D is no more, or stands still.
    pub fn lock_maker_is_away(&self, state: &State) -> bool {
        is_stalled(state, state.lock.maker)
    }

    /// It found D under 25 s old, and needs less than 5 s to remove it.
    pub fn clears_at_once(&self, peer: &Process) -> bool {
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
        if place >= usize::from(state.count) || claim.age == oldest(claim) {
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
        // Between 30 s and 300 s a claim with guard is what it was before, but to a slow reader.
        n.claims[place].age = match oldest(&n.claims[place]) {
            2 if self.mix.is_slow => n.claims[place].age + 1,
            oldest => oldest,
        };
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
                state.claims[place].age = oldest(&state.claims[place]);
            }
        }
        state.normalise();
    }

    /// What comes of an action; `None` when it cannot happen.
    pub fn act(&self, state: &State, action: Action) -> Option<Next> {
        let quiet = |is_possible: bool, state: &dyn Fn() -> State| {
            let broke = None;
            is_possible.then(|| Next {
                state: state(),
                broke,
            })
        };
        match action {
            Action::Step(p, choice) => {
                let p = usize::from(p);
                let is_running = state.peers[p].life == Life::Runs;
                is_running.then(|| self.step(state, p, choice)).flatten()
            }
            Action::LockAges => quiet(self.lock_may_age(state), &|| self.age_lock(state)),
            Action::MarkAges => quiet(self.mark_may_age(state), &|| self.age_mark(state)),
            Action::ClaimAges(place) => {
                let place = usize::from(place);
                let may_age = self.claim_may_age(state, place);
                quiet(may_age, &|| self.age_claim(state, place))
            }
            Action::Crash(p) => {
                let p = usize::from(p);
                let may_die = is_at_work(state, p) && state.crashes < self.mix.crashes;
                quiet(may_die, &|| State {
                    crashes: state.crashes + 1,
                    ..self.crash(state, p)
                })
            }
            Action::Stall(p) => {
                let p = usize::from(p);
                let is_running = state.peers[p].life == Life::Runs;
                let may_stall =
                    is_running && is_at_work(state, p) && state.stalls < self.mix.stalls;
                quiet(may_stall, &|| State {
                    stalls: state.stalls + 1,
                    ..self.stall(state, p)
                })
            }
            Action::Resume(p) => {
                let p = usize::from(p);
                let is_stalled = state.peers[p].life == Life::Stalled;
                quiet(is_stalled, &|| self.resume(state, p))
            }
        }
    }

    /// Calls `each` with everything that can happen next.
    pub fn successors(&self, state: &State, each: &mut dyn FnMut(Action, Next)) {
        for action in Action::all() {
            if let Some(next) = self.act(state, action) {
                each(action, next);
            }
        }
    }
}

/// A process that has begun and not ended: it has something to lose.
pub fn is_at_work(state: &State, p: usize) -> bool {
    !matches!(state.peers[p].pc, Pc::Start | Pc::Done)
}

/// The age above which a claim is anybody's: over 30 s, with guard over 300 s.
fn oldest(claim: &Claim) -> u8 {
    if claim.is_guarded { 2 } else { 1 }
}
