//! What the verbs cost as whole processes, and the functions of the shell: see README.md.
//!
//! `cargo bench --bench process`, or with a number behind `--` for other than 400 of each.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mbox::{Append, Mailbox, Message, Root};

use support::arguments::Arguments;
use support::fresh::Fresh;
use support::messages;
use support::process::{has_program, mbox, succeed};
use support::shell::{self, Shell};
use support::table::{Bound, Table, times, us};
use support::turns::{Case, by_turns};

fn main() {
    let arguments = Arguments::parse();
    let number = arguments.number_or(400) as usize;
    let fresh = Fresh::filesystem(&arguments);
    fresh.announce("process");
    let body = messages::body();
    verbs(&fresh, &body, number);
    functions(&fresh, &body, number);
    forks(&fresh);
}

fn verbs(fresh: &Fresh, body: &str, number: usize) {
    let root = Root::at(fresh.directory("root"));
    let mailbox = |name: &str| root.mailbox(name).expect("a name");
    let verb = |arguments: &[&str]| {
        let mut command = mbox();
        command.args(arguments).env("MBOX_ROOT", root.dir());
        command
    };
    append(&mailbox("has"), body);
    let (one, taken) = (mailbox("one"), mailbox("taken"));
    let mut cases = [
        Case::new("`true`", || {
            succeed(&mut Command::new("true"));
        }),
        Case::new("`mbox has`", || {
            succeed(&mut verb(&["has", "has"]));
        }),
        Case::new("`mbox append`", || {
            succeed(&mut verb(&["append", "inbox", body]));
        }),
        Case::timed("`mbox drain`, one message", || {
            append(&one, body);
            succeed(&mut verb(&["drain", "one"]))
        }),
        Case::timed("`mbox take`, of two messages", || {
            append(&taken, body);
            append(&taken, body);
            let took = succeed(&mut verb(&["take", "taken"]));
            succeed(&mut verb(&["drain", "taken"]));
            took
        }),
        Case::new("`mbox peek`, one message", || {
            succeed(&mut verb(&["peek", "has"]));
        }),
        Case::new("`mbox --version`", || {
            succeed(&mut verb(&["--version"]));
        }),
    ];
    let series = by_turns(&mut cases, number, 1);
    let bounds = [None, Some(1.5), Some(2.0), Some(2.2), None, None, None];
    let mut table = Table::new(
        &format!(
            "whole processes, started, read to the end and waited for; {number} of each, by turns"
        ),
        &["what", "p50 µs", "p90 µs", "to `true`", "bound"],
    );
    for ((case, took), bound) in cases.iter().zip(&series).zip(bounds) {
        let ratio = took.to(&series[0]);
        let bound = bound.map_or(String::new(), |most| Bound::AtMost(most).judge(ratio));
        table.row([
            &case.what,
            &us(took.median()),
            &us(took.at(0.9)),
            &times(ratio),
            &bound,
        ]);
    }
}

fn append(mailbox: &Mailbox, body: &str) {
    let sent = mailbox.append(&Message::new(body), &Append::default());
    sent.expect("appended");
}

/// A shell that has slept pays for waking up, and for caches that others have filled: in a
/// row, an append is what its own work takes.
const IN_A_ROW: u32 = 50;
const OVERLAY_IN_A_ROW: &str = "`mbox_append` of mbox.zsh, pure, 50 in a row";

/// Appends by a shell that runs already, and reads its id.
fn functions(fresh: &Fresh, body: &str, number: usize) {
    let mut shells = Vec::new();
    for (name, _) in shell::SHELLS {
        if !has_program(name) {
            println!("{name} is not installed\n");
            continue;
        }
        let root = fresh.directory(name);
        let start = |begin: &str, each: &str| Shell::start(name, &root, begin, each);
        let by_file = shell::source("mbox.sh");
        shells.push((name, "answers at once", start("", "echo x")));
        let binary = format!("mbox append inbox '{body}'");
        shells.push((name, "`mbox append`, the binary", start("", &binary)));
        let function = format!("mbox_append inbox '{body}'");
        shells.push((
            name,
            "`mbox_append`, by the binary",
            start(&by_file, &function),
        ));
        let pure = format!("MBOX_PURE=1; {by_file}");
        shells.push((name, "`mbox_append`, pure", start(&pure, &function)));
        if name == "zsh" {
            let overlay = format!("MBOX_PURE=1; {}", shell::source("mbox.zsh"));
            shells.push((
                name,
                "`mbox_append` of mbox.zsh, pure",
                start(&overlay, &function),
            ));
            let many = format!("repeat {IN_A_ROW} {{ {function} }} >/dev/null; echo x");
            shells.push((name, OVERLAY_IN_A_ROW, start(&overlay, &many)));
        }
    }
    let names: Vec<(&str, &str)> = shells.iter().map(|shell| (shell.0, shell.1)).collect();
    let mut cases: Vec<Case> = shells
        .into_iter()
        .map(|(name, what, mut shell)| {
            let appends = if what == OVERLAY_IN_A_ROW {
                IN_A_ROW
            } else {
                1
            };
            let once = move || -> Duration { shell.once() / appends };
            Case::timed(&format!("{name}: {what}"), once)
        })
        .collect();
    let series = by_turns(&mut cases, number, 1);
    let mut table = Table::new(
        &format!(
            "an append by a shell that runs already, from the word to its answer; {number} of each, by turns"
        ),
        &[
            "what",
            "p50 µs",
            "p90 µs",
            "less its answer at once",
            "to the binary",
            "bound",
        ],
    );
    for (index, (case, took)) in cases.iter().zip(&series).enumerate() {
        let of = |what: &str| {
            let place = names.iter().position(|&it| it == (names[index].0, what));
            &series[place.expect("each shell has it")]
        };
        let less = took.median() - of("answers at once").median();
        let ratio = took.to(of("`mbox append`, the binary"));
        let bound = match names[index].1 {
            "`mbox_append`, by the binary" => Bound::AtMost(1.25).judge(ratio),
            OVERLAY_IN_A_ROW => {
                format!("{} µs", Bound::AtMost(250.0).judge(took.median() * 1e6))
            }
            _ => String::new(),
        };
        let p90 = us(took.at(0.9));
        table.row([
            &case.what,
            &us(took.median()),
            &p90,
            &us(less),
            &times(ratio),
            &bound,
        ]);
    }
}

/// How many processes a pure append makes: of eleven appends less of one, by ten.
fn forks(fresh: &Fresh) {
    if !has_program("strace") {
        println!("strace is not installed: forks are not counted\n");
        return;
    }
    let dir = fresh.directory("forks");
    let mut table = Table::new(
        "processes that a pure append makes",
        &["shell", "forks", "bound"],
    );
    for (name, file) in [
        ("bash", "mbox.sh"),
        ("dash", "mbox.sh"),
        ("zsh", "mbox.zsh"),
    ] {
        if !has_program(name) {
            table.row([name, "not installed", ""]);
            continue;
        }
        let count = |appends: usize| {
            let each = "mbox_append inbox hello </dev/null >/dev/null\n".repeat(appends);
            let script = format!("MBOX_PURE=1; {}\n{each}", shell::source(file));
            count_forks(name, &script, &dir)
        };
        // The first one makes the root.
        count(1);
        let forks = (count(11) - count(1)) / 10.0;
        let most = if name == "zsh" { 0.0 } else { 4.0 };
        let bound = Bound::AtMost(most).judge(forks);
        table.row([&format!("{name}, {file}"), &format!("{forks:.1}"), &bound]);
    }
}

fn count_forks(name: &str, script: &str, dir: &Path) -> f64 {
    let log = dir.join("log");
    let plain = shell::command(name);
    let mut strace = Command::new("strace");
    strace
        .args([
            "-f",
            "-qq",
            "-e",
            "trace=clone,clone3,fork,vfork",
            "-e",
            "signal=none",
            "-o",
        ])
        .arg(&log)
        .arg(plain.get_program())
        .args(plain.get_args())
        .args(["-c", script])
        .env("MBOX_ROOT", dir.join("root"));
    succeed(&mut strace);
    let text = fs::read_to_string(&log).expect("strace wrote it");
    let made = text.lines().filter(|line| !line.contains("<unfinished"));
    made.filter(|line| !line.contains("= -1")).count() as f64
}
