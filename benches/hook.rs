//! What a hook costs its host: see README.md.
//!
//! `cargo bench --bench hook`, or with a number behind `--` for other than 500 of each.

mod support;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mbox::{Append, Message, Root};

use support::arguments::Arguments;
use support::fresh::Fresh;
use support::process::mbox;
use support::table::{Bound, Table, times, us};
use support::turns::{Case, by_turns};

fn main() {
    let arguments = Arguments::parse();
    let number = arguments.number_or(500) as usize;
    let fresh = Fresh::filesystem(&arguments);
    fresh.announce("hook");
    let root = Root::at(fresh.directory("root"));
    let mailbox = root.mailbox("s1").expect("a name");
    let append = |body: &str| {
        let sent = mailbox.append(&Message::new(body), &Append::default());
        sent.expect("it can be written");
    };
    // So that there is a root, and the activity is stamped.
    append("");
    let mail = mailbox.drain().expect("it can be drained");
    mail.expect("it has mail").ack().expect("it is removed");
    let event = fresh.directory("host").join("event");
    let text = r#"{"session_id":"s1","cwd":"/","hook_event_name":"PostToolUse","tool_name":"Bash","tool_input":{"command":"ls"},"tool_response":{"stdout":"a"}}"#;
    std::fs::write(&event, text).expect("an event");
    let mut cases = [
        Case::timed("`true`", || run(Command::new("true"), &event, false)),
        Case::timed("`mbox hook claude`, no mail", || {
            run(hook(&root), &event, false)
        }),
        Case::timed("`mbox hook claude`, one message", || {
            append("a message of some length, as people write them");
            run(hook(&root), &event, true)
        }),
    ];
    let series = by_turns(&mut cases, number, 1);
    let mut table = Table::new(
        &format!("a hook, the whole process, {number} of each, by turns"),
        &["what", "p50 µs", "p90 µs", "to `true`", "bound"],
    );
    let bounds = [None, Some(1.7), Some(2.5)];
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

fn hook(root: &Root) -> Command {
    let mut hook = mbox();
    hook.args(["hook", "claude"]).env("MBOX_ROOT", root.dir());
    hook
}

/// Starts it with the event on stdin, and reads what it prints.
fn run(mut command: Command, event: &Path, has_mail: bool) -> Duration {
    command.stdin(File::open(event).expect("the event"));
    command.stderr(Stdio::inherit());
    let begun = Instant::now();
    let out = command.output().expect("it runs");
    let took = begun.elapsed();
    assert!(out.status.success() && out.stdout.is_empty() != has_mail);
    took
}
