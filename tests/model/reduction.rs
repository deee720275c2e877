//! What has to be gone into: of all orders in which the same things happen, one.
//!
//! A fault and the passing of time touch no file. They matter only through a call that
//! goes another way because of them, so they can be put off until just before that call:
//! what is done meanwhile comes out the same. See the README, "What is not gone into".

use crate::faults::{Action, is_at_work};
use crate::rules::{Mix, Model, Next};
use crate::state::*;

/// One step of the search: an action, and the fault without which it would not be there.
/// A process that stands still and takes a step goes on first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    fault: Option<Action>,
    action: Action,
}

impl Move {
    fn plain(action: Action) -> Move {
        Move {
            fault: None,
            action,
        }
    }

    /// The process that makes a call.
    pub fn who_steps(self) -> Option<usize> {
        match self.action {
            Action::Step(p, _) => Some(usize::from(p)),
            _ => None,
        }
    }

    /// A number of its own.
    pub fn code(self) -> u8 {
        let fault = match self.fault {
            Some(Action::Crash(p)) => 1 + p,
            Some(Action::Stall(p)) => 4 + p,
            _ => 0,
        };
        fault * 32 + self.action.code()
    }

    /// One after the other, what happens in `state`.
    pub fn actions(self, state: &State) -> Vec<Action> {
        let mut actions: Vec<Action> = self.fault.into_iter().collect();
        if let Action::Step(p, _) = self.action
            && state.peers[usize::from(p)].life == Life::Stalled
        {
            actions.push(Action::Resume(p));
        }
        actions.push(self.action);
        actions
    }
}

impl Mix {
    /// Each process can die in each of its jobs, so how often some did forbids nothing.
    fn may_all_die(&self) -> bool {
        let jobs: usize = self.peers.iter().map(|(_, jobs)| jobs.len()).sum();
        usize::from(self.crashes) >= jobs
    }
}

impl Model {
    /// Calls `each` with everything that has to be gone into next.
    pub fn moves(&self, state: &State, each: &mut dyn FnMut(Move, Next)) {
        if self.mix.is_whole {
            return self.successors(state, &mut |action, next| each(Move::plain(action), next));
        }
        for action in ages() {
            if (is_looked_at(state, action) || is_of_stalled(state, action))
                && let Some(next) = self.act(state, action)
            {
                each(Move::plain(action), next);
            }
        }
        for p in 0..PEERS as u8 {
            if is_at_work(state, usize::from(p)) {
                self.fault(state, p, Action::Stall(p), each);
                self.fault(state, p, Action::Crash(p), each);
            }
        }
        for p in 0..PEERS as u8 {
            for choice in 0..2 {
                let action = Action::Step(p, choice);
                if let Some(next) = self.go_on(state, action) {
                    each(Move::plain(action), next);
                }
            }
        }
    }

    /// An action, for which a process that stands still goes on.
    fn go_on(&self, state: &State, action: Action) -> Option<Next> {
        match action {
            Action::Step(p, _) if state.peers[usize::from(p)].life == Life::Stalled => {
                self.act(&self.resume(state, usize::from(p)), action)
            }
            _ => self.act(state, action),
        }
    }

    /// A fault of `p`, with each action that it makes a difference to.
    fn fault(&self, state: &State, p: u8, fault: Action, each: &mut dyn FnMut(Move, Next)) {
        let Some(Next { state: after, .. }) = self.act(state, fault) else {
            return;
        };
        let mut with = |action, next| {
            let fault = Some(fault);
            each(Move { fault, action }, next);
        };
        // Another process comes for its next job.
        let is_followed = after.peers[usize::from(p)].pc == Pc::Start;
        let is_alone = is_followed || self.is_one_of_two_in_the_way(state, &after, p);
        if is_alone {
            let broke = None;
            each(
                Move::plain(fault),
                Next {
                    state: after,
                    broke,
                },
            );
            return;
        }
        for action in ages() {
            let matters = is_looked_at(&after, action)
                || (is_of_stalled(state, action) && is_of_stalled(&after, action));
            if matters
                && self.act(state, action).is_none()
                && let Some(next) = self.act(&after, action)
            {
                with(action, next);
            }
        }
        for q in (0..PEERS as u8).filter(|&q| q != p) {
            if !asks_for_others(state.peers[usize::from(q)].pc) {
                continue;
            }
            for action in [Action::Step(q, 0), Action::Step(q, 1)] {
                let Some(next) = self.go_on(&after, action) else {
                    continue;
                };
                let late = self.go_on(state, action);
                let late = late.and_then(|late| self.act(&late.state, fault));
                if late.is_none_or(|late| late.state != next.state) {
                    with(action, next);
                }
            }
        }
    }

    /// It takes a fault of another process too before anything is different.
    fn is_one_of_two_in_the_way(&self, state: &State, after: &State, p: u8) -> bool {
        let is_waited_for = state
            .peers
            .iter()
            .any(|peer| peer.pc == Pc::Settle && peer.waits >> p & 1 == 1 && peer.waits != 1 << p);
        let in_the_way = |state: &State| {
            state
                .peers
                .iter()
                .filter(|peer| self.clears_at_once(peer))
                .count()
                + usize::from(state.lock.maker != NOBODY && !self.lock_maker_is_away(state))
        };
        let is_young = state.lock.is_there && !state.lock.is_old;
        let keeps_young = is_young
            && (is_looked_at(state, Action::LockAges) || is_of_stalled(state, Action::LockAges))
            && in_the_way(after) > 0
            && in_the_way(after) < in_the_way(state);
        is_waited_for || keeps_young
    }

    /// Brings states that differ only in what is not asked for any more into one form.
    pub fn forget(&self, state: &mut State) {
        if self.mix.is_whole || (state.crashes == 0 && state.stalls == 0) {
            return;
        }
        drop_copies(state);
        if !self.mix.may_all_die() {
            return;
        }
        if state.stalls > 0 {
            state.crashes = 0;
        } else if self.mix.exclusive + 1 < self.mix.crashes {
            state.crashes = state.crashes.min(self.mix.exclusive + 1);
        }
    }
}

/// Of claims in the same hands, one with nothing in it that is not in the older ones:
/// whoever reads them drops the repeats, and whoever unlinks them has one less that could
/// still be found.
fn drop_copies(state: &mut State) {
    for newer in (1..usize::from(state.count)).rev() {
        let older = (0..newer).filter(|&older| are_in_the_same_hands(state, older, newer));
        let found = older.fold(0, |ids, older| ids | state.claims[older].file.ids.mask());
        let has_older = (0..newer).any(|older| are_in_the_same_hands(state, older, newer));
        if has_older && state.claims[newer].file.ids.mask() & !found == 0 {
            state.unlink_claim(newer);
            state.normalise();
        }
    }
}

fn are_in_the_same_hands(state: &State, older: usize, newer: usize) -> bool {
    let (first, second) = (&state.claims[older], &state.claims[newer]);
    let hands = |claim: &Claim| (claim.owner, claim.is_guarded, claim.age, claim.file.flock);
    hands(first) == hands(second)
        && state.peers.iter().all(|peer| {
            let is_alike = |mask: Places| mask >> older & 1 == mask >> newer & 1;
            usize::from(peer.fd) != newer
                && is_alike(peer.held)
                && is_alike(peer.chosen)
                && is_alike(peer.list)
        })
}

fn ages() -> impl Iterator<Item = Action> {
    let is_age = |action: &Action| {
        use Action::{ClaimAges, LockAges, MarkAges};
        matches!(action, LockAges | MarkAges | ClaimAges(_))
    };
    Action::all().filter(is_age)
}

/// Somebody's next call looks at how old it is.
fn is_looked_at(state: &State, action: Action) -> bool {
    (0..).zip(&state.peers).any(|(p, peer)| match action {
        // ACQ-2
        Action::LockAges | Action::MarkAges if peer.pc == Pc::Guard => {
            state.guard != NOBODY && state.guard != p
        }
        Action::LockAges => {
            matches!(peer.pc, Pc::ObserveDir | Pc::CompareDir | Pc::LegacyLook)
        }
        Action::MarkAges => peer.pc == Pc::LookMark,
        Action::ClaimAges(place) => {
            let is_listed = match peer.pc {
                Pc::List => peer.held >> place & 1 == 0,
                Pc::AdoptOpen | Pc::AdoptFlock | Pc::AdoptCheck | Pc::AdoptRename => {
                    peer.list >> place & 1 == 1
                }
                _ => false,
            };
            is_listed && !(peer.is_guarded && state.claims[usize::from(place)].is_guarded)
        }
        _ => false,
    })
}

/// It is of a process that stands still, or D that such a one is about to remove: it has to
/// age before that one goes on, or not.
fn is_of_stalled(state: &State, action: Action) -> bool {
    let is_about_to_clear = |peer: &Process| {
        let is_clearing = matches!(peer.pc, Pc::ClearToken | Pc::ClearDir);
        peer.life == Life::Stalled && is_clearing && peer.same_dir && !peer.by_age
    };
    if action == Action::LockAges && state.peers.iter().any(is_about_to_clear) {
        return true;
    }
    let maker = match action {
        Action::LockAges => state.lock.maker,
        Action::MarkAges => state.steal.maker,
        Action::ClaimAges(place) => state.claims[usize::from(place)].owner,
        _ => NOBODY,
    };
    let maker = state.peers.get(usize::from(maker));
    maker.is_some_and(|maker| maker.life == Life::Stalled)
}

/// The call goes another way when somebody is dead or stands still.
fn asks_for_others(pc: Pc) -> bool {
    matches!(
        pc,
        Pc::Guard | Pc::AdoptFlock | Pc::ClaimFlock | Pc::CompareDir | Pc::Settle
    )
}
