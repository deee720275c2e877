//! What every test stands on: a mailbox root of its own, a hermetic environment,
//! processes that cannot outlive their test, and time that is set and not waited for.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{PipeReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use proptest::test_runner::{Config as ProptestConfig, RngSeed};
use tempfile::TempDir;

/// The binary under test.
pub const MBOX: &str = env!("CARGO_BIN_EXE_mbox");

/// Longer than anything here may take: what reaches it hangs.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A home directory, a root in it, and nothing else of the world but PATH.
pub struct Fixture {
    dir: TempDir,
}

impl Fixture {
    pub fn new() -> Fixture {
        let dir = tempfile::Builder::new()
            .prefix("mbox-suite-")
            .tempdir()
            .unwrap();
        Fixture { dir }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn root(&self) -> PathBuf {
        self.dir().join("root")
    }

    /// The files of the mailbox `name`.
    pub fn files(&self, name: &str) -> Files {
        Files::of(self.root().join("mailboxes").join(format!("{name}.jsonl")))
    }

    /// `mbox` with `args`, to be run to its end and looked at.
    pub fn mbox(&self, args: &[&str]) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::from_std(self.process(args));
        command.timeout(DEADLINE);
        command
    }

    /// `mbox` with `args`, to be started and left running.
    pub fn process(&self, args: &[&str]) -> Command {
        let mut command = self.program(MBOX);
        command.args(args);
        command
    }

    /// Any program in the same environment, in this directory.
    pub fn program(&self, program: &str) -> Command {
        let bin = Path::new(MBOX).parent().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(
            std::iter::once(bin.to_owned()).chain(std::env::split_paths(&path)),
        )
        .unwrap();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.dir())
            .env("MBOX_ROOT", self.root())
            .env("TMPDIR", self.dir())
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.dir())
            .stdin(Stdio::null());
        command
    }

    /// Appends one message and returns its id.
    pub fn append(&self, name: &str, body: &str) -> String {
        let out = self.mbox(&["append", name, "--", body]).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{out:?}");
        String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
    }

    /// Appends a message for each body.
    pub fn fill(&self, name: &str, bodies: &[&str]) {
        for body in bodies {
            self.append(name, body);
        }
    }

    /// The bodies a drain hands over.
    pub fn drain(&self, name: &str) -> Vec<String> {
        self.bodies(&["drain", name])
    }

    /// The bodies a peek shows.
    pub fn peek(&self, name: &str) -> Vec<String> {
        self.bodies(&["peek", name])
    }

    fn bodies(&self, args: &[&str]) -> Vec<String> {
        let out = self.mbox(args).args(["--format", "body"]).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{args:?}: {out:?}");
        let text = String::from_utf8(out.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// The files of one mailbox, by path.
#[derive(Clone, Debug)]
pub struct Files {
    pub records: PathBuf,
    pub lock: PathBuf,
    pub owner: PathBuf,
    pub steal: PathBuf,
    pub guard: PathBuf,
    pub claims: PathBuf,
    pub damaged: PathBuf,
}

impl Files {
    pub fn of(records: PathBuf) -> Files {
        let beside = |ending: &str| {
            let mut path = records.clone().into_os_string();
            path.push(ending);
            PathBuf::from(path)
        };
        Files {
            lock: beside(".lock"),
            owner: beside(".lock.owner"),
            steal: beside(".lock.steal"),
            guard: beside(".lock.guard"),
            claims: beside(".claims"),
            damaged: beside(".damaged"),
            records,
        }
    }

    pub fn dir(&self) -> &Path {
        self.records.parent().unwrap()
    }

    /// Makes the directories the mailbox stands in.
    pub fn make_dir(&self) {
        fs::create_dir_all(self.dir()).unwrap();
    }

    /// Takes the lock by hand, as a peer written in anything else would.
    pub fn hold(&self, token: &str) {
        self.make_dir();
        fs::create_dir(&self.lock).unwrap();
        fs::write(&self.owner, token).unwrap();
    }

    /// Releases what [`hold`](Files::hold) took.
    pub fn let_go(&self) {
        fs::remove_file(&self.owner).unwrap();
        fs::remove_dir(&self.lock).unwrap();
    }

    pub fn token(&self) -> Option<String> {
        fs::read_to_string(&self.owner)
            .ok()
            .filter(|t| !t.is_empty())
    }

    pub fn is_held(&self) -> bool {
        self.lock.exists() && self.token().is_some()
    }

    /// Puts a claim by hand, with a stamp this far from now (seconds, later is positive).
    pub fn put_claim(&self, birth: u64, stamp_offset: i64, token: &str, lines: &str) -> PathBuf {
        if !self.claims.exists() {
            self.make_dir();
            fs::create_dir(&self.claims).unwrap();
        }
        let stamp = unix_millis()
            .checked_add_signed(stamp_offset * 1000)
            .unwrap();
        let path = self
            .claims
            .join(format!("{birth:013}-{stamp:013}-0.{token}"));
        fs::write(&path, lines).unwrap();
        path
    }

    /// The names of the claims, in order.
    pub fn claim_names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.claims)
            .map(|entries| {
                entries
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect()
            })
            .unwrap_or_default();
        names.sort();
        names
    }

    pub fn temporaries(&self) -> Vec<PathBuf> {
        let prefix = format!("{}.tmp.", self.records.file_name().unwrap().display());
        fs::read_dir(self.dir())
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                let name = path.file_name().unwrap();
                name.to_str().unwrap().starts_with(&prefix)
            })
            .collect()
    }

    /// No trace of a lock, a steal or a temporary.
    #[track_caller]
    pub fn assert_unlocked(&self) {
        for path in [&self.lock, &self.owner, &self.steal] {
            assert!(
                fs::symlink_metadata(path).is_err(),
                "{} was left",
                path.display()
            );
        }
        assert_eq!(self.temporaries(), [] as [PathBuf; 0]);
    }
}

/// Sets the mtime of a file or directory this far from now (seconds, later is positive).
pub fn set_age(path: &Path, offset: i64) {
    let by = Duration::from_secs(offset.unsigned_abs());
    let now = SystemTime::now();
    let then = if offset < 0 { now - by } else { now + by };
    File::open(path).unwrap().set_modified(then).unwrap();
}

/// How long ago something was modified; a date in the future is zero.
pub fn age(path: &Path) -> Duration {
    let modified = fs::symlink_metadata(path).unwrap().modified().unwrap();
    modified.elapsed().unwrap_or_default()
}

pub fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis().try_into().unwrap()
}

/// Everything in a directory: kind, mode, content. Two equal trees: nothing was touched.
pub fn tree(dir: &Path) -> BTreeMap<PathBuf, String> {
    let describe = |path: &Path| {
        let meta = fs::symlink_metadata(path).unwrap();
        let kind = meta.file_type();
        let mode = meta.mode() & 0o7777;
        if kind.is_symlink() {
            format!("link to {}", fs::read_link(path).unwrap().display())
        } else if kind.is_dir() {
            format!("dir {mode:o}")
        } else if kind.is_fifo() {
            "fifo".to_owned()
        } else {
            format!("file {mode:o} {}", fs::read(path).unwrap().escape_ascii())
        }
    };
    walkdir::WalkDir::new(dir)
        .min_depth(1)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .map(|path| (path.clone(), describe(&path)))
        .collect()
}

/// Whether this is the full run: nothing may be skipped, and every case is tried.
pub fn is_full() -> bool {
    std::env::var_os("MBOX_TEST_FULL").is_some_and(|value| value == "1")
}

/// How many random cases to try, here and in the full run. They are the same ones every
/// time, unless `PROPTEST_RNG_SEED` is set.
pub fn cases(here: u32, in_full: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        given @ RngSeed::Fixed(_) => given,
    };
    ProptestConfig {
        cases: if is_full() { in_full } else { here },
        failure_persistence: None,
        rng_seed,
        ..config
    }
}

/// Says loudly that a test does not run here; in the full run that is a failure.
pub fn skip(reason: &str) {
    assert!(!is_full(), "MBOX_TEST_FULL=1 and cannot run: {reason}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not eprintln: the harness swallows that of a test that passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// Whether `program` can be found on PATH.
pub fn has_program(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| {
        fs::metadata(dir.join(program))
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Polls until `condition` holds; fails the test when it does not in time.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Tries every case, a few at once: most of the time they wait.
pub fn for_each<T: Sync>(cases: &[T], check: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(case);
                }
            });
        }
    });
}

/// A process of this test, in a process group of its own. Dropped, the group is killed.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Running {
        Running(command.process_group(0).spawn().unwrap())
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().try_into().unwrap())
    }

    pub fn send(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// To the process and all it started, as a terminal does.
    pub fn send_to_group(&self, signal: Signal) {
        killpg(self.pid(), signal).unwrap();
    }

    /// Stops the process, and returns only when it has stopped.
    pub fn freeze(&self) {
        self.send(Signal::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.pid());
        until("the process has stopped", || {
            let stat = fs::read_to_string(&stat).unwrap();
            // The state stands behind the name, which is in parentheses.
            stat.rsplit_once(')')
                .unwrap()
                .1
                .trim_start()
                .starts_with('T')
        });
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the process has ended", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// What it has written to stderr; call it when it has ended.
    pub fn stderr(&mut self) -> String {
        let mut text = String::new();
        let stderr = self.0.stderr.as_mut().expect("stderr is piped");
        stderr.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already, mostly.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// An exclusive flock on the guard, as a live peer with guard holds it.
pub fn flock(path: &Path) -> File {
    let file = File::options()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    fs2::FileExt::try_lock_exclusive(&file).unwrap();
    file
}

/// Whether somebody holds the flock on `path`.
pub fn is_flocked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| fs2::FileExt::try_lock_exclusive(&file).is_err())
}

/// Runs with stdout a pipe that nobody reads.
pub fn with_broken_pipe(command: &mut Command) -> std::process::Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    run_with_stdout(command, writer.into())
}

/// Runs with stdout on a device that is always full.
pub fn with_full_stdout(command: &mut Command) -> std::process::Output {
    let full = File::options().write(true).open("/dev/full").unwrap();
    run_with_stdout(command, full.into())
}

fn run_with_stdout(command: &mut Command, stdout: Stdio) -> std::process::Output {
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn();
    child.unwrap().wait_with_output().unwrap()
}

/// Starts `command` with stdout a pipe, and returns when it has begun to write there.
/// What is longer than the pipe then blocks.
pub fn start_writing(command: &mut Command) -> (Running, PipeReader) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let running = Running::start(command.stdout(writer));
    command.stdout(Stdio::null()); // lets go of our copy of the writer
    let mut first = [0];
    reader.read_exact(&mut first).unwrap();
    (running, reader)
}

/// A closed stdout is quiet: 74 and no message, or death by SIGPIPE (EXIT-2).
#[track_caller]
pub fn assert_quiet_pipe(out: &std::process::Output) {
    let is_pipe = out.status.code() == Some(74) || out.status.signal() == Some(13);
    assert!(is_pipe, "{out:?}");
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
}

/// A full stdout is told (EXIT-1).
#[track_caller]
pub fn assert_full_stdout(out: &std::process::Output) {
    assert_eq!(out.status.code(), Some(74), "{out:?}");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(
        stderr.starts_with("mbox: cannot write to stdout"),
        "{stderr}"
    );
}

/// `mbox VERB --help` names everything in `words` on stdout.
#[track_caller]
pub fn assert_help(verb: &str, words: &[&str]) {
    let fx = Fixture::new();
    let out = fx.mbox(&[verb, "--help"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    for word in words {
        assert!(text.contains(word), "{verb} --help lacks {word}:\n{text}");
    }
    assert!(out.stderr.is_empty());
    assert!(tree(fx.dir()).is_empty());
}

/// Each line of arguments is a usage error: 2, a message, and nothing is touched (CLI-1).
#[track_caller]
pub fn assert_usage(fx: &Fixture, lines: &[&[&str]]) {
    let before = tree(fx.dir());
    for args in lines {
        let out = fx.mbox(args).write_stdin("{}\n").output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {out:?}");
        assert!(out.stdout.is_empty(), "{args:?}: {out:?}");
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(stderr.starts_with("mbox: "), "{args:?}: {stderr}");
        assert_eq!(tree(fx.dir()), before, "{args:?}");
    }
}

/// While another holds the lock: 75 within the wait, the holder named, its lock intact.
#[track_caller]
pub fn assert_busy(fx: &Fixture, name: &str, args: &[&str]) {
    let files = fx.files(name);
    files.hold("4242.0123456789abcdef");
    // A guard file is made once and stays; all else is as it was.
    File::create(&files.guard).unwrap();
    fs::set_permissions(&files.guard, fs::Permissions::from_mode(0o600)).unwrap();
    let before = tree(fx.dir());
    let begin = Instant::now();
    let mut command = fx.process(&[args[0], "--wait", "0.3"]);
    let out = command.args(&args[1..]).output().unwrap();
    let took = begin.elapsed();
    assert_eq!(out.status.code(), Some(75), "{out:?}");
    assert!(out.stdout.is_empty(), "{out:?}");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(stderr.starts_with("mbox: cannot lock "), "{stderr}");
    assert!(stderr.contains("held by process 4242"), "{stderr}");
    assert!(stderr.contains("try again"), "{stderr}");
    let wait = Duration::from_millis(300);
    assert!(took >= wait && took < DEADLINE, "{took:?}");
    assert_eq!(tree(fx.dir()), before);

    // --wait 0 tries once, and that is enough when the lock is free (CLI-5).
    files.let_go();
    let mut command = fx.process(&[args[0], "--wait", "0"]);
    let out = command.args(&args[1..]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}
