//! `mbox watch` under load: many writers in several languages, readers who drain, and
//! many who watch. Small here, 2,000 messages in the full run, 100,000 in the nightly one.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Fixture, Running, has_program, is_full, skip};

/// How long a message has to stay for every watcher to see it, and the time between two
/// drains. What is promised (50 ms) is promised to a process that gets its share of the
/// processor, which only the nightly run gives: it has the machine to itself. Elsewhere
/// twenty watches and eight writers share two cores with the other tests.
fn stay_and_pause() -> (Duration, Duration) {
    let (stay, pause) = if is_night() { (50, 200) } else { (150, 500) };
    (Duration::from_millis(stay), Duration::from_millis(pause))
}

/// For what comes after the load: of 100,000 messages, on a slow machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// When which message was acknowledged.
type Acknowledged = HashMap<String, Instant>;

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Eight writers, each of which appends its share of `count` messages one after the other.
fn write_all(fx: &Fixture, count: usize) -> Acknowledged {
    let mirror = Path::new(env!("CARGO_MANIFEST_DIR")).join("shell/mbox.sh");
    let share = count / 8;
    let loop_of = |append: &str| {
        format!(
            "i=0; while [ $i -lt {share} ]; do {append} a \"message $i\" --wait 60 || exit; i=$((i+1)); done"
        )
    };
    let pure = format!(
        ". '{}'; MBOX_PURE=1; {}",
        mirror.display(),
        loop_of("mbox_append")
    );
    let shell = |shell: &'static str| match has_program(shell) {
        true => (shell, pure.clone()),
        false => {
            skip(&format!("{shell} is not installed; sh in its place"));
            ("sh", pure.clone())
        }
    };
    let binary = || ("sh", loop_of("mbox append"));
    let writers = [
        binary(),
        binary(),
        binary(),
        binary(),
        shell("bash"),
        shell("bash"),
        shell("zsh"),
        shell("zsh"),
    ];
    std::thread::scope(|scope| {
        let writers = writers.map(|(shell, script)| {
            scope.spawn(move || {
                let mut command = fx.program(shell);
                command.args(["-c", &script]).stdout(Stdio::piped());
                let mut writer = Running::start(&mut command);
                let stdout = BufReader::new(writer.child().stdout.take().unwrap());
                let acknowledged: Vec<(String, Instant)> = stdout
                    .lines()
                    .map(|id| (id.unwrap(), Instant::now()))
                    .collect();
                assert!(writer.wait().success(), "{shell}: {script}");
                assert_eq!(acknowledged.len(), share);
                acknowledged
            })
        });
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    })
}

/// A watch that prints into a file.
struct Watching {
    name: String,
    running: Running,
    output: PathBuf,
}

impl Watching {
    fn start(fx: &Fixture, name: &str, args: &[&str]) -> Watching {
        let output = fx.dir().join(format!("output {name}"));
        let file = File::options()
            .append(true)
            .create(true)
            .open(&output)
            .unwrap();
        let mut command = fx.process(&["watch", "a"]);
        command.args(args).stdout(file);
        Watching {
            name: name.to_owned(),
            running: Running::start(&mut command),
            output,
        }
    }

    fn ids(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.output).unwrap();
        let id = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["id"].as_str().unwrap().to_owned()
        };
        let whole = |line| str::strip_suffix(line, "\n"); // the last one may be under way
        text.split_inclusive('\n')
            .filter_map(whole)
            .map(id)
            .collect()
    }

    /// What it has printed by the time it has printed `last`; nothing is there twice.
    fn ids_until(&self, last: &str) -> HashSet<String> {
        until("the last message was printed", || {
            let text = fs::read_to_string(&self.output).unwrap();
            let rest = text.split_once(last).map(|(_, rest)| rest);
            rest.is_some_and(|rest| rest.contains('\n'))
        });
        self.distinct()
    }

    fn distinct(&self) -> HashSet<String> {
        let ids = self.ids();
        let mut distinct = HashSet::new();
        for id in ids {
            assert!(
                distinct.insert(id.clone()),
                "{}: {id} is there twice",
                self.name
            );
        }
        distinct
    }
}

/// How many messages, and how many watches.
fn size() -> (usize, usize) {
    let given = std::env::var("MBOX_TEST_MESSAGES");
    match given.ok().and_then(|count| count.parse().ok()) {
        Some(count) => (count, 20),
        None if is_night() => (100_000, 20),
        None if is_full() => (2_000, 20),
        None => (240, 4),
    }
}

fn is_night() -> bool {
    std::env::var_os("MBOX_TEST_NIGHT").is_some()
}

fn watchers(fx: &Fixture, count: usize) -> Vec<Watching> {
    let start = |n: usize| {
        let backend = ["inotify", "poll"][n % 2];
        Watching::start(fx, &format!("{n} {backend}"), &["--backend", backend])
    };
    let all: Vec<Watching> = (0..count).map(start).collect();
    // Each has printed this one: they watch.
    let first = fx.append("a", "first");
    for watching in &all {
        watching.ids_until(&first);
    }
    fx.drain("a");
    all
}

#[test]
fn every_message_that_stays_is_seen_once_by_everybody() {
    let fx = Fixture::new();
    let (count, readers) = size();
    let (stay, pause) = stay_and_pause();
    let watchers = watchers(&fx, readers);
    let is_over = AtomicBool::new(false);
    let (acknowledged, drained) = std::thread::scope(|scope| {
        let drainer = scope.spawn(|| {
            let mut drained: HashMap<String, Instant> = HashMap::new();
            while !is_over.load(Ordering::SeqCst) {
                let begin = Instant::now();
                let out = fx
                    .process(&["drain", "a", "--wait", "60"])
                    .output()
                    .unwrap();
                assert!(out.status.success(), "{out:?}");
                for line in String::from_utf8(out.stdout).unwrap().lines() {
                    let id = line[26..42].to_owned();
                    assert!(drained.insert(id, begin).is_none(), "drained twice: {line}");
                }
                std::thread::sleep(pause.saturating_sub(begin.elapsed()));
            }
            drained
        });
        let acknowledged = write_all(&fx, count);
        is_over.store(true, Ordering::SeqCst);
        (acknowledged, drainer.join().unwrap())
    });
    let last = fx.append("a", "last");
    let stayed: HashSet<&String> = acknowledged
        .iter()
        .filter(|(id, then)| {
            let begin = drained.get(*id).copied();
            begin.is_none_or(|begin| begin.saturating_duration_since(**then) >= stay)
        })
        .map(|(id, _)| id)
        .collect();
    assert!(stayed.len() > count / 20, "only {} stayed", stayed.len());
    let mut all_seen = 0;
    for watching in &watchers {
        let seen = watching.ids_until(&last);
        let missed: Vec<_> = stayed.iter().filter(|id| !seen.contains(**id)).collect();
        assert!(
            missed.is_empty(),
            "{} missed {}: {:?}",
            watching.name,
            missed.len(),
            &missed[..1]
        );
        all_seen += acknowledged.keys().filter(|id| seen.contains(*id)).count();
    }
    let (stayed, average) = (stayed.len(), all_seen / readers);
    say(&format!(
        "{count} messages, {stayed} stayed {stay:?}, {average} of all were seen"
    ));
}

/// A figure of the full run, past the harness, which swallows what a passing test prints.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "watch_load: {text}");
}

#[test]
fn without_drains_everybody_sees_everything_once() {
    let fx = Fixture::new();
    let (count, readers) = size();
    let count = count / 4;
    let watchers = watchers(&fx, readers);
    let is_over = AtomicBool::new(false);
    let (acknowledged, restarts) = std::thread::scope(|scope| {
        // One that is stopped again and again, and goes on behind what it printed last.
        let restarted = scope.spawn(|| {
            let mut restarts = 0;
            let mut watching = Watching::start(&fx, "restarted", &[]);
            while !is_over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(150));
                watching.running.send(Signal::SIGTERM);
                watching.running.wait();
                if let Some(last) = watching.ids().last() {
                    watching = Watching::start(&fx, "restarted", &["--since", last]);
                } else {
                    watching = Watching::start(&fx, "restarted", &[]);
                }
                restarts += 1;
            }
            (watching, restarts)
        });
        let acknowledged = write_all(&fx, count);
        is_over.store(true, Ordering::SeqCst);
        (acknowledged, restarted.join().unwrap())
    });
    let last = fx.append("a", "last");
    for watching in watchers.iter().chain([&restarts.0]) {
        let seen = watching.ids_until(&last);
        let missed: Vec<_> = acknowledged
            .keys()
            .filter(|id| !seen.contains(*id))
            .collect();
        assert!(
            missed.is_empty(),
            "{} missed {}: {:?}",
            watching.name,
            missed.len(),
            &missed[..1]
        );
    }
    say(&format!(
        "{count} messages, all seen once by {readers}, and by one started anew {} times",
        restarts.1
    ));
}

#[test]
fn four_drain_together() {
    let fx = Fixture::new();
    let count = size().0 / 4;
    let start =
        |n: usize| Watching::start(&fx, &format!("drain {n}"), &["--drain", "--wait", "60"]);
    let all: Vec<Watching> = (0..4).map(start).collect();
    let acknowledged = write_all(&fx, count);
    let text = || all.iter().map(|w| w.ids().len()).sum::<usize>();
    until("all is handed over", || text() >= acknowledged.len());
    until("all is removed", || !fx.files("a").claims.exists());
    let mut seen = HashSet::new();
    for watching in &all {
        for id in watching.distinct() {
            assert!(seen.insert(id.clone()), "{id} was handed over twice");
        }
    }
    assert_eq!(seen, acknowledged.into_keys().collect::<HashSet<_>>());
    // One that woke up for the last of it may be looking still.
    let files = fx.files("a");
    until("nobody is at it", || {
        !files.lock.exists() && !files.owner.exists()
    });
}

/// More events than the kernel keeps, while the watch stands still; and in the middle of
/// them the file is drained, put back, and renamed over.
#[test]
fn overflow() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
    let limit: usize = limit.unwrap().trim().parse().unwrap();
    for backend in ["inotify", "poll"] {
        let fx = Fixture::new();
        let first = fx.append("a", "first");
        let watching = Watching::start(&fx, backend, &["--backend", backend]);
        watching.ids_until(&first);
        watching.running.freeze();
        let files = fx.files("a");
        let mut wanted = vec![first];
        for part in 0..4 {
            let mut file = File::options().append(true).open(&files.records).unwrap();
            let mut other = File::create(files.dir().join("other")).unwrap();
            for n in 0..limit / 6 {
                let id = format!("{part:04x}{n:012x}");
                writeln!(file, "{{\"id\":\"{id}\"}}").unwrap();
                other.write_all(b"x").unwrap(); // two alike in a row would be one event
                wanted.push(id);
            }
            match part {
                0 => {
                    // It takes the first one, and puts the others back into a new file.
                    let mut take = fx.mbox(&["take", "a"]);
                    take.assert().success();
                }
                1 => {
                    let new = files.dir().join("new");
                    fs::copy(&files.records, &new).unwrap();
                    fs::rename(&new, &files.records).unwrap();
                }
                _ => {}
            }
        }
        let pid = Pid::from_raw(watching.running.id().try_into().unwrap());
        kill(pid, Signal::SIGCONT).unwrap();
        let last = fx.append("a", "last");
        let seen = watching.ids_until(&last);
        wanted.push(last);
        assert_eq!(seen.len(), wanted.len(), "{backend}");
        assert!(wanted.iter().all(|id| seen.contains(id)), "{backend}");
        // And it is told of what comes later.
        watching.ids_until(&fx.append("a", "later"));
    }
}
