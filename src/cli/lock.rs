//! `mbox lock MAILBOX -- CMD`: a command under the lock, for as long as it takes.

use std::sync::mpsc;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::Places;
use super::args::LockArgs;
use super::exit::{Exit, Status, say};
use crate::format::RENEW;
use crate::lock::{LockGuard, Released};
use crate::sys::process::{Ended, Running};
use crate::sys::signals::{self, Deferred, Taken};

pub(super) fn run(args: LockArgs, places: &Places) -> Result<Status, Exit> {
    let mailbox = places.mailbox(&args.mailbox)?.waiting(args.wait.time);
    let signals = Deferred::begin();
    let lock = mailbox.acquire_for_command(&signals)?;
    let taken = Taken::begin().map_err(|e| Exit::of(74, format!("cannot block signals: {e}")))?;
    let command = Running::start(&args.command).map_err(|e| {
        let program = args.command[0].display(); // clap requires one
        let code = if e.kind() == std::io::ErrorKind::NotFound {
            127
        } else {
            126
        };
        Exit::of(code, format!("cannot run {program}: {e}"))
    })?;
    let (ended, ended_by) = std::thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        scope.spawn(|| keep_young(&lock, is_done));
        let waited = wait(&command, &taken);
        drop(done);
        waited
    })?;
    let released = lock.release()?;
    if let Some(signal) = ended_by {
        signals::die_by(signal);
    }
    if released == Released::Lost {
        return Err(Exit::busy(format!(
            "{}: the lock was lost while the command ran: another may have worked at the same time; check what it did",
            mailbox.title()
        )));
    }
    let code = match ended {
        Ended::Exited(code) => code,
        Ended::BySignal(signal) => 128 + signal as i32,
    };
    Ok(Status::Of(
        u8::try_from(code & 0xff).expect("masked to a byte"),
    ))
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

/// Waits for the command. SIGTERM and SIGHUP are passed on to it; SIGINT reaches it from
/// the terminal by itself. Returns the signal this process then has to die by.
fn wait(command: &Running, taken: &Taken) -> Result<(Ended, Option<Signal>), Exit> {
    let failed = |e: std::io::Error| Exit::of(74, format!("cannot wait for the command: {e}"));
    let mut ended_by = None;
    loop {
        if let Some(ended) = command.try_wait().map_err(failed)? {
            return Ok((ended, ended_by));
        }
        match taken.next().map_err(failed)? {
            Signal::SIGCHLD => {}
            signal => {
                ended_by = Some(signal);
                if signal != Signal::SIGINT {
                    command.send(signal).map_err(failed)?;
                }
            }
        }
    }
}
