//! Parks a driver right after an exact system call: strace stops it by
//! SIGSTOP after every call on the files of the mailbox, and the runner lets
//! it go on until the call it waits for.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::arena::Arena;
use crate::driver::{Call, Driver, Output, Running, on_path};

const CALLS: &str = "?mkdir,mkdirat,?link,linkat,?open,openat,read,?pread64,readv,write,\
?pwrite64,writev,?rename,renameat,?renameat2,?unlink,unlinkat,?rmdir";

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
    last: BTreeMap<i32, String>,
    /// The calls it was stopped at, for the message when a point is not met.
    pub calls: Vec<String>,
    stops: Vec<i32>,
}

pub fn available() -> bool {
    on_path("strace".as_ref()).is_some()
}

impl Traced {
    pub fn start(x: &Arena, d: &Driver, mut call: Call) -> Result<Traced, String> {
        let log = tempfile::Builder::new()
            .prefix("trace")
            .tempfile_in(x.temp.path());
        let (_, log) = log
            .map_err(|e| e.to_string())?
            .keep()
            .map_err(|e| e.to_string())?;
        let mut prefix: Vec<OsString> = ["strace", "-f", "-y", "-o"].map(OsString::from).to_vec();
        prefix.push(log.clone().into());
        for suffix in ["", ".lock", ".lock.owner", ".lock.steal", ".claims"] {
            prefix.extend(["-P".into(), x.path(suffix).into_os_string()]);
        }
        prefix.extend(["-e".into(), format!("trace={CALLS}").into()]);
        prefix.extend([
            "-e".into(),
            format!("inject={CALLS}:signal=SIGSTOP:when=1+").into(),
        ]);
        call.prefix = prefix;
        let running = d.start(x.temp.path(), call)?;
        Ok(Traced {
            running,
            log,
            at: 0,
            rest: String::new(),
            unfinished: BTreeMap::new(),
            last: BTreeMap::new(),
            calls: Vec::new(),
            stops: Vec::new(),
        })
    }

    /// Goes on until it is stopped after a call `hit` likes: its process. None
    /// when it ended without.
    pub fn run_until(&mut self, mut hit: impl FnMut(&Sys) -> bool) -> Result<Option<Pid>, String> {
        let since = Instant::now();
        loop {
            let over = self.running.is_over();
            self.read_log()?;
            for pid in std::mem::take(&mut self.stops) {
                let line = self.last.get(&pid).cloned().unwrap_or_default();
                self.calls.push(line.clone());
                let pid = Pid::from_raw(pid);
                if Sys::parse(&line).is_some_and(|s| hit(&s)) {
                    return Ok(Some(pid));
                }
                // It may have been killed since: then the loop sees the end.
                let _ = kill(pid, Signal::SIGCONT);
            }
            if over {
                return Ok(None);
            }
            if since.elapsed() > Duration::from_secs(40) {
                self.running.kill_all();
                return Err(format!(
                    "hangs under strace, last at {:?}",
                    self.calls.last()
                ));
            }
            std::thread::sleep(Duration::from_micros(400));
        }
    }

    /// Lets it run to its end, with no stop any more.
    pub fn finish(mut self, parked: Pid) -> Result<Output, String> {
        kill(parked, Signal::SIGCONT).map_err(|e| format!("SIGCONT: {e}"))?;
        self.run_until(|_| false)?;
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
        if event.starts_with("--- stopped by SIGSTOP") {
            self.stops.push(pid);
        } else if let Some(head) = event.strip_suffix("<unfinished ...>") {
            self.unfinished.insert(pid, head.to_string());
        } else if let Some(tail) = event.strip_prefix("<... ") {
            let head = self.unfinished.remove(&pid).unwrap_or_default();
            let tail = tail.split_once("resumed>").map_or("", |t| t.1);
            self.last.insert(pid, head + tail);
        } else if !event.starts_with("---") && !event.starts_with("+++") {
            self.last.insert(pid, event.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        let s = Sys::parse(r#"openat(AT_FDCWD</w>, "/w/b", O_WRONLY|O_APPEND, 0600) = 3</w/b>"#);
        let s = s.unwrap();
        assert_eq!((s.name.as_str(), s.ret), ("openat", 3));
        let s = Sys::parse(r#"mkdir("/w/b.lock", 0700) = -1 EEXIST (File exists)"#).unwrap();
        assert!(!s.ok());
    }
}
