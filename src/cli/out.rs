//! Output: the formats, and handing a claim over.

use std::io::{self, IsTerminal, StdoutLock, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::args::Format;
use super::exit::{Exit, say};
use crate::format::record::Record;
use crate::format::text;
use crate::mailbox::{Claim, Delivered, GiveUp, Mailbox};
use crate::sys::limits;
use crate::sys::signals::{self, Deferred, Watch};

impl Format {
    /// The format asked for, or the one that suits stdout (FMT-4).
    pub(super) fn or_default(format: Option<Format>) -> Format {
        let default = if io::stdout().is_terminal() {
            Format::Text
        } else {
            Format::Jsonl
        };
        format.unwrap_or(default)
    }
}

/// Buffered stdout that knows its format.
pub(super) struct Out<'a> {
    form: Form<'a>,
    stdout: StdoutLock<'static>,
    /// What a failed write leaves unwritten is forgotten, never written later: its mail
    /// is handed over again.
    buffer: Vec<u8>,
}

/// How a record is printed.
enum Form<'a> {
    Format(Format),
    /// As the line that is made of it.
    Line(Box<dyn Fn(&str) -> String + 'a>),
}

impl<'a> Out<'a> {
    pub(super) fn new(format: Option<Format>) -> Out<'a> {
        Out::of(Form::Format(Format::or_default(format)))
    }

    /// Prints the line that `line` makes of each record.
    pub(super) fn wrapping(line: impl Fn(&str) -> String + 'a) -> Out<'a> {
        Out::of(Form::Line(Box::new(line)))
    }

    fn of(form: Form<'a>) -> Out<'a> {
        Out {
            form,
            stdout: io::stdout().lock(),
            buffer: Vec::new(),
        }
    }

    pub(super) fn record(&mut self, record: &Record) -> Result<(), Exit> {
        self.render(record);
        if self.is_full() { self.flush() } else { Ok(()) }
    }

    fn render(&mut self, record: &Record) {
        match &self.form {
            Form::Format(format) => render(record, *format, &mut self.buffer),
            Form::Line(line) => {
                self.buffer
                    .extend_from_slice(line(record.as_str()).as_bytes());
                self.buffer.push(b'\n');
            }
        }
    }

    fn is_full(&self) -> bool {
        self.buffer.len() >= BUFFER
    }

    pub(super) fn flush(&mut self) -> Result<(), Exit> {
        let written = write_mail(&mut self.stdout, &self.buffer);
        self.buffer.clear();
        written
    }

    /// The same while the mail is in hand.
    fn flush_to(&mut self, stdout: &mut Interruptible<'_>) -> Result<(), Exit> {
        let written = stdout.write(&self.buffer);
        self.buffer.clear();
        written
    }

    /// Where it goes, to see whether anybody reads it.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stdout.as_fd()
    }
}

/// Appends a record as it is printed.
pub(super) fn render(record: &Record, format: Format, text: &mut Vec<u8>) {
    let line = match (format, record.body()) {
        (Format::Text, _) => return text.extend_from_slice(text::render(record).as_bytes()),
        (Format::Body, Some(body)) => body.as_bytes(),
        (Format::Body, None) | (Format::Jsonl, _) => record.bytes(),
    };
    text.extend_from_slice(line);
    text.push(b'\n');
}

/// How much is gathered before it is written, in bytes.
const BUFFER: usize = 64 << 10;

/// Deliver and Acknowledge: everything is written and flushed before anything is
/// removed (DRAIN-6). On a failure, and on a signal, the mail is given up at once.
/// `held_back` are the signals the caller holds back. Returns how many messages there were.
pub(super) fn deliver(
    mailbox: &Mailbox,
    claim: Claim,
    out: &mut Out<'_>,
    held_back: &Deferred,
) -> Result<u64, Exit> {
    let mut messages = 0;
    let delivered = hand_over(claim, held_back, |claim, stdout| {
        let mut mail = claim.messages();
        while let Some(record) = mail.next_record()? {
            out.render(record);
            if out.is_full() {
                out.flush_to(stdout)?;
            }
            messages += 1;
        }
        out.flush_to(stdout)
    })?;
    say_delivered(mailbox, &delivered);
    Ok(messages)
}

/// The same for whatever `write` makes of the mail.
pub(super) fn hand_over(
    mut claim: Claim,
    held_back: &Deferred,
    mut write: impl FnMut(&mut Claim, &mut Interruptible<'_>) -> Result<(), Exit>,
) -> Result<Delivered, Exit> {
    let mut stdout = Interruptible {
        give_up: Some(claim.give_up()),
        watch: None,
        held_back,
    };
    write(&mut claim, &mut stdout)?;
    let delivered = claim.ack()?;
    drop(stdout);
    Ok(delivered)
}

/// Stdout while mail is in hand: a signal that comes during a write that waits gives the
/// mail up and ends the process (CLI-6).
pub(super) struct Interruptible<'a> {
    /// Until a watch has it.
    give_up: Option<GiveUp>,
    watch: Option<Watch>,
    held_back: &'a Deferred,
}

impl Interruptible<'_> {
    /// Writes all of `bytes` and flushes them.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Exit> {
        let mut stdout = io::stdout().lock();
        // Most mail is short and its reader is there: no thread for that.
        if self.watch.is_none() && !limits::takes_at_once(&stdout, bytes.len()) {
            self.watch = self.give_up.take().and_then(|give_up| {
                Watch::begin(move |signal| {
                    give_up.now();
                    signals::die_by(signal)
                })
            });
            if self.watch.is_none() {
                // The claims are then orphaned by our death alone.
                return self
                    .held_back
                    .let_through(|| write_mail(&mut stdout, bytes));
            }
        }
        write_mail(&mut stdout, bytes)
    }
}

fn write_mail(stdout: &mut StdoutLock<'_>, bytes: &[u8]) -> Result<(), Exit> {
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(|e| Exit::stdout(&e, "mail not written out stays"))
}

/// Says how many lines were set aside, and where (DMG-2), and that no receipt was written.
pub(super) fn say_delivered(mailbox: &Mailbox, delivered: &Delivered) {
    let damaged = delivered.damaged;
    if damaged > 0 {
        let lines = if damaged == 1 {
            "line was"
        } else {
            "lines were"
        };
        let path = mailbox.damaged_path().display();
        say(&format!(
            "{}: {damaged} damaged {lines} set aside in {path}",
            mailbox.title()
        ));
    }
    if let Some(error) = &delivered.no_receipt {
        let next = error.next_step();
        say(&format!(
            "the mail was handed over all the same: {error}; {next}"
        ));
    }
}

/// Says what is in the claims directory and is no claim (CLAIM-8).
pub(super) fn say_foreign(mailbox: &Mailbox) -> Result<(), Exit> {
    for name in mailbox.list_claims()?.foreign {
        let (title, name) = (mailbox.title(), name.display());
        say(&format!(
            "{title}: {name} among its claims is not one; look at it and move it away"
        ));
    }
    Ok(())
}

/// Writes an answer that can be had again to stdout and flushes it.
pub(super) fn print(text: &str) -> Result<(), Exit> {
    answers(text, "see where it goes")
}

/// Writes one line of an answer to stdout and flushes it; `otherwise` is what the caller
/// has to know when that fails.
pub(super) fn answer(line: &str, otherwise: &str) -> Result<(), Exit> {
    answers(&format!("{line}\n"), otherwise)
}

/// The same for lines that have their newlines.
pub(super) fn answers(lines: &str, otherwise: &str) -> Result<(), Exit> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(lines.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|e| Exit::stdout(&e, otherwise))
}

/// Fails quietly on a stdout nobody can get anything from (EXIT-2).
///
/// The runtime opens a closed descriptor as `/dev/null` before any code of ours runs, and
/// for reading too, which `>/dev/null` is not.
pub(super) fn refuse_closed_stdout() -> Result<(), Exit> {
    if limits::is_null_for_reading(io::stdout()) {
        Err(Exit::of(74, ""))
    } else {
        Ok(())
    }
}
