//! One file, read line by line as it grows.
//!
//! The file is held open: its inode is not another's meanwhile, and it can be read to
//! its end after it was renamed or unlinked.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};

use memchr::memchr;

use crate::format::record::{Line, Record};

/// Device and inode.
pub(super) type Identity = (u64, u64);

pub(super) struct Tail {
    file: File,
    pub(super) identity: Identity,
    /// Where the first line begins that was not taken yet.
    next: u64,
    /// How long the file was when it was read last.
    end: u64,
    /// The beginning of the line taken last: where it is not there any more, the file was
    /// rewritten in place.
    last_line: Option<(u64, Vec<u8>)>,
}

/// How much of a line tells it from any other: more than the id of a message.
const MARK: usize = 64;

/// How much is read at a time, in bytes.
const CHUNK: usize = 64 << 10;

impl Tail {
    pub(super) fn of(file: File) -> io::Result<Tail> {
        let meta = file.metadata()?;
        Ok(Tail {
            identity: (meta.dev(), meta.ino()),
            file,
            next: 0,
            end: 0,
            last_line: None,
        })
    }

    /// The same file, from its beginning.
    pub(super) fn again(&self) -> io::Result<Tail> {
        Tail::of(self.file.try_clone()?)
    }

    /// Whether it has grown, or shrunk, since it was read.
    pub(super) fn has_changed(&self) -> io::Result<bool> {
        let length = self.file.metadata()?.len();
        // As long as it was, it may have been emptied and filled again.
        Ok(length != self.end || !self.is_as_it_was()?)
    }

    /// Hands over the records that were not taken yet. One for which `take` breaks was not
    /// taken, and comes again. A torn last line is not there yet (PEEK-3).
    pub(super) fn read(
        &mut self,
        take: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        if self.file.metadata()?.len() < self.next || !self.is_as_it_was()? {
            // A legacy peer truncated it, or somebody wrote it anew: from the beginning,
            // where the ids tell what is known.
            self.next = 0;
            self.last_line = None;
        }
        let (mut text, mut begin) = (Vec::new(), 0);
        let mut record = Record::place();
        loop {
            let Some(length) = memchr(b'\n', &text[begin..]) else {
                text.drain(..begin);
                begin = 0;
                if self.fill(&mut text)? {
                    continue;
                }
                break;
            };
            let line = &text[begin..begin + length];
            if self
                .take_line(line, length as u64 + 1, &mut record, take)
                .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            begin += length + 1;
        }
        self.end = self.next + text.len() as u64;
        // Whole without its newline, it is a record; the newline will be a blank line.
        if let Line::Record(_) = Line::classify(&text, &mut record) {
            return Ok(self.take_line(&text, text.len() as u64, &mut record, take));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn take_line(
        &mut self,
        line: &[u8],
        length: u64,
        record: &mut Record,
        take: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        // Damaged lines are for whoever drains (DMG-2).
        if let Line::Record(record) = Line::classify(line, record) {
            take(record)?;
        }
        if !line.is_empty() {
            self.last_line = Some((self.next, line[..line.len().min(MARK)].to_vec()));
        }
        self.next += length;
        self.end = self.next;
        ControlFlow::Continue(())
    }

    /// Appends what follows `text` in the file; `false` at its end.
    fn fill(&self, text: &mut Vec<u8>) -> io::Result<bool> {
        let (old, at) = (text.len(), self.next + text.len() as u64);
        text.resize(old + CHUNK, 0);
        let got = loop {
            match self.file.read_at(&mut text[old..], at) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                got => break got?,
            }
        };
        text.truncate(old + got);
        Ok(got > 0)
    }

    fn is_as_it_was(&self) -> io::Result<bool> {
        let Some((at, mark)) = &self.last_line else {
            return Ok(true);
        };
        let mut there = vec![0; mark.len()];
        match self.file.read_exact_at(&mut there, *at) {
            Ok(()) => Ok(there == *mark),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(e),
        }
    }
}
