//! `mbox init`: the printed text, and what it does in real shells. `prompt` runs the hook,
//! `terminal` has interactive shells in a terminal.

mod prompt;
mod terminal;

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::common::{Fixture, assert_help, assert_usage, has_program, skip, tree};

#[test]
fn help() {
    assert_help(
        "init",
        &["--static", "bash", "zsh", "sh", "MBOX_PROMPT", "MBOX_NAME"],
    );
}

#[test]
fn bad_usage() {
    let fx = Fixture::new();
    let lines: [&[&str]; 4] = [
        &["init"],
        &["init", "csh"],
        &["init", "bash", "zsh"],
        &["init", "bash", "--statik"],
    ];
    assert_usage(&fx, &lines);
}

#[test]
fn a_closed_pipe_is_quiet() {
    let fx = Fixture::new();
    let mut command = fx.process(&["init", "zsh"]);
    crate::common::assert_quiet_pipe(&crate::common::with_broken_pipe(&mut command));
}

/// What `mbox init` prints, in a file.
fn text(fx: &Fixture, shell: &str) -> PathBuf {
    let out = fx.mbox(&["init", shell, "--static"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(out.stderr.is_empty(), "{out:?}");
    let path = fx.dir().join(format!("init.{shell}"));
    fs::write(&path, out.stdout).unwrap();
    path
}

/// Runs `script` in a shell, which may be a word with an argument.
fn run(fx: &Fixture, shell: &str, script: &str) -> Output {
    let mut words = shell.split(' ');
    let mut command = fx.program(words.next().unwrap());
    command.args(words);
    match shell {
        "bash" => command.args(["--norc", "--noprofile"]),
        "zsh" => command.arg("-f"),
        _ => &mut command,
    };
    command.args(["-c", script]).output().unwrap()
}

/// What it prints on both, when it succeeds.
#[track_caller]
fn says(fx: &Fixture, shell: &str, script: &str) -> String {
    let out = run(fx, shell, &format!("exec 2>&1\n{script}"));
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{shell}: {}: {text}", out.status);
    text
}

fn is_there(shell: &str) -> bool {
    let program = shell.split(' ').next().unwrap();
    let is_there = has_program(program);
    if !is_there {
        skip(&format!("{program} is not installed"));
    }
    is_there
}

const SH: [&str; 6] = ["dash", "busybox ash", "mksh", "ksh", "yash", "bash --posix"];

#[test]
fn each_shell_can_parse_its_text() {
    let fx = Fixture::new();
    let shells = [("bash", "bash"), ("zsh", "zsh")]
        .into_iter()
        .chain(SH.map(|shell| ("sh", shell)));
    for (kind, shell) in shells.filter(|(_, shell)| is_there(shell)) {
        let file = text(&fx, kind);
        let mut words = shell.split(' ');
        let mut command = fx.program(words.next().unwrap());
        let out = command.args(words).arg("-n").arg(file).output().unwrap();
        assert!(
            out.status.success() && out.stderr.is_empty(),
            "{shell}: {out:?}"
        );
    }
}

#[test]
fn shellcheck_has_nothing_to_say() {
    if !is_there("shellcheck") {
        return;
    }
    let fx = Fixture::new();
    for shell in ["bash", "sh"] {
        let file = text(&fx, shell);
        let mut command = fx.program("shellcheck");
        let out = command.args(["-s", shell]).arg(file).output().unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stdout)
        );
    }
}

/// What is evaluated and what is sourced differ in a comment.
#[test]
fn the_static_text_is_the_same_with_a_head() {
    let fx = Fixture::new();
    for shell in ["bash", "zsh", "sh"] {
        let stdout = |args: &[&str]| {
            let out = fx.mbox(args).output().unwrap();
            String::from_utf8(out.stdout).unwrap()
        };
        let (text, with_head) = (
            stdout(&["init", shell]),
            stdout(&["init", shell, "--static"]),
        );
        let head = with_head.strip_suffix(&text).unwrap();
        assert!(head.starts_with("# mbox "), "{head}");
        assert!(head.trim_end().lines().all(|line| line.starts_with('#')));
        assert!(head.contains(&format!("mbox init {shell} --static")));
    }
    assert!(tree(fx.dir()).is_empty());
}

/// Under `set -eu`, twice, with aliases for what it uses; the names that appear are ours.
#[test]
fn bash_is_left_as_it_was() {
    if !is_there("bash") {
        return;
    }
    let fx = Fixture::new();
    let file = text(&fx, "bash");
    let state = "{ set +o; shopt; trap -p; alias; umask; pwd; declare -p IFS; } >\"$1\"
        compgen -v | sort >\"$1.names\"; declare -F | sort >>\"$1.names\"; complete -p >>\"$1.names\" || :";
    let script = format!(
        "set -eu; shopt -s expand_aliases
        alias local=false printf=false return=false true=false complete=false unset=false mbox=false
        printf() {{ echo no; }}; mbox() {{ echo no; }}
        state() {{ {state}; }}
        BASH_LINENO= REPLY= ; trap 'echo ended' EXIT
        state before; state before
        . {0}; eval \"$(command mbox init bash)\"
        for ((i = 0; i < 1000; i++)); do eval \"$PROMPT_COMMAND\"; done
        state after
        MBOX_NAME=me; MBOX_PROMPT=notice
        eval \"$PROMPT_COMMAND\"
        state mail",
        file.display()
    );
    fx.append("me", "x");
    assert_eq!(
        says(&fx, "bash", &script),
        "1 new message: mbox drain\nended\n"
    );
    let read = |name: &str| fs::read_to_string(fx.dir().join(name)).unwrap();
    assert_eq!(read("before"), read("after"));
    assert_eq!(read("before"), read("mail"));
    let (before, after) = (read("before.names"), read("mail.names"));
    let appeared: Vec<&str> = after
        .lines()
        .filter(|name| !before.lines().any(|known| known == *name))
        .filter(|name| !name.contains("__mbox_") && !name.starts_with("MBOX_"))
        .collect();
    assert_eq!(appeared, ["PROMPT_COMMAND", "i"]);
    let public = after.lines().filter(|name| name.contains("__mbox_install"));
    assert_eq!(public.count(), 0);
}

#[test]
fn zsh_is_left_as_it_was() {
    if !is_there("zsh") {
        return;
    }
    let fx = Fixture::new();
    let file = text(&fx, "zsh");
    let state = "{ setopt; unsetopt; trap; alias; umask; pwd; typeset -p IFS; zmodload; } >\"$1\"
        print -l ${(ok)parameters[@]} ${(ok)functions[@]} >\"$1.names\"";
    let script = format!(
        "zmodload zsh/parameter; local i
        set -eu; setopt warn_create_global sh_word_split ksh_arrays
        alias local=false printf=false return=false typeset=false compdef=false mbox=false
        printf() {{ echo no; }}; mbox() {{ echo no; }}
        state() {{ {state}; }}
        trap 'echo ended' EXIT
        state before; state before
        . {0}; eval \"$(command mbox init zsh)\"
        for ((i = 0; i < 1000; i++)); do for f in \"${{precmd_functions[@]}}\"; do \"$f\"; done; done
        state after
        MBOX_NAME=me MBOX_PROMPT=notice
        for f in \"${{precmd_functions[@]}}\"; do \"$f\"; done
        state mail",
        file.display()
    );
    fx.append("me", "x");
    assert_eq!(
        says(&fx, "zsh", &script),
        "1 new message: mbox drain\nended\n"
    );
    let read = |name: &str| fs::read_to_string(fx.dir().join(name)).unwrap();
    assert_eq!(read("before"), read("after"));
    assert_eq!(read("before"), read("mail"));
    let (before, after) = (read("before.names"), read("mail.names"));
    let appeared: Vec<&str> = after
        .lines()
        .filter(|name| !before.lines().any(|known| known == *name))
        .filter(|name| !name.contains("__mbox_") && !name.starts_with("MBOX_"))
        .collect();
    assert_eq!(appeared, ["f", "precmd_functions"]);
}

/// PROMPT_COMMAND in every shape it has: ours once, and theirs is still done.
#[test]
fn prompt_command_in_all_shapes() {
    if !is_there("bash") {
        return;
    }
    let fx = Fixture::new();
    let file = text(&fx, "bash");
    let ours = r#"__mbox_prompt \"\$_\""#;
    let string = |text: &str| format!("declare -- PROMPT_COMMAND=\"{ours}{text}\"");
    let array = |first: &str, rest: &str| {
        format!("declare -a PROMPT_COMMAND=([0]=\"{ours}{first}\" {rest})")
    };
    // What is given, what becomes of it, and what the first element does beside ours.
    let shapes = [
        ("unset PROMPT_COMMAND", string(""), ""),
        ("PROMPT_COMMAND=", string(""), ""),
        ("PROMPT_COMMAND=a", string(";a"), "a\n"),
        ("PROMPT_COMMAND='a; '", string(";a; "), "a\n"),
        ("PROMPT_COMMAND=' a;b'", string("; a;b"), "a\nb\n"),
        ("PROMPT_COMMAND=(a b)", array(";a", "[1]=\"b\""), "a\n"),
        ("PROMPT_COMMAND=([3]=b)", array("", "[3]=\"b\""), ""),
        (
            "readonly PROMPT_COMMAND=a",
            "declare -r PROMPT_COMMAND=\"a\"".to_owned(),
            "a\n",
        ),
    ];
    for (given, becomes, does) in shapes {
        let script = format!(
            "set -eu; {given}; . {0}; . {0}; declare -p PROMPT_COMMAND
            a() {{ echo a; }}; b() {{ echo b; }}; eval \"${{PROMPT_COMMAND[0]}}\"",
            file.display()
        );
        let wanted = format!("{becomes}\n{does}");
        assert_eq!(says(&fx, "bash", &script), wanted, "{given}");
    }
    // Where bash-preexec is, it is one of its functions.
    let script = format!(
        "set -eu; bash_preexec_imported=defined PROMPT_COMMAND=theirs; . {0}; . {0}
        echo $PROMPT_COMMAND ${{precmd_functions[*]}}",
        file.display()
    );
    assert_eq!(says(&fx, "bash", &script), "theirs __mbox_prompt\n");
}
