//! The bundled drivers conform: the kit run on all of them, as a user would.
//!
//! By default every case on every driver that is installed here, and the pairs of each
//! with the binary. With `MBOX_TEST_FULL=1`, as in CI, every ordered pair, the races and
//! a larger swarm, and a driver that is missing is a failure. The largest settings are
//! options of the runner; see its README.

use std::path::Path;
use std::process::Command;

fn run(options: &[&str]) {
    let runner = Path::new(env!("CARGO_BIN_EXE_mbox-conformance"));
    let binary = runner.with_file_name("mbox");
    assert!(
        binary.exists(),
        "{} is missing: run `cargo test --workspace`, which builds it",
        binary.display()
    );
    let status = Command::new(runner)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["--bundled", "--binary"])
        .arg(&binary)
        .args(options)
        .status()
        .expect("the runner starts");
    assert!(status.success(), "the runner says: {status}");
}

fn is_full() -> bool {
    std::env::var_os("MBOX_TEST_FULL").is_some_and(|value| value == "1")
}

#[test]
fn every_driver_passes_every_case_and_every_requirement_is_covered() {
    let all: &[&str] = if is_full() { &["--require-all"] } else { &[] };
    run(&[&["--only", "cases,coverage"], all].concat());
}

#[test]
fn pairs_of_drivers_share_a_mailbox() {
    if is_full() {
        run(&["--only", "pairs", "--require-all", "--stalls", "6"]);
    } else {
        run(&["--only", "pairs", "--with", "binary", "--stalls", "2"]);
    }
}

#[test]
fn a_swarm_under_fire_loses_nothing() {
    if is_full() {
        let swarm = [
            "--only",
            "swarm",
            "--require-all",
            "--swarm-messages",
            "600",
        ];
        run(&swarm);
    } else {
        run(&[
            "--only",
            "swarm",
            "--swarm-messages",
            "300",
            "--trials",
            "1",
        ]);
    }
}
