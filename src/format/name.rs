//! Mailbox names and ids: the only text from outside that may become part of a path.

/// Whether `text` is a mailbox name (NAME-2): 1 to 128 bytes of
/// `A-Z a-z 0-9 . _ @ + -`, not beginning with `.` or `-`.
#[must_use]
pub fn is_name(text: &[u8]) -> bool {
    matches!(text.len(), 1..=128)
        && !matches!(text[0], b'.' | b'-')
        && text
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(b))
}

/// Whether `text` is a message id: 16 lower-case hex digits.
#[must_use]
pub fn is_id(text: &[u8]) -> bool {
    text.len() == 16 && text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "alice", "A.b_c@d+e-f", "123", "_x", &"n".repeat(128)] {
            assert!(is_name(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "-a",
            "a b",
            "a/b",
            "a\n",
            "é",
            &"n".repeat(129),
        ] {
            assert!(!is_name(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn ids() {
        assert!(is_id(b"0123456789abcdef"));
        for bad in [
            "",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789ABCDEF",
        ] {
            assert!(!is_id(bad.as_bytes()), "{bad:?}");
        }
    }
}
