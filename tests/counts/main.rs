//! What mbox costs, counted and not timed: system calls, instructions, allocations, forks.
//! See README.md.

#[allow(dead_code)]
#[path = "../suite/common.rs"]
mod common;

mod allocations;
mod figures;
mod forks;
mod instructions;
mod strace;
mod table;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod verbs;

/// Whether what is counted is written down, instead of being compared.
fn writes() -> bool {
    std::env::var_os("MBOX_COUNTS_WRITE").is_some_and(|value| value == "1")
}

/// A file of this directory.
fn file(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/counts")
        .join(name)
}
