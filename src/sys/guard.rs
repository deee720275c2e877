//! flock(2), through fs2: the kernel lets go of it when its holder dies.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

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

/// A turn at a guard that others wait for too (ACQ-10): a lock of its first byte that is no
/// flock and in the way of none.
pub(crate) struct Turn(Arc<File>);

/// Waits for turns. A wait in the kernel that is to end in time takes a thread, which is
/// started with the first one and ends with this.
#[derive(Debug, Default)]
pub(crate) struct Turns(Option<Waiter>);

#[derive(Debug)]
struct Waiter {
    requests: SyncSender<Arc<File>>,
    turns: Receiver<Turn>,
}

impl Turns {
    /// `None` when it is not had in time, or where there is no such lock.
    pub(crate) fn wait(&mut self, file: &Arc<File>, at_most: Duration) -> Option<Turn> {
        if !HAS_TURNS {
            return None;
        }
        if ofd::try_lock(file) {
            return Some(Turn(Arc::clone(file)));
        }
        let waiter = match self.0.take() {
            Some(waiter) => waiter,
            None => Waiter::start()?,
        };
        waiter.requests.send(Arc::clone(file)).ok()?;
        // A turn that comes too late finds nobody to be handed to, and the thread ends.
        let turn = waiter.turns.recv_timeout(at_most).ok()?;
        self.0 = Some(waiter);
        Some(turn)
    }
}

impl Waiter {
    fn start() -> Option<Waiter> {
        let (requests, asked) = sync_channel::<Arc<File>>(1);
        let (hand_over, turns) = sync_channel(0);
        let wait = move || {
            for file in asked {
                if !ofd::lock(&file) || hand_over.send(Turn(file)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(wait);
        thread.ok().map(|_| Waiter { requests, turns })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        ofd::unlock(&self.0);
    }
}

/// Of a thread that makes one call.
const STACK: usize = 64 << 10;

/// Whether there are locks that belong to the open file, as flock's do, and have a range, as
/// fcntl's do.
const HAS_TURNS: bool = cfg!(any(target_os = "linux", target_os = "android"));

#[cfg(any(target_os = "linux", target_os = "android"))]
mod ofd {
    use std::fs::File;

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc::{self, flock};

    fn first_byte(how: libc::c_int) -> flock {
        flock {
            l_type: how as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 1,
            l_pid: 0,
        }
    }

    pub(super) fn try_lock(file: &File) -> bool {
        fcntl(file, FcntlArg::F_OFD_SETLK(&first_byte(libc::F_WRLCK))).is_ok()
    }

    pub(super) fn lock(file: &File) -> bool {
        fcntl(file, FcntlArg::F_OFD_SETLKW(&first_byte(libc::F_WRLCK))).is_ok()
    }

    pub(super) fn unlock(file: &File) {
        // Closing does it too, when nobody has a copy of the descriptor.
        let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&first_byte(libc::F_UNLCK)));
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod ofd {
    use std::fs::File;

    pub(super) fn try_lock(_: &File) -> bool {
        false
    }

    pub(super) fn lock(_: &File) -> bool {
        false
    }

    pub(super) fn unlock(_: &File) {}
}
