//! Lines and records: what is a record, what is damaged, and the members mbox reads.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::MAX_DEPTH;

/// What stands between two newlines.
#[derive(Debug)]
pub(crate) enum Line {
    /// Nothing but space, tab and carriage return.
    Blank,
    Record(Record),
    /// Not a record: set aside, never delivered (DMG-1).
    Damaged(Vec<u8>),
}

impl Line {
    /// Classifies one line, given without its newline.
    pub(crate) fn classify(line: Vec<u8>) -> Line {
        if line.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r')) {
            return Line::Blank;
        }
        match Record::from_line(line) {
            Ok(record) => Line::Record(record),
            Err(line) => Line::Damaged(line),
        }
    }
}

/// One record: a JSON object on one line, its bytes untouched (RECORD-2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    line: Vec<u8>,
    id: Option<String>,
    from: Option<String>,
    reply_to: Option<String>,
    request_id: Option<String>,
    body: Option<String>,
    enqueued_at: Option<u64>,
}

impl Record {
    /// Checks one line, given without its newline; hands it back when it is not a record.
    ///
    /// # Errors
    /// The line itself, when it is not one JSON object in valid UTF-8, nested at
    /// most 128 deep.
    pub fn from_line(line: Vec<u8>) -> Result<Record, Vec<u8>> {
        let Some(members) = Members::of(&line) else {
            return Err(line);
        };
        let Members {
            id,
            from,
            reply_to,
            request_id,
            body,
            enqueued_at,
        } = members;
        Ok(Record {
            id,
            from,
            reply_to,
            request_id,
            body,
            enqueued_at,
            line,
        })
    }

    /// The record as it stands in the file, without the newline.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.line
    }

    /// The `id`, when there is one and it is a string.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The `body`, unescaped, when there is one and it is a string; U+0000 and lone
    /// surrogates come out as U+FFFD (FMT-2).
    #[must_use]
    pub fn body(&self) -> Option<&str> {
        self.body.as_deref()
    }

    /// The `from_session_id`, when there is one and it is a string.
    #[must_use]
    pub fn from(&self) -> Option<&str> {
        self.from.as_deref()
    }

    /// The `reply_to`, when there is one and it is a string.
    #[must_use]
    pub fn reply_to(&self) -> Option<&str> {
        self.reply_to.as_deref()
    }

    /// The `request_id`, when there is one and it is a string.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The `enqueued_at` in unix seconds, when there is one and it is an integer.
    #[must_use]
    pub fn enqueued_at(&self) -> Option<u64> {
        self.enqueued_at
    }

    /// Bytes this record takes in a file, its newline included.
    pub(crate) fn size(&self) -> u64 {
        self.line.len() as u64 + 1
    }
}

#[derive(Default)]
struct Members {
    id: Option<String>,
    from: Option<String>,
    reply_to: Option<String>,
    request_id: Option<String>,
    body: Option<String>,
    enqueued_at: Option<u64>,
}

impl Members {
    /// The members of a record, or `None` when the line is none.
    fn of(line: &[u8]) -> Option<Members> {
        let text = std::str::from_utf8(line).ok()?;
        if !text.trim_ascii_start().starts_with('{') || !is_shallow(line) {
            return None;
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let members = json.deserialize_map(MemberVisitor).ok()?;
        json.end().ok().map(|()| members)
    }
}

struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Members::default();
        // As it is written, because a lone surrogate in a key is valid JSON too.
        while let Some(key) = map.next_key::<&RawValue>()? {
            let key = unescape(key.get()).unwrap_or_default();
            let member = match key.as_ref() {
                "id" => &mut members.id,
                "from_session_id" => &mut members.from,
                "reply_to" => &mut members.reply_to,
                "request_id" => &mut members.request_id,
                "body" => &mut members.body,
                "enqueued_at" => {
                    members.enqueued_at = map.next_value::<&RawValue>()?.get().parse().ok();
                    continue;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *member = unescape(map.next_value::<&RawValue>()?.get()).map(Cow::into_owned);
        }
        Ok(members)
    }
}

/// Whether brackets outside strings nest at most [`MAX_DEPTH`] deep.
fn is_shallow(line: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for &byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// The text of a JSON string that is known to be valid; `None` for any other value.
///
/// `serde_json` refuses lone surrogates, which RFC 8259 allows; they become U+FFFD here.
fn unescape(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = rest.as_bytes()[at + 1];
        rest = &rest[at + 2..];
        match escape {
            b'n' => text.push('\n'),
            b't' => text.push('\t'),
            b'r' => text.push('\r'),
            b'b' => text.push('\u{8}'),
            b'f' => text.push('\u{c}'),
            b'u' => {
                let high = hex4(rest);
                rest = &rest[4..];
                let low = rest.strip_prefix("\\u").map(hex4);
                let code = match (high, low) {
                    (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) => {
                        rest = &rest[6..];
                        0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                    }
                    _ => high,
                };
                let decoded = char::from_u32(code).filter(|&c| c != '\0');
                text.push(decoded.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => text.push(char::from(other)), // `"`, `\`, `/`
        }
    }
    text.push_str(rest);
    Some(Cow::Owned(text))
}

/// The first four bytes of a valid `\u` escape.
fn hex4(text: &str) -> u32 {
    u32::from_str_radix(&text[..4], 16).expect("serde_json checked the escape")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: &str) -> Option<Record> {
        Record::from_line(line.as_bytes().to_vec()).ok()
    }

    #[test]
    fn records() {
        for line in [
            "{}",
            " {\"a\":[1,-0.5e+3,true,null]}\r",
            r#"{"id":"x","id":"y"}"#,
            r#"{"body":"\ud800"}"#,
            r#"{"\ud800":1}"#,
        ] {
            assert!(record(line).is_some(), "{line}");
        }
    }

    #[test]
    fn not_records() {
        for line in [
            "x",
            "[]",
            "\"a\"",
            "1",
            "{",
            "{}{}",
            "{} x",
            "{\"a\":01}",
            "{\"a\":NaN}",
            "{'a':1}",
            "{\"a\":1,}",
            "{\"a\":\"\t\"}",
            "{\"a\":\"\\x\"}",
            "\u{feff}{}",
        ] {
            assert!(record(line).is_none(), "{line}");
        }
        assert!(Record::from_line(b"{\"a\":\"\xff\"}".to_vec()).is_err());
        assert!(Record::from_line(b"{\"a\":\"\0\"}".to_vec()).is_err());
    }

    #[test]
    fn depth() {
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n - 1), "]".repeat(n - 1));
        assert!(record(&nested(MAX_DEPTH)).is_some());
        assert!(record(&nested(MAX_DEPTH + 1)).is_none());
        let text = format!("{{\"a\":\"{}\\\"[\"}}", "[".repeat(500));
        assert!(record(&text).is_some());
        assert!(record(&"[".repeat(1 << 20)).is_none());
    }

    #[test]
    fn members_are_unescaped() {
        let r = record(
            r#"{"id":"a","body":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud800x\u0000","from_session_id":1,"enqueued_at":12}"#,
        )
        .unwrap();
        assert_eq!(r.id(), Some("a"));
        assert_eq!(r.body(), Some("\"\\/\u{8}\u{c}\n\r\té😀\u{fffd}x\u{fffd}"));
        assert_eq!(r.from(), None);
        assert_eq!(r.enqueued_at(), Some(12));
    }

    #[test]
    fn keys_are_unescaped() {
        let r = record(r#"{"\ud800":1,"\u0069d":"a","body":"b"}"#).unwrap();
        assert_eq!(r.id(), Some("a"));
        assert_eq!(r.body(), Some("b"));
    }
}
