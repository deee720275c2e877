//! What an answer and a ledger cost: see README.md.
//!
//! `cargo bench --bench delivery`, or with a number behind `--` for other than 200 asks.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use mbox::{Answer, Append, Delivery, Mailbox, Message, Replied, Root, Watch, Watcher};

use support::arguments::Arguments;
use support::fresh::Fresh;
use support::process::{mbox, run, succeed};
use support::table::{Bound, Table, ms, times, us};
use support::turns::Series;

/// How many sends the ledgers are compared by.
const SENDS: usize = 3_000;

/// Entries of the two ledgers.
const FEW: usize = 10;
const MANY: usize = 1_000;

/// After how many sends the short ledger is made anew, so that it stays one.
const RENEWED: usize = 20;

fn main() {
    let arguments = Arguments::parse();
    let fresh = Fresh::filesystem(&arguments);
    fresh.announce("delivery");
    asks(&fresh, arguments.number_or(200) as usize);
    ledgers(&fresh);
}

fn asks(fresh: &Fresh, asks: usize) {
    let root = Root::at(fresh.directory("asks"));
    let alice = Delivery::of(&root, Some("alice")).expect("a name");
    let watcher = answer_everything(&root);
    let [mut library, mut process, mut floor] = [const { Series(Vec::new()) }; 3];
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

        let mut ask = mbox();
        ask.args(["ask", "bob", &body, "--from", "alice", "--format", "body"]);
        let (took, out) = run(ask.env("MBOX_ROOT", root.dir()));
        process.push(took);
        assert_eq!(out.stdout, format!("{body}\n").as_bytes(), "{out:?}");

        floor.push(succeed(&mut Command::new("true")));
    }
    watcher.stop();
    let mut table = Table::new(
        &format!("an ask, to a peer that watches and answers at once, {asks} of each"),
        &["what", "p50 ms", "p90 ms", "p99 ms", "bound of p50"],
    );
    for (what, took, bound) in [
        ("`Delivery::ask` to the answer", library, Some(20.0)),
        ("`mbox ask`, the whole process", process, Some(20.0)),
        ("`true`", floor, None),
    ] {
        let p50 = took.median();
        let bound = bound.map_or(String::new(), |most| Bound::AtMost(most).judge(p50 * 1e3));
        table.row([
            what,
            &ms(p50),
            &ms(took.at(0.9)),
            &ms(took.at(0.99)),
            &bound,
        ]);
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
fn ledgers(fresh: &Fresh) {
    let root = Root::at(fresh.directory("ledgers"));
    let alice = Delivery::of(&root, Some("alice")).expect("a name");
    fill(&root, "many", MANY);
    let ([mut few, mut many], mut pruned) = ([const { Series(Vec::new()) }; 2], 0);
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
    let mut table = Table::new(
        &format!("a send in one process, {SENDS} of each, by turns; {pruned} entries were pruned"),
        &[
            "ledger",
            "p50 µs",
            "mean µs, pruning included",
            "p99 µs",
            "bound of the mean",
        ],
    );
    for (what, took) in [("10 to 30 entries", &few), ("1,000 entries, full", &many)] {
        table.row([
            what,
            &us(took.median()),
            &us(took.mean()),
            &us(took.at(0.99)),
            "",
        ]);
    }
    let (p50, mean) = (many.median() / few.median(), many.mean() / few.mean());
    let bound = Bound::AtMost(1.3).judge(mean);
    table.row(["ratio", &times(p50), &times(mean), "", &bound]);
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
