//! `mbox events`: following the events of a root, and the hub that serves them.

mod life;
mod load;
mod subscribers;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::common::{
    DEADLINE, Fixture, Running, assert_full_stdout, assert_help, assert_usage, tree, until,
    with_full_stdout,
};

/// Lines of a stream, one at a time; a test that waits in vain fails.
struct Lines<R>(BufReader<R>);

impl<R: Read + AsFd> Lines<R> {
    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            if self.0.buffer().is_empty() {
                let mut fds = [PollFd::new(self.0.get_ref().as_fd(), PollFlags::POLLIN)];
                let limit = PollTimeout::try_from(DEADLINE).unwrap();
                // Some child of another test may end meanwhile.
                let ready = std::iter::repeat_with(|| poll(&mut fds, limit));
                let ready = { ready }.find(|ready| *ready != Err(Errno::EINTR));
                assert_eq!(ready, Some(Ok(1)), "waited in vain for a line");
            }
            let got = self.0.fill_buf().unwrap();
            let end = got
                .iter()
                .position(|&b| b == b'\n')
                .map_or(got.len(), |end| end + 1);
            if end == 0 {
                break; // the end of it all
            }
            line.extend_from_slice(&got[..end]);
            self.0.consume(end);
        }
        String::from_utf8(line).unwrap()
    }

    #[track_caller]
    fn next(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"))
    }

    #[track_caller]
    fn hello(&mut self) -> Value {
        let line = self.next();
        assert_eq!(line["type"], "hello", "{line}");
        assert_eq!(line["version"], 1);
        assert!(mbox::is_id(line["hub"].as_str().unwrap().as_bytes()));
        line
    }

    /// Type and mailbox of the next event.
    #[track_caller]
    fn event(&mut self) -> (String, String) {
        let line = self.next();
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        (text("type"), text("mailbox"))
    }

    #[track_caller]
    fn expect(&mut self, wanted: &[(&str, &str)]) {
        for (kind, mailbox) in wanted {
            let (found, of) = self.event();
            assert_eq!((&*found, &*of), (*kind, *mailbox));
        }
    }
}

fn connect(socket: &Path) -> Lines<UnixStream> {
    Lines(BufReader::new(UnixStream::connect(socket).unwrap()))
}

impl Lines<UnixStream> {
    fn send(&self, bytes: &[u8]) {
        // A hub that has had enough hangs up.
        let _ = self.0.get_ref().write_all(bytes);
    }

    #[track_caller]
    fn assert_refused(&mut self, reason: &str) {
        loop {
            let line = self.next();
            if line["type"] == "refused" {
                let found = line["reason"].as_str().unwrap();
                assert!(found.contains(reason), "{found}");
                break;
            }
        }
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest); // ECONNRESET: it had not read all of ours
        assert!(rest.is_empty());
    }
}

/// A hub, or a follower, and what it prints.
struct Process {
    running: Running,
    stdout: Option<Lines<std::process::ChildStdout>>,
}

impl Process {
    fn start(fx: &Fixture, args: &[&str]) -> Process {
        let mut command = fx.process(&[&["events"], args].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::start(&mut command);
        let stdout = running.child().stdout.take().unwrap();
        Process {
            running,
            stdout: Some(Lines(BufReader::new(stdout))),
        }
    }

    fn lines(&mut self) -> &mut Lines<std::process::ChildStdout> {
        self.stdout.as_mut().unwrap()
    }

    /// Ends it from outside, and returns when it has ended.
    fn kill(mut self) {
        self.running.send(Signal::SIGKILL);
        self.running.wait();
    }
}

/// A hub that listens, and its socket.
fn hub(fx: &Fixture) -> (Process, PathBuf) {
    let mut hub = Process::start(fx, &["--serve"]);
    let mut path = hub.lines().line();
    assert!(path.ends_with('\n'), "{path:?} {}", hub.running.stderr());
    path.pop();
    (hub, PathBuf::from(path))
}

const CREATED: &str = "mailbox.created";
const APPENDED: &str = "message.appended";
const DRAINED: &str = "mailbox.drained";
const REMOVED: &str = "mailbox.removed";

#[test]
fn help() {
    let words = [
        "--serve",
        "--mailbox",
        "--heartbeat",
        "--count",
        "--root",
        "socket",
    ];
    assert_help("events", &words);
}

#[test]
fn without_a_hub() {
    let fx = Fixture::new();
    fx.append("old", "x");
    let mut follower = Process::start(&fx, &["--count", "5"]);
    assert_eq!(follower.lines().hello()["seq"], 0);
    fx.append("a", "one");
    follower.lines().expect(&[(CREATED, "a")]);
    let bytes = fs::metadata(fx.files("a").records).unwrap().len();
    let appended = follower.lines().next();
    let wanted = json!({"type": APPENDED, "seq": 2, "mailbox": "a", "bytes": bytes});
    assert_eq!(appended, wanted);
    fx.append("a", "two");
    follower.lines().expect(&[(APPENDED, "a")]);
    fx.drain("a");
    follower.lines().expect(&[(DRAINED, "a")]);
    fx.drain("old");
    follower.lines().expect(&[(DRAINED, "old")]);
    assert_eq!(follower.running.wait().code(), Some(0));
    assert_eq!(follower.running.stderr(), "");
}

#[test]
fn nothing_there_yet_and_nothing_made() {
    let fx = Fixture::new();
    let root = fx.root().join("deeper/still");
    let root = root.to_str().unwrap();
    let mut follower = Process::start(&fx, &["--root", root, "--count", "2"]);
    follower.lines().hello();
    assert!(tree(fx.dir()).is_empty());
    fx.mbox(&["append", "a", "x", "--root", root])
        .assert()
        .success();
    follower.lines().expect(&[(CREATED, "a"), (APPENDED, "a")]);
    assert_eq!(follower.running.wait().code(), Some(0));
}

#[test]
fn a_root_that_is_moved_away_and_made_again() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let (_hub, socket) = hub(&fx);
    let mut lines = connect(&socket);
    lines.hello();
    let mailboxes = fx.root().join("mailboxes");
    fs::rename(&mailboxes, fx.root().join("away")).unwrap();
    lines.expect(&[(DRAINED, "a"), (REMOVED, "a")]);
    fx.append("b", "x");
    lines.expect(&[(CREATED, "b"), (APPENDED, "b")]);
    fs::rename(fx.root(), fx.dir().join("away")).unwrap();
    lines.expect(&[(DRAINED, "b"), (REMOVED, "b")]);
    fx.append("c", "x");
    lines.expect(&[(CREATED, "c"), (APPENDED, "c")]);
    // The socket is in its place again, too.
    until("there is a socket", || UnixStream::connect(&socket).is_ok());
}

#[test]
fn bad_usage() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let lines: [&[&str]; 8] = [
        &["events", "a"],
        &["events", "--mailbox"],
        &["events", "--mailbox", "../a"],
        &["events", "--heartbeat", "0"],
        &["events", "--heartbeat", "86401"],
        &["events", "--count", "0"],
        &["events", "--serve", "--count", "1"],
        &["events", "--serve", "--mailbox", "a"],
    ];
    assert_usage(&fx, &lines);
}

#[test]
fn an_unsafe_root_is_refused() {
    let fx = Fixture::new();
    fs::create_dir_all(fx.root()).unwrap();
    fs::set_permissions(fx.root(), fs::Permissions::from_mode(0o777)).unwrap();
    for args in [&["events"][..], &["events", "--serve"]] {
        fx.mbox(args).assert().code(77);
    }
}

#[test]
fn a_reader_who_leaves_is_noticed_at_once() {
    let fx = Fixture::new();
    for with_hub in [false, true] {
        let _hub = with_hub.then(|| hub(&fx));
        let mut follower = Process::start(&fx, &[]);
        follower.lines().hello();
        follower.stdout = None;
        assert_eq!(follower.running.wait().code(), Some(74));
        assert_eq!(follower.running.stderr(), "");
    }
}

#[test]
fn full_stdout() {
    let fx = Fixture::new();
    assert_full_stdout(&with_full_stdout(&mut fx.process(&["events"])));
}

#[test]
fn a_follower_dies_by_its_signal() {
    let fx = Fixture::new();
    let mut follower = Process::start(&fx, &[]);
    follower.lines().hello();
    follower.running.send(Signal::SIGTERM);
    assert_eq!(follower.running.wait().signal(), Some(15));
}
