//! A process of the script, or of the binary, that moves only when it is told to.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use nix::sys::wait::WaitStatus;

use crate::calls::{Call, Kind};
use crate::common::Fixture;
use crate::goal::{Goal, Place, is_effect, places};
use crate::tracer::{Entry, Traced};

/// More naps than there are between two looks at an old lock.
const NAPS: usize = 40;

/// What to do about a call that the schedule does not have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// Stop before it: it is not the schedule of the model.
    Strict,
    /// Let it be made, and go on to the call that is wanted.
    Seeking,
    /// Stop before it, and stay there.
    Stopping,
}

/// How a party ended.
#[derive(Debug)]
pub struct End {
    /// `None` when it was killed.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl End {
    /// Fails the test when it is none of these.
    pub fn must_be(&self, codes: &[i32]) {
        let is_right = self.code.is_some_and(|code| codes.contains(&code));
        assert!(is_right, "{:?}, not {codes:?}: {}", self.code, self.stderr);
    }
}

type Order = Box<dyn FnOnce(&mut Runner) + Send>;

/// A process, traced by a thread of its own, as ptrace wants.
pub struct Party {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

struct Runner {
    traced: Option<Traced>,
    /// The call it is about to make.
    at: Option<(Entry, Call)>,
    dir: PathBuf,
    out: PathBuf,
    err: PathBuf,
    /// What the shell looked at last.
    looked: Option<Place>,
    /// It has written its token and not looked at O again.
    is_inside: bool,
}

impl Party {
    /// Starts `program`, the `nth` of its test, before its first call; `is_full` is stdout.
    pub fn start(fx: &Fixture, nth: usize, program: &[&str], is_full: bool) -> Party {
        let (orders, inbox) = channel::<Order>();
        let dir = fx.dir().to_owned();
        let out = dir.join(format!("out.{nth}"));
        let err = dir.join(format!("err.{nth}"));
        let mut shell = fx.program("sh");
        shell.env("MBOX_PURE", "1");
        let stdout = if is_full {
            File::options().write(true).open("/dev/full")
        } else {
            File::create(&out)
        };
        shell.stdout(stdout.unwrap());
        shell.stderr(File::create(&err).unwrap());
        let words: Vec<String> = program.iter().map(|&word| word.to_owned()).collect();
        let thread = thread::spawn(move || {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let traced = Traced::start(shell, &words).expect("a process can be traced");
            let mut runner = Runner {
                traced: Some(traced),
                at: None,
                dir,
                out,
                err,
                looked: None,
                is_inside: false,
            };
            runner.advance();
            for order in inbox {
                order(&mut runner);
            }
        });
        Party {
            orders: Some(orders),
            thread: Some(thread),
        }
    }

    fn ask<T: Send + 'static>(&self, f: impl FnOnce(&mut Runner) -> T + Send + 'static) -> T {
        let (answer, inbox) = channel();
        let order: Order = Box::new(move |runner| {
            let _ = answer.send(f(runner)); // nobody waits when the test has failed
        });
        let orders = self.orders.as_ref().expect("until it is dropped");
        orders.send(order).expect("its thread runs");
        inbox.recv().expect("its thread answers")
    }

    /// Runs it until it has reached `goal`, and not one call further.
    pub fn run(&self, goal: Goal, manner: Manner) -> Result<(), String> {
        self.ask(move |runner| runner.run(goal, manner))
    }

    /// Whether it believes to hold the lock.
    pub fn is_inside(&self) -> bool {
        self.ask(|runner| runner.is_inside)
    }

    /// Lets it run to its end, beside others.
    pub fn finish(self) -> End {
        self.ask(Runner::finish)
    }

    pub fn kill(self) -> End {
        self.ask(Runner::kill)
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it has panicked: so has whoever asked
        }
    }
}

impl Runner {
    fn advance(&mut self) {
        if let Some((_, call)) = &self.at {
            self.is_inside = match places(call).as_slice() {
                [Place::Owner] if call.kind == Kind::Write => true,
                [Place::Owner] if call.kind == Kind::Open => false,
                _ => self.is_inside,
            };
            if call.kind == Kind::Look
                && let [place] = places(call)[..]
            {
                self.looked = Some(place);
            }
        }
        let traced = self.traced.as_mut().expect("it has not ended");
        self.at = traced.next().map(|entry| {
            let call = Call::describe(traced, entry, &self.dir);
            (entry, call)
        });
    }

    fn is_there(&self, path: &str) -> bool {
        match path.strip_prefix("~/") {
            Some(rest) => self.dir.join(rest).symlink_metadata().is_ok(),
            None => false,
        }
    }

    fn run(&mut self, goal: Goal, manner: Manner) -> Result<(), String> {
        let mut naps = 0;
        loop {
            let Some((_, call)) = &self.at else {
                return Err("it has ended".into());
            };
            if goal.is(call, self.looked) {
                break;
            }
            // For somebody, or to settle while others may be where Settle waits for them.
            naps += usize::from(Goal::Sleeps.is(call, None));
            if naps > 0 && (manner != Manner::Strict || naps > NAPS) {
                return Err("it waits".into());
            }
            if manner != Manner::Seeking && is_effect(call, |path| self.is_there(path)) {
                return Err(format!("it is about to make {call}"));
            }
            self.advance();
        }
        let mut seen = Vec::new();
        while let Some((_, call)) = &self.at {
            if !seen.is_empty() && !goal.goes_on(call, &seen) {
                break;
            }
            seen.push(call.clone());
            self.advance();
        }
        Ok(())
    }

    fn finish(&mut self) -> End {
        let traced = self.traced.take().expect("it is ended once");
        self.end(traced.finish())
    }

    fn kill(&mut self) -> End {
        let traced = self.traced.take().expect("it is ended once");
        self.end(traced.kill_all())
    }

    fn end(&self, ended: crate::tracer::Ended) -> End {
        let text = |path: &Path| fs::read(path).unwrap_or_default();
        End {
            code: match ended.expect("it does not hang") {
                WaitStatus::Exited(_, code) => Some(code),
                _ => None,
            },
            stdout: String::from_utf8_lossy(&text(&self.out)).into_owned(),
            stderr: String::from_utf8_lossy(&text(&self.err)).into_owned(),
        }
    }
}
