//! Delivery: messages between named parties that can be answered.
//!
//! What is sent stands in the ledger of the receiver before it stands in the mailbox
//! (LEDGER-2), so that whoever is handed a message can answer it by its id. A request
//! (`ask`) is a message with a `request_id`; its answer carries that as `reply_to`, and is
//! taken out of the asker's mailbox with no other message touched.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::format::message::Message;
use crate::format::name::is_name;
use crate::format::record::Record;
use crate::format::{DEFAULT_WAIT, LEDGER_MAX};
use crate::ledger::Ledger;
use crate::mailbox::{Append, Claim, Mailbox, Match, Place};
use crate::root::Root;
use crate::sys::clock::Deadline;
use crate::sys::fs;
use crate::sys::signals::Deferred;
use crate::watch::Lookout;

/// One party's way to send, answer and ask.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let root = mbox::Root::at(dir.path().join("root"));
/// let alice = mbox::Delivery::of(&root, Some("alice"))?;
/// let bob = mbox::Delivery::of(&root, Some("bob"))?;
///
/// let sent = alice.send("bob", mbox::Message::new("shall we?"), &mbox::Append::default())?;
/// let answer = bob.reply(&sent.id, mbox::Message::new("yes"), &mbox::Append::default())?;
/// assert!(matches!(answer, mbox::Replied::Sent { .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Delivery {
    root: Root,
    /// Who sends, and whose ledger is looked into.
    me: Option<String>,
    wait: Duration,
    ledger_max: u64,
    may_send_to_self: bool,
}

/// A message that was delivered.
#[derive(Debug)]
#[must_use = "it says whether the message can be answered"]
#[non_exhaustive]
pub struct Sent {
    /// Its id.
    pub id: String,
    /// Why it is not in the ledger of its receiver, who cannot answer it by its id.
    pub no_entry: Option<Error>,
    /// How many old entries of that ledger were pruned.
    pub pruned: u64,
    /// Why they could not be.
    pub not_pruned: Option<Error>,
}

/// A message as it is written.
struct Line {
    id: String,
    /// With its newline.
    text: Vec<u8>,
    /// The id was drawn for it, so that no entry can have it.
    is_new: bool,
}

/// What becomes of a message that cannot be entered in the ledger.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// It goes without (LEDGER-3).
    Wanted,
    /// It is not sent.
    Needed,
}

/// What a reply came to.
#[derive(Debug)]
#[must_use = "it says whether anything was sent"]
#[non_exhaustive]
pub enum Replied {
    /// It was sent.
    Sent {
        /// The reply.
        sent: Sent,
        /// To whom.
        to: String,
    },
    /// The ledger has no message with this id: it was never there, or was pruned.
    Unknown,
    /// The message does not say who sent it, or not by a name.
    NoSender,
}

/// What became of a message (RECEIPT-3).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageState {
    /// It is in the mailbox.
    Pending,
    /// A reader has it and has not acknowledged it.
    InHand,
    /// It was handed over.
    HandedOver {
        /// When, in unix seconds.
        at: u64,
        /// By what.
        by: String,
    },
    /// It is not there any more, and nobody said who took it.
    Gone,
}

impl Delivery {
    /// For the party `me`; without a name messages have no sender, and nothing can be
    /// answered or asked.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] for what is not a name; [`ErrorKind::Refused`] for an unsafe root.
    pub fn of(root: &Root, me: Option<&str>) -> Result<Delivery> {
        if let Some(me) = me {
            root.mailbox(me)?;
        }
        Ok(Delivery {
            root: root.clone(),
            me: me.map(str::to_owned),
            wait: DEFAULT_WAIT,
            ledger_max: LEDGER_MAX,
            may_send_to_self: false,
        })
    }

    /// The same, which waits this long for the lock of a mailbox (5 s by default), and for
    /// that of a ledger as long, but never over 1 s.
    #[must_use]
    pub fn waiting(self, wait: Duration) -> Delivery {
        Delivery { wait, ..self }
    }

    /// The same, which keeps the newest `max` entries of a ledger (1,000 by default).
    #[must_use]
    pub fn ledger_max(self, max: u64) -> Delivery {
        Delivery {
            ledger_max: max,
            ..self
        }
    }

    /// The same, which may send to its own party.
    #[must_use]
    pub fn to_self(self) -> Delivery {
        Delivery {
            may_send_to_self: true,
            ..self
        }
    }

    /// Sends a message to `to`.
    ///
    /// # Guarantees
    /// When the message can be seen in the mailbox, its entry is in the ledger, unless
    /// [`Sent::no_entry`] says that it could not be written.
    ///
    /// # Errors
    /// As for [`Mailbox::append`]; [`ErrorKind::Name`] when `to` is not a name, and
    /// [`ErrorKind::Data`] when it is this party itself, and nothing was written.
    pub fn send(&self, to: &str, message: Message, how: &Append) -> Result<Sent> {
        let mailbox = self.receiver(to)?;
        self.deliver(&mailbox, to, message, how)
    }

    /// The mailbox of somebody a message may be sent to.
    fn receiver(&self, to: &str) -> Result<Mailbox> {
        let mailbox = self.root.mailbox(to)?.waiting(self.wait);
        if self.me.as_deref() == Some(to) && !self.may_send_to_self {
            return Err(Error::new(
                ErrorKind::Data,
                "send to",
                mailbox.path(),
                format!("{to} is the sender itself"),
                "nothing was written; if it is meant, allow it (send --to-self)",
            ));
        }
        Ok(mailbox)
    }

    fn deliver(&self, to: &Mailbox, name: &str, message: Message, how: &Append) -> Result<Sent> {
        let message = match &self.me {
            Some(me) => message.from(me.as_str()),
            None => message,
        };
        let is_new = !message.has_id();
        let (id, text) = to.line_of(&message, how)?;
        let line = Line { id, text, is_new };
        self.enter_and_append(to, name, line, how, Entry::Wanted)
    }

    /// LEDGER-2.
    fn enter_and_append(
        &self,
        to: &Mailbox,
        name: &str,
        line: Line,
        how: &Append,
        entry: Entry,
    ) -> Result<Sent> {
        to.has_mail()?; // refuse what is no record file before leaving any trace
        let Line { id, text, is_new } = line;
        let mut sent = Sent {
            id,
            no_entry: None,
            pruned: 0,
            not_pruned: None,
        };
        let ledger = Ledger::of(&self.root, name).map(|ledger| ledger.waiting(self.wait));
        let unless = (!is_new).then_some(sent.id.as_str());
        let entered = ledger.and_then(|ledger| {
            ledger.enter(&text, unless, how)?;
            Ok(ledger)
        });
        let entered = match entry {
            Entry::Wanted => entered,
            Entry::Needed => Ok(entered?),
        };
        to.append_lines(&text, how)?;
        // The message comes first: what is pruned can wait.
        match entered.map(|ledger| ledger.prune(self.ledger_max, text.len())) {
            Ok(Ok(pruned)) => sent.pruned = pruned,
            Ok(Err(error)) => sent.not_pruned = Some(error),
            Err(error) => sent.no_entry = Some(error),
        }
        Ok(sent)
    }

    /// Answers the message `id` of this party's ledger.
    ///
    /// # Errors
    /// As for [`send`](Delivery::send); [`ErrorKind::Name`] without a name.
    pub fn reply(&self, id: &str, message: Message, how: &Append) -> Result<Replied> {
        let Some(entry) = Ledger::of(&self.root, self.me()?)?.find(id)? else {
            return Ok(Replied::Unknown);
        };
        let name = |member: Option<&str>| {
            let name = member.filter(|name| is_name(name.as_bytes()));
            name.map(str::to_owned)
        };
        let Some(to) = name(entry.from()) else {
            return Ok(Replied::NoSender);
        };
        let mut message = message.source(id);
        if let Some(request) = name(entry.request_id()) {
            message = message.reply_to(request);
        }
        let sent = self.send(&to, message, how)?;
        Ok(Replied::Sent { sent, to })
    }

    /// Sends a message to `to` as a request, with a `request_id` of its own, and returns what
    /// waits for the answer.
    ///
    /// # Errors
    /// As for [`send`](Delivery::send); [`ErrorKind::Name`] without a name. One that cannot be
    /// entered in the ledger is not sent, because it could not be answered.
    pub fn ask(&self, to: &str, message: Message, how: &Append) -> Result<Ask> {
        let me = self.me()?;
        let receiver = self.receiver(to)?;
        let mailbox = self.root.mailbox(me)?.waiting(self.wait);
        // Before it is sent: an answer may come at once.
        let mut lookout = Lookout::open(None)?;
        lookout.add(0, &mailbox)?;
        let request_id = format!("{:016x}", rand::random::<u64>());
        let is_new = !message.has_id();
        let message = message.request_id(request_id.as_str()).from(me);
        let (id, text) = receiver.line_of(&message, how)?;
        let pending = self.note_request(me, &request_id, &text)?;
        let line = Line { id, text, is_new };
        let sent = self.enter_and_append(&receiver, to, line, how, Entry::Needed);
        let sent = sent.inspect_err(|_| {
            let _ = fs::unlink(&pending); // else it is given up by its age
        })?;
        Ok(Ask {
            wanted: Match {
                reply_to: Some(request_id.clone()),
                from: Some(to.to_owned()),
                ..Match::default()
            },
            ledger: Ledger::of(&self.root, me).ok(), // it says where an answer went, at best
            request_id,
            sent,
            mailbox,
            lookout,
            not_before: None,
        })
    }

    /// PENDING-1.
    fn note_request(&self, me: &str, request_id: &str, line: &[u8]) -> Result<PathBuf> {
        let dir = self.root.pending(me)?;
        let path = dir.join(request_id);
        let failed = |e| Error::io("note the request in", &path, e);
        loop {
            self.root.create(&dir)?;
            // Others remove an empty directory.
            match fs::create_new(&path) {
                Ok(Some(mut file)) => {
                    let written = file.write_all(line);
                    return match written {
                        Ok(()) => Ok(path),
                        Err(e) => {
                            let _ = fs::unlink(&path); // the error before it is told
                            Err(failed(e))
                        }
                    };
                }
                Ok(None) => return Err(Error::unsafe_file("note the request in", &path)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }

    /// The message `id` of this party's ledger, and what became of it; `None` when it is not
    /// there.
    ///
    /// # Errors
    /// When a file is unsafe or cannot be read; [`ErrorKind::Name`] without a name.
    pub fn show(&self, id: &str) -> Result<Option<(Record, MessageState)>> {
        let ledger = Ledger::of(&self.root, self.me()?)?;
        let Some(entry) = ledger.find(id)? else {
            return Ok(None);
        };
        let mailbox = self.root.mailbox(self.me()?)?;
        let state = match mailbox.find(id)? {
            // In a claim that was given up it is whoever's comes next.
            Some((Place::Claim, _)) if mailbox.is_in_hand()? => MessageState::InHand,
            Some(_) => MessageState::Pending,
            None => match ledger.receipt(id)? {
                Some(receipt) => MessageState::HandedOver {
                    at: receipt.at,
                    by: receipt.by,
                },
                None => MessageState::Gone,
            },
        };
        Ok(Some((entry, state)))
    }

    fn me(&self) -> Result<&str> {
        self.me.as_deref().ok_or_else(|| {
            Error::new(
                ErrorKind::Name,
                "tell who you are in",
                self.root.dir(),
                "you gave no name",
                "give --from NAME, or set MBOX_NAME to your own",
            )
        })
    }
}

/// A request that was sent, and waits for its answer.
#[must_use = "an answer that nobody waits for is ordinary mail"]
pub struct Ask {
    request_id: String,
    sent: Sent,
    wanted: Match,
    mailbox: Mailbox,
    /// Where the answer is entered before the mailbox has it.
    ledger: Option<Ledger>,
    lookout: Lookout,
    /// While another reader has the answer in hand, no claim is tried before this.
    not_before: Option<Instant>,
}

/// What waiting for an answer came to.
#[must_use = "a claim that is dropped is handed over again"]
#[non_exhaustive]
pub enum Answer {
    /// It is here.
    Taken(Box<Claim>),
    /// Another reader of the mailbox was handed the message with this id, which is the answer.
    Elsewhere(String),
    /// It did not come in time. One that comes later is ordinary mail.
    TimedOut,
}

/// How long to rest when another reader has the answer in hand: it may give it back.
const REST: Duration = Duration::from_millis(500);

impl Ask {
    /// What the answer carries as `reply_to`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.request_id
    }

    /// The message that was sent.
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Waits for the answer and takes it, and no other message.
    ///
    /// # Errors
    /// As for [`Mailbox::take`], but that a busy mailbox is tried again.
    pub fn answer(&mut self, timeout: Duration) -> Result<Answer> {
        self.answer_holding(timeout, &mut Deferred::begin)
            .map(|(answer, _)| answer)
    }

    /// The same for a caller who goes on holding back the signals that `hold` held back.
    pub(crate) fn answer_holding(
        &mut self,
        timeout: Duration,
        hold: &mut dyn FnMut() -> Deferred,
    ) -> Result<(Answer, Deferred)> {
        let end = Deadline::after(timeout);
        loop {
            let signals = hold();
            if let Some(claim) = self.try_take(&signals)? {
                return Ok((Answer::Taken(Box::new(claim)), signals));
            }
            let ledger = self.ledger.as_ref();
            // One that cannot be read says nothing.
            let elsewhere = ledger.map(|ledger| ledger.find_handed_over(&self.wanted));
            if let Some(Ok(Some(id))) = elsewhere {
                return Ok((Answer::Elsewhere(id), signals));
            }
            if end.has_passed() {
                return Ok((Answer::TimedOut, signals));
            }
            drop(signals);
            let rest = self
                .not_before
                .map(|then| then.saturating_duration_since(Instant::now()));
            let rest = rest.filter(|rest| !rest.is_zero());
            let most = rest.map_or(end.left(), |rest| rest.min(end.left()));
            self.lookout.wait(Some(most), None)?;
        }
    }

    fn try_take(&mut self, signals: &Deferred) -> Result<Option<Claim>> {
        match self.mailbox.place_of(&self.wanted)? {
            None => return Ok(None),
            Some(Place::Records) => {}
            // Another reader has it, or died with it.
            Some(Place::Claim) => {
                let now = Instant::now();
                if self.not_before.is_some_and(|then| now < then) {
                    return Ok(None);
                }
                self.not_before = Some(now + REST);
            }
        }
        match self.mailbox.take_holding(&self.wanted, signals) {
            Ok(claim) => Ok(claim.map(|claim| claim.by("ask"))),
            Err(error) if error.kind() == ErrorKind::Busy => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the answer comes to.
    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask")
            .field("request_id", &self.request_id)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

/// What a migration came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it says whether anything stays"]
#[non_exhaustive]
pub enum Migrated {
    /// The mail is in the other mailbox; or there was none.
    All,
    /// What is there is in the hands of a reader, and stays.
    InHand,
}

/// Moves the mail of `old` to `new`, with its entries in the ledger where both were given by
/// name (MIGRATEV-1).
///
/// # Guarantees
/// Wherever it is stopped, no message is lost or there twice; begun again, it moves the rest.
///
/// # Errors
/// As for [`Claim::move_to`].
pub fn migrate(old: &Mailbox, new: &Mailbox) -> Result<Migrated> {
    let signals = Deferred::begin();
    if let Some(mut claim) = old.drain_holding(&signals)? {
        if let (Some(from), Some(to)) = (old.its_ledger()?, new.its_ledger()?) {
            let mut ids = HashSet::new();
            for message in claim.messages() {
                ids.extend(message?.id().map(str::to_owned));
            }
            Ledger::at(from).copy_to(&Ledger::at(to), &ids)?;
        }
        claim.move_to_holding(new, &signals)?;
    }
    Ok(match old.list_claims()?.names.is_empty() {
        true => Migrated::All,
        false => Migrated::InHand,
    })
}
