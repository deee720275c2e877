//! What a system call is about: its name, the files it names, and whether it can change
//! anything outside its process.

use std::fs;
use std::io::IoSliceMut;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::tracer::{Entry, Traced};

/// A call as it is recorded.
#[derive(Clone, Debug)]
pub struct Call {
    /// The first call of a program is 1.
    pub n: usize,
    /// Which process of the program makes it.
    pub process: String,
    pub nr: i64,
    /// How many like it there are up to it: one more is read of a longer process id.
    pub nth: usize,
    pub name: &'static str,
    /// The files it names; `~` is the directory of the run.
    pub on: Vec<String>,
    /// Flags of an open, length of a write.
    pub detail: u64,
    pub kind: Kind,
    /// Whether it finds the disk other than the call before it did.
    pub is_new: bool,
}

/// What a call does to the world outside its process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Nothing.
    Inner,
    /// Looks.
    Look,
    Open,
    Read,
    Write,
    /// Makes, removes or renames something.
    Change,
    Sync,
    Flock,
    /// Starts or ends a process, or sends a signal.
    Process,
}

use Kind::{Change, Flock, Inner, Look, Open, Process, Read, Sync, Write};

/// Where the files are in the arguments: `p` a path, `a` a directory and a path, `f` a
/// descriptor, `-` something else.
type Shape = &'static str;

const CALLS: &[(i64, &str, Shape, Kind)] = &[
    (libc::SYS_read, "read", "f", Read),
    (libc::SYS_pread64, "pread64", "f", Read),
    (libc::SYS_readv, "readv", "f", Read),
    (libc::SYS_getdents64, "getdents64", "f", Read),
    (libc::SYS_write, "write", "f", Write),
    (libc::SYS_pwrite64, "pwrite64", "f", Write),
    (libc::SYS_writev, "writev", "f", Write),
    (libc::SYS_copy_file_range, "copy_file_range", "f-f", Write),
    (libc::SYS_sendfile, "sendfile", "ff", Write),
    (libc::SYS_splice, "splice", "f-f", Write),
    (libc::SYS_open, "open", "p", Open),
    (libc::SYS_openat, "openat", "a", Open),
    (libc::SYS_creat, "creat", "p", Open),
    (libc::SYS_mkdir, "mkdir", "p", Change),
    (libc::SYS_mkdirat, "mkdirat", "a", Change),
    (libc::SYS_rmdir, "rmdir", "p", Change),
    (libc::SYS_unlink, "unlink", "p", Change),
    (libc::SYS_unlinkat, "unlinkat", "a", Change),
    (libc::SYS_rename, "rename", "pp", Change),
    (libc::SYS_renameat, "renameat", "aa", Change),
    (libc::SYS_renameat2, "renameat2", "aa", Change),
    (libc::SYS_link, "link", "pp", Change),
    (libc::SYS_linkat, "linkat", "aa", Change),
    (libc::SYS_symlink, "symlink", "pp", Change),
    (libc::SYS_chmod, "chmod", "p", Change),
    (libc::SYS_fchmod, "fchmod", "f", Change),
    (libc::SYS_fchmodat, "fchmodat", "a", Change),
    (libc::SYS_truncate, "truncate", "p", Change),
    (libc::SYS_ftruncate, "ftruncate", "f", Change),
    (libc::SYS_fallocate, "fallocate", "f", Change),
    (libc::SYS_utimensat, "utimensat", "a", Change),
    (libc::SYS_fsync, "fsync", "f", Sync),
    (libc::SYS_fdatasync, "fdatasync", "f", Sync),
    (libc::SYS_syncfs, "syncfs", "f", Sync),
    (libc::SYS_sync, "sync", "", Sync),
    (libc::SYS_flock, "flock", "f", Flock),
    (libc::SYS_stat, "stat", "p", Look),
    (libc::SYS_lstat, "lstat", "p", Look),
    (libc::SYS_fstat, "fstat", "f", Look),
    (libc::SYS_newfstatat, "newfstatat", "a", Look),
    (libc::SYS_statx, "statx", "a", Look),
    (libc::SYS_access, "access", "p", Look),
    (libc::SYS_faccessat, "faccessat", "a", Look),
    (libc::SYS_faccessat2, "faccessat2", "a", Look),
    (libc::SYS_readlink, "readlink", "p", Look),
    (libc::SYS_readlinkat, "readlinkat", "a", Look),
    (libc::SYS_lseek, "lseek", "f", Look),
    (libc::SYS_fork, "fork", "", Process),
    (libc::SYS_vfork, "vfork", "", Process),
    (libc::SYS_clone, "clone", "", Process),
    (libc::SYS_clone3, "clone3", "", Process),
    (libc::SYS_execve, "execve", "p", Process),
    (libc::SYS_exit, "exit", "", Process),
    (libc::SYS_exit_group, "exit_group", "", Process),
    (libc::SYS_kill, "kill", "", Process),
    (libc::SYS_tgkill, "tgkill", "", Process),
    (libc::SYS_wait4, "wait4", "", Inner),
    (libc::SYS_close, "close", "f", Inner),
    (libc::SYS_fcntl, "fcntl", "f", Inner),
    (libc::SYS_ioctl, "ioctl", "f", Inner),
];

impl Call {
    /// The call that `traced` is about to make.
    pub fn describe(traced: &Traced, entry: Entry, dir: &Path) -> Call {
        let found = CALLS.iter().find(|(nr, ..)| *nr == entry.nr);
        let (_, name, shape, kind) = *found.unwrap_or(&(0, "another call", "", Inner));
        let mut on = Vec::new();
        let mut args = entry.args.into_iter();
        for part in shape.chars() {
            let arg = args.next().expect("six arguments");
            let path = match part {
                'p' => resolve(entry.pid, "cwd", arg),
                'a' if arg.cast_signed() as i32 == libc::AT_FDCWD => {
                    resolve(entry.pid, "cwd", args.next().expect("six arguments"))
                }
                'a' => {
                    let base = format!("fd/{arg}");
                    resolve(entry.pid, &base, args.next().expect("six arguments"))
                }
                'f' => link(entry.pid, &format!("fd/{arg}")),
                _ => continue,
            };
            let path = match path.strip_prefix(dir) {
                Ok(rest) => Path::new("~").join(rest),
                Err(_) => path,
            };
            on.push(path.display().to_string());
        }
        let detail = match (name, kind) {
            ("open", _) => entry.args[1],
            ("creat", _) => (libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY) as u64,
            (_, Open | Write) => entry.args[2],
            _ => 0,
        };
        Call {
            n: traced.count(),
            process: traced.name(entry.pid).to_owned(),
            nr: entry.nr,
            nth: 1,
            name,
            on,
            detail,
            kind,
            is_new: false,
        }
    }

    /// Whether it names a file of the root: of a mailbox, of a ledger, or beside one.
    pub fn is_on_mailbox(&self) -> bool {
        self.on.iter().any(|path| path.starts_with("~/root/"))
    }

    /// Whether it is one of many small reads of one file, as `read` of a shell makes them.
    pub fn is_one_of_many(&self) -> bool {
        self.kind == Read && self.nth > 2
    }

    /// Whether it names the file at `B`, or at the ledger, with this ending.
    pub fn is_on(&self, ending: &str) -> bool {
        let ending = format!(".jsonl{ending}");
        self.on.iter().any(|path| path.ends_with(&ending))
    }

    /// Whether it opens a file that it may make, or empties.
    pub fn is_creating(&self) -> bool {
        let creating = (libc::O_CREAT | libc::O_TRUNC) as u64;
        self.kind == Open && self.detail & creating != 0
    }

    /// Whether it can change something outside its process.
    pub fn is_effect(&self) -> bool {
        match self.kind {
            Process => self.name != "execve",
            Write => self.on.iter().any(|path| !path.starts_with("/dev/")),
            Change | Sync | Flock => self.is_on_mailbox(),
            Open => self.is_creating() && self.is_on_mailbox(),
            Inner | Look | Read => false,
        }
    }

    /// What is the same in every run: all but numbers.
    pub fn key(&self) -> String {
        let mut plain: Vec<char> = self.on.join(" ").chars().collect();
        for c in &mut plain {
            if c.is_ascii_hexdigit() && !c.is_ascii_uppercase() {
                *c = '0';
            }
        }
        plain.dedup_by(|a, b| *a == '0' && *b == '0');
        let on: String = plain.into_iter().collect();
        format!("{} {} {on}", self.process, self.nr)
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let on = self.on.join(", ");
        write!(
            f,
            "call {}, {}({on}) of process {}",
            self.n, self.name, self.process
        )
    }
}

fn link(pid: Pid, what: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/{what}")).unwrap_or_default()
}

/// The path at `address`, from `base` on when it is relative.
fn resolve(pid: Pid, base: &str, address: u64) -> PathBuf {
    let path = PathBuf::from(text(pid, address));
    if path.is_absolute() {
        return path;
    }
    let base = link(pid, base);
    if path.as_os_str().is_empty() {
        return base;
    }
    base.join(path)
}

/// The string at `address` of a process, at most so long as a path is.
fn text(pid: Pid, address: u64) -> String {
    let mut text = Vec::new();
    let mut at = address as usize;
    while text.len() < libc::PATH_MAX as usize {
        // Not over the end of a page: the next may not be there.
        let mut piece = vec![0; 4096 - at % 4096];
        let from = RemoteIoVec {
            base: at,
            len: piece.len(),
        };
        let got = process_vm_readv(pid, &mut [IoSliceMut::new(&mut piece)], &[from]).unwrap_or(0);
        let end = piece[..got].iter().position(|&byte| byte == 0);
        text.extend_from_slice(&piece[..end.unwrap_or(got)]);
        if end.is_some() || got == 0 {
            break;
        }
        at += got;
    }
    String::from_utf8_lossy(&text).into_owned()
}
