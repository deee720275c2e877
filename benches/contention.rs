//! What many writers of one mailbox get, and how they share it: see README.md.
//!
//! `cargo bench --bench contention`, or with a number behind `--` for other than 3 s a row.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mbox::{Append, Mailbox, Message};

use support::arguments::Arguments;
use support::floor::{self, Bare};
use support::fresh::Fresh;
use support::messages;
use support::plot::{self, Line, Whose};
use support::process;
use support::shell::{self, Shell};
use support::table::{Bound, Table, ms, plain, times};
use support::turns::Series;

const WRITERS: [usize; 5] = [1, 2, 4, 8, 16];

/// Each row is measured in so many slices, by turns with the others.
const SLICES: u32 = 3;

/// What a writer that thinks waits between two appends.
const THINK: Duration = Duration::from_millis(2);

fn main() {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some("--writer") {
        let mut word = || words.next().expect("written by `Writer::start`");
        return write(&word(), Path::new(&word()));
    }
    let arguments = Arguments::parse();
    let time = Duration::from_secs(arguments.number_or(3));
    let fresh = Fresh::filesystem(&arguments);
    fresh.announce("contention");
    let alone = back_to_back(&fresh, time, arguments.plot);
    threads(&fresh, time, alone);
    with_shells(&fresh, time);
}

/// The child: appends from the first line on stdin to the end of it.
fn write(kind: &str, dir: &Path) {
    let body = messages::body();
    let mut once: Box<dyn FnMut()> = match kind {
        "flock" => {
            let mut bare = Bare::at(dir, &messages::record(0));
            Box::new(move || bare.run(floor::FLOCK_AND_HEAL))
        }
        _ => {
            let mailbox = mailbox(dir);
            Box::new(move || append(&mailbox, &body))
        }
    };
    once();
    println!("ready");
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .expect("told to begin");
    let time = Duration::from_nanos(line.trim().parse().expect("a time"));
    let mut out = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        let then = Instant::now();
        once();
        out.extend((then.elapsed().as_nanos() as u64).to_ne_bytes());
        if kind == "thinking" {
            std::thread::sleep(THINK);
        }
    }
    std::io::stdout().write_all(&out).expect("it is read");
}

fn mailbox(dir: &Path) -> Mailbox {
    let mailbox = Mailbox::at(dir.join("inbox.jsonl")).waiting(Duration::from_secs(60));
    mailbox.keeping_open()
}

fn append(mailbox: &Mailbox, body: &str) {
    let sent = mailbox.append(&Message::new(body), &Append::default());
    sent.expect("appended");
}

struct Writer {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Writer {
    fn start(kind: &str, dir: &Path) -> Writer {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("--writer").arg(kind).arg(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        out.read_line(&mut line).expect("it is ready");
        Writer { child, out }
    }

    fn begin(&mut self, time: Duration) {
        let mut stdin = self.child.stdin.take().expect("a pipe");
        let line = format!("{}\n", time.as_nanos());
        stdin.write_all(line.as_bytes()).expect("it reads");
    }

    /// What each of its appends took.
    fn end(mut self) -> Series {
        let mut bytes = Vec::new();
        self.out.read_to_end(&mut bytes).expect("it writes");
        process::end(&mut self.child);
        let took = bytes.chunks_exact(8);
        took.map(|ns| Duration::from_nanos(u64::from_ne_bytes(ns.try_into().expect("8 bytes"))))
            .collect()
    }
}

/// So many writers for so long; what each of them measured.
fn race(kind: &str, dir: &Path, writers: usize, time: Duration) -> Vec<Series> {
    let mut all: Vec<Writer> = (0..writers).map(|_| Writer::start(kind, dir)).collect();
    all.iter_mut().for_each(|writer| writer.begin(time));
    all.into_iter().map(Writer::end).collect()
}

/// Returns what one writer alone gets, in records a second.
fn back_to_back(fresh: &Fresh, time: Duration, plot: bool) -> f64 {
    let mut table = Table::new(
        &format!(
            "writers back to back, {} s a row; a wait is a whole append",
            time.as_secs()
        ),
        &[
            "writers",
            "records/s",
            "to one alone",
            "bound",
            "p50 wait, ms",
            "p99 wait, ms",
            "bound",
            "mean service, ms",
            "slowest's share",
            "bound",
            "flock and heal, records/s",
        ],
    );
    let slice = time / SLICES;
    let count = |all: &[Series]| all.iter().map(|took| took.0.len()).sum::<usize>();
    let mut races = WRITERS.map(|_| Vec::new());
    let mut floor_rates = WRITERS.map(|_| Series::default());
    for turn in 0..SLICES {
        for (index, &writers) in WRITERS.iter().enumerate() {
            let dir = fresh.directory(&format!("flock-{writers}-{turn}"));
            let floor = count(&race("flock", &dir, writers, slice));
            floor_rates[index]
                .0
                .push(floor as f64 / slice.as_secs_f64());
            let dir = fresh.directory(&format!("writers-{writers}-{turn}"));
            races[index].push(race("mbox", &dir, writers, slice));
        }
    }
    let rates = races.each_ref().map(|races| {
        let rates = races
            .iter()
            .map(|all| count(all) as f64 / slice.as_secs_f64());
        Series(rates.collect())
    });
    let (mut ours, mut floors) = (vec![], vec![]);
    for (index, (writers, races)) in WRITERS.into_iter().zip(races).enumerate() {
        let (rate, ratio) = (rates[index].median(), rates[index].to(&rates[0]));
        let floor = floor_rates[index].median();
        let shares = races.iter().map(|all| {
            let least = all.iter().map(|took| took.0.len()).min().unwrap_or(0);
            (least * writers) as f64 / count(all) as f64
        });
        let share = Series(shares.collect()).median();
        let all: Vec<Series> = races.into_iter().flatten().collect();
        let wait = Series(all.into_iter().flat_map(|took| took.0).collect());
        let service = 1.0 / rate;
        let most = 3.0 * service * writers as f64;
        table.row([
            &writers.to_string(),
            &plain(rate),
            &times(ratio),
            &Bound::AtLeast(0.8).judge(ratio),
            &ms(wait.median()),
            &ms(wait.at(0.99)),
            &Bound::AtMost(most * 1e3).judge(wait.at(0.99) * 1e3),
            &ms(service),
            &times(share),
            &Bound::AtLeast(0.5).judge(share),
            &plain(floor),
        ]);
        ours.push((writers as f64, rate));
        floors.push((writers as f64, floor));
    }
    drop(table);
    if plot {
        let line = |what: &str, whose, points| Line {
            what: what.to_owned(),
            whose,
            dashed: false,
            points,
        };
        let lines = [
            line("flock and heal", Whose::Floor, floors),
            line("mbox", Whose::Ours, ours),
        ];
        let title = "Writers of one mailbox, back to back";
        let svg = plot::lines(title, "writers", "appends/s", &lines);
        plot::write("contention.svg", &svg);
    }
    rates[0].median()
}

/// Eight threads that share a `Mailbox`, and eight processes.
fn threads(fresh: &Fresh, time: Duration, alone: f64) {
    let count = 8;
    let mailbox = mailbox(&fresh.directory("threads"));
    let body = messages::body();
    append(&mailbox, &body);
    let begun = Instant::now();
    let mut all: Vec<usize> = Vec::new();
    std::thread::scope(|scope| {
        let thread = || {
            let mut appends = 0;
            while begun.elapsed() < time {
                append(&mailbox, &body);
                appends += 1;
            }
            appends
        };
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(thread)).collect();
        all.extend(threads.into_iter().map(|it| it.join().expect("it appends")));
    });
    let seconds = begun.elapsed().as_secs_f64();
    let by_threads = all.iter().sum::<usize>() as f64 / seconds;
    let processes = race("mbox", &fresh.directory("processes"), count, time);
    let by_processes: usize = processes.iter().map(|took| took.0.len()).sum();
    let by_processes = by_processes as f64 / time.as_secs_f64();
    let mut table = Table::new(
        "eight threads of one `Mailbox`, and eight processes",
        &[
            "who",
            "records/s",
            "to processes",
            "bound",
            "to one writer alone",
        ],
    );
    let ratio = by_threads / by_processes;
    let of_alone = |rate: f64| times(rate / alone);
    table.row([
        "8 processes",
        &plain(by_processes),
        "1.00",
        "",
        &of_alone(by_processes),
    ]);
    let bound = Bound::AtLeast(5.0).judge(ratio);
    let rate = plain(by_threads);
    table.row([
        "8 threads",
        &rate,
        &times(ratio),
        &bound,
        &of_alone(by_threads),
    ]);
}

/// Two processes with the guard, and two shells without it, on one mailbox.
fn with_shells(fresh: &Fresh, time: Duration) {
    let dir = fresh.directory("shells");
    let mut binaries: Vec<Writer> = (0..2).map(|_| Writer::start("thinking", &dir)).collect();
    let names: Vec<&str> = ["bash", "dash"]
        .into_iter()
        .filter(|name| process::has_program(name))
        .collect();
    let begin = format!("MBOX_PURE=1; {}", shell::source("mbox.sh"));
    let each = format!("mbox_append '{}/inbox.jsonl' hello", dir.display());
    let mut shells: Vec<Shell> = names
        .iter()
        .map(|name| Shell::start(name, &dir, &begin, &each))
        .collect();
    binaries.iter_mut().for_each(|writer| writer.begin(time));
    let mut rows: Vec<(String, Series)> = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = shells
            .iter_mut()
            .map(|shell| {
                scope.spawn(move || {
                    let begun = Instant::now();
                    let mut took = Series::default();
                    while begun.elapsed() < time {
                        took.push(shell.once());
                        std::thread::sleep(THINK);
                    }
                    took
                })
            })
            .collect();
        for (name, thread) in names.iter().zip(threads) {
            rows.push((
                format!("{name}, pure mbox.sh"),
                thread.join().expect("it appends"),
            ));
        }
    });
    let ours = binaries
        .into_iter()
        .flat_map(|writer| writer.end().0)
        .collect();
    rows.insert(0, ("two processes, `Mailbox::append`".into(), Series(ours)));
    let mut table = Table::new(
        "writers of all kinds on one mailbox, 2 ms of thought between appends",
        &["who", "appends", "p50 ms", "p99 ms", "bound"],
    );
    for (who, took) in &rows {
        let p99 = took.at(0.99);
        let bound = Bound::AtMost(25.0).judge(p99 * 1e3);
        table.row([
            who,
            &plain(took.0.len() as f64),
            &ms(took.median()),
            &ms(p99),
            &bound,
        ]);
    }
}
