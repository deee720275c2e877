//! `mbox doctor`.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use predicates::prelude::*;
use serde_json::Value;

use crate::common::{
    Fixture, Running, assert_full_stdout, assert_help, assert_quiet_pipe, assert_usage, flock,
    set_age, tree, with_broken_pipe, with_full_stdout,
};

/// The findings, and the summary apart; its status goes with it.
#[track_caller]
fn doctor(fx: &Fixture, args: &[&str]) -> (Vec<Value>, Value) {
    let args = [&["doctor", "--json"], args].concat();
    let out = fx.mbox(&args).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut lines: Vec<Value> = lines.collect();
    let summary = lines.pop().unwrap();
    assert_eq!(summary["type"], "summary");
    assert!(lines.iter().all(|line| line["type"] == "finding"));
    let count = |state: &str| lines.iter().filter(|line| line["state"] == state).count();
    assert_eq!(summary["problems"], count("problem"));
    assert_eq!(summary["fixed"], count("fixed"));
    assert_eq!(summary["notes"], count("note"));
    assert_eq!(summary["ok"], count("problem") == 0);
    let status = if summary["ok"] == true { 0 } else { 1 };
    assert_eq!(out.status.code(), Some(status), "{lines:?}");
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
    (lines, summary)
}

fn states(findings: &[Value], check: &str) -> Vec<String> {
    let of = findings.iter().filter(|finding| finding["check"] == check);
    of.map(|finding| finding["state"].as_str().unwrap().to_owned())
        .collect()
}

/// It is found and told what to do, nothing is changed by that; then it is repaired, and
/// then it is gone.
#[track_caller]
fn is_found_and_fixed(fx: &Fixture, check: &str) {
    let before = tree(fx.dir());
    let (findings, _) = doctor(fx, &[]);
    assert_eq!(states(&findings, check), ["problem"], "{findings:#?}");
    let found = findings.iter().find(|found| found["check"] == check);
    let next = found.unwrap()["next_step"].as_str().unwrap();
    assert!(next.contains("--fix"), "{next}");
    assert_eq!(tree(fx.dir()), before);
    let (findings, summary) = doctor(fx, &["--fix"]);
    assert_eq!(states(&findings, check), ["fixed"], "{findings:#?}");
    assert_eq!(summary["ok"], true, "{findings:#?}");
    let (findings, summary) = doctor(fx, &[]);
    assert!(states(&findings, check).is_empty(), "{findings:#?}");
    assert_eq!(summary["ok"], true, "{findings:#?}");
}

const DEAD: &str = "4242.0123456789abcdef";

#[test]
fn help() {
    assert_help("doctor", &["--fix", "--json", "--root", "never"]);
}

#[test]
fn empty() {
    let fx = Fixture::new();
    for args in [&["doctor"][..], &["doctor", "--fix"]] {
        let out = fx.mbox(args).assert().success().stderr("");
        out.stdout(predicate::str::contains("there is no root yet"));
    }
    assert!(tree(fx.dir()).is_empty());
}

#[test]
fn all_is_well() {
    let fx = Fixture::new();
    fx.fill("a", &["one", "two"]);
    let before = tree(fx.dir());
    let (findings, summary) = doctor(&fx, &[]);
    assert_eq!(summary["ok"], true);
    for check in ["root", "mailbox", "backend", "hub"] {
        assert_eq!(states(&findings, check), ["ok"], "{findings:#?}");
    }
    let backend = findings.iter().find(|found| found["check"] == "backend");
    let backend = backend.unwrap();
    assert!(backend["latency_ms"].as_f64().unwrap() > 0.0);
    if cfg!(target_os = "linux") {
        assert!(backend["message"].as_str().unwrap().starts_with("inotify"));
    }
    fx.mbox(&["doctor"])
        .assert()
        .success()
        .stdout(predicate::str::ends_with("All is well.\n"));
    assert_eq!(tree(fx.dir()), before);
}

#[test]
fn bad_usage() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let lines: [&[&str]; 3] = [
        &["doctor", "a"],
        &["doctor", "--fx"],
        &["doctor", "--json=1"],
    ];
    assert_usage(&fx, &lines);
}

#[test]
fn a_stale_lock() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let files = fx.files("a");
    files.hold(DEAD);
    let (findings, _) = doctor(&fx, &["--fix"]);
    assert_eq!(states(&findings, "lock"), ["note"]);
    assert!(files.is_held());
    set_age(&files.lock, -31);
    is_found_and_fixed(&fx, "stale-lock");
    files.assert_unlocked();
    assert_eq!(fx.drain("a"), ["x"]);
}

#[test]
fn the_lock_of_a_dead_peer_with_guard() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let files = fx.files("a");
    files.hold("4242.0123456789abcdef.g");
    let alive = flock(&files.guard);
    let (findings, _) = doctor(&fx, &[]);
    assert_eq!(states(&findings, "lock"), ["note"]);
    // Closing alone is not enough: a child of another test may have it until its exec.
    fs2::FileExt::unlock(&alive).unwrap();
    is_found_and_fixed(&fx, "stale-lock");
    files.assert_unlocked();
}

#[test]
fn a_steal_marker() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let files = fx.files("a");
    fs::create_dir(&files.steal).unwrap();
    fs::set_permissions(&files.steal, Permissions::from_mode(0o700)).unwrap();
    set_age(&files.steal, -31);
    is_found_and_fixed(&fx, "steal-marker");
    files.assert_unlocked();
}

#[test]
fn an_owner_alone() {
    let fx = Fixture::new();
    fx.append("a", "x");
    fs::write(fx.files("a").owner, DEAD).unwrap();
    // The repair takes 30 s, which a test does not wait for.
    let (findings, _) = doctor(&fx, &[]);
    assert_eq!(states(&findings, "owner-alone"), ["problem"]);
}

#[test]
fn an_orphan_claim() {
    let fx = Fixture::new();
    let files = fx.files("a");
    fx.append("a", "second");
    let line = "{\"body\":\"first\"}\n";
    let claim = files.put_claim(1_000_000_000_000, -1, DEAD, line);
    let private = |path: &std::path::Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    private(&files.claims, 0o700);
    private(&claim, 0o600);
    let (_, summary) = doctor(&fx, &["--fix"]);
    assert_eq!(summary["fixed"], 0, "its reader may be alive");
    fs::remove_file(claim).unwrap();
    private(&files.put_claim(1_000_000_000_000, -31, DEAD, line), 0o600);
    is_found_and_fixed(&fx, "orphan-claim");
    // A peer without guard has it at once, and first.
    let mut shell = fx.program("sh");
    let mirror = concat!(env!("CARGO_MANIFEST_DIR"), "/shell/mbox.sh");
    let out = shell
        .env("MBOX_PURE", "1")
        .args([mirror, "drain", "a", "--format", "body"])
        .output()
        .unwrap();
    assert_eq!(out.stdout, b"first\nsecond\n");
}

#[test]
fn an_empty_claims_directory() {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.make_dir();
    fs::set_permissions(fx.root(), Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(files.dir(), Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(&files.claims).unwrap();
    fs::set_permissions(&files.claims, Permissions::from_mode(0o700)).unwrap();
    set_age(&files.claims, -31);
    is_found_and_fixed(&fx, "empty-claims");
    fx.mbox(&["has", "a"]).assert().code(1);
}

#[test]
fn a_torn_tail() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let files = fx.files("a");
    let mut text = fs::read(&files.records).unwrap();
    text.extend_from_slice(b"{\"torn");
    fs::write(&files.records, &text).unwrap();
    is_found_and_fixed(&fx, "torn-tail");
    text.push(b'\n');
    assert_eq!(fs::read(&files.records).unwrap(), text);
    assert_eq!(fx.drain("a"), ["x"]);
    // What was set aside is for a person.
    let (findings, _) = doctor(&fx, &["--fix"]);
    assert_eq!(states(&findings, "damaged"), ["problem"]);
    assert_eq!(fs::read(&files.damaged).unwrap(), b"{\"torn\n");
}

#[test]
fn a_record_without_its_newline_is_no_torn_tail() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let records = fx.files("a").records;
    fs::write(&records, "not one\n{\"whole\":1}").unwrap();
    let (findings, summary) = doctor(&fx, &["--fix"]);
    assert_eq!(summary["ok"], true, "{findings:#?}");
    assert_eq!(states(&findings, "damaged"), ["note"]);
    assert_eq!(fs::read(&records).unwrap(), b"not one\n{\"whole\":1}");
}

#[test]
fn temporaries() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let files = fx.files("a");
    let temporary = files.dir().join(format!("a.jsonl.tmp.{DEAD}.rest"));
    fs::write(&temporary, "{}\n").unwrap();
    fs::set_permissions(&temporary, Permissions::from_mode(0o600)).unwrap();
    let (_, summary) = doctor(&fx, &["--fix"]);
    assert_eq!(summary["fixed"], 0, "its maker may be alive");
    set_age(&temporary, -301);
    is_found_and_fixed(&fx, "temporary");
    assert!(!temporary.exists());
}

#[test]
fn a_mailbox_that_is_called_like_a_temporary() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let names = ["a.jsonl.tmp.b", "a.jsonl.tmp.1.0123456789abcdef"];
    for name in names {
        fx.append(name, "mail");
        let files = fx.files(name);
        fs::write(&files.damaged, "").unwrap();
        fs::set_permissions(&files.damaged, Permissions::from_mode(0o600)).unwrap();
        for path in [&files.records, &files.damaged, &files.guard] {
            set_age(path, -301);
        }
    }
    let before = tree(fx.dir());
    let (findings, summary) = doctor(&fx, &["--fix"]);
    assert_eq!(summary["ok"], true, "{findings:#?}");
    assert_eq!(tree(fx.dir()), before);
    let listed = fx.mbox(&["list"]).assert().success();
    for name in names {
        let listed = String::from_utf8_lossy(&listed.get_output().stdout);
        assert!(listed.contains(name), "{listed}");
        assert_eq!(fx.drain(name), ["mail"]);
    }
}

#[test]
fn modes() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let files = fx.files("a");
    for (path, wrong, right) in [
        (fx.root(), 0o755, 0o700),
        (files.dir().to_owned(), 0o755, 0o700),
        (files.records.clone(), 0o644, 0o600),
    ] {
        fs::set_permissions(&path, Permissions::from_mode(wrong)).unwrap();
        let (findings, summary) = doctor(&fx, &[]);
        assert_eq!(summary["ok"], false);
        assert_eq!(states(&findings, "mode"), ["problem"]);
        let (findings, summary) = doctor(&fx, &["--fix"]);
        assert_eq!(summary["ok"], true, "{findings:#?}");
        assert_eq!(states(&findings, "mode"), ["fixed"]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, right);
    }
}

#[test]
fn a_root_others_could_write_to() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let files = fx.files("a");
    for path in [fx.root(), files.dir().to_owned()] {
        // What may have been planted, and what a repair would do with it.
        files.hold(DEAD);
        set_age(&files.lock, -31);
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        let (findings, summary) = doctor(&fx, &["--fix"]);
        assert_eq!(states(&findings, "mode"), ["fixed"]);
        assert_eq!(states(&findings, "root"), ["problem"], "{findings:#?}");
        assert_eq!(summary["ok"], false);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        assert!(files.is_held());
        let (findings, summary) = doctor(&fx, &["--fix"]);
        assert_eq!(states(&findings, "stale-lock"), ["fixed"]);
        assert_eq!(summary["ok"], true, "{findings:#?}");
    }
}

#[test]
fn what_is_unsafe_is_told_and_left_alone() {
    let fx = Fixture::new();
    fx.append("z", "x");
    symlink("/nowhere", fx.files("a").records).unwrap();
    fs::create_dir(fx.files("b").damaged).unwrap();
    let before = tree(fx.dir());
    let out = fx.mbox(&["doctor", "--fix"]).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("a: cannot use"), "{text}");
    assert!(text.contains("a symbolic link is in the way"), "{text}");
    assert!(text.contains("a directory is in the way"), "{text}");
    // The mode of a directory in the wrong place is made right, and nothing else.
    let mode = |text: &str| text.replace("dir 755", "dir 700");
    let after = tree(fx.dir());
    assert_eq!(after.len(), before.len());
    for (path, was) in &before {
        assert_eq!(mode(&after[path]), mode(was), "{}", path.display());
    }
}

#[test]
fn an_owner_cannot_speak_to_the_terminal() {
    let fx = Fixture::new();
    let claims = fx.files("a").claims;
    fx.append("a", "x");
    fs::create_dir(&claims).unwrap();
    fs::write(claims.join("\u{1b}[31mclaim"), "x").unwrap();
    let out = fx.mbox(&["doctor"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("is among the claims"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn the_hub() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let socket = fx.root().join("events.socket");
    drop(UnixListener::bind(&socket).unwrap());
    is_found_and_fixed_but_for_its_guard(&fx);
    assert!(!socket.exists());

    let mut command = fx.process(&["events", "--serve"]);
    let mut hub = Running::start(command.stdout(Stdio::piped()));
    let mut path = String::new();
    let mut stdout = BufReader::new(hub.child().stdout.take().unwrap());
    stdout.read_line(&mut path).unwrap();
    let (findings, summary) = doctor(&fx, &["--fix"]);
    assert_eq!(summary["ok"], true, "{findings:#?}");
    let hub_found = findings.iter().find(|found| found["check"] == "hub");
    let message = hub_found.unwrap()["message"].as_str().unwrap();
    assert!(message.ends_with("is alive"), "{message}");
    assert!(socket.exists());
    hub.freeze();
    let (findings, _) = doctor(&fx, &["--fix"]);
    assert_eq!(states(&findings, "hub"), ["problem"]);
    assert!(socket.exists());
}

/// The repair makes the guard of the socket, so the trees differ by that.
fn is_found_and_fixed_but_for_its_guard(fx: &Fixture) {
    let (findings, _) = doctor(fx, &[]);
    assert_eq!(states(&findings, "hub"), ["problem"], "{findings:#?}");
    let (findings, _) = doctor(fx, &["--fix"]);
    assert_eq!(states(&findings, "hub"), ["fixed"], "{findings:#?}");
    let (findings, summary) = doctor(fx, &[]);
    assert_eq!(states(&findings, "hub"), ["ok"], "{findings:#?}");
    assert_eq!(summary["ok"], true);
}

#[test]
fn closed_pipe_and_full_stdout() {
    let fx = Fixture::new();
    fx.append("a", "x");
    for json in [&[] as &[&str], &["--json"]] {
        let doctor = || {
            let mut doctor = fx.process(&["doctor"]);
            doctor.args(json);
            doctor
        };
        assert_quiet_pipe(&with_broken_pipe(&mut doctor()));
        assert_full_stdout(&with_full_stdout(&mut doctor()));
    }
}
