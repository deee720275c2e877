//! The life of a hub and of its socket.

use std::fs;
use std::io::BufReader;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;

use super::{APPENDED, CREATED, DRAINED, Lines, Process, REMOVED, connect, hub};
use crate::common::{Fixture, Running, has_program, skip, tree, until};

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
