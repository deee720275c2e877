//! What was seen of each mailbox, and which events a new look makes. Pure.

use std::collections::BTreeMap;

use crate::format::event::{Event, Happened};
use crate::format::name::is_name;
use crate::format::suffix;

/// What tells one content of a record file from the next, as far as a look can: the inode
/// alone does not, because filesystems hand out the same number again at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) mtime: (i64, i64),
}

/// What one look at a mailbox shows. The default: nothing is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The record file.
    pub(super) records: Option<Content>,
    /// The claims directory is there.
    pub(super) claims: bool,
    /// Another file is there that outlives a drain: damaged lines, or the guard.
    pub(super) rest: bool,
}

impl Seen {
    fn is_there(&self) -> bool {
        self.records.is_some() || self.claims || self.rest
    }

    /// HAS-1.
    pub(super) fn has_mail(&self) -> bool {
        self.claims || self.records.is_some_and(|records| records.size > 0)
    }
}

/// All mailboxes, as they were last seen.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<String, Seen>);

impl Known {
    /// The names of the mailboxes that were there.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Takes in a look at one mailbox and pushes the events it makes, in the order in
    /// which they can have come about (EVENT-8).
    pub(super) fn update(&mut self, mailbox: &str, now: Seen, events: &mut Vec<Event>) {
        let before = self.0.get(mailbox).copied().unwrap_or_default();
        if now == before {
            return;
        }
        let mut push = |what| {
            events.push(Event {
                mailbox: mailbox.to_owned(),
                what,
            });
        };
        if !before.is_there() {
            push(Happened::Created);
        }
        if let Some(records) = now.records
            && now.records != before.records
            && records.size > 0
        {
            push(Happened::Appended {
                bytes: records.size,
            });
        }
        if before.has_mail() && !now.has_mail() {
            push(Happened::Drained);
        }
        if now.is_there() {
            self.0.insert(mailbox.to_owned(), now);
        } else {
            push(Happened::Removed);
            self.0.remove(mailbox);
        }
    }
}

/// The mailbox that has to be looked at when this entry of the mailboxes directory has
/// changed; `None` for what says nothing about mail: locks, temporaries, foreign files.
pub(super) fn mailbox_of(entry: &str) -> Option<&str> {
    let ends = ["", suffix::CLAIMS, suffix::DAMAGED, suffix::GUARD];
    let name = ends.iter().find_map(|end| {
        let records = entry.strip_suffix(end)?;
        records.strip_suffix(suffix::RECORDS)
    })?;
    is_name(name.as_bytes()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(inode: u64, size: u64, mtime: i64) -> Option<Content> {
        Some(Content {
            device: 1,
            inode,
            size,
            mtime: (mtime, 0),
        })
    }

    /// What a row of looks makes, one list of types a look.
    fn types(looks: &[Seen]) -> Vec<Vec<Happened>> {
        let mut known = Known::default();
        let look = |seen: &Seen| {
            let mut events = Vec::new();
            known.update("a", *seen, &mut events);
            events.iter().map(|event| event.what).collect()
        };
        looks.iter().map(look).collect()
    }

    const NOTHING: Seen = Seen {
        records: None,
        claims: false,
        rest: false,
    };

    fn mail(inode: u64, size: u64, mtime: i64) -> Seen {
        Seen {
            records: records(inode, size, mtime),
            ..NOTHING
        }
    }

    fn appended(bytes: u64) -> Happened {
        Happened::Appended { bytes }
    }

    #[test]
    fn a_life_beside_a_guard() {
        let guard = Seen {
            rest: true,
            ..NOTHING
        };
        let with_mail = Seen {
            rest: true,
            ..mail(1, 10, 1)
        };
        let more = Seen {
            rest: true,
            ..mail(1, 20, 2)
        };
        let claimed = Seen {
            claims: true,
            ..guard
        };
        assert_eq!(
            types(&[guard, with_mail, more, claimed, guard, with_mail]),
            [
                vec![Happened::Created],
                vec![appended(10)],
                vec![appended(20)],
                vec![],
                vec![Happened::Drained],
                vec![appended(10)],
            ]
        );
    }

    #[test]
    fn a_life_between_two_looks() {
        assert_eq!(
            types(&[mail(1, 10, 1), NOTHING, NOTHING]),
            [
                vec![Happened::Created, appended(10)],
                vec![Happened::Drained, Happened::Removed],
                vec![],
            ]
        );
    }

    #[test]
    fn an_empty_record_file_is_no_mail() {
        assert_eq!(
            types(&[mail(1, 0, 1), mail(1, 5, 2), mail(1, 0, 3), NOTHING]),
            [
                vec![Happened::Created],
                vec![appended(5)],
                vec![Happened::Drained], // a legacy peer truncates
                vec![Happened::Removed],
            ]
        );
    }

    #[test]
    fn new_content_under_an_old_inode_and_length() {
        let looks = [mail(1, 10, 1), mail(1, 10, 2), mail(1, 4, 3), mail(2, 4, 3)];
        assert_eq!(
            types(&looks),
            [
                vec![Happened::Created, appended(10)],
                vec![appended(10)],
                vec![appended(4)],
                vec![appended(4)],
            ]
        );
    }

    #[test]
    fn mail_in_the_hands_of_a_reader_is_not_drained() {
        let claims = Seen {
            claims: true,
            ..NOTHING
        };
        let both = Seen {
            claims: true,
            ..mail(2, 7, 2)
        };
        assert_eq!(
            types(&[mail(1, 10, 1), claims, both, mail(2, 7, 2), claims, NOTHING]),
            [
                vec![Happened::Created, appended(10)],
                vec![],
                vec![appended(7)],
                vec![],
                vec![],
                vec![Happened::Drained, Happened::Removed],
            ]
        );
    }

    #[test]
    fn mailboxes_are_apart() {
        let mut known = Known::default();
        let mut events = Vec::new();
        known.update("a", mail(1, 1, 1), &mut events);
        known.update("b", mail(2, 1, 1), &mut events);
        known.update("a", NOTHING, &mut events);
        let names: Vec<&str> = events.iter().map(|event| &*event.mailbox).collect();
        assert_eq!(names, ["a", "a", "b", "b", "a", "a"]);
        assert_eq!(known.names().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn entries() {
        for (entry, mailbox) in [
            ("a.jsonl", Some("a")),
            ("a.jsonl.claims", Some("a")),
            ("a.jsonl.damaged", Some("a")),
            ("a.jsonl.lock.guard", Some("a")),
            ("a.jsonl.jsonl", Some("a.jsonl")),
            ("a.jsonl.lock", None),
            ("a.jsonl.lock.owner", None),
            ("a.jsonl.tmp.1.0123456789abcdef.rest", None),
            (".jsonl", None),
            ("-a.jsonl", None),
            ("a b.jsonl", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(mailbox_of(entry), mailbox, "{entry}");
        }
    }
}
