//! Who a name is: the content of a session file.

use serde::{Deserialize, Serialize};

/// A name and the process it stands for (SESSION-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    pub(crate) schema_version: u32,
    /// The name of its mailbox.
    pub name: String,
    /// The process.
    pub pid: i32,
    /// What no other process with this pid has.
    pub process: String,
    /// Its working directory when it was registered.
    pub cwd: String,
    /// Its terminal, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<String>,
    /// What it is, as it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// When it was registered, in unix seconds.
    pub started_at: u64,
}

impl Session {
    pub(crate) fn new(name: &str, pid: i32, process: String, cwd: String, now: u64) -> Session {
        Session {
            schema_version: 1,
            name: name.to_owned(),
            pid,
            process,
            cwd,
            tty: None,
            agent: None,
            started_at: now,
        }
    }

    /// The content of its file.
    pub(crate) fn to_text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("strings and integers always serialize");
        text.push(b'\n');
        text
    }

    /// The session in a file, which is that of `name`; `None` for what is none.
    pub(crate) fn parse(text: &[u8], name: &str) -> Option<Session> {
        let session: Session = serde_json::from_slice(text).ok()?;
        (session.name == name).then_some(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let session = Session::new("alice", 42, "b:7".into(), "/".into(), 12);
        let text = session.to_text();
        assert_eq!(
            String::from_utf8_lossy(&text),
            "{\"schema_version\":1,\"name\":\"alice\",\"pid\":42,\"process\":\"b:7\",\"cwd\":\"/\",\"started_at\":12}\n"
        );
        assert_eq!(Session::parse(&text, "alice"), Some(session));
        assert_eq!(Session::parse(&text, "bob"), None);
        assert_eq!(Session::parse(b"{", "alice"), None);
    }
}
