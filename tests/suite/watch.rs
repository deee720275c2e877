//! `mbox watch`, on every backend of this platform.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use predicates::prelude::*;

use crate::common::{
    Fixture, Running, assert_full_stdout, assert_help, assert_quiet_pipe, assert_usage,
    has_program, skip, tree, until, with_broken_pipe, with_full_stdout,
};

const BACKENDS: [&str; 2] = ["inotify", "poll"];

/// A watch that runs, and the lines it has printed.
pub struct Watching {
    pub running: Running,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Watching {
    /// Starts `mbox watch` with `args`. What it prints first may have come before.
    pub fn start(fx: &Fixture, args: &[&str]) -> Watching {
        let mut command = fx.process(&["watch"]);
        command
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = Running::start(&mut command);
        let stdout = running.child().stdout.take().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                shared.lock().unwrap().push(line.unwrap());
            }
        });
        Watching {
            running,
            lines,
            reader: Some(reader),
        }
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    #[track_caller]
    fn expect(&self, wanted: &[&str]) {
        until("it has printed all", || self.lines().len() >= wanted.len());
        assert_eq!(self.lines(), wanted);
    }

    /// All it has printed, when it has ended.
    pub fn all(mut self) -> Vec<String> {
        self.running.wait();
        self.reader.take().unwrap().join().unwrap();
        self.lines()
    }
}

fn on_each(test: impl Fn(&Fixture, &str)) {
    for backend in BACKENDS {
        test(&Fixture::new(), backend);
    }
}

/// Starts one that prints bodies.
fn bodies(fx: &Fixture, backend: &str, args: &[&str]) -> Watching {
    let common = ["--backend", backend, "--format", "body"];
    Watching::start(fx, &[args, &common].concat())
}

/// Appends records byte for byte.
fn append_raw(fx: &Fixture, name: &str, text: &str) {
    let mut append = fx.mbox(&["append", name, "--raw"]);
    append.write_stdin(text).assert().success();
}

#[test]
fn help() {
    let words = [
        "--since",
        "--count",
        "--timeout",
        "--debounce",
        "--backend",
        "--format",
    ];
    assert_help("watch", &words);
    assert_help(
        "watch",
        &["--drain", "--exec", "--wait", "--root", "MAILBOX"],
    );
}

#[test]
fn what_is_there_and_what_comes() {
    on_each(|fx, backend| {
        fx.fill("a", &["one", "two"]);
        let watch = bodies(fx, backend, &["a"]);
        watch.expect(&["one", "two"]);
        fx.append("a", "three");
        watch.expect(&["one", "two", "three"]);
        fx.append("b", "not this one");
        fx.append("a", "four");
        watch.expect(&["one", "two", "three", "four"]);
        assert_eq!(fx.peek("a"), ["one", "two", "three", "four"]); // nothing was removed
    });
}

#[test]
fn drained_taken_and_put_back() {
    on_each(|fx, backend| {
        let watch = bodies(fx, backend, &["a", "b"]);
        fx.fill("a", &["1", "2", "3"]);
        watch.expect(&["1", "2", "3"]);
        fx.mbox(&["take", "a"]).assert().success();
        fx.mbox(&["drain", "a", "--max", "1"]).assert().success();
        fx.append("a", "4");
        watch.expect(&["1", "2", "3", "4"]);
        assert_eq!(fx.drain("a"), ["3", "4"]);
        fx.append("b", "5");
        watch.expect(&["1", "2", "3", "4", "5"]);
        fx.append("a", "6");
        watch.expect(&["1", "2", "3", "4", "5", "6"]);
    });
}

#[test]
fn what_readers_have_in_hand() {
    on_each(|fx, backend| {
        let line = |id: u32| format!("{{\"id\":\"{id:016x}\",\"body\":\"{id}\"}}\n");
        let files = fx.files("a");
        let dead = "4242.0123456789abcdef.g";
        files.put_claim(1_700_000_000_000, -600, dead, &(line(1) + &line(2)));
        append_raw(fx, "a", &line(3));
        let watch = bodies(fx, backend, &["a"]);
        watch.expect(&["1", "2", "3"]);
        // A take puts the mail of the dead reader back.
        fx.mbox(&["take", "a"]).assert().success().stdout(line(1));
        append_raw(fx, "a", &line(4));
        watch.expect(&["1", "2", "3", "4"]);
    });
}

#[test]
fn removed_and_made_again() {
    on_each(|fx, backend| {
        let watch = bodies(fx, backend, &["a"]);
        fx.append("a", "1");
        watch.expect(&["1"]);
        fs::remove_file(fx.files("a").records).unwrap();
        fx.append("a", "2");
        watch.expect(&["1", "2"]);
        fs::remove_dir_all(fx.root()).unwrap();
        fx.append("a", "3");
        watch.expect(&["1", "2", "3"]);
        // Moved away with its files, and another one in its place.
        fs::rename(fx.root(), fx.dir().join("moved")).unwrap();
        fx.append("a", "4");
        watch.expect(&["1", "2", "3", "4"]);
        fs::remove_dir_all(fx.files("a").dir()).unwrap();
        fx.append("a", "5");
        watch.expect(&["1", "2", "3", "4", "5"]);
    });
}

#[test]
fn rewritten_and_truncated() {
    on_each(|fx, backend| {
        let files = fx.files("a");
        fx.fill("a", &["1", "2"]);
        let watch = bodies(fx, backend, &["a"]);
        watch.expect(&["1", "2"]);
        // An editor renames a new file over it.
        let text = fs::read(&files.records).unwrap();
        let new = files.dir().join("new");
        fs::write(&new, &text).unwrap();
        fs::rename(&new, &files.records).unwrap();
        fx.append("a", "3");
        watch.expect(&["1", "2", "3"]);
        // Another writes into it in place, the same number of bytes.
        let text = fs::read_to_string(&files.records).unwrap();
        let last = text.lines().last().unwrap();
        let other = last.replacen(&last[26..42], "00c0ffee00c0ffee", 1);
        assert_ne!(last, other);
        fs::write(
            &files.records,
            text.replace(last, &other.replace("\"3\"", "\"4\"")),
        )
        .unwrap();
        watch.expect(&["1", "2", "3", "4"]);
        // A legacy drain, and an append after it that makes it no longer than it was.
        File::options()
            .write(true)
            .open(&files.records)
            .unwrap()
            .set_len(0)
            .unwrap();
        fx.append("a", "5");
        watch.expect(&["1", "2", "3", "4", "5"]);
    });
}

/// The kernel hands out the number of an inode again at once.
#[test]
fn inodes_that_come_again() {
    on_each(|fx, backend| {
        let watch = bodies(fx, backend, &["a", "--debounce", "0"]);
        let mut wanted = Vec::new();
        for round in 0..20 {
            let body = format!("{:02}", round);
            fx.append("a", &body); // as long as the one before
            wanted.push(body);
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            watch.expect(&wanted);
            fx.drain("a");
        }
    });
}

#[test]
fn torn_and_damaged_lines_and_records_of_others() {
    on_each(|fx, backend| {
        let files = fx.files("a");
        files.make_dir();
        fs::write(&files.records, "{\"n\":1}\nnothing\n\n{\"to").unwrap();
        let watch = Watching::start(fx, &["a", "--backend", backend]);
        watch.expect(&["{\"n\":1}"]);
        let mut file = File::options().append(true).open(&files.records).unwrap();
        file.write_all(b"rn\":2}").unwrap(); // whole, without its newline
        watch.expect(&["{\"n\":1}", "{\"torn\":2}"]);
        append_raw(fx, "a", "{\"n\":1}\n"); // the same text is another record
        watch.expect(&["{\"n\":1}", "{\"torn\":2}", "{\"n\":1}"]);
        fx.mbox(&["drain", "a"]).assert().success();
        append_raw(fx, "a", "{\"n\":4}\n");
        watch.expect(&["{\"n\":1}", "{\"torn\":2}", "{\"n\":1}", "{\"n\":4}"]);
    });
}

#[test]
fn since() {
    let fx = Fixture::new();
    let ids: Vec<String> = ["1", "2", "3"].iter().map(|b| fx.append("a", b)).collect();
    let show = |since: &str, out: &'static str| {
        let mut watch = fx.mbox(&["watch", "a", "--format", "body", "--timeout", "0"]);
        watch.args(["--since", since]).assert().stdout(out);
    };
    show(&ids[0], "2\n3\n");
    show(&ids[2], "");
    show("anything at all", "1\n2\n3\n");
    let watch = bodies(&fx, "inotify", &["a", "--since", &ids[1]]);
    watch.expect(&["3"]);
    // What stands before it does not come when it is put back.
    fx.mbox(&["take", "a", "--id", &ids[0]]).assert().success();
    fx.append("a", "4");
    watch.expect(&["3", "4"]);
}

#[test]
fn count_and_timeout() {
    let fx = Fixture::new();
    fx.fill("a", &["1", "2", "3"]);
    let watch = |args: &[&str]| {
        let mut watch = fx.mbox(&["watch", "a", "--format", "body"]);
        watch.args(args).assert().stderr("")
    };
    watch(&["--count", "2"]).success().stdout("1\n2\n");
    watch(&["--count", "3", "--timeout", "9"])
        .success()
        .stdout("1\n2\n3\n");
    watch(&["--count", "4", "--timeout", "0.1"])
        .code(1)
        .stdout("1\n2\n3\n");
    watch(&["--timeout", "0"]).success().stdout("1\n2\n3\n");
    fx.drain("a");
    watch(&["--timeout", "0.1"]).code(1).stdout("");
}

#[test]
fn debounce() {
    on_each(|fx, backend| {
        let watch = bodies(fx, backend, &["a", "--debounce", "2000"]);
        fx.append("a", "1");
        watch.expect(&["1"]); // at once
        let begin = Instant::now();
        fx.fill("a", &["2", "3"]);
        fx.drain("a"); // what waits is held on to
        fx.append("a", "4");
        watch.expect(&["1", "2", "3", "4"]);
        let took = begin.elapsed();
        assert!(took > Duration::from_millis(300), "{took:?}");
    });
}

#[test]
fn bad_usage_and_what_is_unsafe() {
    let fx = Fixture::new();
    fx.append("a", "x");
    let lines: [&[&str]; 9] = [
        &["watch"],
        &["watch", "a", "--count", "0"],
        &["watch", "a", "--timeout", "soon"],
        &["watch", "a", "--debounce", "1.5"],
        &["watch", "a", "--backend", "fam"],
        &["watch", "a", "--backend", "kqueue"],
        &["watch", "a", "--drain", "--since", "x"],
        &["watch", "a", "--exec", "true"],
        &["watch", "a", "--drain", "--exec"],
    ];
    assert_usage(&fx, &lines);
    std::os::unix::fs::symlink("nowhere", fx.files("b").records).unwrap();
    fx.mbox(&["watch", "b"]).assert().code(77);
    fx.mbox(&["watch", "b", "--drain"]).assert().code(77);
}

#[test]
fn a_reader_that_goes_ends_it_at_once() {
    on_each(|fx, backend| {
        for drain in [&[] as &[&str], &["--drain"]] {
            let (reader, writer) = std::io::pipe().unwrap();
            let mut command = fx.process(&["watch", "a", "--backend", backend]);
            command.args(drain).stdout(writer).stderr(Stdio::piped());
            let mut watch = Running::start(&mut command);
            command.stdout(Stdio::null()); // lets go of our copy of the writer
            fx.append("a", "x");
            let mut reader = BufReader::new(reader);
            reader.read_line(&mut String::new()).unwrap();
            drop(reader); // and no message comes
            assert_eq!(watch.wait().code(), Some(74));
            assert_eq!(watch.stderr(), "");
            fx.drain("a");
        }
    });
}

#[test]
fn closed_pipe_and_full_stdout() {
    let fx = Fixture::new();
    fx.append("a", "x");
    for drain in [&[] as &[&str], &["--drain"]] {
        let args = [&["watch", "a"], drain].concat();
        assert_quiet_pipe(&with_broken_pipe(&mut fx.process(&args)));
        assert_full_stdout(&with_full_stdout(&mut fx.process(&args)));
    }
    assert_eq!(fx.drain("a"), ["x"]);
}

#[test]
fn signals_end_it_and_leave_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        for drain in [&[] as &[&str], &["--drain"], &["--drain", "--exec", "cat"]] {
            let fx = Fixture::new();
            fx.append("a", "x");
            fx.drain("a");
            let before = tree(fx.dir());
            let watch = Watching::start(&fx, &[&["a"], drain].concat());
            fx.append("a", "y");
            until("it printed", || !watch.lines().is_empty());
            if drain.is_empty() {
                fx.drain("a");
            }
            let files = fx.files("a");
            until("it is done", || {
                !files.records.exists() && !files.claims.exists()
            });
            watch.running.send(signal);
            let mut watch = watch;
            assert_eq!(
                watch.running.wait().signal(),
                Some(signal as i32),
                "{drain:?}"
            );
            assert_eq!(tree(fx.dir()), before);
        }
    }
}

/// A system that cannot, or does not, tell: it is polled, and that is said once.
#[test]
fn falling_back() {
    if !has_program("strace") {
        return skip("strace is not installed");
    }
    let cases = [
        ("inotify_init1:error=EMFILE", "inotify cannot be used here"),
        (
            "inotify_add_watch:error=ENOSPC",
            "inotify cannot be used here",
        ),
        ("inotify_add_watch:retval=1", "it tells nothing of"),
    ];
    for (fault, message) in cases {
        let fx = Fixture::new();
        fx.append("b", "x");
        let log = fx.dir().join("log");
        let mut command = fx.program("strace");
        let inject = format!("inject={fault}");
        command
            .args([
                "-f",
                "-qq",
                "-e",
                &inject,
                "-e",
                "trace=inotify_init1,inotify_add_watch",
                "-o",
            ])
            .arg(&log);
        command.args([
            env!("CARGO_BIN_EXE_mbox"),
            "watch",
            "a",
            "b",
            "--count",
            "2",
        ]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut watch = Running::start(&mut command);
        fx.append("a", "x");
        assert!(watch.wait().success(), "{fault}");
        let stderr = watch.stderr();
        assert_eq!(
            stderr.matches("polling instead").count(),
            1,
            "{fault}: {stderr}"
        );
        assert!(stderr.contains(message), "{fault}: {stderr}");
    }
}

#[test]
fn where_it_may_not_write() {
    let fx = Fixture::new();
    fx.append("a", "1");
    let dir = fx.files("a").dir().to_owned();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o500)).unwrap();
    let watch = bodies(&fx, "inotify", &["a"]);
    watch.expect(&["1"]);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    fx.append("a", "2");
    watch.expect(&["1", "2"]);
}

#[test]
fn draining() {
    on_each(|fx, backend| {
        fx.fill("a", &["1", "2"]);
        let watch = bodies(fx, backend, &["a", "--drain"]);
        watch.expect(&["1", "2"]);
        until("they are removed", || !fx.files("a").claims.exists());
        fx.append("a", "3");
        watch.expect(&["1", "2", "3"]);
        fs::remove_dir_all(fx.root()).unwrap();
        fx.append("a", "4");
        watch.expect(&["1", "2", "3", "4"]);
        until("it is removed", || !fx.files("a").claims.exists());
        fx.files("a").assert_unlocked();
    });
}

#[test]
fn draining_a_count() {
    let fx = Fixture::new();
    fx.fill("a", &["1", "2", "3"]);
    let mut watch = fx.mbox(&["watch", "a", "--drain", "--count", "2", "--format", "body"]);
    watch.assert().success().stdout("1\n2\n").stderr("");
    assert_eq!(fx.peek("a"), ["3"]);
    let mut watch = fx.mbox(&["watch", "a", "--drain", "--count", "2", "--timeout", "0.1"]);
    watch
        .assert()
        .code(1)
        .stdout(predicate::str::contains("\"3\""));
}

/// A lock that is held for long is told, and waited for.
#[test]
fn draining_a_busy_mailbox() {
    let fx = Fixture::new();
    fx.append("a", "1");
    let files = fx.files("a");
    files.hold("4242.0123456789abcdef");
    let mut watch = bodies(
        &fx,
        "inotify",
        &["a", "--drain", "--wait", "0.05", "--count", "1"],
    );
    let mut stderr = BufReader::new(watch.running.child().stderr.take().unwrap());
    let mut told = String::new();
    stderr.read_line(&mut told).unwrap();
    assert!(told.contains("held by process 4242"), "{told}");
    assert!(watch.running.child().try_wait().unwrap().is_none());
    files.let_go();
    watch.expect(&["1"]);
    assert!(watch.running.wait().success());
}

/// The others do not wait for it.
#[test]
fn draining_beside_a_busy_mailbox() {
    let fx = Fixture::new();
    fx.append("a", "1");
    fx.append("b", "2");
    fx.files("a").hold("4242.0123456789abcdef");
    let watch = bodies(&fx, "inotify", &["a", "b", "--drain", "--wait", "600"]);
    watch.expect(&["2"]);
    fx.append("b", "3");
    watch.expect(&["2", "3"]);
    fx.files("a").let_go();
    watch.expect(&["2", "3", "1"]);
}

/// Mail of a reader that dies later comes then.
#[test]
fn draining_what_another_reader_leaves() {
    let fx = Fixture::new();
    let line = format!("{{\"body\":\"{}\"}}\n", "x".repeat(500_000));
    append_raw(&fx, "a", &line);
    let (mut other, pipe) = crate::common::start_writing(&mut fx.process(&["drain", "a"]));
    let watch = bodies(&fx, "inotify", &["a", "--drain", "--count", "2"]);
    fx.append("a", "1");
    watch.expect(&["1"]);
    other.send(Signal::SIGKILL);
    other.wait();
    drop(pipe);
    assert_eq!(watch.all()[1].len(), 500_000);
}

/// Several share the mail: nothing lost, nothing twice.
#[test]
fn draining_together() {
    let fx = Fixture::new();
    let all: Vec<Watching> = (0..4)
        .map(|_| bodies(&fx, "inotify", &["a", "--drain"]))
        .collect();
    let wanted: Vec<String> = (0..60).map(|n| format!("{n:02}")).collect();
    for body in &wanted {
        fx.append("a", body);
    }
    let printed = || -> Vec<String> { all.iter().flat_map(Watching::lines).collect() };
    until("all is handed over", || printed().len() >= wanted.len());
    until("all is removed", || !fx.files("a").claims.exists());
    let mut printed = printed();
    printed.sort();
    assert_eq!(printed, wanted);
}

#[test]
fn a_command_for_each_message() {
    on_each(|fx, backend| {
        fx.fill("a", &["1", "2"]);
        let script = "read -r body; echo \"<$body>\"";
        let command = [
            "a",
            "--drain",
            "--count",
            "3",
            "--backend",
            backend,
            "--format",
            "body",
        ];
        let exec = ["--exec", "sh", "-c", script, "--format", "is its argument"];
        let watch = Watching::start(fx, &[&command[..], &exec].concat());
        watch.expect(&["<1>", "<2>"]);
        fx.append("a", "3");
        assert_eq!(watch.all(), ["<1>", "<2>", "<3>"]);
        fx.mbox(&["has", "a"]).assert().code(1);
    });
}

#[test]
fn a_command_that_fails_first() {
    let fx = Fixture::new();
    fx.fill("a", &["1", "2"]);
    let script = "read -r body; echo \"$body\"; test -e ok || { touch ok; exit 3; }";
    let command = [
        "a", "--drain", "--count", "2", "--format", "body", "--exec", "sh", "-c",
    ];
    let mut watch = Watching::start(&fx, &[&command[..], &[script]].concat());
    until("it failed", || fx.dir().join("ok").exists());
    until("it is put back", || {
        fx.files("a")
            .claim_names()
            .iter()
            .all(|n| n.contains("-0000000000000-"))
    });
    fx.append("a", "3"); // no reason to try again at once
    assert!(watch.running.wait().success());
    let stderr = watch.running.stderr();
    assert_eq!(
        stderr
            .matches("sh exited with status 3 on message ")
            .count(),
        1,
        "{stderr}"
    );
    assert!(stderr.contains("next try in 1 s"), "{stderr}");
    assert_eq!(watch.all(), ["1", "1", "2"]);
    assert_eq!(fx.drain("a"), ["3"]);
}

#[test]
fn a_command_that_cannot_be_run() {
    let fx = Fixture::new();
    fx.append("a", "1");
    let run = |command: &str| {
        fx.mbox(&["watch", "a", "--drain", "--exec", command])
            .assert()
    };
    run("no-such-command")
        .code(127)
        .stderr(predicate::str::contains("cannot run"));
    run("/").code(126);
    assert_eq!(fx.drain("a"), ["1"]);
}

/// One that reads nothing, and one whose message is longer than a pipe.
#[test]
fn a_command_that_does_not_read() {
    let fx = Fixture::new();
    append_raw(
        &fx,
        "a",
        &format!("{{\"body\":\"{}\"}}\n", "x".repeat(500_000)),
    );
    append_raw(
        &fx,
        "a",
        &format!("{{\"body\":\"{}\"}}\n", "x".repeat(300_000)),
    );
    let run = |command: &[&str]| {
        let mut watch = fx.mbox(&["watch", "a", "--drain", "--count", "1", "--exec"]);
        watch.args(command).assert().success()
    };
    run(&["true"]).stdout("");
    run(&["wc", "-c"]).stdout(predicate::str::contains("300012"));
}

/// What it started has its stdin still, and reads nothing.
#[test]
fn a_command_that_leaves_somebody_behind() {
    let fx = Fixture::new();
    for body in ["x", "y"] {
        let body = body.repeat(200_000); // more than a pipe holds
        append_raw(&fx, "a", &format!("{{\"body\":\"{body}\"}}\n"));
    }
    let script = "exec 3<&0; sleep 600 <&3 >/dev/null 2>&1 & echo done";
    let exec = ["a", "--drain", "--count", "2", "--exec", "sh", "-c", script];
    let watch = Watching::start(&fx, &exec);
    assert_eq!(watch.all(), ["done", "done"]);
}

#[test]
fn a_command_and_signals() {
    for (signal, does_end) in [(Signal::SIGTERM, true), (Signal::SIGHUP, false)] {
        let fx = Fixture::new();
        fx.fill("a", &["1", "2"]);
        // Passed on: it ends by it, or sees to it and succeeds.
        let trap = if does_end { "" } else { "trap 'exit 0' HUP; " };
        let script = format!("{trap}echo up; while :; do sleep 0.01; done");
        let mut watch = Watching::start(&fx, &["a", "--drain", "--exec", "sh", "-c", &script]);
        watch.expect(&["up"]);
        watch.running.send(signal);
        assert_eq!(watch.running.wait().signal(), Some(signal as i32));
        let left: &[&str] = if does_end { &["1", "2"] } else { &["2"] };
        assert_eq!(fx.drain("a"), left);
        let mut rest = String::new();
        watch
            .running
            .child()
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut rest)
            .unwrap();
        assert_eq!(rest, "");
    }
}
