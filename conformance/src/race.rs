//! Eight processes of mixed drivers race for a lock its holder left behind.

use std::collections::BTreeMap;

use crate::arena::Arena;
use crate::content::show;
use crate::driver::{Call, Driver, Output};

pub const TESTS: &[&str] = &["REC-1", "REC-2", "REC-6", "ACQ-4", "APP-7", "ACQ-6"];

pub const RACERS: usize = 8;

/// What the dead holder left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Left {
    /// A lock with an owner.
    Lock,
    /// A lock that was never published.
    Ownerless,
    /// A lock, and a steal marker of one who died recovering it.
    Marker,
}

/// Every race: what was left, and whether they acquire (else they append).
pub fn races() -> Vec<(Left, bool)> {
    let left = [Left::Lock, Left::Ownerless, Left::Marker];
    left.into_iter()
        .flat_map(|l| [(l, false), (l, true)])
        .collect()
}

fn leave(x: &Arena, left: Left) -> Result<(), String> {
    let dir = |suffix: &str| {
        let p = x.path(suffix);
        std::fs::create_dir(&p).map_err(|e| e.to_string())?;
        crate::tree::age(&p, 31.0)
    };
    if left != Left::Ownerless {
        x.write(".lock.owner", b"999999999.00c0ffee00c0ffee\n")?;
    }
    if left == Left::Marker {
        dir(".lock.steal")?;
    }
    dir(".lock")
}

fn race(
    x: &Arena,
    racers: &[&Driver],
    call: impl Fn(usize) -> Call,
) -> Result<Vec<Output>, String> {
    let mut running = Vec::new();
    for (i, d) in racers.iter().enumerate() {
        running.push(d.start(x.temp.path(), call(i))?);
    }
    running.into_iter().map(|r| r.finish()).collect()
}

/// All append; each message is there once.
pub fn appends(racers: &[&Driver], left: Left) -> Result<(), String> {
    let x = Arena::new()?;
    leave(&x, left)?;
    let bodies: Vec<String> = (0..racers.len()).map(|i| format!("racer {i}")).collect();
    let outs = race(&x, racers, |i| {
        x.call("append", &["--wait", "15", &bodies[i]])
    })?;
    for (d, out) in racers.iter().zip(&outs) {
        if out.exit() != "0" {
            return Err(format!(
                "{}: append: exit {} [stderr: {}]",
                d.name,
                out.exit(),
                show(&out.stderr)
            ));
        }
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for line in x
        .ok(racers[0], "drain", &["--format", "body"])?
        .split(|c| *c == b'\n')
    {
        *times
            .entry(String::from_utf8_lossy(line).into_owned())
            .or_default() += 1;
    }
    times.remove("");
    let wrong: Vec<_> = bodies
        .iter()
        .filter(|b| times.get(*b) != Some(&1))
        .collect();
    if !wrong.is_empty() || times.len() != bodies.len() {
        return Err(format!("not each message exactly once: {times:?}"));
    }
    x.nothing_left(&[])
}

/// All acquire; one gets the lock, and keeps it.
pub fn acquires(racers: &[&Driver], left: Left) -> Result<(), String> {
    let x = Arena::new()?;
    leave(&x, left)?;
    let outs = race(&x, racers, |_| x.call("acquire", &["--wait", "4"]))?;
    let mut tokens = Vec::new();
    for (d, out) in racers.iter().zip(&outs) {
        match out.exit().as_str() {
            "0" => tokens.push(String::from_utf8_lossy(&out.stdout).trim().to_string()),
            "75" => {}
            e => {
                return Err(format!(
                    "{}: acquire: exit {e} [stderr: {}]",
                    d.name,
                    show(&out.stderr)
                ));
            }
        }
    }
    // One, through one crash. The marker is left by a second one: then two may, and all
    // but the one whose lock it is are told so.
    let most = if left == Left::Marker {
        racers.len()
    } else {
        1
    };
    if tokens.is_empty() || tokens.len() > most {
        return Err(format!(
            "{} of {} got the lock: {tokens:?}",
            tokens.len(),
            racers.len()
        ));
    }
    let owner = x.read(".lock.owner").unwrap_or_default();
    let is_held = |token: &&String| owner.trim_ascii_end() == token.as_bytes();
    let Some(held) = tokens.iter().find(is_held) else {
        return Err(format!("O reads \"{}\", not {tokens:?}", show(&owner)));
    };
    for lost in tokens.iter().filter(|token| *token != held) {
        x.want(&["1"], racers[0], "release", &[lost])?;
    }
    x.ok(racers[0], "release", &[held])?;
    x.nothing_left(&[])
}
