//! Owner tokens and the names of claims.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

/// The owner token of one acquisition (TOKEN-1, TOKEN-2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    pub(crate) fn new(pid: u32, random: u64, guarded: bool) -> Token {
        let guard = if guarded { ".g" } else { "" };
        Token(format!("{pid}.{random:016x}{guard}"))
    }

    /// Takes a token somebody else printed; it stays opaque (TOKEN-3).
    pub(crate) fn from_text(text: &str) -> Token {
        Token(text.to_owned())
    }

    /// The token as it stands in the owner file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the owner file reads, less one trailing newline (TOKEN-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner(Vec<u8>);

impl Owner {
    pub(crate) fn from_bytes(mut bytes: Vec<u8>) -> Owner {
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Owner(bytes)
    }

    pub(crate) fn is(&self, token: &Token) -> bool {
        self.0 == token.0.as_bytes()
    }

    pub(crate) fn is_guarded(&self) -> bool {
        self.0.ends_with(b".g")
    }

    /// The process id a token begins with, for messages only.
    pub(crate) fn pid(&self) -> Option<u32> {
        let text = std::str::from_utf8(&self.0).ok()?;
        text.split('.').next()?.parse().ok()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// The name of a claim, `<birth>-<stamp>-<n>.<token>` (CLAIM-1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClaimName {
    /// Unix milliseconds when the records left the record file: gives the order.
    pub(crate) birth: u64,
    /// Unix milliseconds when the present owner took it: gives the age.
    pub(crate) stamp: u64,
    /// Counter of the owning process, as it is written: leading zeros are part of a name.
    n: String,
    /// Opaque, and not always UTF-8 (TOKEN-3).
    token: Vec<u8>,
}

impl ClaimName {
    pub(crate) fn new(birth: u64, stamp: u64, n: u64, token: &Token) -> ClaimName {
        ClaimName {
            birth,
            stamp,
            n: n.to_string(),
            token: token.0.clone().into_bytes(),
        }
    }

    /// The claim an entry of B.claims is, by its name; `None` when it is none (CLAIM-8).
    pub(crate) fn parse(entry: &OsStr) -> Option<ClaimName> {
        // Everything before the token is ASCII.
        let at = entry.as_bytes().iter().position(|&b| b == b'.')?;
        let (head, token) = entry.as_bytes().split_at(at);
        let mut numbers = std::str::from_utf8(head).ok()?.splitn(3, '-');
        let (birth, stamp, n) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let millis = |text: &str| -> Option<u64> {
            (text.len() == 13 && is_number(text))
                .then(|| text.parse().ok())
                .flatten()
        };
        if n.is_empty() || !is_number(n) || token == b"." {
            return None;
        }
        Some(ClaimName {
            birth: millis(birth)?,
            stamp: millis(stamp)?,
            n: n.to_owned(),
            token: token[1..].to_vec(),
        })
    }

    /// The name of its entry in B.claims.
    pub(crate) fn to_entry(&self) -> OsString {
        let ClaimName {
            birth,
            stamp,
            n,
            token,
        } = self;
        let mut entry = format!("{birth:013}-{stamp:013}-{n}.").into_bytes();
        entry.extend_from_slice(token);
        OsString::from_vec(entry)
    }

    /// Given up: everything kept but the stamp, which is now nobody's time (CLAIM-7).
    pub(crate) fn given_up(&self) -> ClaimName {
        ClaimName {
            stamp: 0,
            ..self.clone()
        }
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.stamp == 0
    }

    pub(crate) fn is_guarded(&self) -> bool {
        self.token.ends_with(b".g")
    }

    /// Whether the stamp is more than `limit` away from `now`, in either direction (CLAIM-5).
    pub(crate) fn is_older_than(&self, limit: Duration, now: u64) -> bool {
        u128::from(now.abs_diff(self.stamp)) > limit.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_names_round_trip() {
        for text in [
            "1700000000000-1700000000123-0.4242.0123456789abcdef",
            "1700000000000-0000000000000-17.4242.0123456789abcdef.g",
            "1700000000000-1700000000000-007.x",
            "1700000000000-1700000000000-99999999999999999999999.x",
        ] {
            assert_eq!(ClaimName::parse(text.as_ref()).unwrap().to_entry(), text);
        }
        let opaque = OsStr::from_bytes(b"1700000000000-1700000000000-0.\xff.g");
        let claim = ClaimName::parse(opaque).unwrap();
        assert!(claim.is_guarded());
        assert_eq!(claim.to_entry(), opaque);
    }

    #[test]
    fn other_names_are_not_claims() {
        for text in [
            "",
            "x",
            "1700000000000-1700000000123-0",
            "1700000000000-1700000000123-0.",
            "1700000000000-1700000000123-.1.a",
            "1700000000000-1700000000123-+1.1.a",
            "170000000000-1700000000123-0.1.a",
            "+700000000000-1700000000123-0.1.a",
        ] {
            assert_eq!(ClaimName::parse(text.as_ref()), None, "{text}");
        }
    }

    #[test]
    fn age_counts_both_ways() {
        let token = Token::new(1, 2, false);
        let name = ClaimName::new(0, 100_000, 0, &token);
        assert!(!name.is_older_than(Duration::from_secs(30), 130_000));
        assert!(name.is_older_than(Duration::from_secs(30), 130_001));
        assert!(name.is_older_than(Duration::from_secs(30), 69_999));
    }

    #[test]
    fn owner_drops_one_newline() {
        let token = Token::new(7, 0xabc, true);
        assert_eq!(token.as_str(), "7.0000000000000abc.g");
        assert!(Owner::from_bytes(b"7.0000000000000abc.g\n".to_vec()).is(&token));
        assert!(!Owner::from_bytes(b"7.0000000000000abc.g\n\n".to_vec()).is(&token));
        assert_eq!(Owner::from_bytes(b"7.0".to_vec()).pid(), Some(7));
    }
}
