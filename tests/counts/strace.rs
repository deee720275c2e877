//! System calls, as strace tells them.

use std::collections::HashMap;
use std::fs;
use std::io::{PipeReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::common::{Fixture, has_program, skip};

/// A system call that has returned.
pub struct Call {
    pub pid: String,
    pub name: String,
    /// As strace prints them, each descriptor with its path behind it.
    pub args: String,
    /// What stands behind the `=`.
    pub result: String,
}

impl Call {
    pub fn error(&self) -> Option<&str> {
        self.result.strip_prefix("-1 ")?.split(' ').next()
    }
}

/// Whether strace is there and may trace; says so when not.
pub fn can_trace() -> bool {
    if !has_program("strace") {
        skip("strace is not installed");
        return false;
    }
    let tried = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        skip("strace may not trace here");
    }
    can
}

/// Runs `program` to its end and returns what it called. `trace` is what to trace, by the
/// words of strace; stdin is a pipe that holds `stdin`, stdout and stderr are pipes.
pub fn trace(
    fx: &Fixture,
    trace: &str,
    program: &Path,
    args: &[&str],
    set: impl FnOnce(&mut Command),
    stdin: &str,
) -> (Vec<Call>, Output) {
    let to = fx.dir().join("strace");
    let mut command = fx.program("strace");
    command
        .args(["-f", "-qq", "-y", "-s", "0", "-e", trace, "-o"])
        .arg(&to)
        .arg(program)
        .args(args)
        .stdin(holding(stdin));
    set(&mut command);
    let out = command.output().unwrap();
    let text = fs::read_to_string(&to).unwrap();
    fs::remove_file(&to).unwrap();
    (parse(&text), out)
}

/// A pipe with this in it and nothing to come.
fn holding(text: &str) -> PipeReader {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    reader
}

fn parse(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut begun = HashMap::new();
    for line in text.lines() {
        let (pid, line) = line.split_once(' ').unwrap();
        let line = line.trim_start();
        if let Some(start) = line.strip_suffix(" <unfinished ...>") {
            begun.insert(pid.to_owned(), start.to_owned());
            continue;
        }
        let line = match line.strip_prefix("<... ") {
            Some(rest) => {
                let (_, rest) = rest.split_once(" resumed>").unwrap();
                begun.remove(pid).unwrap() + rest
            }
            None => line.to_owned(),
        };
        // Signals and ends of processes have neither.
        let Some((name, rest)) = line.split_once('(') else {
            continue;
        };
        let Some((args, result)) = rest.rsplit_once(" = ") else {
            continue;
        };
        calls.push(Call {
            pid: pid.to_owned(),
            name: name.to_owned(),
            args: args.trim_end().trim_end_matches(')').to_owned(),
            result: result.to_owned(),
        });
    }
    calls
}
