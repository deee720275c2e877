//! `mbox register`, and `mbox list --sessions`.

use std::fs;
use std::process::Command;

use predicates::prelude::*;
use serde_json::Value;

use crate::common::{Fixture, assert_help, assert_usage};

/// A process that stands still until it is dropped.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn start() -> Sleeper {
        Sleeper(Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn sessions(fx: &Fixture) -> Vec<Value> {
    let out = fx
        .process(&["list", "--sessions", "--json"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn register(fx: &Fixture, name: &str, who: &Sleeper) -> assert_cmd::assert::Assert {
    fx.mbox(&["register", name, "--pid", &who.pid()]).assert()
}

#[test]
fn help() {
    assert_help("register", &["NAME", "--pid", "--agent"]);
}

#[test]
fn usage() {
    let lines: [&[&str]; 4] = [
        &["register", "../x"],
        &["register", "a", "b"],
        &["register", "a", "--pid", "0"],
        &["register", "a", "--pid", "x"],
    ];
    assert_usage(&Fixture::new(), &lines);
}

#[test]
fn who_is_here() {
    let fx = Fixture::new();
    assert!(sessions(&fx).is_empty());
    let who = Sleeper::start();
    let mut mine = fx.mbox(&[
        "register",
        "alice",
        "--agent",
        "claude",
        "--pid",
        &who.pid(),
    ]);
    mine.assert().success().stdout("alice\n").stderr("");
    let [alice] = &sessions(&fx)[..] else {
        panic!("{:?}", sessions(&fx));
    };
    assert_eq!(alice["name"], "alice");
    assert_eq!(alice["agent"], "claude");
    assert_eq!(alice["pid"].to_string(), who.pid());
    assert_eq!(alice["alive"], true);
    assert!(alice["cwd"].as_str().unwrap().starts_with('/'));
    let table = predicate::str::contains("alice").and(predicate::str::contains("alive"));
    fx.mbox(&["list", "--sessions"])
        .assert()
        .success()
        .stdout(table);
    // Nobody has to be asked for a name.
    let named = predicate::str::is_match("^[A-Za-z0-9]+-[0-9]+\n$").unwrap();
    fx.mbox(&["register"]).assert().success().stdout(named);
    let mut register = fx.mbox(&["register"]);
    register
        .env("MBOX_NAME", "me")
        .assert()
        .success()
        .stdout("me\n");
}

/// SESSION-3: a name that is another's and alive is not to be had.
#[test]
fn a_name_that_is_taken() {
    let fx = Fixture::new();
    let (first, second) = (Sleeper::start(), Sleeper::start());
    register(&fx, "alice", &first).success();
    register(&fx, "alice", &first).success(); // it is one's own
    let said = predicate::str::contains(first.pid()).and(predicate::str::contains("another name"));
    register(&fx, "alice", &second)
        .code(75)
        .stdout("")
        .stderr(said);
    drop(first);
    register(&fx, "alice", &second).success();
    assert_eq!(sessions(&fx)[0]["pid"].to_string(), second.pid());
}

/// A process id is handed out again: only the process itself is alive.
#[test]
fn another_process_with_its_number() {
    let fx = Fixture::new();
    let (who, other) = (Sleeper::start(), Sleeper::start());
    register(&fx, "alice", &who).success();
    let path = fx.root().join("sessions/alice.json");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace(
        &format!("\"pid\":{}", who.pid()),
        &format!("\"pid\":{}", other.pid()),
    );
    fs::write(&path, text).unwrap();
    let alice = &sessions(&fx)[0];
    // Both were started in one tick of the clock, perhaps.
    let process = |n: usize| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", [who.pid(), other.pid()][n]));
        stat.map(|stat| {
            stat.rsplit(')')
                .next()
                .unwrap()
                .split(' ')
                .nth(20)
                .unwrap()
                .to_owned()
        })
    };
    let is_told_apart = process(0).ok() != process(1).ok();
    assert!(!is_told_apart || alice["alive"] == false, "{alice}");
}

/// SESSION-4: one that is over goes, but not while mail or an answer may be waiting.
#[test]
fn reaped() {
    let fx = Fixture::new();
    let who = Sleeper::start();
    for name in ["mail", "asked", "idle"] {
        register(&fx, name, &who).success();
    }
    fx.append("mail", "hi");
    let mut ask = fx.mbox(&["ask", "other", "?", "--from", "asked", "--timeout", "0"]);
    ask.assert().code(1);
    drop(who);
    fx.mbox(&["register", "new"]).assert().success();
    let names = |fx: &Fixture| {
        let names = sessions(fx)
            .into_iter()
            .map(|s| s["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&fx), ["asked", "mail", "new"]);
    assert_eq!(fx.drain("mail"), ["hi"]);
    fx.mbox(&["register", "new"]).assert().success();
    assert_eq!(names(&fx), ["asked", "new"]);
}

/// A file that is no session is nobody's, and harms nobody.
#[test]
fn garbage() {
    let fx = Fixture::new();
    let dir = fx.root().join("sessions");
    fs::create_dir_all(&dir).unwrap();
    for (name, text) in [
        ("a.json", "{"),
        ("b.json", "[]"),
        ("c.json", "{\"name\":\"d\"}"),
        (".x.json", "{}"),
        ("README", "hi"),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }
    assert!(sessions(&fx).is_empty());
    fx.mbox(&["register", "a"]).assert().success();
    assert_eq!(sessions(&fx).len(), 1);
}
