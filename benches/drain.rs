//! What taking mail costs, and that it costs no memory: see README.md.
//!
//! `cargo bench --bench drain`, or with a number behind `--` for other than 1,000 MB.

mod support;

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mbox::Mailbox;

use support::arguments::Arguments;
use support::fresh::Fresh;
use support::messages;
use support::process::{self, Streamed};
use support::table::{Bound, Table, plain, times, us};
use support::turns::{Case, by_turns};

/// How often each small drain is done.
const TURNS: usize = 400;

/// How often the large mailbox is read by those whose speed has a bound, and by `cat`.
const READS: usize = 3;

fn main() {
    let arguments = Arguments::parse();
    let megabytes = arguments.number_or(1_000);
    let fresh = Fresh::filesystem(&arguments);
    fresh.announce("drain");
    small(&fresh);
    large(&fresh, megabytes as usize);
}

/// One message and a hundred, in this process.
fn small(fresh: &Fresh) {
    let mailbox = |count: usize| {
        let mailbox = Mailbox::at(fresh.directory(&format!("of-{count}")).join("inbox.jsonl"));
        (mailbox, messages::records(count * messages::LINE))
    };
    let ((one, one_text), (hundred, hundred_text)) = (mailbox(1), mailbox(100));
    let (log, maildir) = (
        fresh.directory("log").join("log"),
        fresh.directory("maildir"),
    );
    for dir in ["new", "cur"] {
        fs::create_dir(maildir.join(dir)).expect("it is new");
    }
    let letters: Vec<String> = (0..100).map(messages::record).collect();
    let mut cases = [
        Case::timed("one file, renamed, read, unlinked: 100 messages", || {
            fs::write(&log, &hundred_text).expect("written");
            timed(|| one_file(&log))
        }),
        Case::timed("`Mailbox::drain`, 1 message", || {
            fs::write(one.path(), &one_text).expect("written");
            timed(|| drain(&one, 1))
        }),
        Case::timed("`Mailbox::drain`, 100 messages", || {
            fs::write(hundred.path(), &hundred_text).expect("written");
            timed(|| drain(&hundred, 100))
        }),
        Case::timed("Maildir, 100 messages: read each, unlink it", || {
            for (number, letter) in letters.iter().enumerate() {
                let name = maildir.join(format!("new/{number}.host"));
                fs::write(name, letter).expect("written");
            }
            timed(|| read_maildir(&maildir))
        }),
    ];
    let series = by_turns(&mut cases, TURNS, 1);
    let mut table = Table::new(
        &format!("a drain in one process, {TURNS} of each"),
        &["what", "µs", "to 1 message", "bound"],
    );
    for (index, (case, took)) in cases.iter().zip(&series).enumerate() {
        let ratio = took.to(&series[1]);
        let bound = match index {
            2 => Bound::AtMost(1.3).judge(ratio),
            _ => String::new(),
        };
        table.row([&case.what, &us(took.median()), &times(ratio), &bound]);
    }
}

fn timed(run: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    run();
    begun.elapsed()
}

fn drain(mailbox: &Mailbox, count: usize) {
    let mut claim = mailbox.drain().expect("it can be drained").expect("mail");
    let mut seen = 0;
    for record in claim.messages() {
        black_box(record.expect("it can be read"));
        seen += 1;
    }
    assert_eq!(seen, count);
    claim.ack().expect("it is removed");
}

/// What a log without a lock does: the floor.
fn one_file(log: &Path) {
    let taken = log.with_extension("taken");
    fs::rename(log, &taken).expect("it is there");
    let text = fs::read(&taken).expect("it can be read");
    assert_eq!(black_box(text.split(|&byte| byte == b'\n').count()), 101);
    fs::remove_file(&taken).expect("it is there");
}

fn read_maildir(maildir: &Path) {
    let new = fs::read_dir(maildir.join("new")).expect("it can be listed");
    let mut letters: Vec<PathBuf> = new.map(|entry| entry.expect("an entry").path()).collect();
    letters.sort();
    assert_eq!(letters.len(), 100);
    for letter in letters {
        // By way of cur/, so that two readers do not both have it.
        let mine = maildir
            .join("cur")
            .join(letter.file_name().expect("a name"));
        fs::rename(&letter, &mine).expect("it is there");
        black_box(fs::read(&mine).expect("it can be read"));
        fs::remove_file(&mine).expect("it is there");
    }
}

/// A large mailbox, by the binary, into a pipe.
fn large(fresh: &Fresh, megabytes: usize) {
    let bytes = megabytes * 1_000_000;
    let dir = fresh.directory("large");
    let source = dir.join("source");
    let last = write_large(&source, bytes);
    let root = dir.join("root");
    let mailbox = root.join("mailboxes/big.jsonl");
    fs::create_dir_all(root.join("mailboxes")).expect("it is new");
    let verbs: [(&str, Vec<&str>, bool); 7] = [
        ("`cat`", vec![], true),
        ("`drain`", vec!["drain", "big"], true),
        ("`peek`", vec!["peek", "big"], true),
        (
            "`peek --since` the last but one",
            vec!["peek", "big", "--since", &last.0],
            false,
        ),
        (
            "`take --id` the last",
            vec!["take", "big", "--id", &last.1],
            false,
        ),
        ("`drain --max 1`", vec!["drain", "big", "--max", "1"], false),
        ("`list`", vec!["list"], false),
    ];
    let mut table = Table::new(
        &format!(
            "a mailbox of {} MB, whole processes; of `cat` and `drain` the best of {READS}",
            plain(megabytes as f64)
        ),
        &["what", "ms", "MB/s", "bound", "peak memory, MiB", "bound"],
    );
    for (what, arguments, is_whole) in &verbs {
        let mut best: Option<Streamed> = None;
        let mut most = None;
        let reads = match *what {
            "`cat`" | "`drain`" => READS,
            _ => 1,
        };
        for _ in 0..reads {
            // A second name of the same file: nothing is copied, and what takes it leaves it.
            let _ = fs::remove_file(&mailbox);
            fs::hard_link(&source, &mailbox).expect("it can be linked");
            let mut command = match arguments.as_slice() {
                [] => {
                    let mut cat = Command::new("cat");
                    cat.arg(&source);
                    cat
                }
                arguments => {
                    let mut mbox = process::mbox();
                    mbox.args(arguments).env("MBOX_ROOT", &root);
                    mbox
                }
            };
            let streamed = process::stream(&mut command);
            if *is_whole {
                assert_eq!(streamed.bytes, fs::metadata(&source).expect("there").len());
            }
            most = most.max(streamed.peak_kib);
            if best.as_ref().is_none_or(|best| streamed.took < best.took) {
                best = Some(streamed);
            }
        }
        let best = best.expect("it was read");
        let seconds = best.took.as_secs_f64();
        let rate = bytes as f64 / seconds / 1e6;
        let mebibytes = most.map_or(f64::NAN, |kib| kib as f64 / 1024.0);
        let is_ours = !arguments.is_empty();
        let rate_bound = match *what {
            "`drain`" => Bound::AtLeast(400.0).judge(rate),
            _ => String::new(),
        };
        let memory_bound = match is_ours {
            true => Bound::AtMost(32.0).judge(mebibytes),
            false => String::new(),
        };
        let ms = plain(seconds * 1e3);
        table.row([
            what,
            &ms,
            &plain(rate),
            &rate_bound,
            &plain(mebibytes),
            &memory_bound,
        ]);
    }
}

/// Returns the ids of the last two records.
fn write_large(path: &Path, bytes: usize) -> (String, String) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut new = fs::OpenOptions::new();
    let file = new.write(true).create_new(true).mode(0o600).open(path);
    let mut out = std::io::BufWriter::with_capacity(1 << 20, file.expect("it is new"));
    let count = bytes / messages::LINE;
    for number in 0..count {
        let record = messages::record(number);
        out.write_all(record.as_bytes()).expect("there is room");
    }
    out.into_inner()
        .expect("there is room")
        .sync_all()
        .expect("it is written");
    (format!("{:016x}", count - 2), format!("{:016x}", count - 1))
}
