//! Files and directories: every call of the protocol, none of its rules.
//!
//! Nothing here follows a symbolic link in the last component of a path or
//! blocks on a FIFO. Files are made 0600 and directories 0700 (FILE-1, FILE-2).

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use nix::fcntl::OFlag;

/// What tells one lock directory from the next at the same path. The inode alone
/// does not: filesystems hand out the same number again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    inode: u64,
    mtime: (i64, i64),
}

impl Identity {
    pub(crate) fn of(meta: &Metadata) -> Identity {
        Identity {
            inode: meta.ino(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// lstat; `None` when there is nothing at `path`.
pub(crate) fn lstat(path: &Path) -> io::Result<Option<Metadata>> {
    absent_as_none(std::fs::symlink_metadata(path))
}

/// The absolute path without links or dots; `None` when there is nothing at `path`.
pub(crate) fn canonical(path: &Path) -> io::Result<Option<std::path::PathBuf>> {
    absent_as_none(std::fs::canonicalize(path))
}

/// Device and inode: which file it is, whatever its name, as long as it is there.
pub(crate) fn file_id(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Whether both are the same file.
pub(crate) fn is_same(a: &Metadata, b: &Metadata) -> bool {
    file_id(a) == file_id(b)
}

/// Device and inode of the directory at `path`, links followed; `None` when there is none
/// that can be seen.
pub(crate) fn directory_identity(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    meta.is_dir().then(|| file_id(&meta))
}

/// The path from `/` on; nothing is resolved.
pub(crate) fn absolute(path: &Path) -> io::Result<std::path::PathBuf> {
    std::path::absolute(path)
}

/// mkdir, 0700; `false` when something is there already.
pub(crate) fn mkdir(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

/// mkdir for `path` and every missing parent, 0700.
pub(crate) fn mkdir_all(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// What became of an rmdir.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    Yes,
    Absent,
    NotEmpty,
}

/// rmdir.
pub(crate) fn rmdir(path: &Path) -> io::Result<Removed> {
    match std::fs::remove_dir(path) {
        Ok(()) => Ok(Removed::Yes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Removed::Absent),
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(Removed::NotEmpty),
        Err(e) => Err(e),
    }
}

/// Removes a directory and what is in it, without following links.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    absent_as_none(std::fs::remove_dir_all(path)).map(drop)
}

/// unlink; `false` when there was nothing.
pub(crate) fn unlink(path: &Path) -> io::Result<bool> {
    Ok(absent_as_none(std::fs::remove_file(path))?.is_some())
}

/// rename; `false` when there was no `from`, or no directory to hold `to`.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<bool> {
    Ok(absent_as_none(std::fs::rename(from, to))?.is_some())
}

/// link(2), which never overwrites; `false` when something is at `to` already.
pub(crate) fn link(from: &Path, to: &Path) -> io::Result<bool> {
    match std::fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

/// Creates a file exclusively, for writing and reading; `None` when something is there already.
pub(crate) fn create_new(path: &Path) -> io::Result<Option<File>> {
    match options().read(true).write(true).create_new(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(e) => Err(e),
    }
}

/// Opens a regular file for reading; `None` when there is none.
pub(crate) fn open_read(path: &Path) -> io::Result<Option<File>> {
    absent_as_none(options().read(true).open(path))?
        .map(regular)
        .transpose()
}

/// Opens a regular file for appending and reading, created if missing; also what it is like.
pub(crate) fn open_append(path: &Path) -> io::Result<(File, Metadata)> {
    looked_at(options().read(true).append(true).create(true).open(path)?)
}

/// Writes over a regular file, created if missing, in one call; what is longer is cut then.
pub(crate) fn overwrite(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = options();
    let file = options.write(true).create(true).truncate(false);
    let mut file = regular(file.open(path)?)?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)
}

/// Puts a new content at `path` by rename, with the permissions of what is at `like`; the
/// file is on stable storage before it has the name.
pub(crate) fn replace(path: &Path, text: &[u8], like: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(
        ".tmp.{}.{:016x}",
        std::process::id(),
        rand::random::<u64>()
    ));
    let temporary = Path::new(&name);
    let mut file = options().write(true).create_new(true).open(temporary)?;
    let written = (|| {
        file.write_all(text)?;
        if let Some(meta) = lstat(like)? {
            file.set_permissions(meta.permissions())?;
        }
        file.sync_all()?;
        std::fs::rename(temporary, path)
    })();
    if written.is_err() {
        let _ = unlink(temporary); // the error before it is told
    }
    written
}

/// Writes a file that others may read, in a directory that is made if it is missing.
pub(crate) fn publish(dir: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join(name), text)
}

/// Opens a regular file that is only ever locked, created if missing; also what it is like.
pub(crate) fn open_guard(path: &Path) -> io::Result<(File, Metadata)> {
    looked_at(
        options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?,
    )
}

/// The whole of a small regular file; `None` when there is none.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(mut file) = open_read(path)? else {
        return Ok(None);
    };
    // One read and one that finds the end: no looks at how long it is.
    let mut bytes = Vec::with_capacity(256);
    (&mut file).take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The last byte of a file of this length; `None` when it is empty.
pub(crate) fn last_byte(file: &File, length: u64) -> io::Result<Option<u8>> {
    let Some(last) = length.checked_sub(1) else {
        return Ok(None);
    };
    let mut byte = [0];
    // Shorter by now (a legacy peer truncates): as good as empty.
    let got = file.read_at(&mut byte, last)?;
    Ok((got == 1).then_some(byte[0]))
}

/// Whether `text`, just written by append to `file`, which had this length, stands there in
/// one piece at the beginning of a line.
pub(crate) fn stands_whole(mut file: &File, text: &[u8], length: u64) -> io::Result<bool> {
    if stands_at(file, text, length)? {
        return Ok(true);
    }
    // Others wrote too, or a legacy peer cut the file.
    let end = file.stream_position()?;
    let start = end.checked_sub(text.len() as u64);
    start.map_or(Ok(false), |start| stands_at(file, text, start))
}

fn stands_at(file: &File, text: &[u8], start: u64) -> io::Result<bool> {
    let mut before: &[u8] = match start > 0 && text.first() != Some(&b'\n') {
        true => b"\n",
        false => b"",
    };
    let mut at = start - before.len() as u64;
    // Piece by piece: it may be long.
    let mut found = vec![0; before.len() + text.len().min(PIECE)];
    for piece in text.chunks(PIECE) {
        let found = &mut found[..before.len() + piece.len()];
        match file.read_exact_at(found, at) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(e),
        }
        if !found.starts_with(before) || found[before.len()..] != *piece {
            return Ok(false);
        }
        at += found.len() as u64;
        before = b"";
    }
    Ok(true)
}

/// How much is compared at once, in bytes.
const PIECE: usize = 64 << 10;

/// Puts the directory entries of `dir` on stable storage.
pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Sets the mtime of the directory at `path` to now.
pub(crate) fn touch_directory(path: &Path) -> io::Result<()> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY;
    let dir = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    dir.set_modified(SystemTime::now())
}

/// Whether this process owns what `meta` describes.
pub(crate) fn is_mine(meta: &Metadata) -> bool {
    meta.uid() == nix::unistd::geteuid().as_raw()
}

/// Whether this process may make entries in `dir`.
pub(crate) fn may_write(dir: &Path) -> bool {
    nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).is_ok()
}

/// Whether others (mode bit 0002) may write there.
pub(crate) fn is_writable_by_others(meta: &Metadata) -> bool {
    meta.mode() & 0o002 != 0
}

/// The permission bits that others than the owner have.
pub(crate) fn bits_of_others(meta: &Metadata) -> u32 {
    meta.mode() & 0o077
}

/// Takes all permissions of a file or directory of ours from everybody else, and gives us
/// ours: 0600 or 0700 (FILE-1).
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    // What was looked at by path may have been replaced since.
    let meta = file.metadata()?;
    let mode = match (meta.is_dir(), meta.is_file()) {
        _ if !is_mine(&meta) => return Err(nix::errno::Errno::EPERM.into()),
        (true, _) => 0o700,
        (_, true) => 0o600,
        _ => return Err(not_regular()),
    };
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}

/// `std` adds `O_CLOEXEC`.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    options.mode(0o600).custom_flags(flags.bits());
    options
}

/// The error for what is not the kind of file the protocol puts there.
pub(crate) fn not_regular() -> io::Error {
    io::Error::from_raw_os_error(nix::errno::Errno::ELOOP as i32)
}

fn regular(file: File) -> io::Result<File> {
    looked_at(file).map(|(file, _)| file)
}

fn looked_at(file: File) -> io::Result<(File, Metadata)> {
    let meta = file.metadata()?;
    match meta.is_file() {
        true => Ok((file, meta)),
        false => Err(not_regular()),
    }
}

fn absent_as_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The names in a directory; `None` when there is none.
pub(crate) fn list(dir: &Path) -> io::Result<Option<Vec<std::ffi::OsString>>> {
    let Some(entries) = absent_as_none(std::fs::read_dir(dir))? else {
        return Ok(None);
    };
    entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<_>>()
        .map(Some)
}
