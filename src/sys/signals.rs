//! Signals that would end the process, held back while a step is in hand.
//!
//! Nothing is handled: a blocked signal stays pending and takes its ordinary
//! effect, death by that signal, once it is let through.

use std::marker::PhantomData;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::pthread::pthread_kill;
use nix::sys::signal::{SigSet, Signal};

/// Signals that ask a process to end.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// The mask that a command run by this process has: what is held back here is for this
/// process alone.
pub(super) fn mask_for_commands() -> nix::Result<SigSet> {
    let mut mask = SigSet::thread_get_mask()?;
    for signal in ENDING.into_iter().chain([STOP, Signal::SIGXFSZ]) {
        mask.remove(signal);
    }
    Ok(mask)
}

/// The ending signals that this process does not ignore. One that was ignored from the
/// start (`nohup`, a background job of a script) must not be taken by a wait: it would
/// count as arrived. Told by Linux only; elsewhere none counts as ignored.
fn ending_and_not_ignored() -> SigSet {
    let ignored = told("SigIgn:");
    ENDING.into_iter().filter(|&s| !is_in(ignored, s)).collect()
}

/// A set of signals of this process as the kernel tells it; elsewhere than on Linux none.
fn told(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix(name)?.trim(), 16).ok())
        .unwrap_or(0)
}

fn is_in(set: u64, signal: Signal) -> bool {
    set >> (signal as u32 - 1) & 1 == 1
}

/// While it lives, SIGINT, SIGTERM and SIGHUP wait, for this thread (CLI-6).
pub(crate) struct Deferred {
    before: Option<SigSet>,
    /// A signal mask belongs to a thread.
    _thread: PhantomData<*const ()>,
}

impl Deferred {
    /// Holds the signals back.
    pub(crate) fn begin() -> Deferred {
        let before = ending().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK);
        // Without a mask the process is merely killed as before.
        Deferred {
            before: before.ok(),
            _thread: PhantomData,
        }
    }

    /// Holds nothing back: for callers who see to their signals themselves.
    pub(crate) fn not() -> Deferred {
        Deferred {
            before: None,
            _thread: PhantomData,
        }
    }

    /// Whether a signal has come that will end this process once it is let through. Told
    /// by Linux only; elsewhere none has.
    pub(crate) fn has_one_come(&self) -> bool {
        let come = told("ShdPnd:") | told("SigPnd:");
        // One that is ignored is kept too while it is held back.
        let ending = ending_and_not_ignored();
        ending.iter().any(|signal| is_in(come, signal))
    }

    /// Holds them back for good: the process is at its end.
    pub(crate) fn for_good(self) {
        std::mem::forget(self);
    }

    /// Runs `wait` with the signals let through, as they were before.
    pub(crate) fn let_through<T>(&self, wait: impl FnOnce() -> T) -> T {
        if let Some(before) = &self.before {
            let _ = before.thread_set_mask(); // cannot fail: the kernel gave us this mask
        }
        let waited = wait();
        if self.before.is_some() {
            let _ = ending().thread_block(); // as above
        }
        waited
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = before.thread_set_mask(); // cannot fail: the kernel gave us this mask
        }
    }
}

fn ending() -> SigSet {
    ENDING.into_iter().collect()
}

/// Makes a write over the file-size limit fail with EFBIG instead of ending the process.
pub(crate) fn hold_back_file_size_signal() {
    let _ = SigSet::from(Signal::SIGXFSZ).thread_block(); // then it ends the process, as is the default
}

/// While it lives, a thread takes the signals that would end the process, and this
/// thread goes on.
pub(crate) struct Watch {
    thread: Option<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
    _deferred: Deferred,
}

impl Watch {
    /// Has `on_signal` called for each signal. `None` when no thread could be started.
    pub(crate) fn begin(mut on_signal: impl FnMut(Signal) + Send + 'static) -> Option<Watch> {
        let deferred = Deferred::begin(); // inherited by the thread
        SigSet::from(STOP).thread_block().ok()?;
        let mut watched = ending_and_not_ignored();
        watched.add(STOP);
        let is_over = Arc::new(AtomicBool::new(false));
        let was_told = Arc::clone(&is_over);
        let watch = move || {
            while let Ok(signal) = watched.wait() {
                // One that came from elsewhere would end the process like any other.
                if signal == STOP && was_told.load(Ordering::SeqCst) {
                    return;
                }
                on_signal(signal);
            }
        };
        let thread = Some(std::thread::Builder::new().spawn(watch).ok()?);
        Some(Watch {
            thread,
            is_over,
            _deferred: deferred,
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // Blocked there, so it is taken by its wait and nothing else.
            if pthread_kill(thread.as_pthread_t(), STOP).is_ok() {
                let _ = thread.join(); // it does not panic
            }
        }
    }
}

/// Tells the thread of a [`Watch`] to end.
const STOP: Signal = Signal::SIGUSR1;

/// Ends this process by `signal`, which must be one that is not ignored or handled.
pub(crate) fn die_by(signal: Signal) -> ! {
    let _ = SigSet::from(signal).thread_unblock(); // if it fails the exit below follows
    let _ = nix::sys::signal::raise(signal); // likewise
    std::process::exit(128 + signal as i32)
}
