//! What an append cannot do without: the bare system calls.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fs2::FileExt as _;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// One system call of an append, and its name.
pub type Call = (&'static str, fn(&mut Bare));

/// `Mailbox::append` with its files kept open, call by call.
pub const KEPT: &[Call] = &[
    ("rt_sigprocmask: hold back", Bare::hold_back),
    ("getpid", Bare::pid),
    ("flock G", Bare::lock),
    ("lstat G", Bare::look_at_guard),
    ("pwrite the token, private file", Bare::write_token),
    ("mkdir D", Bare::make_lock),
    ("link private file to O", Bare::link_owner),
    ("lstat B", Bare::look_at_records),
    ("pread the last byte of B", Bare::read_last_byte),
    ("write B", Bare::write_line),
    ("pread back", Bare::read_back),
    ("lstat O", Bare::look_at_owner),
    ("pread the token, private file", Bare::read_token),
    ("unlink O", Bare::unlink_owner),
    ("rmdir D", Bare::remove_lock),
    ("flock G: unlock", Bare::unlock),
    ("rt_sigprocmask: let through", Bare::let_through),
];

/// `Mailbox::append` of a handle that holds nothing open, call by call.
pub const ANEW: &[Call] = &[
    ("rt_sigprocmask: hold back", Bare::hold_back),
    ("lstat B", Bare::look_at_records),
    ("getpid", Bare::pid),
    ("open G", Bare::open_guard),
    ("fstat G", Bare::fstat_guard),
    ("flock G", Bare::lock),
    ("mkdir D", Bare::make_lock),
    ("open O, O_EXCL", Bare::create_owner),
    ("write O", Bare::write_owner),
    ("open B", Bare::open_records),
    ("fstat B", Bare::fstat_records),
    ("pread the last byte of B", Bare::read_last_byte),
    ("write B", Bare::write_line),
    ("pread back", Bare::read_back),
    ("close B", Bare::close_records),
    ("close O", Bare::close_owner),
    ("open O", Bare::open_owner),
    ("fstat O", Bare::fstat_owner),
    ("read O", Bare::read_owner),
    ("read O: the end", Bare::read_owner),
    ("close O", Bare::close_owner),
    ("unlink O", Bare::unlink_owner),
    ("rmdir D", Bare::remove_lock),
    ("flock G: unlock", Bare::unlock),
    ("close G", Bare::close_guard),
    ("rt_sigprocmask: let through", Bare::let_through),
];

/// The least that a lock by flock and a whole last line take.
pub const FLOCK_AND_HEAL: &[Call] = &[
    ("flock G", Bare::lock),
    ("open B", Bare::open_records),
    ("fstat B", Bare::fstat_records),
    ("pread the last byte of B", Bare::read_last_byte),
    ("write B", Bare::write_line),
    ("close B", Bare::close_records),
    ("flock G: unlock", Bare::unlock),
];

/// No lock, and no look at what is there.
pub const OPEN_AND_APPEND: &[Call] = &[
    ("open B", Bare::open_records),
    ("write B", Bare::write_line),
    ("close B", Bare::close_records),
];

pub const OPEN_APPEND_AND_SYNC: &[Call] = &[
    ("open B", Bare::open_records),
    ("write B", Bare::write_line),
    ("fdatasync B", Bare::sync_records),
    ("close B", Bare::close_records),
];

pub const APPEND_AND_SYNC: &[Call] = &[
    ("write B", Bare::write_line),
    ("fdatasync B", Bare::sync_records),
];

/// The files of a mailbox, and what a process has open of them.
pub struct Bare {
    records: PathBuf,
    lock: PathBuf,
    owner: PathBuf,
    guard: PathBuf,
    private: PathBuf,
    records_file: Option<File>,
    owner_file: Option<File>,
    guard_file: Option<File>,
    private_file: File,
    line: Vec<u8>,
    buffer: Vec<u8>,
    len: u64,
    mask: SigSet,
    ending: SigSet,
}

impl Bare {
    /// Everything is open: a sequence that opens something closes it too, and what it closes
    /// it opens first.
    pub fn at(dir: &Path, line: &str) -> Bare {
        let base = dir.join("bare.jsonl");
        let beside = |ending: &str| {
            let mut path = base.clone().into_os_string();
            path.push(ending);
            PathBuf::from(path)
        };
        let mut ending = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            ending.add(signal);
        }
        let private = beside(".tmp.private");
        let mut bare = Bare {
            lock: beside(".lock"),
            owner: beside(".lock.owner"),
            guard: beside(".lock.guard"),
            private_file: made(&private),
            private,
            records: base,
            records_file: None,
            owner_file: None,
            guard_file: None,
            line: line.as_bytes().to_vec(),
            buffer: vec![0; line.len() + 1],
            len: 0,
            mask: SigSet::empty(),
            ending,
        };
        bare.open_guard();
        bare.open_records();
        bare.write_line();
        bare.len = fs::metadata(&bare.records).expect("it is there").len();
        bare
    }

    pub fn run(&mut self, calls: &[Call]) {
        for (_, call) in calls {
            call(self);
        }
    }

    fn hold_back(&mut self) {
        let before = self.ending.thread_swap_mask(SigmaskHow::SIG_BLOCK);
        self.mask = before.expect("it can be set");
    }
    fn let_through(&mut self) {
        self.mask.thread_set_mask().expect("it can be set");
    }
    fn pid(&mut self) {
        std::hint::black_box(std::process::id());
    }

    fn open_guard(&mut self) {
        self.guard_file = Some(options().create(true).open(&self.guard).expect("opened"));
    }
    fn fstat_guard(&mut self) {
        fstat(&self.guard_file);
    }
    fn look_at_guard(&mut self) {
        fs::symlink_metadata(&self.guard).expect("it is there");
    }
    fn lock(&mut self) {
        opened(&self.guard_file)
            .lock_exclusive()
            .expect("it can be locked");
    }
    fn unlock(&mut self) {
        fs2::FileExt::unlock(opened(&self.guard_file)).expect("it was locked");
    }
    fn close_guard(&mut self) {
        self.guard_file = None;
    }

    fn make_lock(&mut self) {
        nix::unistd::mkdir(&self.lock, nix::sys::stat::Mode::S_IRWXU).expect("it is free");
    }
    fn remove_lock(&mut self) {
        fs::remove_dir(&self.lock).expect("it was made");
    }

    fn write_token(&mut self) {
        self.private_file.write_all_at(TOKEN, 0).expect("written");
    }
    fn read_token(&mut self) {
        let mut token = [0; TOKEN.len()];
        self.private_file
            .read_exact_at(&mut token, 0)
            .expect("read");
    }
    fn link_owner(&mut self) {
        fs::hard_link(&self.private, &self.owner).expect("it is free");
    }
    fn look_at_owner(&mut self) {
        fs::symlink_metadata(&self.owner).expect("it is there");
    }
    fn create_owner(&mut self) {
        let mut options = options();
        options.read(false).create_new(true);
        self.owner_file = Some(options.open(&self.owner).expect("it is free"));
    }
    fn write_owner(&mut self) {
        opened(&self.owner_file).write_all(TOKEN).expect("written");
    }
    fn open_owner(&mut self) {
        let mut options = options();
        let file = options.write(false).open(&self.owner);
        self.owner_file = Some(file.expect("it is there"));
    }
    fn fstat_owner(&mut self) {
        fstat(&self.owner_file);
    }
    fn read_owner(&mut self) {
        let mut token = [0; TOKEN.len()];
        let _ = opened(&self.owner_file).read(&mut token).expect("read");
    }
    fn close_owner(&mut self) {
        self.owner_file = None;
    }
    fn unlink_owner(&mut self) {
        fs::remove_file(&self.owner).expect("it was made");
    }

    fn look_at_records(&mut self) {
        self.len = fs::symlink_metadata(&self.records)
            .expect("it is there")
            .len();
    }
    fn open_records(&mut self) {
        let mut options = options();
        let file = options.append(true).create(true).open(&self.records);
        self.records_file = Some(file.expect("opened"));
    }
    fn fstat_records(&mut self) {
        self.len = fstat(&self.records_file);
    }
    fn read_last_byte(&mut self) {
        let at = self.len - 1;
        let mut last = [0];
        opened(&self.records_file)
            .read_exact_at(&mut last, at)
            .expect("read");
        assert_eq!(last[0], b'\n');
    }
    fn write_line(&mut self) {
        opened(&self.records_file)
            .write_all(&self.line)
            .expect("written");
    }
    fn read_back(&mut self) {
        let file = opened(&self.records_file);
        file.read_exact_at(&mut self.buffer, self.len - 1)
            .expect("read");
        assert!(self.buffer[1..] == self.line);
    }
    fn sync_records(&mut self) {
        opened(&self.records_file).sync_data().expect("synced");
    }
    fn close_records(&mut self) {
        self.records_file = None;
    }
}

const TOKEN: &[u8] = b"12345.0123456789abcdef.g";

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    options
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(flags.bits());
    options
}

fn made(path: &Path) -> File {
    options().create(true).open(path).expect("it can be made")
}

fn opened(file: &Option<File>) -> &File {
    file.as_ref().expect("the sequence opened it")
}

fn fstat(file: &Option<File>) -> u64 {
    opened(file).metadata().expect("it is open").len()
}
