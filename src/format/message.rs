//! The message envelope that `append` writes.

use std::fmt;

use serde::Serialize;

use super::{MAX_RECORD, name};

/// A message to append: a body and, if wanted, who it is from and what it answers.
///
/// ```
/// let message = mbox::Message::new("hello").from("alice");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Message {
    body: String,
    id: Option<String>,
    from: Option<String>,
    request_id: Option<String>,
    reply_to: Option<String>,
    source: Option<String>,
}

impl Message {
    /// A message with this body and nothing else; an id is drawn when it is appended.
    pub fn new(body: impl Into<String>) -> Message {
        Message {
            body: body.into(),
            ..Message::default()
        }
    }

    /// The id to use: 16 lower-case hex digits.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Message {
        self.id = Some(id.into());
        self
    }

    /// Whether it has an id already.
    pub(crate) fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// The name of the sender (`from_session_id`).
    #[must_use]
    pub fn from(mut self, name: impl Into<String>) -> Message {
        self.from = Some(name.into());
        self
    }

    /// The id a reply should carry in its `reply_to`.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Message {
        self.request_id = Some(id.into());
        self
    }

    /// The `request_id` this message answers.
    #[must_use]
    pub fn reply_to(mut self, id: impl Into<String>) -> Message {
        self.reply_to = Some(id.into());
        self
    }

    /// The id of the message this one came from (`source_message_id`).
    #[must_use]
    pub fn source(mut self, id: impl Into<String>) -> Message {
        self.source = Some(id.into());
        self
    }

    /// The record of this message, without a newline, and its id.
    ///
    /// # Errors
    /// [`Unfit`] says which part cannot be written.
    pub(crate) fn to_record(
        &self,
        fresh_id: impl FnOnce() -> String,
        now: u64,
        max_body: usize,
    ) -> Result<(String, Vec<u8>), Unfit> {
        if self.body.len() > max_body {
            return Err(Unfit::BodyTooLarge {
                bytes: self.body.len(),
                max: max_body,
            });
        }
        if self.body.contains('\0') {
            return Err(Unfit::BodyHasNul);
        }
        if self
            .id
            .as_deref()
            .is_some_and(|id| !name::is_id(id.as_bytes()))
        {
            return Err(Unfit::Field("id"));
        }
        for (field, value) in [
            ("from", &self.from),
            ("request-id", &self.request_id),
            ("reply-to", &self.reply_to),
            ("source", &self.source),
        ] {
            if value
                .as_deref()
                .is_some_and(|v| !name::is_name(v.as_bytes()))
            {
                return Err(Unfit::Field(field));
            }
        }
        let id = self.id.clone().unwrap_or_else(fresh_id);
        let line = serde_json::to_vec(&Envelope {
            schema_version: 1,
            id: &id,
            body: &self.body,
            enqueued_at: now,
            body_bytes: self.body.len(),
            origin: "peer",
            from_session_id: self.from.as_deref(),
            request_id: self.request_id.as_deref(),
            reply_to: self.reply_to.as_deref(),
            source_message_id: self.source.as_deref(),
        })
        .expect("strings and integers always serialize");
        if line.len() >= MAX_RECORD {
            return Err(Unfit::RecordTooLarge {
                bytes: line.len() + 1,
            });
        }
        Ok((id, line))
    }
}

/// Why a message cannot be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    BodyTooLarge { bytes: usize, max: usize },
    BodyHasNul,
    RecordTooLarge { bytes: usize },
    Field(&'static str),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::BodyTooLarge { bytes, max } => {
                write!(f, "the body is over {max} bytes (at least {bytes})")
            }
            Unfit::BodyHasNul => f.write_str("the body contains a NUL byte"),
            Unfit::RecordTooLarge { bytes } => {
                write!(
                    f,
                    "the record would be {bytes} bytes, more than {MAX_RECORD}"
                )
            }
            Unfit::Field("id") => f.write_str("the id is not 16 lower-case hex digits"),
            Unfit::Field(field) => write!(
                f,
                "the value of {field} is not a name (1 to 128 of A-Z a-z 0-9 . _ @ + -)"
            ),
        }
    }
}

/// The keys in the order of the specification (MSG-1).
#[derive(Serialize)]
struct Envelope<'a> {
    schema_version: u32,
    id: &'a str,
    body: &'a str,
    enqueued_at: u64,
    body_bytes: usize,
    origin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_message_id: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &Message) -> Result<String, Unfit> {
        message
            .to_record(|| "00c0ffee00c0ffee".into(), 12, 8)
            .map(|(_, line)| String::from_utf8(line).unwrap())
    }

    #[test]
    fn envelope() {
        assert_eq!(
            line(&Message::new("a\"\\\n\u{1f}é").from("bob")).unwrap(),
            r#"{"schema_version":1,"id":"00c0ffee00c0ffee","body":"a\"\\\n\u001fé","enqueued_at":12,"body_bytes":7,"origin":"peer","from_session_id":"bob"}"#
        );
    }

    #[test]
    fn limits() {
        assert!(line(&Message::new("12345678")).is_ok());
        assert_eq!(
            line(&Message::new("123456789")),
            Err(Unfit::BodyTooLarge { bytes: 9, max: 8 })
        );
        assert_eq!(line(&Message::new("a\0")), Err(Unfit::BodyHasNul));
        assert_eq!(line(&Message::new("").id("x")), Err(Unfit::Field("id")));
        assert_eq!(
            line(&Message::new("").from("a b")),
            Err(Unfit::Field("from"))
        );
        let long = "\u{1}".repeat(MAX_RECORD / 6);
        let result = Message::new(long).to_record(String::new, 1, MAX_RECORD);
        assert!(matches!(result, Err(Unfit::RecordTooLarge { .. })));
    }
}
