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

/// What tells the process `pid` from every other one that has this pid, on this machine or
/// after it was started anew; `None` when there is no such process.
pub(crate) fn identity(pid: i32) -> Option<String> {
    if pid <= 0 {
        return None;
    }
    if cfg!(target_os = "linux") {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The state and the start time are the 3rd and the 22nd field; the 2nd is a name in
        // parentheses, with whatever in it.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let is_dead = matches!(fields.next()?, "Z" | "X");
        let started = fields.nth(18)?;
        return (!is_dead).then(|| format!("{}:{started}", boot.trim()));
    }
    let started = ps(pid, "lstart=")?;
    Some(
        started
            .split_ascii_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
    )
}

/// The name of the program that a process runs.
pub(crate) fn program(pid: i32) -> Option<String> {
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    let name = comm.ok().or_else(|| ps(pid, "comm="))?;
    let name = name.trim().rsplit('/').next()?.trim_start_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

/// Where a process is; where this one is when that cannot be told.
pub(crate) fn working_directory(pid: i32) -> Option<std::path::PathBuf> {
    let link = std::fs::read_link(format!("/proc/{pid}/cwd"));
    link.or_else(|_| std::env::current_dir()).ok()
}

/// The terminal of a process.
pub(crate) fn terminal(pid: i32) -> Option<String> {
    for fd in 0..3 {
        let Ok(file) = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")) else {
            continue;
        };
        let file = file.to_str()?;
        if file.starts_with("/dev/pts/") || file.starts_with("/dev/tty") {
            return Some(file.to_owned());
        }
    }
    let tty = ps(pid, "tty=")?;
    let tty = tty.trim();
    (!tty.is_empty() && !tty.starts_with('?')).then(|| format!("/dev/{tty}"))
}

/// The process that started this one.
pub(crate) fn parent() -> i32 {
    nix::unistd::getppid().as_raw()
}

/// One column of ps(1) about a process, for systems without `/proc`.
fn ps(pid: i32, column: &str) -> Option<String> {
    if cfg!(target_os = "linux") {
        return None;
    }
    let mut ps = std::process::Command::new("ps");
    let out = ps
        .args(["-o", column, "-p", &pid.to_string()])
        .env("LC_ALL", "C")
        .output();
    let out = out.ok().filter(|out| out.status.success())?;
    let text = String::from_utf8(out.stdout).ok()?;
    (!text.trim().is_empty()).then_some(text)
}
