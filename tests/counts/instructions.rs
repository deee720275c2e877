//! How many instructions a verb of the release binary takes, under callgrind. Only those in
//! the binary itself: what the dynamic linker and libc do depends on the system.
//!
//! The compiler makes a difference too, so the figures are those of one compiler. With
//! another they are printed and not compared.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{Fixture, has_program, is_full, skip};
use crate::{figures, writes};

struct Verb {
    name: &'static str,
    before: &'static [&'static [&'static str]],
    args: &'static [&'static str],
    stdin: &'static str,
}

const VERBS: [Verb; 4] = [
    Verb {
        name: "instructions: append",
        before: &[&["append", "me", "one"]],
        args: &["append", "me", "two"],
        stdin: "",
    },
    Verb {
        name: "instructions: drain, one",
        before: &[&["append", "me", "one"]],
        args: &["drain", "me"],
        stdin: "",
    },
    Verb {
        name: "instructions: has, mail",
        before: &[&["append", "me", "one"]],
        args: &["has", "me"],
        stdin: "",
    },
    Verb {
        name: "instructions: hook, no mail",
        before: &[&["append", "other", "one"]],
        args: &["hook", "claude"],
        stdin: "{\"session_id\":\"me\",\"hook_event_name\":\"PostToolUse\"}\n",
    },
];

/// How far a figure may be from the committed one, in percent.
const WITHIN: u64 = 5;

#[test]
fn instructions() {
    if !has_program("valgrind") {
        return skip("valgrind is not installed");
    }
    if !is_full() && !writes() {
        // Not a thing that is missing: the release binary takes minutes to build.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED instructions: counted in the full run only"
        );
        return;
    }
    let compiler = compiler();
    let committed = figures::text("instructions: compiler").unwrap_or_default();
    let is_compared = compiler == committed;
    let binary = release_binary();
    let (mut said, mut wrong) = (String::new(), String::new());
    for verb in &VERBS {
        let count = count(&binary, verb);
        if writes() {
            figures::write(verb.name, &count.to_string());
            continue;
        }
        let figure = figures::number(verb.name).expect("figures.txt has it");
        let line = format!("{}: {count}, committed {figure}\n", verb.name);
        said.push_str(&line);
        if count.abs_diff(figure) * 100 > figure * WITHIN {
            wrong.push_str(&line);
        }
    }
    if writes() {
        return figures::write("instructions: compiler", &compiler);
    }
    if !is_compared {
        let _ = write!(
            std::io::stderr(),
            "NOT COMPARED instructions: the figures are those of {committed}, and this is \
             {compiler}\n{said}"
        );
        return;
    }
    assert!(
        wrong.is_empty(),
        "over {WITHIN} % from figures.txt. If that is meant: \
         MBOX_COUNTS_WRITE=1 cargo test --test counts\n{wrong}"
    );
}

fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = Command::new(rustc)
        .arg("-V")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let mut text = String::from_utf8(out.stdout).unwrap().trim().to_owned();
    write!(text, ", {}", std::env::consts::ARCH).unwrap();
    text
}

/// Builds it, where it is not built already, beside what is tested.
fn release_binary() -> PathBuf {
    let profile = Path::new(env!("CARGO_BIN_EXE_mbox")).parent().unwrap();
    let target = profile.parent().unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--bin", "mbox"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "cargo build --release: {status}");
    target.join("release/mbox")
}

fn count(binary: &Path, verb: &Verb) -> u64 {
    let fx = Fixture::new();
    for args in verb.before {
        fx.mbox(args).assert().success();
    }
    fs::write(fx.dir().join("stdin"), verb.stdin).unwrap();
    let to = fx.dir().join("callgrind");
    let out = fx
        .program("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", to.display()))
        .arg(binary)
        .args(verb.args)
        .stdin(fs::File::open(fx.dir().join("stdin")).unwrap())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}: {out:?}", verb.name);
    let count = instructions_of(&fs::read_to_string(&to).unwrap(), binary);
    assert!(count > 0, "callgrind saw nothing of {}", binary.display());
    count
}

/// The sum of what the functions of the object `binary` cost themselves, in a file of
/// callgrind. The binary is stripped: objects are told apart without symbols.
fn instructions_of(text: &str, binary: &Path) -> u64 {
    let binary = binary.to_str().unwrap();
    let mut number = None; // names are given once, and then by their number
    let (mut is_ours, mut is_of_callee, mut sum) = (false, false, 0);
    for line in text.lines() {
        if let Some((key, object)) = line.split_once('=')
            && (key == "ob" || key == "cob")
        {
            let (id, name) = object.split_once(' ').unwrap_or((object, ""));
            if name == binary {
                number = Some(id.to_owned());
            }
            if key == "ob" {
                is_ours = number.as_deref() == Some(id);
            }
        } else if line.starts_with("calls=") {
            // The next line is what the function called took.
            is_of_callee = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok());
            if is_ours && !is_of_callee {
                sum += cost.unwrap_or(0);
            }
            is_of_callee = false;
        }
    }
    sum
}

#[test]
fn only_what_the_binary_costs_itself() {
    let text = "events: Ir\nob=(1) /lib/ld.so\nfn=(1)\n5 100\ncob=(2) /x/mbox\ncalls=1 0\n0 999\n\
        ob=(2)\nfn=(2)\n0 7\n+3 2\ncfn=(1)\ncalls=2 9\n* 500\n* 1\n\nob=(1)\n0 50\ntotals: 160\n";
    assert_eq!(instructions_of(text, Path::new("/x/mbox")), 10);
}
