//! Unix sockets, and waiting for descriptors. Knows nothing of hubs.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
pub(crate) use nix::poll::PollFlags as Readiness;
use nix::poll::{PollFd, PollTimeout};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr};

/// How many connections may wait to be accepted.
const WAITING: i32 = 1024;

/// Listens on a socket made at `path`, where nothing may be; mode 0600; nothing blocks.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = unblocking()?;
    nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    // Before it listens: nobody else can have connected.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let waiting = Backlog::new(WAITING).unwrap_or(Backlog::MAXCONN);
    nix::sys::socket::listen(&socket, waiting)?;
    Ok(socket.into())
}

/// A stream socket that does not block, and that no child gets.
fn unblocking() -> io::Result<OwnedFd> {
    let socket = nix::sys::socket::socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::empty(),
        None,
    )?;
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(socket)
}

/// Connects to the socket at `path`, without waiting for whoever listens; reads and
/// writes will not block. `None` when there is no socket, or nobody behind it;
/// `WouldBlock` when as many as may wait there already do.
pub(crate) fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    let socket = unblocking()?;
    loop {
        match nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?) {
            Ok(()) => return Ok(Some(socket.into())),
            Err(Errno::ENOENT | Errno::ECONNREFUSED | Errno::ENOTDIR) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// The next connection that waits, which will not block; `None` when none does.
pub(crate) fn accept(listener: &UnixListener) -> io::Result<Option<UnixStream>> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            // The peer was gone before we came to it.
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        stream.set_nonblocking(true)?;
        return Ok(Some(stream));
    }
}

/// Whether what `meta` describes is a socket.
pub(crate) fn is_socket(meta: &std::fs::Metadata) -> bool {
    meta.file_type().is_socket()
}

/// What came of a read or a write that does not block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// So many bytes; of a read, 0 is the end.
    Bytes(usize),
    /// Not now.
    Blocked,
    /// The peer is gone.
    Gone,
}

/// Reads from a socket that does not block.
pub(crate) fn read(mut stream: &UnixStream, buffer: &mut [u8]) -> Moved {
    moved(|| stream.read(buffer))
}

/// Writes to a socket that does not block.
pub(crate) fn write(mut stream: &UnixStream, bytes: &[u8]) -> Moved {
    moved(|| stream.write(bytes))
}

fn moved(mut call: impl FnMut() -> io::Result<usize>) -> Moved {
    loop {
        match call() {
            Ok(n) => return Moved::Bytes(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Moved::Blocked,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // Whatever it is, nothing more will come or go here.
            Err(_) => return Moved::Gone,
        }
    }
}

/// Waits until one of the descriptors is ready for what is asked of it, at most for
/// `limit`; a signal may end the wait early. What each is ready for, in the same order;
/// a hang-up and an error are told unasked.
pub(crate) fn wait(
    asked: &[(BorrowedFd<'_>, Readiness)],
    limit: Option<Duration>,
) -> io::Result<Vec<Readiness>> {
    let mut fds: Vec<PollFd<'_>> = asked
        .iter()
        .map(|(fd, readiness)| PollFd::new(*fd, *readiness))
        .collect();
    // Rounded up: a wait that ends too early would be begun again and again.
    let limit = limit.map(|limit| limit.as_nanos().div_ceil(1_000_000));
    let limit = limit.map_or(PollTimeout::NONE, |ms| {
        PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
    });
    match nix::poll::poll(&mut fds, limit) {
        Ok(_) => Ok(fds
            .iter()
            .map(|fd| fd.revents().unwrap_or(Readiness::empty()))
            .collect()),
        Err(Errno::EINTR) => Ok(vec![Readiness::empty(); asked.len()]),
        Err(e) => Err(e.into()),
    }
}
