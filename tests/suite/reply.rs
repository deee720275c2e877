//! `mbox reply`.

use std::fs;

use predicates::prelude::*;

use crate::common::{Fixture, assert_help, assert_usage, tree};
use crate::send::ledger;

fn answer(fx: &Fixture, args: &[&str]) -> String {
    let out = fx.process(args).output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// The member of the only message of a mailbox, which is drained.
fn drained(fx: &Fixture, name: &str) -> serde_json::Value {
    let line = answer(fx, &["drain", name]);
    serde_json::from_str(&line).unwrap()
}

#[test]
fn help() {
    let options = ["ID", "--from", "--request-id", "--id", "--sync", "--json"];
    assert_help("reply", &options);
}

#[test]
fn usage() {
    assert_usage(
        &Fixture::new(),
        &[
            &["reply"],
            &["reply", "00c0ffee00c0ffee", "hi"], // whose ledger?
            &["reply", "../x", "hi", "--from", "a"],
            &["reply", "00C0FFEE00C0FFEE", "hi", "--from", "a"],
            &["reply", "00c0ffee00c0ffee", "hi", "--from", "../a"],
        ],
    );
}

/// A asks, B replies, A replies to the reply, B to that; each was drained before.
#[test]
fn a_chain() {
    let fx = Fixture::new();
    let first = answer(
        &fx,
        &["send", "b", "1", "--from", "a", "--request-id", "r1"],
    );
    assert_eq!(drained(&fx, "b")["id"], first);
    let second = answer(
        &fx,
        &["reply", &first, "2", "--from", "b", "--request-id", "r2"],
    );
    let message = drained(&fx, "a");
    assert_eq!(message["reply_to"], "r1");
    assert_eq!(message["source_message_id"], first);
    assert_eq!(message["from_session_id"], "b");
    let third = answer(&fx, &["reply", &second, "3", "--from", "a"]);
    let message = drained(&fx, "b");
    assert_eq!(message["reply_to"], "r2");
    answer(&fx, &["reply", &third, "4", "--from", "b"]);
    let message = drained(&fx, "a");
    // To one that is no request: nothing to correlate it with.
    assert_eq!(message.get("reply_to"), None);
    assert_eq!(message["source_message_id"], third);
}

/// An id opens nothing in the hands of another.
#[test]
fn the_own_ledger_alone() {
    let fx = Fixture::new();
    let id = answer(&fx, &["send", "b", "hi", "--from", "a"]);
    let before = tree(&fx.root());
    for who in ["a", "eve"] {
        let mut reply = fx.mbox(&["reply", &id, "x", "--from", who]);
        let said = predicate::str::contains("is not in your ledger");
        reply.assert().code(1).stdout("").stderr(said);
    }
    let mut reply = fx.mbox(&["reply", "00c0ffee00c0ffee", "x", "--from", "b"]);
    reply.assert().code(1).stdout("");
    assert_eq!(tree(&fx.root()), before);
}

/// What a message says of its sender never becomes a path.
#[test]
fn senders_that_are_none() {
    let fx = Fixture::new();
    fs::create_dir_all(fx.root().join("received")).unwrap();
    let long = "n".repeat(10_000);
    for sender in [
        "../x",
        "a/b",
        ".",
        "",
        "a\\u0000",
        "a\\n",
        "\\u001b[2J",
        long.as_str(),
    ] {
        let entry = format!(
            "{{\"id\":\"00c0ffee00c0ffee\",\"body\":\"\",\"from_session_id\":\"{sender}\"}}\n"
        );
        fs::write(ledger(&fx, "me").records, entry).unwrap();
        let before = tree(fx.dir());
        let mut reply = fx.mbox(&["reply", "00c0ffee00c0ffee", "x", "--from", "me"]);
        let said = predicate::str::contains("does not say who sent it");
        reply.assert().code(1).stdout("").stderr(said);
        assert_eq!(tree(fx.dir()), before, "{sender}");
    }
}

/// A request id that is no name counts as none.
#[test]
fn request_ids_that_are_none() {
    let fx = Fixture::new();
    fs::create_dir_all(fx.root().join("received")).unwrap();
    for request in ["\"../x\"", "\"a b\"", "7", "null"] {
        let entry = format!(
            "{{\"id\":\"00c0ffee00c0ffee\",\"from_session_id\":\"a\",\"request_id\":{request}}}\n"
        );
        fs::write(ledger(&fx, "me").records, entry).unwrap();
        answer(&fx, &["reply", "00c0ffee00c0ffee", "x", "--from", "me"]);
        assert_eq!(drained(&fx, "a").get("reply_to"), None, "{request}");
    }
}

/// To a message one sent to oneself: that would go on for ever.
#[test]
fn to_itself() {
    let fx = Fixture::new();
    let id = answer(&fx, &["send", "me", "hi", "--from", "me", "--to-self"]);
    let mut reply = fx.mbox(&["reply", &id, "again", "--from", "me"]);
    let said = predicate::str::contains("send --to-self");
    reply.assert().code(65).stdout("").stderr(said);
    assert_eq!(fx.drain("me"), ["hi"]);
}
