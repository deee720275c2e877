//! Putting a hook into the settings of a host: nothing of anybody else is lost.
//!
//! The file is read, edited as text (`settings.rs`), and replaced by rename, with a backup
//! beside it. Taking the hook out brings the very bytes of before back when nothing else
//! was changed since.

use std::path::{Path, PathBuf};

use super::{Agent, settings};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{clock, fs};

const OP: &str = "change the settings";

/// How often a file that is changed meanwhile is read again.
const TRIES: usize = 10;

/// The settings of a host in one place.
pub(crate) struct Settings {
    agent: Agent,
    path: PathBuf,
}

/// What an installation, or its end, came to.
pub(crate) struct Changed {
    /// The new content; `None`: the file was to go.
    pub(crate) content: Option<String>,
    /// Where the old content is, if there was any.
    pub(crate) backup: Option<PathBuf>,
}

/// What there is of a hook.
pub(crate) struct Found {
    pub(crate) events: Vec<String>,
    pub(crate) program: Option<PathBuf>,
}

impl Settings {
    /// Those of `agent` for everything below `dir`: a home directory, or a project.
    pub(crate) fn below(dir: &Path, agent: Agent) -> Settings {
        Settings {
            agent,
            path: dir.join(agent.settings_file()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Has the host run `program`; `None` when it does already. Nothing is written when
    /// `is_trial`.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for a file that is not what the host reads, [`ErrorKind::Refused`]
    /// for one that may not be written: it is not touched.
    pub(crate) fn install(&self, program: &str, is_trial: bool) -> Result<Option<Changed>> {
        self.change(is_trial, |before| {
            let text = before.unwrap_or_default();
            let after = settings::install(text, self.agent, program);
            Ok(after.map_err(|why| self.malformed(&why))?.map(Some))
        })
    }

    /// Takes the hook out; `None` when there is none.
    ///
    /// # Errors
    /// As for [`install`](Settings::install).
    pub(crate) fn uninstall(&self, is_trial: bool) -> Result<Option<Changed>> {
        self.change(is_trial, |before| {
            let Some(text) = before else {
                return Ok(None);
            };
            let after = settings::uninstall(text, self.agent);
            let Some(after) = after.map_err(|why| self.malformed(&why))? else {
                return Ok(None);
            };
            Ok(Some(self.before_install(text)?.unwrap_or(Some(after))))
        })
    }

    /// What is there of the hook.
    ///
    /// # Errors
    /// As for [`install`](Settings::install).
    pub(crate) fn find(&self) -> Result<Found> {
        let text = self.read(&self.path)?.unwrap_or_default();
        let found = settings::find(&text, self.agent).map_err(|why| self.malformed(&why))?;
        let program = found.first().map(|(_, program)| PathBuf::from(program));
        Ok(Found {
            events: found.into_iter().map(|(event, _)| event).collect(),
            program,
        })
    }

    /// What the file was before it became `text` by an installation and nothing else: the
    /// content, or that there was none; `None` when it cannot be told.
    fn before_install(&self, text: &str) -> Result<Option<Option<String>>> {
        let found = settings::find(text, self.agent).map_err(|why| self.malformed(&why))?;
        let Some((_, program)) = found.first() else {
            return Ok(None);
        };
        let is_it = |before: &str| {
            settings::install(before, self.agent, program)
                .is_ok_and(|it| it.as_deref() == Some(text))
        };
        for backup in self.backups()? {
            if let Some(before) = self.read(&backup)?
                && is_it(&before)
            {
                return Ok(Some(Some(before)));
            }
        }
        Ok(is_it("").then_some(None))
    }

    /// The backups there are, the newest first.
    fn backups(&self) -> Result<Vec<PathBuf>> {
        let target = self.target()?;
        let (Some(dir), Some(name)) = (target.parent(), target.file_name()) else {
            return Ok(Vec::new());
        };
        let prefix = format!("{}{BACKUP}", name.to_string_lossy());
        let entries = fs::list(dir).map_err(|e| Error::io(OP, dir, e))?;
        let names = entries.unwrap_or_default().into_iter();
        let mut names: Vec<_> = names
            .filter(|name| name.to_string_lossy().starts_with(&prefix))
            .collect();
        names.sort();
        Ok(names.into_iter().rev().map(|name| dir.join(name)).collect())
    }

    fn change(
        &self,
        is_trial: bool,
        edit: impl Fn(Option<&str>) -> Result<Option<Option<String>>>,
    ) -> Result<Option<Changed>> {
        for _ in 0..TRIES {
            let target = self.target()?;
            let before = self.read(&target)?;
            let Some(content) = edit(before.as_deref())? else {
                return Ok(None);
            };
            let mut changed = Changed {
                content,
                backup: None,
            };
            if is_trial {
                return Ok(Some(changed));
            }
            self.refuse_read_only(&target)?;
            if let Some(before) = &before {
                changed.backup = Some(self.back_up(&target, before)?);
            }
            // The host, or another tool, may have written it meanwhile.
            if self.read(&target)? != before {
                if let Some(backup) = &changed.backup {
                    fs::unlink(backup).map_err(|e| Error::io(OP, backup, e))?;
                }
                continue;
            }
            self.write(&target, changed.content.as_deref())?;
            return Ok(Some(changed));
        }
        let what = "somebody else keeps changing it";
        Err(Error::new(
            ErrorKind::Busy,
            OP,
            &self.path,
            what,
            "try again",
        ))
    }

    /// The file itself: settings are often a link to where somebody keeps them.
    fn target(&self) -> Result<PathBuf> {
        let failed = |e| Error::io(OP, &self.path, e);
        match fs::lstat(&self.path).map_err(failed)? {
            Some(meta) if meta.is_symlink() => {
                let target = fs::canonical(&self.path).map_err(failed)?;
                let what = "it is a link that leads nowhere";
                let next = "repair the link, or remove it";
                target.ok_or_else(|| Error::new(ErrorKind::Refused, OP, &self.path, what, next))
            }
            _ => Ok(self.path.clone()),
        }
    }

    fn read(&self, path: &Path) -> Result<Option<String>> {
        let target = match fs::canonical(path).map_err(|e| Error::io("read", path, e))? {
            Some(target) => target,
            None => return Ok(None),
        };
        let bytes = fs::read(&target).map_err(|e| Error::io("read", path, e))?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(|_| self.malformed("it is not UTF-8"))
    }

    fn refuse_read_only(&self, target: &Path) -> Result<()> {
        let meta = fs::lstat(target).map_err(|e| Error::io(OP, target, e))?;
        if meta.is_some_and(|meta| meta.permissions().readonly()) {
            let next = "make it writable (chmod u+w), or put the entry in by hand";
            let what = "it is read-only";
            return Err(Error::new(ErrorKind::Refused, OP, target, what, next));
        }
        Ok(())
    }

    /// A copy beside it, under a name with the time in it.
    fn back_up(&self, target: &Path, content: &str) -> Result<PathBuf> {
        let mut name = target.as_os_str().to_owned();
        name.push(format!("{BACKUP}{}", clock::unix_millis()));
        let path = PathBuf::from(name);
        let failed = |e| Error::io("make the backup", &path, e);
        fs::replace(&path, content.as_bytes(), target).map_err(failed)?;
        Ok(path)
    }

    fn write(&self, target: &Path, content: Option<&str>) -> Result<()> {
        let failed = |e| Error::io("write", target, e);
        let Some(content) = content else {
            return fs::unlink(target).map(drop).map_err(failed);
        };
        if let Some(dir) = target.parent() {
            fs::mkdir_all(dir).map_err(|e| Error::io("create", dir, e))?;
        }
        fs::replace(target, content.as_bytes(), target).map_err(failed)
    }

    fn malformed(&self, why: &str) -> Error {
        let next = "repair it first; it was not touched";
        Error::new(ErrorKind::Data, OP, &self.path, why, next)
    }
}

/// What the name of a backup has behind that of the file, before the time.
const BACKUP: &str = ".mbox-backup-";
