//! `mbox doctor`.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::Places;
use super::args::DoctorArgs;
use super::exit::{Exit, Status};
use crate::doctor::{self, Finding, State};
use crate::format::text::escape;

pub(super) fn run(args: DoctorArgs, places: &Places) -> Result<Status, Exit> {
    let runtime_dir = places.runtime_dir();
    let findings = doctor::examine(&places.root()?, runtime_dir.as_deref(), args.fix);
    let summary = Summary::of(&findings);
    let text = match args.json {
        true => as_json(&findings, &summary),
        false => as_text(&findings, &summary),
    };
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|e| Exit::stdout(&e, "see where it goes"))?;
    Ok(match summary.ok {
        true => Status::Yes,
        false => Status::No,
    })
}

/// One finding. Fields are only ever added.
#[derive(Serialize)]
struct Row<'a> {
    r#type: &'static str,
    check: &'static str,
    state: &'static str,
    mailbox: Option<&'a str>,
    path: Option<String>,
    message: &'a str,
    next_step: Option<&'a str>,
    latency_ms: Option<f64>,
}

#[derive(Serialize)]
struct Summary {
    r#type: &'static str,
    ok: bool,
    problems: usize,
    fixed: usize,
    notes: usize,
}

impl Summary {
    fn of(findings: &[Finding]) -> Summary {
        let count = |state| findings.iter().filter(|f| f.state == state).count();
        let problems = count(State::Problem);
        Summary {
            r#type: "summary",
            ok: problems == 0,
            problems,
            fixed: count(State::Fixed),
            notes: count(State::Note),
        }
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Well => "ok",
        State::Note => "note",
        State::Problem => "problem",
        State::Fixed => "fixed",
    }
}

fn as_json(findings: &[Finding], summary: &Summary) -> String {
    let mut text = String::new();
    let sound = "strings and numbers always serialize";
    for finding in findings {
        let row = Row {
            r#type: "finding",
            check: finding.check,
            state: word(finding.state),
            mailbox: finding.mailbox.as_deref(),
            path: finding.path.as_ref().map(|path| path.display().to_string()),
            message: &finding.what,
            next_step: Some(&*finding.next_step).filter(|next| !next.is_empty()),
            latency_ms: finding.latency.map(|latency| latency.as_secs_f64() * 1e3),
        };
        text += &serde_json::to_string(&row).expect(sound);
        text.push('\n');
    }
    text += &serde_json::to_string(summary).expect(sound);
    text.push('\n');
    text
}

fn as_text(findings: &[Finding], summary: &Summary) -> String {
    let mut text = String::new();
    for finding in findings {
        let about = finding.mailbox.as_deref().unwrap_or(finding.check);
        let (word, what) = (word(finding.state), escape(&finding.what));
        let _ = write!(text, "{word:7}  {about}: {what}"); // a String takes everything
        if let (Some(path), false) = (&finding.path, finding.state == State::Well) {
            let _ = write!(text, " ({})", escape(&path.display().to_string()));
        }
        if !finding.next_step.is_empty() {
            let _ = write!(text, "; {}", finding.next_step);
        }
        text.push('\n');
    }
    let Summary {
        problems, fixed, ..
    } = summary;
    let _ = match (*problems, *fixed) {
        (0, 0) => writeln!(text, "All is well."),
        (0, fixed) => writeln!(text, "All is well: {fixed} repaired."),
        (problems, fixed) => writeln!(text, "{problems} need attention, {fixed} repaired."),
    };
    text
}
