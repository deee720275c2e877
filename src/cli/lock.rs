//! `mbox lock MAILBOX -- CMD`: a command under the lock, for as long as it takes.

use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::Places;
use super::args::LockArgs;
use super::command::{self, no_thread};
use super::exit::{Exit, Status, say};
use crate::format::RENEW;
use crate::lock::{LockGuard, Peer, Released};
use crate::sys::process::Ended;
use crate::sys::signals::{self, Deferred};

pub(super) fn run(args: LockArgs, places: &Places) -> Result<Status, Exit> {
    let mailbox = places.mailbox(&args.mailbox)?.waiting(args.wait.time);
    let signals = Deferred::begin();
    let lock = mailbox.lock_holding(Peer::WithGuard, &signals)?;
    let (ended, passed_on) = std::thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        let young = || keep_young(&lock, is_done);
        thread::Builder::new()
            .spawn_scoped(scope, young)
            .map_err(no_thread)?;
        let ended = command::run(&args.command, None);
        drop(done);
        ended
    })?;
    if lock.release()? == Released::Lost {
        return Err(Exit::busy(format!(
            "{}: the lock was lost while the command ran: another may have worked at the same time; check what it did",
            mailbox.title()
        )));
    }
    match ended {
        Ended::BySignal(signal) if passed_on == Some(signal) => signals::die_by(signal),
        Ended::BySignal(signal) => Ok(Status::Of(128 + signal as u8)),
        Ended::Exited(code) => Ok(Status::Of((code & 0xff) as u8)),
    }
}

/// ACQ-7, until `is_done` closes.
fn keep_young(lock: &LockGuard, is_done: mpsc::Receiver<()>) {
    let mut next = Instant::now() + RENEW;
    while let Err(mpsc::RecvTimeoutError::Timeout) =
        is_done.recv_timeout(next.saturating_duration_since(Instant::now()))
    {
        next += RENEW;
        match lock.renew() {
            Ok(true) => {}
            Ok(false) => return, // lost: told when the command has ended
            Err(error) => say(&format!("{error}; {}", error.next_step())),
        }
    }
}
