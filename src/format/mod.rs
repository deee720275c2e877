//! Bytes to values and back: names, tokens, claim names, records, messages.
//!
//! Pure: nothing here touches a file, the clock, the environment or the
//! process id. It mirrors `spec/` section by section, and every constant of the
//! specification is on this page, once.

pub(crate) mod event;
mod json;
pub(crate) mod message;
pub(crate) mod name;
pub(crate) mod receipt;
pub(crate) mod record;
pub(crate) mod session;
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

/// How long a peer at the guard waits for its turn at most (ACQ-10).
pub(crate) const TURN: Duration = Duration::from_millis(250);

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

/// How many entries of a ledger stay unless told otherwise (LEDGER-6).
pub const LEDGER_MAX: u64 = 1_000;

/// How long a sender waits for the lock of a ledger at most (LEDGER-3).
pub(crate) const LEDGER_WAIT: Duration = Duration::from_secs(1);

/// How many ids a receipt holds at most (RECEIPT-1).
pub(crate) const RECEIPT_IDS: usize = 1_000;

/// Size from which a file of receipts makes place for a new one, in bytes (RECEIPT-2).
pub(crate) const RECEIPTS_MAX: u64 = 256 << 10;

/// Age from which a request is given up, and keeps no session (SESSION-4).
pub(crate) const REQUEST_STALE: Duration = Duration::from_secs(86_400);

/// How long an answer is waited for unless told otherwise (ASKV-2).
pub const ASK_TIMEOUT: Duration = Duration::from_secs(45);

/// How long a hook waits for a lock (HOOK-1).
pub(crate) const HOOK_WAIT: Duration = Duration::from_secs(1);

/// How long the text of a hook may be, in bytes (HOOK-8).
pub(crate) const HOOK_TEXT_MAX: usize = 9_000;

/// Version of the event stream, as `hello` says it (EVENT-3).
pub(crate) const EVENTS_VERSION: u32 = 1;

/// How many events a subscriber may be behind what its socket has taken (HUB-9).
pub(crate) const EVENT_QUEUE: usize = 64;

/// Longest line a subscriber may send, in bytes, newline included (HUB-8).
pub(crate) const MAX_REQUEST: usize = 16 << 10;

/// Bounds of a heartbeat's interval (EVENT-11).
pub(crate) const HEARTBEATS: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(86_400));

/// Least time from one look at the mailboxes to the next (EVENT-9).
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long a backend may take to tell of a write that was made to prove it.
pub(crate) const PROOF: Duration = Duration::from_millis(250);

/// Age from which a temporary is left over: its maker is dead, or will find it gone and
/// lose nothing by it (FILE-5).
pub(crate) const TEMPORARY_STALE: Duration = Duration::from_secs(300);

/// How long a client waits for the hello of a hub.
pub(crate) const HELLO_WAIT: Duration = Duration::from_secs(2);

/// How often a hub sees to it that its socket is in its place (HUB-6).
pub(crate) const SOCKET_CHECK: Duration = Duration::from_secs(1);

/// Longest path a socket can be bound to, in bytes (HUB-1).
pub(crate) const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Names in the root, and in the runtime directory.
pub(crate) mod place {
    pub(crate) const MAILBOXES: &str = "mailboxes";
    pub(crate) const RECEIVED: &str = "received";
    pub(crate) const PENDING: &str = "pending";
    pub(crate) const SESSIONS: &str = "sessions";
    pub(crate) const ACTIVITY: &str = "activity";
    pub(crate) const SOCKET: &str = "events.socket";
    pub(crate) const GUARD: &str = "events.guard";
    pub(crate) const RUNTIME: &str = "mbox";
}

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
    pub(crate) const PRUNED: &str = ".pruned";
    pub(crate) const RECEIPTS: &str = ".receipts";
    pub(crate) const OLD_RECEIPTS: &str = ".receipts.old";
    pub(crate) const SESSION: &str = ".json";
}
