//! flock(2), through fs2: the kernel lets go of it when its holder dies.

use std::fs::File;
use std::io;

/// What became of a try to lock a file.
pub(crate) enum Flock {
    Held,
    /// Another process holds it.
    Contended,
    /// This filesystem has no flock.
    Unsupported,
}

/// Takes an exclusive flock on `file` if it can be had now.
pub(crate) fn try_lock(file: &File) -> io::Result<Flock> {
    use nix::errno::Errno;
    let Err(error) = fs2::FileExt::try_lock_exclusive(file) else {
        return Ok(Flock::Held);
    };
    if error.kind() == fs2::lock_contended_error().kind() {
        return Ok(Flock::Contended);
    }
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EOPNOTSUPP | Errno::ENOLCK | Errno::ENOSYS | Errno::EINVAL) => {
            Ok(Flock::Unsupported)
        }
        _ => Err(error),
    }
}

/// Lets go at once. Closing alone does that only when no process that was forked meanwhile
/// has a copy of the descriptor.
pub(crate) fn unlock(file: &File) {
    let _ = fs2::FileExt::unlock(file); // the file is about to be closed
}
