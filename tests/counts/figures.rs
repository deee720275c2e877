//! The committed figures: a name and a number in each line.

use std::fs;
use std::sync::Mutex;

use crate::file;

/// Tests run beside each other.
static WRITING: Mutex<()> = Mutex::new(());

fn read() -> String {
    fs::read_to_string(file("figures.txt")).unwrap()
}

/// What is behind `name`, which is separated from it by two spaces or more.
pub fn text(name: &str) -> Option<String> {
    let text = read();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.find_map(|line| {
        let (found, value) = line.split_once("  ")?;
        (found == name).then(|| value.trim().to_owned())
    })
}

pub fn number(name: &str) -> Option<u64> {
    text(name)?.parse().ok()
}

pub fn write(name: &str, value: &str) {
    let _guard = WRITING.lock().unwrap();
    let mut text = read();
    let line = format!("{name:<28}  {value}");
    let old = text
        .lines()
        .find(|line| !line.starts_with('#') && line.split("  ").next() == Some(name))
        .map(str::to_owned);
    match old {
        Some(old) => text = text.replacen(&old, &line, 1),
        None => text = text + &line + "\n",
    }
    fs::write(file("figures.txt"), text).unwrap();
}
