//! Files before and after: what a case sets up, and what is there at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use serde_json::{Map, Value};

use crate::content::{Pattern, Vars, show};

#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    File(Vec<u8>),
    Dir,
    Symlink(PathBuf),
    Other,
}

impl Kind {
    fn show(&self) -> String {
        match self {
            Kind::File(b) => format!("the file \"{}\"", show(b)),
            Kind::Dir => "a directory".to_string(),
            Kind::Symlink(to) => format!("a symlink to {}", to.display()),
            Kind::Other => "something else".to_string(),
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    pub kind: Kind,
    pub mode: u32,
    inode: u64,
    mtime: (i64, i64),
}

/// Everything below a directory, by relative path; the directory is `""`.
pub type Tree = BTreeMap<String, Entry>;

pub fn snapshot(dir: &Path) -> Result<Tree, String> {
    let mut tree = Tree::new();
    for e in walkdir::WalkDir::new(dir) {
        let e = e.map_err(|e| e.to_string())?;
        let io = |x: std::io::Error| format!("{}: {x}", e.path().display());
        let meta = fs::symlink_metadata(e.path()).map_err(io)?;
        let t = meta.file_type();
        let kind = if t.is_file() {
            Kind::File(fs::read(e.path()).map_err(io)?)
        } else if t.is_dir() {
            Kind::Dir
        } else if t.is_symlink() {
            Kind::Symlink(fs::read_link(e.path()).map_err(io)?)
        } else {
            Kind::Other
        };
        let rel = e.path().strip_prefix(dir).map_err(|e| e.to_string())?;
        tree.insert(
            rel.to_string_lossy().into_owned(),
            Entry {
                kind,
                mode: meta.permissions().mode() & 0o7777,
                inode: meta.ino(),
                mtime: (meta.mtime(), meta.mtime_nsec()),
            },
        );
    }
    Ok(tree)
}

/// Sets the mtime of an entry (not of what a link points at) into the past.
pub fn age(path: &Path, seconds: f64) -> Result<(), String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|e| e.to_string())?;
    let ns = now.as_nanos() as i128 - (seconds * 1e9) as i128;
    let t = TimeSpec::new((ns / 1_000_000_000) as i64, (ns % 1_000_000_000) as i64);
    utimensat(AT_FDCWD, path, &t, &t, UtimensatFlags::NoFollowSymlink)
        .map_err(|e| format!("{}: cannot set mtime: {e}", path.display()))
}

/// Makes the entries a case asks for: a content is a file; an object may say
/// `dir`, `symlink`, `fifo`, `content`, and `age`, `mode`, `uid`.
pub fn make(dir: &Path, files: &Map<String, Value>, vars: &Vars) -> Result<Vec<String>, String> {
    let mut made = Vec::new();
    let mut ages = Vec::new();
    for (name, spec) in files {
        let name = vars.text(&Value::String(name.clone()))?;
        let path = dir.join(&name);
        if let Some(up) = path.parent().filter(|p| !p.exists()) {
            let mut b = fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(b.recursive(true), 0o700);
            b.create(up).map_err(|e| format!("{}: {e}", up.display()))?;
        }
        make_one(&path, spec, vars)?;
        if let Some(a) = spec.get("age") {
            ages.push((path, a.as_f64().ok_or(format!("not an age: {a}"))?));
        }
        made.push(name);
    }
    // Last, as making an entry touches the directory it is in.
    for (path, a) in ages.iter().rev() {
        age(path, *a)?;
    }
    Ok(made)
}

fn make_one(path: &Path, spec: &Value, vars: &Vars) -> Result<(), String> {
    let io = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut mode = 0o600;
    if spec.get("dir").is_some() {
        mode = 0o700;
        if !path.is_dir() {
            fs::create_dir(path).map_err(io)?;
        }
    } else if let Some(to) = spec.get("symlink") {
        return symlink(vars.text(to)?, path).map_err(io);
    } else if spec.get("fifo").is_some() {
        nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o600)).map_err(|e| io(e.into()))?;
    } else {
        fs::write(path, vars.bytes(spec.get("content").unwrap_or(spec))?).map_err(io)?;
    }
    if let Some(m) = spec.get("mode").and_then(Value::as_str) {
        mode = u32::from_str_radix(m, 8).map_err(|e| format!("mode {m}: {e}"))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io)?;
    if let Some(uid) = spec.get("uid").and_then(Value::as_u64) {
        lchown(path, Some(uid as u32), None).map_err(io)?;
    }
    Ok(())
}

/// Whether what is there (`now`) is what was there (`base`) but for `want`:
/// a content, `null` (absent), `{"like": pattern}`, `{"dir": true}`,
/// `{"any": true}`, `{"symlink": to}`; `"optional": true` beside it lets it be
/// absent. New entries not named are failures, but for the guard.
pub fn compare(
    base: &Tree,
    now: &Tree,
    want: &Map<String, Value>,
    vars: &Vars,
) -> Result<(), String> {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut mode_judged: BTreeSet<String> = BTreeSet::new();
    for (name, spec) in want {
        let name = vars.text(&Value::String(name.clone()))?;
        let pattern = Pattern::new(name.as_bytes());
        let mut found = 0;
        for (path, e) in now {
            if pattern.matches(path.as_bytes()).is_none() {
                continue;
            }
            found += 1;
            seen.insert(path.clone());
            if spec.get("mode").is_some() {
                mode_judged.insert(path.clone());
            }
            fits(e, spec, vars).map_err(|why| format!("{path}: {why}"))?;
        }
        let optional = spec.is_null() || spec.get("optional").is_some();
        // "Absent when empty", for lists of damaged lines.
        let empty = spec.get("damaged_of").is_some() && vars.bytes(spec)?.is_empty();
        if found == 0 && !optional && !empty {
            return Err(format!("{name}: missing"));
        }
        if let Some(n) = spec
            .get("count")
            .and_then(Value::as_u64)
            .filter(|n| *n != found)
        {
            return Err(format!("{name}: {found} of them, not {n}"));
        }
        if base.contains_key(&name) {
            seen.insert(name);
        }
    }
    for (path, was) in base {
        if path.is_empty() || seen.contains(path) {
            continue;
        }
        match now.get(path) {
            None => return Err(format!("{path}: was removed")),
            Some(e) if e.kind != was.kind => {
                return Err(format!("{path}: changed to {}", e.kind.show()));
            }
            Some(e) if e.mode != was.mode => {
                return Err(format!("{path}: mode changed to {:04o}", e.mode));
            }
            Some(_) => {}
        }
    }
    for (path, e) in now {
        if base.contains_key(path) {
            continue;
        }
        let parent = e.kind == Kind::Dir && seen.iter().any(|s| s.starts_with(&format!("{path}/")));
        if !seen.contains(path) && !path.ends_with(".lock.guard") && !parent {
            return Err(format!("{path}: left behind"));
        }
        let mode = if e.kind == Kind::Dir { 0o700 } else { 0o600 };
        if e.mode != mode && !mode_judged.contains(path) {
            return Err(format!(
                "{path}: made with mode {:04o}, not {mode:04o}",
                e.mode
            ));
        }
    }
    Ok(())
}

/// Not one entry made, removed, changed or even touched.
pub fn untouched(base: &Tree, now: &Tree) -> Result<(), String> {
    for (path, e) in now {
        match base.get(path) {
            None => return Err(format!("{path}: left behind")),
            Some(was) if was != e => {
                let path = if path.is_empty() {
                    "the directory"
                } else {
                    path
                };
                return Err(format!("{path}: was touched"));
            }
            Some(_) => {}
        }
    }
    match base.keys().find(|p| !now.contains_key(*p)) {
        Some(gone) => Err(format!("{gone}: was removed")),
        None => Ok(()),
    }
}

fn fits(e: &Entry, spec: &Value, vars: &Vars) -> Result<(), String> {
    if spec.is_null() {
        return Err(format!("is still there: {}", e.kind.show()));
    }
    if let Some(m) = spec.get("mode").and_then(Value::as_str) {
        let now = format!("{:04o}", e.mode);
        if now != m {
            return Err(format!("mode is {now}, not {m}"));
        }
    }
    if spec.get("any").is_some() {
        return Ok(());
    }
    if spec.get("dir").is_some() {
        return if e.kind == Kind::Dir {
            Ok(())
        } else {
            Err(format!("is {}", e.kind.show()))
        };
    }
    if let Some(to) = spec.get("symlink") {
        let want = Kind::Symlink(vars.text(to)?.into());
        return if e.kind == want {
            Ok(())
        } else {
            Err(format!("is {}", e.kind.show()))
        };
    }
    let Kind::File(have) = &e.kind else {
        return Err(format!("is {}", e.kind.show()));
    };
    same_bytes(have, spec.get("content").unwrap_or(spec), vars).map(|_| ())
}

fn contains(have: &[u8], part: &[u8]) -> bool {
    have.windows(part.len().max(1)).any(|w| w == part)
}

/// `want` is a content, `{"like": pattern}`, `{"with": [..], "without": [..]}`
/// or `{"any": true}`.
pub fn same_bytes(
    have: &[u8],
    want: &Value,
    vars: &Vars,
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    if want.get("any").is_some() {
        return Ok(BTreeMap::new());
    }
    if want.get("with").is_some() || want.get("without").is_some() {
        for (key, wanted) in [("with", true), ("without", false)] {
            for part in want
                .get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let part = vars.bytes(part)?;
                if contains(have, &part) != wanted {
                    return Err(format!(
                        "\"{}\" {key} \"{}\" it is not",
                        show(have),
                        show(&part)
                    ));
                }
            }
        }
        return Ok(BTreeMap::new());
    }
    if let Some(o) = want.get("object") {
        return same_object(have, &vars.bytes(o)?);
    }
    if let Some(p) = want.get("like") {
        let p = vars.bytes(p)?;
        return Pattern::new(&p)
            .matches(have)
            .ok_or_else(|| format!("\"{}\" is not like \"{}\"", show(have), show(&p)));
    }
    let want = vars.bytes(want)?;
    if want == have {
        return Ok(BTreeMap::new());
    }
    Err(format!(
        "is \"{}\", not \"{}\"{}",
        show(have),
        show(&want),
        first_difference(have, &want)
    ))
}

/// Whether `have` is one line with the JSON value of `want`, whose strings are patterns, and
/// no space between tokens.
fn same_object(have: &[u8], want: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let not = |why: String| format!("\"{}\" {why}", show(have));
    let line = have.strip_suffix(b"\n").filter(|l| !l.contains(&b'\n'));
    let line = line.ok_or_else(|| not("is not one line".to_string()))?;
    if spaced(line) {
        return Err(not("has space between tokens".to_string()));
    }
    let value = |b: &[u8]| serde_json::from_slice::<Value>(b).map_err(|e| e.to_string());
    let found = value(line).map_err(|e| not(format!("is no JSON: {e}")))?;
    let mut kept = BTreeMap::new();
    let wanted = value(want).map_err(|e| format!("{e}: {}", show(want)))?;
    if alike(&found, &wanted, &mut kept) {
        return Ok(kept);
    }
    let at = first_difference(line, want);
    Err(not(format!("is not the value of \"{}\"{at}", show(want))))
}

fn alike(found: &Value, wanted: &Value, kept: &mut BTreeMap<String, Vec<u8>>) -> bool {
    match (found, wanted) {
        (Value::Object(f), Value::Object(w)) => {
            let same = |(k, v)| f.get(k).is_some_and(|found| alike(found, v, kept));
            f.len() == w.len() && w.iter().all(same)
        }
        (Value::String(f), Value::String(w)) => {
            match Pattern::new(w.as_bytes()).matches(f.as_bytes()) {
                Some(more) => {
                    kept.extend(more);
                    true
                }
                None => false,
            }
        }
        _ => found == wanted,
    }
}

fn spaced(line: &[u8]) -> bool {
    let (mut string, mut escaped) = (false, false);
    line.iter().any(|c| {
        match c {
            _ if escaped => escaped = false,
            b'\\' if string => escaped = true,
            b'"' => string = !string,
            _ => {}
        }
        !string && b" \t\r".contains(c)
    })
}

fn first_difference(a: &[u8], b: &[u8]) -> String {
    let at = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    if a.len().max(b.len()) < 120 {
        String::new()
    } else {
        format!(" (differ at byte {at})")
    }
}
