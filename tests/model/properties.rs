//! What must hold, and the fresh process that shows whether anything is wedged.

use std::collections::HashSet;

use crate::faults::{Action, is_at_work};
use crate::rules::Model;
use crate::search::{Moved, fingerprint};
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
    /// All is done, without a fault, and something is left that should not be.
    Litter,
    /// A dead holder of the guard costs more than milliseconds.
    Slow,
}

pub const ALL: [Property; 8] = [
    Property::Lost,
    Property::Unsent,
    Property::Twice,
    Property::Order,
    Property::TwoHolders,
    Property::Wedge,
    Property::Litter,
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
            Property::Litter => "litter",
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
    /// A fresh process had no room for its claims.
    pub is_unsure: bool,
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
        if has(Property::Litter) && is_calm_end(state) {
            let is_locked = state.lock.is_there || state.owner != Owner::Absent;
            let is_idle = state.has_claims_dir && state.count == 0; // HAS-1 says yes for ever
            if is_locked || state.steal.is_there || state.guard != NOBODY || is_idle {
                return Some(Property::Litter);
            }
        }
        if (!has(Property::Wedge) && !has(Property::Slow)) || missing != 0 {
            return None;
        }
        if has(Property::Slow) && is_calm_end(state) {
            // CLAIM-7: whoever comes next need not wait.
            let next = fresh(model, *state, Kind::WithoutGuard, Job::Drain, false, None);
            if next.is_none_or(|next| next.acknowledged & !next.delivered != 0) {
                return Some(Property::Slow);
            }
        }
        for still in frozen(model, state) {
            let left = left_by(model, state, still, &mut |_, _, _| {});
            let broke = self.leftover(model, left, watch);
            if broke.is_some() {
                return broke;
            }
        }
        None
    }

    fn leftover(&mut self, model: &Model, mut left: State, watch: &[Property]) -> Option<Property> {
        (left.crashes, left.stalls, left.sent) = (7, 7, 0xff);
        if !self.leftovers.insert(fingerprint(&left.pack())) {
            return None;
        }
        if watch.contains(&Property::Slow) && !is_recovered_at_once(model, &left) {
            return Some(Property::Slow);
        }
        if watch.contains(&Property::Wedge) {
            for row in FRESH {
                match gets_through(model, left, row) {
                    Some(true) => {}
                    Some(false) => return Some(Property::Wedge),
                    None => self.is_unsure = true,
                }
            }
        }
        None
    }
}

/// Whatever happens: some stand still for good, as many as may still stall and any of those
/// who do already, and the others die. A bit for each who stands still.
fn frozen(model: &Model, state: &State) -> impl Iterator<Item = u8> {
    let (mut stalled, mut running) = (0u8, 0u8);
    for (p, peer) in state.peers.iter().enumerate() {
        match peer.life {
            Life::Stalled => stalled |= 1 << p,
            Life::Runs if is_at_work(state, p) => running |= 1 << p,
            Life::Runs => {}
        }
    }
    let more = match model.mix.is_whole {
        true => 0, // those are states of their own
        false => model.mix.stalls - state.stalls,
    };
    (0..1 << PEERS).filter(move |still: &u8| {
        let is_possible = match model.mix.is_whole {
            true => *still == stalled || *still == 0,
            false => still & !(stalled | running) == 0,
        };
        is_possible && (still & running).count_ones() <= u32::from(more)
    })
}

/// What there is when all are dead but those who stand still.
fn left_by(
    model: &Model,
    state: &State,
    still: u8,
    each: &mut dyn FnMut(Action, &State, &State),
) -> State {
    let mut left = *state;
    for p in 0..PEERS {
        let is_still = still >> p & 1 == 1;
        let (action, after) = match left.peers[p].life {
            _ if left.peers[p].pc == Pc::Done => continue,
            _ if !is_still => (Action::Crash(p as u8), model.kill(&left, p)),
            Life::Runs => (Action::Stall(p as u8), model.stall(&left, p)),
            Life::Stalled => continue,
        };
        each(action, &left, &after);
        left = after;
    }
    left
}

fn is_calm_end(state: &State) -> bool {
    let is_done = state.peers.iter().all(|peer| peer.pc == Pc::Done);
    is_done && state.crashes == 0 && state.stalls == 0
}

/// `None`: there was no room for its claims.
fn gets_through(model: &Model, mut state: State, row: &[(Kind, Job)]) -> Option<bool> {
    for &(kind, job) in row {
        let Some(next) = fresh(model, state, kind, job, true, None) else {
            return Some(false);
        };
        if next.is_overfull {
            return None;
        }
        state = next;
    }
    // S may stay: it is in nobody's way but a clearer's, who removes it by its age.
    let is_clean = !state.lock.is_there && state.owner == Owner::Absent && !state.has_claims_dir;
    Some(state.acknowledged & !state.delivered == 0 && is_clean)
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
        || fresh(model, *state, Kind::WithGuard, Job::Drain, false, None).is_some()
}

/// A process that was not there before does one job alone; `None` when it does not end.
fn fresh(
    model: &Model,
    mut state: State,
    kind: Kind,
    job: Job,
    ages: bool,
    mut path: Option<&mut Vec<Moved>>,
) -> Option<State> {
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
        let after = model.step(&state, p, 0)?.state;
        if let Some(path) = &mut path {
            path.push(Moved {
                action: Action::Step(p as u8, 0),
                before: state,
                after,
            });
        }
        state = after;
        if state.peers[p].pc == Pc::Done || state.is_overfull {
            return Some(state);
        }
    }
    None
}

/// What happens to fresh processes once those who run are dead, up to where it is plain
/// that one does not get through; empty when all do.
pub fn explain(model: &Model, state: &State) -> Vec<Moved> {
    const PLAIN: usize = 60;
    for still in frozen(model, state) {
        let mut path = Vec::new();
        let left = left_by(model, state, still, &mut |action, &before, &after| {
            path.push(Moved {
                action,
                before,
                after,
            });
        });
        for row in FRESH {
            if gets_through(model, left, row) == Some(false) {
                let mut state = left;
                for &(kind, job) in row {
                    match fresh(model, state, kind, job, true, Some(&mut path)) {
                        Some(next) => state = next,
                        None => break,
                    }
                }
                path.truncate(PLAIN);
                return path;
            }
        }
    }
    Vec::new()
}
