//! A mailbox in memory: what its files hold after each step, and what each step hands
//! over, by the specification and nothing else.

use std::collections::HashSet;

use mbox::{Limit, Match, Peek, Record, is_id};

/// Whose a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hands {
    /// Its reader is dead, or gave it up.
    Nobody,
    /// A reader of this test that is not done with it.
    Reader(usize),
    /// A live reader the test knows nothing else about.
    Stranger,
}

#[derive(Clone, Debug)]
pub struct Claimed {
    /// Stands in for the one in the name: right in its order, not in its value.
    pub birth: u64,
    pub text: Vec<u8>,
    pub hands: Hands,
}

/// What a reader was given.
#[derive(Debug, Default)]
pub struct Handed {
    pub records: Vec<Vec<u8>>,
    /// Lines it sets aside when it acknowledges.
    pub damaged: Vec<Vec<u8>>,
    /// How many were set aside before it was given anything.
    pub set_aside: usize,
}

#[derive(Debug)]
pub enum Outcome {
    Nothing,
    TooLarge(u64),
    Handed(Handed),
}

/// Which records are chosen.
pub enum Rule<'a> {
    First(&'a Match),
    UpTo(&'a Limit),
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub records: Option<Vec<u8>>,
    /// In order of birth.
    pub claims: Vec<Claimed>,
    pub damaged: Vec<u8>,
    /// What the last step may have left as well.
    pub instead: Option<Instead>,
}

/// What the specification leaves open, and another implementation does otherwise.
#[derive(Clone, Debug)]
pub enum Instead {
    /// It saw without the lock that nothing is to be chosen.
    Untouched(Box<Model>),
    /// It put repeats back too (TAKE-5).
    Records(Vec<u8>),
}

/// A time between the births that are planted.
const NOW: u64 = 2_000_000_000_000;

impl Model {
    /// What is there when text of whole lines has been appended (APP-3).
    pub fn append(&mut self, lines: &[u8]) {
        let records = self.records.get_or_insert_default();
        heal(records);
        records.extend_from_slice(lines);
    }

    /// What somebody wrote who knows of no rule.
    pub fn write(&mut self, bytes: &[u8]) {
        self.records
            .get_or_insert_default()
            .extend_from_slice(bytes);
    }

    pub fn plant(&mut self, claim: Claimed) {
        self.claims.push(claim);
        self.claims.sort_by_key(|claim| claim.birth);
    }

    /// HAS-1
    pub fn has_mail(&self) -> bool {
        self.records.as_ref().is_some_and(|text| !text.is_empty()) || !self.claims.is_empty()
    }

    /// PEEK-2, PEEK-3, PEEKV-2; and how many damaged lines there are.
    pub fn peek(&self, how: &Peek) -> (Vec<Vec<u8>>, usize) {
        let mut sorted = Sorted::default();
        for claim in &self.claims {
            sorted.read(&claim.text);
        }
        let records = self.records.as_deref().unwrap_or_default();
        let end = records
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        let (whole, last) = records.split_at(end);
        sorted.read(whole);
        if Record::from_line(last.to_vec()).is_ok() {
            sorted.read(last);
        }
        let mut shown = sorted.records;
        if let Some(since) = &how.since {
            let is_it = |record: &Record| record.id() == Some(since);
            let after = shown.iter().rposition(is_it).map_or(0, |at| at + 1);
            shown.drain(..after);
        }
        let most = how.max.map_or(usize::MAX, |max| max.try_into().unwrap());
        let shown = shown.iter().take(most).map(|r| r.bytes().to_vec());
        (shown.collect(), sorted.damaged.len())
    }

    /// Whether there is a record that DRAIN-7 drops.
    pub fn has_repeats(&self) -> bool {
        let mut sorted = Sorted::default();
        let texts = self.claims.iter().map(|claim| &claim.text);
        texts
            .chain(&self.records)
            .for_each(|text| sorted.read(text));
        sorted.all.len() > sorted.records.len()
    }

    /// Drain, up to Deliver.
    pub fn drain(&mut self, reader: usize) -> Outcome {
        if !self.has_mail() || self.gather(reader) == 0 {
            return Outcome::Nothing;
        }
        let sorted = self.sort(reader);
        Outcome::Handed(Handed {
            records: bytes_of(&sorted.records),
            damaged: sorted.damaged,
            set_aside: 0,
        })
    }

    /// Take and the bounded drain, up to Deliver.
    pub fn choose(&mut self, reader: usize, rule: &Rule<'_>) -> Outcome {
        if !self.has_mail() {
            return Outcome::Nothing;
        }
        if let Rule::First(wanted) = rule {
            let (shown, _) = self.peek(&Peek::default());
            let mut shown = shown
                .into_iter()
                .map(|line| Record::from_line(line).unwrap());
            if !shown.any(|record| fits(wanted, &record)) {
                return Outcome::Nothing;
            }
        }
        let before = self.clone();
        if self.gather(reader) == 0 {
            return Outcome::Nothing;
        }
        let sorted = self.sort(reader);
        let chosen = choose(&sorted.records, rule);
        if matches!(rule, Rule::UpTo(_)) && !chosen.contains(&false) {
            // As a drain (TAKE-9).
            if sorted.records.is_empty() && sorted.damaged.is_empty() {
                self.instead = Some(Instead::Untouched(Box::new(before)));
            }
            return Outcome::Handed(Handed {
                records: bytes_of(&sorted.records),
                damaged: sorted.damaged,
                set_aside: 0,
            });
        }
        let (ours, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.claims)
            .into_iter()
            .partition(|claim| claim.hands == Hands::Reader(reader));
        self.claims = others;
        let birth = ours[0].birth;
        if !chosen.contains(&true) {
            // Everything as it was (TAKE-1).
            let mut all = Vec::new();
            for claim in &ours {
                heal(&mut all);
                all.extend_from_slice(&claim.text);
            }
            self.put_back(all);
            self.instead = Some(Instead::Untouched(Box::new(before)));
            return match rule {
                Rule::UpTo(_) => Outcome::TooLarge(size(&sorted.records[0])),
                Rule::First(_) => Outcome::Nothing,
            };
        }
        self.set_aside(&sorted.damaged);
        let of = |is_chosen: bool| -> Vec<Vec<u8>> {
            let with_choice = sorted.records.iter().zip(&chosen);
            with_choice
                .filter(|(_, chosen)| **chosen == is_chosen)
                .map(|(record, _)| record.bytes().to_vec())
                .collect()
        };
        self.put_back(lines_of(&of(false)));
        let mut kept = sorted.all;
        for record in of(true) {
            let first = kept.iter().position(|line| *line == record);
            kept.remove(first.expect("it was chosen among them"));
        }
        self.instead = Some(Instead::Records(lines_of(&kept)));
        let records = of(true);
        self.plant(Claimed {
            birth,
            text: lines_of(&records),
            hands: Hands::Reader(reader),
        });
        let set_aside = sorted.damaged.len();
        Outcome::Handed(Handed {
            records,
            damaged: Vec::new(),
            set_aside,
        })
    }

    /// Acknowledge.
    pub fn ack(&mut self, reader: usize, handed: &Handed) {
        self.set_aside(&handed.damaged);
        self.claims
            .retain(|claim| claim.hands != Hands::Reader(reader));
    }

    /// Give up (CLAIM-7).
    pub fn give_up(&mut self, reader: usize) {
        for claim in &mut self.claims {
            if claim.hands == Hands::Reader(reader) {
                claim.hands = Hands::Nobody;
            }
        }
    }

    /// Adopt and Claim; how many claims the reader has then.
    fn gather(&mut self, reader: usize) -> usize {
        for claim in &mut self.claims {
            if claim.hands == Hands::Nobody {
                claim.hands = Hands::Reader(reader);
            }
        }
        if let Some(text) = self.records.take() {
            let newest = self.claims.last().map_or(0, |claim| claim.birth);
            self.plant(Claimed {
                birth: NOW.max(newest + 1),
                text,
                hands: Hands::Reader(reader),
            });
        }
        let of_reader = |claim: &&Claimed| claim.hands == Hands::Reader(reader);
        self.claims.iter().filter(of_reader).count()
    }

    fn sort(&self, reader: usize) -> Sorted {
        let mut sorted = Sorted::default();
        for claim in &self.claims {
            if claim.hands == Hands::Reader(reader) {
                sorted.read(&claim.text);
            }
        }
        sorted
    }

    fn put_back(&mut self, text: Vec<u8>) {
        assert_eq!(self.records, None);
        self.records = (!text.is_empty()).then_some(text);
    }

    /// DMG-2
    fn set_aside(&mut self, lines: &[Vec<u8>]) {
        self.damaged.extend(lines_of(lines));
    }
}

/// Lines by what they are, without repeats (DRAIN-7).
#[derive(Default)]
struct Sorted {
    records: Vec<Record>,
    damaged: Vec<Vec<u8>>,
    ids: HashSet<String>,
    /// The records with their repeats.
    all: Vec<Vec<u8>>,
}

impl Sorted {
    fn read(&mut self, text: &[u8]) {
        for line in text.split(|&b| b == b'\n') {
            if is_blank(line) {
                continue;
            }
            match Record::from_line(line.to_vec()) {
                Err(line) => self.damaged.push(line),
                Ok(record) => {
                    self.all.push(record.bytes().to_vec());
                    let id = record.id().filter(|id| is_id(id.as_bytes()));
                    if id.is_none_or(|id| self.ids.insert(id.to_owned())) {
                        self.records.push(record);
                    }
                }
            }
        }
    }
}

/// The records among lines for `append --raw` and the ids it prints; `None` when one of
/// the lines is refused, and all with it (APPEND-3).
pub fn check_raw(lines: &[Vec<u8>]) -> Option<(Vec<Vec<u8>>, Vec<String>)> {
    let (mut records, mut ids) = (Vec::new(), Vec::new());
    for line in lines.iter().filter(|line| !is_blank(line)) {
        let record = Record::from_line(line.clone()).ok()?;
        ids.extend(record.id().map(str::to_owned));
        records.push(line.clone());
    }
    Some((records, ids))
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|b| b" \t\r".contains(b))
}

fn choose(records: &[Record], rule: &Rule<'_>) -> Vec<bool> {
    let most = match rule {
        Rule::First(wanted) => {
            let first = records.iter().position(|record| fits(wanted, record));
            return (0..records.len()).map(|at| Some(at) == first).collect();
        }
        Rule::UpTo(limit) => (1..=records.len())
            .take_while(|&n| {
                let bytes: u64 = records[..n].iter().map(size).sum();
                limit.messages.is_none_or(|max| n as u64 <= max)
                    && limit.bytes.is_none_or(|max| bytes <= max)
            })
            .count(),
    };
    (0..records.len()).map(|at| at < most).collect()
}

/// TAKEV-1
fn fits(wanted: &Match, record: &Record) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| {
        wanted.is_none() || wanted.as_deref() == found
    };
    is(&wanted.id, record.id())
        && is(&wanted.reply_to, record.reply_to())
        && is(&wanted.from, record.from())
}

fn size(record: &Record) -> u64 {
    record.bytes().len() as u64 + 1
}

fn heal(text: &mut Vec<u8>) {
    if text.last().is_some_and(|&last| last != b'\n') {
        text.push(b'\n');
    }
}

fn bytes_of(records: &[Record]) -> Vec<Vec<u8>> {
    records
        .iter()
        .map(|record| record.bytes().to_vec())
        .collect()
}

pub fn lines_of(lines: &[Vec<u8>]) -> Vec<u8> {
    lines
        .iter()
        .flat_map(|line| [line, &b"\n"[..]].concat())
        .collect()
}
