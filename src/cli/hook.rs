//! `mbox hook AGENT`: silent, whatever happens (HOOK-1).

use std::io::{Read, Write};

use super::args::{HookArgs, HookVerb};
use super::exit::{Exit, Status};
use super::out::{hand_over, refuse_closed_stdout};
use super::{Places, hook_install, var};
use crate::hook::{Agent, Visit};
use crate::root::Root;
use crate::sys::fs;
use crate::sys::signals::Deferred;

pub(super) fn run(args: HookArgs, places: &Places) -> Result<Status, Exit> {
    let agent = match args.verb {
        HookVerb::Claude => Agent::Claude,
        HookVerb::Codex => Agent::Codex,
        HookVerb::Gemini => Agent::Gemini,
        HookVerb::Install(args) => return hook_install::install(&args),
        HookVerb::Uninstall(args) => return hook_install::uninstall(&args),
        HookVerb::Status(args) => return hook_install::status(&args, places),
    };
    if let Ok(root) = places.root()
        && let Err(exit) = visit(agent, &root)
    {
        log(&root, &exit);
    }
    Ok(Status::Yes)
}

fn visit(agent: Agent, root: &Root) -> Result<(), Exit> {
    let mut stdin = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut stdin);
    read.map_err(|e| Exit::stdin(&e))?;
    let me = var("MBOX_NAME").map(|name| name.to_string_lossy().into_owned());
    let Some(visit) = Visit::of(agent, &stdin, me.as_deref(), root) else {
        return Ok(());
    };
    let handed_over = deliver(&visit);
    visit.stamp(matches!(handed_over, Ok(true)))?;
    handed_over.map(drop)
}

/// Whether there was mail.
fn deliver(visit: &Visit) -> Result<bool, Exit> {
    if !visit.mailbox().has_mail()? {
        return Ok(false);
    }
    refuse_closed_stdout()?;
    // Until the delivery watches for them: a claim is given up before a signal ends us.
    let signals = Deferred::begin();
    let Some(answer) = visit.pick_up(&signals)? else {
        return Ok(false);
    };
    let output = answer.output;
    hand_over(answer.claim, &signals, |_, stdout| stdout.write(&output))?;
    Ok(true)
}

/// `MBOX_LOG=debug`: what went wrong, into the root.
fn log(root: &Root, exit: &Exit) {
    if var("MBOX_LOG").is_some_and(|level| level == "debug")
        && let Ok((mut file, _)) = fs::open_append(&root.dir().join("log"))
    {
        let pid = std::process::id();
        let _ = writeln!(file, "hook[{pid}]: {}", exit.message()); // a log
    }
}
