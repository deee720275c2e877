//! What mbox costs at the start of a shell and at its prompt: see README.md.
//!
//! `cargo bench --bench shell`, or with a number behind `--` for other than 200 starts.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::arguments::Arguments;
use support::fresh::Fresh;
use support::process::{has_program, mbox, succeed};
use support::shell::command as shell_command;
use support::table::{Bound, Table, ms, plain};
use support::turns::{Case, by_turns};

const SHELLS: [&str; 2] = ["bash", "zsh"];

/// Prompts in a batch; the best of so many batches counts, for the others were disturbed.
const PROMPTS: u32 = 500;
const BATCHES: u32 = 100;

fn main() {
    let arguments = Arguments::parse();
    let fresh = Fresh::filesystem(&arguments);
    fresh.announce("shell");
    for shell in SHELLS {
        if !has_program(shell) {
            println!("{shell} is not installed\n");
            continue;
        }
        let dir = fresh.directory(shell);
        prompts(&dir, shell);
        starts(&dir, shell, arguments.number_or(200) as usize);
    }
}

fn command(dir: &Path, shell: &str, script: &str) -> Command {
    let mut command = shell_command(shell);
    command
        .args(["-c", script])
        .env("MBOX_ROOT", dir)
        .env("MBOX_NAME", "me")
        .stdin(Stdio::null());
    command
}

/// The text of `mbox init`, in a file.
fn init(dir: &Path, shell: &str) -> String {
    let out = mbox().args(["init", shell, "--static"]).output();
    let file = dir.join(format!("init.{shell}"));
    fs::write(&file, out.expect("it runs").stdout).expect("it is written");
    file.display().to_string()
}

/// Measured inside one shell, by its own clock.
fn prompts(dir: &Path, shell: &str) {
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
        let out = command(dir, shell, &script).output();
        let out = String::from_utf8(out.expect("it runs").stdout).expect("numbers");
        let micros = |text: &str| text.replace(['.', ','], "").parse::<u64>().ok();
        let took = out.lines().filter_map(|line| {
            let (a, b) = line.split_once(' ')?;
            micros(b)?.checked_sub(micros(a)?)
        });
        let best = took.min().expect("a batch");
        Duration::from_micros(best) / prompts
    };
    let mut table = Table::new(
        &format!("a prompt in {shell}, the best of {BATCHES} batches"),
        &["what", "µs", "over an empty function", "bound"],
    );
    let micros = |took: Duration| took.as_secs_f64() * 1e6;
    let bare = micros(measure("", ":", PROMPTS));
    let empty = micros(measure("", "empty", PROMPTS));
    let hook = micros(measure("", "__mbox_prompt", PROMPTS));
    let begin = "mbox append me x >&2; __mbox_prompt 2>/dev/null";
    let told = micros(measure(begin, "__mbox_prompt", 2));
    table.row(["a loop", &plain(bare), "", ""]);
    table.row(["with an empty function", &plain(empty), "", ""]);
    let over = hook - empty;
    let bound = Bound::AtMost(10.0).judge(over);
    table.row(["with the hook, no mail", &plain(hook), &plain(over), &bound]);
    let what = "with the hook, mail it has told of";
    table.row([what, &plain(told), &plain(told - empty), ""]);
    drop(table);
    let mut drain = command(dir, "sh", "mbox drain >/dev/null");
    assert!(drain.status().expect("it runs").success());
}

/// Whole processes, by turns.
fn starts(dir: &Path, shell: &str, number: usize) {
    let file = init(dir, shell);
    let empty = dir.join("empty");
    fs::write(&empty, "").expect("it is written");
    let lines = [
        ("an empty file", format!(". '{}'", empty.display()), None),
        (
            "`eval \"$(true)\"`, the real one",
            "eval \"$(env true)\"".to_owned(),
            None,
        ),
        (
            "the file of `mbox init --static`",
            format!(". '{file}'"),
            Some(1.0),
        ),
        (
            "`eval \"$(mbox init)\"`",
            format!("eval \"$(mbox init {shell})\""),
            Some(5.0),
        ),
    ];
    let mut cases = lines.each_ref().map(|(what, line, _)| {
        Case::new(what, move || {
            succeed(&mut command(dir, shell, line));
        })
    });
    let series = by_turns(&mut cases, number, 1);
    let mut table = Table::new(
        &format!("a start of {shell} that reads, {number} of each, by turns"),
        &[
            "what",
            "best ms",
            "p50 ms",
            "p90 ms",
            "best over the empty file, ms",
            "bound",
        ],
    );
    for ((what, _, bound), took) in lines.iter().zip(&series) {
        let over = took.least() - series[0].least();
        let bound = bound.map_or(String::new(), |most| Bound::AtMost(most).judge(over * 1e3));
        let (best, p50, p90) = (ms(took.least()), ms(took.median()), ms(took.at(0.9)));
        table.row([what, &best, &p50, &p90, &ms(over), &bound]);
    }
}
