//! `mbox drain`.

use std::fs;

use predicates::prelude::*;

use crate::common::{
    Fixture, assert_busy, assert_full_stdout, assert_help, assert_quiet_pipe, assert_usage, tree,
    with_broken_pipe, with_full_stdout,
};

#[test]
fn help() {
    let options = [
        "--max",
        "--max-bytes",
        "--format",
        "--wait",
        "--root",
        "MAILBOX",
    ];
    assert_help("drain", &options);
}

#[test]
fn everything_in_order_then_nothing() {
    let fx = Fixture::new();
    fx.fill("a", &["one", "two", "three"]);
    let records = fs::read_to_string(fx.files("a").records).unwrap();
    fx.mbox(&["drain", "a"])
        .assert()
        .success()
        .stdout(records)
        .stderr("");
    fx.mbox(&["drain", "a"])
        .assert()
        .success()
        .stdout("")
        .stderr("");
    // Nothing is left but the guard.
    let left: Vec<_> = fs::read_dir(fx.files("a").dir()).unwrap().collect();
    assert_eq!(left.len(), 1);
    assert!(fx.files("a").guard.exists());
}

#[test]
fn several_mailboxes_in_turn() {
    let fx = Fixture::new();
    fx.fill("a", &["one"]);
    fx.fill("b", &["two"]);
    fx.mbox(&["drain", "b", "nosuch", "a", "--format", "body"])
        .assert()
        .success()
        .stdout("two\none\n");
}

#[test]
fn an_empty_record_file_is_no_mail() {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.make_dir();
    fs::write(&files.records, "").unwrap();
    let before = tree(fx.dir());
    // The directories were made by this test, with modes of its own.
    fx.mbox(&["drain", "a"])
        .assert()
        .success()
        .stdout("")
        .stderr("");
    assert_eq!(tree(fx.dir()), before);
}

#[test]
fn an_empty_claims_directory_goes_away() {
    let fx = Fixture::new();
    fx.append("a", "x");
    fx.drain("a");
    let files = fx.files("a");
    fs::create_dir(&files.claims).unwrap();
    fx.mbox(&["drain", "a"])
        .assert()
        .success()
        .stdout("")
        .stderr("");
    assert!(!files.claims.exists());
    fs::create_dir(&files.claims).unwrap();
    fx.mbox(&["take", "a"]).assert().code(1).stdout("");
}

#[test]
fn at_most_so_many() {
    let fx = Fixture::new();
    fx.fill("a", &["one", "two", "three"]);
    fx.fill("b", &["four", "five"]);
    let records = fs::read_to_string(fx.files("a").records).unwrap();
    let rest = records.split_inclusive('\n').skip(2).collect::<String>();
    fx.mbox(&["drain", "a", "b", "--max", "2", "--format", "body"])
        .assert()
        .success()
        .stdout("one\ntwo\nfour\nfive\n")
        .stderr("");
    assert_eq!(fs::read_to_string(fx.files("a").records).unwrap(), rest);
    fx.files("a").assert_unlocked();
    assert!(!fx.files("a").claims.exists());
    assert_eq!(fx.drain("a"), ["three"]);
    assert!(!fx.files("b").records.exists());
}

#[test]
fn at_most_so_many_bytes() {
    let fx = Fixture::new();
    let lines = ["{\"n\":1}", "{\"n\":22}", "{\"n\":333}"]; // 8, 9 and 10 with the newline
    let records = lines.map(|line| format!("{line}\n")).concat();
    for (max, count) in [(8, 1), (16, 1), (17, 2), (26, 2), (27, 3), (9999, 3)] {
        let mut append = fx.mbox(&["append", "a", "--raw"]);
        append.write_stdin(records.clone()).assert().success();
        let handed = lines[..count].iter().map(|line| format!("{line}\n"));
        fx.mbox(&["drain", "a", "--max-bytes", &max.to_string()])
            .assert()
            .success()
            .stdout(handed.collect::<String>());
        let out = fx.mbox(&["drain", "a"]).output().unwrap();
        let left = lines[count..].iter().map(|line| format!("{line}\n"));
        assert_eq!(
            String::from_utf8(out.stdout).unwrap(),
            left.collect::<String>()
        );
    }
}

#[test]
fn not_even_the_first_fits() {
    let fx = Fixture::new();
    let mut append = fx.mbox(&["append", "a", "--raw"]);
    append.write_stdin("{\"n\":1}\n{}\n").assert().success();
    let before = tree(fx.dir());
    fx.mbox(&["drain", "a", "--max-bytes", "7"])
        .assert()
        .code(1)
        .stdout("")
        .stderr(predicate::str::contains("needs 8 bytes"));
    assert_eq!(tree(fx.dir()), before);
}

#[test]
fn both_bounds_at_once() {
    let fx = Fixture::new();
    let mut append = fx.mbox(&["append", "a", "--raw"]);
    append
        .write_stdin("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n")
        .assert()
        .success();
    let bounded = |max: &str, bytes: &str, out: &'static str| {
        fx.mbox(&["drain", "a", "--max", max, "--max-bytes", bytes])
            .assert()
            .success()
            .stdout(out);
    };
    bounded("1", "999", "{\"n\":1}\n");
    bounded("9", "9", "{\"n\":2}\n");
    bounded("9", "999", "{\"n\":3}\n");
}

#[test]
fn formats() {
    let fx = Fixture::new();
    let record = "{\"id\":\"i\",\"body\":\"a\\u001b[31m\\nb\\u0000\\ud800\",\"enqueued_at\":0}\n";
    let with = |format: Option<&str>| {
        let mut append = fx.mbox(&["append", "a", "--raw"]);
        append.write_stdin(record).assert().success();
        let mut drain = fx.mbox(&["drain", "a"]);
        drain.args(format.iter().flat_map(|format| ["--format", format]));
        String::from_utf8(drain.output().unwrap().stdout).unwrap()
    };
    assert_eq!(with(None), record); // stdout is no terminal
    assert_eq!(with(Some("jsonl")), record);
    assert_eq!(with(Some("body")), "a\u{1b}[31m\nb\u{fffd}\u{fffd}\n");
    let text = with(Some("text"));
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(text.contains("i  1970-01-01"), "{text}");
}

#[test]
fn a_record_without_a_body_is_printed_whole() {
    let fx = Fixture::new();
    let mut append = fx.mbox(&["append", "a", "--raw"]);
    append.write_stdin("{\"body\":7}\n{}\n").assert().success();
    let mut drain = fx.mbox(&["drain", "a", "--format", "body"]);
    drain.assert().success().stdout("{\"body\":7}\n{}\n");
}

#[test]
fn damaged_lines_are_set_aside() {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.make_dir();
    let text = b"{\"n\":1}\nx\xff\n\n[]\n{\"n\":2}\n{\"torn" as &[u8];
    fs::write(&files.records, text).unwrap();
    fx.mbox(&["drain", "a"])
        .assert()
        .success()
        .stdout("{\"n\":1}\n{\"n\":2}\n")
        .stderr(predicate::str::contains(
            "3 damaged lines were set aside in ",
        ))
        .stderr(predicate::str::contains("a.jsonl.damaged"));
    assert_eq!(fs::read(&files.damaged).unwrap(), b"x\xff\n[]\n{\"torn\n");
    // More of them go behind.
    fs::write(&files.records, "y\n").unwrap();
    fx.mbox(&["drain", "a"])
        .assert()
        .success()
        .stdout("")
        .stderr(predicate::str::contains("1 damaged line was set aside in "));
    assert_eq!(
        fs::read(&files.damaged).unwrap(),
        b"x\xff\n[]\n{\"torn\ny\n"
    );
}

#[test]
fn a_bounded_drain_sets_damaged_lines_aside_too() {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.make_dir();
    fs::write(&files.records, "x\n{\"n\":1}\ny\n{\"n\":2}\n").unwrap();
    fx.mbox(&["drain", "a", "--max", "1"])
        .assert()
        .success()
        .stdout("{\"n\":1}\n")
        .stderr(predicate::str::contains(
            "2 damaged lines were set aside in ",
        ));
    assert_eq!(fs::read_to_string(&files.damaged).unwrap(), "x\ny\n");
    assert_eq!(fs::read_to_string(&files.records).unwrap(), "{\"n\":2}\n");
}

#[test]
fn a_whole_record_without_its_newline_is_a_record() {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.make_dir();
    fs::write(&files.records, "{\"n\":1}\n{\"n\":2}").unwrap();
    let mut drain = fx.mbox(&["drain", "a"]);
    drain
        .assert()
        .success()
        .stdout("{\"n\":1}\n{\"n\":2}\n")
        .stderr("");
}

#[test]
fn a_repeated_id_is_handed_over_once() {
    let fx = Fixture::new();
    let mut append = fx.mbox(&["append", "a", "--raw"]);
    let line = |id: &str, n: u8| format!("{{\"id\":\"{id}\",\"n\":{n}}}\n");
    let (one, two) = ("00c0ffee00c0ffee", "00c0ffee00c0fff0");
    let twice = [line(one, 1), line(two, 2), line(one, 3)].concat();
    // What is no message id says nothing of repeats (DRAIN-7).
    let other = [line("x", 4), line("x", 5), "{}\n{}\n".to_owned()].concat();
    append.write_stdin(twice + &other).assert().success();
    let mut drain = fx.mbox(&["drain", "a"]);
    let once = [line(one, 1), line(two, 2), other].concat();
    drain.assert().success().stdout(once);
}

#[test]
fn bad_usage() {
    let fx = Fixture::new();
    fx.append("a", "x");
    assert_usage(
        &fx,
        &[
            &["drain", "a", "--max", "0"],
            &["drain", "a", "--max", "-1"],
            &["drain", "a", "--max", "x"],
            &["drain", "a", "--max", ""],
            &["drain", "a", "--max-bytes", "0"],
            &["drain", "a", "--max-bytes", "1.5"],
            &["drain", "a", "--format", "json"],
            &["drain", "a", "--wait", "soon"],
            &["drain", "a", "--id", "x"],
        ],
    );
}

#[test]
fn busy() {
    let fx = Fixture::new();
    fx.append("a", "x");
    assert_busy(&fx, "a", &["drain", "a"]);
}

#[test]
fn busy_bounded() {
    let fx = Fixture::new();
    fx.append("a", "x");
    assert_busy(&fx, "a", &["drain", "a", "--max", "1"]);
}

#[test]
fn closed_pipe() {
    for bound in [&[] as &[&str], &["--max", "2"]] {
        let fx = Fixture::new();
        fx.fill("a", &["one", "two", "three"]);
        let mut drain = fx.process(&["drain", "a"]);
        assert_quiet_pipe(&with_broken_pipe(drain.args(bound)));
        fx.files("a").assert_unlocked();
        // Given up, so that nobody has to wait for it (CLAIM-7).
        for name in fx.files("a").claim_names() {
            assert!(name.contains("-0000000000000-"), "{name}");
        }
        assert_eq!(fx.drain("a"), ["one", "two", "three"], "{bound:?}");
    }
}

#[test]
fn full_stdout() {
    for bound in [&[] as &[&str], &["--max", "2"]] {
        let fx = Fixture::new();
        fx.fill("a", &["one", "two", "three"]);
        let mut drain = fx.process(&["drain", "a"]);
        assert_full_stdout(&with_full_stdout(drain.args(bound)));
        fx.files("a").assert_unlocked();
        assert_eq!(fx.drain("a"), ["one", "two", "three"], "{bound:?}");
    }
}

#[test]
fn a_reader_that_stops_in_the_middle_loses_nothing() {
    let fx = Fixture::new();
    let bodies: Vec<String> = (0..40)
        .map(|n| format!("{n}{}", "x".repeat(9_000)))
        .collect();
    let lines: String = bodies
        .iter()
        .map(|b| format!("{{\"body\":\"{b}\"}}\n"))
        .collect();
    let mut append = fx.mbox(&["append", "a", "--raw"]);
    append.write_stdin(lines).assert().success();
    let mut drain = fx.process(&["drain", "a"]);
    let (mut drain, reader) = crate::common::start_writing(&mut drain);
    drop(reader);
    assert!(!drain.wait().success());
    fx.files("a").assert_unlocked();
    assert_eq!(fx.drain("a"), bodies);
}
