//! The faults: what is done to a program before one of its calls, and what must hold then.

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::calls::{Call, Kind};
use crate::judge::{lines_of, listen, nothing_left, settle};
use crate::library::VERB;
use crate::rows::{BEFORE, Case, Does, Driver, NEXT, OVERLAY};
use crate::scene::{End, Parked, Record, Scene};

/// What happens before a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// All processes of the program are killed, as with its control group.
    Kill,
    /// The process that makes the call is killed, and the others go on.
    KillOne,
    /// That process is asked to end (CLI-6).
    Term,
    /// The call fails and is not made.
    Fail(Errno),
    /// A write of half the length.
    Short,
    /// All processes stand still, for longer than 30 s by the look of it, while others
    /// append and drain.
    Stall,
    /// The same, while another takes the lock and still has it afterwards.
    StallHold,
}

impl Fault {
    pub fn name(self) -> String {
        match self {
            Fault::Kill => "kill".into(),
            Fault::KillOne => "kill-one".into(),
            Fault::Term => "term".into(),
            Fault::Fail(errno) => format!("{errno:?}"),
            Fault::Short => "short".into(),
            Fault::Stall => "stall".into(),
            Fault::StallHold => "stall-hold".into(),
        }
    }

    /// The faults of errors that a call can be given, as the system has them.
    pub fn errors_of(call: &Call, driver: Driver) -> Vec<Fault> {
        let is_out = call.on.iter().any(|path| path == "~/out");
        if call.is_one_of_many() || !(call.is_on_mailbox() || is_out && call.kind == Kind::Write) {
            return Vec::new();
        }
        let mut errnos = vec![Errno::EIO];
        match call.kind {
            // To a builtin of zsh EINTR is a Ctrl-C, and ends it there and then.
            Kind::Open if driver == OVERLAY => errnos.push(Errno::EMFILE),
            Kind::Open => errnos.extend([Errno::EINTR, Errno::EMFILE]),
            Kind::Read if call.name != "getdents64" => errnos.push(Errno::EINTR),
            Kind::Write if driver.is_zsh() => errnos.push(Errno::ENOSPC),
            Kind::Write => errnos.extend([Errno::EINTR, Errno::ENOSPC]),
            Kind::Sync | Kind::Flock => errnos.push(Errno::EINTR),
            Kind::Change if !matches!(call.name, "unlink" | "unlinkat" | "rmdir") => {
                errnos.push(Errno::ENOSPC);
            }
            // The `test` of a shell cannot tell an error from no.
            Kind::Look if driver != Driver::Binary || call.name == "lseek" => return Vec::new(),
            Kind::Inner | Kind::Process => return Vec::new(),
            Kind::Read | Kind::Change | Kind::Look => {}
        }
        if call.is_creating() {
            errnos.push(Errno::ENOSPC);
        }
        let mut faults: Vec<Fault> = errnos.into_iter().map(Fault::Fail).collect();
        if call.name == "write" && call.detail > 1 {
            faults.push(Fault::Short);
        }
        faults
    }

    /// Runs the program again, up to this call and into the fault.
    pub fn strike(self, record: &Record, call: &Call) -> Result<(), String> {
        let case = record.case;
        let Parked {
            scene,
            mut traced,
            entry,
        } = record.park(call)?;
        let next = case.driver.other(call.n);
        match self {
            Fault::Kill => {
                // A shell takes long, and what it would find it has found before.
                let next = if call.is_new { next } else { Driver::Binary };
                let end = scene.end(traced.kill_all())?;
                settle(case, &scene, &end, next)
            }
            Fault::KillOne => {
                traced.send(entry, Signal::SIGKILL);
                let end = scene.end(traced.finish())?;
                // The last is how the command of `lock` ended.
                check_status(case, &end, &[0, 74, 75, 77, 137])?;
                settle(case, &scene, &end, next)
            }
            Fault::Term => {
                traced.send(entry, Signal::SIGTERM);
                let end = scene.end(traced.finish())?;
                if end.code.is_some() {
                    return Err(format!("it was not ended by the signal: {end:?}"));
                }
                check_unlocked(&scene)?;
                // A handle is not closed by a signal that ends its program.
                if case.row.args[0] != VERB {
                    check_no_temporary(&scene)?;
                }
                settle(case, &scene, &end, Driver::Binary)
            }
            Fault::Fail(_) | Fault::Short => {
                let done = match self {
                    Fault::Fail(errno) => traced.fail(entry, errno),
                    _ => traced.halve(entry),
                };
                done.map_err(|errno| format!("the fault did not fire: {errno}"))?;
                let end = scene.end(traced.finish())?;
                // A watch says what fails, tries again, and has handed over nothing by its end.
                let is_try = case.row.args[0] == "watch" && end.code == Some(1);
                if !is_try {
                    check_status(case, &end, &[0, 74, 75, 77])?;
                }
                if end.code != Some(0) && !end.stderr.starts_with("mbox: ") {
                    return Err(format!("it said {:?}", end.stderr));
                }
                let is_of_lock = call.is_on(".lock") || call.is_on(".lock.owner");
                let is_to_stay = match case.row.args[0] {
                    "acquire" => end.code == Some(0),
                    "release" => end.code != Some(0),
                    _ => false,
                };
                if !is_of_lock && !is_to_stay {
                    check_unlocked(&scene).map_err(|left| format!("{left}; {end:?}"))?;
                }
                let is_of_temporary = call.on.iter().any(|path| path.contains(".tmp."));
                if !is_of_temporary {
                    check_no_temporary(&scene).map_err(|left| format!("{left}; {end:?}"))?;
                }
                settle(case, &scene, &end, next).map_err(|what| format!("{what}; {end:?}"))
            }
            Fault::Stall | Fault::StallHold => {
                traced.stop_all();
                let meanwhile = meanwhile(self, case, &scene, next, call)?;
                let end = scene.end(traced.finish())?;
                awake(self, record, call, &scene, next, &meanwhile, &end)
                    .map_err(|what| format!("{what}; {end:?}"))
            }
        }
    }
}

/// Whether a status is one of these, the one without a fault, or death by a signal.
fn check_status(case: Case, end: &End, codes: &[i32]) -> Result<(), String> {
    match end.code {
        Some(code) if !codes.contains(&code) && code != case.row.status => {
            Err(format!("status {code}: {end:?}"))
        }
        _ => Ok(()),
    }
}

fn check_unlocked(scene: &Scene) -> Result<(), String> {
    for files in [&scene.files, &scene.ledger, &scene.other] {
        for path in [&files.lock, &files.owner, &files.steal] {
            if path.symlink_metadata().is_ok() {
                return Err(format!("{} was left", path.display()));
            }
        }
    }
    Ok(())
}

fn check_no_temporary(scene: &Scene) -> Result<(), String> {
    for files in [&scene.files, &scene.ledger, &scene.other] {
        if let Some(path) = files.temporaries().first() {
            return Err(format!("{} was left", path.display()));
        }
    }
    Ok(())
}

/// What another did while the program stood still.
struct Meanwhile {
    drained: String,
    token: String,
}

fn meanwhile(
    fault: Fault,
    case: Case,
    scene: &Scene,
    other: Driver,
    call: &Call,
) -> Result<Meanwhile, String> {
    scene.age_lock();
    if call.n.is_multiple_of(2) {
        scene.age_claims();
    }
    let mut done = Meanwhile {
        drained: String::new(),
        token: String::new(),
    };
    if fault == Fault::StallHold {
        done.token = scene.must(other, &["acquire", "a", "--wait", "9"])?;
    } else {
        scene.append(case, other, "d1")?;
        done.drained = scene.must(other, &["drain", "a", "--format", "body", "--wait", "9"])?;
    }
    Ok(done)
}

/// It went on and ended: everything that was there, or was promised, is handed over.
fn awake(
    fault: Fault,
    record: &Record,
    call: &Call,
    scene: &Scene,
    other: Driver,
    meanwhile: &Meanwhile,
    end: &End,
) -> Result<(), String> {
    let row = record.case.row;
    let is_held = fault == Fault::StallHold;
    let is_fine = match end.code {
        Some(code) if code == row.status => true,
        Some(75) => is_held || matches!(row.does, Does::Lock),
        // Everything was taken away before it looked again; the lock is another's.
        Some(1) => matches!(row.args[0], "take" | "watch") || matches!(row.does, Does::Release),
        _ => false,
    };
    if !is_fine {
        return Err("that is no way to end".into());
    }
    if is_held {
        let args = ["release", "a", meanwhile.token.trim_end()];
        let status = scene.run(other, &args).status;
        // One that had just verified may remove what it finds (Release).
        let is_lost = status.code() == Some(1) && is_in_release(record, call);
        if !status.success() && !is_lost {
            return Err(format!("the lock of its successor is gone: {status}"));
        }
    }
    let mut known: Vec<&str> = [&BEFORE[..], &[NEXT]].concat();
    let mut wanted = known.clone();
    let mut handed: Vec<&str> = meanwhile.drained.lines().collect();
    if !is_held {
        known.push("d1");
        wanted.push("d1");
    }
    match row.does {
        Does::Append(bodies) => {
            known.extend(bodies);
            if end.code == Some(0) {
                let said = listen(record.case, end)?;
                wanted.extend(said.acknowledged);
            }
        }
        Does::Hand(_) => handed.extend(lines_of(record.case, end)),
        Does::Lock | Does::Release | Does::Move => {}
    }
    scene.age_lock();
    scene.age_claims();
    scene.append(record.case, other, NEXT)?;
    let rest = scene.must(other, &["drain", "a", "b", "--format", "body"])?;
    handed.extend(rest.lines());
    if let Some(body) = wanted.iter().find(|body| !handed.contains(body)) {
        return Err(format!("{body} is lost: {handed:?}"));
    }
    if let Some(body) = handed.iter().find(|body| !known.contains(body)) {
        return Err(format!("{body:?} was never sent: {handed:?}"));
    }
    nothing_left(scene)?;
    check_no_temporary(scene)
}

/// Whether a call stands between the last look of Release at the owner file and the
/// removal of the directory.
fn is_in_release(record: &Record, call: &Call) -> bool {
    let calls = &record.calls;
    let is_on = |c: &Call, name: &str| c.on.iter().any(|path| path.ends_with(name));
    let owner = "mailboxes/a.jsonl.lock.owner";
    let is_removal = |c: &Call| matches!(c.name, "unlink" | "unlinkat") && is_on(c, owner);
    // It looks at the name and not into the file (REL-3).
    let is_keeping = record.case.row.args[0] == VERB;
    let is_look =
        |c: &Call| (c.kind == Kind::Open || is_keeping && c.kind == Kind::Look) && is_on(c, owner);
    let is_end =
        |c: &Call| matches!(c.name, "rmdir" | "unlinkat") && is_on(c, "mailboxes/a.jsonl.lock");
    let removals = (0..calls.len()).filter(|&at| is_removal(&calls[at]));
    let mut releases = removals.filter_map(|at| {
        let look = calls[..at].iter().rposition(is_look)?;
        let end = at + calls[at..].iter().position(is_end)?;
        Some(calls[look].n..=calls[end].n)
    });
    match is_keeping {
        true => releases.any(|release| release.contains(&call.n)),
        // What it locked before was a ledger, or another's.
        false => releases
            .next_back()
            .is_some_and(|release| release.contains(&call.n)),
    }
}
