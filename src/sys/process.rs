//! Running a command whose signals are its own.
//!
//! `std::process` hands its child the signal mask of the calling thread. Here signals
//! are held back while the lock is held, and must not be for the command.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::signals;

/// A command that was started and not waited for yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running(Pid);

/// How a command ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    Exited(i32),
    BySignal(Signal),
}

impl Running {
    /// Runs `command`, looked up in PATH, with the streams and the environment of this
    /// process and no signal held back; `stdin` in place of its own, if that is given.
    pub(crate) fn start(
        command: &[OsString],
        stdin: Option<&std::io::PipeReader>,
    ) -> io::Result<Running> {
        let words = command.iter().map(|word| c_string(word));
        let words = words.collect::<io::Result<Vec<_>>>()?;
        let variables = std::env::vars_os().map(|(key, value)| {
            let variable = [key.into_vec(), b"=".to_vec(), value.into_vec()].concat();
            c_string(&OsString::from_vec(variable))
        });
        let variables = variables.collect::<io::Result<Vec<_>>>()?;
        let mut how = PosixSpawnAttr::init()?;
        how.set_flags(
            PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
        )?;
        how.set_sigmask(&signals::mask_for_commands()?)?;
        // Rust ignores it, and a command expects to die by it.
        how.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
        let program = words.first().expect("a command has a program");
        let mut streams = PosixSpawnFileActions::init()?;
        if let Some(stdin) = stdin {
            streams.add_dup2(stdin.as_raw_fd(), 0)?;
        }
        Ok(Running(posix_spawnp(
            program, &streams, &how, &words, &variables,
        )?))
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&self) -> io::Result<Ended> {
        loop {
            match waitpid(self.0, None) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(Ended::Exited(code)),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Ended::BySignal(signal)),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends it a signal. Its process id is not another's for a while after it ended.
    pub(crate) fn send(&self, signal: Signal) -> io::Result<()> {
        Ok(kill(self.0, signal)?)
    }
}

fn c_string(word: &OsStr) -> io::Result<CString> {
    Ok(CString::new(word.as_bytes())?)
}
