//! One mailbox: its lock, its claims, its records, what was left over.

use crate::doctor::{Doctor, Finding, State};
use crate::error::Result;
use crate::format::{STALE, suffix};
use crate::lock::{State as LockState, beside};
use crate::mailbox::Mailbox;

/// A look at one side of a mailbox.
type Check = fn(&mut Doctor, &Mailbox) -> Result<()>;

impl Doctor {
    /// Looks at mailboxes that are all in one directory.
    pub(super) fn mailboxes(&mut self, mailboxes: impl Iterator<Item = Mailbox>) {
        let mut mailboxes = mailboxes.peekable();
        self.temporaries.clear();
        // Once for all of them: there may be very many.
        match mailboxes.peek().map(Mailbox::temporaries_here).transpose() {
            Ok(found) => self.temporaries = found.unwrap_or_default(),
            Err(error) => self.add(Finding::failed("temporaries", &error)),
        }
        for mailbox in mailboxes {
            self.mailbox(&mailbox);
        }
    }

    fn mailbox(&mut self, mailbox: &Mailbox) {
        let before = self.findings.len();
        let checks: [(&str, Check); 5] = [
            ("lock", Doctor::lock),
            ("claims", Doctor::claims),
            ("records", Doctor::records),
            ("damaged", Doctor::set_aside),
            ("temporaries", Doctor::temporaries),
        ];
        for (name, check) in checks {
            let looked = check(self, mailbox);
            self.look(name, looked);
        }
        let files = ["", suffix::CLAIMS, suffix::DAMAGED, suffix::GUARD];
        let of_ledgers = [suffix::RECEIPTS, suffix::OLD_RECEIPTS, suffix::PRUNED];
        for ending in files.into_iter().chain(of_ledgers) {
            self.mode(Some(mailbox.title()), &beside(mailbox.path(), ending));
        }
        for finding in &mut self.findings[before..] {
            finding.mailbox = Some(mailbox.title().to_owned());
        }
        if self.findings.len() == before {
            self.add(Finding {
                mailbox: Some(mailbox.title().to_owned()),
                ..Finding::new("mailbox", State::Well, "nothing is wrong with it")
                    .at(mailbox.path())
            });
        }
    }

    fn lock(&mut self, mailbox: &Mailbox) -> Result<()> {
        let lock = mailbox.its_lock();
        let path = beside(mailbox.path(), suffix::LOCK);
        let state = lock.state()?;
        if let LockState::Held { owner, age } = &state {
            let who = owner.as_ref().and_then(|owner| owner.pid());
            let who = who.map_or("nobody".to_owned(), |pid| format!("process {pid}"));
            let age = age.as_secs();
            if state.is_stale() || lock.is_of_a_dead_holder()? {
                let what = format!("held by {who} for {age} s, and stale");
                let finding = Finding::new("stale-lock", State::Problem, what).at(&path);
                self.problem(finding, || mailbox.clear_lock());
            } else {
                let what = format!("held by {who} for {age} s");
                self.add(Finding::new("lock", State::Note, what).at(&path));
            }
        } else if lock.has_owner_alone()? {
            let path = beside(mailbox.path(), suffix::OWNER);
            let what = "an owner file without a lock; whoever comes next waits for 30 s";
            let finding = Finding::new("owner-alone", State::Problem, what).at(&path);
            // It is stale when the lock made for it is.
            let patient = mailbox.clone().waiting(STALE * 3 / 2);
            self.problem(finding, || patient.clear_lock());
        }
        if lock.has_stale_mark()? {
            let path = beside(mailbox.path(), suffix::STEAL);
            let what = "the steal marker of a peer that died while it cleared a lock";
            let finding = Finding::new("steal-marker", State::Problem, what).at(&path);
            self.problem(finding, || lock.clear_stale_mark());
        }
        Ok(())
    }

    fn claims(&mut self, mailbox: &Mailbox) -> Result<()> {
        let path = mailbox.claims_path();
        let listing = mailbox.list_claims()?;
        for name in &listing.foreign {
            let what = "it is among the claims and is none";
            let finding = Finding::new("foreign-claim", State::Problem, what);
            let next = "look at it and move it away";
            self.add(finding.at(&path.join(name)).next(next));
        }
        let orphans = mailbox.orphans()?;
        if orphans > 0 {
            let what = format!("{orphans} claim(s) of readers that died");
            let finding = Finding::new("orphan-claim", State::Problem, what).at(path);
            self.problem(finding, || mailbox.give_up_orphans());
        } else if mailbox.has_empty_claims()? {
            let what = "an empty claims directory, which stands for mail that is not there";
            let finding = Finding::new("empty-claims", State::Problem, what).at(path);
            self.problem(finding, || mailbox.give_up_orphans());
        }
        let given_up = listing.names.iter().filter(|name| name.is_given_up());
        let given_up = given_up.count();
        if given_up > 0 {
            let what = format!("{given_up} claim(s) that were given up; the next drain has them");
            self.add(Finding::new("claim", State::Note, what).at(path));
        }
        Ok(())
    }

    fn records(&mut self, mailbox: &Mailbox) -> Result<()> {
        let found = mailbox.examine_records()?;
        // While somebody has the lock he may be about to write the rest.
        let is_free = || Ok(matches!(mailbox.lock_state()?, LockState::Free));
        if found.is_torn && (self.fix || is_free()?) {
            let what = "its last line is torn; the next append heals it";
            let finding = Finding::new("torn-tail", State::Problem, what).at(mailbox.path());
            self.problem(finding, || mailbox.heal());
        }
        if found.damaged > 0 {
            let n = found.damaged;
            let what = format!("{n} line(s) that are no records; the next drain sets them aside");
            self.add(Finding::new("damaged", State::Note, what).at(mailbox.path()));
        }
        Ok(())
    }

    fn set_aside(&mut self, mailbox: &Mailbox) -> Result<()> {
        let n = mailbox.count_set_aside()?;
        if n > 0 {
            let what = format!("{n} line(s) that were no records were set aside");
            let finding = Finding::new("damaged", State::Problem, what);
            let next = "look at them, then remove the file";
            self.add(finding.at(mailbox.damaged_path()).next(next));
        }
        Ok(())
    }

    fn temporaries(&mut self, mailbox: &Mailbox) -> Result<()> {
        let old = mailbox.old_temporaries(&self.temporaries)?;
        if let Some(first) = old.first() {
            let what = format!("{} temporary file(s) of processes that died", old.len());
            let finding = Finding::new("temporary", State::Problem, what).at(first);
            self.problem(finding, || mailbox.remove_old_temporaries());
        }
        Ok(())
    }
}
