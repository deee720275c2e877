//! What scenarios of several drivers share: a mailbox, calls, the bookkeeping
//! of what was acknowledged and what was delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::Value;
use tempfile::TempDir;

use crate::check::{age_claims, workspace};
use crate::content::{is_record, message_line, show};
use crate::driver::{Call, Driver, Output};
use crate::trace::MOMENTS;
use crate::tree::age;

pub struct Arena {
    pub temp: TempDir,
    pub b: PathBuf,
    /// How long strace holds a driver up after a call, in ms.
    pub moment: u32,
}

impl Arena {
    pub fn new() -> Result<Arena, String> {
        let temp = workspace()?;
        let w = temp
            .path()
            .join("w")
            .canonicalize()
            .map_err(|e| e.to_string())?;
        Ok(Arena {
            b: w.join("b"),
            temp,
            moment: MOMENTS[0],
        })
    }

    /// The path of B, or of a sibling: `path(".lock")`.
    pub fn path(&self, suffix: &str) -> PathBuf {
        let mut p = self.b.clone().into_os_string();
        p.push(suffix);
        PathBuf::from(p)
    }

    /// A call of `verb` on the mailbox.
    pub fn call(&self, verb: &str, more: &[&str]) -> Call {
        let mut args = vec![OsString::from(verb), self.b.clone().into_os_string()];
        args.extend(more.iter().map(OsString::from));
        Call {
            args,
            ..Call::default()
        }
    }

    pub fn run(&self, d: &Driver, verb: &str, more: &[&str]) -> Result<Output, String> {
        d.run(self.temp.path(), self.call(verb, more))
            .map_err(|e| format!("{}: {verb}: {e}", d.name))
    }

    /// Runs and wants one of these exits; gives stdout.
    pub fn want(
        &self,
        exits: &[&str],
        d: &Driver,
        verb: &str,
        more: &[&str],
    ) -> Result<Vec<u8>, String> {
        let out = self.run(d, verb, more)?;
        if exits.contains(&out.exit().as_str()) {
            return Ok(out.stdout);
        }
        Err(format!(
            "{}: {verb} {}: exit {}, not {} [stderr: {}]",
            d.name,
            more.join(" "),
            out.exit(),
            exits.join(" or "),
            show(&out.stderr)
        ))
    }

    pub fn ok(&self, d: &Driver, verb: &str, more: &[&str]) -> Result<Vec<u8>, String> {
        self.want(&["0"], d, verb, more)
    }

    pub fn write(&self, suffix: &str, bytes: &[u8]) -> Result<(), String> {
        let p = self.path(suffix);
        fs::write(&p, bytes).map_err(|e| format!("{}: {e}", p.display()))
    }

    /// The bytes of B or of a sibling; none when it is not there.
    pub fn read(&self, suffix: &str) -> Option<Vec<u8>> {
        fs::read(self.path(suffix)).ok()
    }

    /// Makes the lock as old as a lock must be to be stale.
    pub fn age_lock(&self) -> Result<(), String> {
        age(&self.path(".lock"), 31.0)
    }

    /// The names in B.claims.
    pub fn claims(&self) -> Vec<String> {
        let Ok(dir) = fs::read_dir(self.path(".claims")) else {
            return Vec::new();
        };
        let mut names: Vec<String> = dir
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Renames every claim to a stamp 301 s ago: an orphan for everyone but
    /// for peers with guard while its flock is held.
    pub fn age_claims(&self) -> Result<(), String> {
        age_claims(self.b.parent().ok_or("no parent")?, "b")
    }

    /// Nothing but records, the guard and what `allowed` ends with is left.
    pub fn nothing_left(&self, allowed: &[&str]) -> Result<(), String> {
        let dir = self.b.parent().ok_or("no parent")?;
        for e in fs::read_dir(dir).map_err(|e| e.to_string())?.flatten() {
            let name = e.file_name().to_string_lossy().into_owned();
            let fine = name == "b.lock.guard" || allowed.iter().any(|s| name.contains(s));
            if !fine {
                return Err(format!("{name}: left behind"));
            }
        }
        Ok(())
    }
}

/// Who was promised what, and what came out.
#[derive(Default)]
pub struct Ledger {
    /// The lines the runner knows in full, by id.
    lines: BTreeMap<String, Vec<u8>>,
    bodies: BTreeMap<String, String>,
    acknowledged: BTreeSet<String>,
    delivered: BTreeSet<String>,
}

impl Ledger {
    /// Mail that was there before: B as `n` appends left it.
    pub fn fill(&mut self, arena: &Arena, n: usize) -> Result<(), String> {
        let mut all = Vec::new();
        for i in 0..n {
            let id = format!("{:016x}", 0xa000 + i);
            let line = message_line(id.as_bytes(), format!("mail {i}").as_bytes(), b"");
            all.extend_from_slice(&line);
            self.lines.insert(id.clone(), line);
            self.acknowledged.insert(id);
        }
        arena.write("", &all)
    }

    /// An append is about to be tried with this id and body.
    pub fn attempt(&mut self, id: &str, body: &str) {
        self.bodies.insert(id.to_string(), body.to_string());
    }

    /// An append ended; it is acknowledged when it said so.
    pub fn appended(&mut self, id: &str, out: &Output) -> Result<(), String> {
        if out.exit() != "0" {
            return Ok(());
        }
        if out.stdout != format!("{id}\n").into_bytes() {
            return Err(format!(
                "append said \"{}\", not its id {id}",
                show(&out.stdout)
            ));
        }
        self.promise(id, true);
        Ok(())
    }

    pub fn promise(&mut self, id: &str, acknowledged: bool) {
        if acknowledged {
            self.acknowledged.insert(id.to_string());
        }
    }

    /// Output of a reader. `whole`: it ended well, so that every line has to be
    /// whole; otherwise what stands after the last newline is not counted.
    pub fn received(&mut self, stdout: &[u8], whole: bool) -> Result<(), String> {
        let end = stdout
            .iter()
            .rposition(|c| *c == b'\n')
            .map_or(0, |i| i + 1);
        if whole && end != stdout.len() {
            return Err(format!(
                "output without its last newline: {}",
                show(&stdout[end..])
            ));
        }
        for line in stdout[..end].split_inclusive(|c| *c == b'\n') {
            let text = &line[..line.len() - 1];
            let torn = || format!("torn or foreign record delivered: {}", show(text));
            if !is_record(text) {
                return Err(torn());
            }
            let v: Value = serde_json::from_slice(text).map_err(|_| torn())?;
            let id = v["id"].as_str().ok_or_else(torn)?;
            let known = match (self.lines.get(id), self.bodies.get(id)) {
                (Some(known), _) => known == line,
                (_, Some(body)) => v["body"].as_str() == Some(body),
                _ => false,
            };
            if !known {
                return Err(torn());
            }
            self.delivered.insert(id.to_string());
        }
        Ok(())
    }

    /// Nothing acknowledged may be missing.
    pub fn settle(&self) -> Result<(), String> {
        let lost: Vec<_> = self.acknowledged.difference(&self.delivered).collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(format!("acknowledged and lost: {lost:?}"))
    }
}

/// The reading end of a pipe, read only as far as a scenario wants.
pub struct Reader {
    file: fs::File,
    pub seen: Vec<u8>,
}

impl Reader {
    pub fn new(fd: std::os::fd::OwnedFd) -> Result<Reader, String> {
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|e| e.to_string())?;
        Ok(Reader {
            file: fd.into(),
            seen: Vec::new(),
        })
    }

    /// Reads what is there now, at most `n` bytes; Ok(false) at the end.
    pub fn read(&mut self, n: usize) -> Result<bool, String> {
        let mut buf = vec![0; n];
        match std::io::Read::read(&mut self.file, &mut buf) {
            Ok(0) => Ok(false),
            Ok(got) => {
                self.seen.extend_from_slice(&buf[..got]);
                Ok(true)
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Ok(true),
            Err(e) => Err(e.to_string()),
        }
    }
}
