//! What others take to lock a file and append to it, or to put into a queue: see README.md.
//!
//! `cargo bench --bench peers`, or with a number behind `--` for other than 60 turns. What
//! `benches/peers/install` installed is found in `$MBOX_PEERS`, by default `mbox-peers` in
//! the temporary directory; what is not there is named and left out.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use mbox::{Append, Mailbox, Message};

use support::arguments::Arguments;
use support::floor::{self, Bare};
use support::fresh::Fresh;
use support::messages;
use support::plot::{self, Whose};
use support::process::{has_program, mbox, succeed};
use support::shell::{self, Shell};
use support::table::{Table, times, us};
use support::turns::{Case, Series, by_turns};

fn main() {
    let arguments = Arguments::parse();
    let turns = arguments.number_or(60) as usize;
    let fresh = Fresh::filesystem(&arguments);
    fresh.announce("peers");
    let bench = Bench {
        line: messages::record(0),
        body: messages::body(),
        installed: installed(),
        fresh,
        turns,
    };
    let mut bars = bench.in_one_process();
    bars.extend(bench.whole_processes());
    if arguments.plot {
        let title =
            "One locked append or put into a queue, µs: in a process that runs, then by a command";
        plot::write("peers.svg", &plot::bars(title, "µs", &bars));
    }
}

fn installed() -> PathBuf {
    let dir = std::env::var_os("MBOX_PEERS").map(PathBuf::from);
    dir.unwrap_or_else(|| std::env::temp_dir().join("mbox-peers"))
}

struct Bench {
    fresh: Fresh,
    line: String,
    body: String,
    installed: PathBuf,
    turns: usize,
}

/// Those that are a library: program, name in its file, what it is.
const LIBRARIES: [(&str, &str, &str); 10] = [
    ("python3", "filelock", "Python filelock (flock), append"),
    ("python3", "softfilelock", "Python filelock (soft), append"),
    ("python3", "sqlite_open", "SQLite WAL NORMAL (Python), open"),
    (
        "python3",
        "sqlite_each",
        "SQLite WAL NORMAL (Python), opened each time",
    ),
    ("python3", "dirq", "Python dirq, add"),
    ("python3", "persist_file", "Python persist-queue, file"),
    ("python3", "persist_sqlite", "Python persist-queue, SQLite"),
    ("python3", "maildir", "Python mailbox.Maildir, add (fsync)"),
    ("node", "lock_sync", "Node proper-lockfile, sync, append"),
    ("node", "lock_async", "Node proper-lockfile, async, append"),
];

type Bar = (String, f64, Whose);

impl Bench {
    fn in_one_process(&self) -> Vec<Bar> {
        let mut bare = Bare::at(&self.fresh.directory("flock"), &self.line);
        let mailbox = Mailbox::at(self.fresh.directory("ours").join("inbox.jsonl"));
        let kept = Mailbox::at(self.fresh.directory("kept").join("inbox.jsonl"));
        let kept = kept.keeping_open();
        let maildir = self.fresh.directory("letters");
        for dir in ["tmp", "new"] {
            fs::create_dir(maildir.join(dir)).expect("it is new");
        }
        let mut letters = 0;
        let append = |mailbox: &Mailbox| {
            let message = Message::new(self.body.as_str());
            mailbox
                .append(&message, &Append::default())
                .expect("appended");
        };
        let mut whose = vec![Whose::Floor, Whose::Ours, Whose::Ours, Whose::Peer];
        let mut cases = vec![
            in_a_row("flock, heal, append", || bare.run(floor::FLOCK_AND_HEAL)),
            in_a_row("`Mailbox::append`, handle kept open", || append(&kept)),
            in_a_row("`Mailbox::append`", || append(&mailbox)),
            in_a_row("Maildir, no fsync", || {
                letters += 1;
                deliver(&maildir, letters, &self.line);
            }),
        ];
        let mut missing = Vec::new();
        for (program, name, what) in LIBRARIES {
            match Library::start(self, program, name) {
                Some(mut library) => {
                    whose.push(Whose::Peer);
                    cases.push(Case::timed(what, move || library.put()));
                }
                None => missing.push(what),
            }
        }
        let series = by_turns(&mut cases, self.turns, 1);
        self.table(
            &format!(
                "one append or put of {} bytes in a process that runs, {} turns of {} each",
                messages::LINE,
                self.turns,
                PUTS
            ),
            "`Mailbox::append`",
            (&cases, &series, &whose),
            &missing,
        )
    }

    fn whole_processes(&self) -> Vec<Bar> {
        let dir = self.fresh.directory("processes");
        let at = |name: &str| dir.join(name).display().to_string();
        let line = &self.line.trim_end();
        let ours = at("ours.jsonl");
        let body = &self.body;
        fs::write(at("sql"), "").expect("written");
        let mut whose = vec![Whose::Floor, Whose::Ours];
        let mut cases = vec![
            Case::new("`true`", || {
                succeed(&mut Command::new("true"));
            }),
            Case::new("`mbox append`", move || {
                succeed(mbox().args(["append", &ours, body]));
            }),
        ];
        let mut missing = Vec::new();
        for name in ["bash", "zsh"] {
            let file = if name == "zsh" { "mbox.zsh" } else { "mbox.sh" };
            let what = format!("`mbox_append`, pure, in a {name} that runs");
            if !has_program(name) {
                missing.push(what);
                continue;
            }
            let begin = format!("MBOX_PURE=1; {}", shell::source(file));
            let each = format!("mbox_append '{}' '{body}'", at(&format!("{name}.jsonl")));
            let mut shell = Shell::start(name, &dir, &begin, &each);
            whose.push(Whose::Ours);
            cases.push(Case::timed(&what, move || shell.once()));
        }
        let append = format!("printf '%s\\n' '{line}' >>'{}'", at("log"));
        let (lock, db) = (at("lock"), at("db"));
        let insert =
            format!("PRAGMA synchronous=NORMAL; INSERT INTO mail (body) VALUES ('{line}');");
        let peers: [(&str, &str, Vec<&str>); 5] = [
            (
                "flock",
                "flock(1), append by sh",
                vec![&lock, "sh", "-c", &append],
            ),
            ("dotlockfile", "dotlockfile around sh that appends", vec![]),
            (
                "lockfile",
                "procmail's lockfile around sh that appends",
                vec![],
            ),
            ("nq", "nq, a job put into a queue", vec!["true"]),
            (
                "sqlite3",
                "sqlite3, one insert, WAL NORMAL",
                vec![&db, &insert],
            ),
        ];
        for (name, what, arguments) in peers {
            let Some(program) = self.program(name) else {
                missing.push(what.to_owned());
                continue;
            };
            let mut command = Command::new(&program);
            command.args(arguments);
            let path = program.display().to_string();
            match name {
                "dotlockfile" | "lockfile" => {
                    let options = if name == "lockfile" { "-r1" } else { "-r 1 -l" };
                    let lock = at(&format!("{name}.lock"));
                    let script =
                        format!("'{path}' {options} '{lock}' && {append} && rm -f '{lock}'");
                    command = Command::new("sh");
                    command.args(["-c", &script]);
                }
                "nq" => {
                    let jobs = dir.join("nq");
                    fs::create_dir(&jobs).expect("it is new");
                    command.env("NQDIR", jobs);
                }
                "sqlite3" => {
                    let begin = "PRAGMA journal_mode=WAL; CREATE TABLE mail (id INTEGER PRIMARY KEY, body TEXT);";
                    succeed(Command::new(&program).args([&db, begin]));
                }
                _ => {}
            }
            whose.push(Whose::Peer);
            cases.push(Case::new(what, move || {
                succeed(&mut command);
            }));
        }
        let series = by_turns(&mut cases, self.turns * 3, 1);
        let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
        self.table(
            &format!(
                "the same by a command, {} of each, by turns",
                self.turns * 3
            ),
            "`true`",
            (&cases, &series, &whose),
            &missing,
        )
    }

    fn table(
        &self,
        title: &str,
        base: &str,
        (cases, series, whose): (&[Case], &[Series], &[Whose]),
        missing: &[&str],
    ) -> Vec<Bar> {
        let base_at = cases.iter().position(|case| case.what == base);
        let base_series = &series[base_at.expect("it is one of them")];
        let mut order: Vec<usize> = (0..cases.len()).collect();
        order.sort_by(|&a, &b| series[a].median().total_cmp(&series[b].median()));
        let mut table = Table::new(title, &["what", "p50 µs", "p90 µs", &format!("to {base}")]);
        for &index in &order {
            let (case, took) = (&cases[index], &series[index]);
            let ratio = times(took.to(base_series));
            table.row([&case.what, &us(took.median()), &us(took.at(0.9)), &ratio]);
        }
        for what in missing {
            table.row([what, "not installed", "", ""]);
        }
        let bar = |index: usize| {
            let took = series[index].median() * 1e6;
            (cases[index].what.clone(), took, whose[index])
        };
        order.into_iter().map(bar).collect()
    }

    /// Where a program of the peers is, first in their directory.
    fn program(&self, name: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let ours =
            ["programs/usr/bin", "programs/bin", "venv/bin"].map(|dir| self.installed.join(dir));
        let mut dirs = ours.into_iter().chain(std::env::split_paths(&path));
        dirs.find_map(|dir| Some(dir.join(name)).filter(|file| file.is_file()))
    }
}

/// As the libraries do it: several in a row, and what one of them took.
fn in_a_row<'a>(what: &str, mut once: impl FnMut() + 'a) -> Case<'a> {
    Case::timed(what, move || {
        let begun = Instant::now();
        (0..PUTS).for_each(|_| once());
        begun.elapsed() / PUTS
    })
}

/// As the Maildir page says, but for the fsync: complete in tmp, then renamed into new.
fn deliver(maildir: &Path, number: u32, line: &str) {
    let name = format!("{number}.host");
    let (tmp, new) = (
        maildir.join("tmp").join(&name),
        maildir.join("new").join(&name),
    );
    let mut letter = fs::File::create_new(&tmp).expect("it is new");
    letter.write_all(line.as_bytes()).expect("written");
    drop(letter);
    fs::rename(tmp, new).expect("it is new");
}

/// A library of another language, in a process that lives on.
struct Library {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// Puts in a row each time a library is asked.
const PUTS: u32 = 20;

impl Library {
    fn start(bench: &Bench, program: &str, name: &str) -> Option<Library> {
        let file = match program {
            "node" => "node.js",
            _ => "python.py",
        };
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("benches/peers")
            .join(file);
        let mut command = Command::new(bench.program(program)?);
        command
            .arg(file)
            .arg(name)
            .arg(bench.fresh.directory(name))
            .arg(bench.line.trim_end())
            .env("NODE_PATH", bench.installed.join("node/node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().ok()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take()?);
        let mut library = Library {
            child,
            stdin,
            stdout,
        };
        (library.answer() == "ready").then_some(library)
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it answers");
        line.trim_end().to_owned()
    }

    /// What one put takes.
    fn put(&mut self) -> Duration {
        let stdin = self.stdin.as_mut().expect("until it is dropped");
        writeln!(stdin, "{PUTS}").expect("it reads");
        let nanos = self.answer().parse().expect("nanoseconds");
        Duration::from_nanos(nanos) / PUTS
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        self.stdin = None; // the end of its loop
        let _ = self.child.wait(); // it has nothing more to do
    }
}
