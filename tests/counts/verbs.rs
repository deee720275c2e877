//! The system calls of each verb, compared with calls.txt.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{Fixture, MBOX};
use crate::strace::{Call, can_trace, trace};
use crate::table::{difference, explain, parse, print, unsaid};
use crate::{file, writes};

/// What is traced, and what was there before.
struct Verb {
    title: &'static str,
    before: &'static [&'static [&'static str]],
    args: &'static [&'static str],
    stdin: &'static str,
    /// `MBOX_NAME`, for a verb that has to know who asks; empty is nobody.
    name: &'static str,
    status: i32,
}

const fn verb(
    title: &'static str,
    before: &'static [&'static [&'static str]],
    args: &'static [&'static str],
) -> Verb {
    Verb {
        title,
        before,
        args,
        stdin: "",
        name: "",
        status: 0,
    }
}

/// `verb` with an event on stdin.
const fn told(verb: Verb) -> Verb {
    Verb {
        stdin: "{\"session_id\":\"me\",\"hook_event_name\":\"PostToolUse\"}\n",
        ..verb
    }
}

const OTHER: &[&str] = &["append", "other", "x"];
const ONE: &[&str] = &["append", "me", "one"];
const TWO: &[&str] = &["append", "me", "two"];
const EARLIER: &[&str] = &["send", "me", "earlier", "--from", "you"];
const QUESTION: &[&str] = &[
    "send",
    "me",
    "what?",
    "--from",
    "you",
    "--id",
    "00c0ffee00c0ffee",
];

/// Where one is wanted, the root is there: OTHER has made it.
const VERBS: &[Verb] = &[
    verb("append", &[ONE], &["append", "me", "two"]),
    verb("append, a new root", &[], &["append", "me", "one"]),
    verb("drain, one message", &[ONE], &["drain", "me"]),
    verb("drain, no mail", &[OTHER], &["drain", "me"]),
    Verb {
        status: 1,
        ..verb("has, no mail", &[OTHER], &["has", "me"])
    },
    verb("has, mail", &[ONE], &["has", "me"]),
    verb("peek, one message", &[ONE], &["peek", "me"]),
    verb("take, one of two", &[ONE, TWO], &["take", "me"]),
    verb(
        "send, not the first",
        &[EARLIER],
        &["send", "me", "x", "--from", "you"],
    ),
    verb(
        "reply, the first to its sender",
        &[QUESTION],
        &["reply", "00c0ffee00c0ffee", "x", "--from", "me"],
    ),
    told(verb("hook, no mail", &[OTHER], &["hook", "claude"])),
    told(verb("hook, one message", &[ONE], &["hook", "claude"])),
    verb("list, one mailbox", &[ONE], &["list"]),
    Verb {
        name: "me",
        ..verb(
            "show, not yet handed over",
            &[QUESTION],
            &["show", "00c0ffee00c0ffee"],
        )
    },
];

/// The first thing `main` does. What comes before is the dynamic linker's and the runtime's.
const BEGIN: (&str, &str) = ("rt_sigprocmask", "SIG_BLOCK, [XFSZ]");

/// About memory, whose number depends on the length of a process id and the like; and the
/// end of the runtime.
const NOT_COUNTED: [&str; 8] = [
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "sigaltstack",
    "exit_group",
];

#[test]
fn system_calls() {
    if !can_trace() {
        return;
    }
    let path = file("calls.txt");
    let text = fs::read_to_string(&path).unwrap();
    let (head, old) = parse(&text);
    let mut now = Vec::new();
    let mut wrong = String::new();
    for verb in VERBS {
        let calls = calls(verb);
        let section = explain(verb.title, &calls, &old);
        if !writes() {
            let then = old.iter().find(|section| section.title == verb.title);
            let lines = then.into_iter().flat_map(|section| &section.lines);
            let then: Vec<String> = lines.map(|line| line.call.clone()).collect();
            let difference = difference(&then, &calls);
            if !difference.is_empty() {
                write!(wrong, "{}:\n{difference}", verb.title).unwrap();
            }
        }
        for line in unsaid(&section) {
            writeln!(wrong, "{}: why {}?", verb.title, line.call).unwrap();
        }
        now.push(section);
    }
    let table = print(&head, &now);
    if writes() {
        fs::write(&path, table).unwrap();
    } else if wrong.is_empty() {
        // Nothing of a verb that is no more, nothing out of line.
        assert!(text == table, "{} is not as it is written", path.display());
    }
    assert!(
        wrong.is_empty(),
        "not the calls of {}, or it does not say why. If they are meant: \
         MBOX_COUNTS_WRITE=1 cargo test --test counts, then say why there.\n{wrong}",
        path.display()
    );
}

/// The calls of one verb, as the table has them.
fn calls(verb: &Verb) -> Vec<String> {
    let fx = Fixture::new();
    for args in verb.before {
        fx.mbox(args).assert().success();
    }
    let set = |command: &mut Command| {
        command.env("MBOX_NAME", verb.name);
    };
    let (calls, out) = trace(&fx, "all", Path::new(MBOX), verb.args, set, verb.stdin);
    assert_eq!(
        out.status.code(),
        Some(verb.status),
        "{}: {out:?}",
        verb.title
    );
    let begin = calls
        .iter()
        .position(|call| call.name == BEGIN.0 && call.args.starts_with(BEGIN.1))
        .unwrap_or_else(|| panic!("{}: no call that begins main", verb.title));
    let calls = &calls[begin..];
    // With several threads the order would be another each time.
    assert!(
        calls.iter().all(|call| call.pid == calls[0].pid),
        "{} has started a thread or a process",
        verb.title
    );
    calls
        .iter()
        .filter(|call| !NOT_COUNTED.contains(&call.name.as_str()))
        // What std asks before each close, in a build that is not for release.
        .filter(|call| !(call.name == "fcntl" && call.args.contains("F_GETFD")))
        .map(|call| line(call, &fx))
        .collect()
}

/// `rename me me.claims/#`, `mkdir mailboxes = EEXIST`, `flock me.lock.guard LOCK_UN`.
fn line(call: &Call, fx: &Fixture) -> String {
    let mut line = call.name.clone();
    let mut words = call.args.split(", ");
    match call.name.as_str() {
        // What it does depends on these words.
        "rt_sigprocmask" => {
            let how = words.next().unwrap_or_default();
            let set = words.next().unwrap_or_default();
            write!(line, " {how} {set}").unwrap();
        }
        "getrandom" => write!(line, " {}", words.nth(1).unwrap_or_default()).unwrap(),
        _ => {}
    }
    for object in objects(&call.args) {
        write!(line, " {}", name(&object, &fx.root())).unwrap();
    }
    if matches!(call.name.as_str(), "flock" | "fcntl") {
        write!(line, " {}", words.nth(1).unwrap_or_default()).unwrap();
    }
    if let Some(error) = call.error() {
        write!(line, " = {error}").unwrap();
    }
    line
}

/// The descriptor a call is about, by its path, and the paths it is given.
fn objects(args: &str) -> Vec<String> {
    let mut objects = Vec::new();
    let digits = args.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0
        && let Some(rest) = args[digits..].strip_prefix('<')
    {
        // What is open and removed or renamed has the name it had last.
        let (path, _) = rest.split_once('>').unwrap();
        objects.push(match &args[..digits] {
            "0" => "stdin".to_owned(),
            "1" => "stdout".to_owned(),
            "2" => "stderr".to_owned(),
            _ => path.to_owned(),
        });
    }
    // The texts of writes and reads are cut to nothing (-s 0); what is left are paths.
    let quoted = args.split('"').skip(1).step_by(2);
    objects.extend(quoted.filter(|path| !path.is_empty()).map(str::to_owned));
    objects
}

/// A path of the root, with its mailboxes by their names and `#` for what is random.
fn name(path: &str, root: &Path) -> String {
    let root = root.to_str().unwrap();
    let Some(below) = path.strip_prefix(root) else {
        return path.to_owned();
    };
    let below = below.strip_prefix('/').unwrap_or("root");
    let below = below.strip_prefix("mailboxes/").unwrap_or(below);
    let below = below.replacen(".jsonl", "", 1);
    let mut name = String::new();
    for part in below.split_inclusive(['.', '-', '/']) {
        let text = part.trim_end_matches(['.', '-', '/']);
        let is_random = text.starts_with(|first: char| first.is_ascii_digit())
            || text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_random {
            if !name.ends_with('#') {
                name.push('#');
            }
            continue;
        }
        if name.ends_with('#') {
            name.push('.');
        }
        name.push_str(part);
    }
    name
}
