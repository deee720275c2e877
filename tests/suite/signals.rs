//! SIGINT, SIGTERM and SIGHUP: no lock is left, and the process dies by the signal (CLI-6).
//! That this holds before any call that changes something is for tests/crash.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;

use crate::common::{Fixture, Running, for_each, is_flocked, start_writing, until};

const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
const HOLDER: &str = "4242.0123456789abcdef";

#[test]
fn waiting_for_the_lock() {
    for_each(&ENDING, |&signal| {
        for args in [
            &["append", "a", "x"] as &[&str],
            &["drain", "a"],
            &["take", "a"],
            &["lock", "a", "--", "true"],
        ] {
            let fx = Fixture::new();
            let files = fx.files("a");
            fx.append("a", "one");
            files.hold(HOLDER);
            let mut waiting = fx.process(&[args[0], "--wait", "60"]);
            let mut waiting = Running::start(waiting.args(&args[1..]));
            until("it waits", || is_flocked(&files.guard));
            waiting.send(signal);
            assert_eq!(waiting.wait().signal(), Some(signal as i32), "{args:?}");
            assert_eq!(files.token().as_deref(), Some(HOLDER));
            files.let_go();
            files.assert_unlocked();
            assert_eq!(fx.drain("a"), ["one"], "{args:?}");
        }
    });
}

#[test]
fn blocked_on_a_full_pipe() {
    let line = format!("{{\"body\":\"{}\"}}\n", "x".repeat(500_000));
    for signal in ENDING {
        for args in [
            &["drain", "a"] as &[&str],
            &["drain", "a", "--max", "1"],
            &["take", "a"],
        ] {
            let fx = Fixture::new();
            let files = fx.files("a");
            let mut append = fx.mbox(&["append", "a", "--raw"]);
            append.write_stdin(line.clone()).assert().success();
            let (mut reader, mut pipe) = start_writing(&mut fx.process(args));
            files.assert_unlocked(); // others work while it is blocked
            fx.mbox(&["append", "a", "next", "--wait", "1"])
                .assert()
                .success();
            reader.send(signal);
            assert_eq!(reader.wait().signal(), Some(signal as i32), "{args:?}");
            files.assert_unlocked();
            // Given up at once, for readers without the guard too (CLAIM-7).
            let names = files.claim_names();
            assert_eq!(names.len(), 1);
            assert!(names[0].contains("-0000000000000-"), "{names:?}");
            let out = fx
                .mbox(&["drain", "a", "--format", "body"])
                .output()
                .unwrap();
            let bodies = String::from_utf8(out.stdout).unwrap();
            let bodies: Vec<usize> = bodies.lines().map(str::len).collect();
            assert_eq!(bodies, [500_000, 4], "{args:?}");
            let mut rest = Vec::new();
            pipe.read_to_end(&mut rest).unwrap();
            assert!(rest.len() < 500_000);
        }
    }
}

/// What `nohup` relies on: a signal that is ignored does not end a reader either.
#[test]
fn an_ignored_signal_while_writing() {
    let fx = Fixture::new();
    let line = format!("{{\"body\":\"{}\"}}\n", "x".repeat(500_000));
    let mut append = fx.mbox(&["append", "a", "--raw"]);
    append.write_stdin(line.clone()).assert().success();
    let mut shell = fx.program("sh");
    shell.args(["-c", "trap '' HUP INT TERM; exec mbox drain a"]);
    let (mut drain, mut pipe) = start_writing(&mut shell);
    for signal in ENDING {
        drain.send(signal);
    }
    let mut rest = Vec::new();
    pipe.read_to_end(&mut rest).unwrap();
    assert!(drain.wait().success());
    assert_eq!(rest.len() + 1, line.len());
    fx.mbox(&["has", "a"]).assert().code(1);
}
