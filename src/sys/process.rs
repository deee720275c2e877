//! Running a command whose signals are its own.
//!
//! `std::process` hands its child the signal mask of the calling thread. Here signals
//! are held back while the lock is held, and must not be for the command.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
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
    pub(crate) fn start(command: &[OsString], stdin: Option<&PipeReader>) -> io::Result<Running> {
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

/// A thread that writes a text into a pipe for as long as somebody reads it, and not
/// beyond the life of this.
pub(crate) struct Feeder {
    /// Closed when it is over.
    life: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Feeder {
    /// Also gives the end to read from.
    pub(crate) fn begin(text: Vec<u8>) -> io::Result<(PipeReader, Feeder)> {
        let (reader, writer) = io::pipe()?;
        let (is_over, life) = io::pipe()?;
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let write = move || {
            let _ = feed(&text, writer, &is_over); // nobody has to read all of it, or any
        };
        let thread = Some(thread::Builder::new().spawn(write)?);
        let life = Some(life);
        Ok((reader, Feeder { life, thread }))
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.life = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it does not panic
        }
    }
}

fn feed(mut text: &[u8], mut writer: PipeWriter, is_over: &PipeReader) -> io::Result<()> {
    while !text.is_empty() {
        match writer.write(text) {
            Ok(written) => text = &text[written..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let mut fds = [
                    PollFd::new(writer.as_fd(), PollFlags::POLLOUT),
                    PollFd::new(is_over.as_fd(), PollFlags::POLLIN),
                ];
                let polled = poll(&mut fds, PollTimeout::NONE);
                if polled.is_ok() && fds[1].any() == Some(true) {
                    return Ok(());
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn c_string(word: &OsStr) -> io::Result<CString> {
    Ok(CString::new(word.as_bytes())?)
}
