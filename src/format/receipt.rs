//! Lines about the entries of a ledger: receipts, and what was pruned.

use serde::{Deserialize, Serialize};

/// What was handed over, when and by what (RECEIPT-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// Unix seconds.
    pub(crate) at: u64,
    /// A verb.
    pub(crate) by: String,
    pub(crate) ids: Vec<String>,
}

/// How many entries were pruned, and when (LEDGER-7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pruned {
    /// Unix seconds.
    pub(crate) at: u64,
    pub(crate) pruned: u64,
}

/// The text that is appended for `line`. It begins with a newline of its own, because what
/// stands before it may be torn, and nobody looks.
pub(crate) fn appended(line: &impl Serialize) -> Vec<u8> {
    let mut text = vec![b'\n'];
    serde_json::to_writer(&mut text, line).expect("strings and integers always serialize");
    text.push(b'\n');
    text
}

/// The lines of `text` that are such; others are skipped.
pub(crate) fn parse_all<T: for<'de> Deserialize<'de>>(text: &[u8]) -> impl Iterator<Item = T> {
    let lines = text.split(|&byte| byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_costs_itself_alone() {
        let receipt = Receipt {
            at: 12,
            by: "drain".into(),
            ids: vec!["00c0ffee00c0ffee".into()],
        };
        let mut text = br#"{"at":11,"by":"dra"#.to_vec();
        text.extend(appended(&receipt));
        assert!(text.ends_with(b"\n{\"at\":12,\"by\":\"drain\",\"ids\":[\"00c0ffee00c0ffee\"]}\n"));
        assert_eq!(parse_all::<Receipt>(&text).collect::<Vec<_>>(), [receipt]);
    }
}
