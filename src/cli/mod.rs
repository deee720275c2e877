//! The command line: the only user of clap, stdout, stderr, the environment and exit.
//!
//! `args.rs` is the one definition of every verb and option; each verb has its file;
//! what they share is in `out.rs` (formats, delivery) and `exit.rs` (statuses).

mod acquire;
mod append;
mod args;
mod ask;
mod body;
mod command;
mod doctor;
mod drain;
mod events;
mod exit;
mod r#gen;
mod has;
mod hook;
mod hook_install;
mod init;
mod list;
mod lock;
mod migrate;
mod notice;
mod out;
mod peek;
mod register;
mod reply;
mod send;
mod show;
mod take;
mod wait;
mod watch;
mod watch_drain;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use self::args::{Args, Verb};
use self::exit::{Exit, Status, say};
use crate::delivery::Delivery;
use crate::format::name::is_name;
use crate::mailbox::Mailbox;
use crate::root::{self, Root};
use crate::sys::{limits, signals};

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    signals::hold_back_file_size_signal();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return exit::usage(&error),
    };
    std::panic::set_hook(Box::new(|panic| {
        say(&format!("a bug of mbox, please report it: {panic}"));
    }));
    match std::panic::catch_unwind(|| run(args)) {
        Ok(Ok(status)) => status.into(),
        Ok(Err(exit)) => exit.report(),
        Err(_) => exit::bug(),
    }
}

fn run(args: Args) -> Result<Status, Exit> {
    let places = Places { root: args.root };
    if let Verb::Drain(_) | Verb::Take(_) | Verb::Watch(_) | Verb::Events(_) | Verb::Migrate(_) =
        args.verb
    {
        limits::raise_open_files();
    }
    match args.verb {
        Verb::Send(args) => send::run(args, &places),
        Verb::Reply(args) => reply::run(args, &places),
        Verb::Ask(args) => ask::run(args, &places),
        Verb::Show(args) => show::run(args, &places),
        Verb::Append(args) => append::run(args, &places),
        Verb::Drain(args) => drain::run(args, &places),
        Verb::Peek(args) => peek::run(args, &places),
        Verb::Take(args) => take::run(args, &places),
        Verb::Wait(args) => wait::run(args, &places),
        Verb::Watch(args) => watch::run(args, &places),
        Verb::Has(args) => has::run(args, &places),
        Verb::Acquire(args) => acquire::acquire(args, &places),
        Verb::Release(args) => acquire::release(args, &places),
        Verb::Lock(args) => lock::run(args, &places),
        Verb::List(args) => list::run(args, &places),
        Verb::Migrate(args) => migrate::run(args, &places),
        Verb::Events(args) => events::run(args, &places),
        Verb::Doctor(args) => doctor::run(args, &places),
        Verb::Register(args) => register::run(args, &places),
        Verb::Hook(args) => hook::run(args, &places),
        Verb::Init(args) => init::run(args),
        Verb::Gen(args) => r#gen::run(args, &places),
    }
}

/// Where mailboxes are, from the command line and the environment (ROOT-1).
struct Places {
    root: Option<PathBuf>,
}

impl Places {
    fn root(&self) -> Result<Root, Exit> {
        let given = self
            .root
            .clone()
            .or_else(|| var("MBOX_ROOT").map(PathBuf::from));
        let state = || var("XDG_STATE_HOME").map(|dir| PathBuf::from(dir).join("mbox"));
        // Without HOME, the home directory of the user's account.
        let home = || std::env::home_dir().filter(|dir| !dir.as_os_str().is_empty());
        let home = || home().map(|dir| dir.join(".local/state/mbox"));
        match given.or_else(state).or_else(home) {
            Some(dir) => Ok(Root::at(dir)),
            None => Err(Exit::usage(
                "there is no root directory: set MBOX_ROOT or give --root DIR",
            )),
        }
    }

    /// The party that is `from`, or else `MBOX_NAME`, or has no name.
    fn party(&self, from: Option<&str>) -> Result<Delivery, Exit> {
        let mine = var("MBOX_NAME").filter(|_| from.is_none());
        // What is not UTF-8 is no name either way.
        let mine = mine.as_ref().map(|name| name.to_string_lossy());
        if let Some(mine) = mine.as_ref().filter(|name| !is_name(name.as_bytes())) {
            let why = "is not a name: 1 to 128 of A-Z a-z 0-9 . _ @ + -";
            return Err(Exit::usage(format!("MBOX_NAME {why}: {mine}")));
        }
        let delivery = Delivery::of(&self.root()?, from.or(mine.as_deref()))?;
        Ok(delivery)
    }

    /// Where a socket goes whose path in the root would be too long (HUB-1).
    fn runtime_dir(&self) -> Option<PathBuf> {
        let dir = var("XDG_RUNTIME_DIR").map(PathBuf::from);
        dir.filter(|dir| dir.is_absolute())
    }

    fn mailbox(&self, argument: &OsString) -> Result<Mailbox, Exit> {
        Ok(root::resolve(argument, &self.root()?)?)
    }

    /// The mailboxes named, or the one `MBOX_NAME` names (CLI-4).
    fn mailboxes_or_mine(&self, arguments: &[OsString]) -> Result<Vec<Mailbox>, Exit> {
        if !arguments.is_empty() {
            return arguments
                .iter()
                .map(|argument| self.mailbox(argument))
                .collect();
        }
        match var("MBOX_NAME") {
            Some(name) => Ok(vec![self.root()?.mailbox(name)?]),
            None => Err(Exit::usage(
                "which mailbox? name it, or set MBOX_NAME to your own",
            )),
        }
    }
}

/// A variable of the environment; an empty one counts as unset.
fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
