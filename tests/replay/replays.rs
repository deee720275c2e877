//! The replays: one test for each mutation of the model that the script can be given too.

use std::path::Path;
use std::sync::Once;
use std::thread;

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
pub const NO_READ_BACK: Change = Change("if __mbox_stands; then", "if :; then");

/// Plays the counterexample of the mutation `name`, which is against `ids`: with the script
/// so changed it breaks what the model says, with the script as it is nothing.
fn replay(name: &str, ids: &str, changes: &[Change], beside: &[Change]) {
    let mix = mutations::find(name).map_or("", |case| case.mix);
    replay_in(mix, name, ids, changes, beside);
}

/// The same with another mix than the model has for it.
fn replay_in(mix: &str, name: &str, ids: &str, changes: &[Change], beside: &[Change]) {
    if !is_possible() {
        return;
    }
    let case = mutations::find(name).expect("the model has this mutation");
    assert_eq!(case.against, ids);
    let [breaks] = case.breaks else {
        panic!("{name} breaks one thing");
    };
    let model = |mutation| Model {
        mix: crate::mixes::parse(mix).unwrap(),
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

    let with = |changes: &[&Change], manner| {
        let script = |dir: &Path| script::write(dir, name, changes);
        let outcome = play(&script, mix, &found.path[..found.steps], *breaks, manner);
        println!("{name}: {} changes, {manner:?}: {outcome:?}", changes.len());
        outcome.properties()
    };
    let all: Vec<&Change> = beside.iter().chain(changes).collect();
    let without: Vec<&Change> = beside.iter().collect();
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(with(&all, Manner::Strict), [*breaks], "with the mutation"));
        for manner in [Manner::Seeking, Manner::Stopping] {
            let (with, without) = (&with, &without);
            scope.spawn(move || assert_eq!(with(&[], manner), [], "the script as it is"));
            if !without.is_empty() {
                scope.spawn(move || assert_eq!(with(without, manner), [], "with the step"));
            }
        }
    });
}

/// Whether this machine has dash and permits ptrace; says so loudly when not.
pub fn is_possible() -> bool {
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
        &[Change(
            "__mbox_release && break\n",
            "__mbox_release; break\n",
        )],
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
            Change(
                "    } >>\"$1\"\n  } 2>/dev/null\n",
                "    } >&5\n  } 2>/dev/null\n",
            ),
        ],
        &[NO_READ_BACK],
    );
}

/// CLAIM-1: with one name for all claims of an acquisition, new mail is renamed over that of a
/// dead reader.
#[test]
fn one_claim_name() {
    replay(
        "one-claim-name",
        "CLAIM-1",
        &[Change(
            "__mbox_name=$1-$__mbox_s$__mbox_ms-$__mbox_count.$__mbox_token",
            "__mbox_name=1000000000000-$__mbox_s$__mbox_ms-0.$__mbox_token",
        )],
        &[],
    );
}

/// DRAIN-6, TAKE-6: a reader that dies between the unlink and the delivery takes the mail
/// with it.
#[test]
fn unlink_before_deliver() {
    replay(
        "unlink-before-deliver",
        "DRAIN-6 TAKE-6",
        &[Change(
            "  done 2>/dev/null\n  __mbox_put \"$__mbox_nonce\"\n",
            "  done 2>/dev/null\n  __mbox_unlink_mine\n  __mbox_put \"$__mbox_nonce\"\n",
        )],
        &[],
    );
}

/// TAKE-3: a take that puts back by a rename destroys the B another has made meanwhile.
#[test]
fn rename_over() {
    replay(
        "rename-over",
        "TAKE-3",
        &[Change(
            "if [ -e \"$__mbox_B\" ] || [ -h \"$__mbox_B\" ] || ! __mbox_run ln -- \"$__mbox_rest\" \"$__mbox_B\"; then",
            "if ! __mbox_run mv -f -- \"$__mbox_rest\" \"$__mbox_B\"; then",
        )],
        &[NO_READ_BACK],
    );
}

/// TAKE-2: between the unlink of the old claims and the making of the chosen one, what was
/// chosen is in memory alone.
#[test]
fn chosen_after_put_back() {
    replay(
        "chosen-after-put-back",
        "TAKE-2",
        &[
            Change(
                "if ! __mbox_rename \"$__mbox_pick\" \"$__mbox_C/$__mbox_name\"; then",
                "if false; then",
            ),
            Change("    __mbox_pick=\n    __mbox_chosen=$__mbox_name\n", ""),
            Change(
                "  __mbox_mine=$__mbox_chosen\n",
                "  __mbox_rename \"$__mbox_pick\" \"$__mbox_C/$__mbox_name\" &&\n    \
                 __mbox_pick= __mbox_chosen=$__mbox_name\n  __mbox_mine=$__mbox_chosen\n",
            ),
        ],
        &[],
    );
}

/// TAKE-4: between the unlink of the old claims and Put back, what stays is in memory, or in
/// a temporary nobody reads.
#[test]
fn unlink_before_put_back() {
    replay(
        "unlink-before-put-back",
        "TAKE-4",
        &[Change(
            "  if [ -s \"$__mbox_rest\" ]; then                                      # TAKE-3\n",
            "  __mbox_unlink_mine || return\n  if [ -s \"$__mbox_rest\" ]; then\n",
        )],
        &[],
    );
}

/// CLAIM-5: a rename keeps the mtime, so a claim of this moment looks as old as its mail.
#[test]
fn age_by_mtime() {
    replay(
        "age-by-mtime",
        "CLAIM-5",
        &[Change(
            "  __mbox_far \"${__mbox_c_stamp%???}\" \"$__mbox_s\" \"$__mbox_limit\"\n",
            "  __mbox_stat \"$__mbox_C/${__mbox_f##*/}\" &&\n    \
             __mbox_far \"$__mbox_mtime\" \"$__mbox_s\" \"$__mbox_limit\"\n",
        )],
        &[],
    );
}

/// REC-2: of two that clear one dead lock without S, the slower removes the lock that was made
/// behind the faster.
#[test]
fn no_mark() {
    replay(
        "no-mark",
        "REC-2",
        &[Change(
            "  __mbox_mkdir \"$__mbox_S\"\n  case $? in\n",
            "  :\n  case $? in\n",
        )],
        &[],
    );
}

/// REC-4: a clearer that died with S is in the way of all who come.
#[test]
fn keep_stale_mark() {
    replay(
        "keep-stale-mark",
        "REC-4",
        &[Change(
            "if __mbox_stat \"$__mbox_S\" &&",
            "if false && __mbox_stat \"$__mbox_S\" &&",
        )],
        &[],
    );
}

/// REC-2: with D cleared and O not, nobody can publish.
#[test]
fn keep_owner() {
    replay(
        "keep-owner",
        "REC-2",
        &[Change(
            "if [ -z \"$__mbox_had\" ] || __mbox_unlink \"$__mbox_O\"; then",
            "if :; then",
        )],
        &[],
    );
}

/// ACQ-5: without D there is no age by which to recover O.
#[test]
fn remove_dir_on_exists() {
    replay(
        "remove-dir-on-exists",
        "ACQ-5",
        &[Change(
            "if [ -e \"$__mbox_O\" ] || [ -h \"$__mbox_O\" ]; then return 1; fi",
            "if [ -e \"$__mbox_O\" ] || [ -h \"$__mbox_O\" ]; then __mbox_rmdir \"$__mbox_D\"; return 1; fi",
        )],
        &[],
    );
}

/// CLAIM-7: mail that a failed reader does not give up has to get old.
#[test]
fn no_give_up() {
    replay(
        "no-give-up",
        "CLAIM-7",
        &[Change(
            "__mbox_give_up() {\n",
            "__mbox_give_up() {\n  return 0\n",
        )],
        &[],
    );
}

/// REC-2: behind a clearer that does not settle, whoever looked at the old lock clears the new
/// one without a second look. Of ours only one with guard does not settle; here it is a legacy
/// peer.
#[test]
fn no_compare() {
    replay_in(
        "M:a M:a L:a crashes=1",
        "no-compare",
        "REC-2",
        &[Change(
            "if [ -n \"$__mbox_same\" ] && __mbox_stat \"$__mbox_D\" && [ \"$__mbox_id\" = \"$__mbox_seen_id\" ]; then",
            "if :; then",
        )],
        &[],
    );
}

/// REC-2: "no owner" twice is said of two locks, the old one and that of a legacy peer.
#[test]
fn no_identity() {
    replay(
        "no-identity",
        "REC-2",
        &[Change(
            "__mbox_stat \"$__mbox_D\" && [ \"$__mbox_id\" = \"$__mbox_seen_id\" ]; then",
            "__mbox_stat \"$__mbox_D\"; then",
        )],
        &[],
    );
}

/// REC-6: a legacy peer that saw the old lock takes S right behind Clear.
#[test]
fn no_settle() {
    replay(
        "no-settle",
        "REC-6",
        &[Change("    __mbox_sleep 5\n", "")],
        &[],
    );
}

/// DRAIN-3: a B that is empty and never claimed is in the way of Put back for ever.
#[test]
fn keep_empty_records() {
    replay(
        "keep-empty-records",
        "DRAIN-3",
        &[Change(
            "  while [ -e \"$__mbox_B\" ]; do\n",
            "  while [ -s \"$__mbox_B\" ]; do\n",
        )],
        &[],
    );
}

/// CLAIM-2: with births by a clock that steps back, newer mail comes first. Beside it the clock
/// of births runs backwards.
#[test]
fn birth_by_clock() {
    replay(
        "birth-by-clock",
        "CLAIM-2",
        &[Change(
            "__mbox_after \"$__mbox_last\"",
            "__mbox_after 0000000000000",
        )],
        &[Change(
            "  __mbox_birth=$__mbox_s$__mbox_ms\n",
            "  __mbox_birth=$((9999999999999 - $__mbox_s$__mbox_ms))\n",
        )],
    );
}
