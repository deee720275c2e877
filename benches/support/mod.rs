//! What the benches share: where they run, how they time, and how they say it.

#![allow(dead_code)] // each bench is a program of its own, and uses a part of this

pub mod arguments;
pub mod floor;
pub mod fresh;
pub mod messages;
pub mod plot;
pub mod process;
pub mod shell;
pub mod table;
pub mod turns;
