//! Changes of the mailboxes directory, looked at and made into events.
//!
//! The directory is watched first and listed then, so that nothing falls between. What the
//! notifier names is looked at; what it lost, or what cannot be told apart, is listed
//! anew. While there is no such directory, its nearest parent that is there is watched.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::events::state::{Content, Known, Seen, mailbox_of};
use crate::format::event::Event;
use crate::format::{PROOF, suffix};
use crate::lock::beside;
use crate::root::Root;
use crate::sys::fs;
use crate::sys::notify::proof::prove;
use crate::sys::notify::{BackendKind, Change, Interest, Notifier, WatchId, What};

const OP: &str = "watch";

/// The events of one root.
pub(super) struct Source {
    root: Root,
    dir: PathBuf,
    notifier: Notifier,
    watched: Option<Watched>,
    known: Known,
    /// Why the files are looked at again and again, where that is so.
    fallback: Option<String>,
    /// When to list everything, whatever the notifier says. What no backend tells (a parent
    /// that is moved away, the write of another host) is then seen late and not never.
    next_review: Instant,
}

/// How often everything is listed (EVENT-9).
const REVIEW: Duration = Duration::from_secs(1);

/// How soon everything is listed after a look for which there were no descriptors.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

struct Watched {
    id: WatchId,
    /// The mailboxes directory as it was; `None` while it is a parent that is watched.
    mailboxes: Option<Metadata>,
}

impl Source {
    /// Begins with what is there now, which makes no events.
    pub(super) fn begin(root: &Root) -> Result<Source> {
        let dir = root.mailboxes();
        root.check()?;
        let mut fallback = None;
        let notifier = Notifier::open(None).or_else(|e| {
            fallback = Some(format!(
                "{} cannot be had: {e}",
                BackendKind::available()[0]
            ));
            Notifier::open(Some(BackendKind::Poll))
        });
        let mut notifier = notifier.map_err(|e| Error::io(OP, &dir, e))?;
        let kind = notifier.kind();
        // Where nothing can be made there is no proof, and no reason to doubt.
        if kind != BackendKind::Poll && matches!(prove(&mut notifier, &dir, PROOF), Ok(None)) {
            fallback = Some(format!("{kind} tells nothing of {}", dir.display()));
            notifier.poll_instead();
        }
        let mut source = Source {
            root: root.clone(),
            dir,
            notifier,
            fallback,
            watched: None,
            known: Known::default(),
            next_review: Instant::now() + REVIEW,
        };
        source.arm()?;
        source.list(&mut Vec::new())?;
        Ok(source)
    }

    /// Why it polls, if it does although there is something better.
    pub(super) fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// Readable when [`look`](Source::look) may find something.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.notifier.as_fd()
    }

    /// When to look although it is not readable.
    pub(super) fn due(&self) -> Instant {
        let due = self.notifier.next_due();
        due.map_or(self.next_review, |due| due.min(self.next_review))
    }

    /// What has happened since the last look. What cannot be seen because there are no
    /// descriptors is seen later.
    pub(super) fn look(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        match self.look_for(&mut events) {
            Err(error) if error.is_out_of_descriptors() => {
                self.next_review = Instant::now() + LOOK_AGAIN;
            }
            looked => looked?,
        }
        Ok(events)
    }

    fn look_for(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let mut changes = Vec::new();
        let told = self.notifier.wait(Some(Duration::ZERO), &mut changes);
        told.map_err(|e| Error::io(OP, &self.dir, e))?;
        let mut names = Names::default();
        let (mut is_lost, mut is_moved) = (false, false);
        if self.next_review <= Instant::now() {
            self.next_review = Instant::now() + REVIEW;
            (is_lost, is_moved) = (true, self.is_moved()?);
        }
        for change in &changes {
            match self.judge(change) {
                Verdict::Mailbox(name) => names.add(name),
                Verdict::Lost => is_lost = true,
                Verdict::Moved => is_moved = true,
                Verdict::Nothing => {}
            }
        }
        if is_moved {
            self.arm()?;
        }
        if is_moved || is_lost {
            self.list(events)?;
        } else {
            for name in names.in_order {
                let seen = self.look_at(&name)?;
                self.known.update(&name, seen, events);
            }
        }
        Ok(())
    }

    fn judge(&self, change: &Change) -> Verdict {
        let Some(watched) = self.watched.as_ref() else {
            return Verdict::Moved;
        };
        if change.watch != watched.id {
            return Verdict::Nothing; // of a watch that has ended
        }
        match (&change.what, &watched.mailboxes) {
            (What::Entry(entry), Some(_)) => match entry.to_str().and_then(mailbox_of) {
                Some(name) => Verdict::Mailbox(name.to_owned()),
                None => Verdict::Nothing,
            },
            (What::Overflow, Some(_)) => Verdict::Lost,
            (What::DirGone, _) | (_, None) => Verdict::Moved,
        }
    }

    /// Whether another directory stands in the place of the one watched.
    fn is_moved(&self) -> Result<bool> {
        let there = fs::lstat(&self.dir).map_err(|e| Error::io(OP, &self.dir, e))?;
        let watched = self.watched.as_ref().and_then(|w| w.mailboxes.as_ref());
        Ok(match (&there, watched) {
            (Some(there), Some(watched)) => !fs::is_same(there, watched),
            (None, None) => false,
            _ => true,
        })
    }

    /// Watches the mailboxes directory, or the nearest of its parents that is there.
    fn arm(&mut self) -> Result<()> {
        self.root.check()?;
        if let Some(watched) = self.watched.take() {
            self.notifier.remove(watched.id);
        }
        let mut child: Option<&Path> = None;
        let mut at = Some(self.dir.as_path());
        while let Some(dir) = at {
            let name = child.and_then(Path::file_name);
            let interest = name.map_or(Interest::All, |name| {
                Interest::Coming(vec![name.to_owned()])
            });
            let here = match dir.as_os_str().is_empty() {
                true => Path::new("."),
                false => dir,
            };
            let failed = |e| Error::io(OP, here, e);
            match self.notifier.add(here, interest) {
                Ok(id) => {
                    // It may have come while its parent was not watched yet. A file or a
                    // dangling link there is no way on.
                    if child.is_some_and(|child| fs::directory_identity(child).is_some()) {
                        self.notifier.remove(id);
                        (child, at) = (None, Some(self.dir.as_path()));
                        continue;
                    }
                    let mailboxes = match child {
                        Some(_) => None,
                        None => fs::lstat(dir).map_err(failed)?,
                    };
                    self.watched = Some(Watched { id, mailboxes });
                    return Ok(());
                }
                Err(e) if is_absent(&e) => (child, at) = (Some(dir), dir.parent()),
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(()) // not even a root directory: looked for again at the next check
    }

    /// Looks at every mailbox there is or was.
    fn list(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let entries = fs::list(&self.dir).map_err(|e| Error::io(OP, &self.dir, e))?;
        let mut names: BTreeSet<String> = self.known.names().cloned().collect();
        for entry in entries.unwrap_or_default() {
            let name = entry.to_str().and_then(mailbox_of);
            names.extend(name.map(str::to_owned));
        }
        for name in names {
            let seen = self.look_at(&name)?;
            self.known.update(&name, seen, events);
        }
        Ok(())
    }

    /// What is there of one mailbox. Anything but the kinds of file the protocol makes
    /// counts as nothing.
    fn look_at(&self, name: &str) -> Result<Seen> {
        let records = self.dir.join(format!("{name}{}", suffix::RECORDS));
        let lstat = |path: &Path| fs::lstat(path).map_err(|e| Error::io("look at", path, e));
        let content = || Ok(lstat(&records)?.filter(Metadata::is_file).map(content));
        let mut seen = Seen {
            records: content()?,
            claims: lstat(&beside(&records, suffix::CLAIMS))?.is_some_and(|meta| meta.is_dir()),
            rest: false,
        };
        if !seen.has_mail() {
            seen.records = content()?; // a take may have put mail back in between (HAS-1)
        }
        if seen.records.is_none() && !seen.claims {
            seen.rest = lstat(&beside(&records, suffix::GUARD))?.is_some()
                || lstat(&beside(&records, suffix::DAMAGED))?.is_some();
        }
        Ok(seen)
    }
}

/// What a change asks for.
enum Verdict {
    Nothing,
    /// To look at this mailbox.
    Mailbox(String),
    /// To list everything.
    Lost,
    /// To find the directory anew.
    Moved,
}

/// Names, each once, in the order in which they came.
#[derive(Default)]
struct Names {
    in_order: Vec<String>,
    all: BTreeSet<String>,
}

impl Names {
    fn add(&mut self, name: String) {
        if self.all.insert(name.clone()) {
            self.in_order.push(name);
        }
    }
}

fn content(meta: Metadata) -> Content {
    Content {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.len(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
    }
}

fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::event::Happened;
    use crate::mailbox::Append;
    use crate::{Message, Root};

    /// The events that come until there are as many as are wanted.
    fn events(source: &mut Source, count: usize) -> Vec<Event> {
        let end = Instant::now() + Duration::from_secs(30);
        let mut events = Vec::new();
        while events.len() < count {
            assert!(Instant::now() < end, "waited in vain: {events:?}");
            let due = source.due().saturating_duration_since(Instant::now());
            std::thread::sleep(due.min(Duration::from_millis(5)));
            events.extend(source.look().unwrap());
        }
        events
    }

    /// By polling, which is what remains where the system tells nothing; and before there
    /// is a root.
    #[test]
    fn polling_sees_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path().join("not/there/yet"));
        let mut source = Source::begin(&root).unwrap();
        source.notifier.poll_instead();
        source.arm().unwrap();
        let mailbox = root.mailbox("a").unwrap();
        let how = Append::default();
        mailbox.append(&Message::new("x"), &how).unwrap();
        let found = events(&mut source, 2);
        assert_eq!(found[0].what, Happened::Created);
        assert!(matches!(found[1].what, Happened::Appended { bytes: 1.. }));
        mailbox.append(&Message::new("y"), &how).unwrap();
        let found = events(&mut source, 1);
        assert!(matches!(found[0].what, Happened::Appended { .. }));
        mailbox.drain().unwrap().unwrap().ack().unwrap();
        assert_eq!(events(&mut source, 1)[0].what, Happened::Drained);
        std::fs::remove_dir_all(dir.path().join("not")).unwrap();
        assert_eq!(events(&mut source, 1)[0].what, Happened::Removed);
    }
}
