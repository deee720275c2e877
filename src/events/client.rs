//! Following the events of a root: through its hub when one is alive, else by watching.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::events::socket::{Found, Place};
use crate::events::source::Source;
use crate::format::event::{self, Kind, Request};
use crate::format::{HELLO_WAIT, LOOK_EVERY, MAX_RECORD, SOCKET_CHECK};
use crate::root::Root;
use crate::sys::socket::{self, Moved, Readiness};

/// How long a hub that did not answer is let be.
const FROZEN: Duration = Duration::from_secs(60);

/// The events of a root, line by line, for as long as somebody wants them.
///
/// Every stream begins with a `hello`, and so does what follows when a hub goes away or
/// comes up: nothing is replayed, so look for yourself after each.
pub struct Stream {
    root: Root,
    runtime_dir: Option<PathBuf>,
    request: Request,
    from: From,
    lines: VecDeque<Line>,
}

/// One line of a [`Stream`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub(crate) kind: Kind,
    bytes: Vec<u8>,
}

impl Line {
    fn of(bytes: Vec<u8>) -> Line {
        Line {
            kind: Kind::of(&bytes),
            bytes,
        }
    }

    /// The line, with its newline.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it tells of a mailbox, and not of the stream itself.
    #[must_use]
    pub fn is_event(&self) -> bool {
        self.kind == Kind::Other
    }
}

enum From {
    Hub(Connection),
    Own(Box<Own>),
}

impl Stream {
    /// Begins to follow. Nothing is created; a root that is not there yet is waited for.
    ///
    /// `runtime_dir` is `$XDG_RUNTIME_DIR`; see [`Place::of`].
    ///
    /// # Errors
    /// For an unsafe root, or something unsafe in the place of the socket.
    pub fn open(root: &Root, runtime_dir: Option<&Path>, request: Request) -> Result<Stream> {
        let runtime_dir = runtime_dir.map(Path::to_owned);
        let (from, lines) = match Connection::open(root, runtime_dir.as_deref(), &request)? {
            Some((hub, lines)) => (From::Hub(hub), lines),
            None => Own::begin(root, &request)?,
        };
        Ok(Stream {
            root: root.clone(),
            runtime_dir,
            request,
            from,
            lines,
        })
    }

    /// Why changes are noticed by looking again and again, where that is so.
    #[must_use]
    pub fn fallback(&self) -> Option<&str> {
        match &self.from {
            From::Hub(_) => None,
            From::Own(own) => own.source.fallback(),
        }
    }

    /// The next line, waited for.
    ///
    /// # Errors
    /// When the mailboxes cannot be watched any more.
    pub fn next_line(&mut self) -> Result<Line> {
        loop {
            if let Some(line) = self.next_or_hang_up(None)? {
                return Ok(line);
            }
        }
    }

    /// The same; `None` as soon as nobody reads any more what is written to `reader`.
    pub(crate) fn next_or_hang_up(
        &mut self,
        reader: Option<BorrowedFd<'_>>,
    ) -> Result<Option<Line>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            if self.wait(reader)? {
                return Ok(None);
            }
            match &mut self.from {
                From::Hub(hub) => {
                    if !hub.read(&mut self.lines) {
                        self.lose_hub()?;
                    }
                }
                From::Own(own) => {
                    own.look(&self.request, &mut self.lines)?;
                    if own.next_search <= Instant::now() {
                        self.find_hub()?;
                    }
                }
            }
        }
    }

    /// Waits for whatever comes next; `true` when `reader` has hung up.
    fn wait(&self, reader: Option<BorrowedFd<'_>>) -> Result<bool> {
        let (fd, due) = match &self.from {
            From::Hub(hub) => (Some(hub.stream.as_fd()), None),
            From::Own(own) => own.waits_for(),
        };
        let hang_up = reader.map(|reader| (reader, Readiness::empty()));
        let asked = hang_up
            .into_iter()
            .chain(fd.map(|fd| (fd, Readiness::POLLIN)));
        let limit = due.map(|due| due.saturating_duration_since(Instant::now()));
        let ready = socket::wait(&asked.collect::<Vec<_>>(), limit);
        let ready = ready.map_err(|e| Error::io("follow", self.root.dir(), e))?;
        Ok(reader.is_some() && !ready[0].is_empty())
    }

    /// The hub is gone: another one, or none, and a new hello in either case.
    fn lose_hub(&mut self) -> Result<()> {
        let again = Connection::open(&self.root, self.runtime_dir.as_deref(), &self.request)?;
        let (from, lines) = match again {
            Some((hub, lines)) => (From::Hub(hub), lines),
            None => Own::begin(&self.root, &self.request)?,
        };
        self.from = from;
        self.lines.extend(lines);
        Ok(())
    }

    /// Goes over to a hub that has come up. Its hello comes first and our last look then,
    /// so that what happens in between is told twice rather than not at all.
    fn find_hub(&mut self) -> Result<()> {
        let begin = Instant::now();
        let found = Connection::open(&self.root, self.runtime_dir.as_deref(), &self.request)?;
        let From::Own(own) = &mut self.from else {
            return Ok(());
        };
        let Some((hub, lines)) = found else {
            // One that is frozen must not hold us up again and again.
            let is_frozen = begin.elapsed() >= HELLO_WAIT;
            own.next_search = Instant::now() + if is_frozen { FROZEN } else { SOCKET_CHECK };
            return Ok(());
        };
        own.next_look = Instant::now();
        own.look(&self.request, &mut self.lines)?;
        self.lines.extend(lines);
        self.from = From::Hub(hub);
        Ok(())
    }
}

/// A connection to a hub.
struct Connection {
    stream: UnixStream,
    /// A line that has begun.
    begun: Vec<u8>,
}

impl Connection {
    /// Connects, asks, and waits for the hello from which on the request holds. `None`
    /// when there is no hub, or none that answers.
    fn open(
        root: &Root,
        runtime_dir: Option<&Path>,
        request: &Request,
    ) -> Result<Option<(Connection, VecDeque<Line>)>> {
        let Some(place) = Place::of(root, runtime_dir)? else {
            return Ok(None);
        };
        let Found::Alive(stream) = place.find()? else {
            return Ok(None);
        };
        let mut hellos = 1;
        if let Some(line) = request.line() {
            hellos += 1;
            // It is less than any socket takes at once.
            if socket::write(&stream, &line) != Moved::Bytes(line.len()) {
                return Ok(None);
            }
        }
        let mut hub = Connection {
            stream,
            begun: Vec::new(),
        };
        let end = Instant::now() + HELLO_WAIT;
        let mut lines = VecDeque::new();
        loop {
            while let Some(line) = lines.front() {
                hellos -= i32::from(matches!(
                    line,
                    Line {
                        kind: Kind::Hello { .. },
                        ..
                    }
                ));
                if hellos == 0 {
                    return Ok(Some((hub, lines)));
                }
                lines.pop_front();
            }
            let left = end.saturating_duration_since(Instant::now());
            let asked = [(hub.stream.as_fd(), Readiness::POLLIN)];
            let waited = socket::wait(&asked, Some(left));
            waited.map_err(|e| Error::io("follow", place.socket(), e))?;
            // A frozen hub is as good as none.
            if left.is_zero() || !hub.read(&mut lines) {
                return Ok(None);
            }
        }
    }

    /// Reads what there is; `false` when the hub is gone, has refused us, or is none.
    fn read(&mut self, lines: &mut VecDeque<Line>) -> bool {
        let mut buffer = [0; 16 << 10];
        match socket::read(&self.stream, &mut buffer) {
            Moved::Bytes(0) | Moved::Gone => return false,
            Moved::Blocked => return true,
            Moved::Bytes(n) => self.begun.extend_from_slice(&buffer[..n]),
        }
        let end = self.begun.iter().rposition(|&b| b == b'\n');
        let rest = self.begun.split_off(end.map_or(0, |end| end + 1));
        let whole = std::mem::replace(&mut self.begun, rest);
        for line in whole.split_inclusive(|&b| b == b'\n') {
            let line = Line::of(line.to_vec());
            if let Kind::Foreign | Kind::Refused { .. } = line.kind {
                return false;
            }
            lines.push_back(line);
        }
        self.begun.len() <= MAX_RECORD
    }
}

/// What a hub does, for one reader who is never too slow: it looks when he is ready.
struct Own {
    source: Source,
    seq: u64,
    last_sent: Instant,
    heartbeat: Option<Duration>,
    next_look: Instant,
    /// When to see whether a hub has come up.
    next_search: Instant,
}

impl Own {
    fn begin(root: &Root, request: &Request) -> Result<(From, VecDeque<Line>)> {
        let now = Instant::now();
        let own = Own {
            source: Source::begin(root)?,
            seq: 0,
            last_sent: now,
            heartbeat: request.heartbeat,
            next_look: now,
            next_search: now + SOCKET_CHECK,
        };
        let id = format!("{:016x}", rand::random::<u64>());
        let hello = Line::of(event::hello(&id, 0, request.mailboxes.as_ref()));
        Ok((From::Own(Box::new(own)), VecDeque::from([hello])))
    }

    /// The descriptor and the time to wait for.
    fn waits_for(&self) -> (Option<BorrowedFd<'_>>, Option<Instant>) {
        let can_look = Instant::now() >= self.next_look;
        let fd = self.source.fd().filter(|_| can_look);
        let mut due = self.next_search.min(self.source.due().max(self.next_look));
        if !can_look {
            due = due.min(self.next_look);
        }
        let beat = self.beat();
        (fd, Some(beat.map_or(due, |beat| due.min(beat))))
    }

    fn beat(&self) -> Option<Instant> {
        self.last_sent.checked_add(self.heartbeat?)
    }

    fn look(&mut self, request: &Request, lines: &mut VecDeque<Line>) -> Result<()> {
        let now = Instant::now();
        if now >= self.next_look {
            self.next_look = now + LOOK_EVERY;
            for event in self.source.look()? {
                self.seq += 1;
                if request.wants(&event.mailbox) {
                    lines.push_back(Line::of(event.line(self.seq)));
                }
            }
        }
        if lines.is_empty() && self.beat().is_some_and(|beat| beat <= now) {
            lines.push_back(Line::of(event::heartbeat(self.seq)));
        }
        if !lines.is_empty() {
            self.last_sent = now;
        }
        Ok(())
    }
}
