//! Reading lines out of files, and dropping what was seen before.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, BufRead, BufReader, Read};

use memchr::memchr;

use crate::format::SEEN_IDS;
use crate::format::name::id_number;
use crate::format::record::Record;

/// The lines of one file, without their newlines.
pub(crate) struct Lines<F> {
    file: BufReader<F>,
    /// How much of what is buffered was handed out.
    used: usize,
    /// A line that does not stand in one buffer.
    line: Vec<u8>,
}

impl<F: Read> Lines<F> {
    pub(crate) fn of(file: F) -> Lines<F> {
        Lines {
            file: BufReader::with_capacity(64 << 10, file),
            used: 0,
            line: Vec::new(),
        }
    }

    /// The next line, and whether a newline ended it; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<(&[u8], bool)>> {
        self.file.consume(std::mem::take(&mut self.used));
        self.line.clear();
        loop {
            let text = match self.file.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                text => text?,
            };
            if text.is_empty() {
                let is_there = !self.line.is_empty();
                return Ok(is_there.then_some((&self.line, false)));
            }
            if let Some(length) = memchr(b'\n', text) {
                self.used = length + 1;
                break;
            }
            self.line.extend_from_slice(text);
            let all = text.len();
            self.file.consume(all);
        }
        let text = &self.file.buffer()[..self.used - 1];
        if self.line.is_empty() {
            return Ok(Some((text, true)));
        }
        self.line.extend_from_slice(text);
        Ok(Some((&self.line, true)))
    }
}

/// The lines of a text, without their newlines.
pub(crate) fn lines_in(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let end = memchr(b'\n', text).unwrap_or(text.len());
        let (line, rest) = text.split_at(end);
        text = rest.get(1..).unwrap_or_default();
        Some(line)
    })
}

/// The ids seen in one pass, the newest 65,536 of them (DRAIN-7).
#[derive(Default)]
pub(crate) struct Seen {
    ids: HashSet<u64, Seed>,
    order: VecDeque<u64>,
}

impl Seen {
    /// Notes a record; `false` when one with its message id was seen before. What other
    /// programs keep under `id` says nothing about repeats.
    pub(crate) fn is_new(&mut self, record: &Record) -> bool {
        let Some(id) = record.id().and_then(id_number) else {
            return true;
        };
        if self.order.is_empty() {
            // Most mail is less, and nothing of it is moved then.
            self.ids.reserve(SOME);
            self.order.reserve(SOME);
        }
        if !self.ids.insert(id) {
            return false;
        }
        if self.order.len() == SEEN_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        self.order.push_back(id);
        true
    }
}

/// For how many ids there is room at first.
const SOME: usize = 200;

/// Spreads ids over a table by one multiplication. Nobody can choose ids that meet in one
/// place of it, because the factor is drawn for each pass.
struct Seed(u64);

impl Default for Seed {
    fn default() -> Seed {
        Seed(rand::random::<u64>() | 1)
    }
}

impl BuildHasher for Seed {
    type Hasher = Spread;

    fn build_hasher(&self) -> Spread {
        Spread(self.0)
    }
}

struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        let product = u128::from(id) * u128::from(self.0);
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(text: &[u8]) -> Vec<(Vec<u8>, bool)> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut lines = Lines::of(file);
        let mut found = Vec::new();
        while let Some((line, is_ended)) = lines.next().unwrap() {
            found.push((line.to_vec(), is_ended));
        }
        assert!(lines.next().unwrap().is_none());
        assert!(lines_in(text).eq(found.iter().map(|(line, _)| line)));
        found
    }

    #[test]
    fn lines_are_what_stands_between_newlines() {
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"a"), [(b"a".to_vec(), false)]);
        assert_eq!(lines(b"\n"), [(b"".to_vec(), true)]);
        let two = [(b"a".to_vec(), true), (b"".to_vec(), true)];
        assert_eq!(lines(b"a\n\n"), two);
    }

    #[test]
    fn a_line_may_stand_across_what_is_read_at_once() {
        for length in [1, 7, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 300_000] {
            let mut text = Vec::new();
            let line: Vec<u8> = (0..length).map(|i| b'a' + (i % 26) as u8).collect();
            for _ in 0..20 {
                text.extend_from_slice(&line);
                text.push(b'\n');
            }
            text.extend_from_slice(&line);
            let mut wanted = vec![(line.clone(), true); 20];
            wanted.push((line, false));
            assert!(lines(&text) == wanted, "{length}");
        }
    }

    #[test]
    fn the_newest_ids_are_seen_and_older_ones_are_new_again() {
        let record = |id: usize| {
            let line = format!("{{\"id\":\"{id:016x}\"}}");
            Record::from_line(line.into_bytes()).unwrap()
        };
        let mut seen = Seen::default();
        for id in 0..=SEEN_IDS {
            assert!(seen.is_new(&record(id)));
        }
        assert!(!seen.is_new(&record(1)));
        assert!(!seen.is_new(&record(SEEN_IDS)));
        assert!(seen.is_new(&record(0)));
        assert!(seen.is_new(&record(1)));
    }
}
