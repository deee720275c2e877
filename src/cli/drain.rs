//! `mbox drain`.

use super::Places;
use super::args::DrainArgs;
use super::exit::{Exit, Status, say};
use super::out::{Out, deliver, refuse_closed_stdout, say_foreign};
use crate::mailbox::{Bounded, Limit, Mailbox};
use crate::sys::signals::Deferred;

pub(super) fn run(args: DrainArgs, places: &Places) -> Result<Status, Exit> {
    let limit = Limit {
        messages: args.max,
        bytes: args.max_bytes,
    };
    refuse_closed_stdout()?;
    let mut out = Out::new(args.format);
    let mut status = Status::Yes;
    for mailbox in places.mailboxes_or_mine(&args.mailboxes)? {
        let mailbox = mailbox.waiting(args.wait.time);
        let drained = drain(&mailbox, &limit, &mut out).unwrap_or_else(Exit::told);
        status = status.then(drained);
    }
    Ok(status)
}

fn drain(mailbox: &Mailbox, limit: &Limit, out: &mut Out) -> Result<Status, Exit> {
    // Until the delivery watches for them: a claim is given up before a signal ends us.
    let signals = Deferred::begin();
    let drained = match limit {
        Limit {
            messages: None,
            bytes: None,
        } => mailbox
            .drain_holding(&signals)?
            .map_or(Bounded::Nothing, |claim| Bounded::Mail(Box::new(claim))),
        limit => mailbox.drain_some_holding(limit, &signals)?,
    };
    match drained {
        Bounded::Mail(claim) => {
            deliver(mailbox, *claim, out, &signals)?;
            say_foreign(mailbox)?;
        }
        Bounded::TooLarge { bytes } => {
            say(&format!(
                "{}: the first message needs {bytes} bytes; nothing was handed over, raise --max-bytes",
                mailbox.title()
            ));
            return Ok(Status::No);
        }
        Bounded::Nothing if mailbox.has_mail()? => {
            say_foreign(mailbox)?;
            if !mailbox.list_claims()?.names.is_empty() {
                say(&format!(
                    "{}: mail is in the hands of another reader, and comes back if that one dies",
                    mailbox.title()
                ));
            }
        }
        Bounded::Nothing => {}
    }
    Ok(Status::Yes)
}
