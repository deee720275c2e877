//! Running somebody's command: `mbox lock` and `mbox watch --exec`.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::Signal;

use super::exit::Exit;
use crate::sys::process::{Ended, Feeder, Running};
use crate::sys::signals::Watch;

/// Runs the command to its end, with `stdin` to read if that is given. SIGTERM and SIGHUP
/// are passed on to it; SIGINT reaches it from the terminal by itself. Also says which
/// signal came last.
pub(super) fn run(
    command: &[OsString],
    stdin: Option<Vec<u8>>,
) -> Result<(Ended, Option<Signal>), Exit> {
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
    let (running, _feeder) = {
        let mut came = came.lock().unwrap_or_else(PoisonError::into_inner);
        let (running, feeder) = start(command, stdin)?;
        came.1 = Some(running);
        if let Some(signal) = came.0 {
            let _ = running.send(signal); // it came before there was anybody to pass it on to
        }
        (running, feeder)
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

/// A command, and who writes its stdin.
fn start(command: &[OsString], stdin: Option<Vec<u8>>) -> Result<(Running, Option<Feeder>), Exit> {
    let cannot_run = |e: std::io::Error| {
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
    };
    let no_stdin = |e| {
        let next = "raise the limits of files and processes (ulimit -n, ulimit -u)";
        Exit::of(74, format!("cannot feed the command: {e}; {next}"))
    };
    // Before the command: one that runs has something to read.
    let (reader, feeder) = stdin
        .map(Feeder::begin)
        .transpose()
        .map_err(no_stdin)?
        .unzip();
    let running = Running::start(command, reader.as_ref()).map_err(cannot_run)?;
    // Our copy of the reader ends here, so that writing ends when the command does.
    Ok((running, feeder))
}

pub(super) fn no_thread(error: impl std::fmt::Display) -> Exit {
    Exit::of(
        74,
        format!("cannot start a thread: {error}; raise the limit of processes (ulimit -u)"),
    )
}
