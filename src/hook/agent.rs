//! What each host wants to hear, and when (HOOK-5, HOOK-10).

use serde::Serialize;

use super::event::Event;

/// A host that runs hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agent {
    Claude,
    Codex,
    Gemini,
}

/// How mail is handed over at an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// As context for what the agent does next anyway.
    Context,
    /// So that it goes on instead of ending its turn.
    ToGoOn,
}

impl Agent {
    pub(crate) const ALL: [Agent; 3] = [Agent::Claude, Agent::Codex, Agent::Gemini];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Agent::Claude => "claude",
            Agent::Codex => "codex",
            Agent::Gemini => "gemini",
        }
    }

    /// Where its settings are, in a home directory or a project.
    pub(super) fn settings_file(self) -> &'static str {
        match self {
            Agent::Claude => ".claude/settings.json",
            Agent::Codex => ".codex/hooks.json",
            Agent::Gemini => ".gemini/settings.json",
        }
    }

    /// The events at which mail is handed over as context, and the one to go on with.
    fn moments(self) -> (&'static [&'static str], &'static str) {
        match self {
            Agent::Claude | Agent::Codex => (
                &[
                    "SessionStart",
                    "UserPromptSubmit",
                    "PreToolUse",
                    "PostToolUse",
                ],
                "Stop",
            ),
            Agent::Gemini => (&["SessionStart", "BeforeAgent", "AfterTool"], "AfterAgent"),
        }
    }

    /// The events a hook is to run at.
    pub(super) fn events(self) -> Vec<&'static str> {
        let (context, last) = self.moments();
        [context, &[last]].concat()
    }

    /// How mail is handed over at this event, if it is.
    pub(super) fn when(self, event: &Event) -> Option<When> {
        let (context, last) = self.moments();
        match event.name.as_str() {
            name if context.contains(&name) => Some(When::Context),
            name if name == last && !event.is_going_on => Some(When::ToGoOn),
            _ => None,
        }
    }

    /// Whether the agent has work to do after this event (HOOK-6).
    pub(super) fn is_busy_after(self, event: &Event) -> bool {
        matches!(
            event.name.as_str(),
            "PreToolUse"
                | "PostToolUse"
                | "UserPromptSubmit"
                | "BeforeTool"
                | "AfterTool"
                | "BeforeAgent"
        )
    }

    /// The object that hands `text` over, and a newline.
    pub(super) fn output(self, when: When, event: &str, text: &str) -> Vec<u8> {
        let context = Context {
            hook_specific_output: Specific {
                hook_event_name: event,
                additional_context: text,
            },
        };
        let decision = |decision| Decision {
            decision,
            reason: text,
        };
        let object = match (self, when) {
            (_, When::Context) | (Agent::Claude, When::ToGoOn) => serde_json::to_vec(&context),
            (Agent::Codex, When::ToGoOn) => serde_json::to_vec(&decision("block")),
            (Agent::Gemini, When::ToGoOn) => serde_json::to_vec(&decision("deny")),
        };
        let mut line = object.expect("strings always serialize");
        line.push(b'\n');
        line
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    hook_specific_output: Specific<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Specific<'a> {
    hook_event_name: &'a str,
    additional_context: &'a str,
}

#[derive(Serialize)]
struct Decision<'a> {
    decision: &'a str,
    reason: &'a str,
}
