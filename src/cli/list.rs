//! `mbox list`: the mailboxes; with `--sessions` who is here.

use std::fmt::Write as _;

use serde::Serialize;

use super::Places;
use super::args::ListArgs;
use super::exit::{Exit, Status};
use super::out::print;
use crate::error::{Error, Result};
use crate::format::session::Session;
use crate::format::text::escape;
use crate::ledger::Ledger;
use crate::lock::State;
use crate::mailbox::{Mailbox, Peek};

pub(super) fn run(args: ListArgs, places: &Places) -> std::result::Result<Status, Exit> {
    if args.sessions {
        return sessions(args.json, places);
    }
    let mut status = Status::Yes;
    let mut rows = Vec::new();
    for mailbox in places.root()?.each_mailbox()? {
        match Row::of(&mailbox) {
            Ok(row) => rows.push(row),
            Err(error) => status = status.then(Exit::from(error).told()),
        }
    }
    print(&match args.json {
        true => as_json(&rows),
        false => as_table(&rows),
    })?;
    Ok(status)
}

fn sessions(as_lines: bool, places: &Places) -> std::result::Result<Status, Exit> {
    let sessions = places.root()?.sessions()?;
    let mut rows = Vec::new();
    for session in &sessions {
        rows.push(SessionRow {
            is_alive: session.is_alive(),
            session,
        });
    }
    print(&match as_lines {
        true => as_json(&rows),
        false => sessions_as_table(&rows),
    })?;
    Ok(Status::Yes)
}

/// What there is to know of one session. Fields are only ever added.
#[derive(Serialize)]
struct SessionRow<'a> {
    #[serde(flatten)]
    session: &'a Session,
    #[serde(rename = "alive")]
    is_alive: bool,
}

fn sessions_as_table(rows: &[SessionRow<'_>]) -> String {
    let names = rows.iter().map(|row| row.session.name.len());
    let width = names.max().unwrap_or(0).max(4);
    let mut text = String::new();
    if rows.is_empty() {
        return text;
    }
    let now = crate::sys::clock::unix_seconds();
    let _ = writeln!(
        text,
        "{:width$}  {:>7}  {:5}  {:>5}  {:12}  {:10}  DIRECTORY",
        "NAME", "PROCESS", "STATE", "SINCE", "TERMINAL", "AGENT"
    );
    for row in rows {
        let Session {
            name,
            pid,
            cwd,
            tty,
            agent,
            started_at,
            ..
        } = row.session;
        let state = if row.is_alive { "alive" } else { "dead" };
        let since = span(now.saturating_sub(*started_at));
        let or_dash = |text: &Option<String>| text.as_deref().map_or("-".into(), escape);
        let (tty, agent, cwd) = (or_dash(tty), or_dash(agent), escape(cwd));
        let _ = writeln!(
            text,
            "{name:width$}  {pid:>7}  {state:5}  {since:>5}  {tty:12}  {agent:10}  {cwd}"
        );
    }
    text
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
    /// When there is one.
    ledger: Option<LedgerRow>,
    lock: LockRow,
}

#[derive(Serialize)]
struct LedgerRow {
    entries: u64,
    /// How many were there and are no more.
    pruned: u64,
}

#[derive(Serialize)]
struct LockRow {
    state: &'static str,
    owner: Option<String>,
    age_seconds: Option<u64>,
}

impl Row {
    fn of(mailbox: &Mailbox) -> Result<Row> {
        let (mut messages, mut bytes, mut oldest) = (0, 0, None);
        let damaged = mailbox.peek_each(&Peek::default(), |record| {
            messages += 1;
            bytes += record.size();
            oldest = oldest.or(record.enqueued_at());
            Ok::<_, Error>(())
        })?;
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
            messages,
            bytes,
            oldest,
            claims: mailbox.list_claims()?.names.len(),
            damaged,
            set_aside: mailbox.count_set_aside()?,
            ledger: ledger_of(mailbox).unwrap_or_else(|error| {
                let _: Status = Exit::from(error).told(); // it costs its column
                None
            }),
            lock,
        })
    }
}

fn ledger_of(mailbox: &Mailbox) -> Result<Option<LedgerRow>> {
    let Some(ledger) = mailbox.its_ledger()?.map(Ledger::at) else {
        return Ok(None);
    };
    let (entries, pruned) = (ledger.count()?, ledger.count_pruned()?);
    let is_there = entries + pruned > 0;
    Ok(is_there.then_some(LedgerRow { entries, pruned }))
}

fn as_json(rows: &[impl Serialize]) -> String {
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
        "{:width$}  {:>8}  {:>10}  {:>7}  {:>6}  {:>7}  {:>18}  LOCK",
        "MAILBOX", "MESSAGES", "BYTES", "OLDEST", "CLAIMS", "DAMAGED", "LEDGER"
    );
    for row in rows {
        let oldest = row
            .oldest
            .map_or("-".into(), |at| span(now.saturating_sub(at)));
        let damaged = row.damaged + row.set_aside;
        let ledger = match &row.ledger {
            None => "-".to_owned(),
            Some(LedgerRow { entries, pruned: 0 }) => entries.to_string(),
            Some(LedgerRow { entries, pruned }) => format!("{entries} ({pruned} pruned)"),
        };
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
            "{name:width$}  {messages:>8}  {bytes:>10}  {oldest:>7}  {claims:>6}  {damaged:>7}  {ledger:>18}  {lock}"
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
