//! Sessions: which process a name stands for.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, ErrorKind, Result};
use crate::format::session::Session;
use crate::format::{DEFAULT_WAIT, REQUEST_STALE, name, place, suffix};
use crate::lock::{Lock, LockGuard, Peer, Released, beside};
use crate::root::Root;
use crate::sys::clock::{self, Deadline};
use crate::sys::signals::Deferred;
use crate::sys::{fs, process};

const OP: &str = "register";

impl Session {
    /// Whether its process still runs (SESSION-2).
    #[must_use]
    pub fn is_alive(&self) -> bool {
        process::identity(self.pid).is_some_and(|process| process == self.process)
    }
}

impl Root {
    /// Has `name` stand for the process `pid`, and removes sessions that are over.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] for what is not a name, and for a process that does not run;
    /// [`ErrorKind::Busy`] when the name is that of another process that is alive.
    pub fn register(&self, name: &str, pid: i32, agent: Option<&str>) -> Result<Session> {
        self.mailbox(name)?; // whether it is a name
        let Some(process) = process::identity(pid) else {
            return Err(Error::new(
                ErrorKind::Name,
                OP,
                &PathBuf::from(format!("process {pid}")),
                "there is no such process",
                "give the process id of the one who is to be reached by this name",
            ));
        };
        let cwd = process::working_directory(pid).unwrap_or_default();
        let cwd = cwd.display().to_string();
        let session = Session {
            tty: process::terminal(pid),
            agent: agent.map(str::to_owned),
            ..Session::new(name, pid, process, cwd, clock::unix_seconds())
        };
        self.create(&self.sessions_dir())?;
        let signals = Deferred::begin();
        let path = self.session_path(name);
        let lock = lock(&path, DEFAULT_WAIT, &signals)?;
        if let Some(other) = self.read_session(name)?
            && (other.pid, &other.process) != (session.pid, &session.process)
            && other.is_alive()
        {
            let agent = other.agent.as_deref().unwrap_or("a process");
            return Err(Error::new(
                ErrorKind::Busy,
                OP,
                &path,
                format!(
                    "{name} is {agent} with the process id {}, which runs",
                    other.pid
                ),
                "choose another name",
            ));
        }
        write(&path, &session, &lock)?;
        release(lock)?;
        drop(signals);
        // What is over can wait for the next one.
        let _ = self.give_up_old_requests();
        let _ = self.reap(name);
        Ok(session)
    }

    /// The sessions there are, by name, alive or not; files that cannot be read are left out.
    ///
    /// # Errors
    /// When the root is unsafe or cannot be read.
    pub fn sessions(&self) -> Result<Vec<Session>> {
        let mut sessions = Vec::new();
        for name in self.session_names()? {
            sessions.extend(self.read_session(&name).unwrap_or_default());
        }
        Ok(sessions)
    }

    /// Removes the sessions that are over, which nothing waits for any more (SESSION-4), but
    /// for that of `but`.
    fn reap(&self, but: &str) -> Result<()> {
        for name in self.session_names()? {
            if but != name && self.is_over(&name).unwrap_or(false) {
                let _ = self.end(&name); // one that is locked, or cannot be removed
            }
        }
        Ok(())
    }

    fn end(&self, name: &str) -> Result<()> {
        let signals = Deferred::begin();
        let path = self.session_path(name);
        let lock = lock(&path, Duration::ZERO, &signals)?;
        // Again: somebody may have taken the name since.
        if self.is_over(name)? {
            fs::unlink(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
        release(lock)
    }

    fn is_over(&self, name: &str) -> Result<bool> {
        let session = self.read_session(name)?;
        Ok(session.is_some_and(|session| !session.is_alive())
            && !self.mailbox(name)?.has_mail()?
            && !self.has_request(name)?)
    }

    /// Whether `name` may still be answered.
    fn has_request(&self, name: &str) -> Result<bool> {
        Ok(self.requests(name)?.iter().any(|(_, is_old)| !is_old))
    }

    /// The requests of `name`, and whether each is old.
    fn requests(&self, name: &str) -> Result<Vec<(PathBuf, bool)>> {
        let dir = self.pending(name)?;
        let failed = |e| Error::io("look at", &dir, e);
        let mut requests = Vec::new();
        for entry in fs::list(&dir).map_err(failed)?.unwrap_or_default() {
            let path = dir.join(entry);
            let meta = fs::lstat(&path).map_err(failed)?;
            let made = meta.and_then(|meta| meta.modified().ok());
            let is_old = |made: SystemTime| clock::distance_from_now(made) >= REQUEST_STALE;
            requests.extend(made.map(|made| (path, is_old(made))));
        }
        Ok(requests)
    }

    /// Removes the requests nobody waits for any more (PENDING-3).
    fn give_up_old_requests(&self) -> Result<()> {
        for name in self.names_with_requests()? {
            for (path, is_old) in self.requests(&name)? {
                if is_old {
                    fs::unlink(&path).map_err(|e| Error::io("remove", &path, e))?;
                }
            }
            let dir = self.pending(&name)?;
            fs::rmdir(&dir).map_err(|e| Error::io("remove", &dir, e))?;
        }
        Ok(())
    }

    fn session_names(&self) -> Result<Vec<String>> {
        let dir = self.sessions_dir();
        self.check_place(&dir)?;
        let entries = fs::list(&dir).map_err(|e| Error::io("look at", &dir, e))?;
        let name = |entry: &OsStr| {
            let name = entry.to_str()?.strip_suffix(suffix::SESSION)?;
            name::is_name(name.as_bytes()).then(|| name.to_owned())
        };
        let entries = entries.unwrap_or_default();
        let mut names: Vec<String> = entries.iter().filter_map(|entry| name(entry)).collect();
        names.sort();
        Ok(names)
    }

    /// The session of `name`; `None` when its file holds none.
    fn read_session(&self, name: &str) -> Result<Option<Session>> {
        let path = self.session_path(name);
        let text = fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        Ok(text.and_then(|text| Session::parse(&text, name)))
    }

    fn sessions_dir(&self) -> PathBuf {
        self.place(place::SESSIONS)
    }

    fn session_path(&self, name: &str) -> PathBuf {
        self.sessions_dir()
            .join(format!("{name}{}", suffix::SESSION))
    }
}

fn lock(path: &Path, wait: Duration, signals: &Deferred) -> Result<LockGuard> {
    let deadline = Deadline::after(wait);
    Lock::beside(path).acquire(Peer::WithGuard, &deadline, signals)
}

/// SESSION-3.
fn write(path: &Path, session: &Session, lock: &LockGuard) -> Result<()> {
    let temporary = beside(path, &format!("{}{}", suffix::TEMPORARY, lock.token()));
    let failed = |e| Error::io("write", path, e);
    let Some(mut file) = fs::create_new(&temporary).map_err(failed)? else {
        return Err(Error::unsafe_file("write", &temporary));
    };
    let written = file.write_all(&session.to_text()).map_err(failed);
    let written = written.and_then(|()| match lock.still_held()? {
        true => fs::rename(&temporary, path).map_err(failed).map(drop),
        false => Err(Error::new(
            ErrorKind::Busy,
            OP,
            path,
            "the lock was lost to another",
            "try again",
        )),
    });
    if written.is_err() {
        let _ = fs::unlink(&temporary); // the error before it is told
    }
    written
}

fn release(lock: LockGuard) -> Result<()> {
    // What was done was done while it was held, or an age ago.
    let (Released::Held | Released::Lost) = lock.release()?;
    Ok(())
}
