//! A mailbox made of plain files, for every shell, script and coding agent on a machine.
//!
//! # From the top
//!
//! A mailbox is an append-only file of JSON lines. Any number of processes, in any
//! language that follows `spec/`, append to it and drain it at the same time,
//! without a daemon.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let inbox = mbox::Mailbox::at(dir.path().join("inbox.jsonl"));
//! inbox.append(&mbox::Message::new("hello"), &mbox::Append::default())?;
//!
//! if let Some(mut claim) = inbox.drain()? {
//!     for message in claim.messages() {
//!         println!("{}", message?.body().unwrap_or_default());
//!     }
//!     claim.ack()?; // only now is the mail removed
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! A message whose [`append`](Mailbox::append) returned is delivered, whole, to some
//! reader that acknowledges it: whatever process dies at whatever step, however full
//! the disk, however long a process stalls. Without a crash or a stall it is delivered
//! exactly once and in order; with one it may be delivered again, with the same id.
//!
//! # Assumptions
//!
//! A local filesystem, where mkdir, link, rename and `O_EXCL` are atomic and
//! `O_APPEND` writes do not interleave. Without [`Append::sync`] the guarantees
//! cover the death of processes, not of the machine; with it, a power cut too, where a
//! rename happens to both its names or to neither. What was taken may then come again.
//!
//! # Pitfalls
//!
//! - A [`Claim`] that is dropped without [`ack`](Claim::ack) is handed over again.
//! - A [`LockGuard`] can be lost to another peer when this process stalls for 30 s.
//! - A [`Watcher`] may miss a message that is appended and drained within 50 ms. Who must
//!   have every one drains, as `mbox watch --drain` does.
//! - While it works on a mailbox, an operation holds back SIGINT, SIGTERM and SIGHUP
//!   for its thread, so that a process that ends leaves no lock behind.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod delivery;
pub mod doctor;
mod error;
mod events;
mod format;
mod hook;
mod ledger;
mod lock;
mod mailbox;
mod root;
mod session;
mod sys;
mod watch;

#[doc(hidden)]
pub mod cli;

pub use delivery::{Answer, Ask, Delivery, MessageState, Migrated, Replied, Sent, migrate};
pub use error::{Error, ErrorKind, Result};
pub use events::{Hub, Line, Place, Stream};
pub use format::event::Request;
pub use format::message::Message;
pub use format::name::{is_id, is_name};
pub use format::record::Record;
pub use format::session::Session;
pub use format::token::Token;
pub use format::{ASK_TIMEOUT, DEFAULT_WAIT, LEDGER_MAX, MAX_BODY, MAX_RECORD};
pub use lock::{LockGuard, Released};
pub use mailbox::{
    Append, Bounded, Claim, Delivered, Limit, Mailbox, Match, Messages, Peek, Peeked,
};
pub use root::{Root, resolve};
pub use sys::notify::BackendKind as Backend;
pub use watch::{CallbackError, DEFAULT_DEBOUNCE, Problem, Subscription, Watch, Watcher};

/// The examples of the README, run as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
