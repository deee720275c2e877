//! The shell mirror, in every shell it is meant for: `sh tests/shells/run SHELL`. By default in
//! dash, bash and zsh; in the full run in all of them.

use std::path::Path;
use std::process::Stdio;

use crate::common::{Fixture, has_program, is_full, skip};

/// One of the shells that are less common, and take as long.
fn run_in_full(program: &str, shell: &str) {
    if is_full() {
        run(program, shell);
    }
}

/// `program` is what has to be installed for `shell`, a word the runner knows.
fn run(program: &str, shell: &str) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !has_program(program) {
        return skip(&format!("{program} is not installed"));
    }
    if !repository.join("tests/shells/run").exists() {
        return skip("there is no tests/shells/run");
    }
    let fx = Fixture::new();
    let out = fx
        .program("sh")
        .args(["tests/shells/run", shell])
        .current_dir(repository)
        .env_remove("MBOX_ROOT")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    let told: Vec<&str> = stdout
        .lines()
        .filter(|line| !line.starts_with("ok "))
        .collect();
    let (told, status) = (told.join("\n"), out.status);
    assert!(status.success(), "{shell}: {status}\n{told}\n{stderr}");
}

#[test]
fn bash() {
    run("bash", "bash");
}

#[test]
fn busybox() {
    run_in_full("busybox", "busybox ash");
}

#[test]
fn dash() {
    run("dash", "dash");
}

#[test]
fn ksh() {
    run_in_full("ksh", "ksh");
}

#[test]
fn mksh() {
    run_in_full("mksh", "mksh");
}

#[test]
fn yash() {
    run_in_full("yash", "yash");
}

#[test]
fn zsh() {
    run("zsh", "zsh");
}

/// The functions of mbox.zsh.
#[test]
fn zsh_overlay() {
    run_in_full("zsh", "zsh-overlay");
}
