//! A name, an id, an owner; and, a line each, the names of claims.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mbox_fuzz::names::check(bytes));
