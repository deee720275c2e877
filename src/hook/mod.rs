//! Agent hooks: mail for a coding agent, handed over where it sees it.
//!
//! The host of an agent runs a hook at certain moments and gives it an event; the answer
//! has the mail in it, or there is none. `event.rs` reads the event, `agent.rs` knows what
//! each host wants to hear and when, `text.rs` puts messages into words; here is what
//! becomes of an event: [`Visit::of`] says whether there is anything to do,
//! [`Visit::stamp`] notes that the agent is at work, [`Visit::pick_up`] claims what fits.
//! The caller writes it out, and acknowledges the claim when that was done (HOOK-11).

mod activity;
mod agent;
mod event;
mod text;

pub(crate) use agent::Agent;
use agent::When;
use event::Event;
use text::Text;

use crate::error::Result;
use crate::format::record::Record;
use crate::format::{HOOK_WAIT, name};
use crate::ledger::Ledger;
use crate::mailbox::{Append, Bounded, Claim, Limit, Mailbox, Peek};
use crate::root::Root;
use crate::sys::signals::Deferred;

/// How often a claim is made again because others took what was seen.
const TRIES: usize = 5;

/// An event that is of interest: the agent's own, with a mailbox.
pub(crate) struct Visit {
    agent: Agent,
    event: Event,
    root: Root,
    name: String,
    mailbox: Mailbox,
}

/// Mail to be handed over, and the words for it.
pub(crate) struct Answer {
    pub(crate) claim: Claim,
    /// One JSON object and a newline.
    pub(crate) output: Vec<u8>,
}

impl Visit {
    /// The visit that this event is to the mailbox of `me`, or else of its session;
    /// `None` when it is to none (HOOK-2, HOOK-3, HOOK-4).
    pub(crate) fn of(agent: Agent, stdin: &[u8], me: Option<&str>, root: &Root) -> Option<Visit> {
        let event = Event::parse(stdin)?;
        let name = me.or(event.session_id.as_deref())?.to_owned();
        if event.is_subagent || !name::is_name(name.as_bytes()) {
            return None;
        }
        // A root that is unsafe has no mailbox.
        let mailbox = root.mailbox(&name).ok()?.waiting(HOOK_WAIT);
        Some(Visit {
            agent,
            event,
            root: root.clone(),
            name,
            mailbox,
        })
    }

    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// HOOK-6: what the agent is about to do, after `has_mail` was handed over or not.
    pub(crate) fn stamp(&self, has_mail: bool) -> Result<()> {
        let goes_on = has_mail && self.agent.when(&self.event) == Some(When::ToGoOn);
        let is_busy = goes_on || self.agent.is_busy_after(&self.event);
        activity::stamp(&self.root, &self.name, is_busy)
    }

    /// Claims the mail that is due now, as much as fits; `None` when none is.
    pub(crate) fn pick_up(&self, signals: &Deferred) -> Result<Option<Answer>> {
        let Some(when) = self.agent.when(&self.event) else {
            return Ok(None);
        };
        for _ in 0..TRIES {
            let there = self.mailbox.peek(&Peek::default())?.records;
            let Some(seen) = Text::of(&there, there.len(), &self.ledger_path()) else {
                return self.tidy(signals).map(|()| None);
            };
            let limit = Limit {
                messages: Some(seen.messages as u64),
                bytes: None,
            };
            let claimed = self.mailbox.drain_some_holding(&limit, signals)?;
            let Bounded::Mail(claim) = claimed else {
                return Ok(None); // others have it
            };
            let mut claim = claim.by("hook");
            let records: Vec<Record> = claim.messages().collect::<Result<_>>()?;
            // Others may have taken what was seen: what is in hand counts.
            let there = there.len().max(records.len());
            let text = Text::of(&records, there, &self.ledger_path());
            let Some(text) = text.filter(|text| text.messages == records.len()) else {
                continue; // more than fits; dropped, it is put back
            };
            if text.is_cut {
                self.enter(&records[0])?;
            }
            let output = self.agent.output(when, &self.event.name, &text.text);
            return Ok(Some(Answer { claim, output }));
        }
        Ok(None)
    }

    /// Sets aside what is no message, where there is nothing else: at every event to come it
    /// would be looked at again.
    fn tidy(&self, signals: &Deferred) -> Result<()> {
        let Some(mut claim) = self.mailbox.drain_holding(signals)? else {
            return Ok(());
        };
        if claim.messages().next().is_none() {
            claim.ack()?;
        }
        Ok(()) // a message that came meanwhile is put back, for the next event
    }

    /// HOOK-9: what is cut can be read whole.
    fn enter(&self, record: &Record) -> Result<()> {
        let line = [record.bytes(), b"\n"].concat();
        let id = record.id().filter(|id| name::is_id(id.as_bytes()));
        Ledger::of(&self.root, &self.name)?.enter(&line, id, &Append::default())
    }

    fn ledger_path(&self) -> String {
        let path = self.mailbox.ledger_path();
        path.map(|path| path.display().to_string())
            .unwrap_or_default()
    }
}
