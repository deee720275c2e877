//! What every backend must do, tried on each that this platform has.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{BackendKind, Change, Interest, Notifier, Source, WatchId, What, Woke};

/// Longer than anything here may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Longer than the poller's step, for what must not come.
const A_WHILE: Duration = Duration::from_millis(120);

/// A backend that fails.
struct Broken;

impl Source for Broken {
    fn add(&mut self, _: WatchId, _: &Path, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, _: WatchId) {}

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn next_due(&self) -> Option<Instant> {
        None
    }

    fn collect(&mut self, _: &mut Vec<Change>) -> io::Result<()> {
        Err(io::Error::other("it broke down"))
    }
}

impl Notifier {
    /// From here on every wait fails.
    pub(crate) fn break_down(&mut self) {
        self.source = Box::new(Broken);
    }
}

struct Scene {
    notifier: Notifier,
    dir: TempDir,
}

/// Runs a test on every backend.
fn on_each(test: impl Fn(&mut Scene)) {
    for &kind in BackendKind::available() {
        let notifier = Notifier::open(Some(kind)).unwrap();
        assert_eq!(notifier.kind(), kind);
        let dir = tempfile::tempdir().unwrap();
        test(&mut Scene { notifier, dir });
    }
}

impl Scene {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn watch(&mut self, interest: Interest) -> WatchId {
        self.notifier.add(self.dir.path(), interest).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
        drop(file);
        self.touch_lock();
    }

    /// As every locked append does, and as kqueue needs it.
    fn touch_lock(&self) {
        fs::create_dir(self.path("lock")).unwrap();
        fs::remove_dir(self.path("lock")).unwrap();
    }

    /// Waits until `wanted` is told.
    #[track_caller]
    fn expect(&mut self, watch: WatchId, wanted: What) {
        let wanted = Change {
            watch,
            what: wanted,
        };
        let kind = self.notifier.kind();
        let end = Instant::now() + DEADLINE;
        let mut all = Vec::new();
        while !all.contains(&wanted) {
            assert!(Instant::now() < end, "{kind}: no {wanted:?} in {all:?}");
            let some = Some(Duration::from_millis(100));
            self.notifier.wait(some, &mut all).unwrap();
        }
    }

    /// What is told until nothing has come for a while.
    fn rest(&mut self) -> Vec<Change> {
        let mut all = Vec::new();
        loop {
            let before = all.len();
            self.notifier.wait(Some(A_WHILE), &mut all).unwrap();
            if all.len() == before {
                return all;
            }
        }
    }
}

fn entry(name: &str) -> What {
    What::Entry(name.into())
}

fn names(names: &[&str]) -> Vec<OsString> {
    names.iter().map(OsString::from).collect()
}

#[test]
fn every_kind_of_change_to_an_entry() {
    on_each(|scene| {
        let id = scene.watch(Interest::Names(names(&["b"])));
        scene.write("b", "one\n"); // made
        scene.expect(id, entry("b"));
        scene.rest();
        scene.write("b", "two\n"); // written to
        scene.expect(id, entry("b"));
        scene.rest();
        fs::rename(scene.path("b"), scene.path("elsewhere")).unwrap();
        scene.expect(id, entry("b"));
        scene.rest();
        fs::hard_link(scene.path("elsewhere"), scene.path("b")).unwrap();
        scene.expect(id, entry("b"));
        scene.rest();
        fs::rename(scene.path("elsewhere"), scene.path("x")).unwrap();
        fs::write(scene.path("new"), "other\n").unwrap();
        scene.rest();
        fs::rename(scene.path("new"), scene.path("b")).unwrap(); // over it
        scene.expect(id, entry("b"));
        scene.rest();
        File::options()
            .write(true)
            .open(scene.path("b"))
            .unwrap()
            .set_len(0)
            .unwrap();
        scene.touch_lock();
        scene.expect(id, entry("b"));
        scene.rest();
        fs::remove_file(scene.path("b")).unwrap();
        scene.expect(id, entry("b"));
    });
}

/// A file of another's, of the same size, within one tick of the kernel's clock.
#[test]
fn a_change_that_looks_like_none() {
    on_each(|scene| {
        let id = scene.watch(Interest::Names(names(&["b"])));
        for round in 0..50 {
            scene.write("b", "same\n");
            scene.expect(id, entry("b"));
            fs::remove_file(scene.path("b")).unwrap();
            scene.write("b", "same\n");
            // It is told, or the first word of it came so late that a look sees this.
            let text = fs::read_to_string(scene.path("b")).unwrap();
            assert_eq!(text, "same\n", "{round}");
            scene.expect(id, entry("b"));
            fs::remove_file(scene.path("b")).unwrap();
        }
    });
}

#[test]
fn nothing_else_is_told() {
    on_each(|scene| {
        fs::write(scene.path("b"), "text\n").unwrap();
        let id = scene.watch(Interest::Names(names(&["b"])));
        scene.rest();
        // Reading, and opening for writing without a write: what a handler does.
        fs::read(scene.path("b")).unwrap();
        drop(File::options().append(true).open(scene.path("b")).unwrap());
        // The lock, temporaries and other mailboxes.
        scene.write("b.lock.owner", "x");
        scene.write("b.tmp.1", "x");
        scene.write("c", "x");
        assert_eq!(scene.rest(), [], "{}", scene.notifier.kind());
        scene.write("b", "x");
        scene.expect(id, entry("b"));
    });
}

#[test]
fn all_entries() {
    on_each(|scene| {
        fs::write(scene.path("old"), "text\n").unwrap();
        let id = scene.watch(Interest::All);
        scene.write("new", "x");
        scene.expect(id, entry("new"));
        scene.rest();
        scene.write("old", "x");
        scene.expect(id, entry("old"));
        scene.rest();
        fs::remove_file(scene.path("old")).unwrap();
        scene.expect(id, entry("old"));
    });
}

#[test]
fn coming_and_going_only() {
    on_each(|scene| {
        let id = scene.watch(Interest::Coming(names(&["b"])));
        scene.write("b", "one\n");
        scene.expect(id, entry("b"));
        scene.rest();
        scene.write("b", "two\n");
        assert_eq!(scene.rest(), []);
        fs::remove_file(scene.path("b")).unwrap();
        scene.expect(id, entry("b"));
    });
}

#[test]
fn a_directory_that_goes() {
    type Away = fn(&Path);
    let ways: [Away; 2] = [
        |dir| fs::remove_dir(dir).unwrap(),
        |dir| fs::rename(dir, dir.with_extension("moved")).unwrap(),
    ];
    for away in ways {
        on_each(|scene| {
            let dir = scene.path("dir");
            for interest in [
                Interest::Itself,
                Interest::Names(names(&["b"])),
                Interest::All,
            ] {
                let _ = fs::remove_dir_all(dir.with_extension("moved")); // of the round before
                fs::create_dir(&dir).unwrap();
                let id = scene.notifier.add(&dir, interest).unwrap();
                away(&dir);
                scene.expect(id, What::DirGone);
                // The watch has ended; a new one is another.
                fs::create_dir(&dir).unwrap();
                scene.rest();
                let next = scene.notifier.add(&dir, Interest::All).unwrap();
                assert_ne!(id, next);
                fs::write(dir.join("b"), "").unwrap();
                scene.expect(next, entry("b"));
                scene.notifier.remove(id);
                scene.notifier.remove(next);
                fs::remove_dir_all(&dir).unwrap();
                scene.rest();
            }
        });
    }
}

#[test]
fn two_watches_of_one_directory() {
    on_each(|scene| {
        let itself = scene.watch(Interest::Itself);
        let b = scene.watch(Interest::Names(names(&["b"])));
        let also_b = scene.watch(Interest::Names(names(&["b", "c"])));
        let coming = scene.watch(Interest::Coming(names(&["c"])));
        scene.write("b", "x");
        let told = scene.rest();
        for id in [b, also_b] {
            let what = entry("b");
            assert!(told.contains(&Change { watch: id, what }), "{told:?}");
        }
        assert!(
            !told.iter().any(|c| [itself, coming].contains(&c.watch)),
            "{told:?}"
        );
        scene.notifier.remove(b);
        scene.write("b", "y");
        let told = scene.rest();
        assert!(told.iter().all(|c| c.watch == also_b), "{told:?}");
        assert!(!told.is_empty());
        scene.notifier.remove(also_b);
        scene.write("c", "y");
        scene.expect(coming, entry("c"));
    });
}

#[test]
fn what_is_no_directory() {
    on_each(|scene| {
        let path = scene.path("x");
        let kind = |scene: &mut Scene| {
            let added = scene.notifier.add(&path, Interest::All);
            added.unwrap_err().kind()
        };
        assert_eq!(kind(scene), std::io::ErrorKind::NotFound);
        fs::write(&path, "").unwrap();
        assert_eq!(kind(scene), std::io::ErrorKind::NotADirectory);
    });
}

#[test]
fn timeouts_and_wakers() {
    on_each(|scene| {
        scene.watch(Interest::All);
        let begin = Instant::now();
        let mut sink = Vec::new();
        scene
            .notifier
            .wait(Some(Duration::ZERO), &mut sink)
            .unwrap();
        let some = Some(Duration::from_millis(60));
        scene.notifier.wait(some, &mut sink).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(60));
        // Before the wait and during it; a wake is used up by one wait.
        let waker = scene.notifier.waker();
        waker.wake();
        waker.wake();
        scene.notifier.wait(None, &mut sink).unwrap();
        let thread = std::thread::spawn({
            let waker = waker.clone();
            move || waker.wake()
        });
        scene.notifier.wait(None, &mut sink).unwrap();
        thread.join().unwrap();
        assert_eq!(sink, []);
        for _ in 0..1_000_000 {
            waker.wake(); // never blocks
        }
        scene.notifier.wait(None, &mut sink).unwrap();
    });
}

#[test]
fn a_reader_that_hangs_up() {
    use std::os::fd::AsFd;
    on_each(|scene| {
        scene.watch(Interest::All);
        let (reader, writer) = std::io::pipe().unwrap();
        let mut sink = Vec::new();
        let wait = |scene: &mut Scene, sink: &mut Vec<Change>| {
            let some = Some(Duration::from_millis(60));
            scene
                .notifier
                .wait_or_hang_up(some, Some(writer.as_fd()), sink)
                .unwrap()
        };
        assert_eq!(wait(scene, &mut sink), Woke::Normally);
        let thread = std::thread::spawn(move || drop(reader));
        let ended = scene
            .notifier
            .wait_or_hang_up(None, Some(writer.as_fd()), &mut sink);
        assert_eq!(ended.unwrap(), Woke::HungUp);
        thread.join().unwrap();
    });
}

/// More changes than inotify keeps: each watch is told to look at everything, and goes on.
#[test]
fn more_than_anybody_keeps() {
    on_each(|scene| {
        let id = scene.watch(Interest::All);
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
        let limit: usize = limit.map_or(0, |text| text.trim().parse().unwrap());
        let mut file = File::create(scene.path("a")).unwrap();
        let mut other = File::create(scene.path("c")).unwrap();
        for _ in 0..limit / 2 + 10 {
            file.write_all(b"x").unwrap(); // two alike in a row would be one event
            other.write_all(b"x").unwrap();
        }
        scene.touch_lock();
        match scene.notifier.kind() {
            BackendKind::Inotify => scene.expect(id, What::Overflow),
            BackendKind::Kqueue | BackendKind::Poll => scene.expect(id, entry("c")),
        }
        scene.rest();
        scene.write("d", "");
        scene.expect(id, entry("d"));
    });
}

#[test]
fn a_backend_of_another_platform() {
    for kind in [BackendKind::Inotify, BackendKind::Kqueue, BackendKind::Poll] {
        let opened = Notifier::open(Some(kind));
        let is_here = BackendKind::available().contains(&kind);
        assert_eq!(opened.is_ok(), is_here, "{kind}");
        if let Err(error) = opened {
            assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
        }
    }
}

/// One that cannot be looked at is as good as gone, and the others go on.
#[test]
fn a_directory_that_cannot_be_looked_at() {
    on_each(|scene| {
        let other = scene.watch(Interest::All);
        let dir = scene.path("dir");
        fs::create_dir(&dir).unwrap();
        let id = scene.notifier.add(&dir, Interest::All).unwrap();
        fs::rename(&dir, scene.path("moved")).unwrap();
        std::os::unix::fs::symlink(&dir, &dir).unwrap(); // ELOOP: root may look anywhere
        scene.expect(id, What::DirGone);
        scene.write("a", "");
        scene.expect(other, entry("a"));
    });
}
