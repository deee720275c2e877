//! `mbox show`.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::value::RawValue;

use super::Places;
use super::args::{Format, ShowArgs};
use super::exit::{Exit, Status, say};
use super::out::render;
use crate::delivery::MessageState as State;
use crate::format::record::Record;
use crate::format::text::{escape, utc};

pub(super) fn run(args: ShowArgs, places: &Places) -> Result<Status, Exit> {
    let id = &args.id;
    let Some((record, state)) = places.party(args.from.as_deref())?.show(id)? else {
        say(&format!(
            "message {id} is not in your ledger: it was not sent to you, or was pruned"
        ));
        return Ok(Status::No);
    };
    let mut text = Vec::new();
    if args.json {
        text.extend_from_slice(as_json(&record, &state).as_bytes());
        text.push(b'\n');
    } else {
        let format = Format::or_default(args.format);
        render(&record, format, &mut text);
        match format {
            Format::Text => {
                let _ = writeln!(text, "{}", in_words(&state)); // memory
            }
            Format::Jsonl | Format::Body => say(&format!("{id}: {}", in_words(&state))),
        }
    }
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(&text).and_then(|()| stdout.flush());
    written.map_err(|e| Exit::stdout(&e, "see where it goes"))?;
    Ok(Status::Yes)
}

fn in_words(state: &State) -> String {
    match state {
        State::Pending => "pending: it is in the mailbox".into(),
        State::InHand => "in hand: a reader has it, and has not removed it yet".into(),
        State::HandedOver { at, by } => format!("handed over {} by {}", utc(*at), escape(by)),
        State::Gone => "gone: it is in the mailbox no more, and nobody said who took it".into(),
    }
}

/// What `--json` prints. Fields are only ever added.
fn as_json(record: &Record, state: &State) -> String {
    #[derive(Serialize)]
    struct Told<'a> {
        state: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<&'a str>,
        message: &'a RawValue,
    }
    let (state, at, by) = match state {
        State::Pending => ("pending", None, None),
        State::InHand => ("in_hand", None, None),
        State::HandedOver { at, by } => ("handed_over", Some(*at), Some(by.as_str())),
        State::Gone => ("gone", None, None),
    };
    let message = serde_json::from_slice(record.bytes()).expect("a record is JSON");
    let told = Told {
        state,
        at,
        by,
        message,
    };
    serde_json::to_string(&told).expect("strings and records always serialize")
}
