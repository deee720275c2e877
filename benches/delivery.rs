//! What an answer and a ledger cost: see README.md.
//!
//! `cargo bench --bench delivery`, or with a number behind `--` for other than 200 asks.

use std::process::Command;
use std::time::{Duration, Instant};

use mbox::{Answer, Append, Delivery, Mailbox, Message, Replied, Root, Watch, Watcher};

/// How many sends the ledgers are compared by.
const SENDS: usize = 3_000;

/// Entries of the two ledgers.
const FEW: usize = 10;
const MANY: usize = 1_000;

/// After how many sends the short ledger is made anew, so that it stays one.
const RENEWED: usize = 20;

fn main() {
    let number = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    asks(number.unwrap_or(200));
    ledgers();
}

fn asks(asks: usize) {
    let dir = tempfile::tempdir().expect("a directory for the root");
    let root = Root::at(dir.path());
    let alice = Delivery::of(&root, Some("alice")).expect("a name");
    let watcher = answer_everything(&root);
    let (mut library, mut process, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..asks {
        let body = format!("question {n}");
        let begun = Instant::now();
        let message = Message::new(body.as_str());
        let mut ask = alice.ask("bob", message, &Append::default()).expect("sent");
        let answer = ask.answer(Duration::from_secs(9)).expect("it can be taken");
        library.push(begun.elapsed());
        let Answer::Taken(answer) = answer else {
            panic!("it does not come");
        };
        answer.ack().expect("it is removed");

        let begun = Instant::now();
        let mut ask = Command::new(env!("CARGO_BIN_EXE_mbox"));
        ask.args(["ask", "bob", &body, "--from", "alice", "--format", "body"]);
        let out = ask.env("MBOX_ROOT", dir.path()).output().expect("it runs");
        process.push(begun.elapsed());
        assert_eq!(out.stdout, format!("{body}\n").as_bytes(), "{out:?}");

        let begun = Instant::now();
        let out = Command::new("true").output().expect("it runs");
        assert!(out.status.success());
        floor.push(begun.elapsed());
    }
    watcher.stop();
    println!("an ask, to a peer that watches and answers at once, {asks} of each\n");
    println!("| what | p50 ms | p90 ms | p99 ms |");
    println!("|---|---|---|---|");
    for (what, mut took) in [
        ("`Delivery::ask` to the answer", library),
        ("`mbox ask`, the whole process", process),
        ("`true`", floor),
    ] {
        took.sort();
        let ms = |share: f64| at(&took, share).as_secs_f64() * 1_000.0;
        println!(
            "| {what} | {:.2} | {:.2} | {:.2} |",
            ms(0.5),
            ms(0.9),
            ms(0.99)
        );
    }
}

/// A peer in a thread of its own that replies to whatever comes with its own body.
fn answer_everything(root: &Root) -> Watcher {
    let bob = Delivery::of(root, Some("bob")).expect("a name");
    let mailbox = root.mailbox("bob").expect("a name");
    let at_once = Watch {
        debounce: Duration::ZERO,
        ..Watch::default()
    };
    let watcher = Watcher::new(at_once);
    let inbox = mailbox.clone();
    watcher.subscribe(&mailbox, None, move |_| {
        answer(&inbox, &bob);
        Ok(())
    });
    watcher.start().expect("it can be watched");
    watcher
}

fn answer(inbox: &Mailbox, bob: &Delivery) {
    let Some(mut claim) = inbox.drain().expect("it can be drained") else {
        return;
    };
    for message in claim.messages() {
        let message = message.expect("it can be read");
        let (id, body) = (
            message.id().expect("an id"),
            message.body().expect("a body"),
        );
        let reply = bob.reply(id, Message::new(body), &Append::default());
        assert!(matches!(reply.expect("sent"), Replied::Sent { .. }));
    }
    claim.ack().expect("it is removed");
}

/// One send to a name with a short ledger, one to a name with a full one, by turns.
fn ledgers() {
    let dir = tempfile::tempdir().expect("a directory for the root");
    let root = Root::at(dir.path());
    let alice = Delivery::of(&root, Some("alice")).expect("a name");
    fill(&root, "many", MANY);
    let (mut few, mut many, mut pruned) = (Vec::new(), Vec::new(), 0);
    for n in 0..SENDS {
        if n % RENEWED == 0 {
            for name in ["few", "many"] {
                if let Some(mail) = root.mailbox(name).expect("a name").drain().expect("mail") {
                    mail.ack().expect("it is removed");
                }
            }
            fill(&root, "few", FEW);
        }
        for (name, took) in [("few", &mut few), ("many", &mut many)] {
            let message = Message::new("a message of some length, as people write them");
            let begun = Instant::now();
            let sent = alice.send(name, message, &Append::default()).expect("sent");
            took.push(begun.elapsed());
            pruned += sent.pruned;
            assert!(sent.no_entry.is_none() && sent.not_pruned.is_none());
        }
    }
    let mean = |took: &[Duration]| took.iter().sum::<Duration>().as_secs_f64() / took.len() as f64;
    println!("\na send in one process, {SENDS} of each, by turns; {pruned} entries were pruned\n");
    println!("| ledger | p50 µs | mean µs, pruning included | p99 µs |");
    println!("|---|---|---|---|");
    let means = [mean(&few), mean(&many)];
    few.sort();
    many.sort();
    for ((what, took), mean) in [("10 to 30 entries", &few), ("1,000 entries, full", &many)]
        .into_iter()
        .zip(means)
    {
        let us = |share: f64| at(took, share).as_secs_f64() * 1e6;
        println!(
            "| {what} | {:.0} | {:.0} | {:.0} |",
            us(0.5),
            mean * 1e6,
            us(0.99)
        );
    }
    let ratio = at(&many, 0.5).as_secs_f64() / at(&few, 0.5).as_secs_f64();
    println!("| ratio | {ratio:.2} | {:.2} | |", means[1] / means[0]);
}

/// Makes the ledger of `name` have so many entries.
fn fill(root: &Root, name: &str, entries: usize) {
    let path = root.dir().join(format!("received/{name}.jsonl"));
    let lines: String = (0..entries)
        .map(|n| {
            format!(
                "{{\"schema_version\":1,\"id\":\"{n:016x}\",\"body\":\"{:80}\"}}\n",
                ""
            )
        })
        .collect();
    std::fs::create_dir_all(path.parent().expect("received")).expect("a directory");
    std::fs::write(path, lines).expect("a ledger");
}

fn at(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}
