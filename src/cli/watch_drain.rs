//! `mbox watch --drain`: what comes is handed over and removed, by a drain (WATCHV-6) or
//! message by message to a command (WATCHV-7).

use std::ffi::OsString;
use std::time::{Duration, Instant};

use super::args::{Format, WatchArgs};
use super::command;
use super::exit::{Exit, Status, say};
use super::out::{Out, deliver, render, say_delivered};
use super::watch::{Told, Watching};
use crate::error::{ErrorKind, Result as MailboxResult};
use crate::mailbox::{Bounded, Claim, Limit, Mailbox};
use crate::sys::process::Ended;
use crate::sys::signals::{self, Deferred};

/// How long a message waits after its command failed: first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long one of several mailboxes may keep the others waiting when it is busy.
const SHARE: Duration = Duration::from_millis(100);

/// One mailbox, and when to drain it.
struct Turn {
    mailbox: Mailbox,
    /// How long its lock is waited for before that is told.
    wait: Duration,
    waiting_since: Option<Instant>,
    is_due: bool,
    /// Not before this.
    not_before: Option<Instant>,
    /// How long to wait after the next failure of the command.
    retry: Duration,
    told: Told,
}

pub(super) fn run(mut watch: Watching, args: WatchArgs) -> Result<Status, Exit> {
    let mut out = args.exec.is_empty().then(|| Out::new(args.format));
    let wait = args.wait.time;
    let share = match watch.mailboxes.len() {
        1 => wait,
        _ => wait.min(SHARE),
    };
    let turn = |mailbox: &Mailbox| Turn {
        mailbox: mailbox.clone().waiting(share),
        wait,
        waiting_since: None,
        is_due: true,
        not_before: None,
        retry: RETRY.0,
        told: Told::default(),
    };
    let mut turns: Vec<Turn> = watch.mailboxes.iter().map(turn).collect();
    loop {
        for turn in &mut turns {
            let is_early = turn.not_before.is_some_and(|then| Instant::now() < then);
            if !turn.is_due || is_early || watch.left == Some(0) {
                continue;
            }
            turn.is_due = false;
            turn.waiting_since.get_or_insert_with(Instant::now);
            let messages = match &mut out {
                Some(out) => turn.drain(&watch, out)?,
                None => turn.hand_to(&args.exec, args.format)?,
            };
            watch.count(messages);
        }
        if let Some(status) = watch.ended() {
            return Ok(status);
        }
        let now = Instant::now();
        let due = turns.iter().filter(|turn| turn.is_due);
        let due = due.map(|turn| turn.not_before.unwrap_or(now)).min();
        for number in watch.wait(due, out.as_ref())? {
            turns[number].is_due = true;
        }
    }
}

impl Turn {
    /// Drains what is there, and rests for the window.
    fn drain(&mut self, watch: &Watching, out: &mut Out<'_>) -> Result<u64, Exit> {
        // Until the delivery watches for them: a claim is given up before a signal ends us.
        let signals = Deferred::begin();
        let claim = match watch.left {
            None => self.mailbox.drain_holding(&signals),
            left => claim_some(&self.mailbox, left, &signals),
        };
        let Some(claim) = self.told(claim)?.map(|claim| claim.by("watch")) else {
            return Ok(0);
        };
        let messages = deliver(&self.mailbox, claim, out, &signals)?;
        self.not_before = Instant::now().checked_add(watch.window);
        Ok(messages)
    }

    /// Hands the first message to the command. It is removed when that succeeds; else it
    /// stays the first one, and the command is run again some time later.
    fn hand_to(&mut self, command: &[OsString], format: Option<Format>) -> Result<u64, Exit> {
        let signals = Deferred::begin();
        let claim = claim_some(&self.mailbox, Some(1), &signals);
        let Some(mut claim) = self.told(claim)?.map(|claim| claim.by("watch")) else {
            return Ok(0);
        };
        self.is_due = true; // for the next message
        let Some(record) = claim.messages().next().transpose()? else {
            say_delivered(&self.mailbox, &claim.ack()?);
            return Ok(0);
        };
        let mut text = Vec::new();
        render(&record, format.unwrap_or(Format::Jsonl), &mut text);
        // On failure to run it the claim is dropped, which puts the mail back.
        let (ended, signal) = command::run(command, Some(text))?;
        let is_done = matches!(ended, Ended::Exited(0));
        if is_done {
            say_delivered(&self.mailbox, &claim.ack()?);
            (self.not_before, self.retry) = (None, RETRY.0);
        } else {
            claim.put_back();
        }
        if let Some(signal) = signal {
            signals::die_by(signal);
        }
        if !is_done {
            let id = record.id().unwrap_or("without an id");
            let (title, program) = (self.mailbox.title(), command[0].display());
            let how = match ended {
                Ended::Exited(code) => format!("exited with status {code}"),
                Ended::BySignal(signal) => format!("was ended by {signal}"),
            };
            let secs = self.retry.as_secs();
            say(&format!(
                "{title}: {program} {how} on message {id}, which stays; next try in {secs} s"
            ));
            self.not_before = Some(Instant::now() + self.retry);
            self.retry = (self.retry * 2).min(RETRY.1);
        }
        Ok(u64::from(is_done))
    }

    /// A mailbox that is busy is due again. One that cannot be had now, or that stays busy,
    /// is told, once, and tried again with the next change or the next second.
    fn told(&mut self, claim: MailboxResult<Option<Claim>>) -> Result<Option<Claim>, Exit> {
        match claim {
            Ok(claim) => {
                self.waiting_since = None;
                self.told.tell(Ok(()));
                Ok(claim)
            }
            // Nothing that waiting would change.
            Err(error) if error.kind() == ErrorKind::Refused => Err(error.into()),
            Err(error) if error.kind() == ErrorKind::Busy && self.may_wait() => {
                self.is_due = true;
                Ok(None)
            }
            Err(error) => {
                self.told.tell(Err(error));
                Ok(None)
            }
        }
    }

    fn may_wait(&self) -> bool {
        self.waiting_since
            .is_some_and(|since| since.elapsed() < self.wait)
    }
}

fn claim_some(
    mailbox: &Mailbox,
    messages: Option<u64>,
    signals: &Deferred,
) -> MailboxResult<Option<Claim>> {
    let limit = Limit {
        messages,
        bytes: None,
    };
    match mailbox.drain_some_holding(&limit, signals)? {
        Bounded::Mail(claim) => Ok(Some(*claim)),
        Bounded::Nothing | Bounded::TooLarge { .. } => Ok(None),
    }
}
