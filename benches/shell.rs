//! What mbox costs at the start of a shell and at its prompt: see README.md.
//!
//! `cargo bench --bench shell`, or with a number behind `--` for other than 200 starts.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SHELLS: [(&str, &[&str]); 2] = [("bash", &["--norc", "--noprofile"]), ("zsh", &["-f"])];

/// Prompts in a batch; the best of so many batches counts, for the others were disturbed.
const PROMPTS: u32 = 500;
const BATCHES: u32 = 100;

fn main() {
    let number = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let dir = tempfile::tempdir().expect("a directory for the root");
    for (shell, flags) in SHELLS {
        let mut tried = Command::new(shell);
        let tried = tried.args(flags).args(["-c", ":"]).status();
        if !tried.is_ok_and(|status| status.success()) {
            println!("{shell} is not installed\n");
            continue;
        }
        prompts(dir.path(), shell, flags);
        starts(dir.path(), shell, flags, number.unwrap_or(200));
    }
}

fn command(dir: &Path, shell: &str, flags: &[&str], script: &str) -> Command {
    let bin = Path::new(env!("CARGO_BIN_EXE_mbox")).parent();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let bin = bin.expect("the binary is in a directory").to_owned();
    let dirs = std::iter::once(bin).chain(std::env::split_paths(&path));
    let mut command = Command::new(shell);
    command
        .args(flags)
        .args(["-c", script])
        .env("PATH", std::env::join_paths(dirs).expect("it was a PATH"))
        .env("MBOX_ROOT", dir)
        .env("MBOX_NAME", "me")
        .env_remove("MBOX_PROMPT")
        .stdin(Stdio::null());
    command
}

/// The text of `mbox init`, in a file.
fn init(dir: &Path, shell: &str) -> String {
    let mut mbox = Command::new(env!("CARGO_BIN_EXE_mbox"));
    let out = mbox.args(["init", shell, "--static"]).output();
    let file = dir.join(format!("init.{shell}"));
    fs::write(&file, out.expect("it runs").stdout).expect("it is written");
    file.display().to_string()
}

/// Measured inside one shell, by its own clock.
fn prompts(dir: &Path, shell: &str, flags: &[&str]) {
    let init = init(dir, shell);
    let measure = |begin: &str, what: &str, prompts: u32| {
        let script = format!(
            "[ -z \"$ZSH_VERSION\" ] || zmodload zsh/datetime
            . '{init}'; empty() {{ return $?; }}; {begin}
            k=0; best=999999999
            while [ $k -lt {BATCHES} ]; do
                a=$EPOCHREALTIME i=0
                while [ $i -lt {prompts} ]; do {what}; i=$((i + 1)); done
                b=$EPOCHREALTIME
                a=${{a%????}} b=${{b%????}}; :
                k=$((k + 1)); printf '%s %s\\n' $a $b
            done"
        );
        // zsh has ten digits behind the point, bash six.
        let script = match shell {
            "bash" => script.replace("a=${a%????} b=${b%????}; :", ":"),
            _ => script,
        };
        let out = command(dir, shell, flags, &script).output();
        let out = String::from_utf8(out.expect("it runs").stdout).expect("numbers");
        let micros = |text: &str| text.replace(['.', ','], "").parse::<u64>().ok();
        let took = out.lines().filter_map(|line| {
            let (a, b) = line.split_once(' ')?;
            micros(b)?.checked_sub(micros(a)?)
        });
        let best = took.min().expect("a batch");
        Duration::from_micros(best) / prompts
    };
    println!("a prompt in {shell}, the best of {BATCHES} batches\n");
    println!("| what | µs |");
    println!("|---|---|");
    let row = |what: &str, took: Duration| {
        println!("| {what} | {:.1} |", took.as_secs_f64() * 1e6);
    };
    row("a loop", measure("", ":", PROMPTS));
    row("with an empty function", measure("", "empty", PROMPTS));
    row(
        "with the hook, no mail",
        measure("", "__mbox_prompt", PROMPTS),
    );
    let begin = "mbox append me x >&2; __mbox_prompt 2>/dev/null";
    let told = measure(begin, "__mbox_prompt", 2);
    row("with the hook, mail it has told of", told);
    println!();
    let mut drain = command(dir, "sh", &[], "mbox drain >/dev/null");
    assert!(drain.status().expect("it runs").success());
}

/// Whole processes, by turns.
fn starts(dir: &Path, shell: &str, flags: &[&str], rounds: usize) {
    let file = init(dir, shell);
    let empty = dir.join("empty");
    fs::write(&empty, "").expect("it is written");
    let lines = [
        ("an empty file", format!(". '{}'", empty.display())),
        (
            "`eval \"$(true)\"`, the real one",
            "eval \"$(env true)\"".to_owned(),
        ),
        ("the file of `mbox init --static`", format!(". '{file}'")),
        (
            "`eval \"$(mbox init)\"`",
            format!("eval \"$(mbox init {shell})\""),
        ),
    ];
    let mut took = vec![Vec::new(); lines.len()];
    for _ in 0..rounds {
        for ((_, line), took) in lines.iter().zip(&mut took) {
            let mut command = command(dir, shell, flags, line);
            let begun = Instant::now();
            let status = command.status().expect("it runs");
            took.push(begun.elapsed());
            assert!(status.success(), "{line}");
        }
    }
    println!("a start of {shell} that reads, {rounds} of each\n");
    println!("| what | best ms | p50 ms | p90 ms | best over the empty file |");
    println!("|---|---|---|---|---|");
    let mut floor = Duration::ZERO;
    for (index, ((what, _), mut took)) in lines.iter().zip(took).enumerate() {
        took.sort();
        let at = |percent: usize| took[took.len() * percent / 100];
        if index == 0 {
            floor = at(0);
        }
        let ms = |took: Duration| took.as_secs_f64() * 1_000.0;
        println!(
            "| {what} | {:.2} | {:.2} | {:.2} | {:.2} |",
            ms(at(0)),
            ms(at(50)),
            ms(at(90)),
            ms(at(0)) - ms(floor)
        );
    }
    println!();
}
