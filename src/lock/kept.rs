//! Files kept open from one acquisition to the next, by a handle that asks for it (ACQ-9).

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::token::Token;
use crate::sys::fs;
use crate::sys::guard::Turns;

/// What a handle keeps open of a lock; with the default, nothing.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Whether anything is to be kept.
    is_keeping: bool,
    guard: Option<Opened>,
    private: Option<Private>,
    /// There are no hard links on this filesystem.
    has_no_links: bool,
    pub(super) turns: Turns,
    /// Others were at the guard when it was last taken.
    pub(super) had_to_wait: bool,
    process: u32,
}

impl Kept {
    pub(crate) fn keeping() -> Kept {
        Kept {
            is_keeping: true,
            ..Kept::default()
        }
    }

    pub(crate) fn is_keeping(&self) -> bool {
        self.is_keeping
    }

    /// Which process it is that acquires, as a call of the system says: a child that was
    /// forked has its parent's locks with its parent's files, and leaves them alone.
    pub(super) fn begin(&mut self) -> u32 {
        self.process = std::process::id();
        self.process
    }

    /// A file of the process that acquired last.
    pub(crate) fn opened(&self, (file, meta): (File, Metadata)) -> Opened {
        Opened {
            id: fs::file_id(&meta),
            file: Arc::new(file),
            process: self.process,
        }
    }

    /// Whether it was opened by the process that acquired last.
    pub(crate) fn is_ours(&self, opened: &Opened) -> bool {
        opened.process == self.process
    }

    /// The guard as it was kept, or as `open` opens it; and whether it was kept.
    pub(super) fn guard(
        &mut self,
        open: impl Fn() -> io::Result<(File, Metadata)>,
    ) -> io::Result<(Opened, bool)> {
        match self.guard.take() {
            Some(opened) if self.is_ours(&opened) => Ok((opened, true)),
            _ => Ok((self.opened(open()?), false)),
        }
    }

    /// A private file that holds `token`, to link the owner from; `None` where none is to be
    /// used. `path` is that of a new one.
    pub(super) fn private(
        &mut self,
        token: &Token,
        path: impl FnOnce() -> PathBuf,
    ) -> io::Result<Option<Private>> {
        if !self.is_keeping || self.has_no_links {
            return Ok(None);
        }
        let kept = self.private.take();
        let private = match kept.filter(|it| self.is_ours(&it.opened)) {
            Some(private) => Some(private),
            None => self.create(path())?,
        };
        if let Some(private) = &private {
            private.write(token)?;
        }
        Ok(private)
    }

    /// `None` when there is something of that name.
    fn create(&self, path: PathBuf) -> io::Result<Option<Private>> {
        let Some(file) = fs::create_new(&path)? else {
            return Ok(None);
        };
        let meta = file.metadata()?;
        let opened = self.opened((file, meta));
        Ok(Some(Private { path, opened }))
    }

    pub(super) fn without_links(&mut self) {
        self.has_no_links = true;
    }

    /// Keeps the guard's file for the next time.
    pub(super) fn keep_guard(&mut self, guard: Opened) {
        self.guard = Some(guard).filter(|_| self.is_keeping);
    }

    /// Keeps a private file that is not linked to any more.
    pub(super) fn keep_private(&mut self, private: Private) {
        self.private = Some(private);
    }
}

/// An open file, and which one it is.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: Arc<File>,
    id: (u64, u64),
    process: u32,
}

impl Opened {
    /// Whether `there` is this file.
    pub(crate) fn is(&self, there: &Metadata) -> bool {
        self.id == fs::file_id(there)
    }
}

/// A file of this handle alone, under a name of its own, that the owner file is linked from
/// (ACQ-8).
#[derive(Debug)]
pub(super) struct Private {
    path: PathBuf,
    opened: Opened,
}

impl Private {
    /// The tokens of a process that has the guard are of one length.
    fn write(&self, token: &Token) -> io::Result<()> {
        self.opened.file.write_all_at(token.as_str().as_bytes(), 0)
    }

    /// `false` when there is an owner.
    pub(super) fn link_to(&self, owner: &Path) -> io::Result<bool> {
        fs::link(&self.path, owner)
    }

    /// REL-3: whether the owner file is this one and reads `token`.
    pub(super) fn is_owner(&self, owner: &Path, token: &Token) -> io::Result<bool> {
        // In this order: what reads the token now has read it since it was written.
        let is_there = fs::lstat(owner)?.is_some_and(|there| self.opened.is(&there));
        Ok(is_there && self.reads(token)?)
    }

    fn reads(&self, token: &Token) -> io::Result<bool> {
        let token = token.as_str().as_bytes();
        let mut found = vec![0; token.len() + 1];
        let length = self.opened.file.read_at(&mut found, 0)?;
        Ok(&found[..length] == token)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if self.opened.process == std::process::id() {
            let _ = fs::unlink(&self.path); // doctor removes what is left
        }
    }
}
