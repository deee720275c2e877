//! The library as a program: what no verb of the binary does, because it ends too soon.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use mbox::{Append, ErrorKind, Message, Root};

use crate::scene::id_of;

/// `keeping-open --wait SECS MAILBOX BODY...`: appends them through a handle that keeps its
/// files open, and prints each id when it has it.
pub const VERB: &str = "keeping-open";

pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(3).collect();
    let [wait, mailbox, bodies @ ..] = &args[..] else {
        return ExitCode::from(2);
    };
    let wait = Duration::from_secs_f64(wait.parse().expect("a number"));
    let root = Root::at(std::env::var_os("MBOX_ROOT").expect("MBOX_ROOT"));
    let mailbox = root
        .mailbox(mailbox)
        .map(|it| it.waiting(wait).keeping_open());
    let append = || -> Result<(), (u8, String)> {
        let failed = |error: mbox::Error| (status(error.kind()), error.to_string());
        let mailbox = mailbox.map_err(failed)?;
        for body in bodies {
            let message = Message::new(body).id(id_of(body));
            let id = mailbox.append(&message, &Append::default());
            let id = id.map_err(failed)?;
            writeln!(std::io::stdout(), "{id}").map_err(|e| (74, e.to_string()))?;
        }
        Ok(())
    };
    match append() {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => {
            eprintln!("mbox: {error}");
            ExitCode::from(code)
        }
    }
}

/// As the binary says it (EXIT-1).
fn status(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Busy => 75,
        ErrorKind::Refused => 77,
        _ => 74,
    }
}
