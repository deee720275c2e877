//! The shell mirror, in every shell it is meant for: `sh tests/shells/run SHELL`.

use std::path::Path;
use std::process::Stdio;

use crate::common::{Fixture, has_program, skip};

fn run(shell: &str) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !has_program(shell) {
        return skip(&format!("{shell} is not installed"));
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
    let status = out.status;
    assert!(status.success(), "{shell}: {status}\n{stdout}\n{stderr}");
}

macro_rules! shells {
    ($($name:ident)*) => {
        $(#[test] fn $name() { run(stringify!($name)); })*
    };
}

shells!(bash zsh dash busybox mksh ksh yash);
