//! The parts of a message, with 0xff between them.

#![no_main]

use mbox_fuzz::message::{Parts, check};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check(&parts(bytes)));

/// No part of UTF-8 is 0xff. A part that is missing or empty is not given.
fn parts(bytes: &[u8]) -> Parts {
    let mut parts = bytes.split(|&b| b == 0xff).map(String::from_utf8_lossy);
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let body = next().unwrap_or_default().into_owned();
    let max_body = next().and_then(|n| n.parse().ok()).unwrap_or(1 << 16);
    let enqueued_at = next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut text = || next().map(|part| part.into_owned());
    Parts {
        body,
        max_body,
        enqueued_at,
        id: text(),
        from: text(),
        request_id: text(),
        reply_to: text(),
        source: text(),
    }
}
