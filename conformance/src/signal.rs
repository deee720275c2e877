//! CLI-6: a driver told to end by a signal, at an exact call.

use nix::sys::signal::{Signal, kill};

use crate::arena::{Arena, Ledger};
use crate::content::show;
use crate::driver::Driver;
use crate::stall::{A_ID, POINTS, Point, arguments, park};

pub const TESTS: &[&str] = &["CLI-6"];

#[derive(Clone, Copy)]
pub struct Told {
    verb: &'static str,
    point: Point,
    signal: Signal,
    /// Ask also whether it died of the signal: apart, as some shells cannot.
    death: bool,
}

impl Told {
    pub fn name(&self) -> String {
        let (point, signal) = (format!("{:?}", self.point), self.signal);
        let name = match self.death {
            true => format!("signal/death-{signal}"),
            false => format!("signal/{}-{point}-{signal}", self.verb),
        };
        name.to_lowercase()
    }
}

/// The signals that ask a process to end.
pub const ENDING: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// Fails when one of them is ignored here: all that is started from here would ignore it
/// too. Told by Linux only.
pub fn refuse_ignored() -> Result<(), String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let is_ignored = |signal: &Signal| ignored.unwrap_or(0) >> (*signal as u32 - 1) & 1 == 1;
    match ENDING.into_iter().find(is_ignored) {
        Some(signal) => Err(format!(
            "{signal} is ignored here, and would be by all that is checked; \
             run this in the foreground, without nohup"
        )),
        None => Ok(()),
    }
}

/// The points of every verb, with a signal for each in turn.
pub fn all() -> Vec<Told> {
    let points = POINTS
        .iter()
        .flat_map(|(verb, points)| points.iter().map(move |p| (*verb, *p)));
    let mut list: Vec<Told> = points
        .zip(ENDING.into_iter().cycle())
        .map(|((verb, point), signal)| Told {
            verb,
            point,
            signal,
            death: false,
        })
        .collect();
    for signal in ENDING {
        list.push(Told {
            verb: "append",
            point: Point::Publish,
            signal,
            death: true,
        });
    }
    list
}

/// It ends, not with 0; no lock is left; what it said it did is done.
pub fn run(x: &Arena, a: &Driver, told: Told) -> Result<(), String> {
    let mut ledger = Ledger::default();
    ledger.fill(x, 3)?;
    ledger.attempt(A_ID, "from A");
    let traced = park(x, a, arguments(told.verb, "5"), told.point)?;
    kill(traced.main()?, told.signal).map_err(|e| format!("kill: {e}"))?;
    let out = traced.finish()?;
    let (exit, err) = (out.exit(), show(&out.stderr));
    if exit == "0" || told.death && exit != told.signal.to_string() {
        return Err(format!(
            "exit {exit}, not death by {} [stderr: {err}]",
            told.signal
        ));
    }
    for suffix in [".lock", ".lock.owner", ".lock.steal"] {
        if x.path(suffix).exists() {
            return Err(format!("b{suffix}: left behind"));
        }
    }
    if told.verb == "append" {
        // An id that was printed is a promise, signal or not.
        let done = out.stdout == format!("{A_ID}\n").as_bytes();
        ledger.promise(A_ID, done);
    } else {
        ledger.received(&out.stdout, false)?;
    }
    x.age_claims()?;
    ledger.received(&x.ok(a, "drain", &["--wait", "8"])?, true)?;
    ledger.settle()?;
    x.nothing_left(&[])
}
