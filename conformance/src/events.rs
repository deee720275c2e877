//! spec/events.md: a hub, its socket and its lines. The runner makes and removes the files
//! of mailboxes itself, so a hub need not be a peer; see DRIVER.md.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::check::workspace;
use crate::driver::{Call, Driver, Output, Running, TIMEOUT, pipe};
use crate::signal::ENDING;

type Scenario = fn(&World) -> Result<(), String>;

pub const SCENARIOS: [(&str, &[&str], Scenario); 13] = [
    (
        "events/hello",
        &["EVENT-1", "EVENT-3", "HUB-1", "HUB-2", "HUB-11"],
        hello,
    ),
    (
        "events/a-life",
        &[
            "EVENT-2", "EVENT-4", "EVENT-5", "EVENT-6", "EVENT-7", "EVENT-8",
        ],
        a_life,
    ),
    ("events/directories", &["EVENT-9"], directories),
    ("events/filter", &["HUB-7", "EVENT-2"], filter),
    ("events/heartbeat", &["EVENT-11"], heartbeat),
    ("events/refused", &["HUB-8"], refused),
    ("events/slow", &["HUB-9", "EVENT-10"], slow),
    ("events/second", &["HUB-3"], second),
    ("events/dead", &["HUB-4"], dead),
    ("events/signals", &["HUB-5"], signals),
    ("events/removed", &["HUB-6"], removed),
    ("events/long-path", &["HUB-1"], long_path),
    ("events/in-the-way", &["HUB-2"], in_the_way),
];

/// Whether the driver has a hub: `events --serve` is no usage error.
pub fn has_hub(driver: &Driver) -> Result<bool, String> {
    let world = World::new(driver)?;
    match world.start(&world.root, None)? {
        Started::Serving(..) => Ok(true),
        Started::Ended(out) if out.exit() == "2" => Ok(false),
        Started::Ended(out) => Err(ended(&out)),
    }
}

pub fn run(driver: &Driver, scenario: Scenario) -> Result<(), String> {
    scenario(&World::new(driver)?)
}

/// A driver, and a root of its own that is not there yet.
pub struct World<'a> {
    driver: &'a Driver,
    temp: TempDir,
    root: PathBuf,
}

enum Started {
    Serving(Running, PathBuf),
    Ended(Output),
}

impl<'a> World<'a> {
    fn new(driver: &'a Driver) -> Result<World<'a>, String> {
        let temp = workspace()?;
        let w = temp.path().join("w").canonicalize();
        let root = w.map_err(|e| e.to_string())?.join("root");
        Ok(World { driver, temp, root })
    }

    fn start(&self, root: &Path, runtime: Option<&Path>) -> Result<Started, String> {
        let (reader, writer) = pipe()?;
        let runtime = runtime.map(|dir| dir.as_os_str().to_owned());
        let args = ["events", "--serve", "--root"].map(OsString::from);
        let mut running = self.driver.start(
            self.temp.path(),
            Call {
                args: args.into_iter().chain([root.into()]).collect(),
                env: vec![("XDG_RUNTIME_DIR".to_string(), runtime)],
                stdout_fd: Some(writer),
                // A hub runs until it is ended; every wait for it is bounded.
                timeout: Some(TIMEOUT),
                ..Call::default()
            },
        )?;
        let mut lines = Lines::of(fs::File::from(reader));
        match lines.line() {
            Ok(line) if !line.is_empty() => Ok(Started::Serving(running, PathBuf::from(line))),
            Ok(_) => Ok(Started::Ended(running.finish()?)),
            Err(why) => {
                running.kill_all();
                Err(format!("events --serve prints no path: {why}"))
            }
        }
    }

    fn hub(&self) -> Result<(Running, PathBuf), String> {
        match self.start(&self.root, None)? {
            Started::Serving(running, socket) => Ok((running, socket)),
            Started::Ended(out) => Err(ended(&out)),
        }
    }

    /// A file of a mailbox.
    fn path(&self, name: &str) -> PathBuf {
        self.root.join("mailboxes").join(name)
    }

    fn append(&self, mailbox: &str, line: &str) -> Result<(), String> {
        let path = self.path(&format!("{mailbox}.jsonl"));
        let file = fs::File::options().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(|e| e.to_string())
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        fs::remove_file(self.path(name)).map_err(|e| format!("{name}: {e}"))
    }
}

fn ended(out: &Output) -> String {
    let stderr = String::from_utf8_lossy(&out.stderr);
    format!(
        "events --serve ended with {} [stderr: {stderr}]",
        out.exit()
    )
}

/// Lines of a stream, each waited for.
struct Lines<R> {
    stream: R,
    begun: Vec<u8>,
}

impl<R: Read + AsFd> Lines<R> {
    fn of(stream: R) -> Lines<R> {
        let begun = Vec::new();
        Lines { stream, begun }
    }

    /// The next line without its newline; empty at the end.
    fn line(&mut self) -> Result<String, String> {
        let end = Instant::now() + TIMEOUT;
        loop {
            if let Some(at) = self.begun.iter().position(|&b| b == b'\n') {
                let rest = self.begun.split_off(at + 1);
                let mut line = std::mem::replace(&mut self.begun, rest);
                line.pop();
                return String::from_utf8(line).map_err(|e| e.to_string());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("waited in vain for a line".to_string());
            }
            let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
            // An interruption or the end of the time: seen at the next turn.
            let _ = poll(
                &mut fds,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
            );
            if fds[0].any() != Some(true) {
                continue;
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                // A hub that closes on unread lines of ours is told as a reset.
                Ok(0) | Err(_) => return Ok(String::new()),
                Ok(n) => self.begun.extend_from_slice(&buffer[..n]),
            }
        }
    }

    fn json(&mut self) -> Result<Value, String> {
        let line = self.line()?;
        let value: Value = serde_json::from_str(&line).map_err(|e| format!("{line:?}: {e}"))?;
        match value["type"].is_string() {
            true => Ok(value),
            false => Err(format!("no object with a type: {line}")),
        }
    }

    fn hello(&mut self) -> Result<Value, String> {
        let line = self.json()?;
        let hub = line["hub"].as_str().unwrap_or_default();
        let is_id = hub.len() == 16 && hub.bytes().all(|b| b"0123456789abcdef".contains(&b));
        match line["type"] == "hello" && line["version"] == 1 && line["seq"].is_u64() && is_id {
            true => Ok(line),
            false => Err(format!("not a hello: {line}")),
        }
    }

    /// The next lines are these; fields beside those given are ignored.
    fn expect(&mut self, wanted: &[Value]) -> Result<(), String> {
        for wanted in wanted {
            let found = self.json()?;
            let fields = wanted.as_object().ok_or("not an object")?;
            if fields.iter().any(|(key, value)| found[key] != *value) {
                return Err(format!("{found}, and not {wanted}"));
            }
        }
        Ok(())
    }
}

fn connect(socket: &Path) -> Result<Lines<UnixStream>, String> {
    let stream = UnixStream::connect(socket);
    Ok(Lines::of(stream.map_err(|e| {
        format!("cannot connect to {}: {e}", socket.display())
    })?))
}

fn event(seq: u64, kind: &str, mailbox: &str) -> Value {
    json!({"seq": seq, "type": kind, "mailbox": mailbox})
}

const CREATED: &str = "mailbox.created";
const APPENDED: &str = "message.appended";
const DRAINED: &str = "mailbox.drained";
const REMOVED: &str = "mailbox.removed";

fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
    let end = Instant::now() + TIMEOUT;
    while !is_so() {
        if Instant::now() > end {
            return Err(format!("waited in vain until {what}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), String> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{what}: {found:?}, not {wanted:?}")),
    }
}

fn hello(w: &World) -> Result<(), String> {
    let (_hub, socket) = w.hub()?;
    same("the path printed", &socket, &w.root.join("events.socket"))?;
    let mode = |path: &Path| {
        fs::metadata(path)
            .map(|meta| meta.mode() & 0o777)
            .unwrap_or(0)
    };
    same("its mode", mode(&socket), 0o600)?;
    same("the mode of the root", mode(&w.root), 0o700)?;
    let (mut a, mut b) = (connect(&socket)?, connect(&socket)?);
    let (first, second) = (a.hello()?, b.hello()?);
    same("the hub", &first["hub"], &second["hub"])?;
    same("seq", &first["seq"], &json!(0))
}

fn a_life(w: &World) -> Result<(), String> {
    let (_hub, socket) = w.hub()?;
    let (mut a, mut b) = (connect(&socket)?, connect(&socket)?);
    a.hello()?;
    b.hello()?;
    let mut expect = |wanted: &[Value]| a.expect(wanted).and_then(|()| b.expect(wanted));
    let guard = "x.jsonl.lock.guard";
    fs::create_dir_all(w.path("")).map_err(|e| e.to_string())?;
    fs::write(w.path(guard), "").map_err(|e| e.to_string())?;
    expect(&[event(1, CREATED, "x")])?;
    w.append("x", "{}\n")?;
    let appended = json!({"seq": 2, "type": APPENDED, "mailbox": "x", "bytes": 3});
    expect(&[appended])?;
    w.append("x", "{\"a\":1}\n")?;
    let appended = json!({"seq": 3, "type": APPENDED, "mailbox": "x", "bytes": 11});
    expect(&[appended])?;
    // In the hands of a reader it makes no event; another mailbox tells when that was seen.
    let (records, claims) = (w.path("x.jsonl"), w.path("x.jsonl.claims"));
    let claim = claims.join("1795000000000-1795000000000-0.1.0123456789abcdef");
    fs::create_dir(&claims)
        .and_then(|()| fs::rename(&records, &claim))
        .map_err(|e| e.to_string())?;
    w.append("y", "{}\n")?;
    expect(&[event(4, CREATED, "y"), event(5, APPENDED, "y")])?;
    fs::remove_file(&claim)
        .and_then(|()| fs::remove_dir(&claims))
        .map_err(|e| e.to_string())?;
    expect(&[event(6, DRAINED, "x")])?;
    w.remove(guard)?;
    expect(&[event(7, REMOVED, "x")])?;
    w.remove("y.jsonl")?;
    expect(&[event(8, DRAINED, "y"), event(9, REMOVED, "y")])?;
    // Who comes later is told of nothing from before.
    let mut late = connect(&socket)?;
    same("seq", late.hello()?["seq"].clone(), json!(9))
}

fn directories(w: &World) -> Result<(), String> {
    let (_hub, socket) = w.hub()?;
    let mut lines = connect(&socket)?;
    lines.hello()?;
    let io = |e: std::io::Error| e.to_string();
    fs::create_dir_all(w.path("")).map_err(io)?;
    w.append("a", "{}\n")?;
    lines.expect(&[event(1, CREATED, "a"), event(2, APPENDED, "a")])?;
    fs::rename(w.path(""), w.root.join("away")).map_err(io)?;
    lines.expect(&[event(3, DRAINED, "a"), event(4, REMOVED, "a")])?;
    fs::create_dir(w.path("")).map_err(io)?;
    w.append("b", "{}\n")?;
    lines.expect(&[event(5, CREATED, "b"), event(6, APPENDED, "b")])?;
    fs::rename(&w.root, w.root.with_file_name("elsewhere")).map_err(io)?;
    lines.expect(&[event(7, DRAINED, "b"), event(8, REMOVED, "b")])?;
    fs::create_dir_all(w.path("")).map_err(io)?;
    w.append("c", "{}\n")?;
    lines.expect(&[event(9, CREATED, "c"), event(10, APPENDED, "c")])
}

/// A hub with mailboxes directory, and one who listens.
fn ready(w: &World) -> Result<(Running, PathBuf, Lines<UnixStream>), String> {
    let (hub, socket) = w.hub()?;
    let mut lines = connect(&socket)?;
    lines.hello()?;
    fs::create_dir_all(w.path("")).map_err(|e| e.to_string())?;
    Ok((hub, socket, lines))
}

/// Asks, and waits until that holds.
fn asking(socket: &Path, line: &str) -> Result<Lines<UnixStream>, String> {
    let mut lines = connect(socket)?;
    lines.hello()?;
    lines
        .stream
        .write_all(line.as_bytes())
        .map_err(|e| e.to_string())?;
    lines.hello()?;
    Ok(lines)
}

fn filter(w: &World) -> Result<(), String> {
    let (_hub, socket, mut all) = ready(w)?;
    let mut some = connect(&socket)?;
    some.hello()?;
    let line = b"{\"mailboxes\":[\"b\"],\"unknown\":{}}\n";
    some.stream.write_all(line).map_err(|e| e.to_string())?;
    same(
        "mailboxes",
        some.hello()?["mailboxes"].clone(),
        json!(["b"]),
    )?;
    let mut silent = connect(&socket)?;
    silent.hello()?;
    let _ = silent.stream.shutdown(std::net::Shutdown::Write); // its reading side is asked about
    w.append("a", "{}\n")?;
    let of_a = [event(1, CREATED, "a"), event(2, APPENDED, "a")];
    all.expect(&of_a)?;
    silent.expect(&of_a)?;
    w.append("b", "{}\n")?;
    let of_b = [event(3, CREATED, "b"), event(4, APPENDED, "b")];
    all.expect(&of_b)?;
    silent.expect(&of_b)?;
    some.expect(&of_b)
}

fn heartbeat(w: &World) -> Result<(), String> {
    let (_hub, socket, mut without) = ready(w)?;
    let mut with = asking(&socket, "{\"heartbeat\":0.2}\n")?;
    let begin = Instant::now();
    let beat = json!({"type": "heartbeat", "seq": 0});
    with.expect(&[beat.clone(), beat])?;
    if begin.elapsed() < Duration::from_millis(300) {
        return Err(format!(
            "two heartbeats of 0.2 s within {:?}",
            begin.elapsed()
        ));
    }
    w.append("a", "{}\n")?;
    without.expect(&[event(1, CREATED, "a"), event(2, APPENDED, "a")])
}

fn refused(w: &World) -> Result<(), String> {
    let (_hub, socket, mut other) = ready(w)?;
    let long = format!("{}\n", "x".repeat(1 << 20));
    for sent in [
        "garbage\n",
        "[]\n",
        "\n",
        "{\"mailboxes\":[\"../x\"]}\n",
        "{\"mailboxes\":\"x\"}\n",
        "{\"heartbeat\":0}\n",
        "{\"heartbeat\":\"x\"}\n",
        "{}\n{}\n",
        &long,
        &long[..1 << 19],
    ] {
        let what = &sent[..sent.len().min(20)];
        let mut lines = connect(&socket)?;
        lines.hello()?;
        // It may have been refused before all of it was sent.
        let _ = lines.stream.write_all(sent.as_bytes());
        loop {
            let line = lines.line()?;
            let value: Value = serde_json::from_str(&line).unwrap_or_default();
            match value["type"].as_str() {
                Some("refused") if value["reason"].is_string() => break,
                Some("hello") => {} // to the first of two lines
                _ => return Err(format!("{what:?} is answered with {line:?}")),
            }
        }
        same("what follows", lines.line()?, String::new())?;
    }
    w.append("a", "{}\n")?;
    other.expect(&[event(1, CREATED, "a"), event(2, APPENDED, "a")])
}

fn slow(w: &World) -> Result<(), String> {
    let (_hub, socket, mut lines) = ready(w)?;
    let mut slow = connect(&socket)?;
    slow.hello()?;
    let mut elsewhere = asking(&socket, "{\"mailboxes\":[\"other\"]}\n")?;
    // More than any socket takes.
    let n = 1_000;
    w.append("busy", "{}\n")?;
    lines.expect(&[event(1, CREATED, "busy"), event(2, APPENDED, "busy")])?;
    for seq in 3..=n {
        w.append("busy", "{}\n")?;
        lines.expect(&[event(seq, APPENDED, "busy")])?;
    }
    let (mut at, mut times) = (0, 0);
    while at < n {
        let line = slow.json()?;
        let seq = line["seq"].as_u64().ok_or("no seq")?;
        let skipped = match line["type"] == "lagged" {
            true => line["missed"].as_u64().ok_or("no missed")?,
            false => 1,
        };
        times += u64::from(line["type"] == "lagged");
        same("seq", seq, at + skipped)?;
        at = seq;
    }
    same("how often it was told that it lagged", times, 1)?;
    w.append("other", "{}\n")?;
    let wanted = [
        event(n + 1, CREATED, "other"),
        event(n + 2, APPENDED, "other"),
    ];
    lines.expect(&wanted)?;
    slow.expect(&wanted)?;
    elsewhere.expect(&wanted)
}

fn second(w: &World) -> Result<(), String> {
    let (_hub, socket, mut lines) = ready(w)?;
    let inode = |path: &Path| fs::metadata(path).map(|meta| meta.ino()).ok();
    let before = inode(&socket);
    match w.start(&w.root, None)? {
        Started::Ended(out) => same("exit", out.exit(), "75".to_string())?,
        Started::Serving(..) => return Err("a second hub serves".to_string()),
    }
    same("the socket", inode(&socket), before)?;
    w.append("a", "{}\n")?;
    lines.expect(&[event(1, CREATED, "a"), event(2, APPENDED, "a")])
}

fn dead(w: &World) -> Result<(), String> {
    let (mut hub, socket) = w.hub()?;
    let first = connect(&socket)?.hello()?;
    hub.kill_all();
    if !socket.exists() {
        return Err("the socket is gone without anybody to remove it".to_string());
    }
    let (_hub, again) = w.hub()?;
    same("the path", &again, &socket)?;
    match connect(&socket)?.hello()?["hub"] == first["hub"] {
        true => Err("two starts of a hub have one id".to_string()),
        false => Ok(()),
    }
}

fn signals(w: &World) -> Result<(), String> {
    for signal in ENDING {
        let (hub, socket) = w.hub()?;
        kill(hub.pid(), signal).map_err(|e| e.to_string())?;
        same("exit", hub.finish()?.exit(), signal.to_string())?;
        same("the socket is there", socket.exists(), false)?;
    }
    let (hub, socket) = w.hub()?;
    let other = w.root.join("other");
    let _listener = UnixListener::bind(&other).map_err(|e| e.to_string())?;
    fs::rename(&other, &socket).map_err(|e| e.to_string())?;
    // To all of it: which of its processes is the hub is its own affair here.
    killpg(hub.pid(), Signal::SIGTERM).map_err(|e| e.to_string())?;
    hub.finish()?;
    same("the socket of another is there", socket.exists(), true)
}

fn removed(w: &World) -> Result<(), String> {
    let (_hub, socket, mut before) = ready(w)?;
    fs::remove_file(&socket).map_err(|e| e.to_string())?;
    until("there is a socket again", || {
        UnixStream::connect(&socket).is_ok()
    })?;
    let mut after = connect(&socket)?;
    after.hello()?;
    w.append("a", "{}\n")?;
    let wanted = [event(1, CREATED, "a"), event(2, APPENDED, "a")];
    before.expect(&wanted)?;
    after.expect(&wanted)
}

fn long_path(w: &World) -> Result<(), String> {
    let root = w.root.with_file_name("r".repeat(200));
    match w.start(&root, None)? {
        Started::Ended(out) => same("exit", out.exit(), "74".to_string())?,
        Started::Serving(..) => return Err("it serves without a place for it".to_string()),
    }
    // Short enough wherever the temporary files are.
    let runtime = tempfile::tempdir_in("/tmp").map_err(|e| e.to_string())?;
    let Started::Serving(_hub, socket) = w.start(&root, Some(runtime.path()))? else {
        return Err("it does not serve".to_string());
    };
    let bytes = root.as_os_str().as_encoded_bytes().iter();
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let wanted = runtime.path().join(format!("mbox/{hash:016x}.socket"));
    same("the path printed", &socket, &wanted)?;
    connect(&socket)?.hello().map(drop)
}

fn in_the_way(w: &World) -> Result<(), String> {
    let (hub, socket) = w.hub()?;
    kill(hub.pid(), Signal::SIGTERM).map_err(|e| e.to_string())?;
    hub.finish()?;
    let elsewhere = w.root.with_file_name("elsewhere");
    let _listener = UnixListener::bind(&elsewhere).map_err(|e| e.to_string())?;
    for is_link in [true, false] {
        match is_link {
            true => symlink(&elsewhere, &socket),
            false => fs::write(&socket, "x"),
        }
        .map_err(|e| e.to_string())?;
        match w.start(&w.root, None)? {
            Started::Ended(out) => same("exit", out.exit(), "77".to_string())?,
            Started::Serving(..) => return Err("it serves where something is".to_string()),
        }
        same("it is there", fs::symlink_metadata(&socket).is_ok(), true)?;
        fs::remove_file(&socket).map_err(|e| e.to_string())?;
    }
    Ok(())
}
