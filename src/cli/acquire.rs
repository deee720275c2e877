//! `mbox acquire` and `mbox release`: the bare lock, for scripts.

use super::args::{AcquireArgs, ReleaseArgs};
use super::exit::{Exit, Status};
use super::{Places, out};
use crate::format::token::Token;
use crate::lock::Released;
use crate::sys::signals::Deferred;

pub(super) fn acquire(args: AcquireArgs, places: &Places) -> Result<Status, Exit> {
    let mailbox = places.mailbox(&args.mailbox)?.waiting(args.wait.time);
    let signals = Deferred::begin();
    let lock = mailbox.lock_unguarded(&signals)?;
    // A lock whose token nobody learned is released again, by dropping it.
    out::answer(lock.token().as_str())?;
    lock.leave();
    Ok(Status::Yes)
}

pub(super) fn release(args: ReleaseArgs, places: &Places) -> Result<Status, Exit> {
    let mailbox = places.mailbox(&args.mailbox)?;
    let _signals = Deferred::begin();
    Ok(
        match mailbox
            .lock_parts()
            .release(&Token::from_text(&args.token))?
        {
            Released::Held => Status::Yes,
            Released::Lost => Status::No,
        },
    )
}
