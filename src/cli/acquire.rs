//! `mbox acquire` and `mbox release`: the bare lock, for scripts.

use super::args::{AcquireArgs, ReleaseArgs};
use super::exit::{Exit, Status};
use super::{Places, out};
use crate::format::token::Token;
use crate::lock::{Peer, Released};
use crate::sys::signals::Deferred;

pub(super) fn acquire(args: AcquireArgs, places: &Places) -> Result<Status, Exit> {
    let mailbox = places.mailbox(&args.mailbox)?.waiting(args.wait.time);
    let signals = Deferred::begin();
    // Without the guard: this process ends, and the lock stays (ACQV-1).
    let lock = mailbox.lock_holding(Peer::WithoutGuard, &signals)?;
    // A lock whose token nobody learned is released again, by dropping it.
    out::refuse_closed_stdout()?;
    out::answer(lock.token().as_str(), "the lock was released again")?;
    // Nobody waits for it any more (CLI-6): it is released, and the signal let through.
    if !signals.has_one_come() {
        lock.leave();
        signals.for_good();
    }
    Ok(Status::Yes)
}

pub(super) fn release(args: ReleaseArgs, places: &Places) -> Result<Status, Exit> {
    let mailbox = places.mailbox(&args.mailbox)?;
    let _signals = Deferred::begin();
    Ok(match mailbox.release(&Token::from_text(&args.token))? {
        Released::Held => Status::Yes,
        Released::Lost => Status::No,
    })
}
