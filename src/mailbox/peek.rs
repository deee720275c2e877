//! Peek: reading without the lock and without changing anything.

use std::fs::{File, Metadata};
use std::io::{self, Seek};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;

use crate::error::{Error, Result};
use crate::format::record::{Line, Record};
use crate::format::token::ClaimName;
use crate::format::{GUARDED_CLAIM_STALE, STALE};
use crate::mailbox::reader::{Lines, Seen};
use crate::mailbox::{Mailbox, Match};
use crate::sys::{clock, fs};

/// What to peek at.
#[derive(Clone, Debug, Default)]
pub struct Peek {
    /// Only what stands after the last record with this id; everything when there is none.
    pub since: Option<String>,
    /// At most so many messages.
    pub max: Option<u64>,
}

/// What is in a mailbox.
#[derive(Clone, Debug, Default)]
pub struct Peeked {
    /// The records, oldest first, each id once.
    pub records: Vec<Record>,
    /// How many lines were not records. They stay until somebody drains.
    pub damaged: usize,
}

/// How often a look that others cut across is taken again.
const TRIES: usize = 100;

impl Mailbox {
    /// The records a drain would hand over, and those other readers have in hand.
    /// Takes no lock (PEEK-1).
    ///
    /// # Errors
    /// When a file is unsafe or cannot be read.
    ///
    /// # Pitfalls
    /// It is a snapshot: what it shows may be gone by now. It holds all records in memory.
    pub fn peek(&self, how: &Peek) -> Result<Peeked> {
        let mut records = Vec::new();
        let damaged = self.peek_each(how, |record| {
            records.push(record.clone());
            Ok::<_, Error>(())
        })?;
        Ok(Peeked { records, damaged })
    }

    /// The same for whoever needs each record once: calls `each` with one after the other,
    /// and returns how many lines were not records. An error of `each` ends it.
    pub(crate) fn peek_each<E: From<Error>>(
        &self,
        how: &Peek,
        mut each: impl FnMut(&Record) -> Result<(), E>,
    ) -> Result<usize, E> {
        let files = self.settled_snapshot()?;
        let (mut before, mut place) = (0, 0);
        if let Some(since) = &how.since {
            self.each_record(&files, |record| {
                place += 1;
                if record.id() == Some(since) {
                    before = place;
                }
                Ok::<_, Error>(())
            })?;
            files
                .rewind()
                .map_err(|e| Error::io("read", &self.records, e))?;
        }
        let end = how.max.map_or(u64::MAX, |max| max.saturating_add(before));
        place = 0;
        self.each_record(&files, |record| {
            place += 1;
            match before < place && place <= end {
                true => each(record),
                false => Ok(()),
            }
        })
    }

    /// The records nobody has in hand, as far as the names of claims tell: one of a reader
    /// that was killed counts when it is old.
    pub(crate) fn waiting_records(&self) -> Result<Vec<Record>> {
        let now = clock::unix_millis();
        let files = self.settled(|name| {
            let limit = match name.is_guarded() {
                true => GUARDED_CLAIM_STALE,
                false => STALE,
            };
            name.is_older_than(limit, now)
        })?;
        let mut records = Vec::new();
        self.each_record(&files, |record| {
            records.push(record.clone());
            Ok::<_, Error>(())
        })?;
        Ok(records)
    }

    /// Calls `each` with every record there is to see (PEEK-2), and returns how many lines
    /// were not records.
    fn each_record<E: From<Error>>(
        &self,
        files: &Snapshot,
        mut each: impl FnMut(&Record) -> Result<(), E>,
    ) -> Result<usize, E> {
        let (mut damaged, mut seen, mut record) = (0, Seen::default(), Record::place());
        let failed = self.search(files, |line, is_ended, place| {
            match Line::classify(line, &mut record) {
                Line::Record(record) if seen.is_new(record) => {
                    if let Err(error) = each(record) {
                        return ControlFlow::Break(error);
                    }
                }
                Line::Damaged(_) if is_ended || place == Place::Claim => damaged += 1,
                // A torn last line of the record file is not there yet (PEEK-3).
                Line::Record(_) | Line::Damaged(_) | Line::Blank => {}
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(damaged), Err)
    }

    /// Calls `each` with every line, whether a newline ended it and where it stands, until
    /// `each` breaks with what was looked for.
    fn search<B>(
        &self,
        files: &Snapshot,
        mut each: impl FnMut(&[u8], bool, Place) -> ControlFlow<B>,
    ) -> Result<Option<B>> {
        let failed = |e| Error::io("read", &self.records, e);
        for (file, place) in files.all() {
            let mut lines = Lines::of(file);
            while let Some((line, is_ended)) = lines.next().map_err(failed)? {
                if let ControlFlow::Break(found) = each(line, is_ended, place) {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// The first record with this id, and where it stands.
    pub(crate) fn find(&self, id: &str) -> Result<Option<(Place, Record)>> {
        let files = self.settled_snapshot()?;
        let mut record = Record::place();
        self.search(&files, |line, _, place| {
            // Other lines are not looked into.
            let may_be = std::str::from_utf8(line).is_ok_and(|text| text.contains(id));
            match may_be.then(|| Line::classify(line, &mut record)) {
                Some(Line::Record(record)) if record.id() == Some(id) => {
                    ControlFlow::Break((place, record.clone()))
                }
                _ => ControlFlow::Continue(()),
            }
        })
    }

    /// Where the first record that is `wanted` stands, if there is one.
    pub(crate) fn place_of(&self, wanted: &Match) -> Result<Option<Place>> {
        let files = self.settled_snapshot()?;
        let mut record = Record::place();
        self.search(&files, |line, _, place| {
            match Line::classify(line, &mut record) {
                Line::Record(record) if wanted.fits(record) => ControlFlow::Break(place),
                _ => ControlFlow::Continue(()),
            }
        })
    }

    /// Whether any claim is in the hands of a reader, who has not given it up.
    pub(crate) fn is_in_hand(&self) -> Result<bool> {
        let names = self.list_claims()?.names;
        Ok(names.iter().any(|name| !name.is_given_up()))
    }

    /// How many lines there are, in claims and in the record file, but for empty ones.
    pub(crate) fn count_lines(&self) -> Result<u64> {
        let files = self.settled_snapshot()?;
        let mut count = 0;
        self.search(&files, |line, _, _| {
            count += u64::from(!line.is_empty());
            ControlFlow::<()>::Continue(())
        })?;
        Ok(count)
    }

    /// All claims, oldest first, and the record file, open; none of it is read yet.
    pub(crate) fn settled_snapshot(&self) -> Result<Snapshot> {
        self.settled(|_| true)
    }

    /// The same of the claims that are wanted.
    fn settled(&self, is_wanted: impl Fn(&ClaimName) -> bool) -> Result<Snapshot> {
        let mut files = self.snapshot(&is_wanted)?;
        for _ in 1..TRIES {
            if files.is_whole {
                break;
            }
            files = self.snapshot(&is_wanted)?;
        }
        Ok(files)
    }

    fn snapshot(&self, is_wanted: impl Fn(&ClaimName) -> bool) -> Result<Snapshot> {
        self.has_mail()?; // refuses what is unsafe
        let failed = |e| Error::io("read", &self.records, e);
        let records = fs::open_read(&self.records).map_err(failed)?;
        let opened = records
            .as_ref()
            .map(File::metadata)
            .transpose()
            .map_err(failed)?;
        let mut names = self.list_claims()?.names;
        names.retain(is_wanted);
        let claims = self.open_all(&names)?;
        // One that is missing was adopted, delivered or put back since.
        let mut is_whole = claims.len() == names.len();
        let there = fs::lstat(&self.records).map_err(failed)?;
        is_whole &= is_same(opened.as_ref(), there.as_ref());
        Ok(Snapshot {
            claims,
            records,
            is_whole,
        })
    }

    /// The claims there are now, oldest first, each with its birth, open; but for those
    /// that are known by birth, and device and inode.
    pub(crate) fn open_claims(
        &self,
        mut is_known: impl FnMut(u64, (u64, u64)) -> bool,
    ) -> Result<Vec<(u64, File)>> {
        if !self.has_claims()? {
            return Ok(Vec::new());
        }
        let mut names = self.list_claims()?.names;
        names.retain(|name| {
            let there = fs::lstat(&self.claims.join(name.to_entry()));
            // One that cannot be looked at cannot be opened either, which says why.
            let there = there.ok().flatten();
            !there.is_some_and(|meta| is_known(name.birth, (meta.dev(), meta.ino())))
        });
        self.open_all(&names)
    }

    fn open_all(&self, names: &[ClaimName]) -> Result<Vec<(u64, File)>> {
        let mut open = Vec::with_capacity(names.len());
        for name in names {
            let path = self.claims.join(name.to_entry());
            let file = fs::open_read(&path).map_err(|e| Error::io("read", &path, e))?;
            open.extend(file.map(|file| (name.birth, file)));
        }
        Ok(open)
    }
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the hands of a reader.
    Claim,
    Records,
}

/// What a mailbox consists of at one moment.
pub(crate) struct Snapshot {
    /// Each with its birth, the oldest first.
    pub(crate) claims: Vec<(u64, File)>,
    pub(crate) records: Option<File>,
    /// Nothing moved between its files while it was taken.
    is_whole: bool,
}

impl Snapshot {
    /// Its files in the order of PEEK-2.
    fn all(&self) -> impl Iterator<Item = (&File, Place)> {
        let claims = self.claims.iter().map(|(_, file)| (file, Place::Claim));
        let records = self.records.iter().map(|file| (file, Place::Records));
        claims.chain(records)
    }

    /// Has all of them read from the beginning once more.
    fn rewind(&self) -> io::Result<()> {
        self.all().try_for_each(|(mut file, _)| file.rewind())
    }
}

fn is_same(a: Option<&Metadata>, b: Option<&Metadata>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => fs::is_same(a, b),
        (None, None) => true,
        _ => false,
    }
}
