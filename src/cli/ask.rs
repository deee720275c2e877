//! `mbox ask`.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::args::AskArgs;
use super::exit::{Exit, Status, say};
use super::out::{self, Out, deliver, refuse_closed_stdout, say_foreign};
use super::send::{begin, tell};
use super::{Places, body};
use crate::delivery::{Answer, Ask};
use crate::format::message::Message;
use crate::sys::signals::Deferred;

pub(super) fn run(args: AskArgs, places: &Places) -> Result<Status, Exit> {
    refuse_closed_stdout()?;
    let (party, how) = begin(&args.sending, places)?;
    let message = Message::new(body::read(args.body, how.max_body)?);
    let mut ask = party.ask(&args.to, message, &how)?;
    tell(ask.sent(), &args.sending);
    // Until the delivery watches for them: a claim is given up before a signal ends us.
    let answer = ask.answer_holding(args.timeout, &mut Deferred::begin);
    let (answer, signals) = answer.inspect_err(|_| {
        let request = ask.id();
        say(&format!("the request {request} was sent all the same"));
    })?;
    match answer {
        Answer::Taken(claim) => {
            let mut out = match args.json {
                false => Out::new(args.format),
                true => Out::wrapping(|record| correlated(&ask, &args.to, record)),
            };
            deliver(ask.mailbox(), *claim, &mut out, &signals)?;
            say_foreign(ask.mailbox())?;
            Ok(Status::Yes)
        }
        Answer::Elsewhere(id) => elsewhere(&ask, &args.to, args.json, &id),
        Answer::TimedOut => timed_out(&ask, &args.to, args.json, args.timeout),
    }
}

fn timed_out(ask: &Ask, to: &str, as_json: bool, after: Duration) -> Result<Status, Exit> {
    if as_json {
        let told = Told::of(ask, to, "timed_out", None);
        out::answer(&told.to_line(), "the request stands all the same")?;
    }
    let (me, request) = (ask.mailbox().title(), ask.id());
    say(&format!(
        "no answer from {to} in {} s; a later one is ordinary mail: \
         mbox take {me} --reply-to {request}",
        after.as_secs_f64()
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
    let me = ask.mailbox().title();
    say(&format!(
        "the answer {id} was handed to another reader of your mailbox; see \
         mbox show {id} --from {me}"
    ));
    Ok(Status::No)
}

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
