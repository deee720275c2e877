//! What this process was given: limits and descriptors.

use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::PIPE_BUF;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{SFlag, fstat, stat};

/// Raises the soft limit of open files to the hard one. A reader with the guard holds
/// one for each claim, and readers that died may have left many.
pub(crate) fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard); // then the soft one has to do
    }
}

/// How many descriptors this process may have open.
pub(crate) fn open_files() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, _)| soft);
    // What every system allows, where it does not say.
    soft.map_or(256, |soft| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// Whether `file` is `/dev/null` opened for reading and writing.
pub(crate) fn is_null_for_reading(file: impl AsFd) -> bool {
    let is_null = || -> nix::Result<bool> {
        let (found, null) = (fstat(file.as_fd())?, stat("/dev/null")?);
        let flags = OFlag::from_bits_retain(fcntl(file.as_fd(), FcntlArg::F_GETFL)?);
        Ok(found.st_rdev == null.st_rdev
            && found.st_mode == null.st_mode
            && flags.intersection(OFlag::O_ACCMODE) == OFlag::O_RDWR)
    };
    is_null().unwrap_or(false)
}

/// Whether a write of `length` bytes would not wait for anybody: to a regular file, or to a
/// pipe that has room. Another writer may fill that pipe first; the write then waits.
pub(crate) fn takes_at_once(file: impl AsFd, length: usize) -> bool {
    let Ok(found) = fstat(file.as_fd()) else {
        return false;
    };
    let mut ready = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => true,
        // One that is ready takes this much in one piece.
        SFlag::S_IFIFO => length <= PIPE_BUF && poll(&mut ready, PollTimeout::ZERO) == Ok(1),
        _ => false,
    }
}

/// Whether there were as many descriptors open as there may be, which passes.
pub(crate) fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    use nix::errno::Errno;
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMFILE | Errno::ENFILE)
    )
}
