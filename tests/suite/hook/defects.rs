//! What hooks of agents have got wrong, each defect by its name: the binary and the shell hook
//! are without it, and `hook/naive.sh`, a hook as it is written first, has it, so that each
//! test has been seen to fail. Everything else a hook has to do is in the conformance kit.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::common::{Fixture, MBOX};

/// A hook under test, in a root of its own.
struct Hook {
    name: &'static str,
    fx: Fixture,
}

const SOUND: [&str; 3] = ["binary", "mbox.sh", "hooks/claude"];
const NAIVE: &str = "naive";

impl Hook {
    fn new(name: &'static str) -> Hook {
        let hook = Hook {
            name,
            fx: Fixture::new(),
        };
        hook.fx.files("me").make_dir();
        hook
    }

    fn command(&self) -> Command {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = match self.name {
            "binary" => self.fx.process(&["hook", "claude"]),
            "mbox.sh" => {
                let mut sh = self.fx.program("sh");
                sh.arg(repository.join("shell/mbox.sh"));
                sh.args(["hook", "claude"]);
                sh
            }
            "hooks/claude" => {
                let hook = repository.join("shell/hooks/claude");
                self.fx.program(hook.to_str().expect("the path is text"))
            }
            _ => {
                let mut sh = self.fx.program("sh");
                sh.arg(repository.join("tests/suite/hook/naive.sh"));
                sh.arg("claude");
                sh
            }
        };
        command.env("MBOX_PURE", "1");
        command
    }

    fn run(&self, event: &str, stdout: Stdio) -> Output {
        let mut command = self.command();
        let command = command.stdin(Stdio::piped()).stdout(stdout);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A hook that does not read its event is judged by what it does.
        let _ = stdin.write_all(event.as_bytes());
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// What the agent is told at this event, if anything; an error when the host would balk.
    fn told_at(&self, event: &str) -> Result<Option<String>, String> {
        let out = self.run(event, Stdio::piped());
        let stdout = String::from_utf8_lossy(&out.stdout);
        if out.status.code() != Some(0) || !out.stderr.is_empty() {
            return Err(format!("{out:?}"));
        }
        if stdout.is_empty() {
            return Ok(None);
        }
        let object: Value = serde_json::from_str(&stdout).map_err(|e| format!("{e}: {stdout}"))?;
        let context = &object["hookSpecificOutput"]["additionalContext"];
        let context = context.as_str().ok_or(format!("no context: {stdout}"))?;
        Ok(Some(context.to_owned()))
    }

    fn told(&self) -> Result<Option<String>, String> {
        self.told_at(&event(&json!({})))
    }

    fn fill(&self, lines: &[&str]) {
        fs::write(&self.fx.files("me").records, lines.concat()).unwrap();
    }
}

/// An event of the session `me`, with more members.
fn event(more: &Value) -> String {
    let mut event = json!({"session_id": "me", "hook_event_name": "PreToolUse"});
    let members = more.as_object().expect("members").clone();
    event.as_object_mut().expect("an object").extend(members);
    format!("{event}\n")
}

fn line(id: u64, body: &str) -> String {
    format!("{{\"id\":\"{id:016x}\",\"body\":\"{body}\"}}\n")
}

fn expect(is_so: bool, what: &str) -> Result<(), String> {
    is_so.then_some(()).ok_or(what.to_owned())
}

fn times(text: Option<&str>, part: &str) -> usize {
    text.map_or(0, |text| text.matches(part).count())
}

/// The defect is in no hook but the naive one, of which the check says `why`.
fn is_without(why: &str, check: fn(&Hook) -> Result<(), String>) {
    for name in SOUND {
        if let Err(why) = check(&Hook::new(name)) {
            panic!("{name}: {why}");
        }
    }
    let naive = check(&Hook::new(NAIVE));
    assert_eq!(naive, Err(why.to_owned()), "the naive hook");
}

/// The naive hook is one: it brings mail, once.
#[test]
fn all_of_them_bring_mail() {
    for name in SOUND.into_iter().chain([NAIVE]) {
        let hook = Hook::new(name);
        assert_eq!(hook.told(), Ok(None), "{name}");
        hook.fill(&[&line(1, "lunch?"), &line(2, "at noon")]);
        let told = hook.told().unwrap().unwrap_or_default();
        let (first, second) = (told.find("lunch?"), told.find("at noon"));
        assert!(first.is_some() && first < second, "{name}: {told}");
        assert_eq!(hook.told(), Ok(None), "{name}");
    }
}

#[test]
fn a_failed_write_destroys_the_mail() {
    is_without("the mail is gone", |hook| {
        hook.fill(&[&line(1, "lunch?")]);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let out = hook.run(&event(&json!({})), full.into());
        expect(out.status.code() == Some(0), "the host is told")?;
        let told = hook.told()?;
        expect(times(told.as_deref(), "lunch?") == 1, "the mail is gone")
    });
}

#[test]
fn a_subagent_swallows_the_mail() {
    is_without("the subagent was told", |hook| {
        hook.fill(&[&line(1, "lunch?")]);
        let told = hook.told_at(&event(&json!({"agent_id": "a1", "agent_type": "Explore"})))?;
        expect(told.is_none(), "the subagent was told")?;
        expect(times(hook.told()?.as_deref(), "lunch?") == 1, "it is gone")
    });
}

#[test]
fn a_session_is_a_pattern() {
    is_without("the mail of another was told", |hook| {
        hook.fill(&[&line(1, "lunch?")]);
        let told = hook.told_at(&event(&json!({"session_id": ".*"})))?;
        expect(told.is_none(), "the mail of another was told")?;
        expect(times(hook.told()?.as_deref(), "lunch?") == 1, "it is gone")
    });
}

#[test]
fn repeated_ids_are_told_repeatedly() {
    is_without("not once", |hook| {
        hook.fill(&[&line(1, "lunch?"), &line(1, "lunch?"), &line(2, "at noon")]);
        let told = hook.told()?;
        expect(times(told.as_deref(), "lunch?") == 1, "not once")?;
        expect(times(told.as_deref(), "at noon") == 1, "not all")?;
        expect(hook.told()?.is_none(), "told again")
    });
}

#[test]
fn an_empty_body_stops_the_mail() {
    is_without("nothing comes", |hook| {
        hook.fill(&[&line(1, ""), &line(2, "lunch?")]);
        let told = hook.told()?;
        expect(times(told.as_deref(), "lunch?") == 1, "nothing comes")?;
        expect(hook.told()?.is_none(), "told again")
    });
}

#[test]
fn garbage_is_looked_at_for_ever() {
    is_without("it is still in the mailbox", |hook| {
        hook.fill(&["garbage\n", "{\"torn"]);
        expect(hook.told()?.is_none(), "garbage was told")?;
        let files = hook.fx.files("me");
        expect(!files.records.exists(), "it is still in the mailbox")?;
        let damaged = fs::read_to_string(&files.damaged).unwrap_or_default();
        expect(damaged == "garbage\n{\"torn\n", "it was thrown away")
    });
}

#[test]
fn an_event_over_several_lines_is_ignored() {
    is_without("nothing was told", |hook| {
        hook.fill(&[&line(1, "lunch?")]);
        let event: Value = serde_json::from_str(&event(&json!({}))).unwrap();
        let told = hook.told_at(&serde_json::to_string_pretty(&event).unwrap())?;
        expect(times(told.as_deref(), "lunch?") == 1, "nothing was told")
    });
}

#[test]
fn a_long_body_is_more_than_the_host_takes() {
    is_without("told whole", |hook| {
        let long = line(1, &"x".repeat(30_000));
        hook.fill(&[&long]);
        let told = hook.told()?.unwrap_or_default();
        expect(told.len() <= 9_000, "told whole")?;
        expect(
            told.contains("mbox show 0000000000000001]"),
            "not said where it is",
        )?;
        let mut show = Command::new(MBOX);
        show.env("MBOX_ROOT", hook.fx.root());
        show.args(["show", "0000000000000001", "--from", "me"]);
        let shown = show.args(["--format", "jsonl"]).output().unwrap();
        expect(shown.stdout == long.as_bytes(), "not to be had there")
    });
}

#[test]
fn mail_that_was_read_is_told_of() {
    is_without("told of what was read", |hook| {
        let ledger = hook.fx.root().join("received");
        fs::create_dir(&ledger).unwrap();
        fs::write(ledger.join("me.jsonl"), line(1, "lunch?")).unwrap();
        hook.fill(&[&line(1, "lunch?")]);
        assert_eq!(hook.fx.drain("me"), ["lunch?"]);
        for _ in 0..2 {
            expect(hook.told()?.is_none(), "told of what was read")?;
        }
        Ok(())
    });
}
