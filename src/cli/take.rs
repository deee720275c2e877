//! `mbox take`.

use super::Places;
use super::args::TakeArgs;
use super::exit::{Exit, Status};
use super::out::{Out, deliver, refuse_closed_stdout, say_foreign};
use crate::mailbox::Match;
use crate::sys::signals::Deferred;

pub(super) fn run(args: TakeArgs, places: &Places) -> Result<Status, Exit> {
    refuse_closed_stdout()?;
    let wanted = Match {
        id: args.id,
        reply_to: args.reply_to,
        from: args.from,
    };
    for mailbox in places.mailboxes_or_mine(args.mailbox.as_slice())? {
        let mailbox = mailbox.waiting(args.wait.time);
        // As for drain
        let signals = Deferred::begin();
        if let Some(claim) = mailbox.take_holding(&wanted, &signals)? {
            deliver(&mailbox, claim, &mut Out::new(args.format), &signals)?;
            say_foreign(&mailbox)?;
            return Ok(Status::Yes);
        }
    }
    Ok(Status::No)
}
