//! Reading lines out of files, and dropping what was seen before.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader};

use crate::format::SEEN_IDS;
use crate::format::name::is_id;
use crate::format::record::Record;

/// The lines of one file, without their newlines.
pub(crate) struct Lines {
    file: BufReader<File>,
}

impl Lines {
    pub(crate) fn of(file: File) -> Lines {
        Lines {
            file: BufReader::with_capacity(64 << 10, file),
        }
    }

    /// The next line, and whether a newline ended it; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<(Vec<u8>, bool)>> {
        let mut line = Vec::new();
        if self.file.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let is_ended = line.last() == Some(&b'\n');
        if is_ended {
            line.pop();
        }
        Ok(Some((line, is_ended)))
    }
}

/// The ids seen in one pass, the newest 65,536 of them (DRAIN-7).
#[derive(Default)]
pub(crate) struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    /// Notes a record; `false` when one with its message id was seen before. What other
    /// programs keep under `id` says nothing about repeats.
    pub(crate) fn is_new(&mut self, record: &Record) -> bool {
        let Some(id) = record.id().filter(|id| is_id(id.as_bytes())) else {
            return true;
        };
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > SEEN_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
