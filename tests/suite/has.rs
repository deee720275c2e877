//! `mbox has`.

use std::fs;

use crate::common::{Fixture, assert_help, assert_usage, tree, with_broken_pipe, with_full_stdout};

#[test]
fn help() {
    assert_help("has", &["MAILBOX", "--root", "1 when not"]);
}

#[test]
fn mail_and_no_mail() {
    let fx = Fixture::new();
    let has = |code| {
        let before = tree(fx.dir());
        fx.mbox(&["has", "a"])
            .assert()
            .code(code)
            .stdout("")
            .stderr("");
        assert_eq!(tree(fx.dir()), before);
    };
    has(1);
    fx.append("a", "x");
    has(0);
    fx.files("a").hold("4242.0123456789abcdef"); // busy is no hindrance
    has(0);
    fx.files("a").let_go();
    fx.drain("a");
    has(1);
    let files = fx.files("a");
    fs::write(&files.records, "").unwrap();
    has(1);
    fs::create_dir(&files.claims).unwrap(); // as HAS-1 says, whatever is in it
    has(0);
}

#[test]
fn by_path() {
    let fx = Fixture::new();
    fx.mbox(&["has", "nosuch/own"]).assert().code(1).stderr("");
    fs::write(fx.dir().join("own"), "{}\n").unwrap();
    fx.mbox(&["has", "./own"]).assert().code(0);
}

#[test]
fn bad_usage() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let lines: [&[&str]; 3] = [
        &["has", "a", "b"],
        &["has", "a", "--wait", "1"],
        &["has", "-x"],
    ];
    assert_usage(&fx, &lines);
}

#[test]
fn stdout_does_not_matter() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let code = |out: std::process::Output| out.status.code();
    assert_eq!(
        code(with_broken_pipe(&mut fx.process(&["has", "a"]))),
        Some(0)
    );
    assert_eq!(
        code(with_full_stdout(&mut fx.process(&["has", "b"]))),
        Some(1)
    );
}
