//! `mbox watch`: what it has in common with `--drain`, and the stream that removes nothing.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::Places;
use super::args::WatchArgs;
use super::exit::{Exit, Status, say};
use super::out::{Out, refuse_closed_stdout};
use super::watch_drain;
use crate::error::Error;
use crate::mailbox::Mailbox;
use crate::sys::clock::Deadline;
use crate::watch::{Followed, Follower, Lookout};

pub(super) fn run(args: WatchArgs, places: &Places) -> Result<Status, Exit> {
    let mailboxes = places.mailboxes_or_mine(&args.mailboxes)?;
    if args.exec.is_empty() {
        refuse_closed_stdout()?;
    }
    let watch = Watching::begin(&args, mailboxes)?;
    match args.drain {
        true => watch_drain::run(watch, args),
        false => stream(watch, args),
    }
}

/// What a watch goes by.
pub(super) struct Watching {
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) lookout: Lookout,
    pub(super) window: Duration,
    end: Deadline,
    /// How many messages are still to come.
    pub(super) left: Option<u64>,
    has_any: bool,
}

impl Watching {
    fn begin(args: &WatchArgs, mailboxes: Vec<Mailbox>) -> Result<Watching, Exit> {
        let backend = args.backend.map(super::args::Backend::kind);
        if let Some(backend) = backend
            && !crate::Backend::available().contains(&backend)
        {
            let message = format!("there is no {backend} on this platform; leave --backend out");
            return Err(Exit::usage(message));
        }
        let mut lookout = Lookout::open(backend)?;
        for (key, mailbox) in (0..).zip(&mailboxes) {
            mailbox.has_mail()?; // refuses what is unsafe
            lookout.add(key, mailbox)?;
        }
        say_fallback(&mut lookout);
        Ok(Watching {
            mailboxes,
            lookout,
            window: Duration::from_millis(args.debounce),
            end: Deadline::after(args.timeout.unwrap_or(Duration::MAX)),
            left: args.count,
            has_any: false,
        })
    }

    /// Counts messages that were handed over.
    pub(super) fn count(&mut self, messages: u64) {
        self.has_any |= messages > 0;
        self.left = self.left.map(|left| left.saturating_sub(messages));
    }

    /// The status to end with, if it is time to end.
    pub(super) fn ended(&self) -> Option<Status> {
        match self.left {
            Some(0) => Some(Status::Yes),
            _ if !self.end.has_passed() => None,
            None if self.has_any => Some(Status::Yes),
            _ => Some(Status::No),
        }
    }

    /// Waits until `due`, the end, or a change: of the mailboxes with the numbers returned.
    pub(super) fn wait(
        &mut self,
        due: Option<Instant>,
        out: Option<&Out>,
    ) -> Result<Vec<usize>, Exit> {
        say_fallback(&mut self.lookout);
        let due = due.map(|due| due.saturating_duration_since(Instant::now()));
        let timeout = due.unwrap_or(Duration::MAX).min(self.end.left());
        let changed = self.lookout.wait(Some(timeout), out.map(Out::fd))?;
        if changed.is_hung_up {
            return Err(Exit::of(74, "")); // a closed stdout is quiet (EXIT-2)
        }
        let numbers = changed.keys.into_iter().map(usize::try_from);
        Ok(numbers.flatten().collect())
    }
}

/// Says once that changes are not told here, but looked for.
pub(super) fn say_fallback(lookout: &mut Lookout) {
    if let Some(fallback) = lookout.take_fallback() {
        let (from, why) = (fallback.from, fallback.why);
        say(&format!(
            "{from} cannot be used here ({why}); polling instead"
        ));
    }
}

/// Errors of one mailbox, each told once until it is over.
#[derive(Default)]
pub(super) struct Told(Option<String>);

impl Told {
    pub(super) fn tell(&mut self, result: Result<(), Error>) {
        let text = result.err().map(|e| format!("{e}; {}", e.next_step()));
        if let Some(text) = text.as_ref().filter(|&text| self.0.as_ref() != Some(text)) {
            say(text);
        }
        self.0 = text;
    }
}

/// Prints what comes, removing nothing (WATCHV-1).
fn stream(mut watch: Watching, args: WatchArgs) -> Result<Status, Exit> {
    let mut out = Out::new(args.format);
    let follow = |mailbox: &Mailbox| {
        let follower = Follower::of(mailbox.clone(), args.since.clone());
        (Followed::new(follower, watch.window), Told::default())
    };
    let mut all: Vec<(Followed, Told)> = watch.mailboxes.iter().map(follow).collect();
    loop {
        let now = Instant::now();
        for (followed, told) in &mut all {
            if followed.due(now).is_none_or(|due| due > now) {
                continue;
            }
            let mut failed = None;
            let read = followed.read(&mut |record| {
                if watch.left == Some(0) {
                    return ControlFlow::Break(());
                }
                if let Err(exit) = out.record(record).and_then(|()| out.flush()) {
                    failed = Some(exit);
                    return ControlFlow::Break(());
                }
                watch.count(1);
                ControlFlow::Continue(())
            });
            if let Some(exit) = failed {
                return Err(exit);
            }
            told.tell(read.map(drop));
        }
        if let Some(status) = watch.ended() {
            return Ok(status);
        }
        let due = all
            .iter()
            .filter_map(|(followed, _)| followed.due(now))
            .min();
        for number in watch.wait(due, Some(&out))? {
            let (followed, told) = &mut all[number];
            if let Err(error) = followed.changed() {
                told.tell(Err(error));
            }
        }
    }
}
