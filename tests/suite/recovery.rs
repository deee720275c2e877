//! A lock whose holder is dead, frozen, or nobody.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::{DEADLINE, Files, Fixture, Running, flock, for_each, set_age, tree, until};

const PLAIN: &str = "4242.0123456789abcdef";
const GUARDED: &str = "4242.0123456789abcdef.g";

/// Whether an append gets through within a short wait; its message is drained again.
fn gets_through(fx: &Fixture) -> bool {
    let out = fx
        .mbox(&["append", "a", "x", "--wait", "0.2"])
        .output()
        .unwrap();
    match out.status.code() {
        Some(0) => {
            fx.files("a").assert_unlocked();
            assert_eq!(fx.drain("a"), ["x"]);
            true
        }
        Some(75) => false,
        _ => panic!("{out:?}"),
    }
}

fn locked(token: Option<&str>, offset: i64) -> (Fixture, Files) {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.hold(token.unwrap_or_default());
    if token.is_none() {
        fs::remove_file(&files.owner).unwrap();
    }
    set_age(&files.lock, offset);
    (fx, files)
}

#[test]
fn by_age() {
    let tokens = [Some(PLAIN), Some(""), Some("legacy"), None];
    let cases = tokens.map(|token| [-31, -100_000, 31, 100_000].map(|offset| (token, offset)));
    for_each(cases.as_flattened(), |&(token, offset)| {
        let (fx, _) = locked(token, offset);
        let begin = Instant::now();
        assert!(gets_through(&fx), "{token:?} {offset}");
        assert!(begin.elapsed() >= Duration::from_millis(500)); // REC-6
    });
}

#[test]
fn not_before() {
    let tokens = [Some(PLAIN), Some(""), None];
    let cases = tokens.map(|token| [-25, 0, 25].map(|offset| (token, offset)));
    for_each(cases.as_flattened(), |&(token, offset)| {
        let (fx, files) = locked(token, offset);
        assert!(!gets_through(&fx), "{token:?} {offset}");
        assert!(files.lock.exists());
        assert_eq!(files.owner.exists(), token.is_some());
        assert!(!files.steal.exists());
    });
}

#[test]
fn a_guarded_token_without_a_guard_is_dead() {
    let (fx, _) = locked(Some(GUARDED), 0);
    let begin = Instant::now();
    assert!(gets_through(&fx));
    assert!(begin.elapsed() < DEADLINE);
}

#[test]
fn a_guarded_token_with_its_guard_is_alive() {
    let (fx, files) = locked(Some(GUARDED), 0);
    let held = flock(&files.guard);
    assert!(!gets_through(&fx));
    assert_eq!(files.token().as_deref(), Some(GUARDED));
    drop(held);
    assert!(gets_through(&fx));
}

#[test]
fn a_peer_without_guard_cannot_tell() {
    let (fx, files) = locked(Some(GUARDED), 0);
    fx.mbox(&["acquire", "a", "--wait", "0.2"])
        .assert()
        .code(75);
    set_age(&files.lock, -31);
    fx.mbox(&["acquire", "a", "--wait", "0.2"])
        .assert()
        .success();
}

#[test]
fn a_steal_marker_of_the_living_is_waited_for() {
    let (fx, files) = locked(Some(PLAIN), -31);
    fs::create_dir(&files.steal).unwrap();
    assert!(!gets_through(&fx));
    assert!(files.steal.exists());
    assert_eq!(files.token().as_deref(), Some(PLAIN));
}

#[test]
fn a_stale_steal_marker_is_removed() {
    let cases = [-31, 31].map(|offset| [PLAIN, GUARDED].map(|token| (token, offset)));
    for_each(cases.as_flattened(), |&(token, offset)| {
        let (fx, files) = locked(Some(token), -31);
        fs::create_dir(&files.steal).unwrap();
        fs::write(files.steal.join("x"), "").unwrap(); // and one that is not empty
        set_age(&files.steal, offset);
        assert!(gets_through(&fx));
        assert!(!files.steal.exists());
    });
}

#[test]
fn a_steal_marker_alone_is_in_nobodys_way() {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.make_dir();
    fs::create_dir(&files.steal).unwrap();
    fx.mbox(&["append", "a", "x", "--wait", "0"])
        .assert()
        .success();
}

#[test]
fn an_owner_without_a_lock() {
    // A clearer died between its two steps, or somebody stalled: D must stay (ACQ-5),
    // so that its age can tell.
    let fx = Fixture::new();
    let files = fx.files("a");
    files.make_dir();
    fs::write(&files.owner, PLAIN).unwrap();
    assert!(!gets_through(&fx));
    assert!(files.lock.exists());
    assert_eq!(files.token().as_deref(), Some(PLAIN));
    set_age(&files.lock, -31);
    assert!(gets_through(&fx));
}

/// A lock directory with a tree in it, and a link in that to what must survive.
fn not_empty(token: &str, offset: i64) -> (Fixture, Files) {
    let (fx, files) = locked(Some(token), 0);
    let precious = fx.dir().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "kept").unwrap();
    fs::create_dir(files.lock.join("sub")).unwrap();
    fs::write(files.lock.join("sub/file"), "").unwrap();
    std::os::unix::fs::symlink(&precious, files.lock.join("link")).unwrap();
    set_age(&files.lock, offset);
    (fx, files)
}

#[test]
fn a_lock_that_is_not_empty_is_removed_by_age() {
    for token in [PLAIN, GUARDED] {
        let (fx, _) = not_empty(token, -31);
        assert!(gets_through(&fx));
        let precious = fx.dir().join("precious/file");
        assert_eq!(fs::read_to_string(precious).unwrap(), "kept");
    }
}

#[test]
fn a_lock_that_is_not_empty_is_left_alone_by_the_guard() {
    let (fx, files) = not_empty(GUARDED, 0);
    assert!(!gets_through(&fx));
    assert!(files.lock.join("sub/file").exists());
    assert!(files.lock.join("link").exists());
    assert!(!files.steal.exists());
    set_age(&files.lock, -31);
    assert!(gets_through(&fx));
}

#[test]
fn a_lock_that_is_no_directory_is_refused() {
    let kinds: [fn(&Files); 3] = [
        |files| fs::write(&files.lock, "1").unwrap(),
        |files| std::os::unix::fs::symlink("/", &files.lock).unwrap(),
        |files| std::os::unix::fs::symlink("nowhere", &files.lock).unwrap(),
    ];
    for make in kinds {
        let fx = Fixture::new();
        let files = fx.files("a");
        files.make_dir();
        drop(flock(&files.guard));
        make(&files);
        let before = tree(fx.dir());
        for verb in [
            &["append", "a", "x"] as &[&str],
            &["acquire", "a"],
            &["lock", "a", "--", "true"],
        ] {
            fx.mbox(verb).assert().code(77);
            assert_eq!(tree(fx.dir()), before);
        }
    }
}

/// `mbox lock a -- sleep 60`, and the lock held.
fn holder(fx: &Fixture) -> Running {
    let running = Running::start(&mut fx.process(&["lock", "a", "--", "sleep", "60"]));
    until("the lock is held", || fx.files("a").is_held());
    running
}

#[test]
fn a_killed_holder_is_recovered_at_once() {
    let fx = Fixture::new();
    let mut lock = holder(&fx);
    fx.mbox(&["append", "a", "x", "--wait", "0.1"])
        .assert()
        .code(75);
    lock.send(Signal::SIGKILL); // the command it runs lives on
    lock.wait();
    assert!(fx.files("a").is_held());
    let begin = Instant::now();
    fx.append("a", "x");
    let took = begin.elapsed();
    println!("recovered in {took:?}");
    assert!(took < DEADLINE, "{took:?}");
    fx.files("a").assert_unlocked();
}

#[test]
fn a_killed_reader_is_recovered_at_once() {
    let fx = Fixture::new();
    let line = format!("{{\"body\":\"{}\"}}\n", "x".repeat(500_000));
    let mut append = fx.mbox(&["append", "a", "--raw"]);
    append.write_stdin(line.clone()).assert().success();
    let (mut drain, reader) = crate::common::start_writing(&mut fx.process(&["drain", "a"]));
    fx.mbox(&["drain", "a"]).assert().success().stdout("");
    drain.send(Signal::SIGKILL);
    drain.wait();
    drop(reader);
    let begin = Instant::now();
    fx.mbox(&["drain", "a"]).assert().success().stdout(line);
    assert!(begin.elapsed() < DEADLINE);
}

#[test]
fn a_frozen_holder_of_the_guard() {
    let fx = Fixture::new();
    let files = fx.files("a");
    let mut lock = holder(&fx);
    lock.freeze();
    // While D is fresh: busy, and within the wait.
    let begin = Instant::now();
    assert!(!gets_through(&fx));
    assert!(begin.elapsed() < DEADLINE);
    let token = files.token().unwrap();
    // Once it is old: on without the guard.
    set_age(&files.lock, -31);
    let mut look = fx.mbox(&["acquire", "a", "--wait", "0.2"]);
    look.assert().success();
    let successor = files.token().unwrap();
    assert_ne!(successor, token);
    // Awake again: the lock is lost, and the successor's is not touched.
    lock.send_to_group(Signal::SIGCONT);
    lock.send(Signal::SIGTERM);
    lock.wait();
    assert_eq!(files.token(), Some(successor));
    assert!(files.lock.exists());
}

#[test]
fn a_guard_frozen_before_the_gate() {
    let fx = Fixture::new();
    let files = fx.files("a");
    fx.append("a", "one");
    let _frozen = flock(&files.guard);
    assert!(!files.lock.exists());
    let begin = Instant::now();
    let mut append = fx.mbox(&["append", "a", "two", "--wait", "0.3"]);
    append.assert().success();
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < DEADLINE,
        "{took:?}"
    );
    files.assert_unlocked();
    // What it does then is done without guard: its tokens do not end in .g (TOKEN-2).
    let look = ["lock", "a", "--wait", "0.1", "--", "cat"];
    let out = fx.mbox(&look).arg(&files.owner).output().unwrap();
    let token = String::from_utf8(out.stdout).unwrap();
    assert!(!token.is_empty() && !token.ends_with(".g"), "{token}");
    let mut drain = fx.mbox(&["drain", "a", "--wait", "0.1", "--format", "body"]);
    drain.assert().success().stdout("one\ntwo\n");
    let mut append = fx.mbox(&["append", "a", "three", "--wait", "0"]);
    append.assert().success();
    let out = crate::common::with_full_stdout(&mut fx.process(&["drain", "a", "--wait", "0"]));
    assert_eq!(out.status.code(), Some(74));
    let names = files.claim_names();
    assert!(!names[0].ends_with(".g"), "{names:?}");
}

/// Peers without guard come and go all the time: that is no sign of life of the holder.
#[test]
fn a_guard_frozen_and_others_at_work() {
    let (fx, over) = (Fixture::new(), AtomicBool::new(false));
    let files = fx.files("a");
    fx.append("a", "one");
    let _frozen = flock(&files.guard);
    std::thread::scope(|scope| {
        let busy = || {
            while !over.load(Ordering::SeqCst) {
                if fs::create_dir(&files.lock).is_ok() {
                    let is_ours = fs::File::create_new(&files.owner).is_ok();
                    if is_ours {
                        fs::write(&files.owner, PLAIN).unwrap();
                    }
                    std::thread::sleep(Duration::from_millis(10));
                    if is_ours {
                        fs::remove_file(&files.owner).unwrap();
                    }
                    let _ = fs::remove_dir(&files.lock);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        scope.spawn(busy);
        // One of the times its deadline falls where nobody has the lock.
        let appends = || {
            let out = fx.mbox(&["append", "a", "two", "--wait", "2"]).output();
            out.unwrap().status.success()
        };
        until("it gets through", appends);
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(
        fx.mbox(&["drain", "a", "--format", "body"])
            .output()
            .unwrap()
            .stdout,
        b"one\ntwo\n"
    );
}

#[test]
fn a_guard_frozen_and_an_old_lock() {
    let (fx, files) = locked(Some(GUARDED), -31);
    let _frozen = flock(&files.guard);
    let begin = Instant::now();
    fx.mbox(&["append", "a", "x", "--wait", "20"])
        .assert()
        .success();
    assert!(begin.elapsed() < Duration::from_secs(10)); // at once, not at the deadline
    files.assert_unlocked();
}

#[test]
fn many_wait_for_a_dead_holder_and_each_gets_through() {
    let (fx, files) = locked(Some(PLAIN), -31);
    let mut all: Vec<Running> = (0..6)
        .map(|n| Running::start(&mut fx.process(&["append", "a", &n.to_string()])))
        .collect();
    for append in &mut all {
        assert!(append.wait().success());
    }
    files.assert_unlocked();
    let mut bodies = fx.drain("a");
    bodies.sort();
    assert_eq!(bodies, ["0", "1", "2", "3", "4", "5"]);
}
