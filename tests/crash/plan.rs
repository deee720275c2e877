//! Which faults are tried, before which calls.

use crate::calls::{Call, Kind};
use crate::common::{has_program, is_full, skip};
use crate::faults::Fault;
use crate::rows::{Case, Driver, SHELLS};
use crate::scene::Record;

/// How much is tried.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub enum Setting {
    Day,
    Full,
    Night,
}

impl Setting {
    pub fn of_environment() -> Setting {
        if std::env::var_os("MBOX_TEST_NIGHT").is_some_and(|value| value == "1") {
            Setting::Night
        } else if is_full() {
            Setting::Full
        } else {
            Setting::Day
        }
    }
}

/// A family of faults.
#[derive(Clone, Copy, PartialEq)]
pub enum Sweep {
    Kills,
    Errors,
    Stalls,
}

impl Sweep {
    pub const ALL: [Sweep; 3] = [Sweep::Kills, Sweep::Errors, Sweep::Stalls];

    pub fn name(self) -> &'static str {
        match self {
            Sweep::Kills => "kills",
            Sweep::Errors => "errors",
            Sweep::Stalls => "stalls",
        }
    }

    pub fn tell(self, n: usize) -> String {
        match self {
            Sweep::Kills => format!("killed {n} times before one"),
            Sweep::Errors => format!("{n} errors, each in one"),
            Sweep::Stalls => format!("stalled {n} times before one"),
        }
    }
}

pub struct Job<'a> {
    pub record: &'a Record,
    pub call: &'a Call,
    pub fault: Fault,
}

/// The cases whose name is `row`, or has it in it; all of them without.
pub fn cases(row: Option<&str>) -> Vec<Case> {
    let mut cases = Case::all();
    // `cargo test crash` is all of them too.
    let row = row.filter(|&row| row != "crash");
    if let Some(row) = row {
        let is_one = cases.iter().any(|case| case.name() == row);
        cases.retain(|case| case.name() == row || (!is_one && case.name().contains(row)));
    }
    if row.is_none() && Setting::of_environment() == Setting::Day {
        // They make up to 13,000 calls of a verb, and just to record them takes seconds.
        let is_long = |driver| matches!(driver, Driver::Shell("bash" | "zsh"));
        cases.retain(|case| !is_long(case.driver) || matches!(case.row.name, "append" | "take"));
    }
    cases.retain(|case| match case.driver {
        Driver::Shell(_) if !has_program(&case.driver.words()[0]) => {
            skip(&format!("{} is not installed", case.driver.words()[0]));
            false
        }
        _ => true,
    });
    cases
}

/// The faults of one sweep through a case.
pub fn jobs<'a>(
    record: &'a Record,
    sweep: Sweep,
    setting: Setting,
    fault: Option<&str>,
) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    // An error, or the time that has passed, leaves the lock of another where it is.
    if record.case.row.has_dead_lock && sweep != Sweep::Kills {
        return jobs;
    }
    for call in &record.calls {
        let faults = match sweep {
            Sweep::Kills => kills(record, call, setting),
            Sweep::Errors => Fault::errors_of(call, record.case.driver),
            Sweep::Stalls => stalls(record, call),
        };
        jobs.extend(faults.into_iter().map(|fault| Job {
            record,
            call,
            fault,
        }));
    }
    jobs.retain(|job| fault.is_none_or(|name| job.fault.name() == name));
    match setting {
        Setting::Day => thin(&mut jobs, record, sweep),
        Setting::Full => jobs.retain(is_for_full),
        Setting::Night => {}
    }
    jobs
}

/// What a full run leaves to the night, of shells: all but the kills of a bounded drain and
/// of a hook, which are takes, in two of them; and all but one of the errors that a call can be
/// given, another one each time.
fn is_for_full(job: &Job<'_>) -> bool {
    let Case { driver, row } = job.record.case;
    if driver == Driver::Binary {
        return true;
    }
    let is_like_take = matches!(row.name, "drain --max" | "hook");
    if is_like_take && driver != SHELLS[0] && job.fault != Fault::Kill {
        return false;
    }
    let errors = Fault::errors_of(job.call, driver);
    errors.is_empty()
        || !matches!(job.fault, Fault::Fail(_))
        || errors[job.call.n % errors.len()] == job.fault
}

/// The faults of one sweep before one call.
pub fn at<'a>(record: &'a Record, sweep: Sweep, n: usize, fault: Option<&str>) -> Vec<Job<'a>> {
    let Some(call) = record.calls.get(n.wrapping_sub(1)) else {
        return Vec::new();
    };
    let faults = match sweep {
        Sweep::Kills => vec![Fault::Kill, Fault::KillOne, Fault::Term],
        Sweep::Errors => Fault::errors_of(call, record.case.driver),
        Sweep::Stalls => vec![Fault::Stall, Fault::StallHold],
    };
    let mut jobs: Vec<Job> = faults
        .into_iter()
        .map(|fault| Job {
            record,
            call,
            fault,
        })
        .collect();
    jobs.retain(|job| fault.is_none_or(|name| job.fault.name() == name));
    jobs
}

fn kills(record: &Record, call: &Call, setting: Setting) -> Vec<Fault> {
    let mut faults = Vec::new();
    if record.case.driver == Driver::Binary {
        faults.push(Fault::Kill);
        if record.case.row.name == "lock" && (call.is_effect() || setting == Setting::Night) {
            faults.push(Fault::KillOne);
        }
        // `lock` hands the signal on to its command.
        if call.is_on_mailbox() && call.is_effect() && record.case.row.name != "lock" {
            faults.push(Fault::Term);
        }
        return faults;
    }
    // Between two calls that leave the disk and stdout as they were, a kill is one.
    if call.is_new || setting == Setting::Night {
        faults.push(Fault::Kill);
    }
    // And between two calls of a process that have no effect outside it.
    if call.is_effect() || setting == Setting::Night {
        faults.push(Fault::KillOne);
    }
    faults
}

fn stalls(record: &Record, call: &Call) -> Vec<Fault> {
    let is_look = call.kind == Kind::Look;
    let is_point = call.is_on_mailbox()
        && call.kind != Kind::Inner
        && !call.is_one_of_many()
        && (!is_look || record.case.driver == Driver::Binary || call.n.is_multiple_of(4));
    match is_point {
        true if call.n % 4 == 3 => vec![Fault::StallHold],
        true => vec![Fault::Stall],
        false => Vec::new(),
    }
}

/// What a run by day leaves out.
fn thin(jobs: &mut Vec<Job<'_>>, record: &Record, sweep: Sweep) {
    let is_binary = record.case.driver == Driver::Binary;
    let stride = match sweep {
        Sweep::Kills
            if is_binary && matches!(record.case.row.name, "append" | "drain" | "take") =>
        {
            1
        }
        Sweep::Kills | Sweep::Errors if is_binary => 8,
        Sweep::Kills | Sweep::Errors => 40,
        Sweep::Stalls => 60,
    };
    let mut place = 0;
    jobs.retain(|_| {
        place += 1;
        place % stride == 0
    });
}
