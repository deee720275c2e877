//! The event stream of `spec/events.md`: what happens to the mailboxes of a root, for any
//! number of readers.
//!
//! `source.rs` looks at the files and `state.rs` says which events that makes; `hub.rs`
//! hands them to the subscribers (`subscriber.rs`) of a socket (`socket.rs`), out of one
//! backlog (`backlog.rs`); `client.rs` follows a hub, or does without. It reads no mail
//! and changes nothing in a mailbox.

mod backlog;
mod client;
mod hub;
pub(crate) mod socket;
mod source;
mod state;
mod subscriber;

pub use client::{Line, Stream};
pub use hub::Hub;
pub use socket::Place;
