//! `mbox take`.

use std::fs;

use predicates::prelude::*;

use crate::common::{
    Fixture, MBOX, assert_busy, assert_full_stdout, assert_help, assert_quiet_pipe, assert_usage,
    has_program, skip, tree, with_broken_pipe, with_full_stdout,
};

const RECORDS: &str = concat!(
    "{\"id\":\"1\",\"from_session_id\":\"alice\",\"body\":\"one\"}\n",
    "{\"id\":\"2\",\"from_session_id\":\"bob\",\"reply_to\":\"q\", \"body\":\"two\"}\n",
    "{\"id\":\"3\",\"from_session_id\":\"bob\",\"body\":\"three\"}\n",
    "{\"id\":7,\"body\":\"four\"}\n",
);

fn filled() -> Fixture {
    let fx = Fixture::new();
    let mut append = fx.mbox(&["append", "a", "--raw"]);
    append.write_stdin(RECORDS).assert().success();
    fx
}

#[test]
fn help() {
    let options = [
        "--id",
        "--reply-to",
        "--from",
        "--format",
        "--wait",
        "--root",
        "MAILBOX",
    ];
    assert_help("take", &options);
}

#[test]
fn the_first_that_matches_all() {
    for (args, taken) in [
        (&[] as &[&str], 0),
        (&["--id", "2"], 1),
        (&["--from", "bob"], 1),
        (&["--from", "bob", "--id", "3"], 2),
        (&["--reply-to", "q"], 1),
        (&["--reply-to=q", "--from=bob", "--id=2"], 1),
    ] {
        let fx = filled();
        let mut lines: Vec<&str> = RECORDS.split_inclusive('\n').collect();
        let mut take = fx.mbox(&["take", "a"]);
        let wanted = lines.remove(taken);
        take.args(args).assert().success().stdout(wanted).stderr("");
        // The others keep their bytes and their order (TAKE-5), and nothing else is left.
        let files = fx.files("a");
        assert_eq!(fs::read_to_string(&files.records).unwrap(), lines.concat());
        assert!(!files.claims.exists());
        files.assert_unlocked();
    }
}

#[test]
fn one_after_the_other() {
    let fx = filled();
    for body in ["one", "two", "three", "four"] {
        let mut take = fx.mbox(&["take", "a", "--format", "body"]);
        take.assert().success().stdout(format!("{body}\n"));
    }
    fx.mbox(&["take", "a"])
        .assert()
        .code(1)
        .stdout("")
        .stderr("");
    assert!(!fx.files("a").records.exists());
}

#[test]
fn nothing_matches() {
    let fx = filled();
    let before = tree(fx.dir());
    for args in [
        &["--id", "nosuch"] as &[&str],
        &["--id", "7"], // a number is not a string
        &["--id", "1", "--from", "bob"],
        &["--reply-to", ""],
        &["--from", "any thing"],
    ] {
        let mut take = fx.mbox(&["take", "a"]);
        take.args(args).assert().code(1).stdout("").stderr("");
        assert_eq!(tree(fx.dir()), before, "{args:?}");
    }
}

#[test]
fn mail_of_a_dead_reader_is_taken_too() {
    let fx = filled();
    let files = fx.files("a");
    let dead = "{\"id\":\"0\",\"body\":\"zero\"}\n{\"id\":\"00\",\"body\":\"nil\"}\n";
    files.put_claim(1_000_000_000_000, -31, "8.0123456789abcdef", dead);
    let mut take = fx.mbox(&["take", "a", "--id", "2", "--format", "body"]);
    take.assert().success().stdout("two\n");
    assert_eq!(fx.drain("a"), ["zero", "nil", "one", "three", "four"]);
}

#[test]
fn mail_in_the_hands_of_another_is_not() {
    let fx = filled();
    let files = fx.files("a");
    files.put_claim(
        1_000_000_000_000,
        0,
        "8.0123456789abcdef",
        "{\"id\":\"0\"}\n",
    );
    fx.mbox(&["take", "a", "--id", "0"])
        .assert()
        .code(1)
        .stdout("");
    assert_eq!(fs::read_to_string(&files.records).unwrap(), RECORDS);
    assert_eq!(files.claim_names().len(), 1);
    files.assert_unlocked();
}

#[test]
fn damaged_lines_are_set_aside() {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.make_dir();
    fs::write(&files.records, "x\n{\"id\":\"1\"}\n{\"id\":\"2\"}\n{\"torn").unwrap();
    fx.mbox(&["take", "a", "--id", "2"])
        .assert()
        .success()
        .stdout("{\"id\":\"2\"}\n")
        .stderr(predicate::str::contains(
            "2 damaged lines were set aside in ",
        ));
    assert_eq!(fs::read_to_string(&files.damaged).unwrap(), "x\n{\"torn\n");
    assert_eq!(
        fs::read_to_string(&files.records).unwrap(),
        "{\"id\":\"1\"}\n"
    );
}

#[test]
fn bad_usage() {
    assert_usage(
        &filled(),
        &[
            &["take", "a", "b"],
            &["take", "a", "--id"],
            &["take", "a", "--max", "1"],
            &["take", "a", "--format", "yaml"],
            &["take", "a", "--wait", "1s"],
        ],
    );
}

#[test]
fn busy() {
    assert_busy(&filled(), "a", &["take", "a"]);
}

#[test]
fn closed_pipe() {
    let fx = filled();
    let mut take = fx.process(&["take", "a", "--id", "1"]);
    assert_quiet_pipe(&with_broken_pipe(&mut take));
    fx.files("a").assert_unlocked();
    assert_eq!(fx.drain("a"), ["one", "two", "three", "four"]);
}

#[test]
fn full_stdout() {
    let fx = filled();
    let mut take = fx.process(&["take", "a", "--id", "1"]);
    assert_full_stdout(&with_full_stdout(&mut take));
    fx.files("a").assert_unlocked();
    assert_eq!(fx.drain("a"), ["one", "two", "three", "four"]);
}

#[test]
fn a_put_back_that_fails_leaves_no_copy() {
    if !has_program("strace") {
        return skip("strace is not installed");
    }
    let fx = Fixture::new();
    let files = fx.files("a");
    let jobs = "{\"job\":1}\n{\"job\":2}\n";
    fx.mbox(&["append", "a", "--raw"])
        .write_stdin(jobs)
        .assert()
        .success();
    for verb in [&["take", "a"][..], &["drain", "a", "--max", "1"]] {
        let mut traced = fx.program("strace");
        traced.args([
            "-f",
            "-o",
            "/dev/null",
            "-e",
            "inject=link,linkat:error=EPERM",
            MBOX,
        ]);
        assert_eq!(traced.args(verb).output().unwrap().status.code(), Some(77));
        files.assert_unlocked();
    }
    fx.mbox(&["drain", "a"]).assert().success().stdout(jobs);
}
