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

/// The number a message id is.
pub(crate) fn id_number(text: &str) -> Option<u64> {
    let digits: &[u8; 16] = text.as_bytes().try_into().ok()?;
    let (high, low) = digits.split_at(8);
    Some(eight_digits(high)? << 32 | eight_digits(low)?)
}

/// The number that eight lower-case hex digits are, worked out all at once.
fn eight_digits(text: &[u8]) -> Option<u64> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let text = u64::from_be_bytes(text.try_into().ok()?);
    let is_letter = (text >> 6) & ONES;
    let digits = (text & (ONES * 0xf)) + is_letter * 9;
    // What these digits look like when they are written says whether they were digits.
    let over_nine = ((digits + ONES * 6) >> 4) & ONES;
    let written = digits + ONES * u64::from(b'0') + over_nine * u64::from(b'a' - b'9' - 1);
    if written != text || digits & (ONES * 0xf0) != 0 {
        return None;
    }
    let pairs = (digits | digits >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((fours | fours >> 16) & 0xffff_ffff)
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
        assert_eq!(id_number("0123456789abcdef"), Some(0x0123_4567_89ab_cdef));
        assert_eq!(id_number("ffffffffffffffff"), Some(u64::MAX));
        // Every byte in every place
        for place in 0..16 {
            for byte in 0..=0x7f {
                let mut id = *b"0123456789abcdef";
                id[place] = byte;
                let id = std::str::from_utf8(&id).unwrap();
                let number = u64::from_str_radix(id, 16).ok();
                assert_eq!(
                    id_number(id),
                    number.filter(|_| is_id(id.as_bytes())),
                    "{id}"
                );
            }
        }
        assert_eq!(id_number("0123456789abcdé"), None);
        assert_eq!(id_number("0123456789abcde"), None);
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
