//! `mbox send`.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

use predicates::prelude::*;

use crate::common::{
    Files, Fixture, assert_full_stdout, assert_help, assert_quiet_pipe, assert_usage, tree,
    with_broken_pipe, with_full_stdout,
};

/// The ledger of `name`.
pub fn ledger(fx: &Fixture, name: &str) -> Files {
    Files::of(fx.root().join(format!("received/{name}.jsonl")))
}

#[test]
fn help() {
    let options = [
        "TO",
        "--from",
        "--request-id",
        "--id",
        "--to-self",
        "--sync",
        "--verbose",
        "--json",
        "--wait",
    ];
    assert_help("send", &options);
}

#[test]
fn usage() {
    let long = "n".repeat(10_000);
    let fx = Fixture::new();
    assert_usage(
        &fx,
        &[
            &["send"],
            &["send", "a", "b", "c"],
            &["send", "../x", "hi"],
            &["send", "./x.jsonl", "hi"],
            &["send", "", "hi"],
            &["send", "-x", "hi"],
            &["send", "a\u{1b}", "hi"],
            &["send", &long, "hi"],
            &["send", "a", "hi", "--from", "../x"],
            &["send", "a", "hi", "--request-id", "a b"],
            &["send", "a", "hi", "--id", "../../../../x"],
        ],
    );
    for (variable, value) in [
        ("MBOX_NAME", "../x"),
        ("MBOX_NAME", long.as_str()),
        ("MBOX_NAME", "a\u{1b}[2J"),
        ("MBOX_LEDGER_MAX", "0"),
        ("MBOX_LEDGER_MAX", "-1"),
        ("MBOX_LEDGER_MAX", "1e3"),
        ("MBOX_MAX_BODY", "many"),
    ] {
        let mut send = fx.mbox(&["send", "a", "hi"]);
        let said =
            predicate::str::starts_with("mbox: ").and(predicate::str::contains('\u{1b}').not());
        send.env(variable, value).assert().code(2).stderr(said);
    }
    assert!(!fx.root().exists());
}

#[test]
fn the_entry_is_the_line() {
    let fx = Fixture::new();
    let mut send = fx.mbox(&["send", "bob", "it's \"so\"\n", "--request-id", "r.1"]);
    let out = send.env("MBOX_NAME", "alice").output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    let id = String::from_utf8(out.stdout).unwrap();
    let line = fs::read_to_string(&fx.files("bob").records).unwrap();
    let start = format!(
        r#"{{"schema_version":1,"id":"{}","body":"it's \"so\"\n","#,
        id.trim()
    );
    assert!(line.starts_with(&start), "{line}");
    assert!(line.ends_with("\"from_session_id\":\"alice\",\"request_id\":\"r.1\"}\n"));
    assert_eq!(
        fs::read_to_string(ledger(&fx, "bob").records).unwrap(),
        line
    );
    fx.files("bob").assert_unlocked();
    ledger(&fx, "bob").assert_unlocked();
    // Without a name nobody can answer, and it is delivered all the same.
    fx.mbox(&["send", "bob"])
        .write_stdin("plain\n")
        .assert()
        .success();
    assert_eq!(fx.drain("bob"), ["it's \"so\"", "", "plain"]);
}

#[test]
fn to_itself() {
    let fx = Fixture::new();
    let mut send = fx.mbox(&["send", "me", "hi", "--from", "me"]);
    let said = predicate::str::contains("--to-self");
    send.assert().code(65).stdout("").stderr(said);
    assert!(!fx.root().exists());
    let mut send = fx.mbox(&["send", "me", "hi", "--from", "me", "--to-self"]);
    send.assert().success().stderr("");
    assert_eq!(fx.drain("me"), ["hi"]);
}

#[test]
fn bad_bodies() {
    let fx = Fixture::new();
    for body in [&b"a\0b"[..], b"\xff", &[b'x'; 65_537]] {
        let mut send = fx.mbox(&["send", "bob"]);
        send.write_stdin(body).assert().code(65).stdout("");
    }
    assert!(!fx.root().exists());
}

#[test]
fn json() {
    let fx = Fixture::new();
    let id = "00c0ffee00c0ffee";
    let mut send = fx.mbox(&["send", "bob", "hi", "--id", id, "--json"]);
    let told = format!("{{\"id\":\"{id}\",\"to\":\"bob\",\"entered\":true,\"pruned\":0}}\n");
    send.assert().success().stdout(told);
}

/// LEDGER-4: a message that is sent again keeps its id, and has one entry.
#[test]
fn again_with_its_id() {
    let fx = Fixture::new();
    for _ in 0..3 {
        fx.mbox(&["send", "bob", "hi", "--id", "00c0ffee00c0ffee"])
            .assert()
            .success()
            .stdout("00c0ffee00c0ffee\n");
    }
    let entries = fs::read_to_string(ledger(&fx, "bob").records).unwrap();
    assert_eq!(entries.lines().count(), 1);
    assert_eq!(fx.drain("bob"), ["hi"]);
}

/// LEDGER-3: whatever is wrong with the ledger, the message arrives.
#[test]
fn a_ledger_that_cannot_be_written() {
    type Break = fn(&Fixture);
    let breaks: [(&str, Break); 5] = [
        ("a directory in its place", |fx| {
            fs::create_dir_all(ledger(fx, "bob").records).unwrap();
        }),
        ("a link in its place", |fx| {
            fs::create_dir_all(fx.root().join("received")).unwrap();
            symlink(fx.dir().join("elsewhere"), ledger(fx, "bob").records).unwrap();
        }),
        ("a link to a directory for all ledgers", |fx| {
            fs::create_dir_all(fx.root()).unwrap();
            fs::create_dir(fx.dir().join("elsewhere")).unwrap();
            symlink(fx.dir().join("elsewhere"), fx.root().join("received")).unwrap();
        }),
        ("a file for all ledgers", |fx| {
            fs::create_dir_all(fx.root()).unwrap();
            fs::write(fx.root().join("received"), "").unwrap();
        }),
        ("a lock that is held", |fx| {
            ledger(fx, "bob").hold("1.0123456789abcdef");
        }),
    ];
    for (what, break_it) in breaks {
        let fx = Fixture::new();
        break_it(&fx);
        let received = fx.root().join("received");
        let before = tree(&received);
        let begun = Instant::now();
        let mut send = fx.mbox(&["send", "bob", "hi", "--from", "alice", "--wait", "30"]);
        let said = predicate::str::contains("cannot be answered by its id");
        send.assert().success().stderr(said);
        assert!(begun.elapsed().as_secs() < 5, "{what}");
        let guard = ledger(&fx, "bob").guard;
        let mut after = tree(&received);
        after.retain(|path, _| !guard.ends_with(path));
        assert_eq!(after, before, "{what}");
        assert!(!fx.dir().join("elsewhere/bob.jsonl").exists());
        assert_eq!(fx.drain("bob"), ["hi"], "{what}");
    }
}

#[test]
fn a_mailbox_that_is_busy() {
    let fx = Fixture::new();
    fx.files("bob").hold("1.0123456789abcdef");
    let mut send = fx.mbox(&["send", "bob", "hi", "--wait", "0.1"]);
    send.assert().code(75).stdout("");
}

#[test]
fn stdout_closed_or_full() {
    let fx = Fixture::new();
    let mut send = fx.process(&["send", "bob", "hi"]);
    assert_quiet_pipe(&with_broken_pipe(&mut send));
    assert_full_stdout(&with_full_stdout(&mut send));
    assert_eq!(fx.drain("bob"), ["hi", "hi"]);
}
