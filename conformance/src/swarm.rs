//! Writers and drainers of mixed drivers on one mailbox, while time and again
//! a process among them is killed. What is checked is in README.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::arena::Arena;
use crate::check::now_ms;
use crate::content::{is_record, show};
use crate::driver::Driver;
use crate::tree::age;

pub const TESTS: &[&str] = &[
    "APP-7", "DRAIN-2", "DRAIN-5", "DRAIN-6", "DRAIN-8", "CLAIM-2", "REC-4", "EXIT-3",
];

const WRITERS: usize = 20;
const DRAINERS: usize = 4;

pub struct Plan {
    pub messages: usize,
    pub seed: u64,
    /// The time between two kills; none in a calm swarm.
    pub kills: Option<Duration>,
}

/// What one drain wrote.
struct Drained {
    driver: String,
    bytes: Vec<u8>,
    /// It ended with 0: every byte of it counts.
    whole: bool,
}

struct Swarm<'a> {
    x: Arena,
    drivers: &'a [Driver],
    plan: &'a Plan,
    /// Process groups that run now.
    groups: Mutex<BTreeSet<i32>>,
    /// Ids that were acknowledged, and those that were tried more than once.
    acknowledged: Mutex<BTreeSet<String>>,
    drained: Mutex<Vec<Drained>>,
    writing: AtomicUsize,
    over: AtomicBool,
    kills: AtomicUsize,
    faults: Mutex<Vec<String>>,
}

fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

fn id(writer: usize, n: usize) -> String {
    format!("{writer:04x}{n:012x}")
}

/// Runs it; a line about what happened, or what went wrong.
pub fn run(drivers: &[Driver], plan: &Plan) -> Result<String, String> {
    let since = Instant::now();
    let s = Swarm {
        x: Arena::new()?,
        drivers,
        plan,
        groups: Mutex::default(),
        acknowledged: Mutex::default(),
        drained: Mutex::default(),
        writing: AtomicUsize::new(WRITERS),
        over: AtomicBool::new(false),
        kills: AtomicUsize::new(0),
        faults: Mutex::default(),
    };
    std::thread::scope(|t| {
        for w in 0..WRITERS {
            let s = &s;
            t.spawn(move || {
                s.write(w);
                s.writing.fetch_sub(1, Ordering::SeqCst);
            });
        }
        let s = &s;
        let drainers: Vec<_> = (0..DRAINERS).map(|d| t.spawn(move || s.drain(d))).collect();
        if let Some(every) = plan.kills {
            t.spawn(move || s.killer(every));
            t.spawn(|| s.ager());
        }
        for d in drainers {
            if d.join().is_err() {
                s.fault("a drainer panicked".to_string());
            }
        }
        s.over.store(true, Ordering::SeqCst);
    });
    s.last_drain()?;
    let repeats = s.check()?;
    Ok(format!(
        "{} messages by {WRITERS} writers, {} kills, {} drains, {repeats} handed over again, {:.0} s",
        lock(&s.acknowledged).len(),
        s.kills.load(Ordering::SeqCst),
        lock(&s.drained).len(),
        since.elapsed().as_secs_f64(),
    ))
}

impl Swarm<'_> {
    fn fault(&self, why: String) {
        lock(&self.faults).push(why);
    }

    fn run_one(
        &self,
        d: &Driver,
        verb: &str,
        more: &[&str],
    ) -> Result<(String, Vec<u8>, Vec<u8>), String> {
        let running = d.start(self.x.temp.path(), self.x.call(verb, more))?;
        let group = running.pid().as_raw();
        lock(&self.groups).insert(group);
        let out = running.finish();
        lock(&self.groups).remove(&group);
        let out = out.map_err(|e| format!("{}: {verb}: {e}", d.name))?;
        Ok((out.exit(), out.stdout, out.stderr))
    }

    /// One writer: each message until it is acknowledged, with one id.
    fn write(&self, w: usize) {
        let mut rng = StdRng::seed_from_u64(self.plan.seed ^ (w as u64 + 1));
        let share = self.plan.messages / WRITERS + usize::from(w < self.plan.messages % WRITERS);
        for n in 0..share {
            let id = id(w, n);
            let body = format!("{w} {n} {}", "x".repeat(rng.random_range(0..400)));
            let started = Instant::now();
            loop {
                let d = &self.drivers[rng.random_range(0..self.drivers.len())];
                let more = ["--id", &id, "--from", "w", "--wait", "10", &body];
                match self.run_one(d, "append", &more) {
                    Ok((exit, out, _)) if exit == "0" => {
                        if out != format!("{id}\n").into_bytes() {
                            self.fault(format!("{}: append {id} printed {}", d.name, show(&out)));
                        }
                        break;
                    }
                    Ok((exit, ..)) if exit == "SIGKILL" || exit == "75" => {}
                    // A part of it was killed: it may fail, but not lie.
                    Ok((exit, _, err)) if self.plan.kills.is_none() => {
                        self.fault(format!("{}: append: exit {exit} {}", d.name, show(&err)));
                    }
                    Ok(_) => {}
                    Err(e) => self.fault(e),
                }
                if started.elapsed() > Duration::from_secs(120) {
                    return self.fault(format!("{id} could not be appended in 120 s"));
                }
            }
            lock(&self.acknowledged).insert(id);
        }
    }

    fn drain(&self, i: usize) {
        let mut rng = StdRng::seed_from_u64(self.plan.seed ^ (0x1000 + i as u64));
        while self.writing.load(Ordering::SeqCst) > 0 {
            let d = &self.drivers[rng.random_range(0..self.drivers.len())];
            self.drain_once(d);
            std::thread::sleep(Duration::from_millis(rng.random_range(1..30)));
        }
    }

    fn drain_once(&self, d: &Driver) {
        match self.run_one(d, "drain", &["--wait", "10"]) {
            Ok((exit, bytes, err)) => {
                let known = ["0", "75", "SIGKILL"].contains(&exit.as_str());
                if !known && self.plan.kills.is_none() {
                    self.fault(format!("{}: drain: exit {exit} {}", d.name, show(&err)));
                }
                let whole = exit == "0";
                lock(&self.drained).push(Drained {
                    driver: d.name.clone(),
                    bytes,
                    whole,
                });
            }
            Err(e) => self.fault(e),
        }
    }

    /// Time and again one process, of those a driver is made of, by SIGKILL.
    fn killer(&self, every: Duration) {
        let mut rng = StdRng::seed_from_u64(self.plan.seed);
        while !self.over.load(Ordering::SeqCst) {
            std::thread::sleep(every);
            let members = members(&lock(&self.groups));
            let pick: u64 = rng.random();
            if let Some(pid) = members.get(pick as usize % members.len().max(1)) {
                // It may be over by now.
                if kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok() {
                    self.kills.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }

    /// Makes what dead holders left old at once, instead of waiting 30 s.
    fn ager(&self) {
        let mut seen: BTreeMap<&str, (SystemTime, Instant)> = BTreeMap::new();
        while !self.over.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
            let owner = self.x.read(".lock.owner");
            for (suffix, limit) in [(".lock", 400), (".lock.steal", 2000)] {
                let path = self.x.path(suffix);
                let Ok(mtime) = fs::metadata(&path).and_then(|m| m.modified()) else {
                    seen.remove(suffix);
                    continue;
                };
                let first = seen.entry(suffix).or_insert((mtime, Instant::now()));
                if first.0 != mtime {
                    *first = (mtime, Instant::now());
                }
                let dead = match (&owner, suffix) {
                    (Some(token), ".lock") => is_dead(token),
                    // Nobody published, or recovers, for so long: it died.
                    _ => first.1.elapsed() > Duration::from_millis(limit),
                };
                if dead {
                    // Gone meanwhile: recovered without our help.
                    let _ = age(&path, 31.0);
                }
            }
            self.age_claims();
        }
    }

    fn age_claims(&self) {
        let dir = self.x.path(".claims");
        for name in self.x.claims() {
            let mut parts = name.splitn(3, '-');
            let (Some(birth), Some(stamp), Some(rest)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let fresh = stamp.parse::<i64>().is_ok_and(|s| s > now_ms() - 30_000);
            let token = rest.split_once('-').map_or(rest, |t| t.1);
            let token = token.split_once('.').map_or("", |t| t.0);
            if fresh && is_dead(token.as_bytes()) {
                let to = format!("{birth}-{:013}-{rest}", now_ms() - 301_000);
                // Adopted by another meanwhile: fine.
                let _ = fs::rename(dir.join(&name), dir.join(to));
            }
        }
    }

    /// With nobody at work any more: what is left belongs to the dead.
    fn last_drain(&self) -> Result<(), String> {
        for (i, d) in self.drivers.iter().enumerate() {
            let lock_dir = self.x.path(".lock");
            if lock_dir.exists() {
                self.x.age_lock()?;
            }
            if self.x.path(".lock.steal").exists() {
                age(&self.x.path(".lock.steal"), 31.0)?;
            }
            self.x.age_claims()?;
            self.drain_once(d);
            let again = self.x.run(d, "drain", &[])?;
            if i > 0 && !again.stdout.is_empty() {
                return Err(format!(
                    "{}: mail that earlier drains left: {}",
                    d.name,
                    show(&again.stdout)
                ));
            }
            lock(&self.drained).push(Drained {
                driver: d.name.clone(),
                whole: again.exit() == "0",
                bytes: again.stdout,
            });
        }
        Ok(())
    }

    /// How many were handed over more than once; Err with the first fault.
    fn check(&self) -> Result<usize, String> {
        let mut faults = std::mem::take(&mut *lock(&self.faults));
        let drained = lock(&self.drained);
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        let mut order: Vec<Vec<(usize, usize, String)>> = Vec::new();
        for d in drained.iter() {
            let mut lines: Vec<&[u8]> = d.bytes.split(|c| *c == b'\n').collect();
            let last = lines.pop().unwrap_or_default();
            if d.whole && !last.is_empty() {
                faults.push(format!(
                    "{}: output ends in a torn line: {}",
                    d.driver,
                    show(last)
                ));
            }
            let mut here = Vec::new();
            for line in lines {
                match writer_and_number(line) {
                    Some((w, n)) => {
                        let id = id(w, n);
                        *times.entry(id.clone()).or_default() += 1;
                        here.push((w, n, id));
                    }
                    None => faults.push(format!("{}: torn or foreign: {}", d.driver, show(line))),
                }
            }
            order.push(here);
        }
        for here in &order {
            let mut last: BTreeMap<usize, usize> = BTreeMap::new();
            for (w, n, id) in here {
                if times[id] > 1 {
                    continue;
                }
                if last.insert(*w, *n).is_some_and(|before| before >= *n) {
                    faults.push(format!("order of writer {w}: {n} came out late"));
                }
            }
        }
        let acknowledged = lock(&self.acknowledged);
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|id| !times.contains_key(*id))
            .collect();
        if !lost.is_empty() {
            faults.push(format!(
                "{} acknowledged and lost, {} first",
                lost.len(),
                lost[0]
            ));
        }
        let damaged = self.x.read(".damaged").unwrap_or_default();
        for line in damaged.split(|c| *c == b'\n') {
            // The beginning of a record is what a killed writer leaves.
            let start = b"{\"schema_version\":1,\"id\":\"";
            let n = line.len().min(start.len());
            if line[..n] != start[..n] || self.plan.kills.is_none() && !line.is_empty() {
                faults.push(format!(
                    "damaged beyond what a killed writer leaves: {}",
                    show(line)
                ));
            }
        }
        let repeats = times.values().filter(|n| **n > 1).count();
        if self.plan.kills.is_none() && repeats > 0 {
            faults.push(format!("{repeats} handed over again, with nobody killed"));
        }
        if faults.is_empty() {
            return Ok(repeats);
        }
        let first = faults.iter().take(3).cloned().collect::<Vec<_>>();
        Err(format!("{} faults: {}", faults.len(), first.join("; ")))
    }
}

/// From a whole record: writer and number of its body, which fit its id.
fn writer_and_number(line: &[u8]) -> Option<(usize, usize)> {
    if !is_record(line) {
        return None;
    }
    let v: serde_json::Value = serde_json::from_slice(line).ok()?;
    let mut words = v["body"].as_str()?.split(' ');
    let (w, n) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (v["id"].as_str()? == id(w, n)).then_some((w, n))
}

/// Whether the process of a token is gone (or waits to be reaped).
fn is_dead(token: &[u8]) -> bool {
    let text = String::from_utf8_lossy(token);
    let Some(pid) = text.split('.').next().and_then(|p| p.parse::<i32>().ok()) else {
        return false;
    };
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => true,
        Ok(s) => s.rsplit_once(") ").is_some_and(|t| t.1.starts_with('Z')),
    }
}

/// The living members of these process groups, in order.
fn members(groups: &BTreeSet<i32>) -> Vec<i32> {
    let Ok(proc) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut pids: Vec<i32> = proc
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields: Vec<&str> = stat
                .rsplit_once(") ")
                .map_or(Vec::new(), |t| t.1.split(' ').collect());
            fields.first().is_some_and(|s| *s != "Z")
                && fields
                    .get(2)
                    .and_then(|g| g.parse().ok())
                    .is_some_and(|g: i32| groups.contains(&g))
        })
        .collect();
    pids.sort_unstable();
    pids
}
