//! What holds for names, ids, tokens, owners and the names of claims.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::time::Duration;

use super::format::name::{is_id, is_name};
use super::format::token::{ClaimName, Owner, Token};
use super::format::{GUARDED_CLAIM_STALE, LAST_BIRTH, STALE};
use super::grammar;

/// Any bytes, taken for each of them; and, a line each, for claims beside one another.
pub fn check(bytes: &[u8]) {
    check_name(bytes);
    check_owner(bytes);
    let lines = bytes.split(|&b| b == b'\n');
    let claims: Vec<ClaimName> = lines.filter_map(check_claim_name).collect();
    check_order(claims);
}

/// Only what the grammar has is a name, and none leads out of its directory (NAME-2).
pub fn check_name(text: &[u8]) {
    assert_eq!(is_id(text), grammar::is_id(text));
    assert_eq!(is_name(text), grammar::is_name(text));
    if is_name(text) {
        assert!(!text.contains(&b'/') && !text.starts_with(b".") && !text.starts_with(b"-"));
        let name = std::str::from_utf8(text).expect("a name is ASCII");
        let components: Vec<_> = Path::new(name).components().collect();
        assert_eq!(components, [Component::Normal(name.as_ref())]);
    }
}

/// An owner is opaque text but for a newline at its end and then `.g` (TOKEN-3).
pub fn check_owner(bytes: &[u8]) {
    let owner = Owner::from_bytes(bytes.to_vec());
    let bare = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    assert_eq!(owner.is_guarded(), bare.ends_with(b".g"));
    let shown = owner.to_string();
    assert!(shown.bytes().all(|b| matches!(b, b' '..=b'~')), "{shown}");
    let _ = owner.pid();
    if let Ok(text) = std::str::from_utf8(bare) {
        let token = Token::from_text(text);
        assert_eq!(token.as_str(), text);
        assert!(owner.is(&token));
        assert!(!owner.is(&Token::from_text(&format!("{text}\n"))));
        assert!(!owner.is(&Token::from_text(&format!("{text}0"))));
    }
}

/// A token that was drawn is one by the grammar, and the owner it makes tells of it.
pub fn check_token(pid: u32, random: u64, is_guarded: bool) {
    let token = Token::new(pid, random, is_guarded);
    let text = token.as_str();
    assert!(grammar::is_token(text), "{text}");
    assert_eq!(text.ends_with(".g"), is_guarded);
    assert_eq!(token.to_string(), text);
    for ending in ["", "\n"] {
        let owner = Owner::from_bytes(format!("{text}{ending}").into_bytes());
        assert!(owner.is(&token));
        assert_eq!(owner.is_guarded(), is_guarded);
        assert_eq!(owner.pid(), Some(pid));
    }
}

/// A claim that was made is read back, whoever made it (CLAIM-1, CLAIM-2).
pub fn check_new_claim(birth: u64, stamp: u64, n: u64, token: &Token) {
    let (birth, stamp) = (birth.min(LAST_BIRTH), stamp.min(LAST_BIRTH));
    let claim = ClaimName::new(birth, stamp, n, token);
    let entry = claim.to_entry();
    assert_eq!(check_claim_name(entry.as_bytes()), Some(claim.clone()));
    assert_eq!((claim.birth, claim.stamp), (birth, stamp));
    assert_eq!(*entry, *format!("{birth:013}-{stamp:013}-{n}.{token}"));
    assert_eq!(claim.is_guarded(), token.as_str().ends_with(".g"));
}

/// The name of an entry, and the claim it names, which prints as it was read.
pub fn check_claim_name(entry: &[u8]) -> Option<ClaimName> {
    if entry.iter().any(|b| matches!(b, 0 | b'/')) {
        return None; // not what a directory can hold
    }
    let claim = ClaimName::parse(OsStr::from_bytes(entry));
    let is_claim = claim.is_some();
    assert_eq!(
        is_claim,
        grammar::is_claim_name(entry),
        "{}",
        entry.escape_ascii()
    );
    let claim = claim?;
    assert_eq!(claim.to_entry().as_bytes(), entry);
    let token = entry.splitn(2, |&b| b == b'.').nth(1);
    let token = token.expect("a claim has a token");
    assert_eq!(claim.is_guarded(), token.ends_with(b".g"));

    let given_up = claim.given_up();
    let mut expected = entry.to_vec();
    expected[14..27].fill(b'0');
    assert_eq!(given_up.to_entry().as_bytes(), expected);
    assert_eq!(ClaimName::parse(&given_up.to_entry()), Some(given_up));

    for limit in [STALE, GUARDED_CLAIM_STALE] {
        check_age(&claim, limit);
    }
    Some(claim)
}

/// The age counts in both directions, and is not too great before it is (CLAIM-5).
fn check_age(claim: &ClaimName, limit: Duration) {
    let millis = u64::try_from(limit.as_millis()).expect("minutes");
    for (by, is_old) in [(0, false), (millis, false), (millis + 1, true)] {
        let after = claim.stamp + by;
        assert_eq!(claim.is_older_than(limit, after), is_old);
        if let Some(before) = claim.stamp.checked_sub(by) {
            assert_eq!(claim.is_older_than(limit, before), is_old);
        }
    }
}

/// Claims stand in the order of their births, and two that differ never tie.
fn check_order(mut claims: Vec<ClaimName>) {
    claims.sort();
    for pair in claims.windows(2) {
        assert!(pair[0].birth <= pair[1].birth);
        assert_eq!(pair[0] == pair[1], pair[0].to_entry() == pair[1].to_entry());
    }
}
