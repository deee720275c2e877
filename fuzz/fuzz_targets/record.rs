//! Bytes as they stand in a record file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mbox_fuzz::record::check(bytes));
