//! Runs one case on one driver and says what is wrong.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::arena::Arena;
use crate::case::{Case, Needs, set_lets};
use crate::content::{Pattern, Vars, show};
use crate::disk::Disk;
use crate::driver::{Call, Driver, Output, StdoutTo};
use crate::tree::{Tree, age, compare, make, same_bytes, snapshot, untouched};

/// A place to work in: `w` (the working directory), `home`, `tmp`.
pub fn workspace() -> Result<TempDir, String> {
    let t = tempfile::Builder::new()
        .prefix("mbox-c")
        .tempdir()
        .map_err(|e| e.to_string())?;
    for d in ["w", "home", "tmp"] {
        fs::create_dir(t.path().join(d)).map_err(|e| e.to_string())?;
    }
    Ok(t)
}

pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as i64)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    run: Vec<Value>,
    stdin: Option<Value>,
    #[serde(default)]
    env: Map<String, Value>,
    exit: Option<Value>,
    stdout: Option<Value>,
    stderr: Option<Value>,
    #[serde(default)]
    stdout_to: StdoutTo,
    umask: Option<Value>,
    /// RLIMIT_FSIZE in blocks of 512 bytes: the disk is full after that.
    fsize: Option<u32>,
    /// RLIMIT_NOFILE: descriptors from this number on cannot be had.
    nofile: Option<Value>,
    cwd: Option<String>,
    save: Option<String>,
    min_ms: Option<u64>,
    max_ms: Option<u64>,
}

/// Runs a command of root's without root's privileges, on files that are still its own.
const ORDINARY: [&str; 4] = ["unshare", "--user", "--map-user=1000", "--map-group=1000"];

pub fn can_be_ordinary() -> bool {
    let mut unshare = Command::new(ORDINARY[0]);
    unshare.args(&ORDINARY[1..]).arg("true");
    unshare.output().is_ok_and(|out| out.status.success())
}

struct Bench<'a> {
    driver: &'a Driver,
    temp: TempDir,
    dir: PathBuf,
    vars: Vars,
    base: Tree,
    locks: Vec<Flock<File>>,
    disk: Option<Disk>,
    /// Give up what root may do beyond permissions.
    unprivileged: bool,
}

/// Err: the reason, one line.
pub fn run_case(case: &Case, driver: &Driver) -> Result<(), String> {
    let temp = workspace()?;
    // The canonical path: what drivers print and strace sees.
    let dir = temp
        .path()
        .join("w")
        .canonicalize()
        .map_err(|e| e.to_string())?;
    let mut vars = Vars {
        now_ms: now_ms(),
        dir: dir.clone(),
        ..Vars::default()
    };
    vars.set("T", temp.path().as_os_str().as_encoded_bytes());
    set_lets(&mut vars, &case.lets);
    let setup = |e: String| format!("setting up: {e}");
    let disk = match &case.disk {
        Some(spec) => Some(Disk::mount(&dir.join(&spec.path), spec).map_err(setup)?),
        None => None,
    };
    make(&dir, &case.files, &vars).map_err(setup)?;
    // Old, so that a change within one tick of the clock can be seen.
    if !case.files.contains_key("") {
        age(&dir, 1000.0).map_err(setup)?;
    }
    let base = snapshot(&dir).map_err(setup)?;
    let mut bench = Bench {
        driver,
        temp,
        dir,
        vars,
        base,
        locks: Vec::new(),
        disk,
        unprivileged: case.needs == Some(Needs::User) && geteuid().is_root(),
    };
    for (i, s) in case.steps.iter().enumerate() {
        bench
            .step(s)
            .map_err(|why| format!("step {}: {why}", i + 1))?;
    }
    let now = snapshot(&bench.dir)?;
    if case.untouched {
        return untouched(&bench.base, &now);
    }
    compare(&bench.base, &now, &case.end, &bench.vars)
}

impl Bench<'_> {
    fn step(&mut self, step: &Map<String, Value>) -> Result<(), String> {
        if step.contains_key("run") {
            let run: Run = serde_json::from_value(Value::Object(step.clone()))
                .map_err(|e| format!("bad step: {e}"))?;
            return self.run(&run);
        }
        let (what, arg) = step.iter().next().ok_or("an empty step")?;
        let map = || arg.as_object().ok_or(format!("{what}: not an object"));
        let disk = || self.disk.as_ref().ok_or("the case has no disk");
        match what.as_str() {
            "files" => {
                let made = make(&self.dir, map()?, &self.vars)?;
                self.rebase(&made)
            }
            "age" => {
                for (name, seconds) in map()? {
                    let path = self.find(name)?;
                    age(&self.dir.join(path), seconds.as_f64().ok_or("not an age")?)?;
                }
                Ok(())
            }
            "remove" => {
                let path = self.find(arg.as_str().ok_or("not a path")?)?;
                fs::remove_file(self.dir.join(&path)).map_err(|e| format!("{path}: {e}"))?;
                self.base.remove(&path);
                Ok(())
            }
            "age_claims" => age_claims(&self.dir, arg.as_str().ok_or("not a name")?),
            "flock" => {
                let path = self.dir.join(self.vars.text(arg)?);
                let f = File::open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                let lock = Flock::lock(f, FlockArg::LockExclusiveNonblock)
                    .map_err(|(_, e)| format!("{}: {e}", path.display()))?;
                self.locks.push(lock);
                Ok(())
            }
            "disk" => match arg.as_str() {
                Some("grow") => disk()?.grow(),
                Some("read-only") => disk()?.make_read_only(),
                _ => Err(format!("disk: {arg}")),
            },
            "state" => compare(&self.base, &snapshot(&self.dir)?, map()?, &self.vars),
            _ => Err(format!("unknown step {what}")),
        }
    }

    /// What a case puts there itself belongs to the state before.
    fn rebase(&mut self, names: &[String]) -> Result<(), String> {
        let now = snapshot(&self.dir)?;
        for (path, e) in now {
            let prefix = format!("{path}/");
            if names.iter().any(|n| *n == path || n.starts_with(&prefix)) {
                self.base.insert(path, e);
            }
        }
        Ok(())
    }

    /// The one path that matches a pattern; what its holes hold is kept.
    fn find(&mut self, pattern: &str) -> Result<String, String> {
        let p = Pattern::new(&self.vars.bytes(&Value::String(pattern.to_string()))?);
        let now = snapshot(&self.dir)?;
        let mut hits = now
            .keys()
            .filter_map(|path| p.matches(path.as_bytes()).map(|kept| (path, kept)));
        let (path, kept) = hits.next().ok_or(format!("{pattern}: no such entry"))?;
        if hits.next().is_some() {
            return Err(format!("{pattern}: more than one"));
        }
        self.vars.values.extend(kept);
        Ok(path.clone())
    }

    fn run(&mut self, run: &Run) -> Result<(), String> {
        let args = run
            .run
            .iter()
            .map(|a| self.vars.bytes(a).map(OsString::from_vec))
            .collect::<Result<Vec<_>, _>>()?;
        let mut call = Call {
            args,
            stdout: run.stdout_to,
            ..Call::default()
        };
        if let Some(c) = &run.stdin {
            call.stdin = self.vars.bytes(c)?;
        }
        for (k, v) in &run.env {
            let v = if v.is_null() {
                None
            } else {
                Some(OsString::from_vec(self.vars.bytes(v)?))
            };
            call.env.push((k.clone(), v));
        }
        call.cwd = run.cwd.as_ref().map(|d| self.dir.join(d));
        if self.unprivileged {
            call.prefix = ORDINARY.map(OsString::from).to_vec();
        }
        let mut script = String::new();
        if let Some(m) = &run.umask {
            script += &format!("umask {};", self.vars.text(m)?);
        }
        if let Some(n) = run.fsize {
            // Ignored signals stay ignored: the write fails with EFBIG.
            script += &format!("trap '' XFSZ; ulimit -f {n};");
        }
        if let Some(n) = &run.nofile {
            script += &format!("ulimit -n {};", self.vars.text(n)?);
        }
        if !script.is_empty() {
            script += "exec \"$@\"";
            let words = ["sh", "-c", &script, "sh"];
            call.prefix.extend(words.map(OsString::from));
        }
        let verb = call
            .args
            .first()
            .map_or(String::new(), |v| v.display().to_string());
        let out = self
            .driver
            .run(self.temp.path(), call)
            .map_err(|e| format!("{verb}: {e}"))?;
        self.judge(run, &out).map_err(|why| {
            let err = if out.stderr.is_empty() {
                String::new()
            } else {
                format!(" [stderr: {}]", show(&out.stderr))
            };
            format!("{verb}: {why}{err}")
        })
    }

    fn judge(&mut self, run: &Run, out: &Output) -> Result<(), String> {
        let zero = json!(0);
        let want = run.exit.as_ref().unwrap_or(&zero);
        let name = |v: &Value| v.as_str().map_or(v.to_string(), str::to_string);
        let wanted: Vec<String> = match want {
            Value::Array(list) => list.iter().map(name).collect(),
            one => vec![name(one)],
        };
        if !wanted.contains(&out.exit()) {
            return Err(format!("exit {}, not {}", out.exit(), wanted.join(" or ")));
        }
        // An answer nobody expected is wrong: stdout is the answer, nothing else.
        let empty = json!("");
        let kept = same_bytes(
            &out.stdout,
            run.stdout.as_ref().unwrap_or(&empty),
            &self.vars,
        )
        .map_err(|e| format!("stdout {e}"))?;
        self.vars.values.extend(kept);
        match &run.stderr {
            None => stderr_is_ours(&out.stderr, out.exit() == "2")?,
            Some(want) => {
                same_bytes(&out.stderr, want, &self.vars).map_err(|e| format!("stderr {e}"))?;
            }
        }
        if let Some(name) = &run.save {
            let b = out.stdout.strip_suffix(b"\n").unwrap_or(&out.stdout);
            self.vars.set(name, b);
        }
        if run
            .min_ms
            .is_some_and(|n| out.took < Duration::from_millis(n))
        {
            return Err(format!("took only {} ms", out.took.as_millis()));
        }
        if run
            .max_ms
            .is_some_and(|n| out.took > Duration::from_millis(n))
        {
            return Err(format!("took {} ms", out.took.as_millis()));
        }
        Ok(())
    }
}

/// CLI-2: every message begins with `mbox: `; indented lines go on with one.
/// After a usage error the usage may follow.
fn stderr_is_ours(stderr: &[u8], usage: bool) -> Result<(), String> {
    for (i, line) in stderr.split(|c| *c == b'\n').enumerate() {
        let fine = line.is_empty() || line.starts_with(b"mbox: ") || line.starts_with(b" ");
        if !(fine || usage && i > 0) {
            return Err(format!(
                "stderr has a line that does not begin with \"mbox: \": {}",
                show(line)
            ));
        }
    }
    Ok(())
}

/// Renames every claim on mailbox `b` to a stamp 301 s ago: an orphan for
/// everyone but for a peer with guard while its flock is held.
pub fn age_claims(dir: &Path, b: &str) -> Result<(), String> {
    let claims = dir.join(format!("{b}.claims"));
    let Ok(entries) = fs::read_dir(&claims) else {
        return Ok(());
    };
    for e in entries.flatten() {
        let name = e.file_name().to_string_lossy().into_owned();
        let mut parts = name.splitn(3, '-');
        let (Some(birth), Some(_), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!("{name} is not a claim name"));
        };
        let to = claims.join(format!("{birth}-{:013}-{rest}", now_ms() - 301_000));
        fs::rename(e.path(), to).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

/// Whether a driver is a peer with guard: it leaves `B.lock.guard` behind; a sender; and
/// has a hook.
pub fn probe(driver: &mut Driver) -> Result<(), String> {
    let x = Arena::new()?;
    let out = x.run(driver, "append", &["--id", "00000000000000ff", "probe"])?;
    if out.exit() != "0" || out.stdout != b"00000000000000ff\n" {
        return Err(format!(
            "cannot even append: exit {}, stdout \"{}\", stderr \"{}\"",
            out.exit(),
            show(&out.stdout),
            show(&out.stderr)
        ));
    }
    driver.guard = x.path(".lock.guard").exists();
    driver.sender = has_verb(driver, &["send", "probe", "probe"])?;
    driver.hook = has_verb(driver, &["hook", "claude"])?;
    Ok(())
}

/// A driver that lacks a verb says that it is a usage error, and makes nothing.
fn has_verb(driver: &Driver, args: &[&str]) -> Result<bool, String> {
    let x = Arena::new()?;
    let call = Call {
        args: args.iter().map(OsString::from).collect(),
        ..Call::default()
    };
    let out = driver.run(x.temp.path(), call)?;
    match out.exit().as_str() {
        "2" if x.temp.path().join("w/root").exists() => Err(format!(
            "answers {} with 2, and made a root for it",
            args[0]
        )),
        exit => Ok(exit != "2"),
    }
}
