//! `mbox reply`.

use super::args::ReplyArgs;
use super::exit::{Exit, Status, say};
use super::send::{answer, begin, carrying, tell};
use super::{Places, body};
use crate::delivery::Replied;
use crate::format::message::Message;

pub(super) fn run(args: ReplyArgs, places: &Places) -> Result<Status, Exit> {
    let (party, how) = begin(&args.sending, places)?;
    let message = Message::new(body::read(args.body, how.max_body)?);
    let id = &args.id;
    match party.reply(id, carrying(message, args.envelope), &how)? {
        Replied::Sent { sent, to } => {
            tell(&sent, &args.sending);
            answer(&sent, &to, args.json)?;
            return Ok(Status::Yes);
        }
        Replied::Unknown => say(&format!(
            "message {id} is not in your ledger: it was not sent to you, or was pruned; \
             nothing was sent, send to a name instead"
        )),
        Replied::NoSender => say(&format!(
            "message {id} does not say who sent it; nothing was sent, send to a name instead"
        )),
    }
    Ok(Status::No)
}
