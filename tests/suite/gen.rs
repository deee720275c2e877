//! `mbox gen`: completions, asked as the shells ask, and man pages.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::{
    Fixture, assert_help, assert_quiet_pipe, assert_usage, has_program, skip, tree,
    with_broken_pipe,
};

#[test]
fn help() {
    assert_help("gen", &["completion", "man"]);
    let fx = Fixture::new();
    let out = fx.mbox(&["gen", "--help"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        !text.contains("words") && !text.contains("notice"),
        "{text}"
    );
}

#[test]
fn bad_usage() {
    let fx = Fixture::new();
    let lines: [&[&str]; 6] = [
        &["gen", "nosuch"],
        &["gen", "completion"],
        &["gen", "completion", "csh"],
        &["gen", "man", ""],
        &["gen", "man", "a", "b"],
        &["gen", "notice"],
    ];
    assert_usage(&fx, &lines);
}

#[test]
fn a_closed_pipe_is_quiet() {
    let fx = Fixture::new();
    for args in [
        &["gen", "man"][..],
        &["gen", "completion", "bash"],
        &["gen", "words", "--", ""],
    ] {
        assert_quiet_pipe(&with_broken_pipe(&mut fx.process(args)));
    }
}

/// What is offered for the last of `words`, without the descriptions.
fn offers(fx: &Fixture, words: &[&str]) -> Vec<String> {
    let before = tree(fx.dir());
    let mut command = fx.mbox(&["gen", "words", "--"]);
    let out = command.args(words).env("MBOX_NAME", "me").output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{words:?}: {out:?}");
    assert!(out.stderr.is_empty(), "{words:?}: {out:?}");
    assert_eq!(tree(fx.dir()), before, "{words:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    let values = text.lines().map(|line| line.split('\t').next().unwrap());
    values.map(str::to_owned).collect()
}

#[test]
fn verbs_and_options_are_those_of_the_help() {
    let fx = Fixture::new();
    let verbs = offers(&fx, &[""]);
    let out = fx.mbox(&["--help"]).output().unwrap();
    let help = String::from_utf8(out.stdout).unwrap();
    assert!(verbs.len() > 20, "{verbs:?}");
    for verb in &verbs {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb}");
    }
    assert_eq!(offers(&fx, &["dr"]), ["drain"]);
    assert_eq!(offers(&fx, &["drain", "--ma"]), ["--max", "--max-bytes"]);
    let formats = ["jsonl", "body", "text"];
    assert_eq!(offers(&fx, &["drain", "--format", ""]), formats);
    assert_eq!(offers(&fx, &["peek", "--format=b"]), ["--format=body"]);
    assert_eq!(offers(&fx, &["gen", ""]), ["completion", "man"]);
    assert_eq!(offers(&fx, &["init", ""]), ["bash", "zsh", "sh"]);
    assert_eq!(offers(&fx, &["nosuch", "x", ""]).len(), verbs.len());
    assert_eq!(offers(&fx, &[]), verbs);
}

#[test]
fn names_are_those_there_are() {
    let fx = Fixture::new();
    for name in ["me", "a@b", "a+c", "x", "_"] {
        fx.append(name, "x");
    }
    let all = ["_", "a+c", "a@b", "me", "x"];
    for verb in [
        "append", "drain", "peek", "take", "has", "lock", "watch", "migrate",
    ] {
        assert_eq!(offers(&fx, &[verb, ""]), all, "{verb}");
    }
    assert_eq!(offers(&fx, &["drain", "a"]), ["a+c", "a@b"]);
    assert_eq!(offers(&fx, &["drain", "a@"]), ["a@b"]);
    assert_eq!(offers(&fx, &["drain", "a@b", "m"]), ["me"]);
    assert_eq!(offers(&fx, &["migrate", "me", "_"]), ["_"]);
    assert_eq!(offers(&fx, &["events", "--mailbox", "m"]), ["me"]);
    // Who only said who he is can be sent to.
    let pid = std::process::id().to_string();
    fx.mbox(&["register", "zoe", "--pid", &pid])
        .assert()
        .success();
    assert_eq!(offers(&fx, &["send", "z"]), ["zoe"]);
    assert_eq!(offers(&fx, &["ask", "me", "--from", "z"]), ["zoe"]);
    assert_eq!(offers(&fx, &["drain", "z"]), [] as [&str; 0]);
    // Paths, and another root.
    assert_eq!(offers(&fx, &["drain", "./"]), [] as [&str; 0]);
    assert_eq!(offers(&fx, &["--root", ""]), [] as [&str; 0]);
    assert_eq!(
        offers(&fx, &["--root", "other", "drain", "a"]),
        [] as [&str; 0]
    );
}

#[test]
fn ids_are_those_there_are() {
    let fx = Fixture::new();
    let id = |n: u32| format!("00c0ffee00c0ff{n:02x}");
    for n in 0..3 {
        let body = format!("b\u{1b}[31m{n}\nmore");
        fx.mbox(&["send", "me", &body, "--from", "bob", "--id", &id(n)])
            .assert()
            .success();
    }
    fx.mbox(&["append", "me", "--raw"])
        .write_stdin("{\"id\":\"$(touch x) `x`\"}\n{}\n{\"id\":7}\n")
        .assert()
        .success();
    let newest_first = [id(2), id(1), id(0)];
    for words in [
        &["take", "--id", ""][..],
        &["take", "me", "--id", "00"],
        &["peek", "--since", ""],
        &["watch", "me", "--since", ""],
        &["reply", ""],
        &["show", "00c0"],
    ] {
        assert_eq!(offers(&fx, words), newest_first, "{words:?}");
    }
    assert_eq!(
        offers(&fx, &["take", "other", "--id", "0"]),
        [] as [&str; 0]
    );
    assert_eq!(
        offers(&fx, &["show", "--from", "you", "0"]),
        [] as [&str; 0]
    );
    // Beside it who sent it, and how it begins, with nothing a terminal obeys.
    let mut command = fx.mbox(&["gen", "words", "--", "reply", ""]);
    let out = command.env("MBOX_NAME", "me").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        text.starts_with(&format!("{}\tbob: b\\u{{1b}}[31m2\n", id(2))),
        "{text}"
    );
    // Drained, it can still be answered.
    fx.drain("me");
    assert_eq!(offers(&fx, &["reply", ""]), newest_first);
    assert_eq!(offers(&fx, &["take", "--id", "0"]), [] as [&str; 0]);
}

/// Whatever is wrong with the files, a tab prints nothing but offers.
#[test]
fn silent_on_errors() {
    let fx = Fixture::new();
    fx.append("me", "x");
    let files = fx.files("me");
    fs::write(&files.records, "torn\u{1b}\n\0\n").unwrap();
    assert_eq!(offers(&fx, &["take", "--id", "0"]), [] as [&str; 0]);
    fs::set_permissions(fx.root(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(offers(&fx, &["drain", "m"]), [] as [&str; 0]);
    assert_eq!(offers(&fx, &["reply", "0"]), [] as [&str; 0]);
    for words in [
        &["drain", "--help", ""][..],
        &["--", "--", ""],
        &["take", "--id=", "--", "\u{1b}"],
    ] {
        offers(&fx, words);
    }
}

fn completion(fx: &Fixture, shell: &str, file: &str) -> std::path::PathBuf {
    let out = fx.mbox(&["gen", "completion", shell]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let path = fx.dir().join(file);
    fs::write(&path, out.stdout).unwrap();
    path
}

fn lines(out: std::process::Output) -> Vec<String> {
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Asked as bash asks: with its words, cut at `=` and `@`.
#[test]
fn bash() {
    if !has_program("bash") {
        return skip("bash is not installed");
    }
    let fx = Fixture::new();
    let file = completion(&fx, "bash", "c.bash");
    fx.fill("a@b", &["x"]);
    fx.fill("a@c", &["x"]);
    let reply = |words: &[&str], line: &str, current: &str| {
        let script = ". \"$1\"; COMP_LINE=$2 COMP_POINT=${#2} c=$3; shift 3; COMP_WORDS=(\"$@\")
            set -eu; COMP_CWORD=$(($# - 1)); __mbox_complete mbox \"$c\" x
            for r in ${COMPREPLY[@]+\"${COMPREPLY[@]}\"}; do echo \"$r\"; done";
        let mut bash = fx.program("bash");
        bash.args(["--norc", "-c", script, "bash"]).arg(&file);
        lines(bash.args([line, current]).args(words).output().unwrap())
    };
    assert_eq!(reply(&["mbox", "drai"], "mbox drai", "drai"), ["drain"]);
    let names = reply(&["mbox", "drain", ""], "mbox drain ", "");
    assert_eq!(names, ["a@b", "a@c"]);
    let names = reply(&["mbox", "drain", "a", "@"], "mbox drain a@", "");
    assert_eq!(names, ["b", "c"]);
    let names = reply(&["mbox", "drain", "a", "@", "b"], "mbox drain a@b", "b");
    assert_eq!(names, ["b"]);
    let words = ["mbox", "drain", "a", "@", "b", "a", "@", "c"];
    assert_eq!(reply(&words, "mbox drain a@b  a@c", "c"), ["c"]);
    let formats = reply(
        &["mbox", "peek", "--format", "="],
        "mbox peek --format=",
        "",
    );
    assert_eq!(formats, ["jsonl", "body", "text"]);
    let formats = reply(
        &["mbox", "peek", "--format", "=", "b"],
        "mbox peek --format=b",
        "b",
    );
    assert_eq!(formats, ["body"]);
    let files = reply(&["mbox", "drain", "./c"], "mbox drain ./c", "./c");
    assert_eq!(files, [] as [&str; 0]);
    let mut bash = fx.program("bash");
    let script = format!(
        ". {0}; complete -p mbox; complete -F own mbox; . {0}; complete -p mbox",
        file.display()
    );
    let shown = lines(bash.args(["--norc", "-c", &script]).output().unwrap());
    assert_eq!(
        shown[0],
        "complete -o bashdefault -o default -F __mbox_complete mbox"
    );
    assert_eq!(shown[1], "complete -F own mbox", "theirs stays");
}

/// In zsh the completion is loaded from fpath, or by `init` before or behind compinit.
#[test]
fn zsh() {
    if !has_program("zsh") {
        return skip("zsh is not installed");
    }
    let fx = Fixture::new();
    fx.append("a@b", "x");
    completion(&fx, "zsh", "_mbox");
    let compinit = "autoload -Uz compinit; compinit -u -d ./dump";
    // Completing is for an interactive line editor: here its two builtins are played.
    let ask = "CURRENT=3 words=(mbox drain a) PREFIX=a; compadd() { print -- \"${(P)@[-1]}\"; }; _default() { print none; }
        $_comps[mbox]; PREFIX=./ words[3]=./; $_comps[mbox]";
    for load in [
        format!("fpath=($PWD $fpath); {compinit}"),
        format!("{compinit}; eval \"$(mbox init zsh)\""),
        format!("{compinit}; eval \"$(mbox gen completion zsh)\"; eval \"$(mbox init zsh)\""),
        format!(
            "eval \"$(mbox init zsh)\"; eval \"$(mbox init zsh)\"; {compinit}; for f in $precmd_functions; do $f; done; (( $#precmd_functions == 1 ))"
        ),
    ] {
        let mut zsh = fx.program("zsh");
        zsh.args(["-f", "-e", "-c", &format!("{load}; {ask}")]);
        assert_eq!(lines(zsh.output().unwrap()), ["a@b", "none"], "{load}");
    }
    // Without compinit nothing is left waiting.
    let mut zsh = fx.program("zsh");
    let script = "eval \"$(mbox init zsh)\"; for f in $precmd_functions; do $f; done; print $precmd_functions";
    let shown = lines(zsh.args(["-f", "-c", script]).output().unwrap());
    assert_eq!(shown, ["__mbox_prompt"]);
}

#[test]
fn fish() {
    if !has_program("fish") {
        return skip("fish is not installed");
    }
    let fx = Fixture::new();
    let file = completion(&fx, "fish", "mbox.fish");
    fx.append("a@b", "x");
    let asked = |line: &str| {
        let mut fish = fx.program("fish");
        let script = format!("source {}; complete -C '{line}'", file.display());
        lines(fish.args(["--no-config", "-c", &script]).output().unwrap())
    };
    assert_eq!(asked("mbox drain a"), ["a@b"]);
    let verbs = asked("mbox dr");
    assert!(
        verbs.len() == 1 && verbs[0].starts_with("drain\t"),
        "{verbs:?}"
    );
    assert_eq!(asked("mbox drain ./mbox.f"), ["./mbox.fish"]);
}

#[test]
fn man_pages() {
    let fx = Fixture::new();
    fx.mbox(&["gen", "man", "share/man1"])
        .assert()
        .success()
        .stdout("");
    let dir = fx.dir().join("share/man1");
    let out = fx.mbox(&["gen", "man"]).output().unwrap();
    assert_eq!(out.stdout, fs::read(dir.join("mbox.1")).unwrap());
    let page = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    for verb in offers(&fx, &[""]) {
        let text = page(&format!("mbox-{verb}.1"));
        assert!(text.contains(&format!(".TH mbox-{verb} 1")), "{text}");
        assert!(page("mbox.1").contains(&format!("mbox\\-{verb}(1)")));
    }
    assert!(page("mbox.1").contains("Exit status"), "{}", page("mbox.1"));
    assert!(dir.join("mbox-gen-man.1").exists());
    assert!(!dir.join("mbox-gen-words.1").exists());
    let mode = fs::metadata(dir.join("mbox.1"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o444, 0o444, "others may read them");
    is_clean(&fx, &dir);
    // Not to be written: said, with what is in the way.
    fx.mbox(&["gen", "man", "/dev/null/x"])
        .assert()
        .code(74)
        .stderr(predicates::str::starts_with("mbox: "));
}

/// groff finds nothing to warn about.
fn is_clean(fx: &Fixture, dir: &Path) {
    if !has_program("groff") {
        return skip("groff is not installed");
    }
    for page in fs::read_dir(dir).unwrap() {
        let mut groff = fx.program("groff");
        groff
            .args(["-man", "-Tutf8", "-ww", "-z"])
            .arg(page.unwrap().path());
        let out = groff.output().unwrap();
        assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    }
}
