//! Breadth-first search of everything that can happen in a mix.

use std::time::{Duration, Instant};

use crate::faults::Action;
use crate::properties::{Checks, Property, explain};
use crate::reduction::Move;
use crate::rules::{Mix, Model};
use crate::state::*;

/// How far to search.
#[derive(Clone, Copy)]
pub struct Limits {
    pub states: usize,
    /// End when everything watched for was violated once.
    pub is_first: bool,
}

pub struct Report {
    pub states: usize,
    pub depth: usize,
    pub time: Duration,
    /// A limit was reached, of states or of claims: not everything was seen.
    pub is_capped: bool,
    /// A bit for each kind of call that was made.
    pub calls: u64,
    /// The first violation of each property, by a path of the fewest moves.
    pub found: Vec<Found>,
}

pub struct Found {
    pub property: Property,
    /// Length of the path; behind it may stand what fresh processes then do.
    pub steps: usize,
    pub path: Vec<Moved>,
}

/// One step of a path, with the processes under their first numbers.
pub struct Moved {
    pub action: Action,
    pub before: State,
    pub after: State,
}

/// How a state was reached: 88 bits of its fingerprint, the move, the state before.
struct Entry {
    low: u64,
    high_and_move: u32,
    parent: u32,
}

/// The states seen. Positions are dense, so a table of numbers is enough.
struct Seen {
    entries: Vec<Entry>,
    table: Vec<u32>,
}

const FREE: u32 = u32::MAX;

/// Two independent 64-bit sums over a packed state.
pub fn fingerprint(words: &[u64; WORDS]) -> (u64, u64) {
    let (mut low, mut high) = (0x9e37_79b9_7f4a_7c15u64, 0xc2b2_ae3d_27d4_eb4fu64);
    for &word in words {
        low = (low ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        low ^= low >> 32;
        high = (high.rotate_left(29) ^ word).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        high ^= high >> 29;
    }
    low = (low ^ high >> 31).wrapping_mul(0x9fb2_1c65_1e98_df25);
    (low ^ low >> 32, high)
}

impl Seen {
    fn new() -> Seen {
        Seen {
            entries: Vec::new(),
            table: vec![FREE; 1 << 12],
        }
    }

    /// Notes a state; `None` when it was seen before.
    fn note(&mut self, (low, high): (u64, u64), code: u8, parent: u32) -> Option<u32> {
        if self.entries.len() * 2 >= self.table.len() {
            self.grow();
        }
        let mask = self.table.len() - 1;
        let mut place = low as usize & mask;
        let high = (high as u32) << 8;
        while self.table[place] != FREE {
            let entry = &self.entries[self.table[place] as usize];
            if entry.low == low && entry.high_and_move & !0xff == high {
                return None;
            }
            place = (place + 1) & mask;
        }
        let index = self.entries.len() as u32;
        self.table[place] = index;
        self.entries.push(Entry {
            low,
            high_and_move: high | u32::from(code),
            parent,
        });
        Some(index)
    }

    fn grow(&mut self) {
        let size = self.table.len() * 2;
        self.table.clear();
        self.table.resize(size, FREE);
        for (index, entry) in self.entries.iter().enumerate() {
            let mut place = entry.low as usize & (size - 1);
            while self.table[place] != FREE {
                place = (place + 1) & (size - 1);
            }
            self.table[place] = index as u32;
        }
    }
}

/// The ways to exchange processes of a mix that do the same.
fn symmetries(mix: &Mix) -> Vec<[u8; PEERS]> {
    const ORDERS: [[u8; PEERS]; 6] = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    let is_same = |order: &[u8; PEERS]| {
        (0..PEERS).all(|p| mix.peers.get(p) == mix.peers.get(usize::from(order[p])))
    };
    ORDERS.into_iter().filter(is_same).collect()
}

/// Of all states that differ only in which of several equal processes is which, the one
/// that stands for them, packed and not, and how it came about.
fn canonical(model: &Model, state: &State, orders: &[[u8; PEERS]]) -> (State, [u64; WORDS], usize) {
    let mut state = *state;
    model.forget(&mut state);
    let (mut best, mut words, mut chosen) = (state, state.pack(), 0);
    for (index, order) in orders.iter().enumerate().skip(1) {
        let other = state.permute(order);
        let packed = other.pack();
        if packed < words {
            (best, words, chosen) = (other, packed, index);
        }
    }
    (best, words, chosen)
}

pub fn first_state(mix: &Mix) -> State {
    let mut initial = Ids(0);
    for id in 0..mix.initial {
        initial.add(7 + id);
    }
    let peer = |p: usize| match mix.peers.get(p) {
        Some((kind, jobs)) => Process::at_start(*kind, 0, jobs[0]),
        None => Process::done(Kind::WithGuard),
    };
    State {
        lock: NO_DIR,
        owner: Owner::Absent,
        steal: NO_DIR,
        guard: NOBODY,
        has_records: mix.initial > 0,
        records: File {
            ids: initial,
            flock: NOBODY,
        },
        has_claims_dir: false,
        count: 0,
        claims: [NO_CLAIM; CLAIMS],
        sent: initial.mask(),
        acknowledged: initial.mask(),
        delivered: 0,
        crashes: 0,
        stalls: 0,
        is_overfull: false,
        peers: [peer(0), peer(1), peer(2)],
    }
}

/// Visits every state of the mix.
pub fn search(model: &Model, watch: &[Property], limits: Limits) -> Report {
    let begun = Instant::now();
    let orders = symmetries(&model.mix);
    let (mut seen, mut checks) = (Seen::new(), Checks::default());
    let mut ends: Vec<(Property, u32, Option<Move>)> = Vec::new();
    let (first, words, _) = canonical(model, &first_state(&model.mix), &orders);
    seen.note(fingerprint(&words), 0, FREE);
    let mut frontier = vec![(first, 0u32)];
    let (mut depth, mut is_capped, mut is_cut, mut calls) = (0, false, false, 0u64);
    'search: while !frontier.is_empty() {
        let mut next_frontier = Vec::new();
        for (state, index) in &frontier {
            let mut is_over = false;
            model.moves(state, &mut |a_move, next| {
                if is_over {
                    return;
                }
                if let Some(p) = a_move.who_steps() {
                    calls |= 1 << state.peers[p].pc as u64;
                }
                if let Some(property) = next.broke
                    && watch.contains(&property)
                    && ends.iter().all(|end| end.0 != property)
                {
                    ends.push((property, *index, Some(a_move)));
                    is_over = limits.is_first && ends.len() == watch.len();
                }
                if next.state.is_overfull {
                    is_cut = true;
                    return;
                }
                let (state, words, _) = canonical(model, &next.state, &orders);
                let noted = seen.note(fingerprint(&words), a_move.code(), *index);
                let Some(index) = noted else { return };
                if let Some(property) = checks.state(model, &state, watch)
                    && ends.iter().all(|end| end.0 != property)
                {
                    ends.push((property, index, None));
                    is_over |= limits.is_first && ends.len() == watch.len();
                }
                next_frontier.push((state, index));
            });
            is_capped = seen.entries.len() >= limits.states;
            if is_over || is_capped {
                break 'search;
            }
        }
        frontier = next_frontier;
        depth += 1;
    }
    let path = |(property, index, last)| {
        let mut path = replay(model, &seen, &orders, index, last);
        let steps = path.len();
        if property == Property::Wedge {
            let end = path.last().map_or(first, |moved| moved.after);
            path.extend(explain(model, &end));
        }
        Found {
            property,
            steps,
            path,
        }
    };
    let found = ends.into_iter().map(path).collect();
    Report {
        states: seen.entries.len(),
        depth,
        time: begun.elapsed(),
        is_capped: is_capped || is_cut || checks.is_unsure,
        calls,
        found,
    }
}

/// The path to a state, step by step.
fn replay(
    model: &Model,
    seen: &Seen,
    orders: &[[u8; PEERS]],
    mut index: u32,
    last: Option<Move>,
) -> Vec<Moved> {
    let mut codes: Vec<u8> = last.iter().map(|a_move| a_move.code()).collect();
    while seen.entries[index as usize].parent != FREE {
        codes.push(seen.entries[index as usize].high_and_move as u8);
        index = seen.entries[index as usize].parent;
    }
    // `names[p]` is the first number of the process in place p.
    let mut names = [0u8, 1, 2];
    let (mut state, _, _) = canonical(model, &first_state(&model.mix), orders);
    let mut path = Vec::new();
    for code in codes.into_iter().rev() {
        let mut found = None;
        model.moves(&state, &mut |a_move, _| {
            if a_move.code() == code {
                found = Some(a_move);
            }
        });
        let a_move = found.expect("a move that was made can be made again");
        let mut before = state;
        for action in a_move.actions(&state) {
            let after = model.act(&before, action).expect("it was possible").state;
            path.push(Moved {
                action: rename(action, &names),
                before: before.permute(&names),
                after: after.permute(&names),
            });
            before = after;
        }
        let (next, _, chosen) = canonical(model, &before, orders);
        let mut moved = names;
        for p in 0..PEERS {
            moved[usize::from(orders[chosen][p])] = names[p];
        }
        (state, names) = (next, moved);
    }
    path
}

fn rename(action: Action, names: &[u8; PEERS]) -> Action {
    let who = |p: u8| names[usize::from(p)];
    match action {
        Action::Step(p, choice) => Action::Step(who(p), choice),
        Action::Crash(p) => Action::Crash(who(p)),
        Action::Stall(p) => Action::Stall(who(p)),
        Action::Resume(p) => Action::Resume(who(p)),
        other => other,
    }
}
