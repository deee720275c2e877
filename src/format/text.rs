//! The `text` format: a record as a person reads it, safe on a terminal (FMT-3).

use std::fmt::Write;

use super::record::Record;

/// One record for people: a heading, the body indented, an empty line.
#[must_use]
pub(crate) fn render(record: &Record) -> String {
    let mut text = String::new();
    let mut heading: Vec<String> = Vec::new();
    heading.push(escape(record.id().unwrap_or("(no id)")));
    heading.extend(record.enqueued_at().map(utc));
    heading.extend(record.from().map(|from| format!("from {}", escape(from))));
    heading.extend(
        record
            .request_id()
            .map(|id| format!("request {}", escape(id))),
    );
    heading.extend(
        record
            .reply_to()
            .map(|id| format!("reply to {}", escape(id))),
    );
    let _ = writeln!(text, "{}", heading.join("  "));
    match record.body() {
        Some(body) => {
            for line in body.split('\n') {
                let _ = writeln!(text, "    {}", escape(line));
            }
        }
        None => {
            let _ = writeln!(
                text,
                "    {}",
                escape(&String::from_utf8_lossy(record.bytes()))
            );
        }
    }
    text.push('\n');
    text
}

/// `text` with every control character made visible, but for the tab.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let bidi = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (c.is_control() && c != '\t') || bidi {
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Unix seconds as `2026-01-31 12:00:00Z`.
pub(crate) fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from a day count: eras of 400 years that begin on 1 March.
    let z = days + 719_468;
    let (era, day) = (z / 146_097, z % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(utc(1_763_650_000), "2025-11-20 14:46:40Z");
        let _ = utc(u64::MAX / 2);
    }

    #[test]
    fn control_characters_show() {
        assert_eq!(
            escape("a\u{1b}[2J\t\u{7f}\u{9b}\u{202e}é"),
            "a\\u{1b}[2J\t\\u{7f}\\u{9b}\\u{202e}é"
        );
    }

    #[test]
    fn a_message() {
        let line = br#"{"id":"ab","body":"x\ny","enqueued_at":0,"from_session_id":"al\u001b"}"#;
        let record = Record::from_line(line.to_vec()).unwrap();
        assert_eq!(
            render(&record),
            "ab  1970-01-01 00:00:00Z  from al\\u{1b}\n    x\n    y\n\n"
        );
    }
}
