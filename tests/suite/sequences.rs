//! Random operations one after the other, each compared with a model in memory: what it
//! hands over, and every file it leaves.

mod model;
mod operation;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use mbox::{Append, Bounded, Claim, ErrorKind, Limit, Mailbox, Match, Message, Peek, Record};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use crate::common::{DEADLINE, Files, Fixture, cases, has_program, skip, with_full_stdout};
use model::{Claimed, Handed, Hands, Instead, Model, Outcome, Rule, lines_of};
use operation::{Bound, Dead, Envelope, Finish, Operation, Text, operation};

proptest! {
    #![proptest_config(cases(200, 2_000))]

    #[test]
    fn by_the_library(steps in vec(operation(), 1..30)) {
        World::new().run(steps.into_iter().map(|step| (Via::Library, step)));
    }
}

proptest! {
    #![proptest_config(cases(15, 200))]

    #[test]
    fn by_the_binary(steps in vec(operation(), 1..30)) {
        World::new().run(steps.into_iter().map(|step| (Via::Binary, step)));
    }
}

/// The shell functions too, which are slow.
#[test]
fn by_all_in_turn() {
    if !has_program("dash") {
        return skip("dash is not installed");
    }
    let vias = select(vec![Via::Library, Via::Binary, Via::Shell, Via::Shell]);
    let steps = vec((vias, operation()), 1..30);
    let mut runner = TestRunner::new(cases(3, 100));
    let run = runner.run(&steps, |steps| {
        World::new().run(steps);
        Ok(())
    });
    run.unwrap_or_else(|failed| panic!("{failed}"));
}

/// Who carries an operation out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Via {
    Library,
    Binary,
    Shell,
}

/// A mailbox, and what ought to be in it.
struct World {
    fx: Fixture,
    mailbox: Mailbox,
    files: Files,
    model: Model,
    kept: Vec<Kept>,
    /// Readers and claims so far.
    count: u64,
}

/// A reader that is not done yet.
struct Kept {
    reader: usize,
    claim: Claim,
    handed: Handed,
}

impl World {
    fn new() -> World {
        let fx = Fixture::new();
        let path = fx.dir().join("box");
        World {
            mailbox: Mailbox::at(&path),
            files: Files::of(path),
            fx,
            model: Model::default(),
            kept: Vec::new(),
            count: 0,
        }
    }

    fn run(mut self, steps: impl IntoIterator<Item = (Via, Operation)>) {
        for (via, operation) in steps {
            self.step(via, operation);
            let instead = self.model.instead.take();
            if via == Via::Shell {
                self.allow(instead);
            }
            self.check_files();
        }
        // Whatever happened, the mail can be had, and nothing is left behind.
        while !self.kept.is_empty() {
            self.give_back(0, false);
        }
        self.adopt_strangers();
        self.check_files();
        self.step(Via::Library, Operation::Drain(Finish::Ack));
        self.check_files();
        assert!(!self.mailbox.has_mail().unwrap());
    }

    /// Goes on with what may be there instead, if it is there.
    fn allow(&mut self, instead: Option<Instead>) {
        let records = fs::read(&self.files.records).ok();
        match instead {
            Some(Instead::Untouched(model)) if records == model.records => self.model = *model,
            Some(Instead::Records(lines)) if records.as_ref() == Some(&lines) => {
                self.model.records = records;
            }
            _ => {}
        }
    }

    fn step(&mut self, via: Via, operation: Operation) {
        match operation {
            Operation::Append(envelope) => self.append(via, &envelope),
            Operation::AppendMany(lines) => self.append_many(via, &lines),
            Operation::Write(Text(text)) => {
                let mut file = fs::File::options()
                    .append(true)
                    .create(true)
                    .open(&self.files.records);
                file.as_mut().unwrap().write_all(&text).unwrap();
                self.model.write(&text);
            }
            Operation::Drain(finish) => {
                let reader = self.next_reader();
                let outcome = self.model.drain(reader);
                self.read(via, reader, outcome, finish, &Reading::Drain);
            }
            Operation::DrainSome(bound, finish) => {
                let reader = self.next_reader();
                let limit = self.limit(&bound);
                // Whether a repeat counts among the first records is left open (DRAINV-3).
                let is_open = via == Via::Shell && self.model.has_repeats();
                let via = if is_open { Via::Binary } else { via };
                let outcome = self.model.choose(reader, &Rule::UpTo(&limit));
                self.read(via, reader, outcome, finish, &Reading::Some(limit));
            }
            Operation::Take(wanted, finish) => {
                let reader = self.next_reader();
                let outcome = self.model.choose(reader, &Rule::First(&wanted));
                self.read(via, reader, outcome, finish, &Reading::Take(wanted));
            }
            Operation::Peek(how) => self.peek(via, &how),
            Operation::Has => {
                let has_mail = match via {
                    Via::Library => self.mailbox.has_mail().unwrap(),
                    _ => self.status(via, &["has"]) == 0,
                };
                assert_eq!(has_mail, self.model.has_mail());
            }
            Operation::PlantDead { is_old, dead, text } => self.plant(is_old, Some(dead), text.0),
            Operation::PlantLive(text) => self.plant(true, None, text.0),
            Operation::Return(index, is_ack) => {
                if !self.kept.is_empty() {
                    self.give_back(index.index(self.kept.len()), is_ack);
                }
            }
            Operation::DeadLock(envelope) => {
                // Only a peer with guard knows at once that a holder of the guard is dead.
                self.files.hold("4242.0123456789abcdef.g");
                self.append(Via::Library, &envelope);
            }
        }
    }

    fn limit(&self, bound: &Bound) -> Limit {
        let (records, _) = self.model.peek(&Peek::default());
        let bytes_of = |(first, more): (usize, i64)| {
            let bytes: usize = records.iter().take(first).map(|line| line.len() + 1).sum();
            (bytes as u64).saturating_add_signed(more).max(1)
        };
        Limit {
            messages: bound.messages,
            bytes: bound.bytes.map(bytes_of),
        }
    }

    fn append(&mut self, via: Via, envelope: &Envelope) {
        let Envelope {
            body,
            id,
            from,
            reply_to,
        } = envelope;
        let printed = if let Via::Library = via {
            let mut message = Message::new(body.as_str());
            for (value, set) in [
                (id, Message::id as fn(Message, &'static str) -> Message),
                (from, Message::from),
                (reply_to, Message::reply_to),
            ] {
                if let Some(value) = value {
                    message = set(message, value);
                }
            }
            self.mailbox.append(&message, &Append::default()).unwrap()
        } else {
            let mut args = vec!["append"];
            for (option, value) in [("--id", id), ("--from", from), ("--reply-to", reply_to)] {
                args.extend(value.iter().flat_map(|value| [option, value]));
            }
            args.extend(["--", body]);
            let (status, Text(printed)) = self.output(via, &args, b"");
            assert_eq!(status, 0);
            String::from_utf8(printed).unwrap().trim_end().to_owned()
        };
        // The id and the time are not ours to know: the line is taken as it stands.
        let mut before = Model {
            records: self.model.records.clone(),
            ..Model::default()
        };
        before.append(b"");
        let now = fs::read(&self.files.records).unwrap();
        let line = now.strip_prefix(before.records.unwrap().as_slice());
        let line = line
            .expect("what was there stays")
            .strip_suffix(b"\n")
            .expect("a whole line");
        let record = Record::from_line(line.to_vec()).expect("a record");
        assert_eq!(record.body(), Some(body.as_str()));
        assert_eq!(record.from(), *from);
        assert_eq!(record.reply_to(), *reply_to);
        assert_eq!(record.id(), Some(printed.as_str()));
        assert!(id.is_none_or(|id| id == printed));
        self.model.append(&lines_of(&[line.to_vec()]));
    }

    fn append_many(&mut self, via: Via, lines: &[Text]) {
        let lines: Vec<Vec<u8>> = lines.iter().map(|Text(line)| line.clone()).collect();
        let text = lines.join(&b'\n');
        let expected = model::check_raw(&lines);
        let ids = if let Via::Library = via {
            match self.mailbox.append_many(&text, &Append::default()) {
                Ok(ids) => Some(ids),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
                    None
                }
            }
        } else {
            let (status, Text(stdout)) = self.output(via, &["append", "--raw"], &text);
            let stdout = String::from_utf8(stdout).unwrap();
            assert_eq!(status, if expected.is_some() { 0 } else { 65 });
            expected
                .is_some()
                .then(|| stdout.lines().map(str::to_owned).collect())
        };
        assert_eq!(ids, expected.as_ref().map(|(_, ids)| ids.clone()));
        if let Some((records, _)) = expected.filter(|(records, _)| !records.is_empty()) {
            self.model.append(&lines_of(&records));
        }
    }

    fn peek(&self, via: Via, how: &Peek) {
        let (records, damaged) = self.model.peek(how);
        if let Via::Library = via {
            let peeked = self.mailbox.peek(how).unwrap();
            let shown: Vec<&[u8]> = peeked.records.iter().map(Record::bytes).collect();
            assert_eq!(shown, records);
            assert_eq!(peeked.damaged, damaged);
        } else {
            let max = how.max.map(|max| max.to_string());
            let mut args = vec!["peek", "--format", "jsonl"];
            args.extend(how.since.iter().flat_map(|since| ["--since", since]));
            args.extend(max.iter().flat_map(|max| ["--max", max]));
            assert_eq!(self.output(via, &args, b""), (0, Text(lines_of(&records))));
        }
    }

    /// Carries a drain or a take out, of which the model has said what it hands over.
    fn read(
        &mut self,
        via: Via,
        reader: usize,
        outcome: Outcome,
        finish: Finish,
        reading: &Reading,
    ) {
        if let Via::Library = via {
            self.read_here(reader, outcome, finish, reading);
        } else {
            self.read_by_command(via, reader, outcome, finish, reading);
        }
    }

    fn read_here(&mut self, reader: usize, outcome: Outcome, finish: Finish, reading: &Reading) {
        let found = match reading {
            Reading::Drain => self.mailbox.drain().unwrap(),
            Reading::Take(wanted) => self.mailbox.take(wanted).unwrap(),
            Reading::Some(limit) => match self.mailbox.drain_some(limit).unwrap() {
                Bounded::Mail(claim) => Some(*claim),
                Bounded::Nothing => None,
                Bounded::TooLarge { bytes } => {
                    assert!(
                        matches!(outcome, Outcome::TooLarge(n) if n == bytes),
                        "{outcome:?}"
                    );
                    return;
                }
            },
        };
        let (mut claim, handed) = match (found, outcome) {
            (Some(claim), Outcome::Handed(handed)) => (claim, handed),
            (found, outcome) => {
                assert!(
                    found.is_none() && matches!(outcome, Outcome::Nothing),
                    "{outcome:?}"
                );
                return;
            }
        };
        match finish {
            Finish::Keep => self.kept.push(Kept {
                reader,
                claim,
                handed,
            }),
            Finish::GiveUp(after) => {
                check_messages(&mut claim, &handed, after);
                drop(claim);
                self.model.give_up(reader);
            }
            Finish::Ack | Finish::AckUnread => {
                if let Finish::Ack = finish {
                    check_messages(&mut claim, &handed, usize::MAX);
                }
                self.ack(reader, claim, &handed);
            }
        }
    }

    fn read_by_command(
        &mut self,
        via: Via,
        reader: usize,
        outcome: Outcome,
        finish: Finish,
        reading: &Reading,
    ) {
        let args = reading.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let handed = match outcome {
            Outcome::Handed(handed) => handed,
            Outcome::Nothing | Outcome::TooLarge(_) => {
                let is_drain = matches!(
                    (&outcome, reading),
                    (Outcome::Nothing, Reading::Drain | Reading::Some(_))
                );
                assert_eq!(
                    self.output(via, &args, b""),
                    (i32::from(!is_drain), Text(Vec::new()))
                );
                return;
            }
        };
        if let (Finish::GiveUp(_), false) = (finish, handed.records.is_empty()) {
            let out = with_full_stdout(&mut self.command(via, &args));
            assert_eq!(out.status.code(), Some(74), "{out:?}");
            self.model.give_up(reader);
        } else {
            assert_eq!(
                self.output(via, &args, b""),
                (0, Text(lines_of(&handed.records)))
            );
            self.model.ack(reader, &handed);
        }
    }

    fn ack(&mut self, reader: usize, claim: Claim, handed: &Handed) {
        let delivered = claim.ack().unwrap();
        assert_eq!(delivered.damaged, handed.damaged.len() + handed.set_aside);
        self.model.ack(reader, handed);
    }

    /// A reader that was kept is done.
    fn give_back(&mut self, index: usize, is_ack: bool) {
        let Kept {
            reader,
            mut claim,
            handed,
        } = self.kept.remove(index);
        check_messages(&mut claim, &handed, usize::MAX);
        if is_ack {
            self.ack(reader, claim, &handed);
        } else {
            claim.put_back();
            self.model.give_up(reader);
        }
    }

    /// A claim made by hand: of a dead reader, or of one that lives.
    fn plant(&mut self, is_old: bool, dead: Option<Dead>, text: Vec<u8>) {
        self.count += 1;
        // Before all that the clock gives, or after: births are never alike.
        let birth = if is_old {
            1_000_000_000_000
        } else {
            9_000_000_000_000
        } + self.count * 1_000;
        let (stamp_offset, mark) = match dead {
            None => (15, ""),
            Some(Dead {
                is_guarded: true, ..
            }) => (-1_000, ".g"),
            Some(_) => (-1_000, ""),
        };
        let token = format!("4242.{:016x}{mark}", self.count);
        let path = self.files.put_claim(birth, stamp_offset, &token, "");
        fs::write(&path, &text).unwrap();
        if let Some(Dead {
            is_given_up: true, ..
        }) = dead
        {
            fs::rename(&path, given_up(&path)).unwrap();
        }
        let hands = dead.map_or(Hands::Stranger, |_| Hands::Nobody);
        self.model.plant(Claimed { birth, text, hands });
    }

    /// The live readers of claims made by hand give them up.
    fn adopt_strangers(&mut self) {
        for claim in self
            .model
            .claims
            .iter_mut()
            .filter(|c| c.hands == Hands::Stranger)
        {
            claim.hands = Hands::Nobody;
        }
        for name in self.files.claim_names() {
            let path = self.files.claims.join(name);
            fs::rename(&path, given_up(&path)).unwrap();
        }
    }

    /// Every file is what the model has, and nothing else is there.
    #[track_caller]
    fn check_files(&self) {
        self.files.assert_unlocked();
        assert_eq!(
            escaped(fs::read(&self.files.records).ok()),
            escaped(self.model.records.clone())
        );
        let damaged = fs::read(&self.files.damaged).unwrap_or_default();
        assert_eq!(
            escaped(Some(damaged)),
            escaped(Some(self.model.damaged.clone()))
        );
        let names = self.files.claim_names();
        let claims: Vec<_> = names
            .iter()
            .map(|name| escaped(fs::read(self.files.claims.join(name)).ok()))
            .collect();
        let expected: Vec<_> = self
            .model
            .claims
            .iter()
            .map(|claim| escaped(Some(claim.text.clone())))
            .collect();
        assert_eq!(claims, expected, "{names:?}");
        assert_eq!(self.files.claims.exists(), !expected.is_empty());
    }

    fn next_reader(&mut self) -> usize {
        self.count += 1;
        self.count.try_into().unwrap()
    }

    /// The verb of `args` on the mailbox.
    fn command(&self, via: Via, args: &[&str]) -> Command {
        let mut command = match via {
            Via::Library | Via::Binary => self.fx.process(&[]),
            Via::Shell => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("shell/mbox.sh");
                let mut command = self.fx.program("dash");
                command.arg(script).env("MBOX_PURE", "1");
                command
            }
        };
        command.args([args[0], "./box"]).args(&args[1..]);
        command
    }

    fn output(&self, via: Via, args: &[&str], stdin: &[u8]) -> (i32, Text) {
        let mut command = assert_cmd::Command::from_std(self.command(via, args));
        let out = command
            .timeout(DEADLINE)
            .write_stdin(stdin)
            .output()
            .unwrap();
        (
            out.status.code().expect("it was not killed"),
            Text(out.stdout),
        )
    }

    fn status(&self, via: Via, args: &[&str]) -> i32 {
        self.output(via, args, b"").0
    }
}

/// Which verb reads.
enum Reading {
    Drain,
    Some(Limit),
    Take(Match),
}

impl Reading {
    fn args(&self) -> Vec<String> {
        let (verb, options) = match self {
            Reading::Drain => ("drain", Vec::new()),
            Reading::Some(limit) => (
                "drain",
                vec![
                    ("--max", limit.messages.map(|n| n.to_string())),
                    ("--max-bytes", limit.bytes.map(|n| n.to_string())),
                ],
            ),
            Reading::Take(Match { id, reply_to, from }) => (
                "take",
                vec![
                    ("--id", id.clone()),
                    ("--reply-to", reply_to.clone()),
                    ("--from", from.clone()),
                ],
            ),
        };
        let mut args = vec![verb.to_owned(), "--format=jsonl".to_owned()];
        for (option, value) in options {
            args.extend(value.map(|value| format!("{option}={value}")));
        }
        args
    }
}

/// What a claim hands over, read to its end or only so far.
#[track_caller]
fn check_messages(claim: &mut Claim, handed: &Handed, most: usize) {
    let messages = claim.messages().take(most);
    let messages: Vec<Vec<u8>> = messages
        .map(|record| record.unwrap().bytes().to_vec())
        .collect();
    let most = most.min(handed.records.len());
    assert_eq!(messages, handed.records[..most]);
}

/// The name of a claim without the time of its owner (CLAIM-7).
fn given_up(claim: &Path) -> std::path::PathBuf {
    let name = claim.file_name().unwrap().to_str().unwrap();
    claim.with_file_name(format!("{}0000000000000{}", &name[..14], &name[27..]))
}

fn escaped(bytes: Option<Vec<u8>>) -> Option<String> {
    bytes.map(|bytes| bytes.escape_ascii().to_string())
}
