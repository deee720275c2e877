//! The conformance kit: checks any implementation of spec/ from outside.

#![forbid(unsafe_code)]

mod arena;
mod args;
mod case;
mod check;
mod content;
mod coverage;
mod delivery;
mod disk;
mod driver;
mod events;
mod pairs;
mod race;
mod report;
mod signal;
mod stall;
mod swarm;
mod sync;
mod trace;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nix::sys::stat::{Mode, umask};

use arena::Arena;
use args::{Args, Part};
use case::{Case, Needs};
use disk::Disk;
use driver::Driver;
use report::{Report, in_parallel};

type Job<'a> = Box<dyn Fn() + Send + Sync + 'a>;

fn main() -> ExitCode {
    let args = Args::parse();
    umask(Mode::from_bits_truncate(0o022));
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("mbox-conformance: {e}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool, String> {
    signal::refuse_ignored()?;
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let report = Report::new(args.verbose);
    let cases = case::load(&home.join("cases"))?;
    let mut drivers = drivers(args, home, &report)?;
    let unknown = args
        .with
        .iter()
        .find(|w| !drivers.iter().any(|d| d.name == **w));
    if let Some(w) = unknown {
        return Err(format!("--with {w}: no such driver here"));
    }
    drivers.retain_mut(|d| match check::probe(d) {
        Ok(()) => true,
        Err(why) => {
            report.fail(&d.name, "probe", &why, "every part");
            false
        }
    });
    for d in drivers.iter().filter(|d| args.has(&d.name) && !d.sender) {
        if d.bundled {
            let why = "send is a usage error, and a full peer is a sender";
            report.fail(&d.name, "probe", why, "every part");
        } else {
            report.skip(&format!("{}: no sender: nothing of send and reply", d.name));
        }
    }
    for d in drivers.iter().filter(|d| args.has(&d.name)) {
        let lacks = d.lacks.iter().any(|verb| verb == "hook");
        match d.hook {
            false if d.bundled && !lacks => {
                let why = "hook is a usage error, and bundled.json does not say that it lacks it";
                report.fail(&d.name, "probe", why, "every part");
            }
            false => report.note(&format!("{} has no hook", d.name)),
            true if lacks => {
                let why = "it has a hook, and bundled.json says that it lacks it";
                report.fail(&d.name, "probe", why, "every part");
            }
            true => {}
        }
    }
    for d in &drivers {
        for name in d.xfail.keys().filter(|name| !is_known(name, &cases)) {
            let why = "no case or scenario of the xfail file has this name";
            report.fail(&d.name, name, why, "every part");
        }
    }
    if args.part(Part::Coverage) {
        run_coverage(args, home, &cases, &report)?;
    }
    if args.part(Part::Cases) {
        run_cases(args, &cases, &drivers, &report);
    }
    let strace = trace::available();
    if !strace && args.part(Part::Pairs) && !drivers.is_empty() {
        missing(
            args,
            &report,
            "no strace here: no stalls, crashes and signals at exact calls",
        );
    }
    if args.part(Part::Pairs) {
        run_pairs(args, &drivers, strace, &report)?;
    }
    if args.part(Part::Events) {
        run_events(args, &drivers, &report);
    }
    if args.part(Part::Swarm) && !drivers.is_empty() {
        run_swarm(args, &drivers, &report);
    }
    if drivers.is_empty() && args.only != [Part::Coverage] {
        missing(
            args,
            &report,
            "no driver: say --bundled or --driver NAME='COMMAND'",
        );
    }
    Ok(report.close())
}

fn is_known(name: &str, cases: &[Case]) -> bool {
    cases.iter().any(|c| c.name == name)
        || pairs::SCENARIOS.iter().any(|s| s.name == name)
        || delivery::SCENARIOS.iter().any(|(known, ..)| *known == name)
        || sync::SCENARIOS.iter().any(|(known, ..)| *known == name)
        || sync::OF_SENDERS.0 == name
        || events::SCENARIOS.iter().any(|(known, ..)| *known == name)
        || stall::all().iter().any(|s| s.name() == name)
        || signal::all().iter().any(|s| s.name() == name)
}

fn missing(args: &Args, report: &Report, what: &str) {
    if args.require_all {
        report.fail("-", "everything", what, "--require-all");
    } else {
        report.skip(what);
    }
}

fn drivers(args: &Args, home: &Path, report: &Report) -> Result<Vec<Driver>, String> {
    let mut found: Vec<Driver> = Vec::new();
    for d in &args.drivers {
        let (name, command) = d
            .split_once('=')
            .ok_or(format!("--driver {d}: not NAME=COMMAND"))?;
        found.push(Driver::parse(name, command)?);
    }
    if args.bundled {
        let repo = home.parent().ok_or("no parent directory")?;
        let beside = std::env::current_exe()
            .map_err(|e| e.to_string())?
            .with_file_name("mbox");
        let binary = std::path::absolute(args.binary.clone().unwrap_or(beside));
        let binary: PathBuf = binary.map_err(|e| e.to_string())?;
        for d in driver::load_bundled(&home.join("drivers"), repo, &binary)? {
            match d {
                Ok(d) => found.push(d),
                Err(why) => missing(args, report, &why),
            }
        }
    }
    for d in &mut found {
        d.read_xfail(&home.join("drivers"))?;
    }
    Ok(found)
}

fn run_coverage(args: &Args, home: &Path, cases: &[Case], report: &Report) -> Result<(), String> {
    let spec = coverage::Spec::read(&args.spec)?;
    let mut cited = Vec::new();
    let mut cite = |ids: &[&str], who: &str| {
        cited.extend(ids.iter().map(|id| (id.to_string(), who.to_string())));
    };
    for c in cases {
        cite(
            &c.tests.iter().map(String::as_str).collect::<Vec<_>>(),
            &c.name,
        );
    }
    for s in pairs::SCENARIOS {
        cite(s.tests, s.name);
    }
    cite(stall::TESTS, "stall");
    cite(signal::TESTS, "signal");
    for (name, tests, _) in delivery::SCENARIOS {
        cite(tests, name);
    }
    for (name, tests, _) in sync::SCENARIOS.into_iter().chain([sync::OF_SENDERS]) {
        cite(tests, name);
    }
    for (name, tests, _) in events::SCENARIOS {
        cite(tests, name);
    }
    cite(race::TESTS, "race");
    cite(swarm::TESTS, "swarm");
    let readme = home.join("README.md");
    let readme =
        std::fs::read_to_string(&readme).map_err(|e| format!("{}: {e}", readme.display()))?;
    let untested = coverage::untested(&readme);
    for fault in coverage::check(&spec, &cited, &untested) {
        report.fail("-", "coverage", &fault, "--only coverage");
    }
    report.pass();
    report.say(&format!(
        "coverage: {} requirements, {} of them not testable from outside",
        spec.ids.len(),
        untested.len()
    ));
    Ok(())
}

fn run_cases(args: &Args, cases: &[Case], drivers: &[Driver], report: &Report) {
    let root = nix::unistd::geteuid().is_root();
    let (ordinary, mounts) = (!root || check::can_be_ordinary(), Disk::is_possible());
    let lack = |c: &Case| match c.needs {
        Some(Needs::Root) if !root => Some("root"),
        Some(Needs::User) if !ordinary => Some("an ordinary user, or unshare of util-linux"),
        _ if c.disk.is_some() && !mounts => Some("to mount a tmpfs"),
        _ => None,
    };
    let mut lacking: BTreeMap<&str, usize> = BTreeMap::new();
    let mut jobs: Vec<Job> = Vec::new();
    for c in cases.iter().filter(|c| args.wants(&c.name)) {
        if let Some(what) = lack(c) {
            *lacking.entry(what).or_default() += 1;
            continue;
        }
        for d in drivers.iter().filter(|d| args.has(&d.name)) {
            let has_verbs = (d.sender || !c.sender) && (d.hook || !c.hook);
            if c.guard.is_none_or(|g| g == d.guard) && has_verbs {
                jobs.push(Box::new(move || {
                    report.case(d, &c.name, c.class, check::run_case(c, d));
                }));
            }
        }
    }
    for (what, n) in lacking {
        missing(args, report, &format!("{n} cases that need {what}"));
    }
    in_parallel(args.jobs, &jobs);
    report.say(&format!(
        "cases: {} on {} drivers",
        cases.len(),
        drivers.len()
    ));
}

fn run_pairs(args: &Args, drivers: &[Driver], strace: bool, report: &Report) -> Result<(), String> {
    let stalls = stall::all();
    let each = match args.stalls.as_str() {
        "all" => stalls.len(),
        n => n
            .parse::<usize>()
            .map_err(|e| format!("--stalls {n}: {e}"))?
            .min(stalls.len()),
    };
    let mut jobs: Vec<Job> = Vec::new();
    for (i, a) in drivers.iter().enumerate() {
        for (j, b) in drivers.iter().enumerate() {
            if !args.has(&a.name) && !args.has(&b.name) {
                continue;
            }
            for s in pairs::SCENARIOS.iter().filter(|s| args.wants(s.name)) {
                jobs.push(Box::new(move || {
                    let result = Arena::new().and_then(|x| (s.run)(&x, a, b));
                    report.scenario(&[a, b], s.name, &again(s.name, a), result);
                }));
            }
            for (name, _, run) in delivery::SCENARIOS {
                if a.sender && b.sender && args.wants(name) {
                    jobs.push(Box::new(move || {
                        let result = Arena::new().and_then(|x| run(&x, a, b));
                        report.scenario(&[a, b], name, &again(name, a), result);
                    }));
                }
            }
            // Each A meets all stalls over its Bs. A filter wants all it names.
            let n = if args.filter.is_empty() {
                each
            } else {
                stalls.len()
            };
            for k in 0..if strace { n } else { 0 } {
                let s = stalls[(j * each + i * 11 + k) % stalls.len()];
                if args.wants(&s.name()) {
                    jobs.push(Box::new(move || {
                        let result = stall::in_time(|x| stall::run(x, a, b, s));
                        report.scenario(&[a, b], &s.name(), &again(&s.name(), a), result);
                    }));
                }
            }
        }
        let of_senders = a.sender.then_some(sync::OF_SENDERS);
        for (name, _, run) in sync::SCENARIOS.into_iter().chain(of_senders) {
            if strace && args.has(&a.name) && args.wants(name) {
                jobs.push(Box::new(move || {
                    let result = Arena::new().and_then(|x| run(&x, a));
                    report.scenario(&[a], name, &again(name, a), result);
                }));
            }
        }
        for told in signal::all() {
            let name = told.name();
            if strace && args.has(&a.name) && args.wants(&name) {
                jobs.push(Box::new(move || {
                    let result = stall::in_time(|x| signal::run(x, a, told));
                    report.scenario(&[a], &name, &again(&name, a), result);
                }));
            }
        }
    }
    let n = jobs.len();
    in_parallel(args.jobs, &jobs);
    report.say(&format!(
        "pairs: {n} scenarios of {} drivers",
        drivers.len()
    ));
    Ok(())
}

fn again(name: &str, a: &Driver) -> String {
    format!("--only pairs --filter {name} --with {}", a.name)
}

fn run_events(args: &Args, drivers: &[Driver], report: &Report) {
    let (mut jobs, mut hubs): (Vec<Job>, usize) = (Vec::new(), 0);
    for d in drivers.iter().filter(|d| args.has(&d.name)) {
        match events::has_hub(d) {
            Ok(true) => hubs += 1,
            Ok(false) => {
                report.note(&format!("{} has no hub", d.name));
                continue;
            }
            Err(why) => {
                report.fail(&d.name, "events", &why, "--only events");
                continue;
            }
        }
        for (name, _, scenario) in events::SCENARIOS {
            if args.wants(name) {
                jobs.push(Box::new(move || {
                    let again = format!("--only events --filter {name} --with {}", d.name);
                    report.scenario(&[d], name, &again, events::run(d, scenario));
                }));
            }
        }
    }
    in_parallel(args.jobs, &jobs);
    report.say(&format!("events: {} scenarios of {hubs} hubs", jobs.len()));
}

fn run_swarm(args: &Args, drivers: &[Driver], report: &Report) {
    let seed = args.seed.unwrap_or_else(|| check::now_ms() as u64);
    report.say(&format!("swarm: --seed {seed}"));
    let mut jobs: Vec<Job> = Vec::new();
    for trial in 0..args.trials {
        for (k, (left, acquire)) in race::races().into_iter().enumerate() {
            let verb = if acquire { "acquire" } else { "append" };
            let name = format!("race/{left:?}-{verb}").to_lowercase();
            if !args.wants(&name) {
                continue;
            }
            jobs.push(Box::new(move || {
                let racers: Vec<&Driver> = (0..race::RACERS)
                    .map(|i| &drivers[(seed as usize + trial * 3 + k + i) % drivers.len()])
                    .collect();
                let again = format!("--only swarm --filter {name} --seed {seed}");
                report.scenario(
                    &[],
                    &name,
                    &again,
                    if acquire {
                        race::acquires(&racers, left)
                    } else {
                        race::appends(&racers, left)
                    },
                );
            }));
        }
    }
    in_parallel(args.jobs.div_ceil(2), &jobs);
    for (name, kills) in [("swarm/calm", false), ("swarm/kills", true)] {
        if !args.wants(name) {
            continue;
        }
        let messages = if kills {
            args.swarm_messages
        } else {
            args.swarm_messages.min(500)
        };
        let plan = swarm::Plan {
            messages,
            seed,
            kills: kills.then(|| Duration::from_millis(args.kill_every)),
        };
        let again = format!("--only swarm --filter {name} --seed {seed}");
        let result = swarm::run(drivers, &plan).map(|told| report.say(&format!("{name}: {told}")));
        report.scenario(&[], name, &again, result);
    }
}
