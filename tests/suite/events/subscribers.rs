//! Subscribers of a hub: what each is told, and that none is in the way of another.

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{APPENDED, CREATED, DRAINED, Lines, Process, REMOVED, connect, hub, load};
use crate::common::{DEADLINE, Fixture, MBOX, is_full};

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
