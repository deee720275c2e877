//! Wall clock, deadlines, and the waiting between two tries.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::signals::Deferred;

/// Unix time in milliseconds.
pub(crate) fn unix_millis() -> u64 {
    since_epoch().as_millis().try_into().unwrap_or(u64::MAX)
}

/// Unix time in seconds.
pub(crate) fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

fn since_epoch() -> Duration {
    // A clock before 1970 reads as 1970: that costs a wait, never mail.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// How far `time` is from now, in either direction (REC-5).
pub(crate) fn distance_from_now(time: SystemTime) -> Duration {
    let now = SystemTime::now();
    now.duration_since(time)
        .unwrap_or_else(|ahead| ahead.duration())
}

/// The end of a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) fn after(wait: Duration) -> Deadline {
        // A wait beyond what the clock can express is for ever.
        Deadline(Instant::now().checked_add(wait))
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.left().is_zero()
    }

    pub(crate) fn left(&self) -> Duration {
        self.0.map_or(Duration::MAX, |end| {
            end.saturating_duration_since(Instant::now())
        })
    }
}

/// Exponential backoff with jitter (ACQ-6).
pub(crate) struct Backoff {
    step: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new((first, max): (Duration, Duration)) -> Backoff {
        Backoff { step: first, max }
    }

    /// Sleeps one step, at most until the deadline, with signals let through.
    pub(crate) fn wait(&mut self, deadline: &Deadline, signals: &Deferred) {
        let jitter = 0.5 + rand::random::<f64>() / 2.0;
        let step = self.step.mul_f64(jitter).min(deadline.left());
        self.step = (self.step * 2).min(self.max);
        signals.let_through(|| std::thread::sleep(step));
    }
}
