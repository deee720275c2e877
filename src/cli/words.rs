//! `mbox gen words`: what a completion offers. Verbs, options and their values come from the
//! definition of the command line, names and ids from the files. Silent, whatever is wrong.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Arg, ArgMatches, CommandFactory, ValueHint};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate, complete};

use super::args::Args;
use super::exit::{Exit, Status};
use super::out::print;
use super::{Places, var};
use crate::format::name::{is_id, is_name};
use crate::format::record::Record;
use crate::format::text::escape;
use crate::ledger::Ledger;
use crate::mailbox::{Mailbox, Peek};

/// At most so many ids are offered, the newest ones.
const IDS: usize = 100;
/// At most so many characters of a body are shown beside its id.
const EXCERPT: usize = 50;

/// `words` are those behind `mbox`; the last one is to be completed.
pub(super) fn run(words: Vec<OsString>) -> Result<Status, Exit> {
    let current = words.last().cloned().unwrap_or_default();
    let mut line = vec![OsString::from("mbox")];
    line.extend(words);
    let at = (line.len() - 1).max(1);
    line.resize(at + 1, OsString::new());

    let known = Known::of(&line[..at]);
    let verb = known.verb.clone();
    let mut command = super::r#gen::definition()
        .mut_args(without_paths)
        .mut_subcommands(|sub| {
            let is_verb = sub.get_name() == verb;
            let (name, known) = (sub.get_name().to_owned(), known.clone());
            if is_verb {
                sub.mut_args(move |arg| with_candidates(arg, &name, &known))
            } else {
                sub
            }
        });
    let offers = complete(&mut command, line, at, None).unwrap_or_default();
    print(&lines(&offers, &current))?;
    Ok(Status::Yes)
}

/// One a line. Options are not offered before their dash is typed, unless nothing else is.
fn lines(offers: &[CompletionCandidate], current: &OsStr) -> String {
    let is_option =
        |offer: &&CompletionCandidate| offer.get_value().as_encoded_bytes().starts_with(b"-");
    let some = current.is_empty() && !offers.iter().all(|offer| is_option(&offer));
    let offers = offers
        .iter()
        .filter(|offer| !(offer.is_hide_set() || some && is_option(offer)));
    let mut text = String::new();
    for offer in offers {
        // What is offered is text: names, ids and what the definition has.
        text.push_str(&offer.get_value().to_string_lossy());
        if let Some(help) = offer.get_help() {
            let help = help.to_string();
            text.push('\t');
            text.push_str(help.lines().next().unwrap_or_default());
        }
        text.push('\n');
    }
    text
}

/// Paths are completed by the shell, which knows how to quote them.
fn without_paths(arg: Arg) -> Arg {
    match arg.get_value_hint() {
        ValueHint::Unknown => arg,
        _ => arg.value_hint(ValueHint::Other),
    }
}

fn with_candidates(arg: Arg, verb: &str, known: &Known) -> Arg {
    let known = known.clone();
    let arg = without_paths(arg);
    let candidates = match (verb, arg.get_id().as_str()) {
        (_, "mailbox" | "mailboxes" | "old" | "new") => {
            ArgValueCandidates::new(move || known.mailboxes())
        }
        (_, "to" | "from") => ArgValueCandidates::new(move || known.parties()),
        ("reply" | "show", "id") => ArgValueCandidates::new(move || known.ids_in_ledger()),
        ("take", "id") | ("peek" | "watch", "since") => {
            ArgValueCandidates::new(move || known.ids_in_mailboxes())
        }
        _ => return arg,
    };
    arg.add(candidates)
}

/// What the words before the one in question say.
#[derive(Clone, Default)]
struct Known {
    verb: String,
    root: Option<PathBuf>,
    mailboxes: Vec<OsString>,
    from: Option<String>,
}

impl Known {
    fn of(line: &[OsString]) -> Known {
        let command = Args::command().ignore_errors(true);
        let Ok(matches) = command.try_get_matches_from(line) else {
            return Known::default();
        };
        let Some((verb, sub)) = matches.subcommand() else {
            return Known {
                root: one(&matches, "root"),
                ..Known::default()
            };
        };
        let many = sub.try_get_many("mailboxes").ok().flatten();
        let many = many.unwrap_or_default().cloned();
        Known {
            verb: verb.to_owned(),
            root: one(sub, "root"),
            mailboxes: one(sub, "mailbox").into_iter().chain(many).collect(),
            from: one(sub, "from"),
        }
    }

    fn places(&self) -> Places {
        Places {
            root: self.root.clone(),
        }
    }

    /// Who has a mailbox.
    fn mailboxes(&self) -> Vec<CompletionCandidate> {
        let root = self.places().root().ok();
        let mailboxes = root.and_then(|root| root.mailboxes_by_name().ok());
        let mailboxes = mailboxes.unwrap_or_default();
        let names = mailboxes.iter().map(Mailbox::title);
        names.map(CompletionCandidate::new).collect()
    }

    /// Who has a mailbox, or said who he is.
    fn parties(&self) -> Vec<CompletionCandidate> {
        let mut parties: BTreeMap<String, Option<String>> = BTreeMap::new();
        if let Ok(root) = self.places().root() {
            let mailboxes = root.mailboxes_by_name().unwrap_or_default();
            parties.extend(mailboxes.iter().map(|it| (it.title().to_owned(), None)));
            for session in root.sessions().unwrap_or_default() {
                let what = match session.is_alive() {
                    true => session.agent.or(Some(session.cwd)),
                    false => None,
                };
                if is_name(session.name.as_bytes()) {
                    parties.insert(session.name, what);
                }
            }
        }
        let offer = |(name, what): (String, Option<String>)| {
            CompletionCandidate::new(name).help(what.map(Into::into))
        };
        parties.into_iter().map(offer).collect()
    }

    fn ids_in_ledger(&self) -> Vec<CompletionCandidate> {
        let mine = || var("MBOX_NAME").and_then(|name| name.into_string().ok());
        let entries = self.from.clone().or_else(mine).and_then(|me| {
            let root = self.places().root().ok()?;
            Ledger::of(&root, &me).ok()?.entries().ok()
        });
        ids(&entries.unwrap_or_default())
    }

    fn ids_in_mailboxes(&self) -> Vec<CompletionCandidate> {
        let mailboxes = self.places().mailboxes_or_mine(&self.mailboxes);
        let peeked = mailboxes.into_iter().flatten().filter_map(|mailbox| {
            let peeked = mailbox.peek(&Peek::default()).ok()?;
            Some(peeked.records)
        });
        ids(&peeked.flatten().collect::<Vec<_>>())
    }
}

/// An argument that is in the definition of this verb, and was given.
fn one<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Option<T> {
    matches.try_get_one::<T>(id).ok().flatten().cloned()
}

/// The ids of messages, the newest first, with sender and body. What is no message id needs
/// quotes, or is not worth typing.
fn ids(records: &[Record]) -> Vec<CompletionCandidate> {
    let offer = |(order, record): (usize, &Record)| {
        let id = record.id().filter(|id| is_id(id.as_bytes()))?;
        let from = record.from().map(|from| format!("{from}: "));
        let body = record.body().unwrap_or_default();
        let help = from.unwrap_or_default() + body.lines().next().unwrap_or_default();
        // Here, because clap drops the escape sequences of a terminal, and only those.
        let help = escape(&help.chars().take(EXCERPT).collect::<String>());
        Some(
            CompletionCandidate::new(id)
                .help((!help.is_empty()).then(|| help.into()))
                .display_order(Some(order)),
        )
    };
    let newest = records.iter().rev().enumerate();
    newest.filter_map(offer).take(IDS).collect()
}
