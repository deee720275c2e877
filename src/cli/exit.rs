//! Exit statuses (EXIT-1), and how a failure is told.

use std::io::Write;
use std::process::ExitCode;

use crate::error::{Error, ErrorKind};
use crate::format::text::escape;

/// How a verb ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Done, or yes.
    Yes,
    /// No: nothing matched, no mail, not our lock.
    No,
    /// The status of another command.
    Of(u8),
}

impl Status {
    /// The first status that is not [`Status::Yes`].
    pub(super) fn then(self, next: Status) -> Status {
        if self == Status::Yes { next } else { self }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        match status {
            Status::Yes => ExitCode::SUCCESS,
            Status::No => ExitCode::from(1),
            Status::Of(code) => ExitCode::from(code),
        }
    }
}

/// A failure on its way to the exit status.
#[derive(Debug)]
pub(super) struct Exit {
    code: u8,
    /// Empty for the failures that are told by their status alone.
    message: String,
}

impl Exit {
    pub(super) fn usage(message: impl Into<String>) -> Exit {
        Exit {
            code: 2,
            message: message.into(),
        }
    }

    pub(super) fn data(message: impl Into<String>) -> Exit {
        Exit {
            code: 65,
            message: message.into(),
        }
    }

    pub(super) fn busy(message: impl Into<String>) -> Exit {
        Exit {
            code: 75,
            message: message.into(),
        }
    }

    pub(super) fn of(code: u8, message: impl Into<String>) -> Exit {
        Exit {
            code,
            message: message.into(),
        }
    }

    /// A failed write to stdout; a closed one is quiet (EXIT-2).
    /// `otherwise` is what became of the work.
    pub(super) fn stdout(error: &std::io::Error, otherwise: &str) -> Exit {
        let message = match error.kind() {
            std::io::ErrorKind::BrokenPipe => String::new(),
            _ => format!("cannot write to stdout: {error}; {otherwise}"),
        };
        Exit { code: 74, message }
    }

    pub(super) fn stdin(error: &std::io::Error) -> Exit {
        Exit {
            code: 74,
            message: format!("cannot read stdin: {error}; nothing was written"),
        }
    }

    /// What is told of it.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Tells it on stderr.
    pub(super) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            say(&self.message);
        }
        ExitCode::from(self.code)
    }

    /// Tells it on stderr, for a verb that goes on with the next mailbox.
    pub(super) fn told(self) -> Status {
        let code = self.code;
        let _: ExitCode = self.report();
        Status::Of(code)
    }
}

impl From<Error> for Exit {
    fn from(error: Error) -> Exit {
        let code = match error.kind() {
            ErrorKind::Name => 2,
            ErrorKind::Data => 65,
            ErrorKind::Io => 74,
            ErrorKind::Busy => 75,
            ErrorKind::Refused => 77,
        };
        Exit {
            code,
            message: format!("{error}; {}", error.next_step()),
        }
    }
}

/// The status of a panic, which was told already.
pub(super) fn bug() -> ExitCode {
    ExitCode::from(70)
}

/// One line for people on stderr, with nothing in it that a terminal obeys.
pub(super) fn say(message: &str) {
    // A closed stderr has nobody to tell.
    let _ = writeln!(std::io::stderr(), "mbox: {}", escape(message));
}

/// What clap has to say: help and version on stdout, a usage error on stderr.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind as Kind;
    match error.kind() {
        Kind::DisplayHelp | Kind::DisplayVersion => match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => Exit::stdout(&error, "see where it goes").report(),
        },
        Kind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print(); // to stderr: nobody to tell
            ExitCode::from(2)
        }
        _ => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            // clap escapes nothing of what it quotes.
            let lines: Vec<String> = text.trim_end().split('\n').map(escape).collect();
            let _ = writeln!(std::io::stderr(), "mbox: {}", lines.join("\n")); // likewise
            ExitCode::from(2)
        }
    }
}
