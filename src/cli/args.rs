//! Every verb and option, once: parsing, help and the spec's usage errors come from here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::format::{HEARTBEATS, name};

const HELP: &str = "\
{about}

{usage-heading} {usage}

Mail:
  send     Send a message that can be answered by its id
  reply    Answer a message by its id
  ask      Send a message and wait for the answer
  show     Print a message that was sent to me, and what became of it
  append   Append one message, or many records
  drain    Hand over every message, then remove it
  peek     Print the messages, removing nothing
  take     Remove and print the first message that matches

Waiting:
  wait     Wait until there is mail
  watch    Print messages as they arrive, or hand them over
  events   Follow what happens to the mailboxes, or serve that to others

Files and locks:
  has      Exit 0 when there is mail, 1 when not
  list     Show every mailbox, or who is here
  migrate  Move the mail of one mailbox to another
  acquire  Take a mailbox's lock and print its token
  release  Release the lock with its token
  lock     Run a command holding the lock
  doctor   Say what is wrong with the mailboxes, and repair it

Setup:
  register Say who I am, so that others find me
  hook     Bring mail to a coding agent
  init     Print what a shell needs to tell of mail at its prompt
  gen      Print a completion for a shell, or the man pages

{options}{after-help}";

const EXITS: &str = "\
MAILBOX is a name, or the path of a record file when it has a / in it.

Exit status: 0 done or yes, 1 no, 2 usage, 65 bad data, 70 a bug, 74 I/O error,
75 busy (try again), 77 refused (permissions, unsafe file).";

/// Mailboxes made of plain files, shared by shells, scripts and agents without a daemon.
#[derive(Debug, Parser)]
#[command(name = "mbox", version, help_template = HELP, after_help = EXITS)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub(super) struct Args {
    /// Where mailboxes are [default: $MBOX_ROOT, $XDG_STATE_HOME/mbox, ~/.local/state/mbox]
    #[arg(long, value_name = "DIR", global = true, value_parser = non_empty)]
    pub(super) root: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)] // only the verb that was called is put together
pub(super) enum Verb {
    Send(SendArgs),
    Reply(ReplyArgs),
    Ask(AskArgs),
    Show(ShowArgs),
    Append(AppendArgs),
    Drain(DrainArgs),
    Peek(PeekArgs),
    Take(TakeArgs),
    Wait(WaitArgs),
    Watch(WatchArgs),
    Has(HasArgs),
    List(ListArgs),
    Migrate(MigrateArgs),
    Acquire(AcquireArgs),
    Release(ReleaseArgs),
    Lock(LockArgs),
    Events(EventsArgs),
    Doctor(DoctorArgs),
    Register(RegisterArgs),
    Hook(HookArgs),
    Init(InitArgs),
    Gen(GenArgs),
}

/// Send a message that its receiver can answer by its id
///
/// It is noted in the ledger of TO, then appended to the mailbox TO. Prints its id.
#[derive(Debug, clap::Args)]
pub(super) struct SendArgs {
    /// Name of the receiver
    #[arg(value_parser = name)]
    pub(super) to: String,
    /// The body; without it stdin, less one trailing newline
    pub(super) body: Option<OsString>,
    #[command(flatten)]
    pub(super) envelope: Envelope,
    /// TO may be the sender
    #[arg(long)]
    pub(super) to_self: bool,
    #[command(flatten)]
    pub(super) sending: Sending,
    /// One JSON object in place of the id
    #[arg(long)]
    pub(super) json: bool,
}

/// Answer a message by its id
///
/// The message is looked up in my own ledger: it says whom to answer, and which request.
/// Exits 1, and sends nothing, when it is not there or does not say who sent it.
#[derive(Debug, clap::Args)]
pub(super) struct ReplyArgs {
    /// Id of the message that is answered
    #[arg(value_parser = id)]
    pub(super) id: String,
    /// The body; without it stdin, less one trailing newline
    pub(super) body: Option<OsString>,
    #[command(flatten)]
    pub(super) envelope: Envelope,
    #[command(flatten)]
    pub(super) sending: Sending,
    /// One JSON object in place of the id
    #[arg(long)]
    pub(super) json: bool,
}

/// Send a message, wait for the answer and print it
///
/// Takes the answer out of my mailbox and leaves all other mail there. Exits 1 when there
/// is none in time; an answer that comes later is ordinary mail.
#[derive(Debug, clap::Args)]
pub(super) struct AskArgs {
    /// Name of the one who is asked
    #[arg(value_parser = name)]
    pub(super) to: String,
    /// The body; without it stdin, less one trailing newline
    pub(super) body: Option<OsString>,
    /// How long to wait for the answer
    #[arg(long, value_name = "SECS", default_value = "45", value_parser = seconds)]
    pub(super) timeout: Duration,
    #[command(flatten)]
    pub(super) sending: Sending,
    #[arg(long, value_name = "FORMAT", help = FORMAT_HELP, conflicts_with = "json")]
    pub(super) format: Option<Format>,
    /// One JSON object: correlation (correlated, timed_out, elsewhere), id, request_id, to,
    /// and reply or reply_id
    #[arg(long)]
    pub(super) json: bool,
}

/// Print a message that was sent to me, whole, and what became of it
///
/// From my ledger, whether it is in the mailbox still or was handed over. Exits 1 when it is
/// not in the ledger.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Id of the message
    #[arg(value_parser = id)]
    pub(super) id: String,
    /// My own name [default: $MBOX_NAME]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(super) from: Option<String>,
    #[arg(long, value_name = "FORMAT", help = FORMAT_HELP, conflicts_with = "json")]
    pub(super) format: Option<Format>,
    /// One JSON object: message, state, at, by
    #[arg(long)]
    pub(super) json: bool,
}

/// What a message carries that is sent.
#[derive(Debug, clap::Args)]
pub(super) struct Envelope {
    /// What an answer should carry as reply_to
    #[arg(long, value_name = "ID", value_parser = name)]
    pub(super) request_id: Option<String>,
    /// The message's own id, 16 lower-case hex digits [default: random]
    #[arg(long = "id", value_name = "ID", value_parser = id, id = "own_id")]
    pub(super) id: Option<String>,
}

/// Who sends, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Sending {
    /// My own name [default: $MBOX_NAME]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(super) from: Option<String>,
    /// Wait until the message is on stable storage
    #[arg(long)]
    pub(super) sync: bool,
    /// Say how many old entries of the ledger were pruned
    #[arg(long)]
    pub(super) verbose: bool,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Move the mail of one mailbox to another
///
/// No message is copied, so that none is lost or there twice wherever this is stopped; run
/// it again to move the rest. Who writes to OLD goes on doing so.
#[derive(Debug, clap::Args)]
pub(super) struct MigrateArgs {
    /// Name or path
    pub(super) old: OsString,
    /// Name or path
    pub(super) new: OsString,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Say who I am: writes a session that `mbox list --sessions` shows
///
/// Prints the name. Exits 75 when it is that of another process that is alive.
#[derive(Debug, clap::Args)]
pub(super) struct RegisterArgs {
    /// My name [default: $MBOX_NAME, or the program that called mbox and its process id]
    #[arg(value_parser = name)]
    pub(super) name: Option<String>,
    /// The process that has this name [default: the one that called mbox; in a script give
    /// --pid $PPID for whoever runs it]
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    pub(super) pid: Option<i32>,
    /// What it is, such as claude
    #[arg(long, value_name = "TEXT")]
    pub(super) agent: Option<String>,
}

/// Append one message and print its id once it is safe
#[derive(Debug, clap::Args)]
pub(super) struct AppendArgs {
    /// Name, or path with a / in it
    pub(super) mailbox: OsString,
    /// The body; without it stdin, less one trailing newline
    pub(super) body: Option<OsString>,
    /// Name of the sender
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(super) from: Option<String>,
    /// The request this message answers
    #[arg(long, value_name = "ID", value_parser = name)]
    pub(super) reply_to: Option<String>,
    /// What an answer should carry as --reply-to
    #[arg(long, value_name = "ID", value_parser = name)]
    pub(super) request_id: Option<String>,
    /// The message this one came from
    #[arg(long, value_name = "ID", value_parser = name)]
    pub(super) source: Option<String>,
    /// The message's own id, 16 lower-case hex digits [default: random]
    #[arg(long, value_name = "ID", value_parser = id)]
    pub(super) id: Option<String>,
    /// stdin holds JSON objects, one a line, to append byte for byte under one lock
    #[arg(long, conflicts_with_all = ["body", "from", "reply_to", "request_id", "source", "id"])]
    pub(super) raw: bool,
    /// Wait until the message is on stable storage
    #[arg(long)]
    pub(super) sync: bool,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Hand over every message, oldest first, then remove it
#[derive(Debug, clap::Args)]
pub(super) struct DrainArgs {
    /// Names or paths [default: $MBOX_NAME]
    #[arg(value_name = "MAILBOX")]
    pub(super) mailboxes: Vec<OsString>,
    /// At most N messages of each mailbox; the others stay
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) max: Option<u64>,
    /// At most N bytes of records of each mailbox; the others stay
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) max_bytes: Option<u64>,
    #[arg(long, value_name = "FORMAT", help = FORMAT_HELP)]
    pub(super) format: Option<Format>,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Print the messages, removing nothing
#[derive(Debug, clap::Args)]
pub(super) struct PeekArgs {
    /// Names or paths [default: $MBOX_NAME]
    #[arg(value_name = "MAILBOX")]
    pub(super) mailboxes: Vec<OsString>,
    /// Only what stands after the last message with this id
    #[arg(long, value_name = "ID")]
    pub(super) since: Option<String>,
    /// At most N messages of each mailbox
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) max: Option<u64>,
    #[arg(long, value_name = "FORMAT", help = FORMAT_HELP)]
    pub(super) format: Option<Format>,
}

/// Remove and print the first message that matches all that is given
#[derive(Debug, clap::Args)]
pub(super) struct TakeArgs {
    /// Name or path [default: $MBOX_NAME]
    pub(super) mailbox: Option<OsString>,
    /// Its id
    #[arg(long, value_name = "ID")]
    pub(super) id: Option<String>,
    /// The request it answers
    #[arg(long, value_name = "ID")]
    pub(super) reply_to: Option<String>,
    /// Its sender
    #[arg(long, value_name = "NAME")]
    pub(super) from: Option<String>,
    #[arg(long, value_name = "FORMAT", help = FORMAT_HELP)]
    pub(super) format: Option<Format>,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Wait until there is mail; exit 1 when there is none in time
#[derive(Debug, clap::Args)]
pub(super) struct WaitArgs {
    /// Name or path [default: $MBOX_NAME]
    pub(super) mailbox: Option<OsString>,
    /// How long to wait for mail [default: for ever]
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub(super) timeout: Option<Duration>,
}

/// Print messages as they arrive, removing nothing
///
/// Begins with the messages that are there. One that is appended and drained within 50 ms
/// may be missed; --drain hands over every one.
#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    /// Names or paths [default: $MBOX_NAME]
    #[arg(value_name = "MAILBOX")]
    pub(super) mailboxes: Vec<OsString>,
    /// Begin behind the last message with this id
    #[arg(long, value_name = "ID", conflicts_with = "drain")]
    pub(super) since: Option<String>,
    /// End after N messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// End after this time; exit 1 when the N messages, or any at all, did not come
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub(super) timeout: Option<Duration>,
    /// Rest for so many milliseconds after messages of a mailbox were printed
    #[arg(long, value_name = "MS", default_value = "20")]
    pub(super) debounce: u64,
    /// How to notice changes [default: the best that works here]
    #[arg(long, value_name = "BACKEND")]
    pub(super) backend: Option<Backend>,
    /// Hand every message over and remove it, as drain does
    #[arg(long)]
    pub(super) drain: bool,
    /// Run CMD for each message, which is on its stdin, and remove it when CMD succeeds.
    /// Everything behind --exec is the command. When it fails the message stays the first
    /// one, and CMD is run again after 1 s, 2 s, 4 s ... 60 s
    #[arg(long, value_name = "CMD", requires = "drain", num_args = 1.., allow_hyphen_values = true)]
    pub(super) exec: Vec<OsString>,
    #[arg(long, value_name = "FORMAT", help = FORMAT_HELP)]
    pub(super) format: Option<Format>,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// How changes are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Backend {
    Inotify,
    Kqueue,
    Poll,
}

impl Backend {
    pub(super) fn kind(self) -> crate::Backend {
        match self {
            Backend::Inotify => crate::Backend::Inotify,
            Backend::Kqueue => crate::Backend::Kqueue,
            Backend::Poll => crate::Backend::Poll,
        }
    }
}

/// Exit 0 when there is mail, 1 when not; no output
#[derive(Debug, clap::Args)]
pub(super) struct HasArgs {
    /// Name or path [default: $MBOX_NAME]
    pub(super) mailbox: Option<OsString>,
}

/// Bring mail to a coding agent: run by its host, which gives the event on stdin
///
/// Prints what the host adds to what the agent sees, or nothing, and always exits 0. The
/// mailbox is $MBOX_NAME, or the session the event names.
#[derive(Debug, clap::Args)]
pub(super) struct HookArgs {
    #[command(subcommand)]
    pub(super) verb: HookVerb,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(super) enum HookVerb {
    /// Claude Code
    Claude,
    /// Codex CLI
    Codex,
    /// Gemini CLI
    Gemini,
    /// Have the host of an agent run mbox, by an entry in its settings
    Install(HookPlace),
    /// Take that entry out again
    Uninstall(HookPlace),
    /// Show where hooks are installed, and whether what they run is there
    Status(HookStatusArgs),
}

/// Which settings. Everything else in them stays as it is; what they were before is kept
/// beside them.
#[derive(Debug, clap::Args)]
pub(super) struct HookPlace {
    /// Whose settings
    pub(super) agent: AgentName,
    /// Those of the user, for all projects [default]
    #[arg(long, conflicts_with = "project")]
    pub(super) user: bool,
    /// Those of the project in the working directory
    #[arg(long)]
    pub(super) project: bool,
    /// Print what the file would become, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct HookStatusArgs {
    /// Of which agent [default: all]
    pub(super) agent: Option<AgentName>,
    /// One JSON object per place, one a line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AgentName {
    Claude,
    Codex,
    Gemini,
}

/// Print what a shell needs to tell of mail at its prompt
///
/// For the file the shell reads when it starts: eval "$(mbox init bash)" in ~/.bashrc,
/// eval "$(mbox init zsh)" in ~/.zshrc; sh is for shells without prompt hooks. The mailbox is
/// $MBOX_NAME. MBOX_PROMPT says what the prompt does: notice (default) tells how many messages
/// there are whenever one has come, show hands them over, off does nothing. With completion,
/// in bash and zsh.
#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// The shell it is for
    pub(super) shell: InitShell,
    /// For a file to be sourced, so that no mbox is run when the shell starts
    #[arg(long = "static")]
    pub(super) is_static: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum InitShell {
    Bash,
    Zsh,
    Sh,
}

/// Print a completion for a shell, or the man pages
#[derive(Debug, clap::Args)]
#[command(subcommand_help_heading = "What")]
pub(super) struct GenArgs {
    #[command(subcommand)]
    pub(super) verb: GenVerb,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(super) enum GenVerb {
    /// A completion that knows the names of mailboxes and the ids of messages
    Completion { shell: CompletionShell },
    /// The man page of mbox, or with DIR those of all verbs, as files in it
    Man {
        /// Where mbox.1, mbox-send.1 ... go; made if it is missing
        #[arg(value_parser = non_empty)]
        dir: Option<PathBuf>,
    },
    /// What the last word could become, one a line, a tab and a description behind it
    #[command(hide = true)]
    Words {
        #[arg(last = true)]
        words: Vec<OsString>,
    },
    /// What a prompt says of the mailbox NAME, or nothing when it said so already
    #[command(hide = true)]
    Notice {
        name: OsString,
        /// The first word of what was printed last time
        seen: Option<OsString>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

/// Show every mailbox: messages, bytes, oldest, claims, damaged lines, ledger, lock
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Show who is here instead: name, process, working directory, terminal, agent
    #[arg(long)]
    pub(super) sessions: bool,
    /// One JSON object per mailbox or session, one a line
    #[arg(long)]
    pub(super) json: bool,
}

/// Take a mailbox's lock, print its token and leave it held
///
/// Release it with `mbox release MAILBOX TOKEN` within 30 s: after that it is stale and
/// anyone may take it. For longer work use `mbox lock`.
#[derive(Debug, clap::Args)]
pub(super) struct AcquireArgs {
    /// Name or path
    pub(super) mailbox: OsString,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Release the lock; exit 1, touching nothing, when TOKEN does not hold it
#[derive(Debug, clap::Args)]
pub(super) struct ReleaseArgs {
    /// Name or path
    pub(super) mailbox: OsString,
    /// What `mbox acquire` printed
    pub(super) token: String,
}

/// Run CMD holding the lock, for as long as it takes
///
/// Exits with CMD's status (128 + N when signal N ended it), with 75 when the lock was
/// not had in time or was lost before CMD had finished.
#[derive(Debug, clap::Args)]
pub(super) struct LockArgs {
    /// Name or path
    pub(super) mailbox: OsString,
    #[command(flatten)]
    pub(super) wait: Wait,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

/// Follow what happens to the mailboxes, one JSON object a line, for ever
///
/// Through the hub of the root when one is alive, else by watching the files. With
/// --serve it is that hub, and prints the path of its socket once it listens.
#[derive(Debug, clap::Args)]
pub(super) struct EventsArgs {
    /// Be the hub that any number of programs can follow
    #[arg(long, conflicts_with_all = ["mailboxes", "heartbeat", "count"])]
    pub(super) serve: bool,
    /// Only events of this mailbox; may be given more than once
    #[arg(long = "mailbox", value_name = "NAME", value_parser = name, num_args = 1..)]
    pub(super) mailboxes: Vec<String>,
    /// A heartbeat whenever nothing else was printed for so long, 0.1 to 86400
    #[arg(long, value_name = "SECS", value_parser = heartbeat)]
    pub(super) heartbeat: Option<Duration>,
    /// End after N events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
}

/// Say what is wrong with the mailboxes and what to do, and how changes are noticed here
///
/// Exits 0 when all is well or was repaired, and 1 when something needs attention. It
/// never changes or removes mail.
#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// Repair what can be repaired
    #[arg(long)]
    pub(super) fix: bool,
    /// One JSON object per finding, one a line, and a summary
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Wait {
    /// How long to wait for the lock
    #[arg(long = "wait", value_name = "SECS", default_value = "5", value_parser = seconds)]
    pub(super) time: Duration,
}

const FORMAT_HELP: &str = "jsonl: records byte for byte; body: bodies only; text: for people [default: text on a terminal, else jsonl]";

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Jsonl,
    Body,
    Text,
}

fn name(text: &str) -> Result<String, &'static str> {
    let is_name = name::is_name(text.as_bytes());
    is_name
        .then(|| text.to_owned())
        .ok_or("not 1 to 128 of A-Z a-z 0-9 . _ @ + -, not beginning with . or -")
}

fn id(text: &str) -> Result<String, &'static str> {
    let is_id = name::is_id(text.as_bytes());
    is_id
        .then(|| text.to_owned())
        .ok_or("not 16 lower-case hex digits")
}

fn non_empty(text: &str) -> Result<PathBuf, &'static str> {
    if text.is_empty() {
        Err("empty")
    } else {
        Ok(PathBuf::from(text))
    }
}

/// A decimal number of seconds: digits, or digits with a fraction.
fn seconds(text: &str) -> Result<Duration, &'static str> {
    let is_decimal = text.split('.').count() <= 2
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let parsed = is_decimal.then(|| text.parse::<f64>().ok()).flatten();
    parsed
        .map(|secs| Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX))
        .ok_or("not a number of seconds such as 0, 0.5 or 5")
}

fn heartbeat(text: &str) -> Result<Duration, &'static str> {
    let every = seconds(text)?;
    (HEARTBEATS.0..=HEARTBEATS.1)
        .contains(&every)
        .then_some(every)
        .ok_or("not between 0.1 and 86400 seconds")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn help_names_every_verb() {
        for verb in Args::command().get_subcommands() {
            let line = format!("\n  {:<8} ", verb.get_name());
            assert!(HELP.contains(&line), "{}", verb.get_name());
        }
    }

    #[test]
    fn seconds_are_plain_decimals() {
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["", ".", "5.", ".5", "-1", "1e3", "inf", "1.2.3", " 1"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
