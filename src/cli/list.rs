//! `mbox list`.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::Places;
use super::args::ListArgs;
use super::exit::{Exit, Status};
use crate::error::Result;
use crate::format::text::escape;
use crate::lock::State;
use crate::mailbox::{Mailbox, Peek};

pub(super) fn run(args: ListArgs, places: &Places) -> std::result::Result<Status, Exit> {
    let mut status = Status::Yes;
    let mut rows = Vec::new();
    for mailbox in places.root()?.mailboxes_by_name()? {
        match Row::of(&mailbox) {
            Ok(row) => rows.push(row),
            Err(error) => status = status.then(Exit::from(error).told()),
        }
    }
    let text = if args.json {
        as_json(&rows)
    } else {
        as_table(&rows)
    };
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|e| Exit::stdout(&e, "see where it goes"))?;
    Ok(status)
}

/// What there is to know of one mailbox. Fields are only ever added.
#[derive(Serialize)]
struct Row {
    name: String,
    path: String,
    messages: usize,
    /// Bytes of the messages' records, newlines included.
    bytes: u64,
    /// `enqueued_at` of the oldest message, unix seconds.
    oldest: Option<u64>,
    /// Claims outstanding.
    claims: usize,
    /// Damaged lines: still among the records, and set aside already.
    damaged: usize,
    set_aside: usize,
    lock: LockRow,
}

#[derive(Serialize)]
struct LockRow {
    state: &'static str,
    owner: Option<String>,
    age_seconds: Option<u64>,
}

impl Row {
    fn of(mailbox: &Mailbox) -> Result<Row> {
        let peeked = mailbox.peek(&Peek::default())?;
        let state = mailbox.lock_state()?;
        let name = if state.is_stale() { "stale" } else { "held" };
        let lock = match state {
            State::Free => LockRow {
                state: "free",
                owner: None,
                age_seconds: None,
            },
            State::Held { owner, age } => LockRow {
                state: name,
                owner: owner.map(|owner| owner.to_string()),
                age_seconds: Some(age.as_secs()),
            },
        };
        Ok(Row {
            name: mailbox.title().to_owned(),
            path: mailbox.path().display().to_string(),
            messages: peeked.records.len(),
            bytes: peeked.records.iter().map(|record| record.size()).sum(),
            oldest: peeked
                .records
                .iter()
                .find_map(|record| record.enqueued_at()),
            claims: mailbox.list_claims()?.names.len(),
            damaged: peeked.damaged,
            set_aside: mailbox.count_set_aside()?,
            lock,
        })
    }
}

fn as_json(rows: &[Row]) -> String {
    let lines = rows.iter().map(|row| {
        serde_json::to_string(row).expect("strings and integers always serialize") + "\n"
    });
    lines.collect()
}

fn as_table(rows: &[Row]) -> String {
    let now = crate::sys::clock::unix_seconds();
    let width = rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or(0)
        .max(7);
    let mut text = String::new();
    if rows.is_empty() {
        return text;
    }
    let _ = writeln!(
        text,
        "{:width$}  {:>8}  {:>10}  {:>7}  {:>6}  {:>7}  LOCK",
        "MAILBOX", "MESSAGES", "BYTES", "OLDEST", "CLAIMS", "DAMAGED"
    );
    for row in rows {
        let oldest = row
            .oldest
            .map_or("-".into(), |at| span(now.saturating_sub(at)));
        let damaged = row.damaged + row.set_aside;
        let lock = match &row.lock {
            LockRow { state: "free", .. } => "free".to_owned(),
            LockRow {
                state,
                owner,
                age_seconds,
            } => format!(
                "{state} by {} for {}",
                owner.as_deref().map_or("nobody".into(), escape),
                span(age_seconds.unwrap_or(0))
            ),
        };
        let Row {
            name,
            messages,
            bytes,
            claims,
            ..
        } = row;
        let _ = writeln!(
            text,
            "{name:width$}  {messages:>8}  {bytes:>10}  {oldest:>7}  {claims:>6}  {damaged:>7}  {lock}"
        );
    }
    text
}

/// Seconds as people say them: `12s`, `3m`, `5h`, `9d`.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
