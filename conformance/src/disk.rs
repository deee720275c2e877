//! A small filesystem of its own, full after so many bytes or files.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::Deserialize;

/// `"disk"` of a case: a tmpfs at `path`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    pub path: String,
    /// Its size in pages of 4 KiB: a file takes whole ones.
    pages: u64,
    /// How many files and directories there can be, itself included.
    #[serde(default = "plenty")]
    inodes: u64,
}

fn plenty() -> u64 {
    1000
}

/// Unmounted whatever happens.
pub struct Disk(PathBuf);

impl Disk {
    pub fn mount(at: &Path, spec: &Spec) -> Result<Disk, String> {
        fs::create_dir(at).map_err(|e| format!("{}: {e}", at.display()))?;
        let disk = Disk(at.to_owned());
        disk.set(spec.pages, spec.inodes, MsFlags::empty())?;
        Ok(disk)
    }

    /// Whether this process may mount at all.
    pub fn is_possible() -> bool {
        let spec = Spec {
            path: String::new(),
            pages: 1,
            inodes: plenty(),
        };
        crate::check::workspace().is_ok_and(|t| Disk::mount(&t.path().join("disk"), &spec).is_ok())
    }

    /// Plenty of room from here on, and writable.
    pub fn grow(&self) -> Result<(), String> {
        self.set(plenty(), plenty(), MsFlags::MS_REMOUNT)
    }

    pub fn make_read_only(&self) -> Result<(), String> {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        self.set(plenty(), plenty(), flags)
    }

    fn set(&self, pages: u64, inodes: u64, flags: MsFlags) -> Result<(), String> {
        let options = format!("mode=0700,size={},nr_inodes={inodes}", pages * 4096);
        let tmpfs = Some("tmpfs");
        mount(tmpfs, &self.0, tmpfs, flags, Some(options.as_str()))
            .map_err(|e| format!("{}: cannot mount a tmpfs: {e}", self.0.display()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Gone from sight at once, and for good when the last file is closed.
        // (Nothing is mounted there when mounting failed.)
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
