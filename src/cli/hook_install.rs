//! `mbox hook install`, `uninstall` and `status`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::{AgentName, HookPlace, HookStatusArgs};
use super::exit::{Exit, Status, say};
use super::{Places, out, var};
use crate::hook::{Agent, Changed, Settings, last_run};

pub(super) fn install(args: &HookPlace) -> Result<Status, Exit> {
    let settings = settings(args.agent.agent(), args.project)?;
    let program = program()?;
    let changed = settings.install(&program, args.dry_run)?;
    report(&settings, changed, args.dry_run, "already runs it")
}

pub(super) fn uninstall(args: &HookPlace) -> Result<Status, Exit> {
    let settings = settings(args.agent.agent(), args.project)?;
    let changed = settings.uninstall(args.dry_run)?;
    report(&settings, changed, args.dry_run, "has no entry of mbox")
}

fn report(
    settings: &Settings,
    changed: Option<Changed>,
    is_trial: bool,
    nothing: &str,
) -> Result<Status, Exit> {
    let path = settings.path().display();
    let Some(Changed { content, backup }) = changed else {
        say(&format!("{path} {nothing}; nothing was changed"));
        return Ok(Status::Yes);
    };
    if is_trial {
        match content {
            Some(content) => {
                say(&format!("{path} would become:"));
                out::answer(content.trim_end(), "nothing was changed")?;
            }
            None => say(&format!("{path} would be removed")),
        }
        return Ok(Status::Yes);
    }
    match (content, backup) {
        (Some(_), Some(backup)) => say(&format!(
            "{path} was changed; what it was is in {}",
            backup.display()
        )),
        (Some(_), None) => say(&format!("{path} was made")),
        (None, _) => say(&format!("{path} was removed, there was nothing else in it")),
    }
    Ok(Status::Yes)
}

/// What there is to know of a hook in one place. Fields are only ever added.
#[derive(Serialize)]
struct Row {
    agent: &'static str,
    scope: &'static str,
    path: String,
    installed: bool,
    events: Vec<String>,
    /// What it runs, and whether that is there.
    program: Option<String>,
    program_exists: bool,
    /// When a hook of whatever agent ran last, unix seconds.
    last_run: Option<u64>,
}

pub(super) fn status(args: &HookStatusArgs, places: &Places) -> Result<Status, Exit> {
    let agents = match args.agent {
        Some(agent) => vec![agent.agent()],
        None => Agent::ALL.to_vec(),
    };
    let last_run = last_run(&places.root()?)?;
    let (mut status, mut is_any) = (Status::Yes, false);
    for agent in agents {
        for (scope, is_project) in [("user", false), ("project", true)] {
            let settings = settings(agent, is_project)?;
            let found = match settings.find() {
                Ok(found) => found,
                Err(error) => {
                    status = status.then(Exit::from(error).told());
                    continue;
                }
            };
            let exists = |program: &PathBuf| program.is_file();
            let row = Row {
                agent: agent.name(),
                scope,
                path: settings.path().display().to_string(),
                installed: !found.events.is_empty(),
                program_exists: found.program.as_ref().is_some_and(exists),
                program: found.program.map(|program| program.display().to_string()),
                events: found.events,
                last_run,
            };
            is_any |= row.installed;
            let line = match args.json {
                true => serde_json::to_string(&row).expect("strings and numbers serialize"),
                false => row.in_words(),
            };
            out::answer(&line, "see where it goes")?;
        }
    }
    Ok(status.then(if is_any { Status::Yes } else { Status::No }))
}

impl Row {
    fn in_words(&self) -> String {
        let Row {
            agent, scope, path, ..
        } = self;
        let Some(program) = &self.program else {
            return format!("{agent:6}  {scope:7}  not installed  {path}");
        };
        let there = match self.program_exists {
            true => "",
            false => ", WHICH IS NOT THERE: run mbox hook install again",
        };
        let last = self
            .last_run
            .map_or("never".into(), crate::format::text::utc);
        format!(
            "{agent:6}  {scope:7}  installed      {path}: {} run {program}{there}; a hook ran last: {last}",
            self.events.join(", ")
        )
    }
}

fn settings(agent: Agent, is_project: bool) -> Result<Settings, Exit> {
    let dir = match is_project {
        true => std::env::current_dir().ok(),
        false => std::env::home_dir().filter(|dir| !dir.as_os_str().is_empty()),
    };
    let dir = dir.ok_or_else(|| Exit::usage("there is no home directory: set HOME"))?;
    Ok(Settings::below(&dir, agent))
}

/// How this program is called by a path that stays when it is replaced by a newer one: as
/// PATH has it, if that is this one.
fn program() -> Result<String, Exit> {
    let this = std::env::current_exe().and_then(|path| path.canonicalize());
    let this = this.map_err(|e| Exit::of(74, format!("cannot tell where mbox is: {e}")))?;
    let path = var("PATH").unwrap_or_default();
    let is_this = |file: &PathBuf| file.canonicalize().is_ok_and(|file| file == this);
    let mut in_path = path
        .as_bytes()
        .split(|&byte| byte == b':')
        .map(|dir| Path::new(OsStr::from_bytes(dir)).join("mbox"))
        .filter(|file| file.is_absolute());
    let program = in_path.find(is_this).unwrap_or_else(|| this.clone());
    match program.file_name() == Some(OsStr::new("mbox")) {
        true => program.into_os_string().into_string().map_err(|path| {
            Exit::usage(format!("the path of mbox is not text: {}", path.display()))
        }),
        false => Err(Exit::usage(
            "this program is not named mbox; install it under that name",
        )),
    }
}

impl AgentName {
    fn agent(self) -> Agent {
        match self {
            AgentName::Claude => Agent::Claude,
            AgentName::Codex => Agent::Codex,
            AgentName::Gemini => Agent::Gemini,
        }
    }
}
