//! Parks a driver right after an exact system call, all of it at once, as a
//! frozen machine would. strace holds it up for a moment after every call on
//! the files of the mailbox; when it is the one, the runner stops strace, and
//! with it everything it traces, until it lets strace go on.
//!
//! (A SIGSTOP to the one process that made the call would do for most, but a
//! shell may take a stopped child for a failed one.)

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::arena::Arena;
use crate::driver::{Call, Driver, Output, Running, on_path};

const CALLS: &str = "?mkdir,mkdirat,?link,linkat,?open,openat,write,?pwrite64,writev,\
?rename,renameat,?renameat2,?unlink,unlinkat,?rmdir";

/// The moments to try, in ms: a busy machine may be too late for a short one.
pub const MOMENTS: [u32; 4] = [15, 60, 250, 1000];

/// Said when the driver had moved on before it could be stopped.
pub const TOO_LATE: &str = "too late to park it";

/// One finished system call of a driver, as strace wrote it.
pub struct Sys {
    pub name: String,
    pub args: String,
    pub ret: i64,
}

impl Sys {
    fn parse(line: &str) -> Option<Sys> {
        let (name, rest) = line.split_once('(')?;
        let (args, ret) = rest.rsplit_once(" = ")?;
        let digits: String = ret
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '-')
            .collect();
        Some(Sys {
            name: name.to_string(),
            args: args.trim_end().trim_end_matches(')').to_string(),
            ret: digits.parse().ok()?,
        })
    }

    pub fn ok(&self) -> bool {
        self.ret >= 0
    }

    pub fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }
}

pub struct Traced {
    pub running: Running,
    log: PathBuf,
    at: u64,
    rest: String,
    unfinished: BTreeMap<i32, String>,
    /// The calls so far, also for the message when a point is not met.
    pub calls: Vec<String>,
}

pub fn available() -> bool {
    on_path("strace".as_ref()).is_some()
}

impl Traced {
    pub fn start(x: &Arena, d: &Driver, mut call: Call) -> Result<Traced, String> {
        let log = tempfile::Builder::new()
            .prefix("trace")
            .tempfile_in(x.temp.path());
        let log = log.map_err(|e| e.to_string())?.keep();
        let (_, log) = log.map_err(|e| e.to_string())?;
        let mut prefix: Vec<OsString> = ["strace", "-f", "-y", "-o"].map(OsString::from).to_vec();
        prefix.push(log.clone().into());
        for suffix in ["", ".lock", ".lock.owner", ".lock.steal", ".claims"] {
            prefix.extend(["-P".into(), x.path(suffix).into_os_string()]);
        }
        let delay = x.moment * 1000;
        prefix.extend(["-e".into(), format!("trace={CALLS}").into()]);
        prefix.extend([
            "-e".into(),
            format!("inject={CALLS}:delay_exit={delay}:when=1+").into(),
        ]);
        call.prefix = prefix;
        Ok(Traced {
            running: d.start(x.temp.path(), call)?,
            log,
            at: 0,
            rest: String::new(),
            unfinished: BTreeMap::new(),
            calls: Vec::new(),
        })
    }

    /// Lets it run until it has made a call that `hit` likes, and parks it
    /// there. False when it ended without.
    pub fn park(&mut self, mut hit: impl FnMut(&Sys) -> bool) -> Result<bool, String> {
        let since = Instant::now();
        let mut seen = 0;
        loop {
            let over = self.running.is_over();
            self.read_log()?;
            while let Some(line) = self.calls.get(seen) {
                seen += 1;
                if Sys::parse(line).is_some_and(|s| hit(&s)) {
                    self.freeze()?;
                    return if self.calls.len() == seen {
                        Ok(true)
                    } else {
                        Err(TOO_LATE.to_string())
                    };
                }
            }
            if over {
                return Ok(false);
            }
            if since.elapsed() > Duration::from_secs(40) {
                self.running.kill_all();
                return Err(format!("hangs under strace after {:?}", self.calls.last()));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Stops strace, and looks what was written until it stood.
    fn freeze(&mut self) -> Result<(), String> {
        let p = self.running.pid();
        // It may have ended meanwhile.
        kill(p, Signal::SIGSTOP).map_err(|_| TOO_LATE)?;
        let path = format!("/proc/{p}/stat");
        for _ in 0..2000 {
            let stat = std::fs::read_to_string(&path).map_err(|_| TOO_LATE)?;
            if stat.rsplit_once(") ").is_some_and(|t| t.1.starts_with('Z')) {
                return Err(TOO_LATE.to_string());
            }
            if stat.rsplit_once(") ").is_some_and(|t| t.1.starts_with('T')) {
                return self.read_log();
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Err("strace does not stop".to_string())
    }

    /// Lets it go on to its end.
    pub fn finish(self) -> Result<Output, String> {
        kill(self.running.pid(), Signal::SIGCONT).map_err(|e| format!("SIGCONT: {e}"))?;
        self.running.finish()
    }

    /// The driver itself: the child of strace.
    pub fn main(&self) -> Result<Pid, String> {
        let p = self.running.pid();
        let path = format!("/proc/{p}/task/{p}/children");
        let list = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let first = list.split_whitespace().next().and_then(|w| w.parse().ok());
        first
            .map(Pid::from_raw)
            .ok_or("strace has no child".to_string())
    }

    fn read_log(&mut self) -> Result<(), String> {
        let io = |e: std::io::Error| e.to_string();
        let mut f = std::fs::File::open(&self.log).map_err(io)?;
        f.seek(SeekFrom::Start(self.at)).map_err(io)?;
        let mut new = Vec::new();
        self.at += f.read_to_end(&mut new).map_err(io)? as u64;
        self.rest += &String::from_utf8_lossy(&new);
        while let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            let Some((pid, event)) = line.trim().split_once(' ') else {
                continue;
            };
            if let Ok(pid) = pid.parse() {
                self.event(pid, event.trim());
            }
        }
        Ok(())
    }

    fn event(&mut self, pid: i32, event: &str) {
        if let Some(head) = event.strip_suffix("<unfinished ...>") {
            self.unfinished.insert(pid, head.to_string());
        } else if let Some(tail) = event.strip_prefix("<... ") {
            let head = self.unfinished.remove(&pid).unwrap_or_default();
            let tail = tail.split_once("resumed>").map_or("", |t| t.1);
            self.calls.push(head + tail);
        } else if !event.starts_with("---") && !event.starts_with("+++") {
            self.calls.push(event.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        let s = Sys::parse(
            r#"openat(AT_FDCWD</w>, "/w/b", O_WRONLY|O_APPEND, 0600) = 3</w/b> (DELAYED)"#,
        );
        let s = s.unwrap();
        assert_eq!((s.name.as_str(), s.ret), ("openat", 3));
        let s =
            Sys::parse(r#"mkdir("/w/b.lock", 0700) = -1 EEXIST (File exists) (DELAYED)"#).unwrap();
        assert!(!s.ok());
    }
}
