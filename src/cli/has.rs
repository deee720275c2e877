//! `mbox has`.

use super::Places;
use super::args::HasArgs;
use super::exit::{Exit, Status};

pub(super) fn run(args: HasArgs, places: &Places) -> Result<Status, Exit> {
    for mailbox in places.mailboxes_or_mine(args.mailbox.as_slice())? {
        if mailbox.has_mail()? {
            return Ok(Status::Yes);
        }
    }
    Ok(Status::No)
}
