//! The parts of a message, with 0xff between them.

#![no_main]

use mbox_fuzz::message::{Parts, check};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check(&Parts::of(bytes)));
