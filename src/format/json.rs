//! The grammar of a record: one JSON object by RFC 8259, checked in one pass.
//!
//! `serde_json` reads the same language, but refuses lone surrogates and numbers out of
//! range unless it is asked for raw values, each of which costs a pass of its own.

use super::MAX_DEPTH;

/// Where a scalar stands in the text, a string without its quotes.
#[derive(Clone, Copy)]
pub(super) struct Scalar {
    pub(super) begin: usize,
    pub(super) end: usize,
    pub(super) has_escapes: bool,
}

/// The value of a member.
pub(super) enum Value {
    Text(Scalar),
    /// A number, `true`, `false` or `null`.
    Other(Scalar),
    Nested,
}

/// Calls `member` with the key and the value of every member of the object `text` is, in
/// order, repeated keys included; `None` when it is not one object, nested at most
/// [`MAX_DEPTH`] deep.
pub(super) fn object(text: &str, mut member: impl FnMut(Scalar, Value)) -> Option<()> {
    let text = text.as_bytes();
    let mut json = Json { text, at: 0 };
    if json.token()? != b'{' {
        return None;
    }
    json.members(1, &mut member)?;
    json.token().is_none().then_some(())
}

struct Json<'a> {
    text: &'a [u8],
    at: usize,
}

impl Json<'_> {
    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline(always)]
    fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// The next byte that is not space.
    #[inline(always)]
    fn token(&mut self) -> Option<u8> {
        loop {
            let byte = self.take()?;
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(byte);
            }
        }
    }

    /// What stands between `{` and `}`, and the `}`.
    fn members(&mut self, depth: usize, member: &mut impl FnMut(Scalar, Value)) -> Option<()> {
        let mut token = self.token()?;
        if token == b'}' {
            return Some(());
        }
        loop {
            if token != b'"' {
                return None;
            }
            let key = self.string()?;
            if self.token()? != b':' {
                return None;
            }
            let value = match self.token()? {
                b'"' => Value::Text(self.string()?),
                first => self.value(first, depth)?,
            };
            member(key, value);
            match self.token()? {
                b',' => token = self.token()?,
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// The same of an array.
    fn elements(&mut self, depth: usize) -> Option<()> {
        let mut token = self.token()?;
        if token == b']' {
            return Some(());
        }
        loop {
            self.value(token, depth)?;
            match self.token()? {
                b',' => token = self.token()?,
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// A value in what is `depth` deep; its first byte is taken.
    fn value(&mut self, first: u8, depth: usize) -> Option<Value> {
        let begin = self.at - 1;
        match first {
            b'"' => return self.string().map(Value::Text),
            b'{' | b'[' if depth == MAX_DEPTH => return None,
            b'{' => {
                return self
                    .members(depth + 1, &mut |_, _| {})
                    .map(|()| Value::Nested);
            }
            b'[' => return self.elements(depth + 1).map(|()| Value::Nested),
            b't' => self.word(b"rue")?,
            b'f' => self.word(b"alse")?,
            b'n' => self.word(b"ull")?,
            _ => self.number(first)?,
        }
        Some(Value::Other(Scalar {
            begin,
            end: self.at,
            has_escapes: false,
        }))
    }

    /// A string whose first quote is taken.
    #[inline(always)]
    fn string(&mut self) -> Option<Scalar> {
        let begin = self.at;
        let mut has_escapes = false;
        loop {
            self.at = plain_end(self.text, self.at);
            match self.take()? {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return None, // a control character
            }
            has_escapes = true;
        }
        Some(Scalar {
            begin,
            end: self.at - 1,
            has_escapes,
        })
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Option<()> {
        match self.take()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    fn word(&mut self, rest: &[u8]) -> Option<()> {
        let is_there = self.text[self.at..].starts_with(rest);
        self.at += rest.len();
        is_there.then_some(())
    }

    /// A number whose first byte is taken.
    fn number(&mut self, mut first: u8) -> Option<()> {
        if first == b'-' {
            first = self.take()?;
        }
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Some(())
    }

    fn some_digits(&mut self) -> Option<()> {
        let begin = self.at;
        self.digits();
        (self.at > begin).then_some(())
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }
}

/// Where in `text`, from `at` on, the first quote, backslash or control character stands.
#[inline(always)]
fn plain_end(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // Eight bytes at once. A subtraction sets the high bit of each byte that is less than what
    // is taken from it, and perhaps that of bytes above such a one, never below the first. With
    // its second bit turned, the quote stands right above the control characters.
    while let Some(bytes) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*bytes);
        let quotes_and_controls = (word ^ (ONES * 2)).wrapping_sub(ONES * 0x21);
        let backslashes = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
        let found = (quotes_and_controls | backslashes) & !word & HIGHS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_plain = |&byte: &u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    while text.get(at).is_some_and(is_plain) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_run_ends_at_the_first_byte_that_is_not() {
        for end in [b'"', b'\\', 0, 9, 0x1f] {
            for at in 0..20 {
                let mut text = "né\u{7f}!#[]€ 0123456789".as_bytes()[..20].to_vec();
                text[at] = end;
                text.extend_from_slice(b"\"\\\x01");
                for begin in 0..=at {
                    assert_eq!(plain_end(&text, begin), at, "{end} at {at} from {begin}");
                }
            }
        }
        assert_eq!(plain_end(b"0123456789", 3), 10);
    }
}
