//! `mbox lock`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use predicates::prelude::*;

use crate::common::{
    Fixture, Running, age, assert_busy, assert_help, assert_quiet_pipe, assert_usage, is_flocked,
    is_full, set_age, until, with_broken_pipe, with_full_stdout,
};

#[test]
fn help() {
    assert_help("lock", &["MAILBOX", "--wait", "--root", "CMD", "75"]);
}

#[test]
fn the_command_runs_under_the_lock() {
    let fx = Fixture::new();
    let files = fx.files("a");
    let look = "test -d \"$0\" && cat \"$0.owner\" && cat";
    let out = fx
        .mbox(&["lock", "a", "--", "sh", "-c", look])
        .arg(&files.lock)
        .write_stdin(" and stdin")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(out.stderr.is_empty(), "{out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    let token = text.strip_suffix(" and stdin").unwrap();
    assert!(token.ends_with(".g"), "{token}");
    files.assert_unlocked();
}

#[test]
fn the_status_of_the_command() {
    let fx = Fixture::new();
    for code in [0, 1, 2, 75, 255] {
        let command = format!("exit {code}");
        let mut lock = fx.mbox(&["lock", "a", "--", "sh", "-c", &command]);
        lock.assert().code(code).stderr("");
        fx.files("a").assert_unlocked();
    }
    for signal in [9, 15, 2, 6] {
        let command = format!("kill -{signal} $$");
        let mut lock = fx.mbox(&["lock", "a", "--", "sh", "-c", &command]);
        lock.assert().code(128 + signal).stderr("");
        fx.files("a").assert_unlocked();
    }
}

#[test]
fn a_command_that_cannot_be_run() {
    let fx = Fixture::new();
    let script = fx.dir().join("script");
    fs::write(&script, "").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    for (command, code) in [
        ("nosuch-command", 127),
        ("./nosuch", 127),
        ("./script", 126),
    ] {
        fx.mbox(&["lock", "a", "--", command])
            .assert()
            .code(code)
            .stdout("")
            .stderr(predicate::str::contains(format!("cannot run {command}: ")));
        fx.files("a").assert_unlocked();
    }
}

#[test]
fn the_command_has_ordinary_signals() {
    let fx = Fixture::new();
    // What is held back or ignored here must not be there.
    let show = ["grep", "Sig[BI]", "/proc/self/status"];
    let here = fx.program(show[0]).args(&show[1..]).output().unwrap();
    let mut lock = fx.process(&["lock", "a", "--"]);
    let there = lock.args(show).output().unwrap();
    // Two masks each; what is over 31 is the C library's own affair.
    let masks = |out: std::process::Output| -> Vec<u64> {
        let text = String::from_utf8(out.stdout).unwrap();
        let masks = text.lines().map(|line| line.split_once('\t').unwrap().1);
        let masks = masks.map(|mask| u64::from_str_radix(mask, 16).unwrap());
        masks.map(|mask| mask & 0x7fff_ffff).collect()
    };
    let here = masks(here);
    assert_eq!(here.len(), 2);
    assert_eq!(masks(there), here);
}

#[test]
fn a_lock_inside_a_lock() {
    let fx = Fixture::new();
    let inner = ["lock", "a", "--", "mbox", "lock", "b", "--", "echo", "both"];
    fx.mbox(&inner).assert().success().stdout("both\n");
    let same = ["lock", "a", "--", "mbox", "append", "a", "x", "--wait", "0"];
    fx.mbox(&same).assert().code(75).stdout("");
    fx.files("a").assert_unlocked();
}

#[test]
fn bad_usage() {
    assert_usage(
        &Fixture::new(),
        &[
            &["lock"],
            &["lock", "a"],
            &["lock", "a", "--"],
            &["lock", "a", "true"],
            &["lock", "--", "true"],
            &["lock", "a", "--wait", "x", "--", "true"],
            &["lock", "a b", "--", "true"],
        ],
    );
}

#[test]
fn busy() {
    let fx = Fixture::new();
    assert_busy(&fx, "a", &["lock", "a", "--", "sh", "-c", "echo ran >ran"]);
    fx.files("a").assert_unlocked();
    // assert_busy runs it once more with the lock free.
    fs::remove_file(fx.dir().join("ran")).unwrap();
}

#[test]
fn a_closed_or_full_stdout_is_the_commands_own_affair() {
    let fx = Fixture::new();
    let mut quiet = fx.process(&["lock", "a", "--", "true"]);
    assert_eq!(with_broken_pipe(&mut quiet).status.code(), Some(0));
    let mut quiet = fx.process(&["lock", "a", "--", "true"]);
    assert_eq!(with_full_stdout(&mut quiet).status.code(), Some(0));
    assert_quiet_pipe(&with_broken_pipe(&mut fx.process(&["lock", "--help"])));
}

/// `mbox lock a -- COMMAND`, started, and the lock held.
fn holding(fx: &Fixture, command: &[&str]) -> Running {
    let mut lock = fx.process(&["lock", "a", "--"]);
    lock.args(command)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let running = Running::start(&mut lock);
    until("the lock is held", || fx.files("a").is_held());
    running
}

#[test]
fn signals_end_it_and_leave_no_lock() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let fx = Fixture::new();
        let started = fx.dir().join("started");
        let command = format!("touch {}; exec sleep 60", started.display());
        let mut lock = holding(&fx, &["sh", "-c", &command]);
        until("the command runs", || started.exists());
        lock.send(signal);
        assert_eq!(lock.wait().signal(), Some(signal as i32));
        fx.files("a").assert_unlocked();
    }
}

/// Not only where a shell puts its own mask right.
#[test]
fn signals_reach_a_command_that_is_no_shell() {
    let fx = Fixture::new();
    let mut lock = holding(&fx, &["sleep", "60"]);
    until("the command runs", || {
        let children = format!("/proc/{0}/task/{0}/children", lock.child().id());
        let children = fs::read_to_string(children).unwrap();
        let name = children.trim().parse::<u32>();
        name.is_ok_and(|id| {
            fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name == "sleep\n")
        })
    });
    lock.send(Signal::SIGTERM);
    assert_eq!(lock.wait().signal(), Some(Signal::SIGTERM as i32));
    fx.files("a").assert_unlocked();
}

#[test]
fn an_interrupt_from_the_terminal() {
    let fx = Fixture::new();
    let started = fx.dir().join("started");
    let command = format!("touch {}; exec sleep 60", started.display());
    let mut lock = holding(&fx, &["sh", "-c", &command]);
    until("the command runs", || started.exists());
    lock.send_to_group(Signal::SIGINT);
    assert_eq!(lock.wait().signal(), Some(Signal::SIGINT as i32));
    fx.files("a").assert_unlocked();
}

#[test]
fn a_command_that_cleans_up_still_has_the_lock() {
    let fx = Fixture::new();
    let files = fx.files("a");
    let (started, found) = (fx.dir().join("started"), fx.dir().join("found"));
    let script = format!(
        "trap 'cat {} >{}; exit 3' TERM; touch {}; while :; do sleep 0.01; done",
        files.owner.display(),
        found.display(),
        started.display()
    );
    let mut lock = holding(&fx, &["sh", "-c", &script]);
    until("the command runs", || started.exists());
    let token = files.token().unwrap();
    lock.send(Signal::SIGTERM);
    assert_eq!(lock.wait().code(), Some(3), "the command's own status");
    assert_eq!(fs::read_to_string(found).unwrap(), token);
    files.assert_unlocked();
}

/// What `nohup` and background jobs of a script rely on.
#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let fx = Fixture::new();
    let files = fx.files("a");
    let mut shell = fx.program("sh");
    let script = "trap '' HUP INT TERM; exec mbox lock a -- sh -c 'cat; exit 3'";
    shell.args(["-c", script]).stdin(Stdio::piped());
    let mut lock = Running::start(&mut shell);
    until("the lock is held", || files.is_held());
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        lock.send_to_group(signal);
    }
    drop(lock.child().stdin.take());
    assert_eq!(lock.wait().code(), Some(3));
    files.assert_unlocked();
}

#[test]
fn a_lock_lost_to_a_successor() {
    let fx = Fixture::new();
    let files = fx.files("a");
    let mut lock = holding(&fx, &["cat"]);
    files.let_go();
    files.hold("4242.0123456789abcdef");
    drop(lock.child().stdin.take());
    assert_eq!(lock.wait().code(), Some(75));
    let stderr = lock.stderr();
    assert!(
        stderr.contains("the lock was lost while the command ran"),
        "{stderr}"
    );
    // It is another's now (REL-1).
    assert_eq!(files.token().as_deref(), Some("4242.0123456789abcdef"));
    assert!(files.lock.is_dir());
}

#[test]
fn a_lock_recovered_while_it_was_frozen() {
    let fx = Fixture::new();
    let mut lock = holding(&fx, &["cat"]);
    lock.freeze();
    set_age(&fx.files("a").lock, -31);
    fx.append("a", "x");
    lock.send(Signal::SIGCONT);
    drop(lock.child().stdin.take());
    assert_eq!(lock.wait().code(), Some(75));
    fx.files("a").assert_unlocked();
    assert_eq!(fx.drain("a"), ["x"]);
}

#[test]
fn the_lock_is_kept_young() {
    if !is_full() {
        return; // takes ten seconds; LockGuard::renew is tried in api.rs
    }
    let fx = Fixture::new();
    let files = fx.files("a");
    let mut lock = holding(&fx, &["cat"]);
    set_age(&files.lock, -20);
    until("it is young again", || {
        age(&files.lock) < Duration::from_secs(15)
    });
    writeln!(lock.child().stdin.as_mut().unwrap(), "x").unwrap();
    drop(lock.child().stdin.take());
    assert!(lock.wait().success());
}

#[test]
fn the_lock_file_is_not_inherited() {
    let fx = Fixture::new();
    // A grandchild that lives on must not keep the guard.
    let script = "sleep 60 >/dev/null 2>&1 & echo $!";
    let mut lock = fx.process(&["lock", "a", "--", "sh", "-c", script]);
    let mut lock = Running::start(lock.stdout(Stdio::piped()));
    assert!(lock.wait().success());
    assert!(!is_flocked(&fx.files("a").guard));
}
