//! Case files: data only. This module reads and unfolds them; check.rs runs them.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::content::Vars;
use crate::disk;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    #[allow(dead_code, reason = "for people")]
    about: String,
    /// Its cases are for senders only.
    #[serde(default)]
    sender: bool,
    /// Its cases are for drivers with a hook only.
    #[serde(default)]
    hook: bool,
    #[serde(default, rename = "let")]
    lets: Map<String, Value>,
    cases: Vec<Map<String, Value>>,
}

#[derive(Clone, Copy, Default, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    #[default]
    Must,
    Should,
    May,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Needs {
    Root,
    /// Permissions that count.
    User,
}

/// One fault, set up, run and checked.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    /// The requirements it tests.
    pub tests: Vec<String>,
    #[serde(default)]
    pub class: Class,
    #[serde(default, rename = "about")]
    _about: Option<String>,
    /// For peers with guard only (true), or without only (false).
    pub guard: Option<bool>,
    /// For drivers that send and reply only: what the file says.
    #[serde(skip)]
    pub sender: bool,
    /// For drivers with the verb `hook` only: what the file says.
    #[serde(skip)]
    pub hook: bool,
    pub needs: Option<Needs>,
    #[serde(default, rename = "let")]
    pub lets: Map<String, Value>,
    /// A filesystem of its own.
    pub disk: Option<disk::Spec>,
    #[serde(default)]
    pub files: Map<String, Value>,
    pub steps: Vec<Map<String, Value>>,
    #[serde(default, rename = "final")]
    pub end: Map<String, Value>,
    /// Not even an mtime may have changed.
    #[serde(default)]
    pub untouched: bool,
}

/// Reads every case file, in order of name, and unfolds the parameters.
pub fn load(dir: &Path) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    for e in walkdir::WalkDir::new(dir).sort_by_file_name() {
        let e = e.map_err(|e| e.to_string())?;
        if e.path().extension().is_none_or(|x| x != "json") {
            continue;
        }
        let at = |why: String| format!("{}: {why}", e.path().display());
        let text = std::fs::read_to_string(e.path()).map_err(|e| at(e.to_string()))?;
        let file: CaseFile = serde_json::from_str(&text).map_err(|e| at(e.to_string()))?;
        for case in file.cases {
            for mut unfolded in unfold(case, &file.lets).map_err(at)? {
                (unfolded.sender, unfolded.hook) = (file.sender, file.hook);
                if cases.iter().any(|c| c.name == unfolded.name) {
                    return Err(at(format!("two cases named {}", unfolded.name)));
                }
                cases.push(unfolded);
            }
        }
    }
    if cases.is_empty() {
        return Err(format!("{}: no cases", dir.display()));
    }
    Ok(cases)
}

/// One case for each combination of the values of `for`.
fn unfold(mut case: Map<String, Value>, lets: &Map<String, Value>) -> Result<Vec<Case>, String> {
    let mut all = lets.clone();
    if let Some(Value::Object(own)) = case.remove("let") {
        all.extend(own);
    }
    case.insert("let".to_string(), Value::Object(all.clone()));
    let name = case
        .get("name")
        .and_then(Value::as_str)
        .ok_or("a case without a name")?
        .to_string();
    let parameters = match case.remove("for") {
        Some(Value::Object(p)) => p,
        None => Map::new(),
        Some(other) => return Err(format!("{name}: for: {other}")),
    };
    let mut unfolded = vec![(case, Vec::<String>::new())];
    for (var, values) in &parameters {
        let mut next = Vec::new();
        for (label, value) in values_of(values, &all).map_err(|e| format!("{name}: {e}"))? {
            for (case, labels) in &unfolded {
                let mut case = Value::Object(case.clone());
                // "a,b" takes its values two at a time.
                let names: Vec<&str> = var.split(',').collect();
                for (i, name) in names.iter().enumerate() {
                    let value = if names.len() == 1 { &value } else { &value[i] };
                    case = replace(&case, name, value);
                    case["let"][*name] = value.clone();
                }
                let Value::Object(case) = case else {
                    unreachable!("an object stays one")
                };
                next.push((
                    case,
                    [labels.as_slice(), std::slice::from_ref(&label)].concat(),
                ));
            }
        }
        unfolded = next;
    }
    unfolded
        .into_iter()
        .map(|(mut case, labels)| {
            if !labels.is_empty() {
                case["name"] = format!("{name}[{}]", labels.join(",")).into();
            }
            serde_json::from_value(Value::Object(case)).map_err(|e| format!("{name}: {e}"))
        })
        .collect()
}

/// `{"label": value, ...}`, `["value is its own label", ...]`,
/// `{"offsets": content}`: every length from 0 to all of it, or
/// `{"range": [from, to]}`.
fn values_of(v: &Value, lets: &Map<String, Value>) -> Result<Vec<(String, Value)>, String> {
    let count = |from: i64, to: i64| (from..=to).map(|n| (n.to_string(), n.into())).collect();
    if let Some(list) = v.as_array() {
        return Ok(list
            .iter()
            .map(|v| (v.as_str().map_or(v.to_string(), str::to_string), v.clone()))
            .collect());
    }
    let o = v.as_object().ok_or(format!("not values: {v}"))?;
    if let Some(c) = o.get("offsets") {
        let mut vars = Vars::default();
        set_lets(&mut vars, lets);
        return Ok(count(0, vars.bytes(c)?.len() as i64));
    }
    if let Some(r) = o.get("range") {
        let end = |i: usize| r[i].as_i64().ok_or(format!("not a range: {r}"));
        return Ok(count(end(0)?, end(1)?));
    }
    Ok(o.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
}

/// `{"var": "x"}` becomes the value of x wherever it stands; `{"spread": "x"}`
/// in a list becomes the elements of the list x.
fn replace(v: &Value, var: &str, value: &Value) -> Value {
    let is = |v: &Value, op: &str| v.get(op).and_then(Value::as_str) == Some(var);
    match v {
        _ if is(v, "var") => value.clone(),
        Value::Object(o) => Value::Object(
            o.iter()
                .map(|(k, v)| (k.clone(), replace(v, var, value)))
                .collect(),
        ),
        Value::Array(list) => {
            let mut out = Vec::new();
            for e in list {
                match value.as_array() {
                    Some(values) if is(e, "spread") => out.extend(values.iter().cloned()),
                    _ => out.push(replace(e, var, value)),
                }
            }
            Value::Array(out)
        }
        _ => v.clone(),
    }
}

/// Evaluates the lets that can be; they may use each other in any order.
pub fn set_lets(vars: &mut Vars, lets: &Map<String, Value>) {
    let mut open: Vec<_> = lets.iter().collect();
    loop {
        let before = open.len();
        open.retain(|(name, value)| match vars.bytes(value) {
            Ok(b) => {
                vars.set(name, b);
                false
            }
            Err(_) => true,
        });
        // What is left is no content (a list of arguments, say), or is unknown
        // and will be an error where it is used.
        if open.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unfolding() {
        let case = json!({"name": "x", "tests": ["A-1"],
            "for": {"n": {"offsets": "ab"}, "o": {"short": ["--id", "1"], "long": ["--id=1"]}},
            "steps": [{"run": ["take", {"spread": "o"}, "{n}"]}]});
        let Value::Object(case) = case else { panic!() };
        let cases = unfold(case, &Map::new()).unwrap();
        assert_eq!(cases.len(), 6);
        let c = cases.iter().find(|c| c.name == "x[2,short]").unwrap();
        assert_eq!(c.steps[0]["run"], json!(["take", "--id", "1", "{n}"]));
        assert_eq!(c.lets["n"], json!(2));
    }
}
