//! Ending a process at any one of its system calls.

use std::collections::HashMap;
use std::fs;
use std::process::{Command, Output};

use crate::common::{Fixture, MBOX, has_program, is_full, skip};

/// Calls that change something another process can see.
const CHANGING: &str = "mkdir,mkdirat,openat,write,pwrite64,rename,renameat,renameat2,link,linkat,\
                        unlink,unlinkat,rmdir,flock,fsync,fdatasync,ftruncate";

/// Calls that come or not as threads happen to run, and the end, which is too late.
const UNSTEADY: [&str; 3] = ["futex", "sched_yield", "exit_group"];

/// One system call of a run: the `nth` of its `name`.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    pub nth: usize,
    /// As strace shows it.
    pub text: String,
}

/// Whether strace is there and may trace; says so loudly when not.
pub fn is_there() -> bool {
    if !has_program("strace") {
        skip("strace is not installed");
        return false;
    }
    let works = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .output()
        .is_ok_and(|out| out.status.success());
    if !works {
        skip("strace may not trace here");
    }
    works
}

/// Runs `mbox` once and lists its calls on the mailbox root and stdout: the ones that
/// change something, and in the full run all from the first on.
pub fn calls(fx: &Fixture, args: &[&str]) -> Vec<Call> {
    let log = fx.dir().join("strace.log");
    let trace = if is_full() { "all" } else { CHANGING };
    let out = fx
        .program("strace")
        .args([
            "-f",
            "-qq",
            "-y",
            "-s",
            "16",
            "-e",
            &format!("trace={trace}"),
        ])
        .args(["-e", "signal=none", "-o"])
        .arg(&log)
        .arg(MBOX)
        .args(args)
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    let log = fs::read_to_string(log).unwrap();
    let root = fx.root().to_str().unwrap().to_owned();
    let main = log.split_whitespace().next().unwrap().to_owned();
    let mut counts: HashMap<String, usize> = HashMap::new();
    let (mut found, mut has_begun) = (Vec::new(), false);
    for line in log.lines() {
        // Other threads change nothing; a call that is resumed was counted when it began.
        let Some((thread, text)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let text = text.trim_start();
        let Some((name, _)) = text.split_once('(') else {
            continue;
        };
        if thread != main || text.starts_with('<') {
            continue;
        }
        let nth = counts.entry(name.to_owned()).or_default();
        *nth += 1;
        let is_here = text.contains(&root) || text.starts_with("write(1<");
        has_begun |= is_here;
        let is_wanted = if is_full() {
            has_begun && !UNSTEADY.contains(&name)
        } else {
            is_here && (name != "openat" || text.contains("O_CREAT"))
        };
        if is_wanted {
            found.push(Call {
                name: name.to_owned(),
                nth: *nth,
                text: text.to_owned(),
            });
        }
    }
    assert!(found.len() > 5, "{log}");
    found
}

/// Runs `mbox` and sends it `signal` when it is about to make `call`.
pub fn run_until(fx: &Fixture, args: &[&str], call: &Call, signal: &str) -> Output {
    let Call { name, nth, .. } = call;
    fx.program("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={name}"),
        ])
        .args(["-e", &format!("inject={name}:signal={signal}:when={nth}")])
        .arg(MBOX)
        .args(args)
        .output()
        .unwrap()
}
