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
mod rules;
mod search;
mod state;
mod take_rules;
mod trace;

use std::process::ExitCode;

use mutations::{Case, MUTATIONS, Mutation};
use properties::{ALL, Property};
use rules::Model;
use search::{Limits, Report, search};
use state::Pc;

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
    let mut run = Run {
        traces: args.traces,
        ..Run::default()
    };
    let done = if args.mixes.is_empty() && args.mutation.is_none() {
        run.everything()
    } else {
        run.chosen(&args)
    };
    match done {
        Ok(()) if run.failures.is_empty() => ExitCode::SUCCESS,
        Ok(()) => {
            println!("\nfailed:");
            for failure in &run.failures {
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

/// How many states a mix may have by day and by night.
const DAY: usize = 20_000_000;
const NIGHT: usize = 120_000_000;

#[derive(Default)]
struct Run {
    traces: bool,
    is_night: bool,
    failures: Vec<String>,
    /// A bit for each kind of call that was made.
    calls: u64,
    states: usize,
}

impl Run {
    fn everything(&mut self) -> Result<(), String> {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| value == "1");
        self.is_night = is_set("MBOX_TEST_NIGHT");
        let is_full = self.is_night || is_set("MBOX_TEST_FULL");
        println!("mixes of our own peers: nothing may break");
        for mix in plan::DEFAULT {
            self.must_hold(mix)?;
        }
        if is_full {
            for mix in plan::FULL {
                self.must_hold(mix)?;
            }
        }
        if self.is_night {
            for mix in plan::night() {
                self.must_hold(&mix)?;
            }
        }
        println!("\nmutations: each must break what is named");
        for case in MUTATIONS {
            self.must_break(case)?;
        }
        println!("\nmixes with legacy peers: what breaks");
        for row in plan::LEGACY {
            if is_full || !row.is_large {
                self.legacy(row)?;
            }
        }
        self.must_have_made_every_call();
        println!("\n{} states in all", self.states);
        Ok(())
    }

    /// What was asked for on the command line.
    fn chosen(&mut self, args: &Args) -> Result<(), String> {
        self.is_night = true;
        let mutation = args.mutation.map(|case| case.mutation);
        if let (Some(case), []) = (args.mutation, args.mixes.as_slice()) {
            let report = self.search(case.mix, mutation, case.breaks, true)?;
            self.print(case.mix, &report);
        }
        for mix in &args.mixes {
            let report = self.search(mix, mutation, &ALL, false)?;
            self.print(mix, &report);
        }
        Ok(())
    }

    fn search(
        &mut self,
        mix: &str,
        mutation: Option<Mutation>,
        watch: &[Property],
        is_first: bool,
    ) -> Result<Report, String> {
        let model = Model {
            mix: mixes::parse(mix)?,
            mutation,
        };
        let states = if self.is_night { NIGHT } else { DAY };
        let report = search(&model, watch, Limits { states, is_first });
        self.calls |= report.calls;
        self.states += report.states;
        Ok(report)
    }

    fn print(&self, name: &str, report: &Report) {
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
        println!(
            "  {name:<52} {:>10} states {:>4} deep {:>8.2} s  {outcome}",
            report.states,
            report.depth,
            report.time.as_secs_f64()
        );
        if self.traces {
            for found in &report.found {
                println!("    {}:", found.property.name());
                trace::print(found);
            }
        }
    }

    fn must_hold(&mut self, mix: &str) -> Result<(), String> {
        let report = self.search(mix, None, &ALL, false)?;
        self.print(mix, &report);
        for found in &report.found {
            let what = format!("{mix}: {}", found.property.name());
            self.failures.push(what.clone());
            if !self.traces {
                println!("    {what}");
                trace::print(found);
            }
        }
        if report.is_capped && !self.is_night {
            self.failures.push(format!("{mix}: too many states"));
        }
        Ok(())
    }

    fn must_break(&mut self, case: &Case) -> Result<(), String> {
        let report = self.search(case.mix, Some(case.mutation), case.breaks, true)?;
        self.print(&format!("{:<24}{}", case.name, case.mix), &report);
        for property in case.breaks {
            if report.found.iter().all(|found| found.property != *property) {
                self.failures.push(format!(
                    "{}, against {} ({}): not {}",
                    case.name,
                    case.against,
                    case.what,
                    property.name()
                ));
            }
        }
        Ok(())
    }

    fn legacy(&mut self, row: &plan::Row) -> Result<(), String> {
        let report = self.search(row.mix, None, &ALL, false)?;
        println!("  {}", row.about);
        self.print(row.mix, &report);
        for property in ALL {
            let is_found = report.found.iter().any(|found| found.property == property);
            if is_found != row.breaks.contains(&property) {
                let what = property.name();
                self.failures
                    .push(format!("{}: {what} is not as the table says", row.about));
            }
        }
        Ok(())
    }

    /// A rule that is never used proves nothing.
    fn must_have_made_every_call(&mut self) {
        for pc in Pc::CALLS {
            if self.calls >> *pc as u64 & 1 == 0 {
                self.failures.push(format!("{pc:?} was never called"));
            }
        }
    }
}
