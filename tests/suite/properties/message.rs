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

    /// Bytes of its line, the newline included, whether it is fit or not.
    pub fn record_bytes(&self) -> usize {
        let escaped = |c| match c {
            '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
            '\0'..='\u{1f}' => 6,
            _ => c.len_utf8(),
        };
        let body: usize = self.body.chars().map(escaped).sum();
        let id = self.id.as_deref().unwrap_or(FRESH_ID);
        self.begin(id).len() + body + self.end().len() + 1
    }

    /// What stands before the body (MSG-1).
    fn begin(&self, id: &str) -> String {
        format!(r#"{{"schema_version":1,"id":"{id}","body":""#)
    }

    /// What stands behind the body.
    fn end(&self) -> String {
        let mut end = format!(
            r#"","enqueued_at":{},"body_bytes":{},"origin":"peer""#,
            self.enqueued_at,
            self.body.len()
        );
        for (key, value) in self.names() {
            if let Some(value) = value {
                end += &format!(r#","{key}":"{value}""#);
            }
        }
        end + "}"
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
        Unfit::RecordTooLarge { bytes } => bytes == parts.record_bytes() && bytes > MAX_RECORD,
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
    let rest = line.strip_prefix(&parts.begin(id));
    let (body, rest) = read_body(rest.expect("the prefix of MSG-1"));
    assert_eq!(body, parts.body);
    assert_eq!(rest, parts.end());
    for value in parts.names().into_iter().filter_map(|(_, value)| value) {
        assert!(grammar::is_name(value.as_bytes()));
    }
}

/// Reads `*body-char`: the body, and what follows.
fn read_body(line: &str) -> (String, &str) {
    let (mut body, mut rest) = (String::new(), line);
    loop {
        let at = rest.find(['"', '\\']).expect("the body ends");
        body.push_str(&rest[..at]);
        let Some(behind) = rest[at..].strip_prefix('\\') else {
            return (body, &rest[at..]);
        };
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
