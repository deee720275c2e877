//! A filesystem on which nothing was made and deleted yet.
//!
//! Root on Linux gets a new ext4 in an image of its own, mounted where only this process and
//! its children see it: it is gone when they are, however they end. Everybody else gets a
//! directory in memory, or a temporary one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::arguments::Arguments;

pub struct Fresh {
    dir: PathBuf,
    what: String,
    mounted: bool,
    _dir: TempDir,
}

impl Fresh {
    /// Call it before any thread is started: only those that come later see the mount.
    pub fn filesystem(arguments: &Arguments) -> Fresh {
        if let Some(on) = &arguments.on {
            return Fresh::in_directory(on, &on.display().to_string());
        }
        let memory = Path::new("/dev/shm");
        match Fresh::mounted() {
            Some(fresh) => fresh,
            None if memory.is_dir() => Fresh::in_directory(memory, "tmpfs (/dev/shm)"),
            None => Fresh::in_directory(&std::env::temp_dir(), "the temporary directory"),
        }
    }

    fn in_directory(parent: &Path, what: &str) -> Fresh {
        let dir = tempfile::Builder::new()
            .prefix("mbox-bench-")
            .tempdir_in(parent)
            .expect("a directory can be made");
        Fresh {
            dir: dir.path().to_owned(),
            what: what.to_owned(),
            mounted: false,
            _dir: dir,
        }
    }

    #[cfg(target_os = "linux")]
    fn mounted() -> Option<Fresh> {
        use nix::sched::{CloneFlags, unshare};
        nix::unistd::geteuid().is_root().then_some(())?;
        let dir = tempfile::Builder::new()
            .prefix("mbox-bench-")
            .tempdir()
            .ok()?;
        let (image, place) = (dir.path().join("image"), dir.path().join("mounted"));
        fs::create_dir(&place).ok()?;
        fs::File::create(&image).ok()?.set_len(IMAGE_BYTES).ok()?;
        let run = |program: &str, options: &[&str], paths: &[&Path]| {
            let mut command = Command::new(program);
            command.args(options).args(paths);
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.ok()?.success().then_some(())
        };
        let whole = "lazy_itable_init=0,lazy_journal_init=0";
        run(
            "mkfs.ext4",
            &["-q", "-F", "-i", "8192", "-E", whole],
            &[&image],
        )?;
        unshare(CloneFlags::CLONE_NEWNS).ok()?;
        run("mount", &["--make-rprivate"], &[Path::new("/")])?;
        run("mount", &["-o", "loop"], &[&image, &place])?;
        let _ = fs::remove_file(&image); // the mount has it; otherwise it goes with the directory
        Some(Fresh {
            dir: place,
            what: "a fresh ext4 (loop device)".to_owned(),
            mounted: true,
            _dir: dir,
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn mounted() -> Option<Fresh> {
        None
    }

    /// A new directory. Those of the root of an ext4 are laid far apart, so that what one
    /// case makes and deletes is not in the way of another.
    pub fn directory(&self, name: &str) -> PathBuf {
        use std::os::unix::fs::DirBuilderExt;
        let dir = self.dir.join(name);
        let mut private = fs::DirBuilder::new();
        private.mode(0o700).create(&dir).expect("it is new");
        dir
    }

    /// Says what is measured, and where.
    pub fn announce(&self, title: &str) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        println!("# {title}\n");
        println!("On {}, {cores} cores.\n", self.what);
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if self.mounted {
            let mut umount = Command::new("umount");
            let _ = umount.arg("-l").arg(&self.dir).status(); // it is nobody else's
        }
    }
}

/// Sparse: it takes what is written to it.
const IMAGE_BYTES: u64 = 8 << 30;
