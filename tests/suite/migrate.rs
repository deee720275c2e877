//! `mbox migrate`.

use std::fs;
use std::process::Stdio;

use predicates::prelude::*;

use crate::common::{Fixture, assert_busy, assert_help, assert_usage, start_writing};

#[test]
fn help() {
    assert_help("migrate", &["OLD", "NEW", "--wait"]);
}

#[test]
fn usage() {
    let lines: [&[&str]; 4] = [
        &["migrate", "a"],
        &["migrate", "a", "a"],
        &["migrate", "a", ".b"],
        &["migrate", "a", "b", "c"],
    ];
    assert_usage(&Fixture::new(), &lines);
}

#[test]
fn nothing_to_move() {
    let fx = Fixture::new();
    fx.mbox(&["migrate", "a", "b"])
        .assert()
        .success()
        .stdout("")
        .stderr("");
    assert!(!fx.root().exists());
}

/// In order, before what comes later to either; a torn tail is set aside and not delivered.
#[test]
fn in_order() {
    let fx = Fixture::new();
    fx.fill("a", &["1", "2"]);
    let files = fx.files("a");
    let mut lines = fs::read_to_string(&files.records).unwrap();
    lines.push_str("{\"id\":\"torn");
    fs::write(&files.records, lines).unwrap();
    files.put_claim(
        1_000_000_000_000,
        -400,
        "8.0123456789abcdef.g",
        "{\"body\":\"0\"}\n",
    );
    fx.mbox(&["migrate", "a", "b"])
        .assert()
        .success()
        .stdout("")
        .stderr("");
    assert!(!files.records.exists() && !files.claims.exists());
    files.assert_unlocked();
    fx.files("b").assert_unlocked();
    fx.append("b", "3");
    fx.append("a", "4");
    let mut drain = fx.mbox(&["drain", "b", "--format", "body"]);
    let said = predicate::str::contains("damaged line was set aside");
    drain.assert().success().stdout("0\n1\n2\n3\n").stderr(said);
    assert_eq!(
        fs::read_to_string(fx.files("b").damaged).unwrap(),
        "{\"id\":\"torn\n"
    );
    assert_eq!(fx.drain("a"), ["4"]);
}

/// What was moved can be answered by its new owner.
#[test]
fn with_the_ledger() {
    let fx = Fixture::new();
    let id = "00c0ffee00c0ffee";
    fx.mbox(&["send", "old", "hi", "--from", "alice", "--id", id])
        .assert()
        .success();
    fx.mbox(&["migrate", "old", "new"]).assert().success();
    fx.mbox(&["migrate", "old", "new"]).assert().success();
    let mut reply = fx.mbox(&["reply", id, "yes", "--from", "new"]);
    reply.assert().success();
    assert_eq!(fx.drain("new"), ["hi"]);
    assert_eq!(fx.drain("alice"), ["yes"]);
    let entries = fs::read_to_string(fx.root().join("received/new.jsonl")).unwrap();
    assert_eq!(entries.lines().count(), 1);
}

#[test]
fn in_the_hands_of_a_reader() {
    let fx = Fixture::new();
    for _ in 0..40 {
        fx.append("a", &"x".repeat(60_000));
    }
    let mut drain = fx.process(&["drain", "a"]);
    let (_running, _reader) = start_writing(drain.stdin(Stdio::null()));
    let mut migrate = fx.mbox(&["migrate", "a", "b"]);
    let said = predicate::str::contains("in the hands of a reader");
    migrate.assert().code(75).stdout("").stderr(said);
    assert!(!fx.files("b").claims.exists());
}

#[test]
fn busy() {
    let fx = Fixture::new();
    fx.append("a", "1");
    assert_busy(&fx, "a", &["migrate", "a", "b"]);
    // The other one is busy: everything is put back.
    fx.files("a").hold("4242.0123456789abcdef");
    let mut migrate = fx.mbox(&["migrate", "b", "a", "--wait", "0.1"]);
    migrate.assert().code(75).stdout("");
    assert_eq!(fx.drain("b"), ["1"]);
}

/// By path, too; the ledger is that of names.
#[test]
fn by_path() {
    let fx = Fixture::new();
    fx.append("a", "1");
    let to = fx.dir().join("b.jsonl");
    let to = to.to_str().unwrap();
    fx.mbox(&["migrate", "a", to]).assert().success();
    let mut drain = fx.mbox(&["drain", to, "--format", "body"]);
    drain.assert().success().stdout("1\n");
}
