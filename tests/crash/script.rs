//! The scripts of the power cuts: a few verbs on one mailbox, and every operation on
//! files they make, as the tracer sees it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::calls::{Call, Kind};
use crate::common::{Files, Fixture, set_age};
use crate::disk::{Disk, Inode, Name, Op, TOP};
use crate::rows::Driver;
use crate::tracer::{Entry, Traced};

/// How a step ends.
#[derive(Clone, Copy, PartialEq)]
pub enum Until {
    Done,
    /// Its stdout is always full.
    Full,
    /// Everything is killed when a claim was made, or before it is handed over.
    Claimed,
    Delivery,
}

use Until::{Claimed, Delivery, Done, Full};

type Step = (&'static str, Until);

pub struct Script {
    pub name: &'static str,
    /// Verbs and arguments; `mN` stands for a message with this body, and `raw` for
    /// records on stdin.
    steps: &'static [Step],
    /// The root, and whether it is there before.
    root: &'static str,
    is_new: bool,
    /// A step no sync of which can be left out.
    pub needs_syncs_of: Option<usize>,
}

const fn script(name: &'static str, steps: &'static [Step]) -> Script {
    Script {
        name,
        steps,
        root: "root",
        is_new: false,
        needs_syncs_of: None,
    }
}

/// One more script is one more line.
#[rustfmt::skip]
pub const SCRIPTS: &[Script] = &[
    script("append --sync", &[("append --sync m1", Done), ("append --sync m2", Done)]),
    script("append, append --sync", &[("append m0", Done), ("append --sync m1", Done),
                                       ("append m3", Done), ("append m4", Done)]),
    Script { root: "new/state/root", is_new: true, needs_syncs_of: Some(0),
             ..script("append --sync, new root", &[("append --sync m1", Done)]) },
    Script { is_new: true,
             ..script("append, append --sync, new root", &[("append m0", Done), ("append --sync m1", Done)]) },
    script("append --sync --raw", &[("append m0", Done), ("append --sync --raw", Done)]),
    script("drain", &[("append --sync m1", Done), ("append m0", Done), ("drain", Done), ("append --sync m2", Done)]),
    Script { needs_syncs_of: Some(2),
             ..script("take", &[("append --sync m1", Done), ("append --sync m2", Done), ("take --id m2", Done)]) },
    script("take, append", &[("append --sync m1", Done), ("append --sync m2", Done), ("take --id m1", Done),
                             ("append m0", Done), ("append --sync m3", Done)]),
    Script { needs_syncs_of: Some(3),
             ..script("drain --max", &[("append --sync m1", Done), ("append --sync m2", Done), ("append --sync m3", Done),
                                       ("drain --max 1", Done)]) },
    script("drain --max, all", &[("append --sync m1", Done), ("drain --max 5", Done), ("append --sync m2", Done)]),
    script("reader gives up", &[("append --sync m1", Done), ("drain", Full), ("append --sync m2", Done), ("append m0", Done)]),
    script("taker gives up", &[("append --sync m1", Done), ("append --sync m2", Done), ("take --id m1", Full), ("append --sync m3", Done)]),
    script("reader killed after its claim", &[("append --sync m1", Done), ("drain", Claimed), ("append --sync m2", Done), ("append m0", Done)]),
    script("reader killed before its delivery", &[("append --sync m1", Done), ("drain", Delivery), ("append --sync m2", Done), ("drain", Done)]),
    script("taker killed", &[("append --sync m1", Done), ("append --sync m2", Done), ("take --id m1", Delivery), ("append --sync m3", Done),
                             ("take --id m2", Done)]),
];

const RAW: [&str; 2] = ["m8", "m9"];

pub fn id_of(body: &str) -> String {
    format!("{:0>16}", body.replace('m', "a"))
}

/// What a step was about.
pub struct Does {
    /// The messages appended with `--sync`; none in other verbs.
    pub synced: Vec<String>,
    /// Whether it prints bodies that it hands over.
    pub is_reader: bool,
}

/// A script as a driver did it.
pub struct Recording {
    pub script: &'static Script,
    pub driver: Driver,
    pub disk: Disk,
    pub does: Vec<Does>,
    /// The number of operations before each step.
    pub begins: Vec<usize>,
    /// Where the root is below the top.
    pub root: &'static str,
}

impl Recording {
    pub fn name(&self) -> String {
        format!("{} {}", self.driver.name(), self.script.name)
    }

    pub fn of(script: &'static Script, driver: Driver) -> Result<Recording, String> {
        let fx = Fixture::new();
        let top = fx.dir().join("disk");
        let root = top.join(script.root);
        let files = Files::of(root.join("mailboxes/a.jsonl"));
        fs::create_dir(&top).unwrap();
        let mut recorder = Recorder {
            dir: fx.dir(),
            disk: Disk::new(),
            inodes: HashMap::from([(inode_of(&top), TOP)]),
            asked: HashMap::new(),
            step: 0,
        };
        if !script.is_new {
            let mut path = PathBuf::new();
            for part in Path::new(script.root).join("mailboxes").components() {
                path.push(part);
                fs::create_dir(top.join(&path)).unwrap();
                recorder.made(
                    &format!("~/disk/{}", path.display()),
                    true,
                    &top.join(&path),
                );
            }
        }
        recorder.disk.begin();
        let mut does = Vec::new();
        let mut begins = Vec::new();
        for (step, (line, until)) in script.steps.iter().enumerate() {
            recorder.step = step;
            begins.push(recorder.disk.ops.len());
            does.push(recorder.run(&fx, &root, driver, line, *until)?);
            if files.lock.exists() {
                set_age(&files.lock, -31); // of one that was killed
            }
        }
        // Nothing may have gone past the recording.
        let mut seen = recorder.disk.everything();
        for path in walkdir::WalkDir::new(&top).min_depth(1) {
            let path = path.unwrap().into_path();
            let below = format!("/{}", path.strip_prefix(&top).unwrap().display());
            let content = path.is_file().then(|| fs::read(&path).unwrap());
            if seen.remove(&below) != Some(content) {
                return Err(format!("{}: {below} was not recorded", script.name));
            }
        }
        if !seen.is_empty() {
            return Err(format!(
                "{}: recorded, and not there: {seen:?}",
                script.name
            ));
        }
        Ok(Recording {
            script,
            driver,
            disk: recorder.disk,
            does,
            begins,
            root: script.root,
        })
    }
}

/// A call that is being made.
struct Asked {
    call: Call,
    entry: Entry,
    /// Of an open: whether something is there.
    was_there: bool,
    /// Of a descriptor that is written, cut or synced: the inode, and where it writes.
    inode: Option<u64>,
    at: u64,
}

struct Recorder<'a> {
    dir: &'a Path,
    disk: Disk,
    /// By their numbers in this world.
    inodes: HashMap<u64, Inode>,
    asked: HashMap<Pid, Asked>,
    step: usize,
}

impl Recorder<'_> {
    fn run(
        &mut self,
        fx: &Fixture,
        root: &Path,
        driver: Driver,
        line: &str,
        until: Until,
    ) -> Result<Does, String> {
        let out = self.dir.join("out");
        let mut verb = line.split(' ');
        let name = verb.next().expect("a verb");
        let is_reader = name != "append";
        let mut args: Vec<String> = vec![name.into(), "a".into()];
        let mut ids = Vec::new();
        for word in verb {
            match (word.starts_with('m'), is_reader) {
                (true, true) => args.push(id_of(word)),
                (true, false) => {
                    args.extend([word.into(), "--id".into(), id_of(word)]);
                    ids.push(id_of(word));
                }
                _ => args.push(word.into()),
            }
        }
        if line.contains("--raw") {
            ids.extend(RAW.map(id_of));
        }
        if is_reader {
            args.extend(["--format".into(), "body".into()]);
        }
        let raw: String = RAW
            .iter()
            .map(|body| format!("{{\"id\":\"{}\",\"body\":\"{body}\"}}\n", id_of(body)))
            .collect();
        fs::write(self.dir.join("in"), raw).unwrap();
        let stdout = match until {
            Full => File::options().write(true).open("/dev/full"),
            _ => File::create(&out),
        };
        let mut shell = fx.program("sh");
        shell
            .env("MBOX_ROOT", root)
            .env("MBOX_PURE", "1")
            .stdin(File::open(self.dir.join("in")).unwrap())
            .stdout(stdout.unwrap())
            .stderr(File::create(self.dir.join("err")).unwrap());
        let program = driver.words();
        let mut words: Vec<&str> = program.iter().map(String::as_str).collect();
        words.extend(args.iter().map(String::as_str));
        let mut traced = Traced::start(shell, &words).map_err(|e| e.to_string())?;
        drop(traced.take_results());
        while let Some(entry) = traced.next() {
            let has_claimed = self.settle(&mut traced)?;
            let call = Call::describe(&traced, entry, self.dir);
            let is_delivery = call.kind == Kind::Write && call.on.iter().any(|on| on == "~/out");
            if until == Claimed && has_claimed || until == Delivery && is_delivery {
                traced.kill_all()?;
                self.asked.clear();
                return Ok(Does {
                    synced: Vec::new(),
                    is_reader: false,
                });
            }
            self.ask(call, entry);
        }
        self.settle(&mut traced)?;
        let wanted = if until == Full { 74 } else { 0 };
        match traced.finish()? {
            WaitStatus::Exited(_, code)
                if code == wanted && !matches!(until, Claimed | Delivery) => {}
            status => {
                let err = fs::read_to_string(self.dir.join("err")).unwrap();
                return Err(format!("{} {line}: {status:?}: {err}", driver.name()));
            }
        }
        let is_synced = line.contains("--sync");
        Ok(Does {
            synced: if is_synced { ids } else { Vec::new() },
            is_reader: is_reader && until == Done,
        })
    }

    fn ask(&mut self, call: Call, entry: Entry) {
        let mut asked = Asked {
            was_there: false,
            inode: None,
            at: 0,
            entry,
            call,
        };
        match asked.call.kind {
            Kind::Open => asked.was_there = self.real(&asked.call.on[0]).symlink_metadata().is_ok(),
            Kind::Write | Kind::Sync | Kind::Change => {
                if let Some(fd) = descriptor(&asked) {
                    let link = format!("/proc/{}/fd/{fd}", entry.pid);
                    let meta = fs::metadata(link)
                        .ok()
                        .filter(|meta| meta.is_file() || meta.is_dir());
                    asked.inode = meta.as_ref().map(MetadataExt::ino);
                    let info = fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", entry.pid));
                    let info = info.unwrap_or_default();
                    let number = |name: &str, radix| {
                        let line = info.lines().find_map(|line| line.strip_prefix(name));
                        u64::from_str_radix(line.unwrap_or("0").trim(), radix).unwrap_or(0)
                    };
                    let is_append = number("flags:", 8) & libc::O_APPEND as u64 != 0;
                    asked.at = match meta {
                        Some(meta) if is_append => meta.len(),
                        _ if asked.call.name == "pwrite64" => entry.args[3],
                        _ => number("pos:", 10),
                    };
                }
            }
            _ => return,
        }
        self.asked.insert(entry.pid, asked);
    }

    /// Takes in what was done; tells whether a claim was made.
    fn settle(&mut self, traced: &mut Traced) -> Result<bool, String> {
        let mut has_claimed = false;
        for (entry, result) in traced.take_results() {
            let asked = self.asked.remove(&entry.pid);
            if let Some(asked) = asked.filter(|asked| asked.entry.nr == entry.nr && result >= 0) {
                let ops = self.disk.ops.len();
                self.done(&asked, result)?;
                has_claimed |= self.disk.ops.len() > ops
                    && asked.call.name.starts_with("rename")
                    && asked.call.on[1].contains(".claims/");
            }
        }
        Ok(has_claimed)
    }

    fn done(&mut self, asked: &Asked, result: i64) -> Result<(), String> {
        let call = &asked.call;
        match call.name {
            "mkdir" | "mkdirat" => self.made(&call.on[0], true, &self.real(&call.on[0])),
            "open" | "openat" | "creat" => {
                let path = format!("/proc/{}/fd/{result}", asked.entry.pid);
                if call.is_creating() && !asked.was_there {
                    self.made(&call.on[0], false, Path::new(&path));
                } else if call.detail & libc::O_TRUNC as u64 != 0
                    && let Some(&inode) = self.inodes.get(&inode_of(Path::new(&path)))
                {
                    self.disk.apply(Op::Truncate { inode, length: 0 });
                }
            }
            "rmdir" | "unlink" | "unlinkat" => {
                if let Some(name) = self.name(&call.on[0]) {
                    self.disk.apply(Op::Change(vec![(name, None)]));
                }
            }
            "rename" | "renameat" | "renameat2" => {
                let (from, to) = (self.name(&call.on[0]), self.name(&call.on[1]));
                if let (Some(from), Some(to)) = (from, to) {
                    let inode = self.disk.get(&from);
                    self.disk.apply(Op::Change(vec![(from, None), (to, inode)]));
                }
            }
            "link" | "linkat" => {
                if let Some(from) = self.name(&call.on[0])
                    && let Some(to) = self.name(&call.on[1])
                {
                    let inode = self.disk.get(&from);
                    self.disk.apply(Op::Change(vec![(to, inode)]));
                }
            }
            "write" | "pwrite64" | "writev" | "copy_file_range" | "sendfile" | "splice" => {
                let fd = descriptor(asked).expect("a write has one");
                let is_out = call.on.iter().any(|on| on == "~/out");
                let inode = asked
                    .inode
                    .and_then(|inode| self.inodes.get(&inode))
                    .copied();
                if !is_out && inode.is_none() {
                    return Ok(());
                }
                // As it stands there now: nobody else has run since.
                let mut bytes = vec![0; result as usize];
                File::open(format!("/proc/{}/fd/{fd}", asked.entry.pid))
                    .and_then(|file| file.read_exact_at(&mut bytes, asked.at))
                    .map_err(|e| format!("{call}: {e}"))?;
                if is_out {
                    let step = self.step;
                    self.disk.apply(Op::Told { step, bytes });
                } else if let Some(inode) = inode {
                    let at = asked.at as usize;
                    self.disk.apply(Op::Write { inode, at, bytes });
                }
            }
            "ftruncate" => {
                if let Some(&inode) = asked.inode.and_then(|inode| self.inodes.get(&inode)) {
                    let length = asked.entry.args[1] as usize;
                    self.disk.apply(Op::Truncate { inode, length });
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(&inode) = asked.inode.and_then(|inode| self.inodes.get(&inode)) {
                    self.disk.apply(Op::Sync(inode));
                }
            }
            "sync" | "syncfs" => self.disk.apply(Op::SyncAll),
            "symlink" | "truncate" | "fallocate" if call.on[0].starts_with("~/disk") => {
                return Err(format!("{call} is not recorded"));
            }
            _ => {}
        }
        Ok(())
    }

    fn made(&mut self, on: &str, is_dir: bool, at: &Path) {
        if let Some(name) = self.name(on) {
            let inode = self.disk.add(is_dir);
            self.inodes.insert(inode_of(at), inode);
            self.disk.apply(Op::Change(vec![(name, Some(inode))]));
        }
    }

    fn real(&self, on: &str) -> PathBuf {
        match on.strip_prefix("~/") {
            Some(below) => self.dir.join(below),
            None => PathBuf::from(on),
        }
    }

    fn name(&self, on: &str) -> Option<Name> {
        self.disk.resolve(on.strip_prefix("~/disk/")?)
    }
}

fn inode_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.ino())
}

/// The descriptor that is written, cut or synced.
fn descriptor(asked: &Asked) -> Option<u64> {
    match asked.call.name {
        "write" | "pwrite64" | "writev" | "ftruncate" | "fsync" | "fdatasync" | "sendfile" => {
            Some(asked.entry.args[0])
        }
        "copy_file_range" | "splice" => Some(asked.entry.args[2]),
        _ => None,
    }
}

/// What a crash leaves of the messages: those that were promised, and not handed over.
pub fn owed(recording: &Recording, done: usize) -> HashSet<String> {
    let mut texts: HashMap<usize, Vec<u8>> = HashMap::new();
    for op in &recording.disk.ops[..done] {
        if let Op::Told { step, bytes } = op {
            texts.entry(*step).or_default().extend_from_slice(bytes);
        }
    }
    let told = |step: usize| {
        let text = texts.get(&step).map_or(&[][..], Vec::as_slice);
        let lines = text.split_inclusive(|&byte| byte == b'\n');
        let whole = lines.filter_map(|line| line.strip_suffix(b"\n"));
        whole
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect::<Vec<_>>()
    };
    let mut owed = HashSet::new();
    for (step, does) in recording.does.iter().enumerate() {
        if does.is_reader {
            for body in told(step) {
                owed.remove(&id_of(&body));
            }
        } else {
            owed.extend(told(step).into_iter().filter(|id| does.synced.contains(id)));
        }
    }
    owed
}
