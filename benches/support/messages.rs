//! The message that is appended everywhere: its line has 206 bytes.

use mbox::{Append, Mailbox, Message};

pub const LINE: usize = 206;

/// What has to be in the body for that.
pub fn body() -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let mailbox = Mailbox::at(dir.path().join("m.jsonl"));
    let how = Append::default();
    let words = "the build is green again, and the tests of the parser are on ";
    // One that has three digits already: its length is in the record.
    let body = words.repeat(2)[..100].to_owned();
    mailbox
        .append(&Message::new(&*body), &how)
        .expect("appended");
    let len = std::fs::read(mailbox.path()).expect("a record").len();
    let more = LINE.checked_sub(len);
    match more {
        Some(more) => body + &words.repeat(4)[..more],
        None => body[..body.len() - (len - LINE) + 1].to_owned(),
    }
}

/// A record of so many bytes, newline included, as another program would write it.
pub fn record(number: usize) -> String {
    let head = format!("{{\"id\":\"{number:016x}\",\"body\":\"");
    format!("{head}{:1$}\"}}\n", "", LINE - head.len() - 3)
}

/// As many of them as fit into so many bytes.
pub fn records(bytes: usize) -> String {
    (0..bytes / LINE).map(record).collect()
}
