//! The ledger: what it keeps, what it prunes, and that an id that was handed over leads
//! somewhere.

use std::collections::HashSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use mbox::{Append, Delivery, Message, Replied, Root};

use crate::common::{Fixture, is_full};
use crate::send::ledger;

fn entries(fx: &Fixture) -> Vec<String> {
    let text = fs::read_to_string(ledger(fx, "bob").records).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// LEDGER-6, LEDGER-7: the newest stay, what goes is counted, and a rewrite is rare.
#[test]
fn pruning_keeps_the_newest() {
    let fx = Fixture::new();
    let root = Root::at(fx.root());
    let alice = Delivery::of(&root, Some("alice")).unwrap().ledger_max(40);
    let (mut sent, mut pruned, mut rewrites, mut most) = (Vec::new(), 0, 0, 0);
    for n in 0..200 {
        let message = Message::new(format!("body {n}"));
        let one = alice.send("bob", message, &Append::default()).unwrap();
        assert!(one.no_entry.is_none() && one.not_pruned.is_none());
        rewrites += u32::from(one.pruned > 0);
        pruned += one.pruned;
        sent.push(one.id);
        let entries = entries(&fx);
        let newest = &sent[sent.len() - sent.len().min(40)..];
        let kept = entries.iter().rev().zip(newest.iter().rev());
        assert!(kept.clone().count() == newest.len());
        assert!(kept.into_iter().all(|(entry, id)| entry.contains(id)));
        most = most.max(entries.len());
    }
    assert_eq!(pruned as usize + entries(&fx).len(), 200);
    assert!(most <= 60, "{most} entries at once");
    assert!((8..=30).contains(&rewrites), "{rewrites} times");
    let out = fx.process(&["list", "--json"]).output().unwrap();
    let list = String::from_utf8(out.stdout).unwrap();
    let told = format!(
        "\"ledger\":{{\"entries\":{},\"pruned\":{pruned}}}",
        entries(&fx).len()
    );
    assert!(list.contains(&told), "{list}");
    // One that was pruned cannot be answered, and nothing is guessed.
    let bob = Delivery::of(&root, Some("bob")).unwrap();
    let reply = |id: &str| bob.reply(id, Message::new(""), &Append::default()).unwrap();
    assert!(matches!(reply(&sent[0]), Replied::Unknown));
    assert!(matches!(reply(&sent[199]), Replied::Sent { .. }));
}

#[test]
fn pruning_is_told() {
    let fx = Fixture::new();
    let mut told = Vec::new();
    for n in 0..12 {
        let mut send = fx.process(&["send", "bob", &format!("{n}"), "--verbose"]);
        let out = send.env("MBOX_LEDGER_MAX", "4").output().unwrap();
        assert!(out.status.success());
        told.push(String::from_utf8(out.stderr).unwrap());
    }
    let told = told.concat();
    assert!(told.contains("pruned from the ledger"), "{told:?}");
    assert!(entries(&fx).len() >= 4);
}

/// Every id that is handed over can be answered at that moment, whoever sends, drains and
/// prunes meanwhile.
#[test]
fn every_id_handed_over_resolves() {
    let (senders, each) = if is_full() { (4, 250) } else { (4, 50) };
    let fx = Fixture::new();
    let root = Root::at(fx.root());
    let sent = Mutex::new(HashSet::new());
    let (is_over, mut handed) = (AtomicBool::new(false), HashSet::new());
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..senders)
            .map(|n| {
                let (root, sent) = (&root, &sent);
                scope.spawn(move || {
                    let me = Delivery::of(root, Some(&format!("s{n}"))).unwrap();
                    for n in 0..each {
                        let message = Message::new(format!("{n}"));
                        let one = me.send("bob", message, &Append::default()).unwrap();
                        assert!(one.no_entry.is_none(), "{:?}", one.no_entry);
                        sent.lock().unwrap().insert(one.id);
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let (mailbox, mut handed) = (root.mailbox("bob").unwrap(), HashSet::new());
            let bob = Delivery::of(&root, Some("bob")).unwrap();
            loop {
                let is_last = is_over.load(Ordering::SeqCst);
                if let Some(mut claim) = mailbox.drain().unwrap() {
                    let ids = claim
                        .messages()
                        .map(|m| m.unwrap().id().unwrap().to_owned());
                    let ids: Vec<String> = ids.collect();
                    for id in &ids {
                        assert!(bob.show(id).unwrap().is_some(), "{id} leads nowhere");
                    }
                    assert!(claim.ack().unwrap().no_receipt.is_none());
                    let last = ids.last().expect("a claim has messages");
                    let state = bob.show(last).unwrap().unwrap().1;
                    assert!(
                        matches!(state, mbox::MessageState::HandedOver { .. }),
                        "{state:?}"
                    );
                    handed.extend(ids);
                } else if is_last {
                    return handed;
                }
            }
        });
        all.into_iter().for_each(|thread| thread.join().unwrap());
        is_over.store(true, Ordering::SeqCst);
        handed = reader.join().unwrap();
    });
    assert_eq!(handed, sent.into_inner().unwrap());
    assert_eq!(handed.len(), senders * each);
}

/// RECEIPT-2: they do not grow for ever.
#[test]
fn receipts_make_place() {
    let fx = Fixture::new();
    fx.mbox(&["send", "bob", "1", "--id", "00000000000000b1"])
        .assert()
        .success();
    let receipts = fx.root().join("received/bob.jsonl.receipts");
    fs::write(&receipts, "x".repeat(262_145)).unwrap();
    assert_eq!(fx.drain("bob"), ["1"]);
    assert!(fs::metadata(&receipts).unwrap().len() < 200);
    let old = fx.root().join("received/bob.jsonl.receipts.old");
    assert_eq!(fs::metadata(old).unwrap().len(), 262_145);
    let mut show = fx.mbox(&["show", "00000000000000b1", "--from", "bob", "--json"]);
    let said = predicates::str::contains("\"state\":\"handed_over\"");
    show.assert().success().stdout(said);
}

/// A receipt that cannot be written is told, and the mail is removed all the same.
#[test]
fn no_receipt() {
    let fx = Fixture::new();
    fx.mbox(&["send", "bob", "1"]).assert().success();
    fs::create_dir(fx.root().join("received/bob.jsonl.receipts")).unwrap();
    let said = predicates::str::contains("handed over all the same");
    let mut drain = fx.mbox(&["drain", "bob", "--format", "body"]);
    drain.assert().success().stdout("1\n").stderr(said);
    assert!(fx.drain("bob").is_empty());
}

/// LEDGER-4: the id of another message does not pass for one that is sent again.
#[test]
fn the_id_of_another_message() {
    let fx = Fixture::new();
    let id = "00c0ffee00c0ffee";
    fx.mbox(&["send", "bob", "one", "--from", "alice", "--id", id])
        .assert()
        .success();
    let said = predicates::str::contains("another message has the id");
    let mut send = fx.mbox(&["send", "bob", "two", "--from", "carol", "--id", id]);
    send.assert().success().stderr(said);
    assert_eq!(entries(&fx).len(), 1);
}
