//! `mbox show`.

use std::process::Stdio;

use predicates::prelude::*;

use crate::common::{
    Fixture, assert_full_stdout, assert_help, assert_quiet_pipe, assert_usage, start_writing,
    with_broken_pipe, with_full_stdout,
};

const ID: &str = "00c0ffee00c0ffee";

fn sent() -> Fixture {
    let fx = Fixture::new();
    let mut send = fx.mbox(&[
        "send",
        "bob",
        "a \u{1b}[2J b",
        "--from",
        "alice",
        "--id",
        ID,
    ]);
    send.assert().success();
    fx
}

#[test]
fn help() {
    assert_help("show", &["ID", "--from", "--format", "--json"]);
}

#[test]
fn usage() {
    let lines: [&[&str]; 4] = [
        &["show"],
        &["show", ID],
        &["show", "../x", "--from", "a"],
        &["show", ID, "--from", "a", "--json", "--format", "body"],
    ];
    assert_usage(&Fixture::new(), &lines);
}

#[test]
fn pending_then_handed_over() {
    let fx = sent();
    let show = |args: &[&str]| {
        let mut show = fx.mbox(&["show", ID]);
        show.args(args).env("MBOX_NAME", "bob");
        show.assert().success()
    };
    show(&["--json"]).stdout(predicate::str::starts_with(
        "{\"state\":\"pending\",\"message\":{",
    ));
    show(&["--format", "body"])
        .stdout("a \u{1b}[2J b\n")
        .stderr(predicate::str::contains("pending"));
    let text =
        predicate::str::contains("a \\u{1b}[2J b").and(predicate::str::contains("\npending"));
    show(&["--format", "text"]).stdout(text).stderr("");
    assert_eq!(fx.drain("bob").len(), 1);
    let told = predicate::str::is_match(
        "^\\{\"state\":\"handed_over\",\"at\":[0-9]+,\"by\":\"drain\",\"message\":\\{.*\\}\\}\n$",
    );
    show(&["--json"]).stdout(told.unwrap());
    show(&[]).stdout(predicate::str::starts_with("{\"schema_version\":1"));
}

/// A reader who has it and has not removed it.
#[test]
fn in_hand() {
    let fx = Fixture::new();
    let body = "x".repeat(60_000);
    for n in 0..40 {
        let id = format!("{n:016x}");
        fx.mbox(&["send", "bob", &body, "--id", &id])
            .assert()
            .success();
    }
    let mut drain = fx.process(&["drain", "bob"]);
    let (_running, _reader) = start_writing(drain.stdin(Stdio::null()));
    let mut show = fx.mbox(&["show", "0000000000000001", "--from", "bob", "--json"]);
    let told = predicate::str::starts_with("{\"state\":\"in_hand\"");
    show.assert().success().stdout(told);
}

#[test]
fn gone_and_unknown() {
    let fx = sent();
    std::fs::remove_file(&fx.files("bob").records).unwrap();
    let mut show = fx.mbox(&["show", ID, "--from", "bob", "--json"]);
    show.assert()
        .success()
        .stdout(predicate::str::starts_with("{\"state\":\"gone\""));
    for (id, who) in [(ID, "alice"), ("00c0ffee00c0ffef", "bob")] {
        let mut show = fx.mbox(&["show", id, "--from", who]);
        let said = predicate::str::contains("is not in your ledger");
        show.assert().code(1).stdout("").stderr(said);
    }
}

#[test]
fn stdout_closed_or_full() {
    let fx = sent();
    let mut show = fx.process(&["show", ID, "--from", "bob", "--format", "text"]);
    assert_quiet_pipe(&with_broken_pipe(&mut show));
    assert_full_stdout(&with_full_stdout(&mut show));
}
