//! `mbox events`: following the events of a root, and the hub that serves them.

mod load;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::common::{
    DEADLINE, Fixture, MBOX, Running, assert_full_stdout, assert_help, assert_usage, has_program,
    is_full, skip, tree, until, with_full_stdout,
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

#[test]
fn all_subscribers_see_the_same() {
    let fx = Fixture::new();
    let (_hub, socket) = hub(&fx);
    assert_eq!(
        socket,
        fx.root().canonicalize().unwrap().join("events.socket")
    );
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
    let mut all: Vec<_> = (0..3).map(|_| connect(&socket)).collect();
    let hellos: Vec<Value> = all.iter_mut().map(Lines::hello).collect();
    assert!(hellos.iter().all(|hello| hello["hub"] == hellos[0]["hub"]));
    let mut shell = fx.program("sh");
    let mirror = concat!(env!("CARGO_MANIFEST_DIR"), "/shell/mbox.sh");
    shell
        .env("MBOX_PURE", "1")
        .args([mirror, "append", "s", "x"]);
    assert!(shell.stdout(Stdio::null()).status().unwrap().success());
    for lines in &mut all {
        lines.expect(&[(CREATED, "s"), (APPENDED, "s")]);
    }
    // A peer without guard leaves nothing behind.
    fs::remove_file(fx.files("s").records).unwrap();
    for lines in &mut all {
        lines.expect(&[(DRAINED, "s"), (REMOVED, "s")]);
    }
    let mut late = connect(&socket);
    assert_eq!(late.hello()["seq"], 4);
    fx.append("b", "x");
    for lines in all.iter_mut().chain([&mut late]) {
        assert_eq!(lines.next()["seq"], 5);
        assert_eq!(lines.next()["seq"], 6);
    }
}

#[test]
fn a_filter() {
    let fx = Fixture::new();
    let (_hub, socket) = hub(&fx);
    let mut lines = connect(&socket);
    lines.hello();
    lines.send(b"{\"mailboxes\":[\"b\",\"c\"],\"later\":1}\n");
    assert_eq!(lines.hello()["mailboxes"], json!(["b", "c"]));
    let mut follower = Process::start(&fx, &["--mailbox", "b", "--mailbox", "c"]);
    assert_eq!(follower.lines().hello()["mailboxes"], json!(["b", "c"]));
    for name in ["a", "b", "a", "c"] {
        fx.append(name, "x");
    }
    let wanted = [
        (CREATED, "b"),
        (APPENDED, "b"),
        (CREATED, "c"),
        (APPENDED, "c"),
    ];
    lines.expect(&wanted);
    follower.lines().expect(&wanted);
}

#[test]
fn heartbeats_only_for_those_who_ask() {
    let fx = Fixture::new();
    let (_hub, socket) = hub(&fx);
    let mut without = connect(&socket);
    without.hello();
    let mut with = connect(&socket);
    with.hello();
    with.send(b"{\"heartbeat\":0.1}\n");
    with.hello();
    let beat = json!({"type": "heartbeat", "seq": 0});
    assert_eq!(with.next(), beat);
    assert_eq!(with.next(), beat);
    fx.append("a", "x");
    without.expect(&[(CREATED, "a"), (APPENDED, "a")]);
    for args in [&["--heartbeat", "0.1"][..], &["--heartbeat=0.1"]] {
        let mut follower = Process::start(&fx, args);
        follower.lines().hello();
        assert_eq!(follower.lines().next()["type"], "heartbeat");
    }
}

#[test]
fn what_is_not_a_request_is_refused() {
    let fx = Fixture::new();
    let (_hub, socket) = hub(&fx);
    let mut other = connect(&socket);
    other.hello();
    let mut long = vec![b'x'; 1 << 20];
    long.push(b'\n');
    for (sent, reason) in [
        (&b"garbage\n"[..], "not a JSON object"),
        (b"\xff\x00\n", "not a JSON object"),
        (b"\n", "not a JSON object"),
        (b"{\"mailboxes\":[\"../x\"]}\n", "not a mailbox name"),
        (b"{\"heartbeat\":0}\n", "heartbeat"),
        (b"{}\n{}\n", "only one line"),
        (&long, "too long"),
        (&long[..1 << 19], "too long"),
    ] {
        let mut lines = connect(&socket);
        lines.hello();
        lines.send(sent);
        lines.assert_refused(reason);
    }
    let mut twice = connect(&socket);
    twice.hello();
    twice.send(b"{}\n");
    twice.hello();
    twice.send(b"{}\n");
    twice.assert_refused("only one line");
    fx.append("a", "x");
    other.expect(&[(CREATED, "a"), (APPENDED, "a")]);
}

#[test]
fn a_subscriber_may_close_its_sending_side() {
    let fx = Fixture::new();
    let (_hub, socket) = hub(&fx);
    let mut silent = connect(&socket);
    silent.0.get_ref().shutdown(Shutdown::Write).unwrap();
    silent.hello();
    let mut asking = connect(&socket);
    asking.send(b"{\"mailboxes\":[\"a\"]}"); // the end of it ends the line
    asking.0.get_ref().shutdown(Shutdown::Write).unwrap();
    asking.hello();
    asking.hello();
    fx.append("b", "x");
    fx.append("a", "x");
    silent.expect(&[(CREATED, "b"), (APPENDED, "b")]);
    asking.expect(&[(CREATED, "a"), (APPENDED, "a")]);
}

/// Appends to a record file as fast as events are made of it.
fn many_events(fx: &Fixture, lines: &mut Lines<UnixStream>, count: usize) -> u64 {
    let path = fx.files("busy").records;
    let mut file = fs::File::options().append(true).open(path).unwrap();
    let mut newest = 0;
    for _ in 0..count {
        file.write_all(b"{}\n").unwrap();
        newest = lines.next()["seq"].as_u64().unwrap();
    }
    newest
}

#[test]
fn one_who_does_not_read_delays_nobody_and_learns_how_much_it_missed() {
    let fx = Fixture::new();
    fx.append("busy", "x");
    let (_hub, socket) = hub(&fx);
    let mut slow = connect(&socket);
    slow.hello();
    let mut filtered = connect(&socket);
    filtered.hello();
    filtered.send(b"{\"mailboxes\":[\"other\"]}\n");
    filtered.hello();
    let mut lines = connect(&socket);
    lines.hello();
    let newest = many_events(&fx, &mut lines, 1_000);
    assert_eq!(newest, 1_000);
    let (mut at, mut missed) = (0, 0);
    while at != newest {
        let line = slow.next();
        let seq = line["seq"].as_u64().unwrap();
        if line["type"] == "lagged" {
            missed += line["missed"].as_u64().unwrap();
            assert_eq!(at + line["missed"].as_u64().unwrap(), seq, "{line}");
        } else {
            assert_eq!(at + 1, seq, "{line}");
        }
        at = seq;
    }
    assert!(missed > 64, "{missed}");
    // It is one like all others again; and who asked for none of it has missed nothing.
    fx.append("other", "x");
    for lines in [&mut slow, &mut filtered, &mut lines] {
        lines.expect(&[(CREATED, "other"), (APPENDED, "other")]);
    }
}

#[test]
fn one_who_asks_while_it_is_behind_learns_how_much_it_missed() {
    let fx = Fixture::new();
    fx.append("busy", "x");
    let (_hub, socket) = hub(&fx);
    let mut slow = connect(&socket);
    let mut at = slow.hello()["seq"].as_u64().unwrap();
    let mut lines = connect(&socket);
    lines.hello();
    many_events(&fx, &mut lines, 1_000);
    slow.send(b"{\"mailboxes\":[\"other\"]}\n");
    let mut missed = 0;
    loop {
        let line = slow.next();
        let seq = line["seq"].as_u64().unwrap();
        let told = match line["type"].as_str().unwrap() {
            "hello" => 0,
            "lagged" => line["missed"].as_u64().unwrap(),
            _ => 1,
        };
        missed += told.saturating_sub(1);
        at += told;
        assert_eq!(at, seq, "{line}");
        if told == 0 {
            break;
        }
    }
    assert!(missed > 64, "{missed}");
    fx.append("other", "x");
    slow.expect(&[(CREATED, "other"), (APPENDED, "other")]);
}

#[test]
fn one_who_leaves_takes_nobody_along() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let (hub, socket) = hub(&fx);
    for _ in 0..50 {
        let (mut first, mut second) = (connect(&socket), connect(&socket));
        first.hello();
        second.hello();
        let path = fx.files("a").records;
        let mut file = fs::File::options().append(true).open(path).unwrap();
        // So that it finds both at once, and not in the rest it takes after a look.
        std::thread::sleep(Duration::from_millis(30));
        hub.running.freeze();
        drop(first);
        file.write_all(b"{}\n").unwrap();
        hub.running.send(Signal::SIGCONT);
        second.expect(&[(APPENDED, "a")]);
        // It is still there after what the one who left could not be sent.
        file.write_all(b"{}\n").unwrap();
        second.expect(&[(APPENDED, "a")]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_hub_without_descriptors_goes_on() {
    if !has_program("prlimit") {
        return skip("no prlimit");
    }
    let fx = Fixture::new();
    fx.append("a", "x");
    let (mut hub, socket) = hub(&fx);
    let mut lines = connect(&socket);
    lines.hello();
    let mut beats = connect(&socket);
    beats.hello();
    beats.send(b"{\"mailboxes\":[],\"heartbeat\":0.1}\n");
    beats.hello();
    let pid = hub.running.child().id();
    let limit = |most: &str| {
        let mut prlimit = fx.program("prlimit");
        prlimit.arg(format!("--pid={pid}"));
        prlimit.arg(format!("--nofile={most}:"));
        assert!(prlimit.status().unwrap().success());
    };
    // Not one more than it has; with fewer a poll of all it has would fail, too.
    let is_open = |fd: &u32| Path::new(&format!("/proc/{pid}/fd/{fd}")).is_symlink();
    limit(&(0..).find(|fd| !is_open(fd)).unwrap().to_string());
    let waiting = UnixStream::connect(&socket).unwrap();
    // A move makes it look for the directory anew, for which it needs a descriptor.
    fs::rename(fx.files("a").dir(), fx.root().join("away")).unwrap();
    fx.append("b", "x");
    for _ in 0..3 {
        assert_eq!(beats.next()["type"], "heartbeat"); // it has looked by then, in vain
    }
    limit("64");
    // What needs no descriptor may have been told before.
    let mut told: Vec<_> = (0..4).map(|_| lines.event()).collect();
    told.sort_by(|x, y| x.1.cmp(&y.1));
    let wanted = [
        (DRAINED, "a"),
        (REMOVED, "a"),
        (CREATED, "b"),
        (APPENDED, "b"),
    ];
    assert_eq!(
        told,
        wanted.map(|(kind, name)| (kind.to_owned(), name.to_owned()))
    );
    Lines(BufReader::new(waiting)).hello();
}

#[test]
fn a_root_behind_a_dangling_link() {
    let fx = Fixture::new();
    symlink("later", fx.dir().join("dangling")).unwrap();
    let root = fx.dir().join("dangling/root");
    let root = root.to_str().unwrap();
    let mut follower = Process::start(&fx, &["--root", root, "--count", "2"]);
    follower.lines().hello();
    fs::create_dir(fx.dir().join("later")).unwrap();
    fx.mbox(&["append", "a", "x", "--root", root])
        .assert()
        .success();
    follower.lines().expect(&[(CREATED, "a"), (APPENDED, "a")]);
    assert_eq!(follower.running.wait().code(), Some(0));
}

#[test]
fn a_second_hub_leaves_the_first_alone() {
    let fx = Fixture::new();
    let (_first, socket) = hub(&fx);
    let mut lines = connect(&socket);
    let hello = lines.hello();
    let before = fs::metadata(&socket).unwrap().ino();
    let out = fx.mbox(&["events", "--serve"]).output().unwrap();
    assert_eq!(out.status.code(), Some(75), "{out:?}");
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(stderr.contains("another hub is alive"), "{stderr}");
    assert_eq!(fs::metadata(&socket).unwrap().ino(), before);
    assert_eq!(connect(&socket).hello()["hub"], hello["hub"]);
    fx.append("a", "x");
    lines.expect(&[(CREATED, "a"), (APPENDED, "a")]);
}

#[test]
fn a_hub_of_another_kind_is_left_alone_too() {
    let fx = Fixture::new();
    fx.append("a", "x");
    // It listens, and knows of no flock.
    let _other = UnixListener::bind(fx.root().join("events.socket")).unwrap();
    fx.mbox(&["events", "--serve"]).assert().code(75);
}

#[test]
fn of_many_who_find_a_dead_socket_one_serves() {
    let fx = Fixture::new();
    let (first, socket) = hub(&fx);
    first.kill();
    let mut hubs: Vec<Process> = (0..8).map(|_| Process::start(&fx, &["--serve"])).collect();
    let mut ended = Vec::new();
    until("all but one have ended", || {
        for (n, hub) in hubs.iter_mut().enumerate() {
            if let Some(status) = hub.running.child().try_wait().unwrap() {
                assert_eq!(status.code(), Some(75));
                ended.push(n);
            }
        }
        ended.sort_unstable();
        ended.dedup();
        ended.len() == 7
    });
    // They end as soon as another has the guard, which is before it listens.
    until("it listens", || UnixStream::connect(&socket).is_ok());
    connect(&socket).hello();
}

#[test]
fn a_killed_hub_is_replaced_and_its_followers_go_on() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let (first, socket) = hub(&fx);
    let mut follower = Process::start(&fx, &[]);
    let before = follower.lines().hello();
    first.kill();
    assert!(socket.exists());
    // By itself now.
    let alone = follower.lines().hello();
    assert_ne!(alone["hub"], before["hub"]);
    fx.append("a", "y");
    follower.lines().expect(&[(APPENDED, "a")]);
    let (_second, again) = hub(&fx);
    assert_eq!(again, socket);
    let hello = follower.lines().hello();
    assert_eq!(connect(&socket).hello()["hub"], hello["hub"]);
    fx.drain("a");
    follower.lines().expect(&[(DRAINED, "a")]);
}

#[test]
fn signals_remove_the_socket() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let fx = Fixture::new();
        let (mut hub, socket) = hub(&fx);
        hub.running.send(signal);
        assert_eq!(hub.running.wait().signal(), Some(signal as i32));
        assert!(!socket.exists(), "{signal}");
        assert_eq!(hub.running.stderr(), "");
    }
}

#[test]
fn a_socket_of_another_is_not_removed() {
    let fx = Fixture::new();
    let (mut hub, socket) = hub(&fx);
    let other = fx.root().join("other");
    let _listener = UnixListener::bind(&other).unwrap();
    fs::rename(other, &socket).unwrap();
    hub.running.send(Signal::SIGTERM);
    hub.running.wait();
    assert!(socket.exists());
}

#[test]
fn a_socket_that_was_removed_comes_again() {
    let fx = Fixture::new();
    let (mut hub, socket) = hub(&fx);
    let mut before = connect(&socket);
    let hello = before.hello();
    fs::remove_file(&socket).unwrap();
    until("there is a socket", || UnixStream::connect(&socket).is_ok());
    let mut after = connect(&socket);
    assert_eq!(after.hello()["hub"], hello["hub"]);
    fx.append("a", "x");
    for lines in [&mut before, &mut after] {
        lines.expect(&[(CREATED, "a"), (APPENDED, "a")]);
    }
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
    hub.running.send(Signal::SIGTERM);
    hub.running.wait();
    assert!(!socket.exists());
}

#[test]
fn a_long_path_goes_to_the_runtime_directory() {
    let fx = Fixture::new();
    let root = fx.dir().join("r".repeat(200));
    let runtime = fx.dir().join("run");
    fs::create_dir(&runtime).unwrap();
    let mut command = fx.process(&["events", "--serve", "--root", root.to_str().unwrap()]);
    let out = command.output().unwrap();
    assert_eq!(out.status.code(), Some(74), "{out:?}");
    assert!(String::from_utf8_lossy(&out.stderr).contains("XDG_RUNTIME_DIR"));

    command
        .env("XDG_RUNTIME_DIR", &runtime)
        .stdout(Stdio::piped());
    let mut hub = Running::start(&mut command);
    let stdout = hub.child().stdout.take().unwrap();
    let socket = Lines(BufReader::new(stdout)).line();
    let socket = PathBuf::from(socket.trim_end());
    assert_eq!(socket.parent().unwrap(), runtime.join("mbox"));
    let canonical = root.canonicalize().unwrap();
    let hash = canonical
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    assert_eq!(
        socket.file_name().unwrap().to_str().unwrap(),
        format!("{hash:016x}.socket")
    );

    // A follower finds it by the same rule, whatever the root is called.
    let link = fx.dir().join("link");
    symlink(fx.dir(), &link).unwrap();
    let spelled = link.join(root.file_name().unwrap());
    let mut follower = fx.process(&["events", "--root", spelled.to_str().unwrap()]);
    follower
        .env("XDG_RUNTIME_DIR", &runtime)
        .stdout(Stdio::piped());
    let mut follower = Running::start(&mut follower);
    let stdout = follower.child().stdout.take().unwrap();
    let hello = Lines(BufReader::new(stdout)).hello();
    assert_eq!(hello["hub"], connect(&socket).hello()["hub"]);
    hub.send(Signal::SIGTERM);
    hub.wait();
    assert!(!socket.exists());
}

#[test]
fn what_is_no_socket_is_refused() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let socket = fx.root().join("events.socket");
    let elsewhere = fx.dir().join("elsewhere");
    let _listener = UnixListener::bind(&elsewhere).unwrap();
    let plants: [&dyn Fn(); 3] = [
        &|| symlink(&elsewhere, &socket).unwrap(),
        &|| fs::write(&socket, "x").unwrap(),
        &|| nix::unistd::mkfifo(&socket, nix::sys::stat::Mode::S_IRUSR).unwrap(),
    ];
    for plant in plants {
        plant();
        let before = tree(&fx.root().join("mailboxes"));
        for args in [&["events", "--serve"][..], &["events"]] {
            let out = fx.mbox(args).output().unwrap();
            assert_eq!(out.status.code(), Some(77), "{out:?}");
            let stderr = String::from_utf8(out.stderr).unwrap();
            assert!(stderr.contains("is in the way"), "{stderr}");
        }
        assert!(fs::symlink_metadata(&socket).is_ok());
        assert_eq!(tree(&fx.root().join("mailboxes")), before);
        fs::remove_file(&socket).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn those_who_hang_up_are_noticed() {
    let fx = Fixture::new();
    let (mut hub, socket) = hub(&fx);
    let fds = format!("/proc/{}/fd", hub.running.child().id());
    let count = || fs::read_dir(&fds).unwrap().count();
    // It may have a directory open to list it.
    let mut before = count();
    until("nothing is listed", || {
        let last = std::mem::replace(&mut before, count());
        last == before
    });
    let mut some: Vec<_> = (0..20).map(|_| connect(&socket)).collect();
    for lines in &mut some {
        lines.hello();
    }
    until("there is one for each", || count() == before + 20);
    drop(some);
    until("their descriptors are closed", || count() == before);
}

#[test]
fn a_frozen_hub_is_no_hindrance() {
    let fx = Fixture::new();
    let (hub, _socket) = hub(&fx);
    hub.running.freeze();
    fx.mbox(&["events", "--serve"]).assert().code(75);
    let mut follower = Process::start(&fx, &[]);
    follower.lines().hello();
    fx.append("a", "x");
    follower.lines().expect(&[(CREATED, "a"), (APPENDED, "a")]);
}

/// Correct under load; how fast is for `cargo bench --bench hub`, which has the machine to
/// itself.
#[test]
fn many_subscribers_many_events() {
    let fx = Fixture::new();
    let plan = load::Plan {
        subscribers: if is_full() { 300 } else { 50 },
        silent: if is_full() { 10 } else { 2 },
        // So many that no socket takes them all from one who is silent.
        events_per_second: 3_000,
        time: Duration::from_secs(if is_full() { 10 } else { 2 }),
        mailboxes: 500,
    };
    fs::create_dir(fx.root()).unwrap();
    let figures = load::run(MBOX, &fx.root(), &plan);
    println!("{figures:?}");
    let missed = &figures.missed_by_silent;
    assert!(missed.iter().all(|missed| *missed > 0));
    let readers = (plan.subscribers - plan.silent) as u64;
    // Each is told of every event, or that it has missed it.
    let told = figures.deliveries + figures.missed_by_readers;
    assert_eq!(told, readers * figures.events);
    assert!(figures.events_per_second > 0.0 && figures.p50 <= figures.p99);
    assert!(figures.p99 <= figures.max && figures.max < DEADLINE);
    assert!(figures.memory_kib.unwrap_or(0) < 64 << 10);
}
