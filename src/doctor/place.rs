//! The root, the backend that tells of changes, and the hub.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use crate::doctor::{Doctor, Finding, State};
use crate::error::{Error, Result};
use crate::events::Place;
use crate::events::socket::Found;
use crate::format::event::Kind;
use crate::format::{HELLO_WAIT, PROOF, place};
use crate::root::Root;
use crate::sys::fs;
use crate::sys::notify::proof::prove;
use crate::sys::notify::{BackendKind, Notifier};

impl Doctor {
    /// Whether there is a root that can be looked into.
    pub(super) fn root(&mut self, root: &Root) -> bool {
        let (dir, mailboxes) = (root.dir(), root.mailboxes());
        match fs::lstat(dir) {
            Ok(Some(_)) => {}
            Ok(None) => {
                let what = "there is no root yet; the first append makes it";
                self.add(Finding::new("root", State::Well, what).at(dir));
                return false;
            }
            Err(e) => {
                self.add(Finding::failed("root", &Error::io("look at", dir, e)));
                return false;
            }
        }
        let is_open = |dir: &Path| {
            let meta = fs::lstat(dir).ok().flatten();
            meta.is_some_and(|meta| meta.is_dir() && fs::is_writable_by_others(&meta))
        };
        let was_open = [dir, &mailboxes].into_iter().any(is_open);
        self.mode(None, dir);
        self.mode(None, &mailboxes);
        for place in [
            place::RECEIVED,
            place::PENDING,
            place::SESSIONS,
            place::ACTIVITY,
        ] {
            self.mode(None, &root.place(place));
        }
        match root.check() {
            // ROOT-4 holds now, and says nothing of what others have put there before.
            Ok(()) if was_open => {
                let what = "others could write to it until now";
                let next = "look at what is in it, then run mbox doctor again";
                let finding = Finding::new("root", State::Problem, what).at(dir);
                self.add(finding.next(next));
                false
            }
            Ok(()) => {
                self.add(Finding::new("root", State::Well, "the root is ours").at(dir));
                true
            }
            Err(error) => {
                self.add(Finding::failed("root", &error));
                false
            }
        }
    }

    /// FILE-1: what is ours, and others may read or write.
    pub(super) fn mode(&mut self, mailbox: Option<&str>, path: &Path) {
        let Ok(Some(meta)) = fs::lstat(path) else {
            return; // gone, or told elsewhere
        };
        let is_known = meta.is_file() || meta.is_dir();
        if !is_known || !fs::is_mine(&meta) || fs::bits_of_others(&meta) == 0 {
            return;
        }
        let what = "others than its owner have permissions on it";
        let finding = Finding {
            mailbox: mailbox.map(str::to_owned),
            ..Finding::new("mode", State::Problem, what).at(path)
        };
        self.problem(finding, || {
            fs::make_private(path).map_err(|e| Error::io("change the mode of", path, e))
        });
    }

    /// Which backend tells of a write, and how soon.
    pub(super) fn backend(&mut self, root: &Root) {
        let dir = match fs::lstat(&root.mailboxes()) {
            Ok(Some(_)) => root.mailboxes(),
            _ => root.dir().to_owned(),
        };
        for kind in BackendKind::available() {
            let told = Notifier::open(Some(*kind))
                .and_then(|mut notifier| prove(&mut notifier, &dir, PROOF));
            let finding = |state, what: String| Finding::new("backend", state, what).at(&dir);
            let finding = match told {
                Ok(Some(latency)) => {
                    let ms = latency.as_secs_f64() * 1e3;
                    let what = format!("{kind} told of a write after {ms:.2} ms");
                    self.add(Finding {
                        latency: Some(latency),
                        ..finding(State::Well, what)
                    });
                    return;
                }
                Ok(None) => finding(State::Note, format!("{kind} tells of no write here")),
                Err(e) => finding(State::Note, format!("{kind} cannot be used: {e}")),
            };
            self.add(finding);
        }
        let what = "no backend tells of a write; changes are seen within a second or two";
        self.add(Finding::new("backend", State::Problem, what).at(&dir));
    }

    /// The hub: none, alive, or dead.
    pub(super) fn hub(&mut self, root: &Root, runtime_dir: Option<&Path>) {
        let looked = self.look_at_hub(root, runtime_dir);
        self.look("hub", looked);
    }

    fn look_at_hub(&mut self, root: &Root, runtime_dir: Option<&Path>) -> Result<()> {
        let Some(place) = Place::of(root, runtime_dir)? else {
            let what =
                "none can be: the path is too long for a socket, and XDG_RUNTIME_DIR is not set";
            self.add(Finding::new("hub", State::Well, what));
            return Ok(());
        };
        let finding = |state, what: &str| Finding::new("hub", state, what).at(place.socket());
        match place.find()? {
            Found::Nothing => self.add(finding(State::Well, "none; nobody needs one")),
            Found::Dead => {
                let what = "it is dead and has left its socket";
                self.problem(finding(State::Problem, what), || place.clear().map(drop));
            }
            Found::Deaf => {
                let what = "it accepts nobody";
                self.add(finding(State::Problem, what).next("look whether it is stopped"));
            }
            Found::Alive(stream) => {
                let mut line = Vec::new();
                // A socket that does not block, read as one that waits.
                let read = stream
                    .set_nonblocking(false)
                    .and_then(|()| stream.set_read_timeout(Some(HELLO_WAIT)))
                    .and_then(|()| BufReader::new(&stream).read_until(b'\n', &mut line));
                self.add(match (read, Kind::of(&line)) {
                    (Ok(_), Kind::Hello { hub }) => {
                        finding(State::Well, &format!("hub {hub} is alive"))
                    }
                    (Ok(_), Kind::Refused { reason }) => {
                        finding(State::Note, &format!("it is alive, and refuses: {reason}"))
                    }
                    _ => {
                        let wait = Duration::as_secs(&HELLO_WAIT);
                        let what = format!("it said no hello within {wait} s");
                        finding(State::Problem, &what).next("look whether it is stopped")
                    }
                });
            }
        }
        Ok(())
    }
}
