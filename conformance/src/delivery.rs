//! Scenarios of two senders, A and B, that share mailboxes and their ledgers. Run on
//! every ordered pair, a driver with itself included.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::arena::Arena;
use crate::content::show;
use crate::driver::{Call, Driver};

type Scenario = fn(&Arena, &Driver, &Driver) -> Result<(), String>;

pub const SCENARIOS: [(&str, &[&str], Scenario); 3] = [
    (
        "pair/chain",
        &["SENDV-1", "REPLYV-1", "LEDGER-1", "LEDGER-4", "LEDGER-5"],
        chain,
    ),
    ("pair/prune", &["LEDGER-6", "LEDGER-7"], prune),
    (
        "pair/senders",
        &["LEDGER-1", "LEDGER-2", "LEDGER-3"],
        senders,
    ),
];

/// A is alice, B is bob: each answers what the other sent, by the ledger the other wrote.
fn chain(x: &Arena, a: &Driver, b: &Driver) -> Result<(), String> {
    let ask = ["send", "bob", "one", "--from=alice", "--request-id=q-1"];
    let one = ok(x, a, &ask)?;
    let got = ok(x, b, &["drain", "bob"])?;
    says(&got, &[("id", &one), ("request_id", "q-1")])?;

    let two = ok(x, b, &["reply", &one, "two", "--from=bob"])?;
    let got = ok(x, a, &["drain", "alice"])?;
    let answer = [("reply_to", "q-1"), ("from_session_id", "bob")];
    says(&got, &answer)?;
    says(&got, &[("id", &two), ("source_message_id", &one)])?;

    let three = ok(x, a, &["reply", &two, "three", "--from=alice"])?;
    let got = ok(x, b, &["take", "bob"])?;
    says(&got, &[("id", &three), ("source_message_id", &two)])?;
    if got.contains("reply_to") {
        return Err(format!("a reply to what was no request: {got}"));
    }

    // Sent again, by either, none of them gets a second entry.
    ok(x, b, &[&ask[..], &["--id", &one]].concat())?;
    ok(x, a, &["send", "alice", "two", "--from=bob", "--id", &two])?;
    for (name, ids) in [("bob", vec![&one, &three]), ("alice", vec![&two])] {
        let have: Vec<String> = lines(x, "received", name)?.into_keys().collect();
        let want: BTreeSet<&String> = ids.into_iter().collect();
        if have.iter().collect::<BTreeSet<_>>() != want {
            return Err(format!("the ledger of {name}: {have:?}, not {want:?}"));
        }
    }
    tidy(x)
}

/// A and B send in turn, to a ledger of at most four: what is gone was noted.
fn prune(x: &Arena, a: &Driver, b: &Driver) -> Result<(), String> {
    let mut ids = Vec::new();
    for n in 0..10 {
        let mut call = call(&["send", "bob", &format!("message {n}")]);
        call.env.push(("MBOX_LEDGER_MAX".into(), Some("4".into())));
        ids.push(answer(x, [a, b][n % 2], call)?);
    }
    let ledger = lines(x, "received", "bob")?;
    if let Some(id) = ids[6..].iter().find(|id| !ledger.contains_key(*id)) {
        return Err(format!("{id}, of the newest four, is not in the ledger"));
    }
    if lines(x, "mailboxes", "bob")?.len() != 10 {
        return Err("the mailbox does not have all ten".to_string());
    }
    let notes = fs::read_to_string(path(x, "received", "bob.jsonl.pruned")).unwrap_or_default();
    let mut pruned = 0;
    for note in notes.lines().filter(|line| !line.is_empty()) {
        let note: Value = serde_json::from_str(note).map_err(|e| format!("{note}: {e}"))?;
        pruned += note["pruned"].as_u64().ok_or("a note without a number")?;
    }
    let gone = 10 - ledger.len() as u64;
    if pruned != gone {
        return Err(format!("{gone} entries are gone, {pruned} were noted"));
    }
    tidy(x)
}

/// Three of A's and three of B's send at once: each message has its entry, or its sender
/// says that it has none.
fn senders(x: &Arena, a: &Driver, b: &Driver) -> Result<(), String> {
    let mut running = Vec::new();
    for n in 0..6 {
        let id = format!("{:016x}", 0xd000 + n);
        let call = call(&["send", "bob", "hi", "--wait=20", "--id", &id]);
        running.push((id, [a, b][n % 2].start(x.temp.path(), call)?));
    }
    let mut silent = Vec::new();
    for (id, running) in running {
        let out = running.finish()?;
        if out.exit() != "0" || out.stdout != format!("{id}\n").as_bytes() {
            let (out, err) = (show(&out.stdout), show(&out.stderr));
            return Err(format!("send {id} says \"{out}\" [stderr: {err}]"));
        }
        if out.stderr.is_empty() {
            silent.push(id);
        }
    }
    let (ledger, mail) = (lines(x, "received", "bob")?, lines(x, "mailboxes", "bob")?);
    if let Some(id) = silent.iter().find(|id| !ledger.contains_key(*id)) {
        return Err(format!("{id} has no entry, and its sender says nothing"));
    }
    if mail.len() != 6 {
        return Err(format!("{} messages in the mailbox, not 6", mail.len()));
    }
    if let Some((id, _)) = ledger.iter().find(|(id, line)| mail.get(*id) != Some(line)) {
        return Err(format!("the entry of {id} is not the line of its message"));
    }
    tidy(x)
}

fn call(args: &[&str]) -> Call {
    Call {
        args: args.iter().map(OsString::from).collect(),
        ..Call::default()
    }
}

fn answer(x: &Arena, d: &Driver, call: Call) -> Result<String, String> {
    let what = format!("{}: {:?}", d.name, call.args);
    let out = d.run(x.temp.path(), call)?;
    if out.exit() != "0" || !out.stderr.is_empty() {
        let err = show(&out.stderr);
        return Err(format!("{what}: exit {} [stderr: {err}]", out.exit()));
    }
    let text = String::from_utf8(out.stdout).map_err(|_| format!("{what}: not UTF-8"))?;
    Ok(text.trim_end().to_string())
}

fn ok(x: &Arena, d: &Driver, args: &[&str]) -> Result<String, String> {
    answer(x, d, call(args))
}

/// One record, with these members.
fn says(record: &str, members: &[(&str, &str)]) -> Result<(), String> {
    let value: Value = serde_json::from_str(record).map_err(|e| format!("{record}: {e}"))?;
    match members.iter().find(|(key, want)| value[*key] != **want) {
        Some((key, want)) => Err(format!("{key} is not {want}: {record}")),
        None => Ok(()),
    }
}

fn path(x: &Arena, place: &str, file: &str) -> PathBuf {
    x.path("").with_file_name("root").join(place).join(file)
}

/// The lines of a mailbox or a ledger by id, none of them there twice.
fn lines(x: &Arena, place: &str, name: &str) -> Result<BTreeMap<String, String>, String> {
    let path = path(x, place, &format!("{name}.jsonl"));
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other.map_err(|e| format!("{}: {e}", path.display()))?,
    };
    let mut lines = BTreeMap::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
        let id = record["id"].as_str().unwrap_or_default().to_string();
        if lines.insert(id, line.to_string()).is_some() {
            return Err(format!("{}: there twice: {line}", path.display()));
        }
    }
    Ok(lines)
}

/// No lock, claim or temporary is left in either directory.
fn tidy(x: &Arena) -> Result<(), String> {
    for place in ["mailboxes", "received"] {
        let dir = path(x, place, "");
        for e in fs::read_dir(&dir).map_err(|e| e.to_string())?.flatten() {
            let name = e.file_name().to_string_lossy().into_owned();
            let fine = [".jsonl", ".lock.guard", ".pruned", ".receipts"];
            if !fine.iter().any(|end| name.ends_with(end)) {
                return Err(format!("{place}/{name}: left behind"));
            }
        }
    }
    Ok(())
}
