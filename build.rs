//! Links the unwinder into the binary, where the system's compiler has it as an archive.
//!
//! `libgcc_s.so` would be the one library besides libc: finding, mapping and relocating it
//! takes a tenth of a millisecond at every start, as much as all else that mbox does before
//! its first look at a mailbox. Without the archive the shared library is linked as usual.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") != "linux" || target("ENV") != "gnu" || unwinder().is_none() {
        return;
    }
    // rustc asks for `-lgcc_s`, and the linker takes the first of that name: a script.
    let dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names OUT_DIR"));
    fs::write(dir.join("libgcc_s.so"), "GROUP ( libgcc_eh.a libgcc.a )\n")
        .expect("OUT_DIR is writable");
    println!("cargo::rustc-link-arg-bins=-L{}", dir.display());
}

/// The archive, if the compiler that links knows of it: it answers with a whole path then.
fn unwinder() -> Option<PathBuf> {
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let output = Command::new(linker)
        .arg("-print-file-name=libgcc_eh.a")
        .output()
        .ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    let path = Path::new(answer.trim_end());
    path.is_absolute().then(|| path.to_path_buf())
}
