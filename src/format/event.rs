//! The lines of the event stream, and the one line a subscriber may send.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::name::is_name;
use super::{EVENTS_VERSION, HEARTBEATS};

/// What happened to a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happened {
    /// The first of its files is there (EVENT-4).
    Created,
    /// Its record file holds what it did not hold before (EVENT-5).
    Appended {
        /// Size of the record file then.
        bytes: u64,
    },
    /// It had mail and has none (EVENT-6).
    Drained,
    /// The last of its files is gone (EVENT-7).
    Removed,
}

/// One event: which mailbox, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The name of the mailbox.
    pub mailbox: String,
    /// What happened.
    pub what: Happened,
}

/// A line on the wire, without its newline. Absent fields are not written.
#[derive(Serialize)]
struct Wire<'a> {
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hub: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mailbox: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mailboxes: Option<&'a BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Wire<'a> {
    fn of(r#type: &'a str) -> Wire<'a> {
        Wire {
            r#type,
            hub: None,
            seq: None,
            version: None,
            mailbox: None,
            bytes: None,
            missed: None,
            mailboxes: None,
            reason: None,
        }
    }

    fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("strings and integers always serialize");
        line.push(b'\n');
        line
    }
}

impl Event {
    /// Its line, with the newline.
    pub(crate) fn line(&self, seq: u64) -> Vec<u8> {
        let (r#type, bytes) = match self.what {
            Happened::Created => ("mailbox.created", None),
            Happened::Appended { bytes } => ("message.appended", Some(bytes)),
            Happened::Drained => ("mailbox.drained", None),
            Happened::Removed => ("mailbox.removed", None),
        };
        let wire = Wire {
            seq: Some(seq),
            mailbox: Some(&self.mailbox),
            bytes,
            ..Wire::of(r#type)
        };
        wire.line()
    }
}

/// The line a stream begins with; `seq` is that of the last event before it (EVENT-3).
pub(crate) fn hello(hub: &str, seq: u64, mailboxes: Option<&BTreeSet<String>>) -> Vec<u8> {
    let wire = Wire {
        hub: Some(hub),
        seq: Some(seq),
        version: Some(EVENTS_VERSION),
        mailboxes,
        ..Wire::of("hello")
    };
    wire.line()
}

/// The line in place of `missed` events, the last of which had `seq` (EVENT-10).
pub(crate) fn lagged(seq: u64, missed: u64) -> Vec<u8> {
    let wire = Wire {
        seq: Some(seq),
        missed: Some(missed),
        ..Wire::of("lagged")
    };
    wire.line()
}

/// The line that only says that the hub is alive (EVENT-11).
pub(crate) fn heartbeat(seq: u64) -> Vec<u8> {
    let wire = Wire {
        seq: Some(seq),
        ..Wire::of("heartbeat")
    };
    wire.line()
}

/// The last line to a subscriber that is not served (HUB-8).
pub(crate) fn refused(reason: &str) -> Vec<u8> {
    let wire = Wire {
        reason: Some(reason),
        ..Wire::of("refused")
    };
    wire.line()
}

/// What a reader has to know of a line it passes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hello {
        hub: String,
    },
    Lagged,
    Heartbeat,
    Refused {
        reason: String,
    },
    /// An event, or a type that was added later.
    Other,
    /// Not a JSON object with a `type`: no hub said this.
    Foreign,
}

impl Kind {
    pub(crate) fn of(line: &[u8]) -> Kind {
        #[derive(Deserialize)]
        struct Line {
            r#type: String,
            hub: Option<String>,
            reason: Option<String>,
        }
        let Ok(line) = serde_json::from_slice::<Line>(line) else {
            return Kind::Foreign;
        };
        match &*line.r#type {
            "hello" => Kind::Hello {
                hub: line.hub.unwrap_or_default(),
            },
            "lagged" => Kind::Lagged,
            "heartbeat" => Kind::Heartbeat,
            "refused" => Kind::Refused {
                reason: line.reason.unwrap_or_default(),
            },
            _ => Kind::Other,
        }
    }
}

/// What a subscriber asks for; by default everything, and no heartbeat (HUB-7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Only events of these mailboxes; `None`: of all.
    pub mailboxes: Option<BTreeSet<String>>,
    /// A heartbeat whenever nothing else was sent for so long.
    pub heartbeat: Option<Duration>,
}

impl Request {
    /// Reads a subscriber's line; the reason when it is not one.
    pub(crate) fn parse(line: &[u8]) -> Result<Request, &'static str> {
        #[derive(Deserialize)]
        struct Line {
            mailboxes: Option<BTreeSet<String>>,
            heartbeat: Option<f64>,
        }
        let is_object = line.trim_ascii_start().starts_with(b"{");
        let parsed = serde_json::from_slice::<Line>(line).ok();
        let Some(line) = parsed.filter(|_| is_object) else {
            return Err("not a JSON object such as {\"mailboxes\":[\"alice\"],\"heartbeat\":30}");
        };
        let mut names = line.mailboxes.iter().flatten();
        if !names.all(|name| is_name(name.as_bytes())) {
            return Err("mailboxes has what is not a mailbox name");
        }
        let heartbeat = line.heartbeat.map(Duration::try_from_secs_f64);
        let Ok(heartbeat) = heartbeat.transpose() else {
            return Err("heartbeat is not a number of seconds");
        };
        if !heartbeat.is_none_or(|every| (HEARTBEATS.0..=HEARTBEATS.1).contains(&every)) {
            return Err("heartbeat is not between 0.1 and 86400 seconds");
        }
        Ok(Request {
            mailboxes: line.mailboxes,
            heartbeat,
        })
    }

    /// The line to send, with its newline; `None` when there is nothing to ask.
    pub(crate) fn line(&self) -> Option<Vec<u8>> {
        #[derive(Serialize)]
        struct Line<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            mailboxes: Option<&'a BTreeSet<String>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            heartbeat: Option<f64>,
        }
        if *self == Request::default() {
            return None;
        }
        let line = Line {
            mailboxes: self.mailboxes.as_ref(),
            heartbeat: self.heartbeat.map(|every| every.as_secs_f64()),
        };
        let mut line = serde_json::to_vec(&line).expect("strings and numbers always serialize");
        line.push(b'\n');
        Some(line)
    }

    /// Whether events of this mailbox are asked for.
    pub(crate) fn wants(&self, mailbox: &str) -> bool {
        let names = self.mailboxes.as_ref();
        names.is_none_or(|names| names.contains(mailbox))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: Vec<u8>) -> String {
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn lines() {
        let event = |what| Event {
            mailbox: "alice".into(),
            what,
        };
        assert_eq!(
            text(event(Happened::Appended { bytes: 7 }).line(12)),
            "{\"type\":\"message.appended\",\"seq\":12,\"mailbox\":\"alice\",\"bytes\":7}\n"
        );
        assert_eq!(
            text(event(Happened::Removed).line(1)),
            "{\"type\":\"mailbox.removed\",\"seq\":1,\"mailbox\":\"alice\"}\n"
        );
        assert_eq!(
            text(hello("00c0ffee00c0ffee", 0, None)),
            "{\"type\":\"hello\",\"hub\":\"00c0ffee00c0ffee\",\"seq\":0,\"version\":1}\n"
        );
        assert_eq!(
            text(lagged(9, 3)),
            "{\"type\":\"lagged\",\"seq\":9,\"missed\":3}\n"
        );
        assert_eq!(text(heartbeat(9)), "{\"type\":\"heartbeat\",\"seq\":9}\n");
    }

    #[test]
    fn kinds() {
        let hub = "h".to_owned();
        assert_eq!(Kind::of(&hello("h", 1, None)), Kind::Hello { hub });
        assert_eq!(Kind::of(&lagged(2, 1)), Kind::Lagged);
        assert_eq!(Kind::of(&heartbeat(2)), Kind::Heartbeat);
        assert_eq!(Kind::of(b"{\"type\":\"later\"}"), Kind::Other);
        for foreign in ["", "[]", "{}", "{\"type\":1}", "x"] {
            assert_eq!(Kind::of(foreign.as_bytes()), Kind::Foreign, "{foreign}");
        }
    }

    #[test]
    fn requests() {
        let request = Request::parse(b"{\"mailboxes\":[\"b\",\"a\"],\"later\":1}").unwrap();
        assert!(request.wants("a") && !request.wants("c"));
        assert_eq!(
            text(request.line().unwrap()),
            "{\"mailboxes\":[\"a\",\"b\"]}\n"
        );
        assert_eq!(Request::parse(b"{}"), Ok(Request::default()));
        assert_eq!(Request::default().line(), None);
        let every = Request::parse(b"{\"heartbeat\":0.5}").unwrap();
        assert_eq!(every.heartbeat, Some(Duration::from_millis(500)));
        for bad in [
            "",
            "x",
            "[]",
            "[null,1]",
            "1",
            "{\"mailboxes\":\"a\"}",
            "{\"mailboxes\":[\"../a\"]}",
            "{\"heartbeat\":-1}",
            "{\"heartbeat\":0}",
            "{\"heartbeat\":1e300}",
            "{\"heartbeat\":\"1\"}",
            "{} {}",
        ] {
            assert!(Request::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
