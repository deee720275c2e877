//! `mbox append`.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use super::args::AppendArgs;
use super::exit::{Exit, Status};
use super::{Places, out, var};
use crate::format::MAX_BODY;
use crate::format::message::Message;
use crate::mailbox::Append;

pub(super) fn run(args: AppendArgs, places: &Places) -> Result<Status, Exit> {
    let how = Append {
        sync: args.sync,
        max_body: max_body()?,
    };
    let mailbox = places.mailbox(&args.mailbox)?.waiting(args.wait.time);
    if args.raw {
        let mut records = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut records)
            .map_err(|e| Exit::stdin(&e))?;
        for id in mailbox.append_many(&records, &how)? {
            out::answer(&id, "all records were appended all the same")?;
        }
        return Ok(Status::Yes);
    }
    let body = match args.body {
        Some(body) => body.into_vec(),
        None => read_body(how.max_body)?,
    };
    let body = String::from_utf8(body)
        .map_err(|_| Exit::data("the body is not valid UTF-8; nothing was written"))?;
    let mut message = Message::new(body);
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

/// `MBOX_MAX_BODY`, when it is a number (MSG-3).
fn max_body() -> Result<usize, Exit> {
    match var("MBOX_MAX_BODY").map(OsString::into_string) {
        None => Ok(MAX_BODY),
        Some(Ok(text)) => text
            .parse()
            .map_err(|_| Exit::usage(format!("MBOX_MAX_BODY is not a number: {text}"))),
        Some(Err(_)) => Err(Exit::usage("MBOX_MAX_BODY is not a number")),
    }
}

/// stdin, less one trailing newline; no more than it takes to see that it is too much.
fn read_body(max: usize) -> Result<Vec<u8>, Exit> {
    let mut body = Vec::new();
    let enough = (max as u64).saturating_add(2);
    std::io::stdin()
        .lock()
        .take(enough)
        .read_to_end(&mut body)
        .map_err(|e| Exit::stdin(&e))?;
    if body.last() == Some(&b'\n') {
        body.pop();
    }
    Ok(body)
}
