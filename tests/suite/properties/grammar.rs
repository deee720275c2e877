//! The grammar of the specification written a second time, byte by byte and without
//! `serde_json`: what is a record, a name, a token, the name of a claim.

/// The value of a member, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string, unescaped; U+0000 and lone surrogates are U+FFFD (FMT-2).
    Text(String),
    /// Anything else, as it is written.
    Other(String),
}

impl Value {
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            Value::Other(_) => None,
        }
    }

    /// The value of an integer without a sign.
    pub fn integer(&self) -> Option<u64> {
        match self {
            Value::Other(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        }
    }
}

/// The members of a record in their order, repeated keys included; `None` when the line
/// is not one JSON object by RFC 8259 in valid UTF-8, nested at most 128 deep.
pub fn members(line: &[u8]) -> Option<Vec<(String, Value)>> {
    let mut json = Json {
        rest: std::str::from_utf8(line).ok()?,
    };
    json.space();
    let members = json.object(1)?;
    json.space();
    json.rest.is_empty().then_some(members)
}

/// Nothing but space, tab and carriage return.
pub fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|b| b" \t\r".contains(b))
}

/// `name`
pub fn is_name(text: &[u8]) -> bool {
    let is_first = |b: u8| b.is_ascii_alphanumeric() || b"_@+".contains(&b);
    let is_later = |b: u8| is_first(b) || b == b'.' || b == b'-';
    match text {
        [first, later @ ..] => {
            is_first(*first) && later.len() <= 127 && later.iter().all(|&b| is_later(b))
        }
        [] => false,
    }
}

/// `id`
pub fn is_id(text: &[u8]) -> bool {
    text.len() == 16 && text.iter().all(|b| b"0123456789abcdef".contains(b))
}

/// `token`
pub fn is_token(text: &str) -> bool {
    let text = text.strip_suffix(".g").unwrap_or(text);
    text.split_once('.').is_some_and(|(pid, random)| {
        !pid.starts_with('0')
            && !pid.is_empty()
            && pid.bytes().all(|b| b.is_ascii_digit())
            && is_id(random.as_bytes())
    })
}

/// `read-claim-name`
pub fn is_claim_name(name: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    let [birth, stamp, rest] = &name.splitn(3, |&b| b == b'-').collect::<Vec<_>>()[..] else {
        return false;
    };
    let [counter, token] = &rest.splitn(2, |&b| b == b'.').collect::<Vec<_>>()[..] else {
        return false;
    };
    let is_millis = |text: &[u8]| text.len() == 13 && digits(text);
    is_millis(birth)
        && is_millis(stamp)
        && !counter.is_empty()
        && digits(counter)
        && !token.is_empty()
        && !token.iter().any(|b| matches!(b, 0 | b'/'))
}

struct Json<'a> {
    rest: &'a str,
}

impl<'a> Json<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    /// A value and the space around it.
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.space();
        let begin = self.rest;
        let value = match self.rest.bytes().next()? {
            b'"' => Some(self.string()?),
            b'{' => self.object(depth).map(|_| None)?,
            b'[' => self.array(depth).map(|()| None)?,
            b't' => self.eat("true").map(|()| None)?,
            b'f' => self.eat("false").map(|()| None)?,
            b'n' => self.eat("null").map(|()| None)?,
            _ => self.number().map(|()| None)?,
        };
        let written = &begin[..begin.len() - self.rest.len()];
        self.space();
        Some(value.map_or_else(|| Value::Other(written.to_owned()), Value::Text))
    }

    fn object(&mut self, depth: usize) -> Option<Vec<(String, Value)>> {
        let mut members = Vec::new();
        self.eat("{")?;
        if depth > 128 {
            return None;
        }
        self.space();
        if self.eat("}").is_some() {
            return Some(members);
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.eat(":")?;
            members.push((key, self.value(depth + 1)?));
            if self.eat(",").is_none() {
                self.eat("}")?;
                return Some(members);
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.eat("[")?;
        if depth > 128 {
            return None;
        }
        self.space();
        if self.eat("]").is_some() {
            return Some(());
        }
        loop {
            self.value(depth + 1)?;
            if self.eat(",").is_none() {
                return self.eat("]");
            }
        }
    }

    /// The text of a string, put together in UTF-16, where a surrogate is a unit.
    fn string(&mut self) -> Option<String> {
        self.eat("\"")?;
        let mut units: Vec<u16> = Vec::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => match chars.next()? {
                    c @ ('"' | '\\' | '/') => units.push(c as u16),
                    'b' => units.push(8),
                    'f' => units.push(12),
                    'n' => units.push(10),
                    'r' => units.push(13),
                    't' => units.push(9),
                    'u' => {
                        let mut unit = 0;
                        for _ in 0..4 {
                            unit = unit * 16 + chars.next()?.to_digit(16)?;
                        }
                        units.push(u16::try_from(unit).expect("four digits"));
                    }
                    _ => return None,
                },
                c if c < ' ' => return None,
                c => units.extend_from_slice(c.encode_utf16(&mut [0; 2])),
            }
        }
        self.rest = chars.as_str();
        let decoded = char::decode_utf16(units).map(|c| match c {
            Ok('\0') | Err(_) => char::REPLACEMENT_CHARACTER,
            Ok(c) => c,
        });
        Some(decoded.collect())
    }

    fn number(&mut self) -> Option<()> {
        let _ = self.eat("-");
        if self.eat("0").is_none() {
            self.digits()?;
        }
        if self.eat(".").is_some() {
            self.digits()?;
        }
        if self.eat("e").or_else(|| self.eat("E")).is_some() {
            let _ = self.eat("+").or_else(|| self.eat("-"));
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let any = rest.len() < self.rest.len();
        self.rest = rest;
        any.then_some(())
    }
}
