//! Running somebody's command: `mbox lock` and `mbox watch --exec`.

use std::ffi::OsString;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sys::signal::Signal;

use super::exit::Exit;
use crate::sys::process::{Ended, Running};
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
    let running = {
        let mut came = came.lock().unwrap_or_else(PoisonError::into_inner);
        let running = start(command, stdin)?;
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

fn start(command: &[OsString], stdin: Option<Vec<u8>>) -> Result<Running, Exit> {
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
    let Some(text) = stdin else {
        return Running::start(command, None).map_err(cannot_run);
    };
    let no_pipe = |e| Exit::of(74, format!("cannot make a pipe: {e}; raise ulimit -n"));
    let (reader, mut writer) = std::io::pipe().map_err(no_pipe)?;
    let running = Running::start(command, Some(&reader)).map_err(cannot_run)?;
    drop(reader); // so that writing ends when the command does
    let write = move || {
        let _ = writer.write_all(&text); // a command need not read all of it, or any
    };
    thread::Builder::new().spawn(write).map_err(no_thread)?;
    Ok(running)
}

pub(super) fn no_thread(error: impl std::fmt::Display) -> Exit {
    Exit::of(
        74,
        format!("cannot start a thread: {error}; raise the limit of processes (ulimit -u)"),
    )
}
