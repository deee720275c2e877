//! What a hook costs its host: see README.md.
//!
//! `cargo bench --bench hook`, or with a number behind `--` for other than 500 of each.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mbox::{Append, Message, Root};

fn main() {
    let number = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let times: usize = number.unwrap_or(500);
    let dir = tempfile::tempdir().expect("a directory for the root");
    let root = Root::at(dir.path().join("root"));
    let mailbox = root.mailbox("s1").expect("a name");
    // So that there is a root, and the activity is stamped.
    mailbox
        .append(&Message::new(""), &Append::default())
        .expect("it can be written");
    mailbox
        .drain()
        .expect("it can be drained")
        .expect("it has mail")
        .ack()
        .expect("it is removed");
    let event = dir.path().join("event");
    let text = r#"{"session_id":"s1","cwd":"/","hook_event_name":"PostToolUse","tool_name":"Bash","tool_input":{"command":"ls"},"tool_response":{"stdout":"a"}}"#;
    std::fs::write(&event, text).expect("an event");
    let mut took = [const { Vec::new() }; 3];
    for n in 0..times + 20 {
        for (case, took) in took.iter_mut().enumerate() {
            if case == 2 {
                let message = Message::new("a message of some length, as people write them");
                mailbox
                    .append(&message, &Append::default())
                    .expect("it can be written");
            }
            let one = run(case == 0, &root, &event, case == 2);
            // The first ones warm up.
            if n >= 20 {
                took.push(one);
            }
        }
    }
    println!("a hook, the whole process, {times} of each, by turns\n");
    println!("| what | p50 µs | p90 µs | to `true` |");
    println!("|---|---|---|---|");
    let mut floor = 0.0;
    for (what, took) in [
        "`true`",
        "`mbox hook claude`, no mail",
        "`mbox hook claude`, one message",
    ]
    .iter()
    .zip(&mut took)
    {
        took.sort();
        let us = |share: f64| {
            let at = ((took.len() - 1) as f64 * share).round() as usize;
            took[at].as_secs_f64() * 1e6
        };
        if floor == 0.0 {
            floor = us(0.5);
        }
        println!(
            "| {what} | {:.0} | {:.0} | {:.2} |",
            us(0.5),
            us(0.9),
            us(0.5) / floor
        );
    }
}

/// Runs `true`, or the hook, with the event on stdin, and reads what it prints.
fn run(is_floor: bool, root: &Root, event: &Path, has_mail: bool) -> Duration {
    let mut command = match is_floor {
        true => Command::new("true"),
        false => {
            let mut hook = Command::new(env!("CARGO_BIN_EXE_mbox"));
            hook.args(["hook", "claude"]).env("MBOX_ROOT", root.dir());
            hook
        }
    };
    command.stdin(File::open(event).expect("the event"));
    command.stderr(Stdio::inherit());
    let begun = Instant::now();
    let out = command.output().expect("it runs");
    let took = begun.elapsed();
    assert!(out.status.success() && out.stdout.is_empty() != has_mail);
    took
}
