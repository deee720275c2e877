//! The message ids a subscriber was shown: what comes back with one of them is a repeat.
//!
//! A take puts records back into a new file, a reader that died leaves them in a claim,
//! and either may be hours after they were shown. So the ids of all records that still
//! stand in a file are kept, and beyond those the newest [`SEEN_IDS`].

use std::collections::{HashSet, VecDeque};

use crate::format::SEEN_IDS;
use crate::format::name::id_number;
use crate::format::record::Record;

/// A message id, as the number it is.
pub(super) type Id = u64;

/// The message id of a record. What other programs keep under `id` is none.
pub(super) fn id_of(record: &Record) -> Option<Id> {
    id_number(record.id()?)
}

/// Ids in the order they were shown. Its size is at most twice the number of records in
/// the files and [`SEEN_IDS`] together, 16 bytes each and what a set takes beside.
#[derive(Default)]
pub(super) struct Ids {
    set: HashSet<Id>,
    order: VecDeque<Id>,
    /// Size at which it is worth while to look which ones still stand in a file.
    full: usize,
}

impl Ids {
    pub(super) fn contains(&self, id: Id) -> bool {
        self.set.contains(&id)
    }

    pub(super) fn insert(&mut self, id: Id) {
        if self.set.insert(id) {
            self.order.push_back(id);
        }
    }

    /// Whether [`forget`](Ids::forget) is due.
    pub(super) fn is_full(&self) -> bool {
        self.order.len() >= self.full.max(2 * SEEN_IDS)
    }

    /// Forgets what is neither in `present` nor among the newest.
    pub(super) fn forget(&mut self, present: &HashSet<Id>) {
        let old = self.order.len().saturating_sub(SEEN_IDS);
        let mut place = 0;
        let set = &mut self.set;
        self.order.retain(|id| {
            place += 1;
            let stays = place > old || present.contains(id);
            if !stays {
                set.remove(id);
            }
            stays
        });
        self.full = 2 * self.order.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_only_what_is_old_and_gone() {
        let mut ids = Ids::default();
        let count = 2 * SEEN_IDS as Id;
        for id in 0..count {
            assert!(!ids.is_full());
            ids.insert(id);
            ids.insert(id);
        }
        assert!(ids.is_full());
        ids.forget(&HashSet::from([7, 9]));
        assert_eq!(ids.order.len(), SEEN_IDS + 2);
        assert_eq!(ids.set.len(), SEEN_IDS + 2);
        assert!(ids.contains(7) && ids.contains(9) && !ids.contains(8));
        assert!(ids.contains(count - 1) && ids.contains(count / 2));
        assert!(!ids.contains(count / 2 - 1));
        assert!(!ids.is_full());
    }

    #[test]
    fn message_ids_only() {
        assert_eq!(id_number("00000000000000ff"), Some(255));
        for text in ["", "ff", "00000000000000FF", "00000000000000ff0"] {
            assert_eq!(id_number(text), None);
        }
    }
}
