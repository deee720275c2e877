//! `mbox watch --drain`, to stdout and to a command.

use std::fs::{self};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use predicates::prelude::*;

use crate::common::{Fixture, until};

use super::{Watching, append_raw, bodies, on_each};

#[test]
fn draining() {
    on_each(|fx, backend| {
        fx.fill("a", &["1", "2"]);
        let watch = bodies(fx, backend, &["a", "--drain"]);
        watch.expect(&["1", "2"]);
        until("they are removed", || !fx.files("a").claims.exists());
        fx.append("a", "3");
        watch.expect(&["1", "2", "3"]);
        fs::remove_dir_all(fx.root()).unwrap();
        fx.append("a", "4");
        watch.expect(&["1", "2", "3", "4"]);
        until("it is removed", || !fx.files("a").claims.exists());
        fx.files("a").assert_unlocked();
    });
}

#[test]
fn draining_a_count() {
    let fx = Fixture::new();
    fx.fill("a", &["1", "2", "3"]);
    let mut watch = fx.mbox(&["watch", "a", "--drain", "--count", "2", "--format", "body"]);
    watch.assert().success().stdout("1\n2\n").stderr("");
    assert_eq!(fx.peek("a"), ["3"]);
    let mut watch = fx.mbox(&["watch", "a", "--drain", "--count", "2", "--timeout", "0.1"]);
    watch
        .assert()
        .code(1)
        .stdout(predicate::str::contains("\"3\""));
}

/// A lock that is held for long is told, and waited for.
#[test]
fn draining_a_busy_mailbox() {
    let fx = Fixture::new();
    fx.append("a", "1");
    let files = fx.files("a");
    files.hold("4242.0123456789abcdef");
    let mut watch = bodies(
        &fx,
        "inotify",
        &["a", "--drain", "--wait", "0.05", "--count", "1"],
    );
    let mut stderr = BufReader::new(watch.running.child().stderr.take().unwrap());
    let mut told = String::new();
    stderr.read_line(&mut told).unwrap();
    assert!(told.contains("held by process 4242"), "{told}");
    assert!(watch.running.child().try_wait().unwrap().is_none());
    files.let_go();
    watch.expect(&["1"]);
    assert!(watch.running.wait().success());
}

/// The others do not wait for it.
#[test]
fn draining_beside_a_busy_mailbox() {
    let fx = Fixture::new();
    fx.append("a", "1");
    fx.append("b", "2");
    fx.files("a").hold("4242.0123456789abcdef");
    let watch = bodies(&fx, "inotify", &["a", "b", "--drain", "--wait", "600"]);
    watch.expect(&["2"]);
    fx.append("b", "3");
    watch.expect(&["2", "3"]);
    fx.files("a").let_go();
    watch.expect(&["2", "3", "1"]);
}

/// Mail of a reader that dies later comes then.
#[test]
fn draining_what_another_reader_leaves() {
    let fx = Fixture::new();
    let line = format!("{{\"body\":\"{}\"}}\n", "x".repeat(500_000));
    append_raw(&fx, "a", &line);
    let (mut other, pipe) = crate::common::start_writing(&mut fx.process(&["drain", "a"]));
    let watch = bodies(&fx, "inotify", &["a", "--drain", "--count", "2"]);
    fx.append("a", "1");
    watch.expect(&["1"]);
    other.send(Signal::SIGKILL);
    other.wait();
    drop(pipe);
    assert_eq!(watch.all()[1].len(), 500_000);
}

/// Several share the mail: nothing lost, nothing twice.
#[test]
fn draining_together() {
    let fx = Fixture::new();
    let all: Vec<Watching> = (0..4)
        .map(|_| bodies(&fx, "inotify", &["a", "--drain"]))
        .collect();
    let wanted: Vec<String> = (0..60).map(|n| format!("{n:02}")).collect();
    for body in &wanted {
        fx.append("a", body);
    }
    let printed = || -> Vec<String> { all.iter().flat_map(Watching::lines).collect() };
    until("all is handed over", || printed().len() >= wanted.len());
    until("all is removed", || !fx.files("a").claims.exists());
    let mut printed = printed();
    printed.sort();
    assert_eq!(printed, wanted);
}

#[test]
fn a_command_for_each_message() {
    on_each(|fx, backend| {
        fx.fill("a", &["1", "2"]);
        let script = "read -r body; echo \"<$body>\"";
        let command = [
            "a",
            "--drain",
            "--count",
            "3",
            "--backend",
            backend,
            "--format",
            "body",
        ];
        let exec = ["--exec", "sh", "-c", script, "--format", "is its argument"];
        let watch = Watching::start(fx, &[&command[..], &exec].concat());
        watch.expect(&["<1>", "<2>"]);
        fx.append("a", "3");
        assert_eq!(watch.all(), ["<1>", "<2>", "<3>"]);
        fx.mbox(&["has", "a"]).assert().code(1);
    });
}

#[test]
fn a_command_that_fails_first() {
    let fx = Fixture::new();
    fx.fill("a", &["1", "2"]);
    let script = "read -r body; echo \"$body\"; test -e ok || { touch ok; exit 3; }";
    let command = [
        "a", "--drain", "--count", "2", "--format", "body", "--exec", "sh", "-c",
    ];
    let mut watch = Watching::start(&fx, &[&command[..], &[script]].concat());
    until("it failed", || fx.dir().join("ok").exists());
    until("it is put back", || {
        fx.files("a")
            .claim_names()
            .iter()
            .all(|n| n.contains("-0000000000000-"))
    });
    fx.append("a", "3"); // no reason to try again at once
    assert!(watch.running.wait().success());
    let stderr = watch.running.stderr();
    assert_eq!(
        stderr
            .matches("sh exited with status 3 on message ")
            .count(),
        1,
        "{stderr}"
    );
    assert!(stderr.contains("next try in 1 s"), "{stderr}");
    assert_eq!(watch.all(), ["1", "1", "2"]);
    assert_eq!(fx.drain("a"), ["3"]);
}

#[test]
fn a_command_that_cannot_be_run() {
    let fx = Fixture::new();
    fx.append("a", "1");
    let run = |command: &str| {
        fx.mbox(&["watch", "a", "--drain", "--exec", command])
            .assert()
    };
    run("no-such-command")
        .code(127)
        .stderr(predicate::str::contains("cannot run"));
    run("/").code(126);
    assert_eq!(fx.drain("a"), ["1"]);
}

/// One that reads nothing, and one whose message is longer than a pipe.
#[test]
fn a_command_that_does_not_read() {
    let fx = Fixture::new();
    append_raw(
        &fx,
        "a",
        &format!("{{\"body\":\"{}\"}}\n", "x".repeat(500_000)),
    );
    append_raw(
        &fx,
        "a",
        &format!("{{\"body\":\"{}\"}}\n", "x".repeat(300_000)),
    );
    let run = |command: &[&str]| {
        let mut watch = fx.mbox(&["watch", "a", "--drain", "--count", "1", "--exec"]);
        watch.args(command).assert().success()
    };
    run(&["true"]).stdout("");
    run(&["wc", "-c"]).stdout(predicate::str::contains("300012"));
}

/// What it started has its stdin still, and reads nothing.
#[test]
fn a_command_that_leaves_somebody_behind() {
    let fx = Fixture::new();
    for body in ["x", "y"] {
        let body = body.repeat(200_000); // more than a pipe holds
        append_raw(&fx, "a", &format!("{{\"body\":\"{body}\"}}\n"));
    }
    let script = "exec 3<&0; sleep 600 <&3 >/dev/null 2>&1 & echo done";
    let exec = ["a", "--drain", "--count", "2", "--exec", "sh", "-c", script];
    let watch = Watching::start(&fx, &exec);
    assert_eq!(watch.all(), ["done", "done"]);
}

#[test]
fn a_command_and_signals() {
    for (signal, does_end) in [(Signal::SIGTERM, true), (Signal::SIGHUP, false)] {
        let fx = Fixture::new();
        fx.fill("a", &["1", "2"]);
        // Passed on: it ends by it, or sees to it and succeeds.
        let trap = if does_end { "" } else { "trap 'exit 0' HUP; " };
        let script = format!("{trap}echo up; while :; do sleep 0.01; done");
        let mut watch = Watching::start(&fx, &["a", "--drain", "--exec", "sh", "-c", &script]);
        watch.expect(&["up"]);
        watch.running.send(signal);
        assert_eq!(watch.running.wait().signal(), Some(signal as i32));
        let left: &[&str] = if does_end { &["1", "2"] } else { &["2"] };
        assert_eq!(fx.drain("a"), left);
        let mut rest = String::new();
        watch
            .running
            .child()
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut rest)
            .unwrap();
        assert_eq!(rest, "");
    }
}
