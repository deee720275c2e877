//! `mbox wait`.

use std::time::Duration;

use super::Places;
use super::args::WaitArgs;
use super::exit::{Exit, Status};
use super::watch::say_fallback;
use crate::sys::clock::Deadline;
use crate::watch::Lookout;

pub(super) fn run(args: WaitArgs, places: &Places) -> Result<Status, Exit> {
    let mailboxes = places.mailboxes_or_mine(args.mailbox.as_slice())?;
    let has_mail = || -> Result<bool, Exit> {
        for mailbox in &mailboxes {
            if mailbox.has_mail()? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let end = Deadline::after(args.timeout.unwrap_or(Duration::MAX));
    if has_mail()? {
        return Ok(Status::Yes);
    }
    let mut lookout = Lookout::open(None)?;
    for (key, mailbox) in (0..).zip(&mailboxes) {
        lookout.add(key, mailbox)?;
    }
    loop {
        say_fallback(&mut lookout);
        if has_mail()? {
            return Ok(Status::Yes);
        }
        if end.has_passed() {
            return Ok(Status::No);
        }
        lookout.wait(Some(end.left()), None)?;
    }
}
