//! The committed table of system calls: which, in which order, and why.

use std::fmt::Write;

/// Where nobody has said why yet.
const UNSAID: &str = "?";

#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub call: String,
    pub why: String,
}

/// What one verb calls.
pub struct Section {
    pub title: String,
    pub lines: Vec<Line>,
}

/// The head of a table, which is for people, and its sections.
pub fn parse(text: &str) -> (String, Vec<Section>) {
    let mut head = String::new();
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("== ") {
            sections.push(Section {
                title: title.to_owned(),
                lines: Vec::new(),
            });
        } else if let Some(section) = sections.last_mut() {
            let Some((call, why)) = line.split_once(" | ") else {
                assert_eq!(line, "", "no call and no title");
                continue;
            };
            section.lines.push(Line {
                call: call.trim().to_owned(),
                why: why.trim().to_owned(),
            });
        } else {
            head.push_str(line);
            head.push('\n');
        }
    }
    (head, sections)
}

pub fn print(head: &str, sections: &[Section]) -> String {
    let mut text = head.to_owned();
    for (index, section) in sections.iter().enumerate() {
        let between = if index == 0 { "" } else { "\n" };
        writeln!(text, "{between}== {}", section.title).unwrap();
        let wide = section.lines.iter().map(|line| line.call.len()).max();
        for Line { call, why } in &section.lines {
            writeln!(text, "{call:wide$} | {why}", wide = wide.unwrap_or(0)).unwrap();
        }
    }
    text
}

/// `calls` with the reasons of `old`: that of the line it was in the same verb; for a new
/// one that of the same call of any verb, even if it is about another mailbox.
pub fn explain(title: &str, calls: &[String], old: &[Section]) -> Section {
    let here = old.iter().find(|section| section.title == title);
    let here: &[Line] = here.map_or(&[], |section| &section.lines);
    let then: Vec<&str> = here.iter().map(|line| line.call.as_str()).collect();
    let now: Vec<&str> = calls.iter().map(String::as_str).collect();
    let mut said: Vec<Option<&str>> = vec![None; calls.len()];
    for (i, j) in alike(&then, &now) {
        said[j] = Some(&here[i].why);
    }
    let elsewhere = |call: &str| {
        let own = old.iter().filter(|section| section.title == title);
        let lines = own.chain(old).flat_map(|section| &section.lines);
        let lines: Vec<&Line> = lines.filter(|line| line.why != UNSAID).collect();
        let same = lines.iter().find(|line| line.call == call);
        let alike = || lines.iter().find(|line| of_any(&line.call) == of_any(call));
        same.or_else(alike).map(|line| line.why.as_str())
    };
    let lines = calls.iter().zip(said).map(|(call, why)| Line {
        call: call.clone(),
        why: why.or_else(|| elsewhere(call)).unwrap_or(UNSAID).to_owned(),
    });
    Section {
        title: title.to_owned(),
        lines: lines.collect(),
    }
}

/// A call on the ledger or the mailbox of one, as one on the mailbox of another.
fn of_any(call: &str) -> String {
    call.replace("received/", "").replace("you", "me")
}

/// The lines of a section that do not say why.
pub fn unsaid(section: &Section) -> impl Iterator<Item = &Line> {
    let is_unsaid = |line: &&Line| line.why.is_empty() || line.why == UNSAID;
    section.lines.iter().filter(is_unsaid)
}

/// What `now` has more (`+`) and less (`-`) than `then`, in order; empty when they are alike.
pub fn difference(then: &[String], now: &[String]) -> String {
    let then: Vec<&str> = then.iter().map(String::as_str).collect();
    let now: Vec<&str> = now.iter().map(String::as_str).collect();
    let end = (then.len(), now.len());
    let (mut i, mut j, mut text) = (0, 0, String::new());
    for (same, other) in alike(&then, &now).into_iter().chain([end]) {
        for gone in &then[i..same] {
            writeln!(text, "  - {gone}").unwrap();
        }
        for new in &now[j..other] {
            writeln!(text, "  + {new}").unwrap();
        }
        (i, j) = (same + 1, other + 1);
    }
    text
}

/// The longest common part of both, by index.
fn alike(then: &[&str], now: &[&str]) -> Vec<(usize, usize)> {
    // length[i][j]: of that of then[i..] and now[j..].
    let mut length = vec![vec![0_usize; now.len() + 1]; then.len() + 1];
    for i in (0..then.len()).rev() {
        for j in (0..now.len()).rev() {
            length[i][j] = if then[i] == now[j] {
                length[i + 1][j + 1] + 1
            } else {
                length[i + 1][j].max(length[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < then.len() && j < now.len() {
        if then[i] == now[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if length[i + 1][j] >= length[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[test]
fn one_more_or_less_is_told() {
    let of = |calls: &str| calls.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(difference(&of("a b c"), &of("a b c")), "");
    assert_eq!(difference(&of("a b c"), &of("a b b c")), "  + b\n");
    assert_eq!(difference(&of("a b c"), &of("a c")), "  - b\n");
    assert_eq!(difference(&of("a b"), &of("b a")), "  - a\n  + a\n");
}

#[test]
fn reasons_are_kept() {
    let table = "For people.\n== x\na | first\na | second\nb | ?\n\n== y\nread you | other\n";
    let (head, sections) = parse(table);
    assert_eq!(print(&head, &sections), table);
    let calls = ["a", "d", "a", "read me", "a"].map(str::to_owned);
    let why: Vec<String> = explain("x", &calls, &sections)
        .lines
        .into_iter()
        .map(|line| line.why)
        .collect();
    assert_eq!(why, ["first", "?", "second", "other", "first"]);
    assert_eq!(unsaid(&sections[0]).count(), 1);
}
