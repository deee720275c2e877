//! The settings of a host, as text: putting the entry of a hook in, and taking it out.
//!
//! Everything else in the file stays as it is, comments and spacing too. An entry is told to
//! be ours by what it runs: a program named `mbox` with the words `hook AGENT`.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstObject, CstRootNode};
use serde_json::Value;

use super::Agent;

/// A file that is not what a host reads; it is not touched.
pub(super) type Malformed = String;

/// The text with an entry for every event of `agent` that runs `program`; `None` when they
/// are all there.
pub(super) fn install(
    text: &str,
    agent: Agent,
    program: &str,
) -> Result<Option<String>, Malformed> {
    let (mark, text) = split_mark(text);
    let root = parse(text)?;
    check(&root, agent)?;
    let not_object = || "it is not an object".to_owned();
    let settings = root.object_value_or_create().ok_or_else(not_object)?;
    let hooks = settings.object_value_or_create("hooks");
    let hooks = hooks.ok_or_else(|| "its \"hooks\" are not an object".to_owned())?;
    let mut is_changed = false;
    for event in agent.events() {
        let groups = hooks.array_value_or_create(event);
        let groups = groups.ok_or_else(|| format!("its hooks for {event} are not an array"))?;
        if !has_entry(&groups, agent) {
            groups.ensure_multiline();
            groups.append(entry(agent, program));
            is_changed = true;
        }
    }
    Ok(is_changed.then(|| format!("{mark}{root}")))
}

/// The text without any entry of ours; `None` when there was none.
pub(super) fn uninstall(text: &str, agent: Agent) -> Result<Option<String>, Malformed> {
    let (mark, text) = split_mark(text);
    let root = parse(text)?;
    let settings = root.object_value();
    let Some(hooks) = settings.and_then(|settings| settings.object_value("hooks")) else {
        return Ok(None);
    };
    let mut is_changed = false;
    for event in hooks.properties() {
        let Some(groups) = event.array_value() else {
            continue;
        };
        let mut is_ours_gone = false;
        for group in groups.elements() {
            let Some(entries) = group
                .as_object()
                .and_then(|group| group.array_value("hooks"))
            else {
                continue;
            };
            let all = entries.elements();
            let ours: Vec<_> = all
                .iter()
                .filter(|entry| {
                    entry
                        .to_serde_value()
                        .is_some_and(|entry| is_ours(&entry, agent))
                })
                .cloned()
                .collect();
            if ours.is_empty() {
                continue;
            }
            is_ours_gone = true;
            if ours.len() == all.len() {
                group.remove();
            } else {
                ours.into_iter()
                    .for_each(jsonc_parser::cst::CstNode::remove);
            }
        }
        is_changed |= is_ours_gone;
        if is_ours_gone && groups.elements().is_empty() {
            event.remove();
        }
    }
    if is_changed && hooks.properties().is_empty() {
        let settings = root.object_value();
        if let Some(property) = settings.and_then(|settings| settings.get("hooks")) {
            property.remove();
        }
    }
    Ok(is_changed.then(|| format!("{mark}{root}")))
}

/// Each event that has an entry of ours, and the program it runs.
pub(super) fn find(text: &str, agent: Agent) -> Result<Vec<(String, String)>, Malformed> {
    let root = parse(split_mark(text).1)?;
    let settings = root.object_value();
    let hooks = settings.and_then(|settings| settings.object_value("hooks"));
    let mut found = Vec::new();
    for event in hooks.iter().flat_map(CstObject::properties) {
        let name = event.decoded_name().unwrap_or_default();
        let program = event
            .array_value()
            .and_then(|groups| our_program(&groups, agent));
        found.extend(program.map(|program| (name, program)));
    }
    Ok(found)
}

/// What the host is to run.
fn entry(agent: Agent, program: &str) -> CstInputValue {
    let object = |members: Vec<(&str, CstInputValue)>| {
        let members = members
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value));
        CstInputValue::Object(members.collect())
    };
    let text = |text: &str| CstInputValue::String(text.to_owned());
    let mut members = vec![("type", text("command"))];
    match agent {
        // Without a shell.
        Agent::Claude => {
            let args = ["hook", agent.name()].map(text);
            members.push(("command", text(program)));
            members.push(("args", CstInputValue::Array(args.into())));
        }
        Agent::Codex | Agent::Gemini => {
            let command = format!("{} hook {}", quoted(program), agent.name());
            members.push(("command", text(&command)));
        }
    }
    object(vec![("hooks", CstInputValue::Array(vec![object(members)]))])
}

/// A word of a shell.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-@:,".contains(&byte);
    match word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// The same word again.
fn unquoted(word: &str) -> String {
    let inner = word
        .strip_prefix('\'')
        .and_then(|word| word.strip_suffix('\''));
    inner.map_or_else(|| word.to_owned(), |inner| inner.replace("'\\''", "'"))
}

fn is_ours(entry: &Value, agent: Agent) -> bool {
    program_of(entry, agent).is_some()
}

/// The program that an entry of ours runs; `None` for any other entry.
fn program_of(entry: &Value, agent: Agent) -> Option<String> {
    let command = entry["command"].as_str()?;
    let program = match entry["args"].as_array() {
        Some(args) => {
            let args: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
            (args == ["hook", agent.name()]).then(|| command.to_owned())?
        }
        None => unquoted(command.strip_suffix(&format!(" hook {}", agent.name()))?),
    };
    let name = program.rsplit('/').next();
    (entry["type"] == "command" && name == Some("mbox")).then_some(program)
}

fn our_program(groups: &CstArray, agent: Agent) -> Option<String> {
    let groups = groups.elements();
    let groups = groups.iter().filter_map(|group| group.to_serde_value());
    let mut programs = groups.filter_map(|group| {
        let entries = group["hooks"].as_array()?;
        entries.iter().find_map(|entry| program_of(entry, agent))
    });
    programs.next()
}

fn has_entry(groups: &CstArray, agent: Agent) -> bool {
    our_program(groups, agent).is_some()
}

/// A byte order mark is not the parser's.
fn split_mark(text: &str) -> (&str, &str) {
    match text.strip_prefix('\u{feff}') {
        Some(rest) => ("\u{feff}", rest),
        None => ("", text),
    }
}

fn parse(text: &str) -> Result<CstRootNode, Malformed> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    CstRootNode::parse(text, &options).map_err(|error| format!("it is not JSON: {error}"))
}

/// Refuses what is there twice, where nobody can say which of them a host reads.
fn check(root: &CstRootNode, agent: Agent) -> Result<(), Malformed> {
    let once = |object: &CstObject, key: &str| {
        let names = object.properties();
        let names = names.iter().filter_map(|property| property.decoded_name());
        match names.filter(|name| name == key).count() {
            0 | 1 => Ok(()),
            _ => Err(format!("it has \"{key}\" twice")),
        }
    };
    let Some(settings) = root.object_value() else {
        return Ok(());
    };
    once(&settings, "hooks")?;
    let Some(hooks) = settings.object_value("hooks") else {
        return Ok(());
    };
    agent
        .events()
        .iter()
        .try_for_each(|event| once(&hooks, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn into_nothing() {
        let text = install("", Agent::Claude, "/usr/bin/mbox")
            .unwrap()
            .unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value["hooks"]["Stop"],
            serde_json::json!([{"hooks": [{"type": "command", "command": "/usr/bin/mbox", "args": ["hook", "claude"]}]}])
        );
        assert_eq!(value["hooks"].as_object().unwrap().len(), 5);
        assert_eq!(install(&text, Agent::Claude, "/other/mbox").unwrap(), None);
        assert_eq!(find(&text, Agent::Claude).unwrap().len(), 5);
        assert!(find(&text, Agent::Codex).unwrap().is_empty());
    }

    #[test]
    fn among_others() {
        let before = "{\n\t// mine\n\t\"hooks\": {\n\t\t\"Stop\": [\n\t\t\t{ \"hooks\": [{ \"type\": \"command\", \"command\": \"say done\" }] }, // loud\n\t\t],\n\t},\n}\n";
        let after = install(before, Agent::Codex, "/a b/mbox").unwrap().unwrap();
        assert!(
            after.contains("// loud")
                && after.contains("say done")
                && after.contains("\n\t// mine\n")
        );
        assert!(after.contains("'/a b/mbox' hook codex"));
        assert_eq!(find(&after, Agent::Codex).unwrap()[0].1, "/a b/mbox");
        let again = uninstall(&after, Agent::Codex).unwrap().unwrap();
        assert!(again.contains("say done") && !again.contains("mbox"));
        assert_eq!(uninstall(&again, Agent::Codex).unwrap(), None);
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "[]",
            "7",
            "{",
            "{\"a\":1}}",
            "{a: 1}",
            "{'a': 1}",
            "{\"a\":1 \"b\":2}",
            "{\"hooks\": []}",
            "{\"hooks\": {\"Stop\": {}}}",
            "{\"hooks\": {}, \"hooks\": {}}",
            "{\"hooks\": {\"Stop\": [], \"Stop\": []}}",
        ] {
            assert!(install(text, Agent::Claude, "/mbox").is_err(), "{text}");
        }
    }
}
