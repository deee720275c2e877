//! Every requirement of spec/ is tested here, or README.md says why not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What the pages of the specification say.
#[derive(Default)]
pub struct Spec {
    /// Each ID and the page it is on.
    pub ids: BTreeMap<String, String>,
    pub faults: Vec<String>,
}

impl Spec {
    pub fn read(dir: &Path) -> Result<Spec, String> {
        let mut spec = Spec::default();
        for e in walkdir::WalkDir::new(dir).max_depth(1).sort_by_file_name() {
            let e = e.map_err(|e| e.to_string())?;
            let page = e.file_name().to_string_lossy().into_owned();
            if !page.ends_with(".md") {
                continue;
            }
            let text = std::fs::read_to_string(e.path()).map_err(|e| format!("{page}: {e}"))?;
            // Only pages that say so are normative; the others may quote.
            if text.contains("This page is normative") || text.contains("requirement has an ID") {
                spec.page(&page, &text);
            }
        }
        if spec.ids.is_empty() {
            return Err(format!("{}: no requirements found", dir.display()));
        }
        Ok(spec)
    }

    fn page(&mut self, page: &str, text: &str) {
        let mut code = false;
        for (n, line) in text.lines().enumerate() {
            if line.starts_with("```") {
                code = !code;
            }
            if code {
                continue;
            }
            let id = bold_id(line);
            if let Some(id) = id {
                if let Some(other) = self.ids.insert(id.to_string(), page.to_string()) {
                    self.faults
                        .push(format!("{page}:{}: {id} is on {other} already", n + 1));
                }
            } else if line.contains("MUST") && !line.contains("RFC 2119") {
                self.faults
                    .push(format!("{page}:{}: a MUST without an ID: {line}", n + 1));
            }
        }
    }
}

/// The ID of an item that begins `- **ID` (a name may follow before `**`).
fn bold_id(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("- **")?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-')?;
    is_id(&rest[..end]).then(|| &rest[..end])
}

fn is_id(s: &str) -> bool {
    let Some((area, n)) = s.rsplit_once('-') else {
        return false;
    };
    !area.is_empty()
        && area.bytes().all(|c| c.is_ascii_uppercase())
        && !n.is_empty()
        && n.bytes().all(|c| c.is_ascii_digit())
}

/// The IDs of the table under "Not tested from outside", with their reasons.
pub fn untested(readme: &str) -> BTreeMap<String, String> {
    readme
        .lines()
        .skip_while(|l| !l.starts_with("## Not tested from outside"))
        .skip(1)
        .take_while(|l| !l.starts_with("## "))
        .filter_map(|l| {
            let mut cells = l.trim_matches(['|', ' ']).splitn(2, '|');
            let (ids, why) = (cells.next()?.trim(), cells.next()?.trim());
            Some(
                ids.split(", ")
                    .map(|id| (id.to_string(), why.to_string()))
                    .collect::<Vec<_>>(),
            )
        })
        .flatten()
        .filter(|(id, _)| is_id(id))
        .collect()
}

/// Everything wrong with who cites what. `cited`: an ID and who cites it.
pub fn check(
    spec: &Spec,
    cited: &[(String, String)],
    untested: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut faults = spec.faults.clone();
    for (id, who) in cited {
        if !spec.ids.contains_key(id) {
            faults.push(format!(
                "{who} cites {id}, which is not in the specification"
            ));
        }
    }
    let cited: BTreeSet<&String> = cited.iter().map(|(id, _)| id).collect();
    for (id, page) in &spec.ids {
        match (cited.contains(id), untested.get(id)) {
            (false, None) => faults.push(format!("{id} ({page}) is tested by nothing")),
            (true, Some(_)) => faults.push(format!("{id} is tested, and in the untested table")),
            (false, Some(why)) if why.is_empty() => {
                faults.push(format!("{id} is untested without a reason"));
            }
            _ => {}
        }
    }
    for id in untested.keys().filter(|id| !spec.ids.contains_key(*id)) {
        faults.push(format!(
            "README.md lists {id}, which is not in the specification"
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items() {
        let mut s = Spec::default();
        s.page(
            "p",
            "- **A-1** x MUST\n- **A-2 Name.** y\n- **A-1** z\nit MUST\n```\nMUST\n```\n",
        );
        assert_eq!(s.ids.len(), 2);
        assert_eq!(s.faults.len(), 2, "{:?}", s.faults);
        let table =
            "## Not tested from outside\n| ID | why |\n|---|---|\n| A-1, B-2 | no clock |\n## x\n";
        assert_eq!(untested(table).len(), 2);
        let cited = [
            ("A-2".to_string(), "c".to_string()),
            ("Z-1".to_string(), "c".to_string()),
        ];
        assert_eq!(check(&s, &cited, &untested(table)).len(), 4);
    }
}
