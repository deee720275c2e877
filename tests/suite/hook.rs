//! `mbox hook AGENT`: what a host sees, and what becomes of the mail. What every
//! implementation owes is in the conformance kit; here is what the vendors' contracts say,
//! many at once, and the installer.

mod defects;
mod install;

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::common::{Fixture, assert_help, is_full, tree, with_broken_pipe, with_full_stdout};
use crate::docs::repository;

/// Each agent, its events at which mail is context, and the one to go on with.
const AGENTS: [(&str, &[&str], &str); 3] = [
    (
        "claude",
        &[
            "SessionStart",
            "UserPromptSubmit",
            "PreToolUse",
            "PostToolUse",
        ],
        "Stop",
    ),
    (
        "codex",
        &[
            "SessionStart",
            "UserPromptSubmit",
            "PreToolUse",
            "PostToolUse",
        ],
        "Stop",
    ),
    (
        "gemini",
        &["SessionStart", "BeforeAgent", "AfterTool"],
        "AfterAgent",
    ),
];

fn event(name: &str) -> Value {
    json!({"session_id": "s1", "transcript_path": "/t", "cwd": "/", "hook_event_name": name})
}

/// Runs a hook with this event.
fn run(fx: &Fixture, agent: &str, stdin: &[u8]) -> Output {
    let mut hook = fx.process(&["hook", agent]);
    let mut child = hook
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_owned();
    let feeder = std::thread::spawn(move || pipe.write_all(&stdin));
    let out = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(out.stderr.is_empty(), "{out:?}");
    out
}

/// What it hands over; `None` when it is silent.
fn handed(out: &Output) -> Option<String> {
    if out.stdout.is_empty() {
        return None;
    }
    assert!(out.stdout.starts_with(b"{") && out.stdout.ends_with(b"}\n"));
    let value: Value = serde_json::from_slice(&out.stdout).unwrap();
    let text = &value["hookSpecificOutput"]["additionalContext"];
    let text = text.as_str().or(value["reason"].as_str());
    Some(text.unwrap().to_owned())
}

fn schema(agent: &str) -> jsonschema::Validator {
    let path = repository().join(format!("spec/schema/hook-{agent}.schema.json"));
    let schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn assert_contract(agent: &str, out: &Output) {
    let value: Value = serde_json::from_slice(&out.stdout).unwrap();
    let schema = schema(agent);
    let faults: Vec<String> = schema.iter_errors(&value).map(|e| e.to_string()).collect();
    assert!(faults.is_empty(), "{agent}: {faults:?}: {value}");
}

#[test]
fn help() {
    let words = [
        "claude",
        "codex",
        "gemini",
        "install",
        "uninstall",
        "status",
    ];
    assert_help("hook", &words);
}

/// Each agent and event, however the event is written: the contract of the vendor.
#[test]
fn contracts() {
    let big = "x".repeat(1 << 20);
    for (agent, context, last) in AGENTS {
        for name in context.iter().chain([&last]) {
            let mut full = event(name);
            full["tool_input"] =
                json!({"command": "ls", "agent_id": "nested", "n": [1, {"a": null}]});
            full["new_field"] = json!({"session_id": "other"});
            full["stop_hook_active"] = json!(false);
            let mut large = event(name);
            large["tool_input"] = json!({ "content": big });
            let mut bad = serde_json::to_vec(&event(name)).unwrap();
            bad.pop();
            bad.extend(b",\"tool_input\":\"\xff\xfe\"}");
            let pretty = serde_json::to_string_pretty(&full).unwrap();
            for stdin in [
                serde_json::to_vec(&full).unwrap(),
                pretty.replace('\n', "\r\n").into_bytes(),
                pretty.into_bytes(),
                serde_json::to_vec(&large).unwrap(),
                bad,
            ] {
                let fx = Fixture::new();
                fx.mbox(&["send", "s1", "é \u{1} \"hi\"", "--from", "alice"])
                    .assert()
                    .success();
                let out = run(&fx, agent, &stdin);
                assert_contract(agent, &out);
                let text = handed(&out).unwrap();
                assert!(text.contains("é \u{1} \"hi\"") && text.contains("mbox reply "));
                assert!(!fx.files("s1").records.exists());
                assert_eq!(handed(&run(&fx, agent, &stdin)), None, "{agent} {name}");
            }
        }
    }
}

/// Never over what the hosts show, and nothing of what does not fit is lost.
#[test]
fn long_mail_comes_in_parts() {
    for (agent, context, _) in AGENTS {
        let fx = Fixture::new();
        let body = "€".repeat(700);
        for n in 0..12 {
            fx.append("s1", &format!("{n} {body}"));
        }
        let stdin = serde_json::to_vec(&event(context[0])).unwrap();
        let mut seen = Vec::new();
        while let Some(text) = handed(&run(&fx, agent, &stdin)) {
            assert!(text.len() <= 9_000 && text.chars().count() <= 9_000);
            seen.extend((0..12).filter(|n| text.contains(&format!("\n{n} {body}"))));
        }
        assert_eq!(seen, (0..12).collect::<Vec<_>>());
    }
}

/// Silence: nothing to say, or nobody to say it to; and nothing is made.
#[test]
fn silence() {
    let long = "n".repeat(10_000);
    let fx = Fixture::new();
    fx.append("s1", "hi");
    let before = tree(fx.files("s1").dir());
    for stdin in [
        json!({"session_id": "s1", "hook_event_name": "Notification"}),
        json!({"session_id": "s1", "hook_event_name": "PreCompact"}),
        json!({"session_id": "s1", "hook_event_name": "PreToolUse", "agent_id": "sub"}),
        json!({"session_id": "s1", "hook_event_name": "Stop", "stop_hook_active": true}),
        json!({"session_id": ".*", "hook_event_name": "PreToolUse"}),
        json!({"session_id": "../s1", "hook_event_name": "PreToolUse"}),
        json!({"session_id": long, "hook_event_name": "PreToolUse"}),
        json!({"session_id": 7, "hook_event_name": "PreToolUse"}),
        json!({"session_id": "s1"}),
        json!([]),
        json!("s1"),
    ] {
        let stdin = serde_json::to_vec(&stdin).unwrap();
        assert_eq!(handed(&run(&fx, "claude", &stdin)), None);
        assert_eq!(tree(fx.files("s1").dir()), before);
    }
    assert_eq!(handed(&run(&fx, "claude", b"\0\xff{")), None);
    assert_eq!(handed(&run(&fx, "claude", b"")), None);
    let empty = Fixture::new();
    let stdin = serde_json::to_vec(&event("PreToolUse")).unwrap();
    assert_eq!(handed(&run(&empty, "claude", &stdin)), None);
    assert!(!empty.root().exists());
}

/// Fifty calls at once: each message is in exactly one answer.
#[test]
fn many_at_once() {
    let (calls, messages) = if is_full() { (50, 200) } else { (16, 60) };
    let fx = Fixture::new();
    for n in 0..messages {
        fx.append("s1", &format!("<{n}>"));
    }
    let stdin = serde_json::to_vec(&event("PostToolUse")).unwrap();
    let seen = Mutex::new(vec![0; messages]);
    let note = |out: &Output| {
        let text = handed(out).unwrap_or_default();
        let mut seen = seen.lock().unwrap();
        for (n, times) in seen.iter_mut().enumerate() {
            *times += usize::from(text.contains(&format!("\n<{n}>")));
        }
        !text.is_empty()
    };
    std::thread::scope(|scope| {
        for _ in 0..calls {
            scope.spawn(|| note(&run(&fx, "claude", &stdin)));
        }
    });
    while note(&run(&fx, "claude", &stdin)) {}
    assert!(seen.into_inner().unwrap().iter().all(|&times| times == 1));
    assert!(!fx.files("s1").claims.exists());
}

/// What was not taken off its hands stays, and is handed over next time.
#[test]
fn stdout_closed_or_full() {
    let fx = Fixture::new();
    fx.append("s1", "hi");
    let stdin = fx.dir().join("event");
    fs::write(&stdin, serde_json::to_vec(&event("PreToolUse")).unwrap()).unwrap();
    for run_it in [with_broken_pipe, with_full_stdout] {
        let mut hook = fx.process(&["hook", "claude"]);
        hook.stdin(fs::File::open(&stdin).unwrap());
        let out = run_it(&mut hook);
        assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
        assert_eq!(fx.peek("s1"), ["hi"]);
    }
    let out = run(&fx, "claude", &fs::read(&stdin).unwrap());
    assert!(handed(&out).unwrap().contains("hi"));
}

/// A busy mailbox, an unsafe root, a broken ledger: the host does not hear of it, the log
/// does.
#[test]
fn what_is_wrong_goes_to_the_log() {
    let fx = Fixture::new();
    fx.append("s1", "hi");
    fx.files("s1").hold("1.0123456789abcdef");
    let mut hook = fx.mbox(&["hook", "claude"]);
    hook.env("MBOX_LOG", "debug");
    hook.write_stdin(serde_json::to_vec(&event("PreToolUse")).unwrap());
    hook.assert().success().stdout("").stderr("");
    let log = fs::read_to_string(fx.root().join("log")).unwrap();
    assert!(
        log.starts_with("hook[") && log.contains("cannot lock"),
        "{log}"
    );
}

/// HOOK-6: at work, or not.
#[test]
fn activity() {
    let fx = Fixture::new();
    fx.append("other", "");
    let state = || fs::read_to_string(fx.root().join("activity/s1")).unwrap();
    for (name, wanted) in [
        ("SessionStart", "idle"),
        ("UserPromptSubmit", "busy"),
        ("Stop", "idle"),
        ("PreToolUse", "busy"),
        ("SessionEnd", "idle"),
    ] {
        run(&fx, "claude", &serde_json::to_vec(&event(name)).unwrap());
        let state = state();
        let (word, seconds) = state.trim().split_once(' ').unwrap();
        assert_eq!(word, wanted, "{name}");
        assert!(seconds.parse::<u64>().unwrap() > 1_700_000_000);
    }
    fx.append("s1", "more");
    run(&fx, "claude", &serde_json::to_vec(&event("Stop")).unwrap());
    assert!(state().starts_with("busy "));
}
