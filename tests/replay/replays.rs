//! The replays: one test for each mutation of the model that the script can be given too.

use std::sync::Once;

use crate::common;
use crate::mutations;
use crate::party::Manner;
use crate::play::play;
use crate::rules::Model;
use crate::script::{self, Change};
use crate::search::{Limits, search};
use crate::tracer;

/// More states than any of these mixes has.
const STATES: usize = 100_000;

/// The read back of APP-8 looks at B by name, in a shell: so it alone finds most of what the
/// steps below are for. It is left out beside them, or nothing were to be seen.
const NO_READ_BACK: Change = Change("if __mbox_stands; then", "if :; then");

/// Plays the counterexample of the mutation `name`, which is against `ids`: with the script
/// so changed it breaks what the model says, with the script as it is nothing.
fn replay(name: &str, ids: &str, changes: &[Change], beside: &[Change]) {
    if !is_possible() {
        return;
    }
    let case = mutations::find(name).expect("the model has this mutation");
    assert_eq!(case.against, ids);
    let [breaks] = case.breaks else {
        panic!("{name} breaks one thing");
    };
    let model = |mutation| Model {
        mix: crate::mixes::parse(case.mix).unwrap(),
        mutation,
    };
    let limits = |is_first| Limits {
        states: STATES,
        is_first,
    };
    let report = search(&model(Some(case.mutation)), case.breaks, limits(true));
    let found = report.found.first().expect("the model breaks");
    assert_eq!(found.property, *breaks);
    let report = search(&model(None), case.breaks, limits(false));
    assert!(report.found.is_empty() && !report.is_capped);

    let with = |changes: Vec<&Change>, manner| {
        let script = |dir: &std::path::Path| script::write(dir, name, &changes);
        let outcome = play(&script, case.mix, &found.path[..found.steps], *breaks, manner);
        println!("{name}: {} changes, {manner:?}: {outcome:?}", changes.len());
        outcome.properties()
    };
    let all = beside.iter().chain(changes).collect();
    assert_eq!(with(all, Manner::Strict), [*breaks], "with the mutation");
    if !beside.is_empty() {
        let beside = beside.iter().collect();
        assert_eq!(with(beside, Manner::Seeking), [], "with the step");
    }
    assert_eq!(with(Vec::new(), Manner::Seeking), [], "the script as it is");
}

/// Whether this machine has dash and permits ptrace; says so loudly when not.
fn is_possible() -> bool {
    static WATCHDOG: Once = Once::new();
    WATCHDOG.call_once(|| drop(std::thread::spawn(tracer::watchdog)));
    if !common::has_program("dash") {
        common::skip("there is no dash");
        return false;
    }
    let mut sh = std::process::Command::new("sh");
    sh.stdin(std::process::Stdio::null());
    let error = match tracer::Traced::start(sh, &["true"]).map(tracer::Traced::finish) {
        Ok(Ok(_)) => return true,
        Ok(Err(error)) => error,
        Err(error) => error.to_string(),
    };
    common::skip(&format!("a process cannot be traced here: {error}"));
    false
}

/// APP-7, REL-2: an append that does not ask whether it still has the lock acknowledges
/// what a reader has passed already.
#[test]
fn no_verify() {
    replay(
        "no-verify",
        "APP-7 REL-2",
        &[Change("__mbox_release && break\n", "__mbox_release; break\n")],
        &[NO_READ_BACK],
    );
}

/// DRAIN-4: a drain that has lost the lock reads a claim to which its successor still writes.
#[test]
fn no_fence() {
    replay(
        "no-fence",
        "DRAIN-4",
        &[Change(
            "while ! __mbox_release; do __mbox_acquire || return; done",
            "__mbox_release",
        )],
        &[NO_READ_BACK],
    );
}

/// APP-2: what was opened before the lock may be a claim by the time it is written to.
#[test]
fn open_before_publish() {
    replay(
        "open-before-publish",
        "APP-2",
        &[
            Change(
                "__mbox_cut=0\n  while :; do\n",
                "__mbox_cut=0\n  while :; do\n    exec 5>>\"$__mbox_B\"\n",
            ),
            Change("    } >>\"$1\"\n  } 2>/dev/null\n", "    } >&5\n  } 2>/dev/null\n"),
        ],
        &[NO_READ_BACK],
    );
}
