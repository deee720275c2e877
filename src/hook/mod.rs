//! Agent hooks: mail for a coding agent, handed over where it sees it.
//!
//! The host of an agent runs a hook at certain moments and gives it an event; the answer
//! has the mail in it, or there is none. `event.rs` reads the event, `agent.rs` knows what
//! each host wants to hear and when, `text.rs` puts messages into words; here is what
//! becomes of an event: [`Visit::of`] says whether there is anything to do,
//! [`Visit::stamp`] notes that the agent is at work, [`Visit::pick_up`] claims what fits.
//! `installer.rs` has a host run all this, by an entry in its settings (`settings.rs`). The caller writes it out, and acknowledges the claim when that was done (HOOK-11).

mod activity;
mod agent;
mod event;
mod installer;
mod settings;
mod text;

pub(crate) use activity::last_run;
pub(crate) use agent::Agent;
use agent::When;
use event::Event;
pub(crate) use installer::{Changed, Settings};
use text::Text;

use crate::error::Result;
use crate::format::record::Record;
use crate::format::{HOOK_WAIT, name};
use crate::ledger::Ledger;
use crate::mailbox::{Append, Bounded, Claim, Limit, Mailbox};
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
            // Everything, as a drain does: what fits is known of what is in hand.
            let Some(claim) = self.mailbox.drain_holding(signals)? else {
                return Ok(None);
            };
            let (claim, all) = in_hand(claim)?;
            let Some(text) = self.text(&all, all.len()) else {
                // No message among it: set aside, or every event to come would look again.
                claim.ack()?;
                return Ok(None);
            };
            if text.messages == all.len() {
                return self.answer(when, claim, &all, text).map(Some);
            }
            // More than fits: put back, and the first of it claimed again.
            claim.put_back();
            let limit = Limit {
                messages: Some(text.messages as u64),
                bytes: None,
            };
            let Bounded::Mail(claim) = self.mailbox.drain_some_holding(&limit, signals)? else {
                return Ok(None); // others have it
            };
            let (claim, first) = in_hand(*claim)?;
            let text = self.text(&first, all.len().max(first.len()));
            if let Some(text) = text.filter(|text| text.messages == first.len()) {
                return self.answer(when, claim, &first, text).map(Some);
            }
            // Others took what was seen; dropped, it is put back.
        }
        Ok(None)
    }

    fn answer(&self, when: When, claim: Claim, records: &[Record], text: Text) -> Result<Answer> {
        if text.is_cut {
            self.enter(&records[0])?;
        }
        let output = self.agent.output(when, &self.event.name, &text.text);
        Ok(Answer { claim, output })
    }

    fn text(&self, records: &[Record], there: usize) -> Option<Text> {
        let ledger = self.mailbox.ledger_path();
        let ledger = ledger.map(|path| path.display().to_string());
        Text::of(records, there, &ledger.unwrap_or_default())
    }

    /// HOOK-9: what is cut can be read whole.
    fn enter(&self, record: &Record) -> Result<()> {
        let line = [record.bytes(), b"\n"].concat();
        let id = record.id().filter(|id| name::is_id(id.as_bytes()));
        Ledger::of(&self.root, &self.name)?.enter(&line, id, &Append::default())
    }
}

fn in_hand(claim: Claim) -> Result<(Claim, Vec<Record>)> {
    let mut claim = claim.by("hook");
    let records = claim.messages().collect::<Result<_>>()?;
    Ok((claim, records))
}
