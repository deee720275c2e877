//! The layout that oxtail 0.14 and anything written by hand shares by path.

use std::fs;

use predicates::prelude::*;

use crate::common::{Fixture, for_each, set_age};

#[test]
fn the_first_line_begins_as_it_always_did() {
    let fx = Fixture::new();
    let mut append = fx.mbox(&["append", "./box.jsonl", "a \"b\"", "--from", "alice"]);
    append.args(["--id", "0123456789abcdef"]).assert().success();
    let line = fs::read_to_string(fx.dir().join("box.jsonl")).unwrap();
    let prefix = concat!(
        r#"{"schema_version":1,"id":"0123456789abcdef","body":"a \"b\"","#,
        r#""enqueued_at":"#
    );
    assert!(line.starts_with(prefix), "{line}");
    assert!(
        line.ends_with("\"origin\":\"peer\",\"from_session_id\":\"alice\"}\n"),
        "{line}"
    );
}

#[test]
fn a_line_written_by_hand_is_drained() {
    let fx = Fixture::new();
    let line = "{\"id\":\"by hand\",\"body\":\"hello\",\"unknown\":[1, 2]}\n";
    fs::write(fx.dir().join("box.jsonl"), line).unwrap();
    fx.mbox(&["has", "./box.jsonl"]).assert().success();
    fx.mbox(&["peek", "./box.jsonl"])
        .assert()
        .success()
        .stdout(line);
    fx.mbox(&["drain", "./box.jsonl"])
        .assert()
        .success()
        .stdout(line);
    fx.mbox(&["has", "./box.jsonl"]).assert().code(1);
}

#[test]
fn appending_with_a_plain_redirection() {
    let fx = Fixture::new();
    let mut shell = fx.program("sh");
    shell.args(["-c", "printf '%s\\n' '{\"body\":\"one\"}' >>box.jsonl"]);
    assert!(shell.status().unwrap().success());
    fx.mbox(&["append", "./box.jsonl", "two"])
        .assert()
        .success();
    let mut drain = fx.mbox(&["drain", "./box.jsonl", "--format", "body"]);
    drain.assert().success().stdout("one\ntwo\n");
}

/// Tokens that are not ours, but are locks all the same (TOKEN-3).
#[test]
fn any_owner_is_respected() {
    let owners = [
        "0123456789abcdef",
        "0123456789abcdef\n",
        "4242",
        "4242\n",
        "4242.1763650000",
        "host:4242:uuid",
        "",
        "\u{0}\u{1b}[31m",
    ];
    for_each(&owners, |&owner| {
        let fx = Fixture::new();
        let files = fx.files("a");
        files.hold(owner);
        fx.mbox(&["append", "a", "x", "--wait", "0.1"])
            .assert()
            .code(75)
            .stderr(predicate::str::contains('\u{1b}').not());
        assert_eq!(fs::read_to_string(&files.owner).unwrap(), owner);
        assert!(files.lock.is_dir());
        set_age(&files.lock, -31);
        fx.append("a", "x");
        files.assert_unlocked();
    });
}

#[test]
fn an_owner_that_is_not_text() {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.hold("");
    fs::write(&files.owner, b"\xff\xfe".repeat(5000)).unwrap();
    fx.mbox(&["append", "a", "x", "--wait", "0.1"])
        .assert()
        .code(75);
    fx.mbox(&["list", "--json"]).assert().success();
    set_age(&files.lock, -31);
    fx.append("a", "x");
}

#[test]
fn one_newline_behind_a_token_is_not_part_of_it() {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.hold("4242.0123456789abcdef\n");
    fx.mbox(&["release", "a", "4242.0123456789abcdef"])
        .assert()
        .success();
    files.assert_unlocked();
    // A dead holder with guard that wrote a newline is as dead.
    files.hold("4242.0123456789abcdef.g\n");
    fx.mbox(&["append", "a", "x", "--wait", "0.2"])
        .assert()
        .success();
}

/// A legacy peer drains by truncation and never unlinks: an empty record file is no mail.
#[test]
fn a_truncated_record_file() {
    let fx = Fixture::new();
    let files = fx.files("a");
    fx.append("a", "one");
    fs::write(&files.records, "").unwrap();
    fx.mbox(&["has", "a"]).assert().code(1);
    fx.append("a", "two");
    assert_eq!(fx.drain("a"), ["two"]);
}
