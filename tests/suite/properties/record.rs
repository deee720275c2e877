//! What holds for any line found in a record file.

use super::format::record::{Line, Record};
use super::format::text;
use super::grammar::{self, Value};

/// Bytes as they could stand in a record file: every line of them.
pub fn check(bytes: &[u8]) {
    for line in bytes.split(|&b| b == b'\n') {
        check_line(line);
    }
}

/// A line is blank, a record or damaged exactly as the specification says, keeps its
/// bytes, and shows the members it has.
pub fn check_line(line: &[u8]) {
    let members = grammar::members(line);
    // What was there before does not show.
    let before = r#"{"id":"x","body":"\n","from_session_id":"a","enqueued_at":1,"reply_to":"b"}"#;
    let mut place = Record::from_line(before.into()).unwrap();
    match Line::classify(line, &mut place) {
        Line::Blank => assert!(grammar::is_blank(line)),
        Line::Damaged(bytes) => {
            assert_eq!(bytes, line);
            assert!(!grammar::is_blank(line));
            assert_eq!(members, None, "a record was taken for a damaged line");
            assert_eq!(Record::from_line(bytes.to_vec()).unwrap_err(), line);
        }
        Line::Record(record) => {
            assert_eq!(record.bytes(), line);
            assert_eq!(record.size(), line.len() as u64 + 1);
            let members = members.expect("a damaged line was taken for a record");
            assert_eq!(Record::from_line(line.to_vec()).as_ref(), Ok(record));
            check_members(record, &members);
            check_text(record);
        }
    }
    check_serde_json(line);
}

fn check_members(record: &Record, members: &[(String, Value)]) {
    // Which of the values of a repeated key is taken is a reader's own affair (RECORD-3).
    let values = |key: &str| -> Vec<&Value> {
        let of_key = members.iter().filter(|(k, _)| k == key);
        of_key.map(|(_, value)| value).collect()
    };
    for (key, found) in [
        ("id", record.id()),
        ("body", record.body()),
        ("from_session_id", record.from()),
        ("reply_to", record.reply_to()),
        ("request_id", record.request_id()),
    ] {
        let values = values(key);
        let is_one = values.iter().any(|value| value.text() == found);
        assert!(is_one || values.is_empty() && found.is_none(), "{key}");
    }
    let values = values("enqueued_at");
    let found = record.enqueued_at();
    let is_one = values.iter().any(|value| value.integer() == found);
    assert!(
        is_one || values.is_empty() && found.is_none(),
        "enqueued_at"
    );
}

/// The text for people has no character that moves a cursor, and a body cannot pass for
/// the heading of another message (FMT-3).
fn check_text(record: &Record) {
    let text = text::render(record);
    let is_bidi = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_bad = |c: char| is_bidi(c) || c.is_control() && c != '\n' && c != '\t';
    assert_eq!(text.find(is_bad), None, "{text:?}");
    let lines: Vec<&str> = text.split('\n').collect();
    let [heading, body @ .., "", ""] = &lines[..] else {
        panic!("{text:?}");
    };
    assert!(!heading.contains('\n'));
    assert!(body.iter().all(|line| line.starts_with("    ")), "{text:?}");
    let newlines = record.body().map_or(0, |body| body.matches('\n').count());
    assert_eq!(body.len(), 1 + newlines);
}

/// What `serde_json` takes for an object is a record, unless it is nested too deep for
/// us. It refuses more than we do: numbers out of range, lone surrogates.
fn check_serde_json(line: &[u8]) {
    use serde_json::Value as Json;
    let Ok(Json::Object(json)) = serde_json::from_slice(line) else {
        return;
    };
    let record = Record::from_line(line.to_vec()).expect("serde_json takes it");
    let members = grammar::members(line).expect("serde_json takes it");
    if members.len() > json.len() {
        return; // a repeated key
    }
    let text = |key: &str| {
        let text = json.get(key).and_then(Json::as_str);
        text.map(|text| text.replace('\0', "\u{fffd}"))
    };
    assert_eq!(record.id(), text("id").as_deref());
    assert_eq!(record.body(), text("body").as_deref());
    assert_eq!(record.from(), text("from_session_id").as_deref());
    assert_eq!(record.reply_to(), text("reply_to").as_deref());
    assert_eq!(record.request_id(), text("request_id").as_deref());
    let enqueued_at = json.get("enqueued_at").and_then(Json::as_u64);
    assert_eq!(record.enqueued_at(), enqueued_at);
}
