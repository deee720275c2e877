//! A model of the protocol, call by call, and a search for everything that can happen.
//! See README.md.

mod claim_rules;
mod faults;
mod legacy_rules;
mod lock_rules;
mod mixes;
mod mutations;
mod pack;
mod plan;
mod process;
mod properties;
mod reader_rules;
mod reduction;
mod rules;
mod search;
mod state;
mod take_rules;
mod tasks;
mod trace;

use std::process::ExitCode;

use mutations::{Case, MUTATIONS};
use tasks::{Setting, Sum, Task};

#[derive(Default)]
struct Args {
    mixes: Vec<String>,
    mutation: Option<&'static Case>,
    traces: bool,
    is_other_test: bool,
}

fn parse_args(args: &[String]) -> Result<Args, String> {
    let mut parsed = Args::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--mix" => parsed.mixes.push(value()?.clone()),
            "--mutation" => {
                let name = value()?;
                let case = mutations::find(name);
                parsed.mutation = Some(case.ok_or(format!("no mutation is called {name}"))?);
            }
            "--trace" => parsed.traces = true,
            // `cargo test NAME` and the options of the usual harness come here too.
            name if !name.starts_with('-') => parsed.is_other_test = !"model".contains(name),
            _ => {}
        }
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args = match parse_args(&args) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(64);
        }
    };
    if args.is_other_test {
        return ExitCode::SUCCESS;
    }
    let done = if args.mixes.is_empty() && args.mutation.is_none() {
        everything(args.traces)
    } else {
        chosen(&args)
    };
    match done {
        Ok(failures) if failures.is_empty() => ExitCode::SUCCESS,
        Ok(failures) => {
            println!("\nfailed:");
            for failure in &failures {
                println!("  {failure}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(64)
        }
    }
}

/// Everything the setting asks for; what failed.
fn everything(traces: bool) -> Result<Vec<String>, String> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| value == "1");
    let is_night = is_set("MBOX_TEST_NIGHT");
    let is_full = is_night || is_set("MBOX_TEST_FULL");
    let setting = Setting { is_night, traces };
    let mut sum = Sum::default();

    println!("mixes of our own peers: nothing may break");
    let mut mixes: Vec<String> = plan::DEFAULT.iter().map(ToString::to_string).collect();
    if is_full {
        mixes.extend(plan::FULL.iter().map(ToString::to_string));
    }
    if is_night {
        mixes.extend(plan::night());
    }
    let tasks: Vec<Task> = mixes.iter().map(|mix| Task::Hold(mix)).collect();
    sum.add(&tasks, setting)?;

    println!("\nmutations: each must break what is named");
    let tasks: Vec<Task> = MUTATIONS.iter().map(Task::Break).collect();
    sum.add(&tasks, setting)?;

    println!("\nmixes with legacy peers: what breaks");
    let rows = plan::LEGACY.iter().filter(|row| is_full || !row.is_large);
    let tasks: Vec<Task> = rows.map(Task::Legacy).collect();
    sum.add(&tasks, setting)?;

    if is_full {
        println!("\nevery order of the same things: the same breaks");
        let mixes = plan::WHOLE.iter().map(|mix| Task::Same(mix, None));
        let mutations = MUTATIONS.iter().filter(|case| plan::is_compared(case));
        let mutations = mutations.map(|case| Task::Same(case.mix, Some(case.mutation)));
        let tasks: Vec<Task> = mixes.chain(mutations).collect();
        sum.add(&tasks, setting)?;
    }
    println!("\n{} states in all", sum.states);
    Ok(sum.failed_or_unused())
}

/// What was asked for on the command line.
fn chosen(args: &Args) -> Result<Vec<String>, String> {
    let setting = Setting {
        is_night: true,
        traces: args.traces,
    };
    let mutation = args.mutation.map(|case| case.mutation);
    let mut tasks: Vec<Task> = Vec::new();
    if let (Some(case), []) = (args.mutation, args.mixes.as_slice()) {
        tasks.push(Task::Break(case));
    }
    tasks.extend(args.mixes.iter().map(|mix| Task::Look(mix, mutation)));
    let mut sum = Sum::default();
    sum.add(&tasks, setting)?;
    Ok(sum.failed())
}
