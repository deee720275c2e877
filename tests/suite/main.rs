//! How mbox is checked from outside: through its command line, its library and its
//! files. One binary, so that it is linked once; `no_forgotten_file` sees to it that
//! every file here is part of it.

mod common;

mod cli;

mod acquire;
mod append;
mod ask;
mod doctor;
mod drain;
mod events;
mod r#gen;
mod has;
mod hook;
mod init;
mod list;
mod lock;
mod migrate;
mod peek;
mod register;
mod reply;
mod send;
mod show;
mod take;
mod wait;
mod watch;
mod watch_load;

mod api;
mod claims;
mod compat;
mod docs;
mod faults;
mod handle;
mod ledger;
mod no_forgotten_file;
mod planted;
mod properties;
mod recovery;
mod sequences;
mod shells;
mod signals;
mod watcher;
