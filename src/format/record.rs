//! Lines and records: what is a record, what is damaged, and the members mbox reads.

use super::json::{self, Scalar, Value};

/// What stands between two newlines.
#[derive(Debug)]
pub(crate) enum Line<'a> {
    /// Nothing but space, tab and carriage return.
    Blank,
    Record(&'a Record),
    /// Not a record: set aside, never delivered (DMG-1).
    Damaged(&'a [u8]),
}

impl<'a> Line<'a> {
    /// Classifies one line, given without its newline. `record` is where a record is put,
    /// in place of what was there: so very many cost no more memory than the longest.
    pub(crate) fn classify(line: &'a [u8], record: &'a mut Record) -> Line<'a> {
        if is_blank(line) {
            return Line::Blank;
        }
        match record.read(line) {
            Some(()) => Line::Record(record),
            None => Line::Damaged(line),
        }
    }
}

/// Whether there is nothing in a line but space, tab and carriage return.
pub(crate) fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r'))
}

/// One record: a JSON object on one line, its bytes untouched (RECORD-2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The line, and after it the texts of those members that are written with escapes.
    text: String,
    line: usize,
    members: Members,
}

/// Where in the text of a record its members stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Members {
    id: Option<Span>,
    from: Option<Span>,
    reply_to: Option<Span>,
    request_id: Option<Span>,
    body: Option<Span>,
    /// A number.
    enqueued_at: Option<Span>,
}

/// From where, to where.
type Span = (usize, usize);

impl Record {
    /// A place to read records into; there is none in it yet.
    pub(crate) fn place() -> Record {
        Record {
            text: String::new(),
            line: 0,
            members: Members::default(),
        }
    }

    /// Checks one line, given without its newline; hands it back when it is not a record.
    ///
    /// # Errors
    /// The line itself, when it is not one JSON object in valid UTF-8, nested at
    /// most 128 deep.
    pub fn from_line(line: Vec<u8>) -> Result<Record, Vec<u8>> {
        let mut record = Record::place();
        record.read(&line).map(|()| record).ok_or(line)
    }

    /// Becomes the record `line` is; anything when it is none.
    fn read(&mut self, line: &[u8]) -> Option<()> {
        let line = std::str::from_utf8(line).ok()?;
        self.text.clear();
        self.text.push_str(line);
        self.line = line.len();
        self.members = Members::default();
        json::object(line, |key, value| self.note(line, key, value))
    }

    /// Of a repeated key the last one counts.
    #[inline(always)]
    fn note(&mut self, line: &str, key: Scalar, value: Value) {
        let unescaped;
        let key = if key.has_escapes {
            unescaped = unescape(&line[key.begin..key.end]);
            unescaped.as_bytes()
        } else {
            &line.as_bytes()[key.begin..key.end]
        };
        let members = &mut self.members;
        let member = match key {
            b"id" => &mut members.id,
            b"from_session_id" => &mut members.from,
            b"reply_to" => &mut members.reply_to,
            b"request_id" => &mut members.request_id,
            b"body" => &mut members.body,
            b"enqueued_at" => {
                members.enqueued_at = match value {
                    Value::Other(value) => Some((value.begin, value.end)),
                    Value::Text(_) | Value::Nested => None,
                };
                return;
            }
            _ => return,
        };
        *member = match value {
            Value::Text(value) if value.has_escapes => {
                let begin = self.text.len();
                unescape_onto(&line[value.begin..value.end], &mut self.text);
                Some((begin, self.text.len()))
            }
            Value::Text(value) => Some((value.begin, value.end)),
            Value::Other(_) | Value::Nested => None,
        };
    }

    fn member(&self, span: Option<Span>) -> Option<&str> {
        span.map(|(begin, end)| &self.text[begin..end])
    }

    /// The record as it stands in the file, without the newline.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }

    /// The same.
    pub(crate) fn as_str(&self) -> &str {
        &self.text[..self.line]
    }

    /// The `id`, when there is one and it is a string.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.member(self.members.id)
    }

    /// The `body`, unescaped, when there is one and it is a string; U+0000 and lone
    /// surrogates come out as U+FFFD (FMT-2).
    #[must_use]
    pub fn body(&self) -> Option<&str> {
        self.member(self.members.body)
    }

    /// The `from_session_id`, when there is one and it is a string.
    #[must_use]
    pub fn from(&self) -> Option<&str> {
        self.member(self.members.from)
    }

    /// The `reply_to`, when there is one and it is a string.
    #[must_use]
    pub fn reply_to(&self) -> Option<&str> {
        self.member(self.members.reply_to)
    }

    /// The `request_id`, when there is one and it is a string.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.member(self.members.request_id)
    }

    /// The `enqueued_at` in unix seconds, when there is one and it is an integer.
    #[must_use]
    pub fn enqueued_at(&self) -> Option<u64> {
        self.member(self.members.enqueued_at)?.parse().ok()
    }

    /// Bytes this record takes in a file, its newline included.
    pub(crate) fn size(&self) -> u64 {
        self.line as u64 + 1
    }
}

fn unescape(written: &str) -> String {
    let mut text = String::new();
    unescape_onto(written, &mut text);
    text
}

/// Appends the text of a JSON string that is known to be valid, given without its quotes.
/// Lone surrogates, which RFC 8259 allows, become U+FFFD.
fn unescape_onto(mut rest: &str, text: &mut String) {
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
}

/// The first four bytes of a valid `\u` escape.
fn hex4(text: &str) -> u32 {
    u32::from_str_radix(&text[..4], 16).expect("the grammar was checked")
}

#[cfg(test)]
mod tests {
    use super::super::MAX_DEPTH;
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
    fn of_repeated_keys_the_last_one_counts() {
        let r =
            record(r#"{"id":"a","id":"b","body":"x","body":7,"enqueued_at":1,"enqueued_at":"2"}"#);
        let r = r.unwrap();
        assert_eq!(r.id(), Some("b"));
        assert_eq!((r.body(), r.enqueued_at()), (None, None));
    }

    #[test]
    fn members_of_what_is_nested_are_not_its_own() {
        let r = record(r#"{"a":{"id":"x"},"b":[{"id":"y"}],"c":"\"id\":\"z\""}"#).unwrap();
        assert_eq!(r.id(), None);
    }

    #[test]
    fn one_place_holds_one_record_after_another() {
        let mut place = Record::place();
        for line in [
            r#"{"id":"a","body":"x\ny","enqueued_at":1,"reply_to":"r"}"#,
            "{}",
            r#"{"request_id":"\u0061","from_session_id":"b"}"#,
            "{\"id\":\"a\",\"body",
            r#"{"body":"é"}"#,
        ] {
            let read = match Line::classify(line.as_bytes(), &mut place) {
                Line::Record(record) => Some(record.clone()),
                _ => None,
            };
            assert_eq!(read, record(line), "{line}");
        }
    }

    #[test]
    fn keys_are_unescaped() {
        let r = record(r#"{"\ud800":1,"\u0069d":"a","body":"b"}"#).unwrap();
        assert_eq!(r.id(), Some("a"));
        assert_eq!(r.body(), Some("b"));
    }
}
