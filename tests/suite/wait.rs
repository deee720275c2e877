//! `mbox wait`.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::{DEADLINE, Fixture, Running, assert_help, assert_usage, tree, until};

/// The claim of a reader that is gone.
const DEAD: &str = "4242.0123456789abcdef.g";

#[test]
fn help() {
    assert_help("wait", &["MAILBOX", "--timeout", "--root"]);
}

#[test]
fn at_once_when_there_is_mail() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let before = tree(fx.dir());
    for _ in 0..2 {
        let mut wait = fx.mbox(&["wait", "a", "--timeout", "0"]);
        wait.assert().success().stdout("").stderr("");
    }
    fx.files("a").hold("4242.0123456789abcdef"); // busy is no hindrance
    fx.mbox(&["wait", "a"]).assert().success();
    fx.files("a").let_go();
    assert_eq!(tree(fx.dir()), before);
}

#[test]
fn at_once_when_only_a_dead_reader_has_it() {
    let fx = Fixture::new();
    let record = "{\"id\":\"00c0ffee00c0ffee\"}\n";
    fx.files("a").put_claim(1_700_000_000_000, 0, DEAD, record);
    let begin = Instant::now();
    fx.mbox(&["wait", "a"])
        .assert()
        .success()
        .stdout("")
        .stderr("");
    assert!(begin.elapsed() < DEADLINE);
}

/// Starts a wait, and returns when it watches.
fn start(fx: &Fixture, args: &[&str]) -> Running {
    let waiting = Running::start(&mut fx.process(args));
    let fds = format!("/proc/{}/fd", waiting.id());
    until("it watches", || {
        let fds = fs::read_dir(&fds).unwrap();
        fds.flatten().any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains("inotify"))
        })
    });
    waiting
}

#[test]
fn until_mail_comes() {
    let fx = Fixture::new();
    fx.append("other", "x"); // the root is there
    for mailbox in ["a", "./own.jsonl"] {
        let mut waiting = start(&fx, &["wait", mailbox]);
        fx.append("b", "not this one");
        assert!(waiting.child().try_wait().unwrap().is_none());
        fx.append(mailbox, "x");
        assert!(waiting.wait().success());
    }
}

#[test]
fn where_nothing_exists_yet_and_where_it_is_removed() {
    let fx = Fixture::new();
    let mut waiting = start(&fx, &["wait", "a"]);
    assert!(!fx.root().exists());
    fx.append("b", "not this one");
    fs::remove_dir_all(fx.root()).unwrap();
    fx.append("b", "not this one");
    assert!(waiting.child().try_wait().unwrap().is_none());
    fx.append("a", "x");
    assert!(waiting.wait().success());
}

#[test]
fn no_mail_in_time() {
    let fx = Fixture::new();
    let begin = Instant::now();
    fx.mbox(&["wait", "a", "--timeout", "0.2"])
        .assert()
        .code(1)
        .stdout("")
        .stderr("");
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_millis(200) && took < DEADLINE,
        "{took:?}"
    );
    fx.mbox(&["wait", "a", "--timeout", "0"]).assert().code(1);
    assert!(tree(fx.dir()).is_empty());
    fx.append("a", "x");
    fx.drain("a");
    let before = tree(fx.dir());
    fx.mbox(&["wait", "a", "--timeout", "0.05"])
        .assert()
        .code(1);
    assert_eq!(tree(fx.dir()), before);
}

#[test]
fn my_own_mailbox() {
    let fx = Fixture::new();
    fx.append("me", "x");
    let wait = |name: &str| {
        fx.mbox(&["wait", "--timeout", "0"])
            .env("MBOX_NAME", name)
            .assert()
    };
    wait("me").success();
    wait("you").code(1);
}

#[test]
fn bad_usage_and_what_is_unsafe() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let lines: [&[&str]; 5] = [
        &["wait"],
        &["wait", "a", "b"],
        &["wait", "a", "--timeout", "soon"],
        &["wait", "a", "--wait", "1"],
        &["wait", ".a"],
    ];
    assert_usage(&fx, &lines);
    std::os::unix::fs::symlink("nowhere", fx.files("b").records).unwrap();
    fx.mbox(&["wait", "b"]).assert().code(77);
}

#[test]
fn signals_end_it_and_leave_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let fx = Fixture::new();
        fx.append("b", "x");
        let before = tree(fx.dir());
        let mut waiting = start(&fx, &["wait", "a"]);
        waiting.send(signal);
        assert_eq!(waiting.wait().signal(), Some(signal as i32));
        assert_eq!(tree(fx.dir()), before);
    }
}
