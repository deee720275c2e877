//! The watcher as other threads see it.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    /// Is told what goes wrong, in the thread of the watcher. By default nobody is. When it
    /// panics, the watcher goes on.
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
        self.start_with(|| Lookout::open(self.shared.how.backend))
    }

    fn start_with(&self, open: impl FnOnce() -> Result<Lookout>) -> Result<()> {
        let mut state = self.shared.state();
        if state.at_work.is_some() {
            state.is_wanted = true; // one that is about to stop goes on
            self.shared.settled.notify_all();
            return Ok(());
        }
        let lookout = open()?;
        (state.backend, state.waker) = (Some(lookout.backend()), Some(lookout.waker()));
        let shared = Arc::clone(&self.shared);
        let run = move || shared.run(lookout);
        let name = "mbox-watch".to_owned();
        match thread::Builder::new().name(name).spawn(run) {
            Ok(thread) => {
                state.at_work = Some(thread.thread().id());
                state.thread = Some(thread);
                state.is_wanted = true;
                Ok(())
            }
            Err(error) => {
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
        let me = thread::current().id();
        let mut state = self.shared.state();
        state.is_wanted = false;
        state.wake();
        if state.at_work == Some(me) {
            return;
        }
        while state.at_work.is_some() && !state.is_wanted {
            state = self.wait(state);
        }
        // The thread itself is here when it tells that it has stopped.
        let is_another = |thread: &mut JoinHandle<()>| thread.thread().id() != me;
        if state.at_work.is_none()
            && let Some(thread) = state.thread.take_if(is_another)
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
    fn run(&self, mut lookout: Lookout) {
        let engine = self.state().engine.take();
        let mut at_work = AtWork {
            shared: self,
            engine: engine.unwrap_or_default(),
        };
        at_work.engine.begin(&mut lookout, self);
        let ended = loop {
            let ended = at_work.engine.run(&mut lookout, self);
            let mut state = self.state();
            if ended.is_err() || !state.is_wanted {
                at_work.leave(&mut state);
                break ended;
            }
            // It was started again before it had stopped.
        };
        drop((at_work, lookout));
        if let Err(error) = ended {
            self.tell(&Problem::Stopped { error });
        }
    }

    pub(super) fn tell(&self, problem: &Problem) {
        let on_problem = AssertUnwindSafe(|| (self.how.on_problem)(problem));
        let _ = catch_unwind(on_problem); // its panic was told by the hook of the process
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

/// The engine in its thread. Gives it back and tells that the thread has ended, also by a
/// panic.
struct AtWork<'a> {
    shared: &'a Shared,
    engine: Engine,
}

impl AtWork<'_> {
    fn leave(&mut self, state: &mut State) {
        state.engine = Some(std::mem::take(&mut self.engine));
        (state.at_work, state.waker, state.is_wanted) = (None, None, false);
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        // Another one may be at work by now.
        if state.at_work == Some(thread::current().id()) {
            self.leave(&mut state);
        }
        drop(state);
        self.shared.settled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Longer than anything here may take.
    const DEADLINE: Duration = Duration::from_secs(30);

    #[test]
    fn stopped_and_dropped_when_it_tells_that_it_has_stopped() {
        let slot = Arc::new(Mutex::new(None::<Watcher>));
        let (sender, stopped) = mpsc::channel();
        let shared = Arc::clone(&slot);
        let watcher = Watcher::new(Watch {
            on_problem: Box::new(move |problem| {
                assert!(matches!(problem, Problem::Stopped { .. }), "{problem}");
                let watcher = shared.lock().unwrap().take().unwrap();
                watcher.stop();
                drop(watcher);
                sender.send(()).unwrap();
            }),
            ..Watch::default()
        });
        let mut slot = slot.lock().unwrap(); // it waits until the watcher is in there
        watcher.start_with(Lookout::broken).unwrap();
        *slot = Some(watcher);
        drop(slot);
        stopped.recv_timeout(DEADLINE).unwrap();
    }

    #[test]
    fn subscriptions_outlive_a_backend_and_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = crate::Root::at(dir.path()).mailbox("inbox").unwrap();
        let watcher = Watcher::new(Watch {
            on_problem: Box::new(|_| std::panic::resume_unwind(Box::new("on purpose"))),
            ..Watch::default()
        });
        let (sender, shown) = mpsc::channel();
        watcher.subscribe(&inbox, None, move |record| {
            sender.send(record.body().map(str::to_owned))?;
            Err("it did not like it".into())
        });
        watcher.start_with(Lookout::broken).unwrap();
        while watcher.is_running() {
            thread::yield_now();
        }
        watcher.stop();
        watcher.start().unwrap();
        for body in ["1", "2"] {
            let message = crate::Message::new(body);
            inbox.append(&message, &crate::Append::default()).unwrap();
            let shown = shown.recv_timeout(DEADLINE).unwrap();
            assert_eq!(shown.as_deref(), Some(body));
        }
    }
}
