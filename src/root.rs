//! Where mailboxes live, and who may be trusted with them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::error::{Error, ErrorKind, Result};
use crate::format::{name, place, suffix};
use crate::mailbox::Mailbox;
use crate::sys::fs;

/// A directory of mailboxes.
///
/// # Security
/// A root that is a symbolic link, belongs to another user, or is writable by
/// others is refused when a mailbox in it is used.
#[derive(Clone, Debug)]
pub struct Root {
    dir: PathBuf,
}

impl Root {
    /// The root at `dir`. Nothing is created or looked at yet.
    pub fn at(dir: impl AsRef<Path>) -> Root {
        // Without a trailing slash, so that the last component itself is looked at.
        Root {
            dir: dir.as_ref().components().collect(),
        }
    }

    /// The directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The mailbox `name` in this root. Nothing is created.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] for what is not a name; [`ErrorKind::Refused`] for an unsafe root.
    pub fn mailbox(&self, name: impl AsRef<OsStr>) -> Result<Mailbox> {
        let name = name.as_ref();
        let Some(text) = name.to_str().filter(|text| name::is_name(text.as_bytes())) else {
            return Err(Error::new(
                ErrorKind::Name,
                "use the mailbox name",
                Path::new(name),
                "it is not 1 to 128 of A-Z a-z 0-9 . _ @ + -, not beginning with . or -",
                "choose another name, or give a path with a / in it",
            ));
        };
        self.check()?;
        Ok(self.mailbox_of(text))
    }

    /// The mailbox of what is a name, in a root that was looked at.
    fn mailbox_of(&self, name: &str) -> Mailbox {
        let file = format!("{name}{}", suffix::RECORDS);
        let (path, ledger) = (
            self.mailboxes().join(&file),
            self.place(place::RECEIVED).join(&file),
        );
        Mailbox::named(name, path, self.clone()).with_ledger(ledger)
    }

    /// The ledger of `name`, a record file of its own (LEDGER-1).
    pub(crate) fn ledger(&self, name: &str) -> Result<Mailbox> {
        self.mailbox(name)?; // whether it is a name
        self.check_place(&self.place(place::RECEIVED))?;
        Ok(self.ledger_of(name))
    }

    fn ledger_of(&self, name: &str) -> Mailbox {
        let dir = self.place(place::RECEIVED);
        let path = dir.join(format!("{name}{}", suffix::RECORDS));
        let title = format!("the ledger of {name}");
        Mailbox::named(&title, path, self.clone())
    }

    /// Every mailbox in this root, by name.
    ///
    /// A mailbox is there when its record file is, or any of its other files
    /// that hold mail or a lock.
    ///
    /// # Errors
    /// When the root is unsafe or cannot be read.
    pub fn mailboxes_by_name(&self) -> Result<Vec<Mailbox>> {
        Ok(self.each_mailbox()?.collect())
    }

    /// The same one after the other: there may be very many.
    pub(crate) fn each_mailbox(&self) -> Result<impl Iterator<Item = Mailbox> + '_> {
        let names = self.names_in(&self.mailboxes(), &WITH_MAIL)?;
        Ok(names.into_iter().map(|name| self.mailbox_of(&name)))
    }

    /// The same, with those of which only leftovers are there.
    pub(crate) fn each_mailbox_or_leftover(&self) -> Result<impl Iterator<Item = Mailbox> + '_> {
        let names = self.names_in(&self.mailboxes(), &[&WITH_MAIL[..], &LEFT_OVER].concat())?;
        Ok(names.into_iter().map(|name| self.mailbox_of(&name)))
    }

    /// The ledgers, and those of which only leftovers are there.
    pub(crate) fn each_ledger_or_leftover(&self) -> Result<impl Iterator<Item = Mailbox> + '_> {
        let dir = self.place(place::RECEIVED);
        let names = self.names_in(&dir, &[&WITH_MAIL[..], &LEFT_OVER].concat())?;
        Ok(names.into_iter().map(|name| self.ledger_of(&name)))
    }

    /// The names of which a file with one of these endings is in `dir`.
    fn names_in(&self, dir: &Path, ends: &[&str]) -> Result<BTreeSet<String>> {
        self.check_place(dir)?;
        let mut names = BTreeSet::new();
        if fs::lstat(dir).map_err(|e| Error::io(OP, dir, e))?.is_none() {
            return Ok(names);
        }
        for entry in WalkDir::new(dir).min_depth(1).max_depth(1) {
            let entry = entry.map_err(|e| {
                // The system's own error, not walkdir's words around it.
                let e = e.into_io_error();
                Error::io(OP, dir, e.expect("links are not followed, so no loops"))
            })?;
            let Some(file) = entry.file_name().to_str() else {
                continue;
            };
            let name = ends
                .iter()
                .find_map(|end| file.strip_suffix(&format!("{}{end}", suffix::RECORDS)));
            names.extend(
                name.filter(|n| name::is_name(n.as_bytes()))
                    .map(str::to_owned),
            );
        }
        Ok(names)
    }

    /// Creates the root, and a directory in it, for a verb that writes (ROOT-3, PLACE-1).
    pub(crate) fn create(&self, dir: &Path) -> Result<()> {
        if is_directory(&self.dir)? && is_directory(dir)? {
            return Ok(());
        }
        fs::mkdir_all(dir).map_err(|e| Error::io("create", dir, e))?;
        self.check_place(dir)
    }

    /// Puts the entries of all directories that [`create`](Root::create) may have made on
    /// stable storage, whoever did (APP-6).
    pub(crate) fn sync(&self) -> Result<()> {
        for (height, dir) in self.dir.ancestors().enumerate() {
            let dir = match dir.as_os_str().is_empty() {
                true => Path::new("."),
                false => dir,
            };
            // Above the root: nobody like us can have made anything there.
            if height > 0 && !fs::may_write(dir) {
                break;
            }
            fs::sync_directory(dir).map_err(|e| Error::io("sync", dir, e))?;
        }
        Ok(())
    }

    /// Where its mailboxes are.
    pub(crate) fn mailboxes(&self) -> PathBuf {
        self.place(place::MAILBOXES)
    }

    /// Where the requests of `name` are, in places nobody else could have prepared (PLACE-1).
    pub(crate) fn pending(&self, name: &str) -> Result<PathBuf> {
        let all = self.place(place::PENDING);
        self.check_place(&all)?;
        let dir = all.join(name);
        check_directory(&dir)?;
        Ok(dir)
    }

    /// The names that have requests.
    pub(crate) fn names_with_requests(&self) -> Result<Vec<String>> {
        let dir = self.place(place::PENDING);
        self.check_place(&dir)?;
        let entries = fs::list(&dir).map_err(|e| Error::io(OP, &dir, e))?;
        let entries = entries.unwrap_or_default().into_iter();
        let names = entries.filter_map(|entry| entry.into_string().ok());
        Ok(names.filter(|n| name::is_name(n.as_bytes())).collect())
    }

    /// A directory or file of the root.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// ROOT-4: refuses a root that others could have prepared.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_place(&self.mailboxes())
    }

    /// The same, and of a directory in the root.
    pub(crate) fn check_place(&self, dir: &Path) -> Result<()> {
        check_directory(&self.dir)?;
        check_directory(dir)
    }
}

/// Refuses a directory that others could have prepared; one that is not there is fine.
pub(crate) fn check_directory(dir: &Path) -> Result<()> {
    is_directory(dir).map(drop)
}

/// The same, and whether it is there.
fn is_directory(dir: &Path) -> Result<bool> {
    let Some(meta) = fs::lstat(dir).map_err(|e| Error::io(OP, dir, e))? else {
        return Ok(false);
    };
    if !meta.is_dir() {
        return Err(Error::unsafe_file(OP, dir));
    }
    let (what, next_step) = if !fs::is_mine(&meta) {
        (
            "it belongs to another user",
            "choose a root of your own with --root or MBOX_ROOT",
        )
    } else if fs::is_writable_by_others(&meta) {
        (
            "others may write to it",
            "run chmod o-w on it, or choose another root",
        )
    } else {
        return Ok(true);
    };
    Err(Error::new(ErrorKind::Refused, OP, dir, what, next_step))
}

const OP: &str = "use the root";

/// Endings of the files of a mailbox that is there.
const WITH_MAIL: [&str; 4] = ["", suffix::CLAIMS, suffix::LOCK, suffix::DAMAGED];

/// Endings of files that outlive one.
const LEFT_OVER: [&str; 3] = [suffix::OWNER, suffix::STEAL, suffix::GUARD];

/// The mailbox a MAILBOX argument means: a path when it has a `/` in it, else a name (NAME-1).
///
/// # Errors
/// [`ErrorKind::Name`] for what is neither; [`ErrorKind::Refused`] for an unsafe root.
pub fn resolve(argument: &OsStr, root: &Root) -> Result<Mailbox> {
    if !argument.as_bytes().contains(&b'/') {
        return root.mailbox(argument);
    }
    let path = Path::new(argument);
    if argument.as_bytes().ends_with(b"/") || path.file_name().is_none() {
        return Err(Error::new(
            ErrorKind::Name,
            "use the mailbox path",
            path,
            "it does not name a file",
            "give the path of the record file itself",
        ));
    }
    Ok(Mailbox::at(path))
}
