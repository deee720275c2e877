//! shell/mbox.sh with a step left out, or done the other way.

use std::fs;
use std::path::{Path, PathBuf};

/// A piece of the script, which is there exactly once, and what stands in its place.
pub struct Change(pub &'static str, pub &'static str);

/// Writes the script with `changes` into `dir`.
pub fn write(dir: &Path, name: &str, changes: &[&Change]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shell/mbox.sh");
    let mut text = fs::read_to_string(source).unwrap();
    for Change(from, to) in changes {
        let found = text.matches(from).count();
        assert_eq!(
            found, 1,
            "the mutation {name} no longer applies: shell/mbox.sh has {found} times\n{from}"
        );
        text = text.replacen(from, to, 1);
    }
    // It runs itself only under this name.
    let path = dir.join("mbox.sh");
    fs::write(&path, text).unwrap();
    path
}
