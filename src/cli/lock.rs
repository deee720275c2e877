//! `mbox lock MAILBOX -- CMD`: a command under the lock, for as long as it takes.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::Places;
use super::args::LockArgs;
use super::exit::{Exit, Status, say};
use crate::format::RENEW;
use crate::lock::{LockGuard, Peer, Released};
use crate::sys::process::{Ended, Running};
use crate::sys::signals::{self, Deferred, Watch};

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
        let ended = run_command(&args.command);
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

/// Runs the command to its end. SIGTERM and SIGHUP are passed on to it; SIGINT reaches it
/// from the terminal by itself. Also says which signal came last.
fn run_command(command: &[OsString]) -> Result<(Ended, Option<Signal>), Exit> {
    let came = Arc::new(Mutex::new((None::<Signal>, None::<Running>)));
    let shared = Arc::clone(&came);
    let watch = Watch::begin(move |signal| {
        let mut came = shared.lock().unwrap_or_else(PoisonError::into_inner);
        came.0 = Some(signal);
        if let (Some(running), true) = (came.1, signal != Signal::SIGINT) {
            let _ = running.send(signal); // it has ended by itself
        }
    });
    let _watch = watch.ok_or_else(|| no_thread("no signals could be watched"))?;
    let running = {
        let mut came = came.lock().unwrap_or_else(PoisonError::into_inner);
        let running = Running::start(command).map_err(|e| {
            let program = command[0].display(); // clap requires one
            let code = if e.kind() == std::io::ErrorKind::NotFound {
                127
            } else {
                126
            };
            Exit::of(
                code,
                format!("cannot run {program}: {e}; see that it is there and executable"),
            )
        })?;
        came.1 = Some(running);
        if let Some(signal) = came.0 {
            let _ = running.send(signal); // it came before there was anybody to pass it on to
        }
        running
    };
    let ended = running.wait().map_err(|e| {
        Exit::of(
            74,
            format!("cannot learn how the command ended: {e}; is SIGCHLD ignored?"),
        )
    })?;
    let signal = came.lock().unwrap_or_else(PoisonError::into_inner).0;
    Ok((ended, signal))
}

fn no_thread(error: impl std::fmt::Display) -> Exit {
    Exit::of(
        74,
        format!("cannot start a thread: {error}; raise the limit of processes (ulimit -u)"),
    )
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
