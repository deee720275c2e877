//! What holds for any message that is to be appended.

use serde_json::json;

use super::format::MAX_RECORD;
use super::format::message::{Message, Unfit};
use super::format::record::Record;
use super::grammar;

/// A message before it is known to be fit.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub body: String,
    pub id: Option<String>,
    pub from: Option<String>,
    pub request_id: Option<String>,
    pub reply_to: Option<String>,
    pub source: Option<String>,
    pub enqueued_at: u64,
    pub max_body: usize,
}

const FRESH_ID: &str = "00c0ffee00c0ffee";

impl Parts {
    /// Body, `max_body`, `enqueued_at` and the other parts, with 0xff between them, which
    /// is no part of UTF-8. One that is missing or empty is not given.
    pub fn of(bytes: &[u8]) -> Parts {
        let mut parts = bytes.split(|&b| b == 0xff).map(String::from_utf8_lossy);
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let body = next().unwrap_or_default().into_owned();
        let max_body = next().and_then(|n| n.parse().ok()).unwrap_or(1 << 16);
        let enqueued_at = next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let mut text = || next().map(|part| part.into_owned());
        Parts {
            body,
            max_body,
            enqueued_at,
            id: text(),
            from: text(),
            request_id: text(),
            reply_to: text(),
            source: text(),
        }
    }

    fn message(&self) -> Message {
        let mut message = Message::new(self.body.as_str());
        for (value, set) in [
            (&self.id, Message::id as fn(Message, String) -> Message),
            (&self.from, Message::from),
            (&self.request_id, Message::request_id),
            (&self.reply_to, Message::reply_to),
            (&self.source, Message::source),
        ] {
            if let Some(value) = value {
                message = set(message, value.clone());
            }
        }
        message
    }

    /// The keys of a message behind the body, in their order, with their values.
    fn names(&self) -> [(&'static str, Option<&str>); 4] {
        [
            ("from_session_id", self.from.as_deref()),
            ("request_id", self.request_id.as_deref()),
            ("reply_to", self.reply_to.as_deref()),
            ("source_message_id", self.source.as_deref()),
        ]
    }
}

/// A message is refused exactly when it has to be, and else is a line as the grammar has
/// it, from which everything comes back.
pub fn check(parts: &Parts) {
    let made = parts
        .message()
        .to_record(|| FRESH_ID.to_owned(), parts.enqueued_at, parts.max_body);
    let (id, line) = match made {
        Ok(made) => made,
        Err(unfit) => return check_refusal(parts, &unfit),
    };
    assert!(parts.body.len() <= parts.max_body);
    assert!(!parts.body.contains('\0'));
    assert_eq!(id, parts.id.as_deref().unwrap_or(FRESH_ID));
    assert!(grammar::is_id(id.as_bytes()));
    assert!(line.len() < MAX_RECORD);
    let line = String::from_utf8(line).expect("a line is UTF-8");
    check_line(parts, &id, &line);

    let record = Record::from_line(line.clone().into_bytes()).expect("a message is a record");
    assert_eq!(record.id(), Some(id.as_str()));
    assert_eq!(record.body(), Some(parts.body.as_str()));
    assert_eq!(record.enqueued_at(), Some(parts.enqueued_at));
    assert_eq!(record.from(), parts.from.as_deref());
    assert_eq!(record.request_id(), parts.request_id.as_deref());
    assert_eq!(record.reply_to(), parts.reply_to.as_deref());
    super::record::check_line(line.as_bytes());

    let mut expected = json!({
        "schema_version": 1,
        "id": id,
        "body": parts.body,
        "enqueued_at": parts.enqueued_at,
        "body_bytes": parts.body.len(),
        "origin": "peer",
    });
    for (key, value) in parts.names() {
        if let Some(value) = value {
            expected[key] = json!(value);
        }
    }
    let found: serde_json::Value = serde_json::from_str(&line).expect("a message is JSON");
    assert_eq!(found, expected);
}

fn check_refusal(parts: &Parts, unfit: &Unfit) {
    assert!(!unfit.to_string().contains(char::is_control));
    let is_bad_name = |name: &Option<String>| {
        let name = name.as_deref().map(str::as_bytes);
        name.is_some_and(|name| !grammar::is_name(name))
    };
    let is_due = match *unfit {
        Unfit::BodyTooLarge { bytes, max } => {
            bytes == parts.body.len() && max == parts.max_body && bytes > max
        }
        Unfit::BodyHasNul => parts.body.contains('\0'),
        // At most six bytes for one of the body, and the other parts are short.
        Unfit::RecordTooLarge { bytes } => {
            bytes > MAX_RECORD && parts.body.len() > (MAX_RECORD - 1024) / 6
        }
        Unfit::Field("id") => {
            let id = parts.id.as_deref().expect("it was given");
            !grammar::is_id(id.as_bytes())
        }
        Unfit::Field("from") => is_bad_name(&parts.from),
        Unfit::Field("request-id") => is_bad_name(&parts.request_id),
        Unfit::Field("reply-to") => is_bad_name(&parts.reply_to),
        Unfit::Field("source") => is_bad_name(&parts.source),
        Unfit::Field(_) => false,
    };
    assert!(is_due, "{unfit:?}");
}

/// The line against the grammar, key by key (MSG-1, MSG-2).
fn check_line(parts: &Parts, id: &str, line: &str) {
    assert_eq!(
        line.find(|c: char| c < ' '),
        None,
        "a raw control character"
    );
    let prefix = format!(r#"{{"schema_version":1,"id":"{id}","body":""#);
    let rest = line.strip_prefix(&prefix).expect("the prefix of MSG-1");
    let (body, rest) = read_body(rest);
    assert_eq!(body, parts.body);
    let mut end = format!(
        r#","enqueued_at":{},"body_bytes":{},"origin":"peer""#,
        parts.enqueued_at,
        parts.body.len()
    );
    for (key, value) in parts.names() {
        if let Some(value) = value {
            assert!(grammar::is_name(value.as_bytes()));
            end += &format!(r#","{key}":"{value}""#);
        }
    }
    assert_eq!(rest, end + "}");
}

/// Reads `*body-char` and the quotation mark behind it: the body, and what follows.
fn read_body(line: &str) -> (String, &str) {
    let (mut body, mut rest) = (String::new(), line);
    loop {
        let at = rest.find(['"', '\\']).expect("the body ends");
        body.push_str(&rest[..at]);
        let (begin, behind) = rest[at..].split_at(1);
        if begin == "\"" {
            return (body, behind);
        }
        let length = if behind.starts_with('u') { 5 } else { 1 };
        let (escape, behind) = behind.split_at(length);
        body.push(match escape {
            "\"" => '"',
            "\\" => '\\',
            "b" => '\u{8}',
            "f" => '\u{c}',
            "n" => '\n',
            "r" => '\r',
            "t" => '\t',
            _ => {
                let code = escape.strip_prefix("u00").expect("an escape");
                let code = u8::from_str_radix(code, 16).expect("an escape");
                assert!(matches!(code, 0x01..=0x1f), "{escape} needs no escape");
                char::from(code)
            }
        });
        rest = behind;
    }
}
