//! `mbox list`.

use std::fs;

use predicates::prelude::*;
use serde_json::Value;

use crate::common::{
    Fixture, assert_full_stdout, assert_help, assert_quiet_pipe, assert_usage, set_age, tree,
    unix_millis, with_broken_pipe, with_full_stdout,
};

fn rows(fx: &Fixture) -> Vec<Value> {
    let out = fx.mbox(&["list", "--json"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn help() {
    assert_help("list", &["--json", "--root"]);
}

#[test]
fn empty() {
    let fx = Fixture::new();
    fx.mbox(&["list"]).assert().success().stdout("").stderr("");
    fx.mbox(&["list", "--json"])
        .assert()
        .success()
        .stdout("")
        .stderr("");
    assert!(tree(fx.dir()).is_empty());
}

#[test]
fn every_mailbox_by_name() {
    let fx = Fixture::new();
    fx.fill("beta", &["one", "two"]);
    fx.fill("alpha", &["three"]);
    let before = tree(fx.dir());
    let out = fx.mbox(&["list"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let first: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().take(2).collect())
        .collect();
    assert_eq!(
        first,
        [["MAILBOX", "MESSAGES"], ["alpha", "1"], ["beta", "2"]]
    );
    assert_eq!(tree(fx.dir()), before);
}

#[test]
fn json() {
    let fx = Fixture::new();
    fx.fill("a", &["one", "two"]);
    let files = fx.files("a");
    let bytes = fs::metadata(&files.records).unwrap().len();
    let row = &rows(&fx)[0];
    assert_eq!(row["name"], "a");
    assert_eq!(row["path"], files.records.to_str().unwrap());
    assert_eq!(row["messages"], 2);
    assert_eq!(row["bytes"], bytes);
    let oldest = row["oldest"].as_u64().unwrap();
    assert!((unix_millis() / 1000).abs_diff(oldest) < 60);
    assert_eq!(row["claims"], 0);
    assert_eq!(row["damaged"], 0);
    assert_eq!(row["set_aside"], 0);
    let free = serde_json::json!({"state": "free", "owner": null, "age_seconds": null});
    assert_eq!(row["lock"], free);
}

#[test]
fn json_of_a_mailbox_in_trouble() {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.hold("4242.0123456789abcdef");
    fs::write(&files.records, "x\n{\"torn").unwrap();
    fs::write(&files.damaged, "y\nz\n").unwrap();
    files.put_claim(1_000_000_000_000, 0, "8.0123456789abcdef", "{}\n{}\n");
    set_age(&files.lock, -12);
    let row = &rows(&fx)[0];
    assert_eq!(row["messages"], 2);
    assert_eq!(row["oldest"], Value::Null);
    assert_eq!(row["claims"], 1);
    assert_eq!(row["damaged"], 1);
    assert_eq!(row["set_aside"], 2);
    assert_eq!(row["lock"]["state"], "held");
    assert_eq!(row["lock"]["owner"], "4242.0123456789abcdef");
    let age = row["lock"]["age_seconds"].as_u64().unwrap();
    assert!((12..30).contains(&age), "{age}");
    set_age(&files.lock, -31);
    assert_eq!(rows(&fx)[0]["lock"]["state"], "stale");
}

#[test]
fn a_mailbox_is_there_when_any_of_its_files_is() {
    let fx = Fixture::new();
    fx.files("locked").hold("1.0123456789abcdef");
    let claim = "8.0123456789abcdef";
    fx.files("claimed")
        .put_claim(1_000_000_000_000, 0, claim, "{}\n");
    fs::write(fx.files("damaged").damaged, "x\n").unwrap();
    fs::write(fx.files("x").dir().join("not a mailbox.jsonl"), "{}\n").unwrap();
    fs::write(fx.files("x").dir().join("other.txt"), "{}\n").unwrap();
    let names: Vec<Value> = rows(&fx).iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names, ["claimed", "damaged", "locked"]);
}

#[test]
fn one_that_is_unsafe_does_not_hide_the_others() {
    let fx = Fixture::new();
    fx.append("z", "x");
    fs::create_dir(fx.files("bad").records).unwrap();
    fx.mbox(&["list"])
        .assert()
        .code(77)
        .stdout(predicate::str::contains("\nz "))
        .stderr(predicate::str::contains(
            "bad.jsonl: a directory is in the way",
        ));
}

#[test]
fn an_owner_cannot_speak_to_the_terminal() {
    let fx = Fixture::new();
    fx.files("a").hold("\u{1b}[31mroot\u{202e}");
    let out = fx.mbox(&["list"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
}

#[test]
fn bad_usage() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let lines: [&[&str]; 3] = [
        &["list", "a"],
        &["list", "--wait", "1"],
        &["list", "--json=1"],
    ];
    assert_usage(&fx, &lines);
}

#[test]
fn a_held_lock_is_no_hindrance() {
    let fx = Fixture::new();
    fx.append("a", "x");
    fx.files("a").hold("4242.0123456789abcdef");
    assert_eq!(rows(&fx)[0]["messages"], 1);
}

#[test]
fn closed_pipe_and_full_stdout() {
    let fx = Fixture::new();
    fx.append("a", "x");
    for json in [&[] as &[&str], &["--json"]] {
        let list = || {
            let mut list = fx.process(&["list"]);
            list.args(json);
            list
        };
        assert_quiet_pipe(&with_broken_pipe(&mut list()));
        assert_full_stdout(&with_full_stdout(&mut list()));
    }
}
