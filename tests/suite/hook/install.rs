//! `mbox hook install`, `uninstall` and `status`: nothing of anybody else's is lost.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use predicates::prelude::*;
use serde_json::Value;

use crate::common::{Fixture, MBOX, assert_usage};

/// Where the settings of an agent are in the home directory of a fixture.
fn settings(fx: &Fixture, agent: &str) -> PathBuf {
    fx.dir().join("home").join(match agent {
        "claude" => ".claude/settings.json",
        "codex" => ".codex/hooks.json",
        _ => ".gemini/settings.json",
    })
}

fn hook(fx: &Fixture, args: &[&str]) -> assert_cmd::Command {
    let home = fx.dir().join("home");
    fs::create_dir_all(&home).unwrap();
    let mut hook = fx.mbox(&["hook"]);
    hook.args(args).env("HOME", &home).current_dir(home);
    hook
}

const OTHERS: &str = r#"{
  "model": "opus",
  "hooks": {
    "PreToolUse": [
      {
        "matcher": "Bash",
        "hooks": [
          { "type": "command", "command": "~/bin/guard.sh", "timeout": 5 }
        ]
      }
    ],
    "Stop": [
      { "hooks": [ { "type": "command", "command": "say done" } ] }
    ]
  },
  "permissions": { "allow": ["Bash(ls:*)"] }
}
"#;

/// Files as they are found in the world.
fn shapes() -> Vec<(&'static str, String)> {
    let shapes: Vec<(&str, String)> = vec![
        ("empty", "".into()),
        ("blank", " \n\n".into()),
        ("comment alone", "// nothing yet\n".into()),
        ("empty object", "{}".into()),
        ("empty object, newline", "{}\n".into()),
        ("empty object, spread", "{\n}\n".into()),
        ("empty hooks", "{\"hooks\":{}}".into()),
        ("empty hooks, spread", "{\n  \"hooks\": {\n  }\n}\n".into()),
        ("empty event", "{\"hooks\": {\"Stop\": []}}\n".into()),
        ("one line", "{\"a\":1,\"b\":[1,2,{\"c\":null}]}".into()),
        ("others", OTHERS.into()),
        ("tabs", OTHERS.replace("  ", "\t")),
        ("four spaces", OTHERS.replace("  ", "    ")),
        ("carriage returns", OTHERS.replace('\n', "\r\n")),
        ("no final newline", OTHERS.trim_end().into()),
        ("many final newlines", format!("{OTHERS}\n\n\n")),
        ("byte order mark", format!("\u{feff}{OTHERS}")),
        ("line comments", OTHERS.replace("\"model\"", "// the model\n  \"model\"")),
        ("comments behind", OTHERS.replace("\"opus\",", "\"opus\", // best")),
        ("block comments", OTHERS.replace("\"Stop\"", "/* loud */ \"Stop\"")),
        ("comments at the end", format!("{OTHERS}// the end\n")),
        ("comment in an array", OTHERS.replace("\"Stop\": [", "\"Stop\": [ // here")),
        ("trailing commas",
            OTHERS
                .replace("}\n    ]", "},\n    ]")
                .replace("] }\n}", "] },\n}"),
        ),
        (
            "minified", serde_json::to_string(&serde_json::from_str::<Value>(OTHERS).unwrap()).unwrap()),
        ("unicode", "{\"name\":\"é\u{1F600}\\u00e9\",\"hooks\":{}}\n".into()),
        ("escapes in a key", "{\"ho\\u006fks\":{\"Stop\":[]}}\n".into()),
        ("duplicate keys elsewhere", "{\"a\":1,\"a\":2}\n".into()),
        ("large numbers", "{\"n\":123456789012345678901234567890.5e-7}\n".into()),
        ("strange groups", "{\"hooks\":{\"Stop\":[null,7,{\"hooks\":null},{\"hooks\":[\"x\"]}]}}".into()),
        ("another mbox", "{\"hooks\":{\"Stop\":[{\"hooks\":[{\"type\":\"command\",\"command\":\"/bin/mbox hook other\"}]}]}}".into()),
        ("deep", format!("{{\"x\":{}{}}}", "[".repeat(60), "]".repeat(60))),
        ("long", format!("{{\"x\":\"{}\"}}\n", "y".repeat(200_000))),
    ];
    assert!(shapes.len() >= 30);
    shapes
}

/// Install, install, uninstall gives the bytes of before; what others have is there meanwhile.
#[test]
fn there_and_back() {
    for agent in ["claude", "codex", "gemini"] {
        for (what, before) in shapes() {
            let fx = Fixture::new();
            let path = settings(&fx, agent);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &before).unwrap();
            hook(&fx, &["install", agent]).assert().success().stdout("");
            let installed = fs::read_to_string(&path).unwrap();
            assert_ne!(installed, before, "{agent}, {what}");
            let plain: String = installed.split_whitespace().collect();
            for word in before.split_whitespace().filter(|word| word.len() > 3) {
                let word = word.trim_matches(['{', '}', '[', ']', ',', ':']);
                let is_kept = word.contains(['{', '[']) || plain.contains(word);
                assert!(is_kept, "{agent}, {what}: {word} is gone:\n{installed}");
            }
            assert_eq!(
                installed.contains("\r\n"),
                before.contains("\r\n"),
                "{what}"
            );
            hook(&fx, &["install", agent]).assert().success();
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                installed,
                "{agent}, {what}"
            );
            hook(&fx, &["status", agent]).assert().success();
            hook(&fx, &["uninstall", agent]).assert().success();
            let after = fs::read_to_string(&path).unwrap();
            assert_eq!(after, before, "{agent}, {what}");
            let said = predicate::str::contains("nothing was changed");
            hook(&fx, &["uninstall", agent])
                .assert()
                .success()
                .stderr(said);
            assert_eq!(fs::read_to_string(&path).unwrap(), before);
        }
    }
}

/// What is no settings file is refused and stays; so is one that may not be written.
#[test]
fn refused_untouched() {
    for (what, text) in [
        ("cut off", &b"{\"hooks\": {"[..]),
        ("array", b"[]"),
        ("number", b"7"),
        ("hooks that are none", b"{\"hooks\": [1]}"),
        (
            "an event that is none",
            b"{\"hooks\": {\"Stop\": {}, \"AfterAgent\": 1}}",
        ),
        ("hooks twice", b"{\"hooks\": {}, \"hooks\": {}}"),
        ("not UTF-8", b"{\"a\":\"\xff\"}"),
        ("two objects", b"{}{}"),
        ("no commas", b"{\"a\":1 \"b\":2}"),
        ("shell", b"export A=1\n"),
    ] {
        for agent in ["claude", "codex", "gemini"] {
            let fx = Fixture::new();
            let path = settings(&fx, agent);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let said = predicate::str::contains("it was not touched");
            hook(&fx, &["install", agent])
                .assert()
                .code(65)
                .stdout("")
                .stderr(said);
            assert_eq!(fs::read(&path).unwrap(), text, "{agent}, {what}");
            assert_eq!(
                fs::read_dir(path.parent().unwrap()).unwrap().count(),
                1,
                "{what}"
            );
        }
    }
    let fx = Fixture::new();
    let path = settings(&fx, "claude");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, OTHERS).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    hook(&fx, &["install", "claude"]).assert().code(77);
    assert_eq!(fs::read_to_string(&path).unwrap(), OTHERS);
}

/// A link to where somebody keeps his files stays one, and permissions stay as they are.
#[test]
fn links_and_permissions() {
    let fx = Fixture::new();
    let (path, kept) = (settings(&fx, "claude"), fx.dir().join("dotfiles.json"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&kept, OTHERS).unwrap();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&kept, &path).unwrap();
    hook(&fx, &["install", "claude"]).assert().success();
    assert!(path.symlink_metadata().unwrap().is_symlink());
    assert!(fs::read_to_string(&kept).unwrap().contains(MBOX));
    assert_eq!(
        fs::metadata(&kept).unwrap().permissions().mode() & 0o777,
        0o640
    );
    hook(&fx, &["uninstall", "claude"]).assert().success();
    assert_eq!(fs::read_to_string(&kept).unwrap(), OTHERS);
    fs::remove_file(&kept).unwrap();
    hook(&fx, &["install", "claude"]).assert().code(77);
    assert!(!kept.exists());
}

/// A file that was not there before goes again; so does one that others changed since, but
/// for what they changed.
#[test]
fn made_and_changed_by_others() {
    let fx = Fixture::new();
    let path = settings(&fx, "gemini");
    hook(&fx, &["install", "gemini"]).assert().success();
    hook(&fx, &["uninstall", "gemini"]).assert().success();
    assert!(!path.exists());
    fs::write(&path, OTHERS).unwrap();
    hook(&fx, &["install", "gemini"]).assert().success();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"opus\"", "\"other\"")).unwrap();
    hook(&fx, &["uninstall", "gemini"]).assert().success();
    let wanted: Value = serde_json::from_str(&OTHERS.replace("\"opus\"", "\"other\"")).unwrap();
    let found: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(found, wanted);
}

#[test]
fn a_trial_changes_nothing() {
    let fx = Fixture::new();
    let path = settings(&fx, "codex");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, OTHERS).unwrap();
    let would = predicate::str::contains("hook codex").and(predicate::str::contains("say done"));
    hook(&fx, &["install", "codex", "--dry-run"])
        .assert()
        .success()
        .stdout(would);
    assert_eq!(fs::read_to_string(&path).unwrap(), OTHERS);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

/// What the host is given runs, and for Claude without a shell.
#[test]
fn what_is_installed_runs() {
    let fx = Fixture::new();
    fx.append("s1", "hi");
    hook(&fx, &["install", "claude", "--project"])
        .assert()
        .success();
    let text = fs::read_to_string(settings(&fx, "claude")).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let entry = &value["hooks"]["PostToolUse"][0]["hooks"][0];
    assert_eq!(entry["args"], serde_json::json!(["hook", "claude"]));
    let mut host = std::process::Command::new(entry["command"].as_str().unwrap());
    host.args(["hook", "claude"]).env("MBOX_ROOT", fx.root());
    let event = fx.dir().join("event");
    fs::write(
        &event,
        "{\"session_id\":\"s1\",\"hook_event_name\":\"PostToolUse\"}",
    )
    .unwrap();
    let out = host.stdin(fs::File::open(event).unwrap()).output().unwrap();
    assert!(String::from_utf8(out.stdout).unwrap().contains("hi"));
}

#[test]
fn status() {
    let fx = Fixture::new();
    fx.append("s1", "");
    let rows = || -> Vec<Value> {
        let out = hook(&fx, &["status", "--json"]).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    assert_eq!(rows().len(), 6);
    assert!(
        rows()
            .iter()
            .all(|row| row["installed"] == false && row["last_run"].is_null())
    );
    hook(&fx, &["status"]).assert().code(1);
    hook(&fx, &["install", "codex"]).assert().success();
    let mut run = hook(&fx, &["codex"]);
    run.write_stdin("{\"session_id\":\"s1\",\"hook_event_name\":\"PreToolUse\"}");
    run.assert().success();
    let codex = rows()
        .into_iter()
        .find(|row| row["installed"] == true)
        .unwrap();
    assert_eq!(codex["agent"], "codex");
    assert_eq!(codex["program_exists"], true);
    assert!(codex["last_run"].as_u64().unwrap() > 1_700_000_000);
    let path = settings(&fx, "codex");
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace(MBOX, "/nowhere/mbox");
    fs::write(&path, text).unwrap();
    let said = predicate::str::contains("/nowhere/mbox, WHICH IS NOT THERE");
    hook(&fx, &["status", "codex"])
        .assert()
        .success()
        .stdout(said);
    // An entry that is there stays as it is, whatever it runs.
    hook(&fx, &["install", "codex"]).assert().success();
    assert!(fs::read_to_string(&path).unwrap().contains("/nowhere/mbox"));
}

#[test]
fn usage() {
    let lines: [&[&str]; 3] = [
        &["hook", "install"],
        &["hook", "install", "other"],
        &["hook", "install", "claude", "--user", "--project"],
    ];
    assert_usage(&Fixture::new(), &lines);
}
