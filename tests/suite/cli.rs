//! What all verbs share: help, addresses, places, and statuses of several mailboxes.

use predicates::prelude::*;

use crate::common::{Fixture, assert_usage, tree, with_broken_pipe};

const VERBS: [&str; 9] = [
    "append", "drain", "peek", "take", "has", "acquire", "release", "lock", "list",
];

#[test]
fn help_names_every_verb() {
    let fx = Fixture::new();
    let mut help = fx.mbox(&["--help"]).assert().success().stderr("");
    for verb in VERBS {
        help = help.stdout(predicate::str::contains(format!("\n  {verb} ")));
    }
    assert!(tree(fx.dir()).is_empty());
}

#[test]
fn no_verb_is_a_usage_error_with_the_help_on_stderr() {
    let fx = Fixture::new();
    let mut help = fx.mbox(&[]).assert().code(2).stdout("");
    for verb in VERBS {
        help = help.stderr(predicate::str::contains(format!("\n  {verb} ")));
    }
}

#[test]
fn version_is_the_packages() {
    let fx = Fixture::new();
    let version = format!("mbox {}\n", env!("CARGO_PKG_VERSION"));
    fx.mbox(&["--version"]).assert().success().stdout(version);
}

#[test]
fn help_into_a_closed_pipe_is_quiet() {
    let fx = Fixture::new();
    crate::common::assert_quiet_pipe(&with_broken_pipe(&mut fx.process(&["--help"])));
}

#[test]
fn usage_errors_touch_nothing() {
    let fx = Fixture::new();
    assert_usage(&fx, &[&["nosuch"], &["--nosuch"], &["help"], &["--root"]]);
    assert_usage(&fx, &[&["--root", "", "list"], &["--root=", "list"]]);
}

#[test]
fn usage_messages_hold_no_control_characters() {
    let fx = Fixture::new();
    fx.mbox(&["append", "--\u{1b}[31m\u{202e}", "x"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains('\u{1b}').not())
        .stderr(predicate::str::contains('\u{202e}').not());
}

#[test]
fn names_are_checked_everywhere() {
    let fx = Fixture::new();
    let long = "n".repeat(129);
    for bad in ["", ".", "..", ".a", "-a", "a b", "a\n", "é", "a:b", &long] {
        for args in [
            &["append", "--", bad, "x"] as &[&str],
            &["drain", "--", bad],
            &["peek", "--", bad],
            &["take", "--", bad],
            &["has", "--", bad],
            &["acquire", "--", bad],
            &["release", "--", bad, "1.0"],
        ] {
            assert_usage(&fx, &[args]);
        }
    }
    for good in ["a", "A.b_c@d+e-f", "_", "+", "@x", &"n".repeat(128)] {
        fx.append(good, "x");
        assert!(fx.files(good).records.exists(), "{good}");
    }
}

#[test]
fn options_stand_anywhere_and_take_both_forms() {
    let fx = Fixture::new();
    let id = "00c0ffee00c0ffee";
    let taking = |args: &[&str]| {
        fx.mbox(args).assert().success().stdout(format!("{id}\n"));
        fx.mbox(&["drain", "a"]).assert().success();
    };
    taking(&["append", "--id", id, "a", "x"]);
    taking(&["append", "a", "x", "--id", id]);
    taking(&["append", "a", "--id=00c0ffee00c0ffee", "x"]);
    taking(&["append", "--id", id, "--", "a", "--from"]);
    let root = fx.root();
    let root = root.to_str().unwrap();
    taking(&["--root", root, "append", "a", "x", "--id", id]);
}

#[test]
fn the_root_is_the_first_one_given() {
    let fx = Fixture::new();
    let (state, home) = (fx.dir().join("state"), fx.dir().join("home"));
    let into = |given: Option<&str>, root: &str, state_home: &str| {
        let mut command = fx.mbox(&["append", "a", "x"]);
        command.env("MBOX_ROOT", root).env("HOME", &home);
        command.env("XDG_STATE_HOME", state_home);
        command.args(given.iter().flat_map(|dir| ["--root", dir]));
        command.assert().success();
    };
    let there = |path: &str| {
        let records = fx.dir().join(path).join("mailboxes/a.jsonl");
        let is_there = records.exists();
        assert!(is_there, "{} is not there", records.display());
        std::fs::remove_file(records).unwrap();
        assert!(!tree(fx.dir()).keys().any(|path| path.ends_with("a.jsonl")));
    };
    let (option, variable) = (fx.dir().join("option"), fx.dir().join("variable"));
    let (option, variable) = (option.to_str().unwrap(), variable.to_str().unwrap());
    let state = state.to_str().unwrap();
    into(Some(option), variable, state);
    there("option");
    into(None, variable, state);
    there("variable");
    into(None, "", state);
    there("state/mbox");
    into(None, "", "");
    there("home/.local/state/mbox");
}

#[test]
fn without_home_the_account_has_one() {
    let fx = Fixture::new();
    for home in [None, Some("")] {
        let mut has = fx.mbox(&["has", "nobody.in.particular"]);
        has.env_remove("MBOX_ROOT").env_remove("HOME");
        has.envs(home.map(|home| ("HOME", home)));
        has.assert().code(1).stderr("");
    }
}

#[test]
fn a_slash_makes_it_a_path() {
    let fx = Fixture::new();
    let own = |args: &[&str]| fx.mbox(args);
    own(&["append", "./own.jsonl", "x"]).assert().success();
    assert!(fx.dir().join("own.jsonl").exists());
    assert!(!fx.root().exists());
    own(&["drain", "./own.jsonl", "--format", "body"])
        .assert()
        .success()
        .stdout("x\n");
    // The directory is not made, and a missing one is an I/O error (ROOT-4).
    own(&["append", "nosuch/own", "x"])
        .assert()
        .code(74)
        .stderr(predicate::str::contains("create the directory first"));
    assert!(!fx.dir().join("nosuch").exists());
    assert_usage(&fx, &[&["append", "dir/", "x"], &["append", "/", "x"]]);
    assert_usage(&fx, &[&["append", "..//..", "x"]]);
}

#[test]
fn looking_creates_nothing() {
    let fx = Fixture::new();
    for args in [
        &["drain", "a"] as &[&str],
        &["drain", "a", "--max", "1"],
        &["peek", "a"],
        &["list"],
    ] {
        fx.mbox(args).assert().code(0).stdout("").stderr("");
    }
    for args in [&["take", "a"] as &[&str], &["has", "a"]] {
        fx.mbox(args).assert().code(1).stdout("").stderr("");
    }
    assert!(tree(fx.dir()).is_empty());
}

#[test]
fn mbox_name_is_the_mailbox_left_out() {
    let fx = Fixture::new();
    let mine = |args: &[&str]| {
        let mut command = fx.mbox(args);
        command.env("MBOX_NAME", "me").args(["--format", "body"]);
        command.assert()
    };
    fx.fill("me", &["one", "two"]);
    mine(&["peek"]).success().stdout("one\ntwo\n");
    mine(&["take"]).success().stdout("one\n");
    mine(&["drain"]).success().stdout("two\n");
    fx.append("me", "three");
    fx.mbox(&["has"]).env("MBOX_NAME", "me").assert().code(0);

    for verb in ["drain", "peek", "take", "has"] {
        assert_usage(&fx, &[&[verb]]); // neither
        fx.mbox(&[verb]).env("MBOX_NAME", "").assert().code(2);
        fx.mbox(&[verb]).env("MBOX_NAME", "../x").assert().code(2);
        // It is a name, not a path.
        fx.mbox(&[verb]).env("MBOX_NAME", "./x").assert().code(2);
    }
    let mut append = fx.mbox(&["append"]);
    append.env("MBOX_NAME", "me").assert().code(2);
}

#[test]
fn several_mailboxes_the_first_failure_is_the_status() {
    let fx = Fixture::new();
    fx.fill("a", &["one"]);
    fx.fill("b", &["two"]);
    fx.fill("c", &["three"]);
    fx.files("a").hold("4242.0123456789abcdef");
    fx.mbox(&["drain", "a", "b", "c", "--wait", "0.1"])
        .args(["--format", "body"])
        .assert()
        .code(75)
        .stdout("two\nthree\n")
        .stderr(predicate::str::contains("held by process 4242"));
    assert_eq!(fx.peek("a"), ["one"]);
    // One bad name among them: nothing is touched at all.
    let before = tree(fx.dir());
    fx.mbox(&["drain", "a", "no/", "b"]).assert().code(2);
    assert_eq!(tree(fx.dir()), before);
}

#[test]
fn new_directories_and_files_are_private() {
    let fx = Fixture::new();
    let mut append = fx.program("sh");
    append.args(["-c", "umask 0; exec mbox append a x"]);
    assert!(append.status().unwrap().success());
    let mut hold = fx.program("sh");
    hold.args(["-c", "umask 0; exec mbox acquire a"]);
    assert!(hold.status().unwrap().success());
    for (path, entry) in tree(fx.dir()) {
        let is_private = entry.starts_with("dir 700") || entry.starts_with("file 600");
        assert!(is_private, "{}: {entry}", path.display());
    }
}
