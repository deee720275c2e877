//! What an append costs, beside the system calls it cannot do without: see README.md.
//!
//! `cargo bench --bench append`, or with a number behind `--` for other than 60 turns.

mod support;

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use mbox::{Append, Mailbox, Message, Root};

use support::arguments::Arguments;
use support::floor::{self, Bare, Call};
use support::fresh::Fresh;
use support::messages;
use support::plot::{self, Whose};
use support::process;
use support::table::{Bound, Table, plain, times, us};
use support::turns::{Case, Series, by_turns};

fn main() {
    let arguments = Arguments::parse();
    let turns = arguments.number_or(60) as usize;
    let fresh = Fresh::filesystem(&arguments);
    fresh.announce("append");
    let bench = Bench {
        line: messages::record(0),
        body: messages::body(),
        fresh,
        turns,
    };
    bench.one_line(arguments.plot);
    bench.calls("the calls of a kept handle", "calls", floor::KEPT);
    bench.calls(
        "the calls of an append that opens all anew",
        "calls-anew",
        floor::ANEW,
    );
    bench.synced();
    bench.many();
    bench.size_of_the_mailbox();
    bench.number_of_mailboxes();
}

struct Bench {
    fresh: Fresh,
    line: String,
    body: String,
    turns: usize,
}

impl Bench {
    fn bare(&self, name: &str) -> Bare {
        Bare::at(&self.fresh.directory(name), &self.line)
    }

    fn mailbox(&self, name: &str) -> Mailbox {
        Mailbox::at(self.fresh.directory(name).join("inbox.jsonl"))
    }

    fn message(&self) -> Message {
        Message::new(self.body.as_str())
    }

    fn append(&self, mailbox: &Mailbox) {
        let how = Append::default();
        black_box(mailbox.append(&self.message(), &how).expect("appended"));
    }

    fn one_line(&self, plot: bool) {
        let plain_one = self.mailbox("append");
        let named = Root::at(self.fresh.directory("root")).mailbox("inbox");
        let named = named.expect("a name");
        let kept = self.mailbox("kept").keeping_open();
        let bare = |what: &str, calls: &'static [Call], name: &str| {
            let mut bare = self.bare(name);
            Case::new(what, move || bare.run(calls))
        };
        let ours = |what: &str, mailbox: &Mailbox| {
            let mailbox = mailbox.clone();
            Case::new(what, move || self.append(&mailbox))
        };
        let kept_name = "`Mailbox::append`, handle kept open";
        let mut cases = [
            bare("open, append, close", floor::OPEN_AND_APPEND, "open"),
            bare("flock, heal, append", floor::FLOCK_AND_HEAL, "flock"),
            bare("bare calls of a kept handle", floor::KEPT, "bare-kept"),
            ours(kept_name, &kept),
            bare("bare calls, all opened anew", floor::ANEW, "bare-anew"),
            ours("`Mailbox::append`", &plain_one),
            ours("`Mailbox::append`, by name", &named),
        ];
        let series = by_turns(&mut cases, self.turns, 50);
        let (bare_kept, bare_anew) = (&series[2], &series[4]);
        let mut table = Table::new(
            &format!(
                "one line of {} bytes, {} times each",
                messages::LINE,
                self.turns * 50
            ),
            &[
                "what",
                "µs",
                "to its bare calls",
                "bound",
                "to the bare calls anew",
                "bound",
            ],
        );
        for (index, (case, took)) in cases.iter().zip(&series).enumerate() {
            let to_own = match index {
                3 => took.to(bare_kept),
                5 | 6 => took.to(bare_anew),
                _ => f64::NAN,
            };
            let to_anew = took.to(bare_anew);
            let (own, anew) = match index {
                3 => (
                    Bound::AtMost(1.15).judge(to_own),
                    Bound::AtMost(0.8).judge(to_anew),
                ),
                _ => Default::default(),
            };
            table.row([
                &case.what,
                &us(took.median()),
                &times(to_own),
                &own,
                &times(to_anew),
                &anew,
            ]);
        }
        drop(table);
        if plot {
            let bars: Vec<_> = cases
                .iter()
                .zip(&series)
                .map(|(case, took)| {
                    let is_ours = case.what.contains('`');
                    let whose = if is_ours { Whose::Ours } else { Whose::Floor };
                    (case.what.clone(), took.median() * 1e6, whose)
                })
                .collect();
            let title = "One append, µs: mbox, and the bare system calls";
            plot::write("append.svg", &plot::bars(title, "µs", &bars));
        }
    }

    /// What each call of a sequence takes.
    fn calls(&self, title: &str, name: &str, calls: &[Call]) {
        let mut bare = self.bare(name);
        let mut took = vec![Series::default(); calls.len()];
        let mut clock = Series::default();
        for _ in 0..self.turns * 20 {
            for ((_, call), took) in calls.iter().zip(&mut took) {
                let begun = Instant::now();
                call(&mut bare);
                took.push(begun.elapsed());
            }
            let begun = Instant::now();
            clock.push(begun.elapsed());
        }
        let clock = clock.median();
        let mut table = Table::new(
            &format!("{title}, each by itself (less the clock, {} µs)", us(clock)),
            &["call", "µs"],
        );
        let mut sum = 0.0;
        for ((name, _), took) in calls.iter().zip(&took) {
            let took = (took.median() - clock).max(0.0);
            sum += took;
            table.row([name, &us(took)]);
        }
        table.row(["all of them", &us(sum)]);
    }

    fn synced(&self) {
        let how = Append {
            sync: true,
            ..Append::default()
        };
        let (mut opened, mut kept) = (self.bare("sync-open"), self.bare("sync-write"));
        let mailbox = self.mailbox("sync-mailbox");
        let kept_mailbox = self.mailbox("sync-kept");
        let kept_mailbox = kept_mailbox.keeping_open();
        let message = self.message();
        let mut cases = [
            Case::new("write, fdatasync", || kept.run(floor::APPEND_AND_SYNC)),
            Case::new("open, write, fdatasync, close", || {
                opened.run(floor::OPEN_APPEND_AND_SYNC);
            }),
            Case::new("`append` with sync", || {
                mailbox.append(&message, &how).expect("appended");
            }),
            Case::new("the same, handle kept open", || {
                kept_mailbox.append(&message, &how).expect("appended");
            }),
        ];
        let series = by_turns(&mut cases, self.turns, 8);
        let mut table = Table::new(
            "one line, on stable storage",
            &["what", "µs", "to write + fdatasync", "bound"],
        );
        for (index, (case, took)) in cases.iter().zip(&series).enumerate() {
            let ratio = took.to(&series[0]);
            let bound = match index {
                0 | 1 => String::new(),
                _ => Bound::AtMost(1.3).judge(ratio),
            };
            table.row([&case.what, &us(took.median()), &times(ratio), &bound]);
        }
    }

    fn many(&self) {
        let thousand = messages::records(1_000 * messages::LINE);
        let mailbox = self.mailbox("many");
        let how = Append::default();
        let mut case = [Case::new("", || {
            mailbox
                .append_many(thousand.as_bytes(), &how)
                .expect("appended");
        })];
        let took = by_turns(&mut case, self.turns, 2)[0].median();
        let dir = self.fresh.directory("raw");
        let megabytes = 64;
        let source = dir.join("source");
        fs::write(&source, messages::records(megabytes << 20)).expect("written");
        let raw = (0..5).map(|turn| raw(&source, &dir.join(format!("{turn}.jsonl"))));
        let raw = raw.collect::<Series>().median();
        let mut table = Table::new("many at once", &["what", "figure", "unit", "bound"]);
        let rate = 1_000.0 / took;
        let bound = Bound::AtLeast(1e6).judge(rate);
        table.row([
            "`append_many` of 1,000 records",
            &plain(rate),
            "records/s",
            &bound,
        ]);
        let rate = (megabytes << 20) as f64 / raw / 1e6;
        let bound = Bound::AtLeast(300.0).judge(rate);
        table.row([
            &format!("`mbox append --raw`, {megabytes} MiB"),
            &plain(rate),
            "MB/s",
            &bound,
        ]);
    }

    fn size_of_the_mailbox(&self) {
        let mailboxes = [1 << 10, 256 << 20].map(|bytes: usize| {
            let mailbox = self.mailbox(&format!("size-{bytes}"));
            fs::write(mailbox.path(), messages::records(bytes)).expect("written");
            mailbox
        });
        let names = ["1 KiB", "256 MiB"].map(str::to_owned);
        self.growth("the mailbox has", &names, &mailboxes);
    }

    fn number_of_mailboxes(&self) {
        let counts = [1, 1_000, 100_000];
        let mailboxes = counts.map(|count| {
            let root = self.fresh.directory(&format!("count-{count}"));
            full_root(&root, count);
            Root::at(root).mailbox("m0").expect("a name")
        });
        let names = counts.map(|count| plain(f64::from(count)));
        self.growth("mailboxes in the root", &names, &mailboxes);
    }

    fn growth(&self, head: &str, names: &[String], mailboxes: &[Mailbox]) {
        let mut cases: Vec<Case> = mailboxes
            .iter()
            .map(|mailbox| Case::new("", || self.append(mailbox)))
            .collect();
        let series = by_turns(&mut cases, self.turns, 25);
        let mut table = Table::new(
            "an append does not grow",
            &[head, "µs", "to the first", "bound"],
        );
        for (index, (name, took)) in names.iter().zip(&series).enumerate() {
            let ratio = took.to(&series[0]);
            let bound = match index {
                0 => String::new(),
                _ => Bound::AtMost(1.2).judge(ratio),
            };
            table.row([name, &us(took.median()), &times(ratio), &bound]);
        }
    }
}

fn raw(source: &Path, mailbox: &Path) -> Duration {
    let mut append = process::mbox();
    append.args(["append", "--raw"]).arg(mailbox);
    append.stdin(fs::File::open(source).expect("it is there"));
    let took = process::stream(&mut append).took;
    let wrote = fs::metadata(mailbox).expect("it is there").len();
    assert_eq!(wrote, fs::metadata(source).expect("it is there").len());
    fs::remove_file(mailbox).expect("it is there");
    took
}

/// A root with so many mailboxes, all empty.
fn full_root(root: &Path, count: u32) {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let dir = root.join("mailboxes");
    let mut private = fs::DirBuilder::new();
    private.mode(0o700).create(&dir).expect("it is new");
    for number in 0..count {
        let path = dir.join(format!("m{number}.jsonl"));
        let mut new = fs::OpenOptions::new();
        new.write(true).create_new(true).mode(0o600);
        new.open(path).expect("it is new");
    }
}
