//! The bundled drivers conform: the kit run on all of them, as a user would.
//!
//! By default every case on the binary, the pairs of every driver with the binary, and a
//! small swarm of all; what a shell does by itself is tested in tests/shells. With
//! `MBOX_TEST_FULL=1`, as in CI, every case on every driver, every ordered pair and a larger
//! swarm, and a driver that is missing is a failure. The largest settings are options of the
//! runner; see its README.

use std::path::Path;
use std::process::Command;

#[test]
fn the_bundled_drivers_conform() {
    let is_full = std::env::var_os("MBOX_TEST_FULL").is_some_and(|value| value == "1");
    // One after the other: each part fills the machine by itself.
    if is_full {
        run(&[
            "--require-all",
            "--stalls",
            "6",
            "--swarm-messages",
            "300",
            "--trials",
            "3",
        ]);
    } else {
        run(&["--only", "cases,coverage,events", "--with", "binary"]);
        run(&["--only", "pairs", "--with", "binary", "--stalls", "2"]);
        run(&["--only", "swarm", "--swarm-messages", "60", "--trials", "1"]);
    }
}

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
