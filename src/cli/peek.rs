//! `mbox peek`.

use super::Places;
use super::args::PeekArgs;
use super::exit::{Exit, Status, say};
use super::out::{Out, refuse_closed_stdout};
use crate::mailbox::{Mailbox, Peek};

pub(super) fn run(args: PeekArgs, places: &Places) -> Result<Status, Exit> {
    let how = Peek {
        since: args.since,
        max: args.max,
    };
    refuse_closed_stdout()?;
    let mut out = Out::new(args.format);
    let mut status = Status::Yes;
    for mailbox in places.mailboxes_or_mine(&args.mailboxes)? {
        let peeked = peek(&mailbox, &how, &mut out).map_or_else(Exit::told, |()| Status::Yes);
        status = status.then(peeked);
    }
    Ok(status)
}

fn peek(mailbox: &Mailbox, how: &Peek, out: &mut Out) -> Result<(), Exit> {
    let damaged = mailbox.peek_each(how, |record| out.record(record))?;
    out.flush()?;
    if damaged > 0 {
        let (n, title) = (damaged, mailbox.title());
        say(&format!(
            "{title}: {n} damaged line(s), which the next drain sets aside"
        ));
    }
    Ok(())
}
