//! Walks through the model as it is, played by the script and the binary as they are: R is
//! the binary, M the script.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use crate::common::{self, Fixture};
use crate::faults::Action;
use crate::goal::{Goal, Place};
use crate::mixes;
use crate::party::{Manner, Party};
use crate::play::play;
use crate::properties::Property;
use crate::replays::{NO_READ_BACK, is_possible};
use crate::rules::{Model, Next};
use crate::script;
use crate::search::{Moved, first_state};
use crate::state::{NOBODY, Owner, Pc, State};

/// What is walked through.
const MIXES: [&str; 17] = [
    "M:a M:d initial=1",
    "M:aa M:d crashes=1",
    "M:fd M:aa crashes=1",
    "M:f M:d initial=1",
    "M:d M:d M:a initial=1 crashes=1",
    "M:aa M:a M:d crashes=2 initial=1",
    "M:t M:a initial=2 crashes=1",
    "M:g M:a initial=2 stalls=1",
    "M:a M:d initial=1 stalls=1",
    "M:a M:d M:d initial=1 stalls=1",
    "M:a M:t initial=2 stalls=2",
    "R:a R:d initial=1",
    "R:a M:d initial=1 crashes=1",
    "R:aa R:d M:a crashes=2",
    "R:d M:d R:a initial=1 crashes=1",
    "R:t M:a initial=2 crashes=1",
    "R:a M:d R:d initial=1 stalls=1",
];

/// So often here and in the full run.
const WALKS: (u64, u64) = (2, 30);

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    /// Below `n`.
    fn roll(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }
}

/// Whether the code can do this step just as the model has it.
fn is_playable(before: &State, action: Action) -> bool {
    match action {
        // A stamp is changed by renaming, which whoever has the claim would not know of.
        Action::ClaimAges(place) => before.claims[usize::from(place)].owner == NOBODY,
        Action::Step(_, 1) => false,
        Action::Step(p, _) => {
            let me = &before.peers[usize::from(p)];
            let is_guarded_token =
                matches!(before.owner, Owner::Token { is_guarded, .. } if is_guarded);
            let is_dead = me.is_guarded && is_guarded_token;
            match me.pc {
                // Both wait longer than the model, and the script judges less often.
                Pc::Guard => before.guard == NOBODY,
                Pc::Gate => !before.lock.is_there || before.lock.is_old || is_dead,
                Pc::ObserveToken | Pc::ObserveDir => {
                    before.lock.is_there && (before.lock.is_old || is_dead)
                }
                Pc::Mark => !before.steal.is_there,
                Pc::PublishCreate => before.owner == Owner::Absent,
                // The script also removes an empty B.claims as it lists it.
                Pc::List => !before.has_claims_dir || before.count != 0,
                _ => true,
            }
        }
        _ => true,
    }
}

/// A way to the end, with as many faults as there may be.
fn walk(model: &Model, dice: &mut Dice) -> Vec<Moved> {
    let mut path: Vec<Moved> = Vec::new();
    let mut state = first_state(&model.mix);
    while !state.peers.iter().all(|peer| peer.pc == Pc::Done) {
        let mut all: Vec<(Action, State)> = Vec::new();
        model.successors(&state, &mut |action, next: Next| {
            if is_playable(&state, action) {
                let often = match action {
                    Action::Crash(_) | Action::Stall(_) => 1,
                    _ => 8,
                };
                all.extend((0..often).map(|_| (action, next.state)));
            }
        });
        if all.is_empty() {
            break; // all wait for what only time can bring
        }
        let (action, after) = all[dice.roll(all.len())];
        path.push(Moved {
            action,
            before: state,
            after,
        });
        state = after;
    }
    path
}

/// Every call of the model is the next one of the code that another process, or a person,
/// could see the effect of.
#[test]
fn walks() {
    if !is_possible() {
        return;
    }
    let mut walks = Vec::new();
    let (here, in_full) = WALKS;
    for mix in MIXES {
        let model = Model {
            mix: mixes::parse(mix).unwrap(),
            mutation: None,
        };
        for seed in 1..=if common::is_full() { in_full } else { here } {
            let path = walk(&model, &mut Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            walks.push((mix, seed, path));
        }
    }
    let failed = Mutex::new(Vec::new());
    common::for_each(&walks, |(mix, seed, path)| {
        println!(
            "walk {seed} of {mix}: {} steps, {} crashes",
            path.len(),
            path.iter()
                .filter(|m| matches!(m.action, Action::Crash(_)))
                .count()
        );
        let script = |dir: &Path| script::write(dir, "walks", &[&NO_READ_BACK]);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            play(&script, mix, path, Property::Lost, Manner::Strict).properties()
        }));
        if !outcome.is_ok_and(|broken| broken.is_empty()) {
            let walk = format!("walk {seed} of {mix}, {} steps", path.len());
            failed.lock().unwrap().push(walk);
        }
    });
    assert_eq!(failed.into_inner().unwrap(), [] as [String; 0]);
}

/// DRAIN-2: a claim that is given up between the listing of B.claims and the look at it is
/// no sign that the directory cannot be listed.
#[test]
fn given_up_while_listed() {
    if !is_possible() {
        return;
    }
    let fx = Fixture::new();
    fx.fill("a", &["x1"]);
    let script = script::write(fx.dir(), "none", &[]);
    let drain = ["dash", script.to_str().unwrap(), "drain", "a"];
    let failing = Party::start(&fx, 1, &drain, true);
    let party = Party::start(&fx, 2, &drain, false);
    failing
        .run(Goal::Writes(&[Place::Stdout]), Manner::Seeking)
        .unwrap();
    party.run(Goal::ListsClaims, Manner::Seeking).unwrap();
    failing.finish().must_be(&[74]);
    party.finish().must_be(&[0]);
    assert_eq!(fx.drain("a"), ["x1"]);
}
