//! What a watcher costs, and how soon it tells: see README.md.
//!
//! `cargo bench --bench watch`, or with a number behind `--` for other than 600 messages.

mod support;

use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use mbox::{Append, Backend, Mailbox, Message, Root, Watch, Watcher};

use support::arguments::Arguments;
use support::fresh::Fresh;
use support::table::{Bound, Table, ms};
use support::turns::Series;

/// Between two messages, so that each is alone: more than the debounce, and not in step
/// with the poller.
const PAUSES: [u64; 7] = [31, 47, 38, 53, 35, 61, 42];

/// Between two messages when nothing has happened for so long that the poller is slow.
const IDLE_PAUSES: [u64; 3] = [1_307, 1_219, 1_263];

/// How long the idle watcher is looked at.
const IDLE: Duration = Duration::from_secs(10);

fn main() {
    let arguments = Arguments::parse();
    let messages = arguments.number_or(600) as usize;
    let fresh = Fresh::filesystem(&arguments);
    fresh.announce("watch");
    let mut table = Table::new(
        &format!("append to callback, from before the append, {messages} messages, each alone"),
        &[
            "backend",
            "n",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "max ms",
            "bound of p99",
            "append p50, p99",
            "calls/message",
            "wakeups/message",
            "idle CPU",
        ],
    );
    for &backend in Backend::available() {
        row(&fresh, &mut table, backend, "", messages, &PAUSES);
    }
    let few = (messages / 16).max(1);
    let idle = " after 1.2 s of nothing";
    row(&fresh, &mut table, Backend::Poll, idle, few, &IDLE_PAUSES);
}

fn row(
    fresh: &Fresh,
    table: &mut Table,
    backend: Backend,
    what: &str,
    messages: usize,
    pauses: &[u64],
) {
    let dir = fresh.directory(&format!("{backend}{what}"));
    let inbox = Root::at(dir).mailbox("inbox").expect("a safe root");
    let (watcher, called) = start(backend, &inbox);
    let before = Thread::of_watcher();
    let begin = Instant::now();
    std::thread::sleep(IDLE);
    let after = Thread::of_watcher();
    let share = |ns: u64| 100.0 * ns as f64 / begin.elapsed().as_nanos() as f64;
    let idle_cpu = share(after.run_ns - before.run_ns);
    let idle_wakeups = (after.wakeups - before.wakeups) as f64 / begin.elapsed().as_secs_f64();

    let before = Thread::of_watcher();
    let begin = Instant::now();
    let (mut latencies, mut appends, mut calls) = (Series::default(), Series::default(), 0);
    for n in 0..messages {
        let then = Instant::now();
        let id = append(&inbox, n);
        appends.push(then.elapsed());
        let (seen, at) = called
            .recv_timeout(Duration::from_secs(10))
            .expect("it is called");
        assert_eq!(seen, id);
        latencies.push(at.saturating_duration_since(then));
        std::thread::sleep(Duration::from_millis(pauses[n % pauses.len()]));
        calls += 1 + called.try_iter().count();
    }
    let took = begin.elapsed().as_secs_f64();
    let wakeups = (Thread::of_watcher().wakeups - before.wakeups) as f64 - idle_wakeups * took;
    watcher.stop();
    let bound = match backend {
        _ if !what.is_empty() => String::new(),
        Backend::Poll => Bound::AtMost(50.0).judge(latencies.at(0.99) * 1e3),
        _ => Bound::AtMost(5.0).judge(latencies.at(0.99) * 1e3),
    };
    let [p50, p90, p99, most] = [0.5, 0.9, 0.99, 1.0].map(|share| ms(latencies.at(share)));
    table.row([
        &format!("{backend}{what}"),
        &messages.to_string(),
        &p50,
        &p90,
        &p99,
        &most,
        &bound,
        &format!("{}, {}", ms(appends.median()), ms(appends.at(0.99))),
        &format!("{:.3}", calls as f64 / messages as f64),
        &format!("{:.1}", wakeups.max(0.0) / messages as f64),
        &format!("{idle_cpu:.2} %"),
    ]);
}

fn start(backend: Backend, inbox: &Mailbox) -> (Watcher, Receiver<(String, Instant)>) {
    let (sender, called) = mpsc::channel();
    let watcher = Watcher::new(Watch {
        backend: Some(backend),
        ..Watch::default()
    });
    let path = inbox.path().to_owned();
    watcher.subscribe(inbox, None, move |record| {
        let now = Instant::now();
        sender.send((record.id().unwrap_or_default().to_owned(), now))?;
        touch(&path); // as a handler does that would wake itself
        Ok(())
    });
    watcher.start().expect("the backend is there");
    // The root is there and watched from here on.
    append(inbox, 0);
    called
        .recv_timeout(Duration::from_secs(10))
        .expect("it is called");
    (watcher, called)
}

fn append(inbox: &Mailbox, n: usize) -> String {
    let message = Message::new(format!("message {n}"));
    inbox
        .append(&message, &Append::default())
        .expect("it is appended")
}

/// Opens and reads the mailbox.
fn touch(path: &Path) {
    let _ = std::fs::read(path); // drained, perhaps
}

/// What the kernel has counted for the thread of the watcher.
struct Thread {
    run_ns: u64,
    wakeups: u64,
}

impl Thread {
    /// Zeros where there is no /proc.
    fn of_watcher() -> Thread {
        let read = || -> Option<Thread> {
            for task in std::fs::read_dir("/proc/self/task").ok()? {
                let task = task.ok()?.path();
                let text = |name: &str| std::fs::read_to_string(task.join(name)).ok();
                if text("comm")?.trim() != "mbox-watch" {
                    continue;
                }
                let status = text("status")?;
                let switches = status
                    .lines()
                    .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
                return Some(Thread {
                    run_ns: text("schedstat")?.split(' ').next()?.parse().ok()?,
                    wakeups: switches.trim().parse().ok()?,
                });
            }
            None
        };
        read().unwrap_or(Thread {
            run_ns: 0,
            wakeups: 0,
        })
    }
}
