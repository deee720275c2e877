//! `mbox watch`, on every backend of this platform.

mod drain;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

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
