//! The documents do not lie: every fenced block in them is run or checked.
//!
//! - `sh`: run by `bash -e`, in order, in one directory that looks like a clone, with
//!   `mbox` on PATH; its status must be 0.
//! - `console`: `$ ` lines are run likewise, each must succeed, and the lines between
//!   them are exactly what it prints, stderr included.
//! - `json`: valid. In `README.md` and `spec/` a record on each line, accepted by
//!   `append --raw`; one with a `schema_version` is a message, its keys in order.
//! - `rust`: a doctest, where `src/lib.rs` includes the document.
//! - `text` and `abnf` are not run. Any other word fails, so that none is forgotten.
//!
//! `cargo` is not called from here. A stub takes its place, which accepts only what
//! this workspace can do, and puts the binary under test where a build would; of the
//! conformance kit it checks that it has the options that are given.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{Fixture, MBOX, has_program, skip};

struct Block {
    file: PathBuf,
    line: usize,
    kind: String,
    text: String,
}

impl Block {
    fn at(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file of the repository.
fn documents() -> Vec<PathBuf> {
    let is_ours = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_str().unwrap_or_default();
        entry.depth() == 0 || !(name.starts_with('.') || name == "target")
    };
    walkdir::WalkDir::new(repository())
        .sort_by_file_name()
        .into_iter()
        .filter_entry(is_ours)
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect()
}

fn blocks(document: &Path) -> Vec<Block> {
    let text = fs::read_to_string(document).unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, is_open) {
            (Some(kind), false) => {
                is_open = true;
                blocks.push(Block {
                    file: document.strip_prefix(repository()).unwrap().to_owned(),
                    line: number + 1,
                    kind: kind.trim().to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), true) => is_open = false,
            (None, true) => {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!is_open, "{}: a fence is not closed", document.display());
    blocks
}

fn blocks_of(kind: &str) -> Vec<Block> {
    let all = documents()
        .into_iter()
        .flat_map(|document| blocks(&document));
    all.filter(|block| block.kind == kind).collect()
}

#[test]
fn every_fence_is_of_a_known_kind() {
    for block in documents().iter().flat_map(|document| blocks(document)) {
        let known = ["sh", "console", "json", "rust", "text", "abnf"];
        let is_known = known.contains(&&*block.kind);
        assert!(is_known, "{}: what is ```{}?", block.at(), block.kind);
    }
}

const CARGO: &str = r#"#!/bin/sh
case $* in
'build --release') mkdir -p target/release && ln -sf 'MBOX' target/release/mbox ;;
'test --workspace') ;;
'test --test '* | 'test --release --test '*)
    shift
    [ "$1" != --release ] || shift
    grep -qxF "name = \"$2\"" Cargo.toml && exit
    echo "there is no test $2" >&2
    exit 101 ;;
'bench --bench '*)
    grep -A1 -xF '[[bench]]' Cargo.toml | grep -qxF "name = \"$3\"" && exit
    echo "there is no bench $3" >&2
    exit 101 ;;
'run -p mbox-conformance -- '*)
    shift 4
    for word; do
        case $word in --*) ;; *) continue ;; esac
        name=${word#--} name=${name%%=*}
        field=$(printf '%s' "$name" | tr - _)
        grep -qE "long = \"$name\"|pub $field:" conformance/src/args.rs && continue
        echo "the kit has no $word" >&2
        exit 101
    done ;;
*)
    echo "a document calls: cargo $*" >&2
    exit 101 ;;
esac
"#;

/// A directory that looks like a fresh clone, and a `cargo` that does not build.
fn clone_of(fx: &Fixture) -> PathBuf {
    let clone = fx.dir().join("clone");
    fs::create_dir(&clone).unwrap();
    for entry in fs::read_dir(repository()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name != "target" && name != ".git" {
            symlink(entry.path(), clone.join(name)).unwrap();
        }
    }
    let bin = fx.dir().join("bin");
    fs::create_dir(&bin).unwrap();
    let cargo = bin.join("cargo");
    let stub = CARGO.replace("MBOX", MBOX);
    fs::write(&cargo, stub).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    clone
}

fn bash(fx: &Fixture, clone: &Path, script: &str) -> Output {
    let mut bash = fx.program("bash");
    let path = std::env::join_paths(
        std::iter::once(fx.dir().join("bin")).chain(
            bash.get_envs()
                .find_map(|(key, value)| (key == "PATH").then(|| value.unwrap().to_owned()))
                .iter()
                .flat_map(std::env::split_paths),
        ),
    )
    .unwrap();
    bash.args(["-e", "-c", script])
        .env("PATH", path)
        .current_dir(clone)
        .output()
        .unwrap()
}

/// Whether the block can run now; the shell mirror may not be there in a partial copy.
fn can_run(block: &Block) -> bool {
    if !has_program("bash") {
        skip("bash is not installed");
        return false;
    }
    for file in ["shell/mbox.sh"] {
        if block.text.contains(file) && !repository().join(file).exists() {
            skip(&format!("{} needs {file}", block.at()));
            return false;
        }
    }
    true
}

/// Blocks of one document share a directory and a root: they are one session.
#[test]
fn sh_and_console_blocks() {
    let mut count = 0;
    for document in documents() {
        let fx = Fixture::new();
        let clone = clone_of(&fx);
        for block in blocks(&document) {
            if !matches!(&*block.kind, "sh" | "console") || !can_run(&block) {
                continue;
            }
            count += 1;
            if block.kind == "sh" {
                let out = bash(&fx, &clone, &block.text);
                assert!(out.status.success(), "{}: {out:?}", block.at());
            } else {
                console(&fx, &clone, &block);
            }
        }
    }
    assert!(count >= 4, "only {count} blocks: where is the README?");
}

/// Runs each command in one shell, with its output set off from the next one's.
fn console(fx: &Fixture, clone: &Path, block: &Block) {
    let (mut commands, mut wanted) = (Vec::new(), Vec::<String>::new());
    for line in block.text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => {
                commands.push(command);
                wanted.push(String::new());
            }
            None => {
                let output = wanted.last_mut();
                let output = output.unwrap_or_else(|| panic!("{}: no command", block.at()));
                output.push_str(line);
                output.push('\n');
            }
        }
    }
    assert!(!commands.is_empty(), "{}: no command", block.at());
    let script: String = std::iter::once("exec 2>&1\n".to_owned())
        .chain(
            commands
                .iter()
                .map(|command| format!("{command}\nprintf '\\001'\n")),
        )
        .collect();
    let out = bash(fx, clone, &script);
    let text = String::from_utf8(out.stdout).unwrap();
    let printed: Vec<&str> = text.split('\u{1}').collect();
    for (index, command) in commands.iter().enumerate() {
        let printed = printed
            .get(index)
            .copied()
            .unwrap_or("(it was not reached)");
        assert_eq!(printed, wanted[index], "{}: $ {command}", block.at());
    }
    assert!(
        out.status.success(),
        "{}: a command failed: {text}",
        block.at()
    );
}

#[test]
fn json_blocks() {
    let blocks = blocks_of("json");
    assert!(!blocks.is_empty());
    for block in blocks {
        let fx = Fixture::new();
        let at = block.at();
        if !(block.file.starts_with("spec") || block.file == Path::new("README.md")) {
            let value = serde_json::from_str::<serde_json::Value>(&block.text);
            assert!(value.is_ok(), "{at}: {value:?}");
            continue;
        }
        let mut append = fx.mbox(&["append", "a", "--raw"]);
        let out = append.write_stdin(block.text.clone()).output().unwrap();
        assert!(out.status.success(), "{at}: {out:?}");
        let mut drain = fx.mbox(&["drain", "a"]);
        drain.assert().success().stdout(block.text.clone());
        for line in block.text.lines() {
            is_message_or_other_record(line, &at);
        }
    }
}

/// MSG-1, for a record that says it is a message.
fn is_message_or_other_record(line: &str, at: &str) {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    let object = value.as_object().unwrap();
    if !object.contains_key("schema_version") {
        return;
    }
    let keys = [
        "schema_version",
        "id",
        "body",
        "enqueued_at",
        "body_bytes",
        "origin",
        "from_session_id",
        "request_id",
        "reply_to",
        "source_message_id",
    ];
    // Written again in the order of the table, it is the same line.
    let members: Vec<String> = keys
        .iter()
        .filter_map(|key| Some(format!("\"{key}\":{}", object.get(*key)?)))
        .collect();
    assert_eq!(line, format!("{{{}}}", members.join(",")), "{at}");
    assert_eq!(value["schema_version"], 1, "{at}");
    assert!(
        mbox::is_id(value["id"].as_str().unwrap().as_bytes()),
        "{at}"
    );
    let body = value["body"].as_str().unwrap();
    assert_eq!(value["body_bytes"], body.len(), "{at}");
    assert_eq!(value["origin"], "peer", "{at}");
}

/// A `rust` block is run as a doctest: the document has to be included for that.
#[test]
fn rust_blocks_are_doctests() {
    let lib = fs::read_to_string(repository().join("src/lib.rs")).unwrap();
    for block in blocks_of("rust") {
        let include = format!("include_str!(\"../{}\")", block.file.display());
        assert!(
            lib.contains(&include),
            "{}: src/lib.rs lacks {include}",
            block.at()
        );
    }
}

/// What the documents say of cargo is what this workspace can do.
#[test]
fn cargo_commands_are_those_of_the_workspace() {
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    // `cargo build --release` makes target/release/mbox.
    assert!(manifest.contains("[[bin]]\nname = \"mbox\""));
    // `cargo test --workspace` reaches the kit and this suite.
    assert!(manifest.contains("members = [\"conformance\"]"));
    assert!(manifest.contains("[[test]]\nname = \"suite\""));
    let ci = repository().join(".ci/run");
    if !ci.exists() {
        return skip("there is no .ci/run");
    }
    let ci = fs::read_to_string(ci).unwrap();
    assert!(
        ci.contains("cargo test --workspace"),
        ".ci/run does not do what README says"
    );
}

/// The lowest Rust the README names is the one Cargo.toml asks for.
#[test]
fn the_rust_version() {
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let version = manifest.split("rust-version = \"").nth(1).unwrap();
    let version = version.split('"').next().unwrap();
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    assert!(
        readme.contains(&format!("Rust ({version} or later)")),
        "not {version}"
    );
}

/// Links between documents lead somewhere.
#[test]
fn links() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            let at = format!("{}: {link}", document.display());
            assert!(target.exists(), "{at} leads nowhere");
            if !anchor.is_empty() {
                let target = fs::read_to_string(target).unwrap();
                let is_there = target
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| slug(line) == anchor);
                assert!(is_there, "{at}: no such heading");
            }
        }
    }
}

/// A heading's anchor, as forges make it.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// `mbox --help` and the README's table name the same verbs.
#[test]
fn the_table_of_verbs() {
    let out = Command::new(MBOX).arg("--help").output().unwrap();
    let help = String::from_utf8(out.stdout).unwrap();
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let verbs = help.lines().filter_map(|line| {
        let verb = line.strip_prefix("  ")?.split(' ').next()?;
        verb.chars().all(|c| c.is_ascii_lowercase()).then_some(verb)
    });
    let verbs: Vec<&str> = verbs.filter(|verb| !verb.is_empty()).collect();
    assert!(verbs.len() >= 9, "{verbs:?}");
    for verb in verbs {
        let row = readme
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&format!("`{verb} ")));
        assert!(row.is_some(), "README has no row for {verb}");
    }
}
