//! Push instead of polling: who subscribes learns of new mail when it comes.
//!
//! It only reads: it takes no lock, removes nothing, and changes no file of a mailbox. What
//! it is built of, from below:
//!
//! - `lookout.rs` watches directories: which mailbox may have changed?
//! - `tail.rs` reads one file as it grows; `ids.rs` remembers what was shown.
//! - `follow.rs` follows one mailbox through drains, takes and rewrites.
//! - `followed.rs` decides when to read.
//! - `engine.rs` is the loop, and [`Watcher`] its face for other threads.
//!
//! Watch first, then look; after every word of a change look again. Nothing is concluded
//! from the word itself.

mod engine;
mod follow;
mod followed;
mod ids;
mod lookout;
mod tail;
mod watcher;

use std::time::Duration;

pub(crate) use follow::Follower;
pub(crate) use followed::Followed;
pub(crate) use lookout::Lookout;
pub use watcher::{CallbackError, Problem, Subscription, Watch, Watcher};

/// How long news of one mailbox wait at most, unless told otherwise.
pub const DEFAULT_DEBOUNCE: Duration = Duration::from_millis(20);
