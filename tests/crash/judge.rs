//! Nothing acknowledged is lost, nothing is torn or invented, and whoever comes next
//! gets through.

use std::fs;

use crate::rows::{BEFORE, Case, Does, Driver, NEXT, OVERLAY};
use crate::scene::{DAMAGED, End, Record, Scene, id_of};

/// What a program that was disturbed has handed over or promised.
pub struct Said {
    pub handed: Vec<String>,
    pub acknowledged: Vec<&'static str>,
}

/// What it said, which must be true as far as it goes; all of it when it exits with 0.
pub fn listen(case: Case, end: &End) -> Result<Said, String> {
    let mut said = Said {
        handed: Vec::new(),
        acknowledged: Vec::new(),
    };
    let lines = lines_of(case, end);
    let is_all = match case.row.does {
        Does::Append(bodies) => {
            let ids: Vec<String> = bodies.iter().map(|body| id_of(body)).collect();
            // In one go an append makes its id.
            let is_new = |id: &str| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
            let fits = |(id, line): (&String, &&str)| {
                id == line || (case.driver == OVERLAY && is_new(line))
            };
            if !ids.iter().zip(&lines).all(fits) || lines.len() > ids.len() {
                return Err(format!("it printed {lines:?}, not {ids:?}"));
            }
            said.acknowledged = bodies[..lines.len()].to_vec();
            lines.len() == ids.len()
        }
        Does::Hand(bodies) => {
            if !bodies.starts_with(&lines) {
                return Err(format!("it handed over {lines:?}, not {bodies:?}"));
            }
            said.handed = lines.iter().map(|&line| line.to_owned()).collect();
            lines.len() == bodies.len()
        }
        Does::Lock | Does::Release | Does::Move => true,
    };
    // A hook does not tell its host of a failure.
    if end.code == Some(0) && !is_all && case.row.args[0] != "hook" {
        return Err(format!(
            "status 0 and its work undone: it printed {lines:?}"
        ));
    }
    Ok(said)
}

/// What it printed, line by line; of a hook the bodies, and a host makes nothing of half of
/// what one says.
pub fn lines_of(case: Case, end: &End) -> Vec<&str> {
    if case.row.args[0] != "hook" {
        return end.stdout.lines().collect();
    }
    let text = end.stdout.strip_suffix("\"}}\n").unwrap_or_default();
    let messages = text.split("\\n\\nmessage ").skip(1);
    messages
        .filter_map(|message| message.rsplit("\\n").next())
        .collect()
}

/// Has another program append and drain, and looks at what comes out and what is left.
pub fn settle(case: Case, scene: &Scene, end: &End, next: Driver) -> Result<(), String> {
    let said = listen(case, end)?;
    // Time passes, as far as the rules ask for it: none among peers with guard.
    let is_guarded = next == Driver::Binary && case.driver == Driver::Binary;
    let is_dead = scene
        .files
        .token()
        .is_some_and(|token| token.ends_with(".g"));
    if !(is_guarded && is_dead) || scene.files.steal.exists() {
        scene.age_lock();
    }
    if !is_guarded {
        scene.age_claims();
    }
    if case.row.sends() {
        entered_before_seen(case, scene, end)?;
    }
    scene.append(case, next, NEXT)?;
    let got = match case.row.does {
        // What is left is moved when it is begun again; a shell cannot.
        Does::Move => {
            scene.must(Driver::Binary, &["migrate", "a", "b"])?;
            scene.must(next, &["drain", "b", "--format", "body"])?
        }
        _ => scene.must(next, &["drain", "a", "--format", "body"])?,
    };
    let got: Vec<&str> = got.lines().collect();

    let new: &[&str] = match case.row.does {
        Does::Append(bodies) => bodies,
        _ => &[],
    };
    let taken: &[&str] = match case.row.does {
        Does::Hand(bodies) => bodies,
        _ => &[],
    };
    // Everything, in order, once: but what was handed over may be gone, and what was
    // not acknowledged may be there.
    let mut wanted: Vec<&str> = [&BEFORE[..], new, &[NEXT]].concat();
    let is_optional = |body: &str| {
        said.handed.iter().any(|handed| handed == body)
            || (new.contains(&body) && !said.acknowledged.contains(&body))
    };
    wanted.retain(|body| !is_optional(body) || got.contains(body));
    let is_right = if case.row.args[0] == "take" {
        // What was chosen may come back elsewhere: it had left the line.
        let others = |bodies: &[&'_ str]| -> Vec<String> {
            let others = bodies.iter().filter(|body| !taken.contains(body));
            others.map(|&body| body.to_owned()).collect()
        };
        let sorted = |bodies: &[&str]| {
            let mut bodies: Vec<String> = bodies.iter().map(|&body| body.to_owned()).collect();
            bodies.sort();
            bodies
        };
        others(&got) == others(&wanted) && sorted(&got) == sorted(&wanted)
    } else {
        got == wanted
    };
    if !is_right {
        return Err(format!(
            "then {} drained {got:?}, not {wanted:?}",
            next.name()
        ));
    }
    if case.row.has_dead_lock {
        // The marker of who died recovering stays until the next recovery (REC-4).
        let _ = fs::remove_dir(&scene.files.steal);
    }
    nothing_left(scene)
}

/// LEDGER-2: a message that the mailbox has is in the ledger, or somebody was told that it
/// is not.
fn entered_before_seen(case: Case, scene: &Scene, end: &End) -> Result<(), String> {
    let Does::Append(bodies) = case.row.does else {
        return Ok(());
    };
    let mut files = vec![scene.files.records.clone()];
    let claims = scene.files.claim_names();
    files.extend(claims.iter().map(|name| scene.files.claims.join(name)));
    let texts = files.iter().map(fs::read_to_string);
    let texts: Vec<String> = texts.flatten().collect();
    for body in bodies {
        let is_seen = texts.iter().any(|text| text.contains(body));
        if is_seen && !scene.is_entered(body) && !end.stderr.contains("cannot be answered") {
            return Err(format!("{body} is in the mailbox and not in the ledger"));
        }
    }
    Ok(())
}

/// APP-6: the data, then the name, then the id.
pub fn synced_before_told(record: &Record) -> Result<(), String> {
    let at = |name: &str, path: &str| {
        let mut calls = record.calls.iter();
        let call = calls.find(|call| call.name == name && call.on == [path]);
        call.map(|call| call.n)
    };
    let in_order = [
        at("write", "~/root/mailboxes/a.jsonl"),
        at("fdatasync", "~/root/mailboxes/a.jsonl"),
        at("fsync", "~/root/mailboxes"),
        at("write", "~/out"),
    ];
    match in_order[0].is_some() && in_order.is_sorted() {
        true => Ok(()),
        false => Err(format!("the calls of a synced append: {in_order:?}")),
    }
}

/// No lock, no claims, no mail, and every damaged line is where it belongs.
pub fn nothing_left(scene: &Scene) -> Result<(), String> {
    // Who takes it sets it aside, where it is by then.
    let damaged = [&scene.files, &scene.other].map(|files| fs::read_to_string(&files.damaged));
    let damaged = damaged.into_iter().flatten().collect::<String>();
    // A blank line is nothing.
    let mut found = damaged.lines().filter(|line| !line.is_empty()).peekable();
    if found.peek().is_none() || found.any(|line| line != DAMAGED) {
        return Err(format!("the damaged lines are {damaged:?}"));
    }
    let ledger = &scene.ledger;
    let mut gone = vec![&ledger.lock, &ledger.owner, &ledger.steal, &ledger.claims];
    for files in [&scene.files, &scene.other] {
        gone.extend([&files.lock, &files.owner, &files.steal]);
        gone.extend([&files.claims, &files.records]);
    }
    if let Some(path) = gone.iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(format!("{} was left", path.display()));
    }
    Ok(())
}
