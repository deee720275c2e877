//! A is parked (or killed) at an exact call while it works
//! under the lock; the lock grows old; B works; A goes on. Nothing that was
//! acknowledged by anyone may be lost, and no record may be torn.

use std::fs;

use crate::arena::{Arena, Ledger};
use crate::content::show;
use crate::driver::{Driver, Output};
use crate::trace::{MOMENTS, Sys, TOO_LATE, Traced};
use crate::tree::age;

pub const TESTS: &[&str] = &[
    "ACQ-4", "ACQ-5", "REC-1", "REC-2", "REL-1", "REL-2", "APP-2", "APP-7", "DRAIN-4", "DRAIN-5",
    "CLAIM-6", "TAKE-2", "TAKE-3", "TAKE-4", "TAKE-6", "TAKE-7", "FILE-5",
];

/// Where A is parked: right after this call.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Point {
    /// mkdir of D.
    Gate,
    /// O holds the token.
    Publish,
    /// B was opened for writing.
    Open,
    /// Bytes were written to B.
    Write,
    /// B was renamed to a claim.
    Claim,
    /// The others were linked back to B.
    PutBack,
    /// O was opened to be read again: what is read is settled.
    Verify,
    /// O was unlinked, D is still there.
    Unlink,
    /// The lock of a dead one is about to be recovered: S was made.
    Mark,
}

/// What B does while A is parked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Then {
    Append,
    Drain,
    Take,
    /// B takes the lock and still has it when A goes on.
    Hold,
    /// A does not go on: SIGKILL. B appends and drains.
    Crash,
    /// B is parked too, in an append that has B open; A goes on first.
    Overlap,
}

#[derive(Clone, Copy)]
pub struct Stall {
    pub verb: &'static str,
    pub point: Point,
    pub then: Then,
}

impl Stall {
    pub fn name(&self) -> String {
        let (point, then) = (format!("{:?}", self.point), format!("{:?}", self.then));
        format!(
            "stall/{}-{}-{}",
            self.verb,
            point.to_lowercase(),
            then.to_lowercase()
        )
    }
}

pub const POINTS: [(&str, &[Point]); 3] = [
    (
        "append",
        &[
            Point::Gate,
            Point::Publish,
            Point::Open,
            Point::Write,
            Point::Verify,
            Point::Unlink,
        ],
    ),
    (
        "drain",
        &[
            Point::Gate,
            Point::Publish,
            Point::Claim,
            Point::Verify,
            Point::Unlink,
        ],
    ),
    (
        "take",
        &[
            Point::Gate,
            Point::Publish,
            Point::Claim,
            Point::Verify,
            Point::PutBack,
            Point::Unlink,
        ],
    ),
];

/// Every stall there is, verbs and actions mixed, so that any few in a row
/// are of different kinds.
pub fn all() -> Vec<Stall> {
    let mut list = Vec::new();
    for i in 0..6 {
        for (t, then) in [
            Then::Append,
            Then::Drain,
            Then::Take,
            Then::Hold,
            Then::Crash,
        ]
        .into_iter()
        .enumerate()
        {
            for (v, (verb, points)) in POINTS.iter().enumerate() {
                let n = points.len();
                if i < n {
                    list.push(Stall {
                        verb,
                        point: points[(i + t + v) % n],
                        then,
                    });
                }
            }
        }
    }
    for verb in ["append", "drain", "take"] {
        list.push(Stall {
            verb,
            point: Point::Mark,
            then: Then::Hold,
        });
    }
    for verb in ["drain", "take", "bounded"] {
        list.push(Stall {
            verb,
            point: Point::Publish,
            then: Then::Overlap,
        });
    }
    list
}

/// Recognizes the call after which A is at a point.
struct Watch {
    point: Point,
    b: String,
    published: bool,
    worked: bool,
}

impl Watch {
    fn new(x: &Arena, point: Point) -> Watch {
        Watch {
            point,
            b: x.b.display().to_string(),
            published: false,
            worked: false,
        }
    }

    fn hit(&mut self, s: &Sys) -> bool {
        if !s.ok() {
            return false;
        }
        let path = |suffix: &str| format!("\"{}{suffix}\"", self.b);
        let fd = |suffix: &str| format!("<{}{suffix}>", self.b);
        let named = |suffix: &str| s.args.contains(&path(suffix));
        let open = |suffix: &str| {
            s.args
                .split(',')
                .next()
                .is_some_and(|a| a.contains(&fd(suffix)))
        };
        let (opens, links) = (["open", "openat"], ["link", "linkat"]);
        let writes = ["write", "pwrite64", "writev"];
        let at = if s.is(&["mkdir", "mkdirat"]) && named(".lock") {
            Point::Gate
        } else if s.is(&["mkdir", "mkdirat"]) && named(".lock.steal") {
            Point::Mark
        } else if s.is(&links) && named(".lock.owner") || s.is(&writes) && open(".lock.owner") {
            self.published = true;
            Point::Publish
        } else if s.is(&opens)
            && named("")
            && (s.args.contains("O_WRONLY") || s.args.contains("O_RDWR"))
        {
            Point::Open
        } else if s.is(&writes) && open("") {
            self.worked = true;
            Point::Write
        } else if s.is(&["rename", "renameat", "renameat2"]) && named("") {
            self.worked = true;
            Point::Claim
        } else if s.is(&links) && named("") {
            Point::PutBack
        } else if s.is(&opens) && named(".lock.owner") && self.worked {
            Point::Verify
        } else if s.is(&["unlink", "unlinkat"]) && named(".lock.owner") && self.published {
            Point::Unlink
        } else {
            return false;
        };
        at == self.point
    }
}

pub const A_ID: &str = "00000000000000aa";
const B_ID: &str = "00000000000000bb";

/// The arguments of A.
pub fn arguments<'a>(verb: &'a str, wait: &'a str) -> (&'a str, Vec<&'a str>) {
    match verb {
        "append" => (verb, vec!["--id", A_ID, "--wait", wait, "from A"]),
        "take" => (verb, vec!["--id", "000000000000a001", "--wait", wait]),
        "bounded" => ("drain", vec!["--max", "1", "--wait", wait]),
        _ => (verb, vec!["--wait", wait]),
    }
}

/// A driver, started and parked at the point.
pub fn park(
    x: &Arena,
    d: &Driver,
    (verb, more): (&str, Vec<&str>),
    point: Point,
) -> Result<Traced, String> {
    let mut traced = Traced::start(x, d, x.call(verb, &more))?;
    let mut watch = Watch::new(x, point);
    if traced.park(|s| watch.hit(s))? {
        return Ok(traced);
    }
    Err(format!(
        "the fault did not fire: {} {verb} never was at {point:?}; its calls: {}",
        d.name,
        traced.calls.join(" | ")
    ))
}

/// Runs a scenario in a new place, again with longer moments when it was too
/// late to park somebody.
pub fn in_time(scenario: impl Fn(&Arena) -> Result<(), String>) -> Result<(), String> {
    let mut result = Err(TOO_LATE.to_string());
    for moment in MOMENTS {
        let mut x = Arena::new()?;
        x.moment = moment;
        result = scenario(&x);
        if result.as_ref().err().is_none_or(|e| e != TOO_LATE) {
            break;
        }
    }
    result
}

pub fn run(x: &Arena, a: &Driver, b: &Driver, stall: Stall) -> Result<(), String> {
    let mut ledger = Ledger::default();
    ledger.fill(x, 3)?;
    ledger.attempt(A_ID, "from A");
    ledger.attempt(B_ID, "from B");
    if stall.point == Point::Mark {
        x.write(".lock.owner", b"999999999.00c0ffee00c0ffee\n")?;
        fs::create_dir(x.path(".lock")).map_err(|e| e.to_string())?;
        x.age_lock()?;
    }
    // With B holding on, A has to give up in time; else it has all it needs.
    let short = matches!(stall.then, Then::Hold | Then::Overlap);
    let call = arguments(stall.verb, if short { "1.5" } else { "20" });
    let mut traced = park(x, a, call, stall.point)?;
    // The chosen claim is there before, the old ones still are.
    if stall.point == Point::PutBack && x.claims().len() < 2 {
        return Err(format!(
            "put back, and only these claims are there: {:?}",
            x.claims()
        ));
    }
    if !x.path(".lock").exists() {
        return Err(TOO_LATE.to_string());
    }
    x.age_lock()?;
    if stall.point == Point::Mark {
        age(&x.path(".lock.steal"), 31.0)?;
    }
    let mut other = None;
    let mut token = String::new();
    if stall.then == Then::Overlap {
        let call = ("append", vec!["--id", B_ID, "--wait", "20", "from B"]);
        other = Some(park(x, b, call, Point::Open)?);
    } else {
        token = meanwhile(x, b, stall.then, &mut ledger)?;
    }
    if stall.then == Then::Crash {
        traced.running.kill_all();
        let more = ["--id", B_ID, "--wait", "8", "from B"];
        ledger.appended(B_ID, &x.run(b, "append", &more)?)?;
    } else {
        let out = traced.finish()?;
        judge(a, stall, &out)?;
        if stall.verb == "append" {
            ledger.appended(A_ID, &out)?;
        } else {
            ledger.received(&out.stdout, out.exit() == "0")?;
        }
    }
    if let Some(traced) = other {
        let out = traced.finish()?;
        if out.exit() != "0" {
            let err = show(&out.stderr);
            return Err(format!("B: append: exit {} [stderr: {err}]", out.exit()));
        }
        ledger.appended(B_ID, &out)?;
    }
    if stall.then == Then::Hold {
        still_held(x, b, stall.point, &token)?;
    }
    x.age_claims()?;
    ledger.received(&x.ok(b, "drain", &["--wait", "8"])?, true)?;
    ledger.settle()?;
    let crashed = stall.then == Then::Crash;
    x.nothing_left(if crashed { &[".tmp."] } else { &[] })
}

/// A has gone on; B's lock is B's still.
fn still_held(x: &Arena, b: &Driver, point: Point, token: &str) -> Result<(), String> {
    let owner = x.read(".lock.owner").unwrap_or_default();
    let held = owner.trim_ascii_end() == token.as_bytes();
    // A had seen its own token and may remove what it finds: then B has lost
    // the lock, and has to be told so.
    if !held && !matches!(point, Point::Verify | Point::Unlink) {
        let owner = show(&owner);
        return Err(format!("B held the lock as {token}, O now is \"{owner}\""));
    }
    x.want(if held { &["0"] } else { &["1"] }, b, "release", &[token])?;
    Ok(())
}

/// What B does; the token when it holds the lock.
fn meanwhile(x: &Arena, b: &Driver, then: Then, ledger: &mut Ledger) -> Result<String, String> {
    match then {
        Then::Append => {
            let out = x.run(b, "append", &["--id", B_ID, "from B"])?;
            if out.exit() != "0" {
                return Err(format!(
                    "B: append: exit {} [{}]",
                    out.exit(),
                    show(&out.stderr)
                ));
            }
            ledger.appended(B_ID, &out)?;
        }
        Then::Drain => ledger.received(&x.ok(b, "drain", &[])?, true)?,
        Then::Take => ledger.received(&x.want(&["0", "1"], b, "take", &[])?, true)?,
        Then::Hold => {
            let token = x.ok(b, "acquire", &[])?;
            return Ok(String::from_utf8_lossy(&token).trim().to_string());
        }
        Then::Crash | Then::Overlap => {}
    }
    Ok(String::new())
}

fn judge(a: &Driver, stall: Stall, out: &Output) -> Result<(), String> {
    let exit = out.exit();
    let fine = match exit.as_str() {
        "0" => true,
        "75" => matches!(stall.then, Then::Hold | Then::Overlap),
        // Everything was taken away before it looked again.
        "1" => stall.verb == "take",
        _ => false,
    };
    if fine {
        return Ok(());
    }
    Err(format!(
        "{} went on to exit {exit} [stderr: {}]",
        a.name,
        show(&out.stderr)
    ))
}
