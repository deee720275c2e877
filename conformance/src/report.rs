//! Results: one line a failure, with how to run it again, and the count.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::case::Class;
use crate::driver::Driver;

#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
    expected: usize,
    by_driver: BTreeMap<String, usize>,
}

pub struct Report {
    counts: Mutex<Counts>,
    verbose: bool,
    since: Instant,
}

impl Report {
    pub fn new(verbose: bool) -> Report {
        Report {
            counts: Mutex::default(),
            verbose,
            since: Instant::now(),
        }
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A result of one driver on one case; xfail and class decide what it means.
    pub fn case(&self, driver: &Driver, name: &str, class: Class, result: Result<(), String>) {
        let again = format!("--only cases --filter '{name}' --with {}", driver.name);
        match (result, driver.xfail.get(name), class) {
            (Err(why), None, Class::May) => {
                self.note(&format!("may    {} {name}: {why}", driver.name));
                self.counts().passed += 1;
            }
            (Err(why), Some(reason), _) => {
                self.note(&format!("xfail  {} {name}: {reason} ({why})", driver.name));
                self.counts().expected += 1;
            }
            (Ok(()), Some(_), Class::Must | Class::Should) => {
                let why = "passes, but is in the xfail file: take the line out";
                self.fail(&driver.name, name, why, &again);
            }
            (Ok(()), _, _) => self.pass(),
            (Err(why), None, Class::Should) => {
                self.fail(&driver.name, name, &format!("(should) {why}"), &again);
            }
            (Err(why), None, Class::Must) => self.fail(&driver.name, name, &why, &again),
        }
    }

    /// A result of a scenario of one or two drivers.
    pub fn scenario(&self, who: &[&Driver], name: &str, again: &str, result: Result<(), String>) {
        let label = who
            .iter()
            .map(|d| d.name.as_str())
            .collect::<Vec<_>>()
            .join("+");
        let reason = who.iter().find_map(|d| d.xfail.get(name));
        match (result, reason) {
            // With another partner it may fail.
            (Ok(()), Some(_)) if who.len() == 1 => {
                let why = "passes, but is in the xfail file: take the line out";
                self.fail(&label, name, why, again);
            }
            (Ok(()), _) => self.pass(),
            (Err(why), Some(reason)) => {
                self.note(&format!("xfail  {label} {name}: {reason} ({why})"));
                self.counts().expected += 1;
            }
            (Err(why), None) => self.fail(&label, name, &why, again),
        }
    }

    pub fn pass(&self) {
        self.counts().passed += 1;
    }

    pub fn fail(&self, who: &str, name: &str, why: &str, again: &str) {
        let mut c = self.counts();
        c.failed += 1;
        *c.by_driver.entry(who.to_string()).or_default() += 1;
        line(&format!(
            "FAIL   {who} {name}: {} (again: {again})",
            why.replace('\n', "\\n")
        ));
    }

    /// Loud: a skip is never silent.
    pub fn skip(&self, what: &str) {
        self.counts().skipped += 1;
        line(&format!("SKIP   {what}"));
    }

    pub fn note(&self, text: &str) {
        if self.verbose {
            line(text);
        }
    }

    pub fn say(&self, text: &str) {
        line(&format!(
            "{text} [{:.0} s]",
            self.since.elapsed().as_secs_f64()
        ));
    }

    /// Prints the closing line; whether nothing failed.
    pub fn close(&self) -> bool {
        let c = self.counts();
        for (who, n) in &c.by_driver {
            line(&format!("{n:6} failed: {who}"));
        }
        if c.expected > 0 {
            line(&format!(
                "{:6} failed as their xfail files expect",
                c.expected
            ));
        }
        line(&format!(
            "{} passed, {} failed, {} skipped",
            c.passed, c.failed, c.skipped
        ));
        c.failed == 0
    }
}

/// A reader that went away is no reason to stop checking.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Runs jobs on `n` threads; most of their time is waiting.
pub fn in_parallel(n: usize, jobs: &[Box<dyn Fn() + Send + Sync + '_>]) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..n.max(1) {
            s.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    job();
                }
            });
        }
    });
}
