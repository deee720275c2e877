//! How many processes the shells start.

use std::path::{Path, PathBuf};

use crate::common::{Fixture, has_program, skip};
use crate::strace::{can_trace, trace};

const EVENT: &str = "{\"session_id\":\"s\",\"hook_event_name\":\"PostToolUse\"}\n";

fn shell_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("shell")
}

fn can_run(program: &str) -> bool {
    if !has_program(program) {
        skip(&format!("{program} is not installed"));
        return false;
    }
    can_trace()
}

/// How many processes `args` starts, itself not among them, and what it prints.
fn forks(fx: &Fixture, args: &[&str], stdin: &str) -> (usize, String) {
    let (calls, out) = trace(
        fx,
        "?fork,?vfork,clone,?clone3",
        Path::new(args[0]),
        &args[1..],
        |command| {
            command.env("MBOX_PURE", "1");
        },
        stdin,
    );
    assert!(out.status.success(), "{args:?}: {out:?}");
    assert_eq!(String::from_utf8_lossy(&out.stderr), "", "{args:?}");
    let forks = calls.iter().filter(|call| call.error().is_none()).count();
    (forks, String::from_utf8(out.stdout).unwrap())
}

/// A shell, its flags, and the file of `shell/` it reads before `script`.
fn sourced(fx: &Fixture, shell: &[&str], file: &str, script: &str) -> (usize, String) {
    let script = format!(". '{}'; {script}", shell_dir().join(file).display());
    forks(fx, &[shell, &["-c", &script]].concat(), "")
}

const BASH: &[&str] = &["bash", "--norc", "--noprofile"];
const ZSH: &[&str] = &["zsh", "-f"];

/// What is asked at each prompt, with nothing in the mailbox.
#[test]
fn a_look_at_the_prompt() {
    for (shell, name) in [(BASH, "bash"), (ZSH, "zsh")] {
        if !can_run(name) {
            continue;
        }
        let fx = Fixture::new();
        fx.append("other", "x");
        let init = fx.dir().join("init");
        let text = fx
            .mbox(&["init", name, "--static"])
            .output()
            .unwrap()
            .stdout;
        std::fs::write(&init, text).unwrap();
        let prompt = format!(
            "MBOX_NAME=me; . '{}'; __mbox_prompt; echo $?",
            init.display()
        );
        let found = forks(&fx, &[shell, &["-c", &prompt]].concat(), "");
        assert_eq!(found, (0, "0\n".to_owned()), "{name}: the prompt");
        let has = "mbox_has me || echo none";
        let found = sourced(&fx, shell, "mbox.sh", has);
        assert_eq!(found, (0, "none\n".to_owned()), "{name}: mbox_has");
    }
}

/// One awk, which reads the event. yash takes one more to see whether there are descriptors
/// to spare: where there are none it says so on the stderr of a subshell and nowhere else.
#[test]
fn the_hook_with_no_mail() {
    let shells: [(&str, &[&str], usize); 7] = [
        ("bash", BASH, 1),
        ("busybox", &["busybox", "ash"], 1),
        ("dash", &["dash"], 1),
        ("ksh", &["ksh"], 1),
        ("mksh", &["mksh"], 1),
        ("yash", &["yash"], 2),
        ("zsh", ZSH, 1),
    ];
    let hook = shell_dir().join("hooks/claude");
    for (name, shell, most) in shells {
        if !can_run(name) {
            continue;
        }
        let fx = Fixture::new();
        fx.append("other", "x");
        // The first one makes the directory of the stamps.
        for most in [most + 1, most] {
            let args = [shell, &[hook.to_str().unwrap()]].concat();
            let (forks, said) = forks(&fx, &args, EVENT);
            assert_eq!(said, "", "{name}");
            assert!(forks <= most, "{name}: {forks} forks, at most {most}");
        }
        let stamp = std::fs::read_to_string(fx.root().join("activity/s")).unwrap();
        assert!(stamp.starts_with("busy "), "{name}: {stamp}");
    }
}

#[test]
fn an_append_of_the_zsh_overlay() {
    if !can_run("zsh") {
        return;
    }
    let fx = Fixture::new();
    fx.append("me", "one");
    // Options, and a body with a quote in it, are for the steps that are told apart.
    let script = "mbox_append me two >/dev/null && mbox_append me three --from you >/dev/null";
    let (forks, _) = sourced(&fx, ZSH, "mbox.zsh", script);
    assert_eq!(fx.drain("me"), ["one", "two", "three"]);
    assert_eq!(forks, 0);
}

/// A subshell of its own, find that looks at the modes of the root (ROOT-4), mkdir of D, and
/// find that removes O and D. Once the mailbox is longer than bash reads (32,768 bytes) three
/// more look at its end: tail and read before the write, tail after it.
#[test]
fn an_append_of_bash_alone() {
    if !can_run("bash") {
        return;
    }
    let fx = Fixture::new();
    fx.append("me", "one");
    let append = "mbox_append me two >/dev/null";
    let (short, _) = sourced(&fx, BASH, "mbox.sh", append);
    assert_eq!(fx.drain("me"), ["one", "two"]);
    fx.append("me", &"x".repeat(40_000));
    let (long, _) = sourced(&fx, BASH, "mbox.sh", append);
    assert_eq!(fx.drain("me").len(), 2);
    assert!(short <= 4, "{short} forks");
    assert!(long <= 7, "{long} forks of an append to a long mailbox");
}

/// Through the binary: that one, and no subshell to look for it.
#[test]
fn an_append_through_the_binary() {
    for (shell, name) in [(BASH, "bash"), (ZSH, "zsh")] {
        if !can_run(name) {
            continue;
        }
        for file in ["mbox.sh", "mbox.zsh"] {
            if name == "bash" && file == "mbox.zsh" {
                continue;
            }
            let fx = Fixture::new();
            let script = "MBOX_PURE=; mbox_append me one >/dev/null; :";
            let (forks, _) = sourced(&fx, shell, file, script);
            assert_eq!(fx.drain("me"), ["one"]);
            assert_eq!(forks, 1, "{name}, {file}");
        }
    }
}
