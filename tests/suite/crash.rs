//! Death at any system call: nothing acknowledged is lost, the neighbours are intact
//! and in order, and the next process gets through.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use crate::common::{Files, Fixture, flock, for_each, is_full, set_age};
use crate::strace::{self, Call};

/// Mail of a dead reader, then mail in the record file with a damaged line in it.
pub const BEFORE: [&str; 5] = ["c1", "c2", "m1", "m2", "m3"];
const DAMAGED: &str = "not a record";

/// The id of the message with this body: one that drops repeats (DRAIN-7).
fn id_of(body: &str) -> String {
    format!("{:0>16}", body.replace('m', "a"))
}

/// The id of `m2`.
pub const MIDDLE: &str = "00000000000000a2";

pub fn scene() -> (Fixture, Files) {
    let fx = Fixture::new();
    let files = fx.files("a");
    let line = |body: &&str| {
        let id = id_of(body);
        format!("{{\"schema_version\":1,\"id\":\"{id}\",\"body\":\"{body}\"}}\n")
    };
    let claimed: String = BEFORE[..2].iter().map(line).collect();
    files.put_claim(1_000_000_000_000, -1, "8.0123456789abcdef.g", &claimed);
    let mut lines: Vec<String> = BEFORE[2..].iter().map(line).collect();
    lines.insert(1, format!("{DAMAGED}\n"));
    fs::write(&files.records, lines.concat()).unwrap();
    (fx, files)
}

/// Who comes after the dead.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    WithGuard,
    WithoutGuard,
}

/// Kills `mbox ARGS` at each call, and has the next process find all of `BEFORE` but
/// what was handed over, `new` where it was acknowledged, and its own message.
fn sweep(args: &[&str], taken: &[&str], new: Option<&str>) {
    if !strace::is_there() {
        return;
    }
    let all = strace::calls(&scene().0, args);
    for_each(&all, |call| {
        check(args, call, taken, new, Next::WithGuard);
        if is_full() {
            check(args, call, taken, new, Next::WithoutGuard);
        }
    });
    println!("{}: killed at {} calls", args[0], all.len());
}

fn check(args: &[&str], call: &Call, taken: &[&str], new: Option<&str>, next: Next) {
    let (fx, files) = scene();
    let out = strace::run_until(&fx, args, call, "SIGKILL");
    let at = format!("{args:?} killed before {} ({next:?})", call.text);
    assert_eq!(out.status.signal(), Some(9), "{at}: {out:?}");

    let stdout = String::from_utf8(out.stdout).unwrap();
    let handed: Vec<&str> = match new {
        Some(_) => Vec::new(),
        None => stdout.lines().collect(),
    };
    let is_acknowledged = new.is_some() && !stdout.is_empty();
    assert!(handed.is_empty() || handed == taken, "{at}: {handed:?}");

    // Time passes, as far as the rules ask for it.
    let is_dead = files.token().is_some_and(|token| token.ends_with(".g"));
    let frozen = match next {
        Next::WithGuard => {
            if files.lock.exists() && !is_dead {
                set_age(&files.lock, -31);
            }
            None
        }
        Next::WithoutGuard => {
            if files.lock.exists() {
                set_age(&files.lock, -31);
            }
            files.age_claims(std::time::Duration::from_secs(301));
            Some(flock(&files.guard))
        }
    };
    let wait = if frozen.is_some() { "0.05" } else { "5" };

    let is_gone = |body: &str| handed.contains(&body);
    let shown = fx.peek("a");
    for body in BEFORE {
        assert!(
            is_gone(body) || shown.iter().any(|s| s == body),
            "{at}: {body} in {shown:?}"
        );
    }

    let mut append = fx.mbox(&["append", "a", "next", "--wait", wait]);
    let append = append.output().unwrap();
    assert!(append.status.success(), "{at}: {append:?}");
    let mut drain = fx.mbox(&["drain", "a", "--format", "body", "--wait", wait]);
    let drain = drain.output().unwrap();
    assert!(drain.status.success(), "{at}: {drain:?}");
    let got = String::from_utf8(drain.stdout).unwrap();
    let got: Vec<&str> = got.lines().collect();

    // Everything, in order, once: but what was handed over may be gone, and what was
    // not acknowledged may be there.
    let mut wanted: Vec<&str> = BEFORE.to_vec();
    wanted.extend(new);
    wanted.push("next");
    let is_optional = |body: &str| is_gone(body) || (new == Some(body) && !is_acknowledged);
    wanted.retain(|body| !is_optional(body) || got.contains(body));
    if args[0] == "take" {
        // What was chosen may come back elsewhere: it had left the line.
        let others = |bodies: &[&str]| -> Vec<String> {
            let others = bodies.iter().filter(|body| !taken.contains(body));
            others.map(|&body| body.to_owned()).collect()
        };
        assert_eq!(others(&got), others(&wanted), "{at}");
        let mut got = got.clone();
        got.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(got, wanted, "{at}");
    } else {
        assert_eq!(got, wanted, "{at}");
    }

    let damaged = fs::read_to_string(&files.damaged).unwrap();
    let mut damaged = damaged.lines();
    assert!(damaged.clone().count() > 0, "{at}");
    assert!(damaged.all(|line| line == DAMAGED), "{at}");
    for path in [
        &files.lock,
        &files.owner,
        &files.steal,
        &files.claims,
        &files.records,
    ] {
        assert!(!path.exists(), "{at}: {} was left", path.display());
    }
}

#[test]
fn append() {
    sweep(&["append", "a", "new"], &[], Some("new"));
}

#[test]
fn append_sync() {
    sweep(&["append", "a", "new", "--sync"], &[], Some("new"));
}

#[test]
fn drain() {
    sweep(&["drain", "a", "--format", "body"], &BEFORE, None);
}

#[test]
fn drain_max() {
    let args = ["drain", "a", "--max", "3", "--format", "body"];
    sweep(&args, &BEFORE[..3], None);
}

#[test]
fn take() {
    let args = ["take", "a", "--id", MIDDLE, "--format", "body"];
    sweep(&args, &["m2"], None);
}
