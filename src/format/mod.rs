//! Bytes to values and back: names, tokens, claim names, records, messages.
//!
//! Pure: nothing here touches a file, the clock, the environment or the
//! process id. It mirrors `spec/` section by section, and every constant of the
//! specification is on this page, once.

pub(crate) mod message;
pub(crate) mod name;
pub(crate) mod record;
pub(crate) mod text;
pub(crate) mod token;

use std::time::Duration;

/// Age at which a lock, a steal marker and an unguarded claim are stale (REC-1, CLAIM-5).
pub(crate) const STALE: Duration = Duration::from_secs(30);

/// Age at which a guarded claim is orphaned for a peer without guard (CLAIM-4).
pub(crate) const GUARDED_CLAIM_STALE: Duration = Duration::from_secs(300);

/// The greatest birth a claim can carry: 13 digits (CLAIM-2).
pub(crate) const LAST_BIRTH: u64 = 9_999_999_999_999;

/// How long a lock cleared by age keeps its steal marker (REC-6).
pub(crate) const SETTLE: Duration = Duration::from_millis(500);

/// First and last step of the waiting between two tries (ACQ-6).
pub(crate) const BACKOFF: (Duration, Duration) =
    (Duration::from_micros(50), Duration::from_millis(5));

/// Age from which a lock that is cleared may have been seen stale by others (REC-6).
pub(crate) const NEARLY_STALE: Duration = Duration::from_secs(25);

/// How long nothing changes before a peer at the guard takes its holder for frozen (ACQ-2).
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// How often a long-lived holder renews the lock directory (ACQ-7).
pub(crate) const RENEW: Duration = Duration::from_secs(10);

/// How long an operation waits for the lock unless told otherwise (CLI-5).
pub const DEFAULT_WAIT: Duration = Duration::from_secs(5);

/// Largest record a writer makes, in bytes, newline included (RECORD-1).
pub const MAX_RECORD: usize = 1 << 20;

/// Largest body a writer accepts unless told otherwise, in bytes of UTF-8 (MSG-3).
pub const MAX_BODY: usize = 64 << 10;

/// Deepest nesting of a record; the object itself is depth 1.
pub(crate) const MAX_DEPTH: usize = 128;

/// How many delivered ids one pass remembers to drop repeats (DRAIN-7).
pub(crate) const SEEN_IDS: usize = 65_536;

/// Endings appended to the path of the record file.
pub(crate) mod suffix {
    pub(crate) const LOCK: &str = ".lock";
    pub(crate) const OWNER: &str = ".lock.owner";
    pub(crate) const STEAL: &str = ".lock.steal";
    pub(crate) const GUARD: &str = ".lock.guard";
    pub(crate) const CLAIMS: &str = ".claims";
    pub(crate) const TEMPORARY: &str = ".tmp.";
    pub(crate) const DAMAGED: &str = ".damaged";
    pub(crate) const RECORDS: &str = ".jsonl";
}
