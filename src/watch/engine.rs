//! The loop of a watcher: what was asked for, who is due, what has changed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::error::{Error, Result};
use crate::format::record::Record;
use crate::watch::lookout::{FallBack, Lookout};
use crate::watch::watcher::{Callback, Problem, Shared, Subscription};
use crate::watch::{Followed, Follower};

/// What another thread, or a callback, asks for.
pub(super) enum Command {
    Add(Subscription, Box<Follower>, Callback),
    Remove(Subscription),
}

/// All subscriptions. It outlives a stop.
#[derive(Default)]
pub(super) struct Engine {
    subscribed: BTreeMap<Subscription, Subscribed>,
}

pub(super) struct Subscribed {
    followed: Followed,
    callback: Callback,
    /// The error told last.
    told: Option<String>,
}

impl Engine {
    /// Watches what was subscribed to before the last stop.
    pub(super) fn begin(&mut self, lookout: &mut Lookout, shared: &Shared) {
        for (&subscription, subscribed) in &mut self.subscribed {
            let added = lookout.add(subscription.0, subscribed.followed.follower().mailbox());
            subscribed.tell(subscription, added, shared);
        }
    }

    /// Runs until it is told to stop, or the backend fails.
    pub(super) fn run(&mut self, lookout: &mut Lookout, shared: &Shared) -> Result<()> {
        while let ControlFlow::Continue(commands) = shared.commands() {
            for command in commands {
                self.obey(command, lookout, shared);
            }
            if let Some(FallBack { from, why }) = lookout.take_fallback() {
                shared.fell_back(lookout.backend());
                shared.tell(&Problem::FellBack { from, why });
            }
            let now = Instant::now();
            for (&subscription, subscribed) in &mut self.subscribed {
                if subscribed.followed.due(now).is_some_and(|due| due <= now) {
                    subscribed.show(subscription, shared);
                }
            }
            let now = Instant::now();
            let all = self.subscribed.values();
            let due = all
                .filter_map(|subscribed| subscribed.followed.due(now))
                .min();
            let timeout = due.map(|due| due.saturating_duration_since(now));
            for key in lookout.wait(timeout, None)?.keys {
                let subscription = Subscription(key);
                if let Some(subscribed) = self.subscribed.get_mut(&subscription) {
                    let noted = subscribed.followed.changed();
                    if noted.is_err() {
                        subscribed.tell(subscription, noted, shared);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a subscription out, for an engine that does not run.
    pub(super) fn remove(&mut self, subscription: Subscription) -> Option<Subscribed> {
        self.subscribed.remove(&subscription)
    }

    fn obey(&mut self, command: Command, lookout: &mut Lookout, shared: &Shared) {
        match command {
            Command::Add(subscription, follower, callback) => {
                let added = lookout.add(subscription.0, follower.mailbox());
                let mut subscribed = Subscribed {
                    followed: Followed::new(*follower, shared.how.debounce),
                    callback,
                    told: None,
                };
                subscribed.tell(subscription, added, shared);
                self.subscribed.insert(subscription, subscribed);
            }
            Command::Remove(subscription) => {
                lookout.remove(subscription.0);
                self.subscribed.remove(&subscription);
            }
        }
    }
}

impl Subscribed {
    /// Calls back for what is new.
    fn show(&mut self, subscription: Subscription, shared: &Shared) {
        let callback = &mut self.callback;
        let read = self.followed.read(&mut |record: &Record| {
            if !shared.is_live(subscription) {
                return ControlFlow::Break(());
            }
            let problem = match catch_unwind(AssertUnwindSafe(|| callback(record))) {
                Ok(Ok(())) => return ControlFlow::Continue(()),
                Ok(Err(error)) => Problem::Failed {
                    subscription,
                    error,
                },
                Err(_) => Problem::Panicked { subscription },
            };
            shared.tell(&problem);
            ControlFlow::Continue(())
        });
        self.tell(subscription, read.map(drop), shared);
    }

    /// Tells an error, but not the same one again and again.
    fn tell(&mut self, subscription: Subscription, result: Result<()>, shared: &Shared) {
        let text = result.as_ref().err().map(Error::to_string);
        if let (Err(error), true) = (result, text != self.told) {
            shared.tell(&Problem::Mailbox {
                subscription,
                error,
            });
        }
        self.told = text;
    }
}
