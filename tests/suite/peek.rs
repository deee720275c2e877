//! `mbox peek`.

use std::fs;

use predicates::prelude::*;

use crate::common::{
    Fixture, assert_full_stdout, assert_help, assert_quiet_pipe, assert_usage, tree,
    with_broken_pipe, with_full_stdout,
};

#[test]
fn help() {
    assert_help(
        "peek",
        &["--since", "--max", "--format", "--root", "MAILBOX"],
    );
}

#[test]
fn it_shows_all_and_removes_nothing() {
    let fx = Fixture::new();
    fx.fill("a", &["one", "two"]);
    fx.fill("b", &["three"]);
    let records = |name| fs::read_to_string(fx.files(name).records).unwrap();
    let all = records("a") + &records("b");
    let before = tree(fx.dir());
    for _ in 0..2 {
        let mut peek = fx.mbox(&["peek", "a", "b"]);
        peek.assert().success().stdout(all.clone()).stderr("");
    }
    assert_eq!(tree(fx.dir()), before);
}

#[test]
fn it_shows_what_other_readers_have_in_hand_by_birth() {
    let fx = Fixture::new();
    fx.fill("a", &["four"]);
    let files = fx.files("a");
    let line =
        |id: &str, body: &str| format!("{{\"id\":\"000000000000000{id}\",\"body\":\"{body}\"}}\n");
    // Fresh claims of live readers, the later one by name the earlier one by birth.
    files.put_claim(
        2_000_000_000_000,
        0,
        "9.0123456789abcdef",
        &line("3", "three"),
    );
    let two = line("1", "one") + &line("2", "two");
    files.put_claim(1_000_000_000_000, 0, "8.0123456789abcdef", &two);
    files.put_claim(
        1_000_000_000_001,
        0,
        "7.0123456789abcdef",
        &line("2", "two"),
    );
    let before = tree(fx.dir());
    assert_eq!(fx.peek("a"), ["one", "two", "three", "four"]);
    assert_eq!(tree(fx.dir()), before);
}

#[test]
fn since_and_max() {
    let fx = Fixture::new();
    let ids: Vec<String> = ["one", "two", "three"]
        .iter()
        .map(|b| fx.append("a", b))
        .collect();
    let peek = |args: &[&str], out: &'static str| {
        let mut peek = fx.mbox(&["peek", "a", "--format", "body"]);
        peek.args(args).assert().success().stdout(out);
    };
    peek(&["--since", &ids[0]], "two\nthree\n");
    peek(&["--since", &ids[2]], "");
    peek(&["--since", "0000000000000000"], "one\ntwo\nthree\n");
    peek(&["--since", "anything at all"], "one\ntwo\nthree\n");
    peek(&["--max", "2"], "one\ntwo\n");
    peek(&["--since", &ids[0], "--max", "1"], "two\n");
    peek(&["--max", "9"], "one\ntwo\nthree\n");
}

#[test]
fn a_torn_last_line_is_not_there_yet() {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.make_dir();
    fs::write(&files.records, "{\"n\":1}\n{\"torn").unwrap();
    let peek = || fx.mbox(&["peek", "a"]).assert().success();
    peek().stdout("{\"n\":1}\n").stderr("");
    fs::write(&files.records, "{\"n\":1}\n{\"n\":2}").unwrap();
    peek().stdout("{\"n\":1}\n{\"n\":2}\n").stderr("");
    fs::write(&files.records, "x\n{\"n\":1}\n").unwrap();
    peek()
        .stdout("{\"n\":1}\n")
        .stderr(predicate::str::contains("1 damaged line"));
}

#[test]
fn empty() {
    let fx = Fixture::new();
    fx.mbox(&["peek", "a"])
        .assert()
        .success()
        .stdout("")
        .stderr("");
    assert!(tree(fx.dir()).is_empty());
}

#[test]
fn text_is_safe_for_a_terminal() {
    let fx = Fixture::new();
    fx.append("a", "\u{1b}[2J\u{202e}\u{9b}x\ty\n\u{7f}z");
    let out = fx
        .mbox(&["peek", "a", "--format", "text"])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    for c in text.chars() {
        let is_plain = !c.is_control() || matches!(c, '\n' | '\t');
        assert!(is_plain && c != '\u{202e}', "{text:?}");
    }
    assert!(text.contains("x\ty"), "{text:?}");
}

#[test]
fn bad_usage() {
    let fx = Fixture::new();
    fx.append("a", "x");
    assert_usage(
        &fx,
        &[
            &["peek", "a", "--max", "0"],
            &["peek", "a", "--since"],
            &["peek", "a", "--format", "xml"],
            &["peek", "a", "--wait", "1"],
            &["peek", "a", "--max-bytes", "1"],
        ],
    );
}

#[test]
fn a_held_lock_is_no_hindrance() {
    let fx = Fixture::new();
    fx.append("a", "x");
    fx.files("a").hold("4242.0123456789abcdef");
    assert_eq!(fx.peek("a"), ["x"]);
}

#[test]
fn closed_pipe_and_full_stdout() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let before = tree(fx.dir());
    assert_quiet_pipe(&with_broken_pipe(&mut fx.process(&["peek", "a"])));
    assert_full_stdout(&with_full_stdout(&mut fx.process(&["peek", "a"])));
    assert_eq!(tree(fx.dir()), before);
}
