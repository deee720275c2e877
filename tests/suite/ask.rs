//! `mbox ask`.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use mbox::{Answer, Append, Delivery, Match, Message, Replied, Root};
use nix::sys::signal::Signal;
use predicates::prelude::*;
use serde_json::Value;

use crate::common::{
    Fixture, Running, assert_full_stdout, assert_help, assert_usage, tree, until, with_full_stdout,
};

#[test]
fn help() {
    let options = [
        "TO",
        "--from",
        "--timeout",
        "--format",
        "--json",
        "--sync",
        "--wait",
    ];
    assert_help("ask", &options);
}

#[test]
fn usage() {
    let lines: [&[&str]; 5] = [
        &["ask", "bob", "?"],
        &["ask", "--from", "alice"],
        &["ask", "./bob", "?", "--from", "alice"],
        &["ask", "bob", "?", "--from", "alice", "--timeout", "x"],
        &[
            "ask", "bob", "?", "--from", "alice", "--json", "--format", "body",
        ],
    ];
    assert_usage(&Fixture::new(), &lines);
    let fx = Fixture::new();
    let mut ask = fx.mbox(&["ask", "me", "?", "--from", "me"]);
    ask.assert().code(65).stdout("");
    assert!(!fx.root().exists());
}

/// Somebody who answers every message with its own body and an exclamation mark.
struct Echo(Child);

impl Echo {
    fn start(fx: &Fixture, name: &str) -> Echo {
        let script = format!(
            "id=$(cat | sed 's/.*\"id\":\"\\([0-9a-f]*\\)\".*/\\1/'); \
             body=$($MBOX show $id --from {name} --format body 2>/dev/null); \
             $MBOX reply $id \"$body!\" --from {name} >/dev/null"
        );
        let mut watch = fx.process(&["watch", name, "--drain", "--exec", "sh", "-c", &script]);
        let child = watch
            .env("MBOX", crate::common::MBOX)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Echo(child)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn answered() {
    let fx = Fixture::new();
    let _echo = Echo::start(&fx, "bob");
    fx.append("alice", "unrelated");
    // From the same peer, and no answer to this.
    fx.mbox(&["send", "alice", "other", "--from", "bob"])
        .assert()
        .success();
    let before = fs::read(&fx.files("alice").records).unwrap();
    let mut ask = fx.mbox(&["ask", "bob", "now", "--from", "alice", "--format", "body"]);
    ask.assert().success().stdout("now!\n").stderr("");
    let mut ask = fx.mbox(&["ask", "bob", "then", "--from", "alice", "--json"]);
    let out = ask.assert().success().get_output().stdout.clone();
    let told: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(told["correlation"], "correlated");
    assert_eq!(told["to"], "bob");
    assert_eq!(told["reply"]["body"], "then!");
    assert_eq!(told["reply"]["reply_to"], told["request_id"]);
    assert_eq!(told["reply"]["source_message_id"], told["id"]);
    // All other mail is where it was, byte for byte, and no request is left.
    assert_eq!(fs::read(&fx.files("alice").records).unwrap(), before);
    assert!(!fx.root().join("pending/alice").exists());
}

/// Two asks to one peer at once get their own answers.
#[test]
fn two_at_once() {
    let fx = Fixture::new();
    let _echo = Echo::start(&fx, "bob");
    std::thread::scope(|scope| {
        for n in 0..4 {
            let fx = &fx;
            scope.spawn(move || {
                let body = format!("q{n}");
                let mut ask =
                    fx.mbox(&["ask", "bob", &body, "--from", "alice", "--format", "body"]);
                ask.assert().success().stdout(format!("{body}!\n"));
            });
        }
    });
    assert!(fx.drain("alice").is_empty());
}

/// Only the one who was asked answers.
#[test]
fn answers_of_others() {
    let fx = Fixture::new();
    let root = Root::at(fx.root());
    let alice = Delivery::of(&root, Some("alice")).unwrap();
    let mut ask = alice
        .ask("bob", Message::new("?"), &Append::default())
        .unwrap();
    let eve = Delivery::of(&root, Some("eve")).unwrap();
    let forged = Message::new("me!").reply_to(ask.id());
    let sent = eve.send("alice", forged, &Append::default()).unwrap();
    assert!(sent.no_entry.is_none());
    let answer = ask.answer(Duration::from_millis(50)).unwrap();
    assert!(matches!(answer, Answer::TimedOut));
    let bob = Delivery::of(&root, Some("bob")).unwrap();
    let id = ask.sent().id.clone();
    let reply = bob.reply(&id, Message::new("yes"), &Append::default());
    assert!(matches!(reply.unwrap(), Replied::Sent { .. }));
    let answer = ask.answer(Duration::from_secs(9)).unwrap();
    let Answer::Taken(mut answer) = answer else {
        panic!("it is there");
    };
    let bodies = answer
        .messages()
        .map(|m| m.unwrap().body().unwrap().to_owned());
    assert_eq!(bodies.collect::<Vec<_>>(), ["yes"]);
    answer.ack().unwrap();
    assert_eq!(fx.drain("alice"), ["me!"]);
    // A request of bob's mailbox is still there for bob.
    let there = root.mailbox("bob").unwrap().take(&Match {
        id: Some(id),
        ..Match::default()
    });
    assert!(there.unwrap().is_some());
}

#[test]
fn too_late() {
    let fx = Fixture::new();
    let mut ask = fx.mbox(&[
        "ask",
        "bob",
        "?",
        "--from",
        "alice",
        "--timeout",
        "0.1",
        "--json",
    ]);
    let said = predicate::str::contains("mbox take alice --reply-to");
    let out = ask
        .assert()
        .code(1)
        .stderr(said)
        .get_output()
        .stdout
        .clone();
    let told: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(told["correlation"], "timed_out");
    let pending = fx
        .root()
        .join("pending/alice")
        .join(told["request_id"].as_str().unwrap());
    assert!(pending.exists());
    // The answer is ordinary mail, told by what it answers; with it the request is over.
    let id = told["id"].as_str().unwrap();
    fx.mbox(&["reply", id, "sorry", "--from", "bob"])
        .assert()
        .success();
    let mut drain = fx.mbox(&["drain", "alice"]);
    let out = drain.assert().success().get_output().stdout.clone();
    let late: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(late["reply_to"], told["request_id"]);
    assert!(!pending.exists());
}

/// Another reader of the mailbox, such as a hook, may be faster: that is told, and soon.
#[test]
fn handed_to_another_reader() {
    let fx = Fixture::new();
    let mut ask = fx.process(&["ask", "bob", "?", "--from", "alice", "--json"]);
    ask.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ask = ask.spawn().unwrap();
    until("it was sent", || !fx.peek("bob").is_empty());
    let line = fs::read_to_string(&fx.files("bob").records).unwrap();
    let request: Value = serde_json::from_str(&line).unwrap();
    // What a reader leaves who was there between the two writes and the look.
    let id = "00c0ffee00c0ffee";
    let answer = format!(
        "{{\"id\":\"{id}\",\"from_session_id\":\"bob\",\"reply_to\":{}}}\n",
        request["request_id"]
    );
    let ledger = crate::send::ledger(&fx, "alice");
    ledger.make_dir();
    fs::write(&ledger.records, answer).unwrap();
    let receipt = format!("\n{{\"at\":1,\"by\":\"hook\",\"ids\":[\"{id}\"]}}\n");
    fs::write(ledger.dir().join("alice.jsonl.receipts"), receipt).unwrap();
    let out = ask.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(told["correlation"], "elsewhere");
    assert_eq!(told["reply_id"], id);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(
        stderr.contains("mbox show 00c0ffee00c0ffee --from alice"),
        "{stderr}"
    );
}

/// The mailbox of the asker may be busy between the two writes, for as long as it likes.
#[test]
fn an_answer_on_its_way() {
    let fx = Fixture::new();
    let mut ask = fx.process(&["ask", "bob", "?", "--from", "alice", "--format", "body"]);
    ask.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ask = ask.spawn().unwrap();
    until("it was sent", || !fx.peek("bob").is_empty());
    let line = fs::read_to_string(&fx.files("bob").records).unwrap();
    let request: Value = serde_json::from_str(&line).unwrap();
    fx.files("alice").hold("1.0123456789abcdef");
    let id = request["id"].as_str().unwrap();
    let mut reply = fx.process(&["reply", id, "yes", "--from", "bob", "--wait", "20"]);
    let reply = reply.stdout(Stdio::null()).spawn().unwrap();
    until("it is in the ledger", || {
        crate::send::ledger(&fx, "alice").records.exists()
    });
    std::thread::sleep(Duration::from_millis(1_300));
    fx.files("alice").let_go();
    assert!(reply.wait_with_output().unwrap().status.success());
    let out = ask.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "yes\n", "{out:?}");
}

/// While another reader has the answer in hand nothing is rewritten, and when it is given
/// back it is taken.
#[test]
fn an_answer_in_the_hands_of_another() {
    let fx = Fixture::new();
    let root = Root::at(fx.root());
    let alice = Delivery::of(&root, Some("alice")).unwrap();
    let mut ask = alice
        .ask("bob", Message::new("?"), &Append::default())
        .unwrap();
    fx.mbox(&[
        "append",
        "alice",
        "yes",
        "--from",
        "bob",
        "--reply-to",
        ask.id(),
    ])
    .assert()
    .success();
    let claim = root.mailbox("alice").unwrap().drain().unwrap().unwrap();
    fx.append("alice", "more");
    let inode = || fs::metadata(&fx.files("alice").records).unwrap().ino();
    let before = inode();
    let answer = ask.answer(Duration::from_millis(300)).unwrap();
    assert!(matches!(answer, Answer::TimedOut));
    let changes = u32::from(inode() != before);
    assert!(changes <= 1);
    claim.put_back();
    let answer = ask.answer(Duration::from_secs(9)).unwrap();
    let Answer::Taken(answer) = answer else {
        panic!("it was given back");
    };
    answer.ack().unwrap();
    assert_eq!(fx.drain("alice"), ["more"]);
    assert!(!fx.root().join("pending/alice").exists());
}

/// Where an answer could not be sent by its id, nothing is asked.
#[test]
fn a_ledger_that_cannot_be_written() {
    let fx = Fixture::new();
    crate::send::ledger(&fx, "bob").hold("1.0123456789abcdef");
    let mut ask = fx.mbox(&["ask", "bob", "?", "--from", "alice"]);
    ask.assert().code(75).stdout("");
    assert!(!fx.files("bob").records.exists());
    let pending = fx.root().join("pending/alice");
    assert!(!pending.exists() || pending.read_dir().unwrap().next().is_none());
}

/// PLACE-1: no file is made or removed behind a link.
#[test]
fn a_planted_link() {
    let fx = Fixture::new();
    let elsewhere = fx.dir().join("elsewhere");
    fs::create_dir_all(elsewhere.join("alice")).unwrap();
    fs::write(elsewhere.join("alice/00c0ffee00c0ffee"), "precious").unwrap();
    fs::create_dir_all(fx.root()).unwrap();
    symlink(&elsewhere, fx.root().join("pending")).unwrap();
    let before = tree(&elsewhere);
    fx.mbox(&["ask", "bob", "?", "--from", "alice"])
        .assert()
        .code(77);
    fx.mbox(&["append", "alice", "y", "--reply-to", "00c0ffee00c0ffee"])
        .assert()
        .success();
    assert_eq!(fx.drain("alice"), ["y"]);
    fx.mbox(&["register", "alice"]).assert().success();
    assert_eq!(tree(&elsewhere), before);
}

/// Killed or interrupted while it waits: the answer is drained later.
#[test]
fn killed_while_it_waits() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let fx = Fixture::new();
        let mut ask = fx.process(&["ask", "bob", "?", "--from", "alice"]);
        let mut running = Running::start(ask.stdout(Stdio::null()));
        until("it was sent", || {
            fx.files("bob").records.exists() && !fx.files("bob").lock.exists()
        });
        running.send(signal);
        assert!(!running.wait().success());
        let sent = fx.peek("bob");
        assert_eq!(sent, ["?"], "{signal}");
        let line = fs::read_to_string(&fx.files("bob").records).unwrap();
        let sent: Value = serde_json::from_str(&line).unwrap();
        let id = sent["id"].as_str().unwrap();
        fx.mbox(&["reply", id, "yes", "--from", "bob"])
            .assert()
            .success();
        assert_eq!(fx.drain("alice"), ["yes"], "{signal}");
    }
}

#[test]
fn stdout_full() {
    let fx = Fixture::new();
    let _echo = Echo::start(&fx, "bob");
    let mut ask = fx.process(&["ask", "bob", "?", "--from", "alice"]);
    assert_full_stdout(&with_full_stdout(&mut ask));
    assert_eq!(fx.drain("alice"), ["?!"]);
}

/// The watcher tells of the answer, no poll: far under the interval of one.
#[test]
fn an_answer_is_noticed_at_once() {
    let fx = Fixture::new();
    let root = Root::at(fx.root());
    let (alice, bob) = (
        Delivery::of(&root, Some("alice")).unwrap(),
        Delivery::of(&root, Some("bob")).unwrap(),
    );
    let mut ask = alice
        .ask("bob", Message::new("?"), &Append::default())
        .unwrap();
    let id = ask.sent().id.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            let reply = bob.reply(&id, Message::new("!"), &Append::default());
            assert!(matches!(reply.unwrap(), Replied::Sent { .. }));
        });
        let begun = Instant::now();
        let answer = ask.answer(Duration::from_secs(30)).unwrap();
        assert!(matches!(answer, Answer::Taken(_)) && begun.elapsed() < Duration::from_secs(10));
    });
}
