//! The watcher as other threads see it.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::format::record::Record;
use crate::mailbox::Mailbox;
use crate::sys::notify::{BackendKind, Waker};
use crate::watch::engine::{Command, Engine};
use crate::watch::lookout::Lookout;
use crate::watch::{DEFAULT_DEBOUNCE, Follower};

/// Why a callback failed.
pub type CallbackError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type Callback = Box<dyn FnMut(&Record) -> std::result::Result<(), CallbackError> + Send>;

type OnProblem = Box<dyn Fn(&Problem) + Send + Sync>;

/// How to watch.
pub struct Watch {
    /// How changes are noticed; by default the best way that works.
    pub backend: Option<BackendKind>,
    /// After the callbacks of a subscription were run they rest this long, and what comes
    /// meanwhile comes then; 20 ms by default. Zero is no rest at all.
    ///
    /// # Pitfalls
    /// What a legacy peer truncates away during a rest is missed.
    pub debounce: Duration,
    /// Is told what goes wrong, in the thread of the watcher. By default nobody is.
    pub on_problem: OnProblem,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            backend: None,
            debounce: DEFAULT_DEBOUNCE,
            on_problem: Box::new(|_| {}),
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("backend", &self.backend)
            .field("debounce", &self.debounce)
            .finish_non_exhaustive()
    }
}

/// What goes wrong while a [`Watcher`] runs. It goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The best backend cannot be used: it is polled from here on. Told once.
    FellBack {
        /// What cannot be used.
        from: BackendKind,
        /// Why.
        why: String,
    },
    /// A mailbox cannot be watched or read. Told once, until it can be again or fails
    /// otherwise.
    Mailbox {
        /// Whose it is.
        subscription: Subscription,
        /// What failed.
        error: Error,
    },
    /// A callback returned an error. The record counts as shown.
    Failed {
        /// Whose it is.
        subscription: Subscription,
        /// What it returned.
        error: CallbackError,
    },
    /// A callback panicked. The record counts as shown.
    Panicked {
        /// Whose it is.
        subscription: Subscription,
    },
    /// The backend failed, and the watcher has stopped.
    Stopped {
        /// What failed.
        error: Error,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::FellBack { from, why } => {
                write!(f, "{from} cannot be used here ({why}); polling instead")
            }
            Problem::Mailbox { error, .. } => write!(f, "{error}; {}", error.next_step()),
            Problem::Failed { error, .. } => write!(f, "a callback failed: {error}"),
            Problem::Panicked { .. } => f.write_str("a callback panicked"),
            Problem::Stopped { error } => write!(f, "the watcher has stopped: {error}"),
        }
    }
}

/// One subscription of one [`Watcher`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscription(pub(super) u64);

/// Calls back for every message that comes into a mailbox.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let inbox = mbox::Root::at(dir.path()).mailbox("inbox")?;
/// let (sender, receiver) = std::sync::mpsc::channel();
/// let watcher = mbox::Watcher::new(mbox::Watch::default());
/// watcher.subscribe(&inbox, None, move |record| {
///     sender.send(record.body().map(str::to_owned))?;
///     Ok(())
/// });
/// watcher.start()?;
/// inbox.append(&mbox::Message::new("hello"), &mbox::Append::default())?;
/// assert_eq!(receiver.recv()?.as_deref(), Some("hello"));
/// # Ok(())
/// # }
/// ```
///
/// A subscription begins with what stands in the mailbox, as [`peek`](Mailbox::peek) shows
/// it: the mail in the hands of readers, dead or alive, then the record file. With `since`
/// it begins behind the last record with that id, if there is one. Then it follows.
///
/// # Guarantees
/// - A message that stays in the mailbox for 50 ms is shown, whoever drains, takes,
///   renames or rewrites it then, and also when mailbox and root are removed and made
///   again; given that this process gets its share of the processor.
/// - No message id is shown twice to one subscription, as long as its record stands in a
///   file of the mailbox or it is one of the last 65,536.
/// - Between [`stop`](Watcher::stop) and [`start`](Watcher::start) nothing is missed that
///   is still there at the start.
/// - A record without a message id is told from others by its place in its file: it is
///   shown again when a take or a bounded drain puts it back, or the file is written anew.
///
/// # Limits
/// All callbacks run one after the other, in one thread: one that blocks keeps the others
/// waiting. The memory of a subscription is bounded by twice the message ids in the files
/// of the mailbox and 65,536 more, at some 40 bytes each, and the longest record.
///
/// # Pitfalls
/// - A message that is appended and drained within 50 ms may be missed. Whoever must have
///   every one drains: [`Mailbox::drain`], or `mbox watch --drain`.
/// - kqueue is not told of a write without the lock beside it, by a program that knows
///   nothing of mailboxes: that is seen within a second.
pub struct Watcher {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) how: Watch,
    state: Mutex<State>,
    /// The thread has ended, or was told to go on.
    settled: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether it is to run.
    is_wanted: bool,
    /// Here while no thread has it.
    engine: Option<Engine>,
    thread: Option<JoinHandle<()>>,
    /// The thread that has the engine.
    at_work: Option<ThreadId>,
    commands: Vec<Command>,
    live: BTreeSet<Subscription>,
    next: u64,
    backend: Option<BackendKind>,
    waker: Option<Waker>,
}

impl Watcher {
    /// A watcher that does not run yet. Nothing is opened.
    #[must_use]
    pub fn new(how: Watch) -> Watcher {
        let state = State {
            engine: Some(Engine::default()),
            ..State::default()
        };
        Watcher {
            shared: Arc::new(Shared {
                how,
                state: Mutex::new(state),
                settled: Condvar::new(),
            }),
        }
    }

    /// Has `callback` called for each record of `mailbox`, in order. It may be called
    /// while the watcher runs or not, from any thread and from callbacks. The mailbox and
    /// its root need not exist yet; what fails is told as a [`Problem`].
    pub fn subscribe(
        &self,
        mailbox: &Mailbox,
        since: Option<&str>,
        callback: impl FnMut(&Record) -> std::result::Result<(), CallbackError> + Send + 'static,
    ) -> Subscription {
        let follower = Follower::of(mailbox.clone(), since.map(str::to_owned));
        let mut state = self.shared.state();
        let subscription = Subscription(state.next);
        state.next += 1;
        state.live.insert(subscription);
        state.commands.push(Command::Add(
            subscription,
            Box::new(follower),
            Box::new(callback),
        ));
        state.wake();
        subscription
    }

    /// Ends a subscription: its callback is not called again once this has returned. A call
    /// that is under way in another thread may still be. `false` when it had ended.
    pub fn unsubscribe(&self, subscription: Subscription) -> bool {
        let mut state = self.shared.state();
        let was_live = state.live.remove(&subscription);
        let engine = state.engine.as_mut();
        let stopped = engine.and_then(|engine| engine.remove(subscription));
        if was_live && stopped.is_none() {
            state.commands.push(Command::Remove(subscription));
            state.wake();
        }
        drop(state);
        drop(stopped); // what the callback holds may be a watcher, too
        was_live
    }

    /// Begins to watch, or goes on where [`stop`](Watcher::stop) left off. Nothing happens
    /// when it runs already.
    ///
    /// # Errors
    /// When the backend that was asked for cannot be had, or no thread be started.
    pub fn start(&self) -> Result<()> {
        let mut state = self.shared.state();
        if state.at_work.is_some() {
            state.is_wanted = true; // one that is about to stop goes on
            self.shared.settled.notify_all();
            return Ok(());
        }
        let lookout = Lookout::open(self.shared.how.backend)?;
        (state.backend, state.waker) = (Some(lookout.backend()), Some(lookout.waker()));
        let engine = state.engine.take().unwrap_or_default();
        let shared = Arc::clone(&self.shared);
        let run = move || shared.run(engine, lookout);
        let name = "mbox-watch".to_owned();
        match thread::Builder::new().name(name).spawn(run) {
            Ok(thread) => {
                state.at_work = Some(thread.thread().id());
                state.thread = Some(thread);
                state.is_wanted = true;
                Ok(())
            }
            Err(error) => {
                state.engine = Some(Engine::default());
                let next_step = "raise the limit of processes (ulimit -u)";
                let (op, path) = ("start a thread to watch", std::path::Path::new("."));
                Err(Error::new(
                    ErrorKind::Io,
                    op,
                    path,
                    error.to_string(),
                    next_step,
                ))
            }
        }
    }

    /// Stops, and returns when no callback runs any more; from a callback, when that is the
    /// last one. Subscriptions stay where they are for the next [`start`](Watcher::start).
    pub fn stop(&self) {
        let mut state = self.shared.state();
        state.is_wanted = false;
        state.wake();
        if state.at_work == Some(thread::current().id()) {
            return;
        }
        while state.at_work.is_some() && !state.is_wanted {
            state = self.wait(state);
        }
        if state.at_work.is_none()
            && let Some(thread) = state.thread.take()
        {
            drop(state);
            let _ = thread.join(); // its panic was told by the hook of the process
        }
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let state = self.shared.state();
        state.is_wanted && state.at_work.is_some()
    }

    /// The backend in use; of the last run when it does not run, `None` before the first.
    #[must_use]
    pub fn backend(&self) -> Option<BackendKind> {
        self.shared.state().backend
    }

    /// How many subscriptions there are.
    #[must_use]
    pub fn subscription_count(&self) -> usize {
        self.shared.state().live.len()
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let settled = self.shared.settled.wait(state);
        settled.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state();
        f.debug_struct("Watcher")
            .field("backend", &state.backend)
            .field("is_wanted", &state.is_wanted)
            .field("subscriptions", &state.live.len())
            .finish_non_exhaustive()
    }
}

impl State {
    fn has_left(&mut self) {
        (self.at_work, self.waker, self.is_wanted) = (None, None, false);
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic is done while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked for since the last time; breaks when the engine is to stop.
    pub(super) fn commands(&self) -> ControlFlow<(), Vec<Command>> {
        let mut state = self.state();
        if !state.is_wanted {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(std::mem::take(&mut state.commands))
    }

    /// The thread of the watcher.
    fn run(&self, mut engine: Engine, mut lookout: Lookout) {
        let leaving = Leaving(self);
        engine.begin(&mut lookout, self);
        let ended = loop {
            let ended = engine.run(&mut lookout, self);
            let mut state = self.state();
            if ended.is_err() || !state.is_wanted {
                state.engine = Some(engine);
                state.has_left();
                break ended;
            }
            // It was started again before it had stopped.
        };
        drop((leaving, lookout));
        if let Err(error) = ended {
            (self.how.on_problem)(&Problem::Stopped { error });
        }
    }

    /// Whether a callback of this subscription may be called now.
    pub(super) fn is_live(&self, subscription: Subscription) -> bool {
        let state = self.state();
        state.is_wanted && state.live.contains(&subscription)
    }

    pub(super) fn fell_back(&self, to: BackendKind) {
        self.state().backend = Some(to);
    }
}

/// Tells that the thread has ended, also by a panic.
struct Leaving<'a>(&'a Shared);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        // Another one may be at work by now.
        if state.at_work == Some(thread::current().id()) {
            state.has_left();
        }
        drop(state);
        self.0.settled.notify_all();
    }
}
