//! `mbox gen`: what is made from the definition of the command line. `words` and `notice`,
//! which the printed shell code calls, have their own files.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::args::{Args, CompletionShell, GenArgs, GenVerb};
use super::exit::{Exit, Status};
use super::out::print;
use super::{Places, notice, words};
use crate::error::Error;
use crate::sys::fs;

pub(super) const BASH: &str = include_str!("../../shell/completion.bash");
pub(super) const ZSH: &str = include_str!("../../shell/completion.zsh");
const FISH: &str = include_str!("../../shell/completion.fish");

pub(super) fn run(args: GenArgs, places: &Places) -> Result<Status, Exit> {
    match args.verb {
        GenVerb::Completion { shell } => print(match shell {
            CompletionShell::Bash => BASH,
            CompletionShell::Zsh => ZSH,
            CompletionShell::Fish => FISH,
        })?,
        GenVerb::Man { dir: None } => print(&page(&definition()).1)?,
        GenVerb::Man { dir: Some(dir) } => man(&definition(), &dir)?,
        GenVerb::Words { words } => return words::run(words),
        GenVerb::Notice { name, seen } => return notice::run(&name, seen.as_deref(), places),
    }
    Ok(Status::Yes)
}

/// The whole definition, as it is after parsing: every verb, names of pages, global options.
pub(super) fn definition() -> Command {
    let mut command = Args::command();
    command.build();
    command
}

/// Writes the page of `command` and of each verb under it.
fn man(command: &Command, dir: &Path) -> Result<(), Exit> {
    let (name, text) = page(command);
    fs::publish(dir, &name, text.as_bytes())
        .map_err(|e| Error::io("write", &dir.join(&name), e))?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        man(verb, dir)?;
    }
    Ok(())
}

/// The file name of a page, and the page.
fn page(command: &Command) -> (String, String) {
    let man = Man::new(command.clone())
        .source(concat!("mbox ", env!("CARGO_PKG_VERSION")))
        .manual("mbox");
    let mut text = Vec::new();
    let rendered = man.render(&mut text);
    rendered.expect("memory can be written to");
    let text = String::from_utf8(text).expect("the definition is text");
    (man.get_filename(), text)
}
