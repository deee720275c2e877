//! The newest events of a hub, as lines, once for all its subscribers.

use std::collections::VecDeque;

use crate::format::EVENT_QUEUE;
use crate::format::event::{Event, Request};

/// The last events, numbered without a gap.
pub(super) struct Backlog {
    entries: VecDeque<Entry>,
    /// The lines of all entries, one behind the other.
    bytes: Vec<u8>,
    /// `seq` of the newest event; 0 before the first.
    newest: u64,
}

struct Entry {
    mailbox: String,
    len: usize,
}

impl Backlog {
    pub(super) fn new() -> Backlog {
        Backlog {
            entries: VecDeque::new(),
            bytes: Vec::new(),
            newest: 0,
        }
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Numbers an event and keeps it.
    pub(super) fn push(&mut self, event: Event) {
        self.newest += 1;
        let line = event.line(self.newest);
        self.bytes.extend_from_slice(&line);
        self.entries.push_back(Entry {
            mailbox: event.mailbox,
            len: line.len(),
        });
    }

    /// Forgets all but what a subscriber may still have in its queue.
    pub(super) fn trim(&mut self) {
        let old = self.entries.len().saturating_sub(EVENT_QUEUE);
        let bytes: usize = self.entries.drain(..old).map(|entry| entry.len).sum();
        self.bytes.drain(..bytes);
    }

    /// What `request` wants of the events from `next` on.
    pub(super) fn since<'a>(&'a self, next: u64, request: &'a Request) -> Pending<'a> {
        let oldest = self.newest + 1 - self.entries.len() as u64;
        debug_assert!(next >= oldest, "a subscriber this far behind has lagged");
        let skip = usize::try_from(next.saturating_sub(oldest)).unwrap_or(usize::MAX);
        Pending {
            backlog: self,
            request,
            skip: skip.min(self.entries.len()),
        }
    }
}

/// A part of the backlog on its way to one subscriber.
pub(super) struct Pending<'a> {
    backlog: &'a Backlog,
    request: &'a Request,
    skip: usize,
}

impl Pending<'_> {
    /// Its lines in one piece; `scratch` holds them when they are not so already.
    pub(super) fn bytes<'s>(&'s self, scratch: &'s mut Vec<u8>) -> &'s [u8] {
        if self.request.mailboxes.is_none() {
            let before = self.backlog.entries.iter().take(self.skip);
            let start: usize = before.map(|entry| entry.len).sum();
            return &self.backlog.bytes[start..];
        }
        scratch.clear();
        for (_, line, is_wanted) in self.lines() {
            if is_wanted {
                scratch.extend_from_slice(line);
            }
        }
        scratch
    }

    /// How many events of it are wanted.
    pub(super) fn count(&self) -> u64 {
        self.lines().filter(|(_, _, is_wanted)| *is_wanted).count() as u64
    }

    /// Where a write of the first `written` bytes has come to: the next event, and what
    /// is still to be written of the line it was cut in.
    pub(super) fn after(&self, mut written: usize) -> (u64, &[u8]) {
        for (seq, line, is_wanted) in self.lines() {
            if !is_wanted {
                continue;
            }
            if written == 0 {
                return (seq, &[]);
            }
            if written < line.len() {
                return (seq + 1, &line[written..]);
            }
            written -= line.len();
        }
        (self.backlog.newest + 1, &[])
    }

    /// Number, line, and whether it is wanted, of each event.
    fn lines(&self) -> impl Iterator<Item = (u64, &[u8], bool)> {
        let Backlog {
            entries,
            bytes,
            newest,
        } = self.backlog;
        let mut start = entries.iter().take(self.skip).map(|entry| entry.len).sum();
        let first = newest + 1 - (entries.len() - self.skip) as u64;
        let lines = entries.iter().skip(self.skip).zip(first..);
        lines.map(move |(entry, seq)| {
            let line: &[u8] = &bytes[start..start + entry.len];
            start += entry.len;
            (seq, line, self.request.wants(&entry.mailbox))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::event::Happened;

    fn filled(names: &[&str]) -> Backlog {
        let mut backlog = Backlog::new();
        for name in names {
            backlog.push(Event {
                mailbox: (*name).to_owned(),
                what: Happened::Created,
            });
        }
        backlog
    }

    fn only(name: &str) -> Request {
        Request {
            mailboxes: Some([name.to_owned()].into()),
            heartbeat: None,
        }
    }

    #[test]
    fn a_cut_is_found_again() {
        let backlog = filled(&["a", "b", "a", "b"]);
        for request in [Request::default(), only("a"), only("b")] {
            let pending = backlog.since(2, &request);
            let mut scratch = Vec::new();
            let whole = pending.bytes(&mut scratch).to_vec();
            for cut in 0..=whole.len() {
                let (next, rest) = pending.after(cut);
                let mut scratch = Vec::new();
                let again = backlog.since(next, &request);
                let rejoined = [&whole[..cut], rest, again.bytes(&mut scratch)].concat();
                assert_eq!(rejoined, whole, "{request:?} {cut}");
            }
        }
        assert_eq!(backlog.since(2, &only("b")).count(), 2);
        assert_eq!(backlog.since(5, &only("b")).count(), 0);
    }

    #[test]
    fn trimmed_it_keeps_the_queue() {
        let mut backlog = filled(&vec!["a"; 3 * EVENT_QUEUE]);
        backlog.trim();
        let next = backlog.newest() + 1 - EVENT_QUEUE as u64;
        let all = Request::default();
        assert_eq!(backlog.since(next, &all).count(), EVENT_QUEUE as u64);
        let mut scratch = Vec::new();
        let bytes = backlog.since(next, &all).bytes(&mut scratch).to_vec();
        let first = format!("{{\"type\":\"mailbox.created\",\"seq\":{next},");
        assert!(bytes.starts_with(first.as_bytes()));
    }
}
