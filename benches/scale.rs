//! Very many mailboxes and senders: what appends, a watcher, `list` and `doctor` cost then.
//! See README.md.
//!
//! `cargo bench --bench scale` is 20 s of mail; with 60 behind `--` a minute. A second number
//! is that of the mailboxes, by default 100,000, and a third that of the senders, 10,000.

mod support;

use std::collections::{BinaryHeap, HashMap};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mbox::{Append, Mailbox, Message, Root, Watch, Watcher};
use rand::RngExt;

use support::arguments::Arguments;
use support::fresh::Fresh;
use support::messages;
use support::plot::{self, Line, Whose};
use support::process;
use support::table::{Bound, Table, ms, plain, times, us};
use support::turns::Series;

/// A sender waits between nothing and twice this between two messages.
const THINK: Duration = Duration::from_secs(10);

/// Threads that do what the senders would.
const THREADS: u64 = 4;

/// So many mailboxes are watched, and every so many messages go to one of them.
const WATCHED: u64 = 100;
const TO_WATCHED: u64 = 10;

/// A verb that takes longer is ended, and its row says so.
const PATIENCE: Duration = Duration::from_secs(30);

/// Appends at each step of the growth.
const APPENDS: usize = 2_000;

fn main() {
    let arguments = Arguments::parse();
    let number = |index: usize, default| arguments.numbers.get(index).copied().unwrap_or(default);
    let (seconds, mailboxes, senders) = (number(0, 20), number(1, 100_000), number(2, 10_000));
    let fresh = Fresh::filesystem(&arguments);
    fresh.announce("scale");
    let dir = fresh.directory("root");
    let body = messages::body();
    growth(&dir, &body, mailboxes, arguments.plot);
    load(
        &dir,
        &body,
        mailboxes,
        senders,
        Duration::from_secs(seconds),
    );
    look(&dir, mailboxes);
}

/// Ten times as many mailboxes at each step: appends to any of them, and `doctor`.
fn growth(dir: &Path, body: &str, most: u64, plot: bool) {
    let root = Root::at(dir);
    let mut table = Table::new(
        &format!("growth, {APPENDS} appends to random mailboxes of each number"),
        &[
            "mailboxes",
            "append p50 µs",
            "p99 µs",
            "p50 to 10 mailboxes",
            "bound",
            "`mbox doctor` ms",
        ],
    );
    let (mut p50s, mut p99s, mut doctors) = (vec![], vec![], vec![]);
    let (mut made, mut is_cut) = (0, false);
    let steps = (1..).map(|power| 10u64.pow(power));
    for count in steps.take_while(|&count| count <= most) {
        for number in made..count {
            let mailbox = root.mailbox(name(number)).expect("a name");
            append(&mailbox, body);
        }
        made = count;
        let took: Series = (0..APPENDS)
            .map(|_| {
                let number = rand::rng().random_range(0..count);
                let mailbox = root.mailbox(name(number)).expect("a name");
                let begun = Instant::now();
                append(&mailbox, body);
                begun.elapsed()
            })
            .collect();
        // Three times, unless once takes its time; not again when it was ended.
        let mut doctor = Series::default();
        while !is_cut && doctor.0.len() < 3 && doctor.0.iter().sum::<f64>() < 1.0 {
            let looked = process::stream_within(&mut verb(dir, &["doctor"]), PATIENCE);
            doctor.push(looked.took);
            is_cut = looked.is_cut;
        }
        let doctored = match (is_cut, doctor.0.is_empty()) {
            (_, true) => "not tried".to_owned(),
            (true, false) => format!("> {}", ms(doctor.median())),
            (false, false) => ms(doctor.median()),
        };
        let x = count as f64;
        p50s.push((x, took.median() * 1e6));
        p99s.push((x, took.at(0.99) * 1e6));
        // The plot has no place for what was ended.
        if !is_cut {
            doctors.push((x, doctor.median() * 1e6));
        }
        let ratio = took.median() * 1e6 / p50s[0].1;
        table.row([
            &plain(x),
            &us(took.median()),
            &us(took.at(0.99)),
            &times(ratio),
            &Bound::AtMost(1.2).judge(ratio),
            &doctored,
        ]);
    }
    drop(table);
    if plot {
        let line = |what: &str, whose, dashed, points| Line {
            what: what.to_owned(),
            whose,
            dashed,
            points,
        };
        let lines = [
            line("append, p50", Whose::Ours, false, p50s),
            line("append, p99", Whose::Ours, true, p99s),
            line("mbox doctor, all of them", Whose::Floor, false, doctors),
        ];
        let title = "Growth with the number of mailboxes";
        plot::write("scale.svg", &plot::lines(title, "mailboxes", "µs", &lines));
    }
}

fn name(number: u64) -> String {
    format!("m{number}")
}

fn append(mailbox: &Mailbox, body: &str) -> String {
    let sent = mailbox.append(&Message::new(body), &Append::default());
    sent.expect("appended")
}

fn verb(dir: &Path, words: &[&str]) -> Command {
    let mut mbox = process::mbox();
    mbox.args(words).env("MBOX_ROOT", dir);
    mbox
}

/// All senders for so long, and a watcher.
fn load(dir: &Path, body: &str, mailboxes: u64, senders: u64, time: Duration) {
    let root = Root::at(dir);
    let (sender, called) = mpsc::channel();
    let watcher = Watcher::new(Watch::default());
    let watched = WATCHED.min(mailboxes);
    for number in 0..watched {
        let sender = sender.clone();
        let mailbox = root.mailbox(name(number)).expect("a name");
        watcher.subscribe(&mailbox, None, move |record| {
            let now = Instant::now();
            sender.send((record.id().unwrap_or_default().to_owned(), now))?;
            Ok(())
        });
    }
    watcher.start().expect("it can be watched");
    // What was there already is told first.
    let quiet = Duration::from_secs(2);
    while called.recv_timeout(quiet).is_ok() {}

    let begun = Instant::now();
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let root = &root;
        let some = |first: u64| move || send(root, body, mailboxes, first..senders, begun + time);
        let threads: Vec<_> = (0..THREADS).map(|first| scope.spawn(some(first))).collect();
        all.extend(threads.into_iter().map(|it| it.join().expect("it sends")));
    });
    let seconds = begun.elapsed().as_secs_f64();
    let mut told = HashMap::new();
    while let Ok((id, at)) = called.recv_timeout(Duration::from_millis(500)) {
        told.entry(id).or_insert(at);
    }
    watcher.stop();
    let (mut appends, mut late, mut latency, mut missed) =
        (Series::default(), Series::default(), Series::default(), 0);
    for sent in all.into_iter().flatten() {
        appends.push(sent.took);
        late.push(sent.late);
        match sent.watched.map(|id| told.get(&id).copied()) {
            Some(Some(at)) => latency.push(at.saturating_duration_since(sent.begun)),
            Some(None) => missed += 1,
            None => {}
        }
    }
    let mut table = Table::new(
        &format!(
            "{} senders, {} mailboxes, {watched} of them watched, {} messages/s for {seconds:.0} s",
            plain(senders as f64),
            plain(mailboxes as f64),
            plain(appends.0.len() as f64 / seconds)
        ),
        &[
            "what",
            "n",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "max ms",
            "bound of p99",
        ],
    );
    let mut row = |what: &str, took: &Series, bound: &str| {
        let n = plain(took.0.len() as f64);
        let [p50, p90, p99, most] = [0.5, 0.9, 0.99, 1.0].map(|share| ms(took.at(share)));
        table.row([what, &n, &p50, &p90, &p99, &most, bound]);
    };
    row("append", &appends, "");
    row("a sender's turn came late by", &late, "");
    let bound = Bound::AtMost(5.0).judge(latency.at(0.99) * 1e3);
    row("from before the append to the callback", &latency, &bound);
    drop(table);
    println!("{missed} messages to watched mailboxes were not told of.\n");
}

/// What became of one message.
struct Sent {
    begun: Instant,
    took: Duration,
    late: Duration,
    /// Its id, when it went to a mailbox that is watched.
    watched: Option<String>,
}

/// Does what every [`THREADS`]th of the senders would, each at times of its own.
fn send(
    root: &Root,
    body: &str,
    mailboxes: u64,
    senders: std::ops::Range<u64>,
    end: Instant,
) -> Vec<Sent> {
    let mut random = rand::rng();
    let think = 2.0 * THINK.as_secs_f64();
    let begun = Instant::now();
    let turns = senders.step_by(THREADS as usize).map(|_| {
        // As if they had been at it for long.
        let first = random.random_range(0.0..THINK.as_secs_f64());
        std::cmp::Reverse(begun + Duration::from_secs_f64(first))
    });
    let mut turns: BinaryHeap<_> = turns.collect();
    let mut all = Vec::new();
    while let Some(std::cmp::Reverse(due)) = turns.pop().filter(|turn| turn.0 < end) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let is_watched = random.random_range(0..TO_WATCHED) == 0;
        let among = if is_watched {
            WATCHED.min(mailboxes)
        } else {
            mailboxes
        };
        let number = random.random_range(0..among);
        let mailbox = root.mailbox(name(number)).expect("a name");
        let begun = Instant::now();
        let id = append(&mailbox, body);
        let took = begun.elapsed();
        all.push(Sent {
            begun,
            took,
            late: begun.saturating_duration_since(due),
            watched: (number < WATCHED).then_some(id),
        });
        let next = begun + Duration::from_secs_f64(random.random_range(0.0..think));
        turns.push(std::cmp::Reverse(next));
    }
    all
}

/// What looks at all mailboxes.
fn look(dir: &Path, mailboxes: u64) {
    let mut table = Table::new(
        &format!(
            "verbs that look at all {} mailboxes",
            plain(mailboxes as f64)
        ),
        &["verb", "s", "bound", "peak memory, MiB"],
    );
    let size: u64 = fs::read_dir(dir.join("mailboxes"))
        .expect("it is there")
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .sum();
    for (words, bound) in [
        (["list", "--json"].as_slice(), None),
        (&["list"], None),
        (&["doctor"], Some(10.0)),
    ] {
        let streamed = process::stream_within(&mut verb(dir, words), PATIENCE);
        let seconds = streamed.took.as_secs_f64();
        let bound = bound.map_or(String::new(), |most| Bound::AtMost(most).judge(seconds));
        let peak = streamed
            .peak_kib
            .map_or(f64::NAN, |kib| kib as f64 / 1024.0);
        let what = format!("`mbox {}`", words.join(" "));
        let more = if streamed.is_cut { "> " } else { "" };
        let took = format!("{more}{}", plain(seconds));
        table.row([&what, &took, &bound, &plain(peak)]);
    }
    drop(table);
    println!("They hold {} MB of mail.\n", plain(size as f64 / 1e6));
}
