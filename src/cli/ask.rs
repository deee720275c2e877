//! `mbox ask`.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::args::AskArgs;
use super::exit::{Exit, Status, say};
use super::out::{self, Out, deliver, refuse_closed_stdout, say_foreign};
use super::send::{begin, tell};
use super::{Places, body};
use crate::delivery::Ask;
use crate::format::message::Message;
use crate::sys::clock::Deadline;
use crate::sys::signals::Deferred;

pub(super) fn run(args: AskArgs, places: &Places) -> Result<Status, Exit> {
    refuse_closed_stdout()?;
    let (party, how) = begin(&args.sending, places)?;
    let message = Message::new(body::read(args.body, how.max_body)?);
    let mut ask = party.ask(&args.to, message, &how)?;
    let end = Deadline::after(args.timeout);
    let mut missed = None;
    tell(ask.sent(), &args.sending);
    loop {
        // Until the delivery watches for them: a claim is given up before a signal ends us.
        let signals = Deferred::begin();
        if let Some(claim) = ask.try_answer(&signals)? {
            let mut out = match args.json {
                false => Out::new(args.format),
                true => Out::wrapping(|record| correlated(&ask, &args.to, record)),
            };
            deliver(ask.mailbox(), claim, &mut out, &signals)?;
            say_foreign(ask.mailbox())?;
            return Ok(Status::Yes);
        }
        drop(signals);
        if end.has_passed() {
            break;
        }
        // It is in the ledger before it is in the mailbox, and stays there.
        if let Some(id) = ask.answer_id()? {
            let until = missed.get_or_insert_with(|| Deadline::after(ON_ITS_WAY));
            if until.has_passed() {
                return elsewhere(&ask, &args.to, args.json, &id);
            }
            ask.wait(until)?;
        } else {
            ask.wait(&end)?;
        }
    }
    if args.json {
        let told = Told::of(&ask, &args.to, "timed_out", None);
        out::answer(&told.to_line(), "the request stands all the same")?;
    }
    let (to, request) = (&args.to, ask.id());
    say(&format!(
        "no answer from {to} in {} s; a later one is ordinary mail: mbox take --reply-to {request}",
        args.timeout.as_secs_f64()
    ));
    Ok(Status::No)
}

/// Another reader was handed the answer: this one cannot have it any more.
fn elsewhere(ask: &Ask, to: &str, as_json: bool, id: &str) -> Result<Status, Exit> {
    if as_json {
        let told = Told {
            reply_id: Some(id),
            ..Told::of(ask, to, "elsewhere", None)
        };
        out::answer(&told.to_line(), "the answer is in the ledger all the same")?;
    }
    say(&format!(
        "the answer {id} was handed to another reader of your mailbox; see mbox show {id}"
    ));
    Ok(Status::No)
}

/// How long an answer may be in the ledger and not yet in the mailbox.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// What `--json` prints. Fields are only ever added.
#[derive(Serialize)]
struct Told<'a> {
    correlation: &'static str,
    id: &'a str,
    request_id: &'a str,
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_id: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn of(
        ask: &'a Ask,
        to: &'a str,
        correlation: &'static str,
        reply: Option<&'a RawValue>,
    ) -> Told<'a> {
        Told {
            correlation,
            id: &ask.sent().id,
            request_id: ask.id(),
            to,
            reply,
            reply_id: None,
        }
    }

    fn to_line(&self) -> String {
        serde_json::to_string(self).expect("strings and records always serialize")
    }
}

fn correlated(ask: &Ask, to: &str, record: &str) -> String {
    let reply: &RawValue = serde_json::from_str(record).expect("a record is JSON");
    Told::of(ask, to, "correlated", Some(reply)).to_line()
}
