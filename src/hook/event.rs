//! What the host says: one JSON object on stdin.

use std::collections::HashMap;

use serde_json::value::RawValue;

/// An event, as far as a hook asks (HOOK-2).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) session_id: Option<String>,
    /// Not the main loop's.
    pub(super) is_subagent: bool,
    /// The agent goes on already because a hook wanted it to.
    pub(super) is_going_on: bool,
}

impl Event {
    /// The event in `stdin`; `None` for what is none.
    pub(super) fn parse(stdin: &[u8]) -> Option<Event> {
        let text = String::from_utf8_lossy(stdin);
        // Its own members alone; what is in them is skipped, however deep it goes.
        let members: HashMap<String, &RawValue> = serde_json::from_str(&text).ok()?;
        let member = |key: &str| members.get(key).map(|value| value.get());
        let string = |key: &str| -> Option<String> { serde_json::from_str(member(key)?).ok() };
        Some(Event {
            name: string("hook_event_name")?,
            session_id: string("session_id"),
            is_subagent: member("agent_id").is_some_and(|value| value != "null"),
            is_going_on: member("stop_hook_active") == Some("true"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Event> {
        Event::parse(text.as_bytes())
    }

    #[test]
    fn its_own_members_alone() {
        let text = r#"{
            "tool_input": {"agent_id": "x", "session_id": "../y", "hook_event_name": "Stop"},
            "hook_event_name" : "Pre\u0054oolUse",
            "session_id":"a", "session_id": "s1", "agent_id": null, "new": [1, {"a": 2}]
        }"#;
        let event = parse(text).unwrap();
        assert_eq!(event.name, "PreToolUse");
        assert_eq!(event.session_id.as_deref(), Some("s1"));
        assert!(!event.is_subagent && !event.is_going_on);
    }

    #[test]
    fn subagents_and_going_on() {
        for (value, is_one) in [
            ("\"a\"", true),
            ("7", true),
            ("false", true),
            ("null", false),
        ] {
            let text = format!("{{\"hook_event_name\":\"Stop\",\"agent_id\":{value}}}");
            assert_eq!(parse(&text).unwrap().is_subagent, is_one, "{value}");
        }
        let going_on = |value| {
            let text = format!("{{\"hook_event_name\":\"Stop\",\"stop_hook_active\":{value}}}");
            parse(&text).unwrap().is_going_on
        };
        assert!(going_on("true") && !going_on("false") && !going_on("\"true\""));
    }

    #[test]
    fn what_is_no_event() {
        for text in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            "{\"hook_event_name\":7}",
            "{} {}",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let bad = b"{\"hook_event_name\":\"Stop\",\"tool_input\":\"\xff\"}";
        assert!(Event::parse(bad).is_some());
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(parse(&format!("{{\"hook_event_name\":\"Stop\",\"x\":{deep}}}")).is_some());
    }
}
