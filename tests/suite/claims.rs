//! Whose mail a claim is: adopted when its owner is gone, left alone when not.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use predicates::prelude::*;

use crate::common::{Files, Fixture, flock, tree};

const PLAIN: &str = "8.0123456789abcdef";
const GUARDED: &str = "8.0123456789abcdef.g";
const BIRTH: u64 = 1_000_000_000_000;

/// A mailbox with one claim, made by hand.
fn with_claim(stamp_offset: i64, token: &str) -> (Fixture, Files, std::path::PathBuf) {
    let fx = Fixture::new();
    let files = fx.files("a");
    let lines = "{\"id\":\"1\",\"body\":\"one\"}\n";
    let claim = files.put_claim(BIRTH, stamp_offset, token, lines);
    (fx, files, claim)
}

#[test]
fn an_old_claim_is_adopted() {
    for offset in [-31, 31] {
        let (fx, files, _) = with_claim(offset, PLAIN);
        assert_eq!(fx.drain("a"), ["one"]);
        assert!(!files.claims.exists());
    }
}

#[test]
fn a_young_claim_is_anothers() {
    for offset in [-25, 0, 25] {
        let (fx, files, claim) = with_claim(offset, PLAIN);
        fx.append("a", "two");
        assert_eq!(fx.drain("a"), ["two"]);
        fx.mbox(&["drain", "a"])
            .assert()
            .success()
            .stdout("")
            .stderr(predicate::str::contains("in the hands of another reader"));
        assert!(claim.exists());
        files.assert_unlocked();
    }
}

#[test]
fn the_age_is_that_of_the_name_and_not_of_the_file() {
    let (fx, _, claim) = with_claim(0, PLAIN);
    crate::common::set_age(&claim, -1000);
    assert_eq!(fx.drain("a"), [] as [&str; 0]);
    let (fx, _, claim) = with_claim(-31, PLAIN);
    crate::common::set_age(&claim, 0);
    assert_eq!(fx.drain("a"), ["one"]);
}

#[test]
fn one_that_was_given_up_is_adopted_at_once() {
    for token in [PLAIN, GUARDED] {
        let (fx, files, claim) = with_claim(0, token);
        let given_up = format!("{BIRTH:013}-0000000000000-0.{token}");
        fs::rename(claim, files.claims.join(given_up)).unwrap();
        assert_eq!(fx.drain("a"), ["one"]);
    }
}

#[test]
fn a_guarded_claim_is_orphaned_when_nobody_holds_its_flock() {
    let (fx, _, claim) = with_claim(0, GUARDED);
    let held = flock(&claim);
    assert_eq!(fx.drain("a"), [] as [&str; 0]);
    drop(held);
    assert_eq!(fx.drain("a"), ["one"]);
    // However old: its owner is alive.
    let (fx, _, claim) = with_claim(-1000, GUARDED);
    let held = flock(&claim);
    assert_eq!(fx.drain("a"), [] as [&str; 0]);
    drop(held);
}

#[test]
fn without_the_guard_a_guarded_claim_waits_for_300_seconds() {
    for (offset, bodies) in [
        (-290, &[] as &[&str]),
        (290, &[]),
        (-301, &["one"]),
        (310, &["one"]), // it takes a second to go on without the guard
    ] {
        let (fx, files, _) = with_claim(offset, GUARDED);
        let _frozen = flock(&files.guard); // so the drain goes on without it (ACQ-2)
        let mut drain = fx.mbox(&["drain", "a", "--wait", "0.1", "--format", "body"]);
        let lines: String = bodies.iter().map(|body| format!("{body}\n")).collect();
        drain.assert().success().stdout(lines);
    }
}

#[test]
fn order_is_that_of_birth() {
    let fx = Fixture::new();
    let files = fx.files("a");
    let line = |body: &str| format!("{{\"body\":\"{body}\"}}\n");
    files.put_claim(BIRTH + 2, -40, "1.0123456789abcdef", &line("three"));
    files.put_claim(BIRTH, -31, "9.0123456789abcdef", &line("one"));
    files.put_claim(BIRTH + 1, -50, "5.0123456789abcdef.g", &line("two"));
    fx.append("a", "four");
    assert_eq!(fx.drain("a"), ["one", "two", "three", "four"]);
}

#[test]
fn a_new_birth_is_greater_than_any_there() {
    let fx = Fixture::new();
    let files = fx.files("a");
    // Born in the future: the clock has gone back since.
    let birth = 9_000_000_000_000;
    let held = files.put_claim(birth, 0, GUARDED, "{\"body\":\"one\"}\n");
    let held = flock(&held);
    fx.append("a", "two");
    // Not handed over, so that it stays a claim.
    let out = crate::common::with_full_stdout(&mut fx.process(&["drain", "a"]));
    assert_eq!(out.status.code(), Some(74));
    let names = files.claim_names();
    assert!(
        names[1].starts_with("9000000000001-0000000000000-0."),
        "{names:?}"
    );
    drop(held);
    assert_eq!(fx.drain("a"), ["one", "two"]);
}

#[test]
fn the_birth_is_kept_by_adoption() {
    let (fx, files, _) = with_claim(-31, PLAIN);
    for _ in 0..2 {
        let out = crate::common::with_full_stdout(&mut fx.process(&["drain", "a"]));
        assert_eq!(out.status.code(), Some(74));
        let names = files.claim_names();
        assert!(
            names[0].starts_with("1000000000000-0000000000000-0."),
            "{names:?}"
        );
        assert!(names[0].ends_with(".g"), "{names:?}");
    }
    assert_eq!(fx.drain("a"), ["one"]);
}

/// The token in a name is whatever a file name may hold (TOKEN-3).
#[test]
fn a_token_that_is_not_utf8_is_a_token() {
    let (fx, files, claim) = with_claim(-31, PLAIN);
    let mut opaque = claim.clone().into_os_string();
    opaque.push(OsStr::from_bytes(b"\xff"));
    fs::rename(claim, opaque).unwrap();
    fx.append("a", "two");
    assert_eq!(fx.peek("a"), ["one", "two"]);
    assert_eq!(fx.drain("a"), ["one", "two"]);
    assert!(!files.claims.exists());
}

/// CLAIM-8
#[test]
fn what_is_no_claim_is_left_alone_and_reported() {
    for is_dir in [false, true] {
        let (fx, files, _) = with_claim(-31, PLAIN);
        let foreign = if is_dir {
            let name = "1000000000000-1000000000000-0.7.0123456789abcdef";
            fs::create_dir(files.claims.join(name)).unwrap();
            name
        } else {
            fs::write(files.claims.join("notes.txt"), "{\"body\":\"mine\"}\n").unwrap();
            "notes.txt"
        };
        fx.mbox(&["drain", "a", "--format", "body"])
            .assert()
            .success()
            .stdout("one\n")
            .stderr(predicate::str::contains(foreign));
        assert_eq!(files.claim_names(), [foreign]);
        let before = tree(fx.dir());
        fx.mbox(&["drain", "a"])
            .assert()
            .success()
            .stdout("")
            .stderr(predicate::str::contains(foreign));
        assert_eq!(tree(fx.dir()), before);
    }
}

#[test]
fn a_last_line_without_newline_in_a_claim() {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.put_claim(BIRTH, -31, PLAIN, "{\"body\":\"one\"}\n{\"body\":\"two\"}");
    files.put_claim(BIRTH + 1, -31, PLAIN, "{\"body\":\"three\"}\n{\"torn");
    fx.append("a", "four");
    // A bounded drain moves all of it through a temporary: the same lines come out.
    fx.mbox(&["drain", "a", "--max", "1", "--format", "body"])
        .assert()
        .success()
        .stdout("one\n");
    assert_eq!(fx.drain("a"), ["two", "three", "four"]);
    assert_eq!(fs::read_to_string(&files.damaged).unwrap(), "{\"torn\n");
}
