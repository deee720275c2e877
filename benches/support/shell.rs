//! A shell that lives on and does one thing whenever it is told to: what is measured is from
//! telling it to its answer, without its start.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Ours with the flags that keep a user's own settings out.
pub const SHELLS: [(&str, &[&str]); 3] = [
    ("bash", &["--norc", "--noprofile"]),
    ("dash", &[]),
    ("zsh", &["-f"]),
];

pub struct Shell {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// A shell by name, with `mbox` on its PATH.
pub fn command(shell: &str) -> Command {
    let flags = SHELLS.iter().find(|(name, _)| *name == shell);
    let flags = flags.map_or(&[][..], |(_, flags)| flags);
    let bin = Path::new(env!("CARGO_BIN_EXE_mbox")).parent();
    let bin = bin.expect("the binary is in a directory").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(bin).chain(std::env::split_paths(&path));
    let mut command = Command::new(shell);
    command
        .args(flags)
        .env("PATH", std::env::join_paths(dirs).expect("it was a PATH"))
        .env_remove("MBOX_PURE")
        .env_remove("MBOX_PROMPT");
    command
}

/// Where mbox.sh is, or mbox.zsh.
pub fn source(file: &str) -> String {
    format!(". '{}/shell/{file}'", env!("CARGO_MANIFEST_DIR"))
}

impl Shell {
    /// `begin` is run once, `each` every time; it must print one line.
    pub fn start(shell: &str, root: &Path, begin: &str, each: &str) -> Shell {
        let script = format!("{begin}\nwhile read -r go; do {each} </dev/null; done");
        let mut command = command(shell);
        command.args(["-c", &script]).env("MBOX_ROOT", root);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Shell {
            child,
            stdin,
            stdout,
        }
    }

    pub fn once(&mut self) -> Duration {
        let mut line = String::new();
        let stdin = self.stdin.as_mut().expect("until it is dropped");
        let begun = Instant::now();
        stdin.write_all(b"\n").expect("it reads");
        self.stdout.read_line(&mut line).expect("it answers");
        let took = begun.elapsed();
        assert!(line.ends_with('\n'), "it is gone");
        took
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.stdin = None; // the end of its loop
        let _ = self.child.wait(); // it has nothing more to do
    }
}
