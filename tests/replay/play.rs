//! Plays a path of the model with processes of a script.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{Files, Fixture, MBOX, Running, set_age, unix_millis};
use crate::faults::Action;
use crate::goal::Goal;
use crate::mixes;
use crate::party::{End, Manner, Party};
use crate::properties::Property;
use crate::search::Moved;
use crate::state::{Job, Kind, PEERS, Pc};

/// Of no process of a replay: in a test that is not stuck nobody waits for so long.
const WAIT: &str = "30";

/// What became of the mail and the lock.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// Acknowledged, and handed over to nobody.
    pub lost: Vec<String>,
    /// Handed over more than once, with no crash and no stall.
    pub twice: Vec<String>,
    /// Of one sender, handed over before what it sent earlier, with no crash and no stall.
    pub early: Vec<String>,
    pub is_held_twice: bool,
    /// A fresh process did not get the lock.
    pub is_wedged: bool,
    /// A fresh process had to wait for mail that nobody had any more.
    pub is_slow: bool,
}

impl Outcome {
    /// What is broken.
    pub fn properties(&self) -> Vec<Property> {
        let all = [
            (!self.lost.is_empty(), Property::Lost),
            (!self.twice.is_empty(), Property::Twice),
            (!self.early.is_empty(), Property::Order),
            (self.is_held_twice, Property::TwoHolders),
            (self.is_wedged, Property::Wedge),
            (self.is_slow, Property::Slow),
        ];
        let broken = all.into_iter().filter(|(is_broken, _)| *is_broken);
        broken.map(|(_, property)| property).collect()
    }
}

/// The mailbox, and who is at it.
struct Play<'a> {
    script: PathBuf,
    legacy: PathBuf,
    manner: Manner,
    peers: Vec<(Kind, Vec<Job>)>,
    parties: [Option<Party>; PEERS],
    /// How a job is to end that the model has seen to its end.
    done: [Option<&'static [i32]>; PEERS],
    started: usize,
    acknowledged: Vec<String>,
    delivered: Vec<String>,
    files: Files,
    fx: &'a Fixture,
}

/// The body of a message of the model: `b1` is the first of the second process.
fn body(p: usize, nth: usize) -> String {
    format!("{}{}", ["a", "b", "c"][p], nth + 1)
}

/// The id of the message with this body: one that drops repeats (DRAIN-7).
fn id_of(body: &str) -> String {
    format!("{:0>16}", body.replace('x', "e"))
}

/// Plays `path`, a path of the model through `mix`, with the script, and tells what became
/// of it. `watch` is what the model says breaks at its end.
pub fn play(
    script: &dyn Fn(&Path) -> PathBuf,
    mix: &str,
    path: &[Moved],
    watch: Property,
    manner: Manner,
) -> Outcome {
    let fx = Fixture::new();
    let files = fx.files("a");
    let script = script(fx.dir());
    let parsed = mixes::parse(mix).unwrap();
    let mut play = Play {
        script,
        legacy: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay/legacy.sh"),
        manner,
        peers: parsed.peers,
        parties: [None, None, None],
        done: [None; PEERS],
        started: 0,
        acknowledged: Vec::new(),
        delivered: Vec::new(),
        files,
        fx: &fx,
    };
    files_before(&play, usize::from(parsed.initial));
    for nth in 0..usize::from(parsed.initial) {
        play.acknowledged.push(body_before(nth));
    }
    for (number, moved) in path.iter().enumerate() {
        if let Err(error) = play.step(moved)
            && manner == Manner::Strict
        {
            panic!(
                "step {} of the model is not what the script does: {error}",
                number + 1
            );
        }
    }
    let inside = play
        .parties
        .iter()
        .flatten()
        .filter(|party| party.is_inside());
    let mut outcome = Outcome {
        is_held_twice: inside.count() > 1,
        ..Outcome::default()
    };
    play.end(parsed.crashes == 0);
    let is_calm = parsed.crashes == 0 && parsed.stalls == 0;
    match watch {
        Property::Wedge => outcome.is_wedged = play.is_wedged(),
        Property::Slow => outcome.is_slow = play.is_slow(),
        _ => {}
    }
    play.drain();
    let count = |body: &&String| play.delivered.iter().filter(|got| got == body).count();
    let acknowledged = play.acknowledged.iter();
    outcome.lost = acknowledged
        .filter(|body| count(body) == 0)
        .cloned()
        .collect();
    if is_calm {
        let mut all = play.delivered.clone();
        all.sort();
        all.dedup();
        let place = |body: &str| play.delivered.iter().position(|got| got == body);
        outcome.early = ["a", "b", "c"]
            .map(|sender| (format!("{sender}1"), format!("{sender}2")))
            .into_iter()
            .filter(|(first, second)| place(second).is_some() && place(second) < place(first))
            .map(|(_, second)| second)
            .collect();
        outcome.twice = all.into_iter().filter(|body| count(&body) > 1).collect();
    }
    outcome
}

/// Mail that is there before, from long ago.
fn body_before(nth: usize) -> String {
    format!("x{}", nth + 1)
}

fn files_before(play: &Play, initial: usize) {
    play.files.make_dir();
    if initial == 0 {
        return;
    }
    let line = |nth: usize| {
        let body = body_before(nth);
        let id = id_of(&body);
        format!("{{\"schema_version\":1,\"id\":\"{id}\",\"body\":\"{body}\"}}\n")
    };
    let lines: String = (0..initial).map(line).collect();
    fs::write(&play.files.records, lines).unwrap();
    set_age(&play.files.records, -31);
}

impl Play<'_> {
    /// Does what a step of the model does.
    fn step(&mut self, moved: &Moved) -> Result<(), String> {
        match moved.action {
            // It has stood still all the time.
            Action::Stall(_) | Action::Resume(_) => {}
            Action::LockAges => age(&self.files.lock),
            Action::MarkAges => age(&self.files.steal),
            Action::ClaimAges(place) => {
                if let Some(name) = self.files.claim_names().get(usize::from(place)) {
                    let claim = &moved.after.claims[usize::from(place)];
                    self.age_claim(name, if claim.age == 1 { 31 } else { 301 });
                }
            }
            Action::Crash(p) => {
                let p = usize::from(p);
                if let Some(party) = self.parties[p].take() {
                    self.listen(&party.kill().stdout);
                }
            }
            Action::Step(p, choice) => {
                assert_eq!(choice, 0, "no replay has needed the other way so far");
                let p = usize::from(p);
                let me = moved.before.peers[p];
                if me.pc == Pc::Start {
                    self.start(p, usize::from(me.nth));
                }
                if let Some(goal) = Goal::of(&me, &moved.before) {
                    let party = self.parties[p].as_ref().expect("it was started");
                    let reached = party.run(goal, self.manner);
                    reached
                        .map_err(|error| format!("P{}: {:?}, {goal:?}: {error}", p + 1, me.pc))?;
                }
                let after = moved.after.peers[p];
                if after.pc == Pc::Done || after.nth != me.nth {
                    self.done[p] = Some(if me.job.fails() { &[0, 74] } else { &[0] });
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, p: usize, nth: usize) {
        if let Some(party) = self.parties[p].take() {
            self.finish(vec![(party, self.done[p])]);
        }
        let jobs = &self.peers[p].1;
        let appends = jobs[..nth].iter().filter(|&&job| job == Job::Append);
        let body = body(p, appends.count());
        let id = id_of(&body);
        let job = jobs[nth];
        let mut args = match job {
            Job::Append => vec!["append", "a", &body, "--id", &id],
            Job::Drain | Job::FailingDrain => vec!["drain", "a", "--format", "body"],
            Job::TakeFirst | Job::FailingTake => {
                vec!["drain", "a", "--max", "1", "--format", "body"]
            }
            other => panic!("no replay has needed {other:?} so far"),
        };
        args.extend(["--wait", WAIT]);
        self.started += 1;
        let mut words = match self.peers[p].0 {
            Kind::WithGuard => vec![MBOX],
            Kind::WithoutGuard => vec!["dash", self.script.to_str().unwrap()],
            Kind::Legacy => vec!["dash", self.legacy.to_str().unwrap()],
        };
        words.extend(args);
        let party = Party::start(self.fx, self.started, &words, job.fails());
        self.parties[p] = Some(party);
        self.done[p] = None;
    }

    /// What a party said: ids that are acknowledged, bodies that are handed over.
    fn listen(&mut self, stdout: &str) {
        for line in stdout.lines() {
            if line.len() == 16 {
                let body = line.trim_start_matches('0').replace('e', "x");
                self.acknowledged.push(body);
            } else {
                self.delivered.push(line.to_owned());
            }
        }
    }

    /// Everybody goes on to the end; or, where the model has crashes, whom it has not seen to
    /// the end dies.
    fn end(&mut self, is_everybody: bool) {
        let mut going = Vec::new();
        for p in 0..PEERS {
            let Some(party) = self.parties[p].take() else {
                continue;
            };
            if is_everybody || self.done[p].is_some() {
                going.push((party, self.done[p]));
            } else {
                self.listen(&party.kill().stdout);
            }
        }
        age(&self.files.lock);
        age(&self.files.steal);
        self.finish(going);
    }

    /// Lets them run to their ends, beside each other.
    fn finish(&mut self, going: Vec<(Party, Option<&'static [i32]>)>) {
        let ends: Vec<(End, Option<&[i32]>)> = thread::scope(|scope| {
            let going = going.into_iter();
            let ending: Vec<_> = going
                .map(|(party, codes)| scope.spawn(move || (party.finish(), codes)))
                .collect();
            ending.into_iter().map(|end| end.join().unwrap()).collect()
        });
        for (end, codes) in ends {
            if self.manner == Manner::Strict {
                end.must_be(codes.unwrap_or(&[0]));
            }
            self.listen(&end.stdout);
        }
    }

    fn age_all(&self) {
        age(&self.files.lock);
        age(&self.files.steal);
        for name in self.files.claim_names() {
            self.age_claim(&name, 301);
        }
    }

    /// Gives a claim a stamp that is so many seconds old.
    fn age_claim(&self, name: &str, seconds: u64) {
        // birth-stamp-n.token
        let mut parts: Vec<&str> = name.splitn(3, '-').collect();
        let stamp = format!("{:013}", unix_millis() - 1000 * seconds);
        parts[1] = &stamp;
        let claims = &self.files.claims;
        fs::rename(claims.join(name), claims.join(parts.join("-"))).unwrap();
    }

    /// Whether some fresh process does not get through, however old things are.
    fn is_wedged(&mut self) -> bool {
        let id = id_of("x9");
        let jobs = [
            &["drain", "a", "--max", "1", "--format", "body"][..],
            &["append", "a", "x9", "--id", &id],
            &["drain", "a", "--format", "body"],
        ];
        // Where it gets through it needs no more than the 0.5 s of Settle; but what it has
        // made itself may have to get old first.
        let waits: &[u64] = match self.manner {
            Manner::Strict => &[1, 2],
            Manner::Seeking | Manner::Stopping => &[1, 5, 30],
        };
        !jobs.into_iter().all(|job| {
            waits.iter().any(|&wait| {
                self.age_all();
                self.gets_through(job, wait)
            })
        })
    }

    /// Whether a fresh process ends well, in little more than so many seconds.
    fn gets_through(&mut self, job: &[&str], wait: u64) -> bool {
        let out = self.fx.dir().join("fresh");
        let mut command = self.fx.program("dash");
        command.env("MBOX_PURE", "1").arg(&self.script);
        command.args(job).args(["--wait", &wait.to_string()]);
        command
            .stdout(File::create(&out).unwrap())
            .stderr(Stdio::null());
        let mut running = Running::start(&mut command);
        let end = Instant::now() + Duration::from_secs(wait + 1);
        let is_through = loop {
            match running.child().try_wait().unwrap() {
                Some(status) => break status.success(),
                None if Instant::now() > end => break false,
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        drop(running);
        self.listen(&fs::read_to_string(&out).unwrap());
        is_through
    }

    /// Whether a fresh reader has to wait for mail that was given up.
    fn is_slow(&mut self) -> bool {
        let mut command = self.fx.program("dash");
        command.env("MBOX_PURE", "1").arg(&self.script);
        let out = command
            .args(["drain", "a", "--format", "body"])
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        self.delivered.extend(text.lines().map(str::to_owned));
        !self
            .acknowledged
            .iter()
            .all(|body| self.delivered.contains(body))
    }

    /// Hands over what is left.
    fn drain(&mut self) {
        self.age_all();
        let mut command = self.fx.program(MBOX);
        let out = command
            .args(["drain", "a", "--format", "body"])
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        self.delivered.extend(text.lines().map(str::to_owned));
    }
}

fn age(dir: &Path) {
    if dir.exists() {
        set_age(dir, -31);
    }
}
