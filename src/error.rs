//! The one error type, its kinds, and how it reads.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::sys::{fs, limits};

/// What went wrong, as far as a caller may want to act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A name that is not a mailbox name; nothing was touched.
    Name,
    /// A body or record that cannot be written; nothing was written.
    Data,
    /// The lock was not had in time, or lost: try again.
    Busy,
    /// Permissions, a read-only filesystem, or an unsafe file.
    Refused,
    /// Any other failure of the operating system.
    Io,
}

/// A failed operation: what, on which path, and why.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    op: &'static str,
    path: PathBuf,
    detail: String,
    next_step: String,
    source: Option<io::Error>,
}

/// The result of this library's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(
        kind: ErrorKind,
        op: &'static str,
        path: &Path,
        detail: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Error {
        Error(Box::new(Inner {
            kind,
            op,
            path: path.to_owned(),
            detail: detail.into(),
            next_step: next_step.into(),
            source: None,
        }))
    }

    /// A failed call of the operating system.
    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Error {
        use nix::errno::Errno;
        let (kind, next_step) = match source.raw_os_error().map(Errno::from_raw) {
            // A link, a directory, a socket (FILE-2, FILE-3)
            Some(Errno::ELOOP | Errno::EISDIR | Errno::ENXIO) => {
                return Error::unsafe_file(op, path);
            }
            Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
                (ErrorKind::Refused, "check who owns it and its permissions")
            }
            Some(Errno::ENOSPC | Errno::EDQUOT) => (
                ErrorKind::Io,
                "free some space and try again; earlier mail is intact",
            ),
            Some(Errno::EFBIG) => (ErrorKind::Io, "raise the file-size limit (ulimit -f)"),
            Some(Errno::EMFILE | Errno::ENFILE) => {
                (ErrorKind::Io, "raise the limit of open files (ulimit -n)")
            }
            Some(Errno::EXDEV) => (ErrorKind::Io, "both have to be on one filesystem"),
            Some(Errno::ENOENT) => (ErrorKind::Io, "create the directory first"),
            _ => (ErrorKind::Io, "earlier mail is intact; try again"),
        };
        let detail = describe(&source);
        let mut error = Error::new(kind, op, path, detail, next_step);
        error.0.source = Some(source);
        error
    }

    /// A symbolic link, or another kind of file, where the protocol has its own (FILE-2, FILE-3).
    pub(crate) fn unsafe_file(op: &'static str, path: &Path) -> Error {
        let what = match fs::lstat(path) {
            Ok(Some(meta)) if meta.is_symlink() => "a symbolic link",
            Ok(Some(meta)) if meta.is_dir() => "a directory",
            Ok(Some(meta)) if meta.is_file() => "a regular file",
            _ => "a special file",
        };
        let detail = format!("{what} is in the way");
        Error::new(
            ErrorKind::Refused,
            op,
            path,
            detail,
            "look who put it there, then move it away",
        )
    }

    /// Whether there were as many descriptors open as there may be, which passes.
    pub(crate) fn is_out_of_descriptors(&self) -> bool {
        let source = self.0.source.as_ref();
        source.is_some_and(limits::is_out_of_descriptors)
    }

    /// The same error for somebody else it happened to.
    pub(crate) fn again(&self) -> Error {
        let Inner {
            kind,
            op,
            ref path,
            ref detail,
            ref next_step,
            ref source,
        } = *self.0;
        let mut error = Error::new(kind, op, path, detail, next_step);
        error.0.source = source.as_ref().map(|source| match source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(source.kind(), source.to_string()),
        });
        error
    }

    /// Whether there was nothing at the path.
    pub(crate) fn is_absence(&self) -> bool {
        let source = self.0.source.as_ref();
        source.is_some_and(|source| source.kind() == io::ErrorKind::NotFound)
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed, as a verb phrase such as `append to`.
    #[must_use]
    pub fn op(&self) -> &str {
        self.0.op
    }

    /// The path it failed on.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What to do next, for people.
    #[must_use]
    pub fn next_step(&self) -> &str {
        &self.0.next_step
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            op, path, detail, ..
        } = &*self.0;
        write!(f, "cannot {op} {}: {detail}", path.display())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| e as _)
    }
}

/// The system's words for an error, without the number.
fn describe(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}
