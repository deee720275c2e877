//! A driver: a command that understands the verbs of spec/interface.md.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;

/// One command under test.
#[derive(Clone, Debug)]
pub struct Driver {
    pub name: String,
    words: Vec<OsString>,
    env: Vec<(String, String)>,
    /// Leaves `B.lock.guard` behind: a peer with guard. Found out by `probe`.
    pub guard: bool,
    /// Has the verbs `send` and `reply`. Found out by `probe`.
    pub sender: bool,
    /// Has the verb `hook`. Found out by `probe`.
    pub hook: bool,
    /// One of the project's own: a full peer, which has every verb but what it `lacks`.
    pub bundled: bool,
    pub lacks: Vec<String>,
    /// Cases it is known to fail, with the reason.
    pub xfail: BTreeMap<String, String>,
}

/// An entry of drivers/bundled.json.
#[derive(Deserialize)]
struct Bundled {
    name: String,
    command: String,
    /// Programs that have to be on PATH; a driver without them is skipped.
    #[serde(default)]
    needs: Vec<String>,
    /// Verbs it does not have.
    #[serde(default)]
    lacks: Vec<String>,
}

impl Driver {
    /// `command` is split into words like a shell would; `VAR=value` in front
    /// goes to the environment; a word that is a path here is made absolute,
    /// as drivers are run in other directories.
    pub fn parse(name: &str, command: &str) -> Result<Driver, String> {
        let mut env = Vec::new();
        let mut words: Vec<OsString> = Vec::new();
        for w in split_words(command)? {
            match w.split_once('=') {
                Some((k, v)) if words.is_empty() && !k.contains('/') => {
                    env.push((k.to_string(), v.to_string()));
                }
                _ if w.contains('/') && Path::new(&w).exists() => {
                    let p = std::path::absolute(&w).map_err(|e| format!("{w}: {e}"))?;
                    words.push(p.into_os_string());
                }
                _ => words.push(w.into()),
            }
        }
        let first = words.first().ok_or(format!("{name}: no command"))?;
        if on_path(first).is_none() {
            return Err(format!("{name}: no such command: {}", first.display()));
        }
        Ok(Driver {
            name: name.to_string(),
            words,
            env,
            guard: false,
            sender: false,
            hook: false,
            bundled: false,
            lacks: Vec::new(),
            xfail: BTreeMap::new(),
        })
    }

    /// Reads `dir/NAME.xfail`: a case name, blanks, the reason.
    pub fn read_xfail(&mut self, dir: &Path) -> Result<(), String> {
        let path = dir.join(format!("{}.xfail", self.name));
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|e| format!("{}: {e}", path.display()))?,
        };
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (case, reason) = line
                .split_once(char::is_whitespace)
                .ok_or(format!("{}: no reason given: {line}", path.display()))?;
            self.xfail
                .insert(case.to_string(), reason.trim().to_string());
        }
        Ok(())
    }

    /// A command ready to run in a hermetic environment below `home`.
    pub fn command(&self, home: &Path, prefix: &[OsString]) -> Command {
        let words: Vec<&OsString> = prefix.iter().chain(&self.words).collect();
        let mut c = Command::new(words[0]);
        c.args(&words[1..]).env_clear();
        c.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        c.env("LC_ALL", "C.UTF-8").env("HOME", home.join("home"));
        c.env("TMPDIR", home.join("tmp"))
            .env("MBOX_ROOT", home.join("w/root"));
        for (k, v) in &self.env {
            c.env(k, v);
        }
        // Its own group, so that a driver that hangs can be ended with all of
        // its children and nothing else.
        c.current_dir(home.join("w")).process_group(0);
        c
    }
}

pub fn load_bundled(
    dir: &Path,
    repo: &Path,
    binary: &Path,
) -> Result<Vec<Result<Driver, String>>, String> {
    let path = dir.join("bundled.json");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let list: Vec<Bundled> =
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let python = real_python();
    Ok(list
        .iter()
        .map(|b| {
            let fill = |s: &str| {
                s.replace("{repo}", &repo.to_string_lossy())
                    .replace("{binary}", &binary.to_string_lossy())
                    .replace("{python}", &python)
            };
            for need in b.needs.iter().map(|n| fill(n)) {
                if on_path(OsStr::new(&need)).is_none() {
                    return Err(format!("{}: {need} is missing", b.name));
                }
            }
            let mut driver = Driver::parse(&b.name, &fill(&b.command))?;
            driver.bundled = true;
            driver.lacks = b.lacks.clone();
            Ok(driver)
        })
        .collect())
}

/// The interpreter itself: what is called `python3` may be a launcher that needs longer than
/// the driver does.
fn real_python() -> String {
    let tell = "import sys; print(sys.executable)";
    let told = Command::new("python3").args(["-c", tell]).output();
    let told = told.ok().and_then(|out| String::from_utf8(out.stdout).ok());
    let told = told.map(|path| path.trim().to_owned());
    told.filter(|path| !path.is_empty())
        .unwrap_or_else(|| "python3".into())
}

/// The place of a program (or of a file, when it has a slash).
pub fn on_path(program: &OsStr) -> Option<PathBuf> {
    if program.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(program)).filter(|p| p.exists());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|d| d.join(program))
        .find(|p| p.is_file())
}

fn split_words(s: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in s.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("unclosed quote: {s}"));
    }
    words.extend(word);
    Ok(words)
}

/// Where the standard output of a run goes.
#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StdoutTo {
    /// A file the runner reads afterwards.
    #[default]
    File,
    /// A pipe whose reader is gone.
    Broken,
    /// /dev/full.
    Full,
    /// Not open at all.
    Closed,
}

/// One call of a driver.
#[derive(Default)]
pub struct Call {
    pub args: Vec<OsString>,
    pub stdin: Vec<u8>,
    /// Set, or with None removed.
    pub env: Vec<(String, Option<OsString>)>,
    pub stdout: StdoutTo,
    pub cwd: Option<PathBuf>,
    pub prefix: Vec<OsString>,
    pub timeout: Option<Duration>,
    /// Where it is to be written instead: a pipe a scenario holds.
    pub stdout_fd: Option<OwnedFd>,
}

/// How one call ended.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub took: Duration,
}

impl Output {
    /// The status, or `SIG<n>` by name.
    pub fn exit(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(c), _) => c.to_string(),
            (_, Some(s)) => Signal::try_from(s).map_or(format!("signal {s}"), |s| s.to_string()),
            _ => "?".to_string(),
        }
    }
}

/// A call that has not ended yet.
pub struct Running {
    pub child: Child,
    out: Option<File>,
    err: File,
    since: Instant,
    limit: Duration,
}

pub const TIMEOUT: Duration = Duration::from_secs(30);

impl Driver {
    pub fn start(&self, home: &Path, call: Call) -> Result<Running, String> {
        let mut prefix = call.prefix;
        if call.stdout == StdoutTo::Closed {
            prefix.splice(
                0..0,
                ["sh", "-c", "exec \"$@\" >&-", "sh"].map(OsString::from),
            );
        }
        let mut c = self.command(home, &prefix);
        c.args(&call.args);
        if let Some(d) = &call.cwd {
            c.current_dir(d);
        }
        for (k, v) in &call.env {
            match v {
                Some(v) => c.env(k, v),
                None => c.env_remove(k),
            };
        }
        let io = |e: std::io::Error| format!("cannot run {}: {e}", self.name);
        c.stdin(stdin(&call.stdin).map_err(io)?);
        let err = tempfile::tempfile().map_err(io)?;
        c.stderr(err.try_clone().map_err(io)?);
        let mut out = None;
        match (call.stdout_fd, call.stdout) {
            (Some(fd), _) => c.stdout(fd),
            (None, StdoutTo::Full) => {
                c.stdout(File::options().write(true).open("/dev/full").map_err(io)?)
            }
            (None, StdoutTo::Broken) => c.stdout(pipe()?.1),
            (None, _) => {
                let f = tempfile::tempfile().map_err(io)?;
                c.stdout(f.try_clone().map_err(io)?);
                out = Some(f);
                &mut c
            }
        };
        let since = Instant::now();
        let child = c.spawn().map_err(io)?;
        Ok(Running {
            child,
            out,
            err,
            since,
            limit: call.timeout.unwrap_or(TIMEOUT),
        })
    }

    pub fn run(&self, home: &Path, call: Call) -> Result<Output, String> {
        self.start(home, call)?.finish()
    }
}

impl Running {
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end; a call that takes too long is killed and an error.
    pub fn finish(mut self) -> Result<Output, String> {
        let mut nap = Duration::from_micros(500);
        let status = loop {
            if let Some(s) = self.child.try_wait().map_err(|e| e.to_string())? {
                break s;
            }
            if self.since.elapsed() > self.limit {
                self.kill_all();
                return Err(format!(
                    "still running after {} s, killed",
                    self.limit.as_secs()
                ));
            }
            std::thread::sleep(nap);
            nap = (nap * 5 / 4).min(Duration::from_millis(10));
        };
        let took = self.since.elapsed();
        // What one that was killed had started may still be writing.
        while status.signal().is_some()
            && killpg(self.pid(), None).is_ok()
            && self.since.elapsed() < self.limit
        {
            std::thread::sleep(nap);
        }
        let stdout = self.out.take().map_or(Ok(Vec::new()), slurp)?;
        let stderr = slurp(self.err.try_clone().map_err(|e| e.to_string())?)?;
        Ok(Output {
            status,
            stdout,
            stderr,
            took,
        })
    }

    pub fn kill_all(&mut self) {
        // The group may be gone already; then there is nothing to do.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    /// A scenario that fails half-way leaves nobody behind, parked or not.
    fn drop(&mut self) {
        if !self.is_over() {
            self.kill_all();
        }
    }
}

fn slurp(mut f: File) -> Result<Vec<u8>, String> {
    let mut b = Vec::new();
    f.rewind()
        .and_then(|()| std::io::Read::read_to_end(&mut f, &mut b))
        .map_err(|e| e.to_string())?;
    Ok(b)
}

pub fn pipe() -> Result<(OwnedFd, OwnedFd), String> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|e| format!("pipe: {e}"))
}

/// A pipe where it fits one, so that drivers see what they see in life.
fn stdin(bytes: &[u8]) -> std::io::Result<Stdio> {
    if bytes.is_empty() {
        return Ok(Stdio::null());
    }
    if bytes.len() <= 60_000 {
        let (r, w) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        File::from(w).write_all(bytes)?;
        return Ok(r.into());
    }
    let mut f = tempfile::tempfile()?;
    f.write_all(bytes)?;
    f.rewind()?;
    Ok(f.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(
            split_words("A=1 sh 'a b' \"\"").unwrap(),
            ["A=1", "sh", "a b", ""]
        );
        assert!(split_words("'x").is_err());
        let d = Driver::parse("x", "A=1 sh -c x=1").unwrap();
        assert_eq!((d.words.len(), d.env.len()), (3, 1));
    }
}
