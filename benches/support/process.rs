//! Whole processes, as whoever starts them sees it: with a pipe for what they print.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

pub fn mbox() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mbox"))
}

/// Starts it, reads what it prints to the end, and waits for it.
pub fn run(command: &mut Command) -> (Duration, Output) {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let begun = Instant::now();
    let out = command.output().expect("it runs");
    (begun.elapsed(), out)
}

/// The same, of one that must succeed.
pub fn succeed(command: &mut Command) -> Duration {
    let (took, out) = run(command);
    assert!(out.status.success(), "{command:?}: {out:?}");
    took
}

pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

/// What a process printed, and what it took.
pub struct Streamed {
    pub took: Duration,
    pub bytes: u64,
    /// It took longer than it was given, and was ended.
    pub is_cut: bool,
    /// The most memory it had at once; `None` where there is no /proc.
    pub peak_kib: Option<u64>,
}

/// Reads what it prints without keeping it, and looks at its memory meanwhile.
pub fn stream(command: &mut Command) -> Streamed {
    stream_within(command, Duration::MAX)
}

/// The same, of one that is ended when it takes longer than this.
pub fn stream_within(command: &mut Command, most: Duration) -> Streamed {
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut out = child.stdout.take().expect("a pipe");
    // A look costs some 20 µs: not at each read of a gigabyte.
    let (mut buffer, mut bytes, mut looked) = (vec![0; 1 << 16], 0, 0);
    let pid = child.id();
    let watcher = peak_of(pid, begun, most);
    let mut peak = None;
    loop {
        let read = out.read(&mut buffer).expect("it can be read");
        if read == 0 {
            break;
        }
        bytes += read as u64;
        if bytes - looked > 16 << 20 || looked == 0 {
            looked = bytes;
            peak = peak.max(high_water(pid));
        }
    }
    let took = begun.elapsed();
    // Not waited for until the watcher is done with it: its number stays its own.
    let watched = watcher.join().expect("it does not panic");
    let status = child.wait().expect("it can be waited for");
    let is_cut = took > most;
    assert!(is_cut || status.success(), "{command:?}: {status}");
    Streamed {
        took,
        bytes,
        is_cut,
        peak_kib: peak.max(watched),
    }
}

/// Looks every millisecond until the process is gone, or has to go.
fn peak_of(pid: u32, begun: Instant, most: Duration) -> JoinHandle<Option<u64>> {
    std::thread::spawn(move || {
        let mut peak = None;
        while let Some(now) = high_water(pid) {
            peak = peak.max(Some(now));
            if begun.elapsed() > most {
                let _ = signal::kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        peak
    })
}

fn high_water(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

pub fn end(child: &mut Child) {
    let status = child.wait().expect("it can be waited for");
    assert!(status.success(), "{status}");
}
