//! What is searched, and what has to come of it; on all cores.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::mixes;
use crate::mutations::{Case, Mutation};
use crate::plan::Row;
use crate::properties::{ALL, Property};
use crate::rules::Model;
use crate::search::{Limits, Report, search};
use crate::state::Pc;
use crate::trace;

/// How many states a mix may have by day and by night.
const DAY: usize = 20_000_000;
const NIGHT: usize = 400_000_000;

#[derive(Clone, Copy)]
pub struct Setting {
    pub is_night: bool,
    pub traces: bool,
}

/// One search, or two that are compared.
#[derive(Clone, Copy)]
pub enum Task<'a> {
    /// Nothing may break.
    Hold(&'a str),
    /// What the mutation is there for must break.
    Break(&'a Case),
    /// Just what the row says may break, and must.
    Legacy(&'a Row),
    /// The same must break when every order of the same things is gone into.
    Same(&'a str, Option<Mutation>),
    /// To be looked at by people.
    Look(&'a str, Option<Mutation>),
}

/// What came of a task.
#[derive(Default)]
struct Outcome {
    text: String,
    failures: Vec<String>,
    states: usize,
    /// A bit for each kind of call that was made.
    calls: u64,
}

/// How many outcomes are printed, and those that are there.
type Done = (usize, Vec<Option<Result<Outcome, String>>>);

/// What came of all tasks so far.
#[derive(Default)]
pub struct Sum {
    pub states: usize,
    failures: Vec<String>,
    calls: u64,
}

impl Sum {
    /// Does the tasks, as many at once as there are cores, and prints what came of them in
    /// their order.
    pub fn add(&mut self, tasks: &[Task<'_>], setting: Setting) -> Result<(), String> {
        let next = AtomicUsize::new(0);
        // What is done and cannot be printed yet, because an earlier one is not.
        let done: Mutex<Done> = Mutex::new((0, tasks.iter().map(|_| None).collect()));
        let sum = Mutex::new(self);
        let error = Mutex::new(None);
        let work = || {
            loop {
                let place = next.fetch_add(1, Ordering::SeqCst);
                let Some(task) = tasks.get(place) else {
                    return;
                };
                let outcome = task.run(setting);
                let mut done = done.lock().expect("no task panics with it");
                let (printed, outcomes) = &mut *done;
                outcomes[place] = Some(outcome);
                while let Some(outcome) = outcomes.get_mut(*printed).and_then(Option::take) {
                    *printed += 1;
                    match outcome {
                        Ok(outcome) => {
                            print!("{}", outcome.text);
                            let mut sum = sum.lock().expect("no task panics with it");
                            sum.states += outcome.states;
                            sum.calls |= outcome.calls;
                            sum.failures.extend(outcome.failures);
                        }
                        Err(text) => *error.lock().expect("no task panics with it") = Some(text),
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(work);
            }
        });
        let error = error.into_inner().expect("no task panicked with it");
        error.map_or(Ok(()), Err)
    }

    /// What failed of what was done.
    pub fn failed(self) -> Vec<String> {
        self.failures
    }

    /// The same, when all there is was done: a rule that was never used proves nothing.
    pub fn failed_or_unused(self) -> Vec<String> {
        let unused = Pc::CALLS
            .iter()
            .filter(|pc| self.calls >> **pc as u64 & 1 == 0);
        let unused = unused.map(|pc| format!("{pc:?} was never called"));
        self.failures.into_iter().chain(unused).collect()
    }
}

impl Task<'_> {
    fn run(self, setting: Setting) -> Result<Outcome, String> {
        let mut outcome = Outcome::default();
        match self {
            Task::Hold(mix) => {
                let report = outcome.search(mix, None, &ALL, false, setting)?;
                outcome.print(mix, &report, setting);
                for found in &report.found {
                    let what = format!("{mix}: {}", found.property.name());
                    if !setting.traces {
                        let _ = writeln!(outcome.text, "    {what}"); // into a String
                        outcome.text += &trace::text(found);
                    }
                    outcome.failures.push(what);
                }
                if report.is_capped {
                    outcome.failures.push(format!("{mix}: too many states"));
                }
            }
            Task::Break(case) => {
                let mutation = Some(case.mutation);
                let report = outcome.search(case.mix, mutation, case.breaks, true, setting)?;
                let name = format!("{:<24}{}", case.name, case.mix);
                outcome.print(&name, &report, setting);
                for property in case.breaks {
                    if !breaks(&report, *property) {
                        outcome.failures.push(format!(
                            "{}, against {} ({}): not {}",
                            case.name,
                            case.against,
                            case.what,
                            property.name()
                        ));
                    }
                }
            }
            Task::Legacy(row) => {
                let report = outcome.search(row.mix, None, &ALL, false, setting)?;
                let _ = writeln!(outcome.text, "  {}", row.about); // into a String
                outcome.print(row.mix, &report, setting);
                if report.is_capped && row.breaks.is_empty() {
                    outcome
                        .failures
                        .push(format!("{}: too many states", row.mix));
                }
                for property in ALL {
                    if breaks(&report, property) != row.breaks.contains(&property) {
                        let what = property.name();
                        outcome
                            .failures
                            .push(format!("{}: {what} is not as the table says", row.about));
                    }
                }
            }
            Task::Same(mix, mutation) => {
                let whole = format!("{mix} whole");
                let one = outcome.search(mix, mutation, &ALL, false, setting)?;
                let all = outcome.search(&whole, mutation, &ALL, false, setting)?;
                let name = mutation.map_or(String::new(), |mutation| format!("{mutation:?}, "));
                outcome.print(&format!("{name}{mix}"), &one, setting);
                outcome.print(&format!("{name}{whole}"), &all, setting);
                if one.is_capped || all.is_capped {
                    outcome
                        .failures
                        .push(format!("{name}{mix}: too many states"));
                }
                for property in ALL {
                    if breaks(&one, property) != breaks(&all, property) {
                        let what = property.name();
                        outcome
                            .failures
                            .push(format!("{name}{mix}: {what} only in one search of two"));
                    }
                }
            }
            Task::Look(mix, mutation) => {
                let report = outcome.search(mix, mutation, &ALL, false, setting)?;
                outcome.print(mix, &report, setting);
            }
        }
        Ok(outcome)
    }
}

fn breaks(report: &Report, property: Property) -> bool {
    report.found.iter().any(|found| found.property == property)
}

impl Outcome {
    fn search(
        &mut self,
        mix: &str,
        mutation: Option<Mutation>,
        watch: &[Property],
        is_first: bool,
        setting: Setting,
    ) -> Result<Report, String> {
        let model = Model {
            mix: mixes::parse(mix)?,
            mutation,
        };
        let states = if setting.is_night { NIGHT } else { DAY };
        let report = search(&model, watch, Limits { states, is_first });
        self.calls |= report.calls;
        self.states += report.states;
        Ok(report)
    }

    fn print(&mut self, name: &str, report: &Report, setting: Setting) {
        let found: Vec<String> = report
            .found
            .iter()
            .map(|found| format!("{} in {} steps", found.property.name(), found.steps))
            .collect();
        let mut outcome = found.join(", ");
        if outcome.is_empty() {
            outcome = "holds".into();
        }
        if report.is_capped {
            outcome += ", NOT EXHAUSTED";
        }
        let _ = writeln!(
            self.text,
            "  {name:<52} {:>10} states {:>4} deep {:>8.2} s  {outcome}",
            report.states,
            report.depth,
            report.time.as_secs_f64()
        ); // into a String
        if setting.traces {
            for found in &report.found {
                let _ = writeln!(self.text, "    {}:", found.property.name()); // likewise
                self.text += &trace::text(found);
            }
        }
    }
}
