//! The only place that calls the operating system. Knows nothing of the protocol.

pub(crate) mod clock;
pub(crate) mod fs;
pub(crate) mod guard;
pub(crate) mod limits;
pub(crate) mod notify;
pub(crate) mod process;
pub(crate) mod signals;
pub(crate) mod socket;
