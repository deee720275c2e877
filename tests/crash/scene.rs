//! The mailbox a program is run on, and the program on it, up to one of its calls.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use nix::sys::wait::WaitStatus;
use walkdir::WalkDir;

use crate::calls::Call;
use crate::common::{Files, Fixture, set_age, unix_millis};
use crate::library;
use crate::rows::{BEFORE, Case, Does, Driver, GUARDED, LETTER, OVERLAY, TOKEN};
use crate::tracer::{Ended, Entry, Traced};

pub const DAMAGED: &str = "not a record";

/// Over the age at which any claim is an orphan for anybody.
const OLD_MILLIS: u64 = 301_000;

/// How long the program waits for the lock: always the same, or its calls would differ.
const WAIT: &str = "1.5";

/// The id of the message with this body: one that drops repeats (DRAIN-7).
pub fn id_of(body: &str) -> String {
    format!("{:0>16}", body.replace('m', "a"))
}

pub struct Scene {
    pub fx: Fixture,
    pub files: Files,
    /// Of the ledger of the mailbox.
    pub ledger: Files,
    /// Of the mailbox that `migrate` moves to.
    pub other: Files,
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct End {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Scene {
    pub fn new(case: Case) -> Scene {
        let fx = Fixture::new();
        let files = fx.files("a");
        let line = |body: &&str| {
            let id = id_of(body);
            format!("{{\"schema_version\":1,\"id\":\"{id}\",\"body\":\"{body}\"}}\n")
        };
        let claimed: String = BEFORE[..2].iter().map(line).collect();
        files.put_claim(1_000_000_000_000, -400, "8.0123456789abcdef.g", &claimed);
        let mut lines: Vec<String> = BEFORE[2..].iter().map(line).collect();
        lines.insert(1, format!("{DAMAGED}\n"));
        fs::write(&files.records, lines.concat()).unwrap();
        let is_held = matches!(case.row.does, Does::Release);
        match (is_held || case.row.has_dead_lock, case.driver) {
            // Told dead by the guard, or else by its age.
            (true, Driver::Binary) if !is_held => files.hold(GUARDED),
            (true, _) => files.hold(TOKEN),
            (false, _) => {}
        }
        if case.row.has_dead_lock && case.driver != Driver::Binary {
            set_age(&files.lock, -31);
        }
        let received = fx.root().join("received");
        if case.row.args.contains(&LETTER) {
            fs::create_dir(&received).unwrap();
            let letter = format!(
                "{{\"schema_version\":1,\"id\":\"{LETTER}\",\"body\":\"e1\",\"from_session_id\":\"a\"}}\n"
            );
            fs::write(received.join("me.jsonl"), letter).unwrap();
        }
        Scene {
            ledger: Files::of(received.join("a.jsonl")),
            other: fx.files("b"),
            fx,
            files,
        }
    }

    fn out(&self, what: &str) -> PathBuf {
        self.fx.dir().join(what)
    }

    /// Starts the program of the case under the tracer.
    pub fn start(&self, case: Case) -> Traced {
        let mut shell = self.fx.program("sh");
        fs::write(self.out("in"), case.row.stdin).unwrap();
        shell
            .stdin(File::open(self.out("in")).unwrap())
            .stdout(File::create(self.out("out")).unwrap())
            .stderr(File::create(self.out("err")).unwrap())
            .env("MBOX_PURE", "1");
        let program = match case.row.args[0] {
            library::VERB => {
                let this = std::env::current_exe().expect("this program");
                vec![this.to_str().expect("a path in UTF-8").to_owned()]
            }
            _ => case.driver.words(),
        };
        let mut words: Vec<&str> = program.iter().map(String::as_str).collect();
        words.push(case.row.args[0]);
        // With an option it would not be in one go.
        let takes_no_wait = matches!(case.row.args[0], "release" | "register" | "hook");
        if !takes_no_wait && case.driver != OVERLAY {
            words.extend(["--wait", WAIT]);
        }
        words.extend(&case.row.args[1..]);
        Traced::start(shell, &words).expect("a process can be traced")
    }

    /// What the program came to.
    pub fn end(&self, ended: Ended) -> Result<End, String> {
        let text = |what| String::from_utf8_lossy(&fs::read(self.out(what)).unwrap()).into_owned();
        let code = match ended? {
            WaitStatus::Exited(_, code) => Some(code),
            _ => None,
        };
        Ok(End {
            code,
            stdout: text("out"),
            stderr: text("err"),
        })
    }

    /// What stands on the disk now: two equal ones are one to whoever comes next.
    pub fn image(&self) -> Vec<(PathBuf, u64, u64, i64)> {
        let mut image = Vec::new();
        for entry in WalkDir::new(self.fx.root()).into_iter().flatten() {
            if let Ok(meta) = entry.metadata() {
                let changed = meta.ctime() * 1_000_000_000 + meta.ctime_nsec();
                image.push((entry.into_path(), meta.ino(), meta.len(), changed));
            }
        }
        image.push((
            self.out("out"),
            0,
            self.out("out").metadata().unwrap().len(),
            0,
        ));
        image.sort();
        image
    }

    /// Time passes for the locks.
    pub fn age_lock(&self) {
        for files in [&self.files, &self.ledger, &self.other] {
            if files.owner.exists() && !files.lock.exists() {
                // Whoever came first has made D, and waits for its age (ACQ-5).
                fs::create_dir(&files.lock).unwrap();
            }
            for dir in [&files.lock, &files.steal] {
                if dir.exists() {
                    set_age(dir, -31);
                }
            }
        }
    }

    /// How another program appends to the mailbox: as the program of the case does, so that
    /// it comes by the same locks.
    pub fn append(&self, case: Case, driver: Driver, body: &str) -> Result<(), String> {
        let id = id_of(body);
        let verb = if case.row.sends() { "send" } else { "append" };
        let out = self.run(driver, &[verb, "a", body, "--id", &id, "--wait", "9"]);
        match out.status.success() && out.stderr.is_empty() {
            true => Ok(()),
            false => Err(format!("then {} {verb}: {out:?}", driver.name())),
        }
    }

    /// Whether the ledger has an entry with this body.
    pub fn is_entered(&self, body: &str) -> bool {
        let entries = fs::read_to_string(&self.ledger.records).unwrap_or_default();
        entries.contains(&format!("\"body\":\"{body}\""))
    }

    /// Time passes for the claims.
    pub fn age_claims(&self) {
        for name in self.files.claim_names() {
            // birth-stamp-n.token
            let aged = unix_millis().saturating_sub(OLD_MILLIS);
            let mut parts: Vec<&str> = name.splitn(3, '-').collect();
            let stamp = format!("{aged:013}");
            if parts[1] > stamp.as_str() {
                parts[1] = &stamp;
            }
            let (from, to) = (&name, parts.join("-"));
            let claims = &self.files.claims;
            fs::rename(claims.join(from), claims.join(to)).unwrap();
        }
    }

    /// Runs a verb of `driver` to its end.
    pub fn run(&self, driver: Driver, args: &[&str]) -> Output {
        let mut command: Command = match driver {
            Driver::Binary => self.fx.process(&[]),
            Driver::Shell(_) => {
                let words = driver.words();
                let mut command = self.fx.program(&words[0]);
                command.env("MBOX_PURE", "1").args(&words[1..]);
                command
            }
        };
        command.args(args).output().unwrap()
    }

    /// The same, and it has to succeed; gives its stdout.
    pub fn must(&self, driver: Driver, args: &[&str]) -> Result<String, String> {
        let out = self.run(driver, args);
        if !out.status.success() {
            let stderr = String::from_utf8_lossy(&out.stderr);
            let name = driver.name();
            return Err(format!("then {name} {}: {}: {stderr}", args[0], out.status));
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }
}

/// A program before one of its calls.
pub struct Parked {
    pub scene: Scene,
    pub traced: Traced,
    pub entry: Entry,
}

/// All calls of a case.
pub struct Record {
    pub case: Case,
    pub calls: Vec<Call>,
}

impl Record {
    pub fn of(case: Case) -> Result<Record, String> {
        let scene = Scene::new(case);
        let mut traced = scene.start(case);
        let (mut calls, mut last) = (Vec::new(), Vec::new());
        let mut like = HashMap::new();
        while let Some(entry) = traced.next() {
            let mut call = Call::describe(&traced, entry, scene.fx.dir());
            let nth: &mut usize = like.entry(call.key()).or_default();
            *nth += 1;
            call.nth = *nth;
            let image = scene.image();
            call.is_new = image != last;
            calls.push(call);
            last = image;
        }
        let end = scene.end(traced.finish())?;
        if end.code != Some(case.row.status) {
            return Err(format!("{}: without a fault: {end:?}", case.name()));
        }
        Ok(Record { case, calls })
    }

    /// Runs it again up to `call`. The processes that do not make it are wherever they are
    /// by then.
    pub fn park(&self, call: &Call) -> Result<Parked, String> {
        let by_itself = self.park_by(call, |traced| traced.next_of(&call.process));
        // How a pipe is read depends on who comes first: then all in the same order.
        by_itself.or_else(|_| self.park_by(call, Traced::next))
    }

    fn park_by(
        &self,
        call: &Call,
        next: impl Fn(&mut Traced) -> Option<Entry>,
    ) -> Result<Parked, String> {
        let scene = Scene::new(self.case);
        let mut traced = scene.start(self.case);
        let (key, mut nth) = (call.key(), 0);
        while let Some(entry) = next(&mut traced) {
            if entry.nr != call.nr || traced.name(entry.pid) != call.process {
                continue;
            }
            let now = Call::describe(&traced, entry, scene.fx.dir());
            nth += usize::from(now.key() == key);
            if nth == call.nth {
                return Ok(Parked {
                    scene,
                    traced,
                    entry,
                });
            }
        }
        let end = scene.end(traced.finish())?;
        Err(format!("the fault did not fire: {end:?}"))
    }
}
