//! The command line, the runs, and what is printed.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::personality::{self, Persona};
use nix::unistd::Pid;

use crate::plan::{self, Job, Setting, Sweep};
use crate::rows::Case;
use crate::scene::Record;
use crate::{common, judge, power, tracer};

#[derive(Default)]
struct Args {
    row: Option<String>,
    at: Option<usize>,
    fault: Option<String>,
    is_listing: bool,
}

fn parse_args() -> Result<Args, String> {
    let mut parsed = Args::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--at" => parsed.at = Some(value()?.parse().map_err(|e| format!("--at: {e}"))?),
            "--fault" => parsed.fault = Some(value()?),
            "--list" => parsed.is_listing = true,
            name if !name.starts_with('-') => parsed.row = Some(name.to_owned()),
            // The options of the usual harness come here too.
            _ => {}
        }
    }
    Ok(parsed)
}

pub fn main() -> ExitCode {
    let args = match parse_args() {
        Ok(args) => args,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(64);
        }
    };
    let cases = plan::cases(args.row.as_deref());
    let is_power = power::is_wanted(args.row.as_deref()) && args.at.is_none() && !args.is_listing;
    if (cases.is_empty() && !is_power) || !is_possible() {
        return ExitCode::SUCCESS; // `cargo test NAME` of another test
    }
    std::thread::spawn(tracer::watchdog);
    // Addresses that differ make calls that differ.
    let here = personality::get().expect("it has no error");
    let _ = personality::set(here | Persona::ADDR_NO_RANDOMIZE); // then runs may differ
    let is_right = cases.is_empty() || run(&args, &cases);
    if is_right & (!is_power || power::run(args.row.as_deref()).is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether this machine permits ptrace; says so loudly when not.
fn is_possible() -> bool {
    let mut sh = std::process::Command::new("sh");
    sh.stdin(std::process::Stdio::null());
    match tracer::Traced::start(sh, &["true"]).map(tracer::Traced::finish) {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            common::skip(&format!("a process cannot be traced here: {error}"));
            false
        }
        Err(error) => {
            common::skip(&format!("a process cannot be traced here: {error}"));
            false
        }
    }
}

fn run(args: &Args, cases: &[Case]) -> bool {
    let begin = Instant::now();
    let setting = Setting::of_environment();
    let failures = Mutex::new(Vec::new());
    let records = Mutex::new(BTreeMap::new());
    let numbered: Vec<(usize, &Case)> = cases.iter().enumerate().collect();
    parallel(2, &numbered, |(number, case)| match Record::of(**case) {
        Ok(record) => drop(records.lock().unwrap().insert(*number, record)),
        Err(error) => failures.lock().unwrap().push(error),
    });
    let records: Vec<Record> = records.into_inner().unwrap().into_values().collect();
    if args.is_listing {
        for call in records.iter().flat_map(|record| &record.calls) {
            println!("{call}");
        }
        return true;
    }

    for record in records
        .iter()
        .filter(|record| record.case.row.name == "append --sync")
    {
        failures
            .lock()
            .unwrap()
            .extend(judge::synced_before_told(record).err());
    }

    let mut totals = Vec::new();
    for sweep in Sweep::ALL {
        let sweep_begin = Instant::now();
        let mut jobs: Vec<Job> = Vec::new();
        for record in &records {
            let wanted = match args.at {
                Some(n) => plan::at(record, sweep, n, args.fault.as_deref()),
                None => plan::jobs(record, sweep, setting, args.fault.as_deref()),
            };
            if !wanted.is_empty() {
                let name = record.case.name();
                let of = record.calls.len();
                println!("crash: {name}: {} of {of} calls", sweep.tell(wanted.len()));
            }
            jobs.extend(wanted);
        }
        parallel(THREADS, &jobs, |job| {
            if let Err(error) = job.fault.strike(job.record, job.call) {
                let (name, fault) = (job.record.case.name(), job.fault.name());
                let failure = format!(
                    "{name}: {fault} before {}: {error}\n  again: cargo test --test crash -- \
                     '{name}' --at {} --fault {fault}",
                    job.call, job.call.n
                );
                println!("crash: FAILED {failure}");
                failures.lock().unwrap().push(failure);
            }
        });
        if !jobs.is_empty() {
            totals.push(format!("{} {}", grouped(jobs.len()), sweep.name()));
            println!(
                "crash: {} in {} s",
                sweep.name(),
                sweep_begin.elapsed().as_secs()
            );
        }
    }
    let failures = failures.into_inner().unwrap();
    let verdict = match failures.len() {
        0 => "0 lost, 0 torn, 0 wedged".to_owned(),
        n => format!("{n} FAILED"),
    };
    for failure in &failures {
        println!("crash: FAILED {failure}");
    }
    let seconds = begin.elapsed().as_secs();
    println!("crash: {}: {verdict}, {seconds} s", totals.join(", "));
    failures.is_empty()
}

/// 5214 as 5,214.
pub fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// How many faults are tried at once: who comes after one waits more than it works, half a
/// second for each lock it clears by its age (REC-6).
const THREADS: usize = 8;

/// Does each of `items`, so many at once, each on one processor with all the processes it
/// starts: a tracer and what it traces take turns, and a turn is cheaper there.
pub fn parallel<T: Sync>(threads: usize, items: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..threads.min(items.len()) {
            let (next, each) = (&next, &each);
            scope.spawn(move || {
                stay_on_one_processor(thread);
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(item);
                }
            });
        }
    });
}

fn stay_on_one_processor(thread: usize) {
    let this = Pid::from_raw(0);
    let Ok(allowed) = sched_getaffinity(this) else {
        return;
    };
    let is_allowed = |&n: &usize| allowed.is_set(n).unwrap_or(false);
    let processors: Vec<usize> = (0..CpuSet::count()).filter(is_allowed).collect();
    let mut one = CpuSet::new();
    if one.set(processors[thread % processors.len()]).is_ok() {
        let _ = sched_setaffinity(this, &one); // slower without
    }
}
