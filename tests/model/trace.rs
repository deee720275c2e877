//! A path as a table for people: who, which call, under which requirement, and the files.

use std::fmt::Write;

use crate::faults::Action;
use crate::search::{Found, Moved};
use crate::state::*;

/// Name of a step in the specification and the code, requirements, and the call.
fn describe(pc: Pc) -> (&'static str, &'static str, &'static str) {
    match pc {
        Pc::Done => ("Done", "", ""),
        Pc::Start => ("Look", "DRAIN-1", "begin"),
        Pc::OpenEarly => ("Open", "not APP-2", "open B before the lock"),
        Pc::Guard => ("Guard", "ACQ-1 ACQ-2", "flock G"),
        Pc::Gate => ("Gate", "ACQ-3", "mkdir D"),
        Pc::ObserveToken => ("Observe", "REC-1", "read O"),
        Pc::ObserveDir => ("Observe, Judge", "REC-1", "lstat D"),
        Pc::Mark => ("Mark", "REC-2", "mkdir S"),
        Pc::LookMark => ("Mark", "REC-4", "stat S"),
        Pc::ClearMark => ("Mark", "REC-4", "rmdir S"),
        Pc::CompareToken => ("Compare", "REC-2", "read O"),
        Pc::CompareDir => ("Compare", "REC-2", "lstat D"),
        Pc::ClearToken => ("Clear", "REC-2", "unlink O"),
        Pc::ClearDir => ("Clear", "REC-2", "rmdir D"),
        Pc::Settle => ("Settle", "REC-6", "sleep 0.5 s"),
        Pc::Unmark => ("Unmark", "REC-2", "rmdir S"),
        Pc::PublishCreate => ("Publish", "ACQ-4 ACQ-5", "create O"),
        Pc::PublishWrite => ("Publish", "ACQ-4", "write O"),
        Pc::UndoLook => ("Publish", "ACQ-5", "undo: lstat O"),
        Pc::UndoOwner => ("Publish", "ACQ-5", "undo: unlink O"),
        Pc::UndoDir => ("Publish", "ACQ-5", "undo: rmdir D"),
        Pc::Open => ("Open", "APP-2", "open B"),
        Pc::Write => ("Write", "APP-4", "write B"),
        Pc::List => ("Adopt", "DRAIN-2", "list B.claims"),
        Pc::AdoptOpen => ("Adopt", "CLAIM-3", "open the claim"),
        Pc::AdoptFlock => ("Adopt", "CLAIM-4", "flock it"),
        Pc::AdoptCheck => ("Adopt", "CLAIM-3", "lstat it"),
        Pc::AdoptRename => ("Adopt", "DRAIN-2", "rename it"),
        Pc::LookRecords => ("Claim", "DRAIN-3", "lstat B"),
        Pc::ClaimOpen => ("Claim", "CLAIM-3", "open B"),
        Pc::ClaimFlock => ("Claim", "CLAIM-3", "flock it"),
        Pc::ClaimCheck => ("Claim", "CLAIM-3", "lstat B"),
        Pc::MakeClaims => ("Claim", "DRAIN-3", "mkdir B.claims"),
        Pc::ClaimRename => ("Claim", "DRAIN-3", "rename B to a claim"),
        Pc::RemoveEmpty => ("Claim", "DRAIN-3", "rmdir B.claims"),
        Pc::Fence => ("Fence", "DRAIN-4", "read O"),
        Pc::Split => ("Split", "TAKE-1", "read a claim"),
        Pc::MakeChosen => ("Split", "TAKE-2", "rename the chosen to a claim"),
        Pc::PutBack => ("Put back", "TAKE-3", "link the others to B"),
        Pc::DropChosen => ("Put back", "TAKE-3", "unlink the chosen claim"),
        Pc::UnlinkOld => ("Unlink", "TAKE-4", "unlink an old claim"),
        Pc::LegacyRead => ("Drain", "legacy", "read B"),
        Pc::LegacyTruncate => ("Drain", "legacy", "truncate B"),
        Pc::Verify => ("Verify", "REL-1", "read O"),
        Pc::ReleaseToken => ("Release", "REL-1", "unlink O"),
        Pc::ReleaseDir => ("Release", "REL-1", "rmdir D"),
        Pc::CloseGuard => ("Release", "ACQ-1", "close G"),
        Pc::Read => ("Read", "DRAIN-5", "read a claim"),
        Pc::Deliver => ("Deliver", "DRAIN-6", "write out and flush"),
        Pc::Unlink => ("Acknowledge", "DRAIN-8", "unlink a claim"),
        Pc::RemoveClaims => ("Acknowledge", "DRAIN-8", "rmdir B.claims"),
        Pc::GiveUp => ("Give up", "CLAIM-7", "rename a claim to stamp 0"),
        Pc::CloseClaims => ("Give up", "CLAIM-7", "let go of the flocks"),
        Pc::LegacyLook => ("Stale", "legacy", "stat D"),
        Pc::LegacyObserve => ("Stale", "legacy", "read O"),
    }
}

/// What an action does, and under which requirement.
fn action(moved: &Moved) -> (String, String) {
    let who = |p: u8| {
        let kind = match moved.before.peers[usize::from(p)].kind {
            Kind::WithGuard => 'R',
            Kind::WithoutGuard => 'M',
            Kind::Legacy => 'L',
        };
        format!("P{}({kind})", p + 1)
    };
    let plain = |text: String| (text, String::new());
    match moved.action {
        Action::Crash(p) => plain(format!("{} dies", who(p))),
        Action::Stall(p) => plain(format!("{} stalls", who(p))),
        Action::Resume(p) => plain(format!("{} goes on", who(p))),
        Action::LockAges => plain("D becomes over 30 s old".into()),
        Action::MarkAges => plain("S becomes over 30 s old".into()),
        Action::ClaimAges(place) => plain(format!("claim {} ages", place + 1)),
        Action::Step(p, choice) => {
            let before = &moved.before.peers[usize::from(p)];
            let after = &moved.after.peers[usize::from(p)];
            let (name, requirement, call) = describe(before.pc);
            let result = result(moved, before, after, choice);
            let text = format!("{} {name}: {call}{result}", who(p));
            (text, requirement.to_owned())
        }
    }
}

/// What a call came to, as far as the files do not show it.
fn result(moved: &Moved, before: &Process, after: &Process, choice: u8) -> String {
    let next = describe(after.pc).0;
    let ended = after.pc == Pc::Done || after.nth != before.nth;
    match before.pc {
        Pc::PublishCreate | Pc::PublishWrite if choice == 1 => ": disk full".into(),
        Pc::CompareDir if choice == 1 && after.pc == Pc::Unmark => ": differs".into(),
        Pc::CompareDir if choice == 1 => ": same, over 25 s old".into(),
        _ if choice == 1 => ": busy, give up".into(),
        Pc::Guard if !after.is_guarded => ": not had, go on as M".into(),
        Pc::Gate if after.pc != Pc::PublishCreate => ": it is there".into(),
        Pc::PublishCreate if after.pc == Pc::Gate => ": it is there, leave it".into(),
        Pc::PublishWrite if !before.made_owner => " (unlinked meanwhile)".into(),
        Pc::ObserveToken | Pc::LegacyObserve => match after.observed {
            Observed::Nothing => ": none".into(),
            Observed::Empty => ": empty".into(),
            Observed::Token | Observed::GoneToken => ": a token".into(),
        },
        Pc::ObserveDir | Pc::LegacyLook if after.pc == Pc::Gate => ": not stale".into(),
        Pc::ObserveDir | Pc::LegacyLook => ": stale".into(),
        Pc::Mark if after.pc == Pc::LookMark => ": it is there".into(),
        Pc::LookMark if after.pc == Pc::ClearMark => ": stale".into(),
        Pc::CompareToken | Pc::CompareDir if after.pc == Pc::Unmark => ": differs".into(),
        Pc::CompareToken | Pc::CompareDir => ": same".into(),
        Pc::Write if before.fd == FD_NOWHERE => " (unlinked meanwhile)".into(),
        Pc::Write if before.fd != FD_RECORDS => " (a claim by now)".into(),
        Pc::Verify | Pc::Fence if !moved.before.owner_is(who_moved(moved)) => ": lost".into(),
        Pc::Verify | Pc::Fence => ": held".into(),
        Pc::AdoptFlock if after.pc != Pc::AdoptCheck => ": another's".into(),
        Pc::MakeChosen if after.phase == Phase::Again => ": no B.claims".into(),
        Pc::PutBack if after.phase == Phase::Again => ": there is a B".into(),
        Pc::Read | Pc::Split => format!(" -> {}", ids(after.read)),
        Pc::LegacyRead => format!(" -> {}", ids(after.read)),
        Pc::Deliver if before.job.fails() => ": fails".into(),
        Pc::Deliver => format!(" {}", ids(before.read)),
        _ if ended => "; done".into(),
        Pc::List => format!(" -> {next}"),
        _ => String::new(),
    }
}

fn who_moved(moved: &Moved) -> usize {
    match moved.action {
        Action::Step(p, _) => usize::from(p),
        _ => PEERS,
    }
}

/// `a1` is the first message of P1, `c2` the second of P3, `x1` one that was there.
fn ids(ids: Ids) -> String {
    let mut text = String::from("[");
    for index in 0..ids.len() {
        let id = ids.get(index) - 1;
        let space = if index == 0 { "" } else { " " };
        let sender = ['a', 'b', 'c', 'x'][usize::from(id / 2)];
        let _ = write!(text, "{space}{sender}{}", id % 2 + 1); // into a String
    }
    text + "]"
}

fn who(p: u8) -> String {
    if p == NOBODY {
        "-".into()
    } else {
        format!("P{}", p + 1)
    }
}

fn dir(dir: &Dir) -> &'static str {
    match (dir.is_there, dir.is_old) {
        (false, _) => "-",
        (true, false) => "young",
        (true, true) => "old",
    }
}

/// The files of the mailbox in one line.
fn files(state: &State) -> String {
    let owner = match state.owner {
        Owner::Absent => "-".into(),
        Owner::Empty => "empty".into(),
        Owner::Token { maker, is_guarded } => {
            let who = if maker == NOBODY {
                "gone".into()
            } else {
                who(maker)
            };
            format!("{who}{}", if is_guarded { ".g" } else { "" })
        }
    };
    let flock = |file: &File| match file.flock {
        NOBODY => String::new(),
        p => format!(" flock {}", who(p)),
    };
    let mut text = format!(
        "D {:<5} O {owner:<6} S {:<5} G {:<2} B {}",
        dir(&state.lock),
        dir(&state.steal),
        who(state.guard),
        if state.has_records {
            ids(state.records.ids) + &flock(&state.records)
        } else {
            "-".into()
        }
    );
    if state.has_claims_dir {
        text += " claims";
    }
    for claim in &state.claims[..usize::from(state.count)] {
        let age = ["", " >30s", " >300s"][usize::from(claim.age)];
        let guarded = if claim.is_guarded { ".g" } else { "" };
        let _ = write!(
            text,
            " {{{} {}{guarded}{age}{}}}",
            ids(claim.file.ids),
            who(claim.owner),
            flock(&claim.file)
        ); // into a String
    }
    text
}

/// The acknowledged and the delivered, where a step changed them.
fn news(moved: &Moved) -> String {
    let list = |mask: u8| {
        let mut list = Ids(0);
        for id in 1..=8 {
            if mask >> (id - 1) & 1 == 1 {
                list.add(id);
            }
        }
        ids(list)
    };
    let (before, after) = (&moved.before, &moved.after);
    let mut text = String::new();
    let acknowledged = after.acknowledged & !before.acknowledged;
    if acknowledged != 0 {
        text += &format!("  acknowledged {}", list(acknowledged));
    }
    let delivered = after.delivered & !before.delivered;
    if delivered != 0 {
        text += &format!("  delivered {}", list(delivered));
    }
    let lost = after.acknowledged & !after.delivered & !after.linked();
    if lost != 0 {
        text += &format!("  LOST {}", list(lost));
    }
    text
}

/// The whole path, a line each.
pub fn text(found: &Found) -> String {
    let mut text = String::new();
    for (number, moved) in found.path.iter().enumerate() {
        if number == found.steps {
            text += "         who runs dies, and fresh processes come:\n";
        }
        let (what, requirement) = action(moved);
        let _ = writeln!(
            text,
            "    {:>3}  {what:<45} {requirement:<12} {}{}",
            number + 1,
            files(&moved.after),
            news(moved)
        ); // into a String
    }
    text
}
