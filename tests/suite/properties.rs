//! The format layer under random values. The same properties are fuzzed: see `fuzz/`.

// Where it stands, because the layer is not public, and need not be.
#[path = "../../src/format/mod.rs"]
#[allow(dead_code)]
mod format;

mod grammar;
mod message;
mod names;
mod record;

use proptest::collection::{SizeRange, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::common::cases;
use format::token::Token;

proptest! {
    #![proptest_config(cases(1_000, 15_000))]

    #[test]
    fn a_json_object_is_a_record(line in object()) {
        prop_assert!(grammar::members(line.as_bytes()).is_some(), "{line}");
        record::check_line(line.as_bytes());
    }

    #[test]
    fn a_line_is_what_the_grammar_says(line in damaged(object().prop_map(String::into_bytes))) {
        record::check(&line);
    }

    #[test]
    fn a_message_comes_back(parts in parts()) {
        message::check(&parts);
    }

    #[test]
    fn a_name_stays_in_its_directory(name in damaged(name().prop_map(String::into_bytes))) {
        names::check_name(&name);
        names::check_owner(&name);
    }

    #[test]
    fn a_token_is_read_back(pid in 1u32.., random: u64, is_guarded: bool) {
        names::check_token(pid, random, is_guarded);
    }

    #[test]
    fn a_claim_is_read_back(
        (birth, stamp, n) in (millis(), millis(), any::<u64>()),
        (pid, random, is_guarded) in (1u32.., any::<u64>(), any::<bool>()),
    ) {
        names::check_new_claim(birth, stamp, n, &Token::new(pid, random, is_guarded));
    }

    #[test]
    fn claims_stand_in_order_of_birth(entries in vec(damaged(claim_name()), 1..6)) {
        names::check(&entries.join(&b'\n'));
    }
}

#[test]
fn depth() {
    for depth in 120..140 {
        let arrays = format!(
            "{{\"a\":{}{}}}",
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        );
        let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        for line in [arrays, objects] {
            assert_eq!(grammar::members(line.as_bytes()).is_some(), depth <= 128);
            record::check_line(line.as_bytes());
        }
    }
}

/// A message that is as long as a record may be, and one byte longer.
#[test]
fn the_greatest_message() {
    for (text, escaped) in [("x", 1), ("\u{1}", 6)] {
        let of = |length: usize| message::Parts {
            body: text.repeat(length),
            max_body: usize::MAX,
            ..message::Parts::default()
        };
        let too_long = format::MAX_RECORD / escaped;
        let over = of(too_long).record_bytes() - format::MAX_RECORD;
        let fits = too_long - over.div_ceil(escaped);
        assert!(of(fits).record_bytes() <= format::MAX_RECORD);
        assert!(of(fits + 1).record_bytes() > format::MAX_RECORD);
        for length in [fits, fits + 1] {
            message::check(&of(length));
        }
    }
}

/// One JSON object on a line, as other programs may write it.
fn object() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        3 => string(),
        1 => number(),
        1 => select(vec!["true", "false", "null"]).prop_map(str::to_owned),
    ];
    let value = scalar.prop_recursive(6, 24, 4, |inner| {
        prop_oneof![
            (space(), vec(inner.clone(), 0..4)).prop_map(|(space, values)| {
                format!("[{space}{}]", values.join(&format!(",{space}")))
            }),
            members(inner),
        ]
    });
    (space(), members(value), space()).prop_map(|(before, object, after)| before + &object + &after)
}

fn members(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let key = prop_oneof![
        3 => select(vec![
            r#""id""#, r#""body""#, r#""from_session_id""#, r#""reply_to""#,
            r#""request_id""#, r#""enqueued_at""#, r#""\u0069d""#, r#""b\u006Fdy""#,
        ])
        .prop_map(str::to_owned),
        1 => string(),
    ];
    let members = vec((key, space(), value), 0..5);
    (space(), members).prop_map(|(around, members)| {
        let members: Vec<String> = members
            .into_iter()
            .map(|(key, space, value)| format!("{key}{space}:{space}{value}{around}"))
            .collect();
        format!("{{{around}{}}}", members.join(&format!(",{around}")))
    })
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        1 => text(select(vec![' ', '\t', '\r']), 0..3),
    ]
}

/// A JSON string, with escapes that are needed and that are not.
fn string() -> impl Strategy<Value = String> {
    let escape = select(vec![
        r#"\""#,
        r"\\",
        r"\/",
        r"\b",
        r"\f",
        r"\n",
        r"\r",
        r"\t",
        r"\u0000",
        r"\u001b",
        r"\u00e9",
        r"\u202E",
        r"\ud83d\ude00",
        r"\ud800",
        r"\uDFFF",
        r"\ud800\u0041",
    ])
    .prop_map(str::to_owned);
    let plain = character().prop_filter_map("to be escaped", |c| {
        (c >= ' ' && c != '"' && c != '\\').then(|| c.to_string())
    });
    vec(prop_oneof![1 => escape, 3 => plain], 0..8)
        .prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u64>().prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(|n| n.to_string()),
        select(vec![
            "0",
            "-0",
            "1e999",
            "-1.5E-7",
            "18446744073709551616",
            "1.0"
        ])
        .prop_map(str::to_owned),
    ]
}

/// The same bytes, and one time in two with up to three of them changed.
fn damaged(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => select(b"{}[]\",:\\ \t\r\n\0/.-_0123456789eEu+gtfn\x7f\xc3\xa9\xed\xa0\xff".to_vec()),
        1 => any::<u8>(),
    ];
    let change = (any::<Index>(), option::of(byte), any::<bool>());
    let changes = prop_oneof![Just(Vec::new()), vec(change, 1..4)];
    (bytes, changes).prop_map(|(mut bytes, changes)| {
        for (at, byte, is_more) in changes {
            let at = at.index(bytes.len() + 1);
            let gone = usize::from(!is_more && at < bytes.len());
            bytes.splice(at..at + gone, byte);
        }
        bytes
    })
}

fn parts() -> impl Strategy<Value = message::Parts> {
    let id = prop_oneof![4 => text(select(HEX.to_vec()), 16..17), 1 => text(character(), 0..18)];
    let names = [name(), name(), name(), name()].map(option::of);
    let max_body = prop_oneof![4 => Just(1 << 20), 1 => 0usize..40];
    (
        text(character(), 0..40),
        option::of(id),
        names,
        any::<u64>(),
        max_body,
    )
        .prop_map(
            |(body, id, [from, request_id, reply_to, source], enqueued_at, max_body)| {
                message::Parts {
                    body,
                    id,
                    from,
                    request_id,
                    reply_to,
                    source,
                    enqueued_at,
                    max_body,
                }
            },
        )
}

/// A name, mostly.
fn name() -> impl Strategy<Value = String> {
    let first = select("AZaz09_@+".chars().collect::<Vec<_>>());
    let later = select("AZaz09._@+-".chars().collect::<Vec<_>>());
    prop_oneof![
        8 => (first, text(later, 0..20)).prop_map(|(first, later)| format!("{first}{later}")),
        1 => text(select(vec!['n']), 126..131),
        1 => text(character(), 0..4),
    ]
    .boxed()
}

/// The name of a claim as any peer may have made it.
fn claim_name() -> impl Strategy<Value = Vec<u8>> {
    let digits = || text(select("0123456789".chars().collect::<Vec<_>>()), 1..24);
    let token = prop_oneof![
        (1u32.., any::<u64>(), select(vec!["", ".g"]))
            .prop_map(|(pid, random, mark)| format!("{pid}.{random:016x}{mark}").into_bytes()),
        vec(prop_oneof![1u8..b'/', b'0'..], 1..8),
    ];
    (millis(), millis(), digits(), token).prop_map(|(birth, stamp, n, token)| {
        [format!("{birth:013}-{stamp:013}-{n}.").as_bytes(), &token].concat()
    })
}

fn millis() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..10_000_000_000_000u64,
        1_700_000_000_000..1_700_000_000_003u64,
        select(vec![0, 9_999_999_999_999]),
    ]
}

/// Any character, and more often one that needs care.
fn character() -> impl Strategy<Value = char> {
    let special =
        "\0\u{1}\t\n\r\u{1b}\u{1f} \"\\/{}\u{7f}\u{80}\u{9b}\u{202e}\u{2066}\u{2028}\u{feff}é😀";
    prop_oneof![
        2 => select(special.chars().collect::<Vec<_>>()),
        2 => (b' '..=b'~').prop_map(char::from),
        1 => any::<char>(),
    ]
}

fn text(
    character: impl Strategy<Value = char>,
    length: impl Into<SizeRange>,
) -> impl Strategy<Value = String> {
    vec(character, length).prop_map(String::from_iter)
}

const HEX: &[char; 16] = &[
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
];
