//! Where the socket of a root is, and its life: made, kept in its place, removed.
//!
//! A socket of a hub that died stays on the disk, so a path says nothing: whoever wants to
//! know connects. Two hubs that find the same dead socket are kept apart by a flock, which
//! the kernel lets go of when its holder dies.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::format::{MAX_SOCKET_PATH, place};
use crate::root::{Root, check_directory};
use crate::sys::guard::{self, Flock};
use crate::sys::{fs, socket};

const OP: &str = "use the socket";

/// Where the hub of a root listens (HUB-1).
#[derive(Clone, Debug)]
pub struct Place {
    dir: PathBuf,
    socket: PathBuf,
    guard: PathBuf,
}

/// What is at the place of a socket.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    /// A socket nobody listens on.
    Dead,
    Alive(UnixStream),
    /// A hub that accepts nobody, while many wait: frozen, perhaps.
    Deaf,
}

impl Place {
    /// The place for `root`: in it, or, when that path is too long for a socket, in
    /// `runtime_dir` (`$XDG_RUNTIME_DIR`). `None` when there is no such root yet, or
    /// neither will do.
    ///
    /// # Errors
    /// When the root is unsafe, or its path cannot be made out.
    pub fn of(root: &Root, runtime_dir: Option<&Path>) -> Result<Option<Place>> {
        root.check()?;
        let canonical = fs::canonical(root.dir()).map_err(|e| Error::io(OP, root.dir(), e))?;
        let Some(dir) = canonical else {
            return Ok(None);
        };
        let fits = |path: &PathBuf| path.as_os_str().len() <= MAX_SOCKET_PATH;
        let in_root = Some(dir.join(place::SOCKET)).filter(fits);
        if let Some(socket) = in_root {
            let guard = dir.join(place::GUARD);
            return Ok(Some(Place { dir, socket, guard }));
        }
        let Some(runtime) = runtime_dir.map(|runtime| runtime.join(place::RUNTIME)) else {
            return Ok(None);
        };
        let hash = fnv1a(dir.as_os_str().as_bytes());
        let socket = Some(runtime.join(format!("{hash:016x}.socket"))).filter(fits);
        Ok(socket.map(|socket| Place {
            guard: runtime.join(format!("{hash:016x}.guard")),
            dir: runtime,
            socket,
        }))
    }

    /// The path of the socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Looks what is there, and connects when somebody listens.
    pub(crate) fn find(&self) -> Result<Found> {
        check_directory(&self.dir)?;
        let failed = |e| Error::io(OP, &self.socket, e);
        let Some(meta) = fs::lstat(&self.socket).map_err(failed)? else {
            return Ok(Found::Nothing);
        };
        if !socket::is_socket(&meta) {
            return Err(Error::unsafe_file(OP, &self.socket));
        }
        if !fs::is_mine(&meta) {
            let (what, next_step) = ("it belongs to another user", "look who put it there");
            let refused = ErrorKind::Refused;
            return Err(Error::new(refused, OP, &self.socket, what, next_step));
        }
        match socket::connect(&self.socket) {
            Ok(stream) => Ok(stream.map_or(Found::Dead, Found::Alive)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Found::Deaf),
            Err(e) => Err(failed(e)),
        }
    }

    /// Removes the socket of a hub that died (HUB-4); `false` when there is none, or a hub
    /// is just coming up.
    pub(crate) fn clear(&self) -> Result<bool> {
        let Some(_guard) = self.take_guard()? else {
            return Ok(false);
        };
        match self.find()? {
            Found::Dead => {
                fs::unlink(&self.socket).map_err(|e| Error::io("remove", &self.socket, e))
            }
            Found::Nothing | Found::Alive(_) | Found::Deaf => Ok(false),
        }
    }

    /// The flock of the one hub; `None` when another has it.
    fn take_guard(&self) -> Result<Option<File>> {
        let failed = |e| Error::io(OP, &self.guard, e);
        let (file, _) = fs::open_guard(&self.guard).map_err(failed)?;
        Ok(match guard::try_lock(&file).map_err(failed)? {
            Flock::Contended => None,
            // Where there is no flock, the probe alone has to do.
            Flock::Held | Flock::Unsupported => Some(file),
        })
    }

    fn busy(&self) -> Error {
        let (what, next_step) = (
            "another hub is alive",
            "follow that one with `mbox events`, or end it first",
        );
        Error::new(ErrorKind::Busy, "serve on", &self.socket, what, next_step)
    }
}

/// FNV-1a, 64 bits: short, and a few lines in any language.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A socket of ours, in its place. Dropped, it is removed.
pub(super) struct Bound {
    place: Place,
    listener: UnixListener,
    ours: Ours,
    /// Held until the kernel closes it: so is the place.
    _guard: File,
}

impl Bound {
    /// Takes the place, unless another hub has it (HUB-3, HUB-4).
    pub(super) fn take(place: Place) -> Result<Bound> {
        fs::mkdir_all(&place.dir).map_err(|e| Error::io("create", &place.dir, e))?;
        check_directory(&place.dir)?;
        let Some(guard) = place.take_guard()? else {
            return Err(place.busy());
        };
        if let Found::Alive(_) | Found::Deaf = place.find()? {
            return Err(place.busy());
        }
        let (listener, meta) = bind(&place)?;
        let ours = Ours {
            socket: place.socket.clone(),
            meta: Arc::new(Mutex::new(meta)),
        };
        Ok(Bound {
            place,
            listener,
            ours,
            _guard: guard,
        })
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    pub(super) fn ours(&self) -> Ours {
        self.ours.clone()
    }

    /// Puts a socket in its place again when it was removed, or left dead by another
    /// (HUB-6); then gives back the old one, on which some may still wait.
    pub(super) fn keep(&mut self) -> Result<Option<UnixListener>> {
        let mut meta = self
            .ours
            .meta
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let there = fs::lstat(&self.place.socket);
        let there = there.map_err(|e| Error::io(OP, &self.place.socket, e))?;
        if there.is_some_and(|there| fs::is_same(&there, &meta)) {
            return Ok(None);
        }
        match self.place.find()? {
            Found::Alive(_) | Found::Deaf => Ok(None), // somebody else's: it is left alone
            Found::Nothing | Found::Dead => {
                fs::mkdir_all(&self.place.dir)
                    .map_err(|e| Error::io("create", &self.place.dir, e))?;
                let (listener, made) = bind(&self.place)?;
                *meta = made;
                Ok(Some(std::mem::replace(&mut self.listener, listener)))
            }
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.ours.remove_and(|| ());
    }
}

/// Makes a socket under another name and renames it into place: it is never there without
/// somebody listening, and replaces a dead one in one step.
fn bind(place: &Place) -> Result<(UnixListener, Metadata)> {
    // No longer than the name it gets.
    let name = format!(".ev{:08x}", rand::random::<u32>());
    let path = place.dir.join(name);
    let made = || {
        let listener = socket::listen(&path)?;
        let meta = fs::lstat(&path)?;
        let is_there = fs::rename(&path, &place.socket)?;
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        meta.filter(|_| is_there)
            .map(|meta| (listener, meta))
            .ok_or_else(gone)
    };
    made().map_err(|e| {
        let _ = fs::unlink(&path); // already failing
        Error::io("serve on", &place.socket, e)
    })
}

/// Which socket is ours, to remove it from another thread when a signal ends the process.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    socket: PathBuf,
    meta: Arc<Mutex<Metadata>>,
}

impl Ours {
    /// Removes it if it is still in its place (HUB-5), and does `then` before it can be put
    /// there again.
    pub(crate) fn remove_and<T>(&self, then: impl FnOnce() -> T) -> T {
        let meta = self.meta.lock().unwrap_or_else(PoisonError::into_inner);
        // Its number is not another's while we have it open.
        if let Ok(Some(there)) = fs::lstat(&self.socket)
            && fs::is_same(&there, &meta)
        {
            let _ = fs::unlink(&self.socket); // a dead one is replaced by the next hub
        }
        then()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_as_published() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
