//! The operations, and how they are drawn.

use std::fmt;

use mbox::{Match, Peek};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::model::lines_of;

#[derive(Clone, Debug)]
pub enum Operation {
    Append(Envelope),
    /// `append --raw`
    AppendMany(Vec<Text>),
    /// Text a program that knows of no rule leaves in the record file.
    Write(Text),
    Drain(Finish),
    DrainSome(Bound, Finish),
    Take(Match, Finish),
    Peek(Peek),
    Has,
    /// The claim of a reader that is not there any more.
    PlantDead {
        is_old: bool,
        dead: Dead,
        text: Text,
    },
    /// The claim of one that is.
    PlantLive(Text),
    /// A reader that was not done is done now.
    Return(Index, bool),
    /// A holder of the lock dies, and the next append clears it away.
    DeadLock(Envelope),
}

/// What a dead reader was like.
#[derive(Clone, Copy, Debug)]
pub struct Dead {
    pub is_guarded: bool,
    pub is_given_up: bool,
}

/// Bytes that are shown as text.
#[derive(Clone, PartialEq)]
pub struct Text(pub Vec<u8>);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

#[derive(Clone, Debug)]
pub struct Envelope {
    pub body: String,
    pub id: Option<&'static str>,
    pub from: Option<&'static str>,
    pub reply_to: Option<&'static str>,
}

/// How much a bounded drain may hand over.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    pub messages: Option<u64>,
    /// So many bytes more than the first so many records have.
    pub bytes: Option<(usize, i64)>,
}

/// How a reader ends.
#[derive(Clone, Copy, Debug)]
pub enum Finish {
    Ack,
    /// Acknowledges without having looked.
    AckUnread,
    /// Gives up when it has read so many records.
    GiveUp(usize),
    /// Is not done before others have come.
    Keep,
}

/// Any operation.
pub fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => envelope().prop_map(Operation::Append),
        2 => vec(line().prop_map(Text), 0..5).prop_map(Operation::AppendMany),
        3 => text().prop_map(Operation::Write),
        3 => finish().prop_map(Operation::Drain),
        3 => (bound(), finish()).prop_map(|(bound, finish)| Operation::DrainSome(bound, finish)),
        4 => (wanted(), finish()).prop_map(|(wanted, finish)| Operation::Take(wanted, finish)),
        2 => (option::of(select(IDS)), option::of(1u64..5)).prop_map(|(since, max)| {
            Operation::Peek(Peek { since: since.map(str::to_owned), max })
        }),
        1 => Just(Operation::Has),
        2 => (any::<bool>(), any::<bool>(), any::<bool>(), text()).prop_map(
            |(is_old, is_guarded, is_given_up, text)| {
                let dead = Dead { is_guarded, is_given_up };
                Operation::PlantDead { is_old, dead, text }
            }
        ),
        1 => text().prop_map(Operation::PlantLive),
        2 => (any::<Index>(), any::<bool>()).prop_map(|(at, is_ack)| Operation::Return(at, is_ack)),
        1 => envelope().prop_map(Operation::DeadLock),
    ]
}

fn finish() -> impl Strategy<Value = Finish> {
    prop_oneof![
        4 => Just(Finish::Ack),
        1 => Just(Finish::AckUnread),
        2 => (0usize..4).prop_map(Finish::GiveUp),
        1 => Just(Finish::Keep),
    ]
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let body = select(vec!["", "x", "a \"b\"\\", "two\nlines\n", "é😀\u{1b}"]);
    let id = option::of(select(&IDS[..3]));
    (body, id, names()).prop_map(|(body, id, names)| {
        let (from, reply_to) = names_of(id, names);
        let body = body.to_owned();
        Envelope {
            body,
            id,
            from,
            reply_to,
        }
    })
}

type Names = (Option<&'static str>, Option<&'static str>);

/// Whom a record is from and what it answers.
fn names() -> impl Strategy<Value = Names> {
    (option::of(select(NAMES)), option::of(select(NAMES)))
}

/// Repeats are of one message: its id says both.
fn names_of(id: Option<&str>, names: Names) -> Names {
    match IDS.iter().position(|known| Some(*known) == id) {
        Some(0) => (None, Some("alice")),
        Some(1) => (Some("bob"), None),
        Some(2) => (Some("alice"), Some("bob")),
        _ => names,
    }
}

fn wanted() -> impl Strategy<Value = Match> {
    let text = |values| option::weighted(0.4, select(values).prop_map(str::to_owned));
    (text(IDS), text(NAMES), text(NAMES)).prop_map(|(id, reply_to, from)| Match {
        id,
        reply_to,
        from,
    })
}

fn bound() -> impl Strategy<Value = Bound> {
    let messages = || (1u64..5).prop_map(Some);
    let bytes = || (1usize..4, -1i64..2).prop_map(Some);
    prop_oneof![
        (messages(), Just(None)),
        (Just(None), bytes()),
        (messages(), bytes()),
    ]
    .prop_map(|(messages, bytes)| Bound { messages, bytes })
}

/// Lines of a record file, the last of them often torn.
fn text() -> impl Strategy<Value = Text> {
    (vec(line(), 0..5), any::<bool>(), any::<Index>()).prop_map(|(lines, is_torn, at)| {
        let mut text = lines_of(&lines);
        if is_torn && let Some(last) = lines.last() {
            // Within the last line, or just without its newline.
            text.truncate(text.len() - 1 - at.index(last.len() + 1));
        }
        Text(text)
    })
}

/// A line as anybody may have written it.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![
        6 => select(IDS).prop_map(|id| (Some(id), format!("\"id\":\"{id}\","))),
        1 => Just((None, String::new())),
        1 => Just((None, "\"id\":7,".to_owned())),
    ];
    let record = (id, names(), 0..100).prop_map(|((id, written), names, body)| {
        let member = |key, value: Option<&str>| {
            value.map_or(String::new(), |value| format!("\"{key}\":\"{value}\","))
        };
        let (from, reply_to) = names_of(id, names);
        let (from, reply_to) = (
            member("from_session_id", from),
            member("reply_to", reply_to),
        );
        format!("{{{written}{from}{reply_to}\"body\":\"{body}\"}}").into_bytes()
    });
    let bytes = |lines: Vec<&'static [u8]>| select(lines).prop_map(<[u8]>::to_vec);
    prop_oneof![
        8 => record,
        1 => bytes(vec![b"{}", b" {\"body\" : [1, 2]} \r"]),
        1 => bytes(vec![b"garbage", b"{\"torn", b"[1]", b"{}{}", b"{\"a\":\"\xff\"}"]),
        1 => bytes(vec![b"", b" ", b"\t\r"]),
    ]
}

/// Three that are ids of messages, and one that is not: it says nothing about repeats.
const IDS: &[&str] = &[
    "00c0ffee00c0ffe0",
    "00c0ffee00c0ffe1",
    "00c0ffee00c0ffe2",
    "mine",
];
const NAMES: &[&str] = &["alice", "bob"];
