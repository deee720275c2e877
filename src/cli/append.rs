//! `mbox append`.

use std::io::Read;

use super::args::AppendArgs;
use super::exit::{Exit, Status};
use super::{Places, body, out};
use crate::format::message::Message;
use crate::mailbox::Append;

pub(super) fn run(args: AppendArgs, places: &Places) -> Result<Status, Exit> {
    let how = Append {
        sync: args.sync,
        max_body: body::max()?,
    };
    let mailbox = places.mailbox(&args.mailbox)?.waiting(args.wait.time);
    if args.raw {
        let mut records = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut records)
            .map_err(|e| Exit::stdin(&e))?;
        if !records.ends_with(b"\n") {
            records.push(b'\n'); // a blank line more, or no need of a copy
        }
        let mut ids = String::new();
        mailbox.append_all(&records, &how, |id| ids.extend([id, "\n"]))?;
        out::answers(&ids, "all records were appended all the same")?;
        return Ok(Status::Yes);
    }
    let mut message = Message::new(body::read(args.body, how.max_body)?);
    for (value, set) in [
        (args.id, Message::id as fn(Message, String) -> Message),
        (args.from, Message::from),
        (args.reply_to, Message::reply_to),
        (args.request_id, Message::request_id),
        (args.source, Message::source),
    ] {
        if let Some(value) = value {
            message = set(message, value);
        }
    }
    let id = mailbox.append(&message, &how)?;
    out::answer(&id, &format!("message {id} was appended all the same"))?;
    Ok(Status::Yes)
}
