//! What must hold, and the fresh process that shows whether anything is wedged.

use std::collections::HashSet;

use crate::rules::Model;
use crate::search::fingerprint;
use crate::state::*;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Property {
    /// An acknowledged message is neither delivered nor in a file a reader can find.
    Lost,
    /// Something was delivered that nobody sent.
    Unsent,
    /// A message was delivered twice, and nothing had crashed or stalled.
    Twice,
    /// A message was delivered before an earlier one of its sender, without a fault.
    Order,
    /// Two live processes hold the lock, and nothing had stalled.
    TwoHolders,
    /// A fresh process does not get through, or not everything reaches it.
    Wedge,
    /// A dead holder of the guard costs more than milliseconds.
    Slow,
}

pub const ALL: [Property; 7] = [
    Property::Lost,
    Property::Unsent,
    Property::Twice,
    Property::Order,
    Property::TwoHolders,
    Property::Wedge,
    Property::Slow,
];

impl Property {
    pub fn name(self) -> &'static str {
        match self {
            Property::Lost => "lost",
            Property::Unsent => "unsent",
            Property::Twice => "twice",
            Property::Order => "order",
            Property::TwoHolders => "two holders",
            Property::Wedge => "wedge",
            Property::Slow => "slow recovery",
        }
    }
}

/// Jobs fresh processes do one after the other; behind each row everything that was
/// acknowledged must have been delivered. A guard-less drain is last, because mail in the
/// hands of a frozen reader with guard is out of reach for peers with guard.
const FRESH: [&[(Kind, Job)]; 4] = [
    &[
        (Kind::WithGuard, Job::Drain),
        (Kind::WithoutGuard, Job::Drain),
    ],
    &[
        (Kind::WithoutGuard, Job::Drain),
        (Kind::WithGuard, Job::Drain),
    ],
    &[
        (Kind::WithGuard, Job::TakeFirst),
        (Kind::WithGuard, Job::Drain),
        (Kind::WithoutGuard, Job::Drain),
    ],
    &[
        (Kind::WithoutGuard, Job::TakeFirst),
        (Kind::WithoutGuard, Job::Drain),
    ],
];

/// More calls than any fresh process needs.
const PATIENCE: usize = 400;

/// Checks states, and remembers which leftovers fresh processes got through.
#[derive(Default)]
pub struct Checks {
    leftovers: HashSet<(u64, u64)>,
}

impl Checks {
    pub fn state(&mut self, model: &Model, state: &State, watch: &[Property]) -> Option<Property> {
        let has = |property| watch.contains(&property);
        let missing = state.acknowledged & !state.delivered & !state.linked();
        if has(Property::Lost) && missing != 0 {
            return Some(Property::Lost);
        }
        if has(Property::TwoHolders) && state.stalls == 0 && state.crashes <= model.mix.exclusive {
            let mut holders = 0;
            for peer in &state.peers {
                holders += u8::from(peer.life == Life::Runs && peer.pc.is_holder());
            }
            if holders > 1 {
                return Some(Property::TwoHolders);
            }
        }
        if (!has(Property::Wedge) && !has(Property::Slow)) || missing != 0 {
            return None;
        }
        if has(Property::Slow) && is_calm_end(state) {
            // CLAIM-7: whoever comes next need not wait.
            let next = fresh(model, *state, Kind::WithoutGuard, Job::Drain, false);
            if next.is_none_or(|next| next.acknowledged & !next.delivered != 0) {
                return Some(Property::Slow);
            }
        }
        // Whatever happens: everybody who runs dies now, stalled processes stay as they are;
        // and everybody dies.
        let (mut left, mut is_stalled) = (*state, false);
        for p in 0..PEERS {
            match left.peers[p].life {
                _ if left.peers[p].pc == Pc::Done => {}
                Life::Runs => left = model.kill(&left, p),
                Life::Stalled => is_stalled = true,
                Life::Dead => {}
            }
        }
        let mut broke = self.leftover(model, left, watch);
        if is_stalled && broke.is_none() {
            for p in 0..PEERS {
                if left.peers[p].life == Life::Stalled {
                    left = model.kill(&left, p);
                }
            }
            broke = self.leftover(model, left, watch);
        }
        broke
    }

    fn leftover(&mut self, model: &Model, mut left: State, watch: &[Property]) -> Option<Property> {
        (left.crashes, left.stalls, left.sent) = (7, 7, 0xff);
        if !self.leftovers.insert(fingerprint(&left.pack())) {
            return None;
        }
        if watch.contains(&Property::Slow) && !is_recovered_at_once(model, &left) {
            return Some(Property::Slow);
        }
        (watch.contains(&Property::Wedge)
            && !FRESH.iter().all(|row| gets_through(model, left, row)))
        .then_some(Property::Wedge)
    }
}

fn is_calm_end(state: &State) -> bool {
    let is_done = state.peers.iter().all(|peer| peer.pc == Pc::Done);
    is_done && state.crashes == 0 && state.stalls == 0
}

fn gets_through(model: &Model, mut state: State, row: &[(Kind, Job)]) -> bool {
    for &(kind, job) in row {
        let Some(next) = fresh(model, state, kind, job, true) else {
            return false;
        };
        state = next;
    }
    // S may stay: it is in nobody's way but a clearer's, who removes it by its age.
    let is_clean = !state.lock.is_there && state.owner == Owner::Absent && !state.has_claims_dir;
    state.acknowledged & !state.delivered == 0 && is_clean
}

/// With the token of a dead holder of the guard in O, a peer with guard waits for no age.
fn is_recovered_at_once(model: &Model, state: &State) -> bool {
    let is_guarded = matches!(
        state.owner,
        Owner::Token {
            is_guarded: true,
            ..
        }
    );
    let is_ready = is_guarded && state.lock.is_there && !state.lock.is_old;
    !is_ready
        || state.steal.is_there
        || state.guard != NOBODY
        || fresh(model, *state, Kind::WithGuard, Job::Drain, false).is_some()
}

/// A process that was not there before does one job alone; `None` when it does not end.
fn fresh(model: &Model, mut state: State, kind: Kind, job: Job, ages: bool) -> Option<State> {
    let p = state
        .peers
        .iter()
        .position(|peer| peer.life != Life::Stalled)?;
    state.peers[p] = Process::at_start(kind, u8::MAX, job);
    model.acquire(&mut state, p); // without Look: it wants the lock, mail or none
    for _ in 0..PATIENCE {
        if ages {
            model.age_all(&mut state);
        }
        state = model.step(&state, p, 0)?.state;
        if state.peers[p].pc == Pc::Done {
            return Some(state);
        }
    }
    None
}
