//! What is wrong with a root, what to do about it, and doing what can be done.
//!
//! `mailbox.rs` looks at one mailbox, `place.rs` at the root, the backend that tells of
//! changes, and the hub. Every repair is a step of the protocol; mail is neither changed
//! nor removed. It reports and does not print.

mod mailbox;
mod place;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::root::Root;

/// How a finding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// As it should be.
    Well,
    /// Worth knowing; it puts itself right.
    Note,
    /// It needs attention.
    Problem,
    /// It was a problem and was repaired.
    Fixed,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// What was looked for, as one word such as `stale-lock`.
    pub check: &'static str,
    /// How it stands.
    pub state: State,
    /// The mailbox it is about, if it is about one.
    pub mailbox: Option<String>,
    /// The file it is about.
    pub path: Option<PathBuf>,
    /// What was found, for people.
    pub what: String,
    /// What to do, for people; empty when there is nothing to do.
    pub next_step: String,
    /// Of the backend: how long a write took to be told.
    pub latency: Option<Duration>,
}

impl Finding {
    fn new(check: &'static str, state: State, what: impl Into<String>) -> Finding {
        Finding {
            check,
            state,
            mailbox: None,
            path: None,
            what: what.into(),
            next_step: String::new(),
            latency: None,
        }
    }

    fn at(self, path: &Path) -> Finding {
        Finding {
            path: Some(path.to_owned()),
            ..self
        }
    }

    fn next(self, next_step: impl Into<String>) -> Finding {
        Finding {
            next_step: next_step.into(),
            ..self
        }
    }

    /// What could not be looked at, or is refused.
    fn failed(check: &'static str, error: &Error) -> Finding {
        Finding::new(check, State::Problem, error.to_string())
            .at(error.path())
            .next(error.next_step())
    }
}

const FIX: &str = "run mbox doctor --fix";

/// The findings of one examination, and whether to repair.
struct Doctor {
    fix: bool,
    findings: Vec<Finding>,
    /// What may be a temporary, in the directory that is looked at.
    temporaries: Vec<OsString>,
}

impl Doctor {
    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds a problem, repaired if that is wanted and succeeds.
    fn problem(&mut self, finding: Finding, repair: impl FnOnce() -> Result<()>) {
        let finding = match self.fix.then(repair) {
            None => finding.next(FIX),
            Some(Ok(())) => Finding {
                state: State::Fixed,
                next_step: String::new(),
                ..finding
            },
            Some(Err(error)) => Finding {
                what: format!("{}; {error}", finding.what),
                next_step: error.next_step().to_owned(),
                ..finding
            },
        };
        self.add(finding);
    }

    /// Adds what went wrong while something was looked at.
    fn look(&mut self, check: &'static str, looked: Result<()>) {
        if let Err(error) = looked {
            self.add(Finding::failed(check, &error));
        }
    }
}

/// Examines a root and everything in it, and repairs what can be repaired when `fix` is set.
///
/// `runtime_dir` is `$XDG_RUNTIME_DIR`; see [`Place::of`](crate::Place::of). To see which
/// backend works it makes a file in the root, which it removes again; else it changes
/// nothing without `fix`. A root that is not there is well. One that others could write to is
/// made private by `fix`, and no more is done in it until somebody has looked.
#[must_use]
pub fn examine(root: &Root, runtime_dir: Option<&Path>, fix: bool) -> Vec<Finding> {
    let mut doctor = Doctor {
        fix,
        findings: Vec::new(),
        temporaries: Vec::new(),
    };
    if !doctor.root(root) {
        return doctor.findings;
    }
    match root.each_mailbox_or_leftover() {
        Ok(mailboxes) => doctor.mailboxes(mailboxes),
        Err(error) => doctor.add(Finding::failed("root", &error)),
    }
    match root.each_ledger_or_leftover() {
        Ok(ledgers) => doctor.mailboxes(ledgers),
        Err(error) => doctor.add(Finding::failed("ledgers", &error)),
    }
    doctor.backend(root);
    doctor.hub(root, runtime_dir);
    doctor.findings
}
