//! `mbox send`, and what it shares with `reply` and `ask`.

use serde::Serialize;

use super::args::{Envelope, SendArgs, Sending};
use super::exit::{Exit, Status, say};
use super::{Places, body, out, var};
use crate::delivery::{Delivery, Sent};
use crate::format::LEDGER_MAX;
use crate::format::message::Message;
use crate::mailbox::Append;

pub(super) fn run(args: SendArgs, places: &Places) -> Result<Status, Exit> {
    let (mut party, how) = begin(&args.sending, places)?;
    if args.to_self {
        party = party.to_self();
    }
    let message = Message::new(body::read(args.body, how.max_body)?);
    let sent = party.send(&args.to, carrying(message, args.envelope), &how)?;
    tell(&sent, &args.sending);
    answer(&sent, &args.to, args.json)?;
    Ok(Status::Yes)
}

/// Who sends, and how.
pub(super) fn begin(sending: &Sending, places: &Places) -> Result<(Delivery, Append), Exit> {
    let how = Append {
        sync: sending.sync,
        max_body: body::max()?,
    };
    let party = places.party(sending.from.as_deref())?;
    let party = party.waiting(sending.wait.time).ledger_max(ledger_max()?);
    Ok((party, how))
}

pub(super) fn carrying(mut message: Message, envelope: Envelope) -> Message {
    if let Some(id) = envelope.id {
        message = message.id(id);
    }
    if let Some(request_id) = envelope.request_id {
        message = message.request_id(request_id);
    }
    message
}

/// Says what there is to know beside the id.
pub(super) fn tell(sent: &Sent, sending: &Sending) {
    if let Some(error) = &sent.no_entry {
        let (id, next) = (&sent.id, error.next_step());
        say(&format!(
            "message {id} was delivered and cannot be answered by its id: {error}; {next}"
        ));
    }
    if let Some(error) = &sent.not_pruned {
        let next = error.next_step();
        say(&format!("the ledger was not pruned: {error}; {next}"));
    }
    if sending.verbose && sent.pruned > 0 {
        let entries = match sent.pruned {
            1 => "entry was",
            _ => "entries were",
        };
        say(&format!(
            "{} old {entries} pruned from the ledger",
            sent.pruned
        ));
    }
}

/// Prints the id.
pub(super) fn answer(sent: &Sent, to: &str, as_json: bool) -> Result<(), Exit> {
    #[derive(Serialize)]
    struct Told<'a> {
        id: &'a str,
        to: &'a str,
        /// Whether it can be answered by its id.
        entered: bool,
        pruned: u64,
    }
    let id = &sent.id;
    let line = match as_json {
        false => id.clone(),
        true => serde_json::to_string(&Told {
            id,
            to,
            entered: sent.no_entry.is_none(),
            pruned: sent.pruned,
        })
        .expect("strings and integers always serialize"),
    };
    out::answer(&line, &format!("message {id} was delivered all the same"))
}

/// `MBOX_LEDGER_MAX`, when it is a number (LEDGER-6).
fn ledger_max() -> Result<u64, Exit> {
    let Some(max_text) = var("MBOX_LEDGER_MAX") else {
        return Ok(LEDGER_MAX);
    };
    let text = max_text.to_str().unwrap_or_default();
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_decimal = is_decimal && !text.is_empty();
    let max = is_decimal.then(|| text.parse().unwrap_or(u64::MAX));
    max.filter(|&max| max > 0).ok_or_else(|| {
        let text = max_text.display();
        Exit::usage(format!(
            "MBOX_LEDGER_MAX is not a number of at least 1: {text}"
        ))
    })
}
