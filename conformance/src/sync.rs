//! What has to be on the disk is asked to be there: by `append --sync` and `send --sync`
//! before they acknowledge, by `take` before it unlinks what it has copied.

use std::ffi::OsString;
use std::path::Path;

use crate::arena::{Arena, Ledger};
use crate::driver::{Call, Driver};

const CALLS: &str = "fsync,fdatasync,syncfs,sync,?unlink,unlinkat";

type Scenario = fn(&Arena, &Driver) -> Result<(), String>;

pub const SCENARIOS: [(&str, &[&str], Scenario); 2] = [
    ("sync/append", &["APP-6"], append),
    ("sync/take", &["TAKE-8"], take),
];

/// For those who send.
pub const OF_SENDERS: (&str, &[&str], Scenario) =
    ("sync/send", &["SENDV-3", "APP-6", "LEDGER-2"], send);

/// B's data and, B being new, the entry of B in its directory.
fn append(x: &Arena, d: &Driver) -> Result<(), String> {
    let trace = Trace::of(x, d, x.call("append", &["--sync", "hello"]))?;
    for path in [&x.b, directory(x)?] {
        if !trace.calls.iter().any(|call| syncs(call, path, path)) {
            return Err(format!(
                "{} was not synced before it was acknowledged",
                path.display()
            ));
        }
    }
    Ok(())
}

/// The file put back and the chosen claim, and the directories they are in.
fn take(x: &Arena, d: &Driver) -> Result<(), String> {
    let mut ledger = Ledger::default();
    ledger.fill(x, 3)?;
    let trace = Trace::of(x, d, x.call("take", &[]))?;
    let (claims, temporary) = (x.path(".claims"), x.path(".tmp."));
    let in_claims = format!("{}/", claims.display());
    let is_unlink = |call: &&String| call.contains("unlink") && call.contains(&in_claims);
    let before: Vec<&String> = trace.calls.iter().take_while(|c| !is_unlink(c)).collect();
    if before.len() == trace.calls.len() {
        return Err("no claim was unlinked by its path".to_string());
    }
    let inside = claims.join("");
    for (what, one, other) in [
        ("what is put back", &*x.b, &*temporary),
        ("the chosen claim", &*inside, &*temporary),
        ("the directory of B", directory(x)?, directory(x)?),
        ("B.claims", &*claims, &*claims),
    ] {
        if !before.iter().any(|call| syncs(call, one, other)) {
            return Err(format!("{what} was not synced before a claim was unlinked"));
        }
    }
    Ok(())
}

/// The entry, and before anything of the message; then the message, and the way to both.
fn send(x: &Arena, d: &Driver) -> Result<(), String> {
    let args = ["send", "bob", "--sync", "hello"].map(OsString::from);
    let call = Call {
        args: args.to_vec(),
        ..Call::default()
    };
    let trace = Trace::of(x, d, call)?;
    let above = directory(x)?;
    let root = above.join("root");
    let (received, mailboxes) = (root.join("received"), root.join("mailboxes"));
    let entry = received.join("bob.jsonl");
    let message = mailboxes.join("bob.jsonl");
    for path in [&message, &mailboxes, &entry, &received, &root, above] {
        if !trace.calls.iter().any(|call| syncs(call, path, path)) {
            let path = path.display();
            return Err(format!("{path} was not synced before it was acknowledged"));
        }
    }
    let first = trace.calls.iter().position(|c| syncs(c, &entry, &entry));
    let last = trace
        .calls
        .iter()
        .rposition(|c| syncs(c, &message, &message));
    match first < last {
        true => Ok(()),
        false => Err("the entry was not synced before the message was".to_string()),
    }
}

fn directory(x: &Arena) -> Result<&Path, String> {
    x.b.parent().ok_or("no parent".to_string())
}

/// Whether a call writes out the file `one` or one that begins like `other`.
fn syncs(call: &str, one: &Path, other: &Path) -> bool {
    // sync(2) and syncfs(2) write out everything.
    if call.starts_with("sync(") || call.starts_with("syncfs(") {
        return true;
    }
    let file = call
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once(">)"));
    let begins = |path: &Path, file: &str| {
        let path = path.to_string_lossy();
        let is_open_end = path.ends_with('/') || path.ends_with('.');
        file == path || is_open_end && file.starts_with(&*path)
    };
    call.contains("sync(") && file.is_some_and(|(file, _)| begins(one, file) || begins(other, file))
}

/// The calls of a run that succeeded, in order.
struct Trace {
    calls: Vec<String>,
}

impl Trace {
    fn of(x: &Arena, d: &Driver, mut call: Call) -> Result<Trace, String> {
        let log = x.temp.path().join("trace");
        call.prefix = ["strace", "-f", "-y", "-e"].map(OsString::from).to_vec();
        call.prefix.push(format!("trace={CALLS}").into());
        call.prefix.extend(["-o".into(), log.clone().into()]);
        let out = d.run(x.temp.path(), call)?;
        if out.exit() != "0" {
            return Err(format!("exit {}", out.exit()));
        }
        let log = std::fs::read_to_string(&log).map_err(|e| e.to_string())?;
        let calls = log.lines().filter_map(|line| {
            let (call, status) = line.split_once(' ')?.1.rsplit_once('=')?;
            (status.trim() == "0").then(|| call.trim().to_string())
        });
        Ok(Trace {
            calls: calls.collect(),
        })
    }
}
