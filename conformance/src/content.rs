//! Values of case files that become bytes, and patterns that match bytes.
//!
//! A content is a string with `{placeholders}`, a number, a list of contents
//! (joined), or an object with one operator. DRIVER.md lists them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

/// What placeholders stand for while one case runs.
#[derive(Clone, Default)]
pub struct Vars {
    pub values: BTreeMap<String, Vec<u8>>,
    pub now_ms: i64,
    pub dir: PathBuf,
}

impl Vars {
    pub fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.values.insert(name.to_string(), value.into());
    }

    /// The bytes a content stands for.
    pub fn bytes(&self, v: &Value) -> Result<Vec<u8>, String> {
        match v {
            Value::String(s) => self.fill(s),
            Value::Number(n) => Ok(n.to_string().into_bytes()),
            Value::Array(parts) => {
                let mut out = Vec::new();
                for p in parts {
                    out.extend(self.bytes(p)?);
                }
                Ok(out)
            }
            Value::Object(o) => self.operator(o),
            _ => Err(format!("not a content: {v}")),
        }
    }

    pub fn text(&self, v: &Value) -> Result<String, String> {
        String::from_utf8(self.bytes(v)?).map_err(|_| format!("not text: {v}"))
    }

    pub fn number(&self, v: &Value) -> Result<i64, String> {
        self.text(v)?
            .parse()
            .map_err(|_| format!("not a number: {v}"))
    }

    fn operator(&self, o: &serde_json::Map<String, Value>) -> Result<Vec<u8>, String> {
        let arg = |k: &str| o.get(k).ok_or(format!("operator without {k}: {o:?}"));
        if let Some(hex) = o.get("hex") {
            return unhex(&self.text(hex)?);
        }
        if let Some(c) = o.get("repeat") {
            return Ok(self.bytes(c)?.repeat(self.number(arg("times")?)? as usize));
        }
        if let Some(c) = o.get("cut") {
            let mut b = self.bytes(c)?;
            b.truncate(self.number(arg("at")?)? as usize);
            return Ok(b);
        }
        if let Some(c) = o.get("json") {
            return Ok(json_string(&self.bytes(c)?));
        }
        if let Some(c) = o.get("record") {
            return Ok(format!("{c}\n").into_bytes());
        }
        if let Some(c) = o.get("message") {
            let body = self.bytes(c)?;
            let id = match o.get("id") {
                Some(id) => self.bytes(id)?,
                None => b"00c0ffee00c0ffee".to_vec(),
            };
            let more = match o.get("more") {
                Some(m) => self.bytes(m)?,
                None => Vec::new(),
            };
            return Ok(message_line(&id, &body, &more));
        }
        if let Some(c) = o.get("length") {
            return Ok(self.bytes(c)?.len().to_string().into_bytes());
        }
        if let Some(c) = o.get("records_of") {
            return Ok(split(&self.bytes(c)?).0);
        }
        if let Some(c) = o.get("damaged_of") {
            return Ok(split(&self.bytes(c)?).1);
        }
        if let Some(c) = o.get("file") {
            let p = self.dir.join(self.text(c)?);
            return std::fs::read(&p).map_err(|e| format!("{}: {e}", p.display()));
        }
        Err(format!("unknown operator: {o:?}"))
    }

    /// Replaces `{name}`, `{now_ms-31000}`. An unknown name is an error, so
    /// that a typing mistake cannot pass for text; `{"` is never a placeholder.
    fn fill(&self, s: &str) -> Result<Vec<u8>, String> {
        let mut out = Vec::with_capacity(s.len());
        let mut rest = s;
        while let Some(i) = rest.find('{') {
            out.extend_from_slice(&rest.as_bytes()[..i]);
            rest = &rest[i..];
            match placeholder(rest) {
                None => {
                    out.push(b'{');
                    rest = &rest[1..];
                }
                Some((name, offset, len)) => {
                    out.extend(self.lookup(name, offset)?);
                    rest = &rest[len..];
                }
            }
        }
        out.extend_from_slice(rest.as_bytes());
        Ok(out)
    }

    fn lookup(&self, name: &str, offset: i64) -> Result<Vec<u8>, String> {
        match name {
            "now_ms" => Ok(format!("{:013}", self.now_ms + offset).into_bytes()),
            "W" => Ok(self.dir.as_os_str().as_encoded_bytes().to_vec()),
            "B" => Ok(self.dir.join("b").into_os_string().into_encoded_bytes()),
            _ if offset == 0 => self
                .values
                .get(name)
                .cloned()
                .ok_or(format!("unknown placeholder {{{name}}}")),
            _ => {
                let n = self.lookup(name, 0)?;
                let n: i64 = String::from_utf8_lossy(&n)
                    .parse()
                    .map_err(|_| "not a number")?;
                Ok((n + offset).to_string().into_bytes())
            }
        }
    }
}

/// `{name}` or `{name+1}` at the start of `s`: name, offset, length.
fn placeholder(s: &str) -> Option<(&str, i64, usize)> {
    let end = s.find('}')?;
    let inner = &s[1..end];
    let split = inner.find(['+', '-']).unwrap_or(inner.len());
    let (name, offset) = inner.split_at(split);
    let ok = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    let offset = if offset.is_empty() {
        0
    } else {
        offset.parse().ok()?
    };
    ok.then_some((name, offset, end + 1))
}

pub fn message_line(id: &[u8], body: &[u8], more: &[u8]) -> Vec<u8> {
    let mut out = b"{\"schema_version\":1,\"id\":\"".to_vec();
    out.extend_from_slice(id);
    out.extend_from_slice(b"\",\"body\":");
    out.extend(json_string(body));
    out.extend(
        format!(
            ",\"enqueued_at\":1763650000,\"body_bytes\":{},\"origin\":\"peer\"",
            body.len()
        )
        .into_bytes(),
    );
    out.extend_from_slice(more);
    out.extend_from_slice(b"}\n");
    out
}

/// A JSON string by the least escaping MSG-2 allows.
pub fn json_string(body: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for &c in body {
        match c {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f => out.extend(format!("\\u{c:04x}").into_bytes()),
            _ => out.push(c),
        }
    }
    out.push(b'"');
    out
}

/// Records (each with a newline) and damaged lines (each with a newline).
pub fn split(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut records, mut damaged) = (Vec::new(), Vec::new());
    for line in bytes.split(|&c| c == b'\n') {
        if line.iter().all(|c| b" \t\r".contains(c)) {
            continue;
        }
        let to = if is_record(line) {
            &mut records
        } else {
            &mut damaged
        };
        to.extend_from_slice(line);
        to.push(b'\n');
    }
    (records, damaged)
}

/// One JSON object in UTF-8, at most 128 deep. Lone surrogates and numbers of
/// any size are within the grammar, so no value is built.
pub fn is_record(line: &[u8]) -> bool {
    let object = line.trim_ascii_start().starts_with(b"{");
    object
        && std::str::from_utf8(line).is_ok()
        && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
        && depth(line) <= 128
}

fn depth(line: &[u8]) -> usize {
    let (mut now, mut most, mut string, mut escaped) = (0, 0, false, false);
    for c in line {
        match c {
            _ if escaped => escaped = false,
            b'\\' if string => escaped = true,
            b'"' => string = !string,
            b'{' | b'[' if !string => now += 1,
            b'}' | b']' if !string => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    most
}

fn unhex(s: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = s.bytes().filter(|c| *c != b' ').collect();
    digits
        .chunks(2)
        .map(|p| {
            let p = std::str::from_utf8(p).map_err(|e| e.to_string())?;
            u8::from_str_radix(p, 16).map_err(|e| format!("hex {p}: {e}"))
        })
        .collect()
}

/// Bytes for people: escaped and not longer than a line.
pub fn show(b: &[u8]) -> String {
    let s = b.escape_ascii().to_string();
    if s.len() <= 160 {
        return s;
    }
    format!("{}… ({} bytes)", &s[..150], b.len())
}

enum Hole {
    Id,
    Token,
    Int,
    Ms,
    Line,
    Any,
}

enum Piece {
    Literal(Vec<u8>),
    Hole(Hole, Option<String>),
}

/// A pattern: literal text with holes `<id> <token> <int> <ms> <line> <any>`;
/// `<id=x>` also keeps what it matched as `{x}`.
pub struct Pattern(Vec<Piece>);

impl Pattern {
    pub fn new(bytes: &[u8]) -> Pattern {
        let mut pieces = vec![Piece::Literal(Vec::new())];
        let mut i = 0;
        while i < bytes.len() {
            if let Some((hole, name, len)) = hole(&bytes[i..]) {
                pieces.push(Piece::Hole(hole, name));
                i += len;
            } else {
                match pieces.last_mut() {
                    Some(Piece::Literal(l)) => l.push(bytes[i]),
                    _ => pieces.push(Piece::Literal(vec![bytes[i]])),
                }
                i += 1;
            }
        }
        Pattern(pieces)
    }

    /// Matches all of `b`; gives what the named holes hold.
    pub fn matches(&self, b: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
        let mut kept = BTreeMap::new();
        step(&self.0, b, &mut kept).then_some(kept)
    }
}

fn hole(b: &[u8]) -> Option<(Hole, Option<String>, usize)> {
    if b[0] != b'<' {
        return None;
    }
    let end = b.iter().position(|c| *c == b'>')?;
    let inner = std::str::from_utf8(&b[1..end]).ok()?;
    let (kind, name) = match inner.split_once('=') {
        Some((k, n)) => (k, Some(n.to_string())),
        None => (inner, None),
    };
    let hole = match kind {
        "id" => Hole::Id,
        "token" => Hole::Token,
        "int" => Hole::Int,
        "ms" => Hole::Ms,
        "line" => Hole::Line,
        "any" => Hole::Any,
        _ => return None,
    };
    Some((hole, name, end + 1))
}

fn step(pieces: &[Piece], b: &[u8], kept: &mut BTreeMap<String, Vec<u8>>) -> bool {
    let Some(first) = pieces.first() else {
        return b.is_empty();
    };
    match first {
        Piece::Literal(l) => b.starts_with(l) && step(&pieces[1..], &b[l.len()..], kept),
        Piece::Hole(hole, name) => {
            for n in 0..=b.len() {
                let here = &b[..n];
                if fits(hole, here) && step(&pieces[1..], &b[n..], kept) {
                    if let Some(name) = name {
                        kept.insert(name.clone(), here.to_vec());
                    }
                    return true;
                }
                if matches!(hole, Hole::Line) && b.get(n) == Some(&b'\n') {
                    return false;
                }
            }
            false
        }
    }
}

fn fits(hole: &Hole, b: &[u8]) -> bool {
    match hole {
        Hole::Any | Hole::Line => true,
        Hole::Id => b.len() == 16 && b.iter().all(|c| b"0123456789abcdef".contains(c)),
        Hole::Int => !b.is_empty() && b.len() < 20 && b.iter().all(u8::is_ascii_digit),
        Hole::Ms => b.len() == 13 && b.iter().all(u8::is_ascii_digit),
        Hole::Token => is_token(b),
    }
}

/// TOKEN-1 and TOKEN-2: `<pid>.<16 hex>` and perhaps `.g`.
pub fn is_token(b: &[u8]) -> bool {
    let b = b.strip_suffix(b".g").unwrap_or(b);
    let Some(dot) = b.iter().position(|c| *c == b'.') else {
        return false;
    };
    fits(&Hole::Int, &b[..dot]) && fits(&Hole::Id, &b[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn contents() {
        let mut v = Vars {
            now_ms: 1_763_650_000_000,
            ..Vars::default()
        };
        v.set("n", "3");
        assert_eq!(v.bytes(&json!("{\"a\":{n}}")).unwrap(), b"{\"a\":3}");
        assert_eq!(v.bytes(&json!("{now_ms-1000}")).unwrap(), b"1763649999000");
        assert_eq!(
            v.bytes(&json!([{"repeat": "ab", "times": "{n}"}, 7]))
                .unwrap(),
            b"ababab7"
        );
        assert!(v.bytes(&json!("{nope}")).is_err());
        assert_eq!(
            v.bytes(&json!({"damaged_of": "{}\nx\n\n[]"})).unwrap(),
            b"x\n[]\n"
        );
    }

    #[test]
    fn patterns() {
        let p = Pattern::new(b"b.claims/<ms>-<ms=s>-<int>.<token>");
        let kept = p.matches(b"b.claims/1763650000000-1763650000001-0.7.00c0ffee00c0ffee.g");
        assert_eq!(kept.unwrap()["s"], b"1763650000001");
        assert!(
            Pattern::new(b"<id>\n")
                .matches(b"00c0ffee00c0ffe\n")
                .is_none()
        );
        assert!(
            Pattern::new(b"<any>hello<any>")
                .matches(b"oh hello you")
                .is_some()
        );
    }
}
