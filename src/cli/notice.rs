//! `mbox gen notice`: what a prompt says of new mail, once.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Places;
use super::exit::{Exit, Status};
use super::out::answer;
use crate::mailbox::Mailbox;

/// Prints a word that stands for what is there, and the sentence; nothing when no message
/// has come since `seen`, the word of last time, and nothing when none waits.
pub(super) fn run(name: &OsStr, seen: Option<&OsStr>, places: &Places) -> Result<Status, Exit> {
    let mailbox = places.root()?.mailbox(name)?;
    if let Some(line) = line(&mailbox, seen.and_then(OsStr::to_str))? {
        answer(&line, "nothing was changed")?;
    }
    Ok(Status::Yes)
}

fn line(mailbox: &Mailbox, seen: Option<&str>) -> Result<Option<String>, Exit> {
    let records = mailbox.waiting_records()?;
    let Some(last) = records.last() else {
        return Ok(None);
    };
    let mut hasher = DefaultHasher::new();
    (mailbox.path(), last.bytes()).hash(&mut hasher);
    let (newest, count) = (hasher.finish(), records.len());
    if !is_news(newest, count, seen) {
        return Ok(None);
    }
    let messages = if count == 1 { "message" } else { "messages" };
    Ok(Some(format!(
        "{newest:016x}.{count} {count} new {messages}: mbox drain"
    )))
}

/// Whether a message has come. The newest one may look like the one before it, where other
/// programs write; then there are more of them. Fewer are no news.
fn is_news(newest: u64, count: usize, seen: Option<&str>) -> bool {
    let seen = seen.and_then(|word| {
        let (newest, count) = word.split_once('.')?;
        let newest = u64::from_str_radix(newest, 16).ok()?;
        Some((newest, count.parse::<usize>().ok()?))
    });
    seen.is_none_or(|(known, before)| newest != known || count > before)
}

#[cfg(test)]
mod tests {
    use super::is_news;

    #[test]
    fn only_what_has_come_is_news() {
        let seen = Some("00000000000000aa.3");
        assert!(!is_news(0xaa, 3, seen));
        assert!(!is_news(0xaa, 2, seen), "one was taken");
        assert!(is_news(0xaa, 4, seen), "the same again");
        assert!(is_news(0xbb, 3, seen));
        for unknown in [None, Some(""), Some("x.1"), Some("00000000000000aa")] {
            assert!(is_news(0xaa, 3, unknown), "{unknown:?}");
        }
    }
}
