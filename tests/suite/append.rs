//! `mbox append`.

use std::fs;

use predicates::prelude::*;

use crate::common::{
    Fixture, assert_busy, assert_full_stdout, assert_help, assert_quiet_pipe, assert_usage, tree,
    with_broken_pipe, with_full_stdout,
};

const ID: &str = "00c0ffee00c0ffee";

#[test]
fn help() {
    let options = [
        "--from",
        "--reply-to",
        "--request-id",
        "--source",
        "--id",
        "--raw",
        "--sync",
        "--wait",
        "--root",
    ];
    assert_help("append", &options);
}

#[test]
fn one_message() {
    let fx = Fixture::new();
    let id = fx.append("a", "hello");
    assert!(mbox::is_id(id.as_bytes()), "{id}");
    let line = fs::read_to_string(fx.files("a").records).unwrap();
    let start = format!(r#"{{"schema_version":1,"id":"{id}","body":"hello","enqueued_at":"#);
    assert!(line.starts_with(&start), "{line}");
    assert!(line.ends_with(",\"body_bytes\":5,\"origin\":\"peer\"}\n"));
    fx.files("a").assert_unlocked();
}

#[test]
fn ids_differ() {
    let fx = Fixture::new();
    assert_ne!(fx.append("a", "x"), fx.append("a", "x"));
}

#[test]
fn every_key_in_its_place() {
    let fx = Fixture::new();
    fx.mbox(&["append", "a", "x", "--source", "s", "--reply-to", "p"])
        .args(["--request-id", "q", "--from", "alice", "--id", ID])
        .assert()
        .success()
        .stdout(format!("{ID}\n"))
        .stderr("");
    let line = fs::read_to_string(fx.files("a").records).unwrap();
    let (start, rest) = line.split_once(r#""enqueued_at":"#).unwrap();
    let (seconds, rest) = rest.split_once(',').unwrap();
    assert_eq!(
        start,
        format!(r#"{{"schema_version":1,"id":"{ID}","body":"x","#)
    );
    let rest_wanted = concat!(
        r#""body_bytes":1,"origin":"peer","from_session_id":"alice","request_id":"q","#,
        r#""reply_to":"p","source_message_id":"s"}"#,
        "\n"
    );
    assert_eq!(rest, rest_wanted);
    let now = crate::common::unix_millis() / 1000;
    assert!(now.abs_diff(seconds.parse().unwrap()) < 60, "{seconds}");
}

#[test]
fn the_body_from_stdin_less_one_newline() {
    let fx = Fixture::new();
    for (stdin, body) in [
        ("hello", "hello"),
        ("hello\n", "hello"),
        ("hello\n\n", "hello\n"),
        ("\n", ""),
        ("", ""),
        ("a\r\n", "a\r"),
    ] {
        fx.mbox(&["append", "a"])
            .write_stdin(stdin)
            .assert()
            .success();
        let out = fx.mbox(&["drain", "a", "--format", "body"]).output();
        let out = String::from_utf8(out.unwrap().stdout).unwrap();
        assert_eq!(out, format!("{body}\n"), "{stdin:?}");
    }
}

#[test]
fn bodies_come_back_byte_for_byte() {
    let fx = Fixture::new();
    let controls: String = (1..=0x1f).map(char::from).collect();
    for body in [
        "",
        " ",
        "\"\\/",
        "\\n",
        &controls,
        "\u{7f}\u{80}é😀\u{2028}\u{feff}",
        "a\nb\n\n",
        "{\"not\":\"a record\"}",
    ] {
        fx.mbox(&["append", "a", "--", body]).assert().success();
        let out = fx.mbox(&["drain", "a", "--format", "body"]).output();
        let out = String::from_utf8(out.unwrap().stdout).unwrap();
        assert_eq!(out, format!("{body}\n"));
    }
}

#[test]
fn only_what_must_be_is_escaped() {
    let fx = Fixture::new();
    fx.mbox(&["append", "a", "é/\u{7f}\u{1}\t\n\"\\"])
        .assert()
        .success();
    let line = fs::read_to_string(fx.files("a").records).unwrap();
    let body = line.split(r#""body":""#).nth(1).unwrap();
    let escaped = "é/\u{7f}\\u0001\\t\\n\\\"\\\\\",\"enq";
    assert!(body.starts_with(escaped), "{line}");
}

#[test]
fn the_largest_body_and_one_more() {
    let fx = Fixture::new();
    let (most, more) = ("x".repeat(65_536), "x".repeat(65_537));
    for newline in ["", "\n"] {
        let (most, more) = (format!("{most}{newline}"), format!("{more}{newline}"));
        fx.mbox(&["append", "a"])
            .write_stdin(most)
            .assert()
            .success();
        let before = tree(fx.dir());
        fx.mbox(&["append", "a"])
            .write_stdin(more)
            .assert()
            .code(65)
            .stdout("")
            .stderr(predicate::str::contains("over 65536 bytes"));
        assert_eq!(tree(fx.dir()), before);
    }
    // Bytes, not characters; and before escaping.
    fx.mbox(&["append", "a"])
        .write_stdin("é".repeat(32_769))
        .assert()
        .code(65);
    fx.mbox(&["append", "a"])
        .write_stdin("\u{1}".repeat(65_536))
        .assert()
        .success();
}

#[test]
fn the_largest_body_can_be_set() {
    let fx = Fixture::new();
    let with = |max: &str, body: &str| {
        let mut command = fx.mbox(&["append", "a", body]);
        command.env("MBOX_MAX_BODY", max).assert()
    };
    with("3", "abc").success();
    with("3", "abcd").code(65);
    with("", "abcd").success(); // empty counts as not given
    // A record still has its own limit (RECORD-1).
    let body = "x".repeat(1 << 20);
    fx.mbox(&["append", "a"])
        .env("MBOX_MAX_BODY", "9999999")
        .write_stdin(body)
        .assert()
        .code(65)
        .stderr(predicate::str::contains("more than 1048576"));
}

#[test]
fn bodies_that_cannot_be_written() {
    let fx = Fixture::new();
    for (body, why) in [
        (b"a\0b" as &[u8], "a NUL byte"),
        (b"a\xffb", "not valid UTF-8"),
        (b"\xed\xa0\x80", "not valid UTF-8"),
    ] {
        fx.mbox(&["append", "a"])
            .write_stdin(body)
            .assert()
            .code(65)
            .stdout("")
            .stderr(predicate::str::starts_with("mbox: "))
            .stderr(predicate::str::contains(why));
    }
    assert!(tree(fx.dir()).is_empty());
}

#[test]
fn raw_records_keep_their_bytes() {
    let fx = Fixture::new();
    let records = concat!(
        "{ \"id\": \"x\", \"z\":1.50, \"z\":[] }\r\n",
        "\n \t\r\n",
        "{\"id\":7}\n",
        "{\"id\":\"\\u0079\"}",
    );
    fx.mbox(&["append", "a", "--raw"])
        .write_stdin(records)
        .assert()
        .success()
        .stdout("x\ny\n")
        .stderr("");
    let kept = "{ \"id\": \"x\", \"z\":1.50, \"z\":[] }\r\n{\"id\":7}\n{\"id\":\"\\u0079\"}\n";
    assert_eq!(fs::read_to_string(fx.files("a").records).unwrap(), kept);
    fx.mbox(&["drain", "a"]).assert().success().stdout(kept);
}

#[test]
fn raw_records_are_checked_before_anything_is_written() {
    let fx = Fixture::new();
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128));
    for bad in ["x", "[]", "{", "{} {}", "\u{feff}{}", &long, &deep] {
        fx.mbox(&["append", "a", "--raw"])
            .write_stdin(format!("{{}}\n\n{bad}\n{{}}\n"))
            .assert()
            .code(65)
            .stdout("")
            .stderr(predicate::str::contains("line 3: "));
    }
    fx.mbox(&["append", "a", "--raw"])
        .write_stdin(b"{\"a\":\"\xff\"}" as &[u8])
        .assert()
        .code(65)
        .stderr(predicate::str::contains("line 1: "));
    assert!(tree(fx.dir()).is_empty());
}

#[test]
fn the_longest_raw_record() {
    let fx = Fixture::new();
    let of = |len: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(len - 8));
    let longest = of((1 << 20) - 1); // with its newline 1 MiB
    fx.mbox(&["append", "a", "--raw"])
        .write_stdin(longest)
        .assert()
        .success();
    fx.mbox(&["append", "a", "--raw"])
        .write_stdin(of(1 << 20))
        .assert()
        .code(65);
}

#[test]
fn no_raw_records_is_nothing() {
    let fx = Fixture::new();
    for stdin in ["", "\n", " \n\t\n"] {
        let mut command = fx.mbox(&["append", "a", "--raw"]);
        command.write_stdin(stdin).assert().success().stdout("");
    }
    assert!(tree(fx.dir()).is_empty());
}

#[test]
fn bad_usage() {
    let fx = Fixture::new();
    assert_usage(
        &fx,
        &[
            &["append"],
            &["append", "a", "b", "c"],
            &["append", "a", "b", "--nosuch"],
            &["append", "a", "b", "--id"],
            &["append", "a", "b", "--id", ""],
            &["append", "a", "b", "--id", "00C0FFEE00C0FFEE"],
            &["append", "a", "b", "--id", "00c0ffee00c0ffee0"],
            &["append", "a", "b", "--from", ""],
            &["append", "a", "b", "--from", "a b"],
            &["append", "a", "b", "--from", "a/b"],
            &["append", "a", "b", "--reply-to", "é"],
            &["append", "a", "b", "--request-id", ".x"],
            &["append", "a", "b", "--source", "\n"],
            &["append", "a", "b", "--wait", "x"],
            &["append", "a", "b", "--wait", "-1"],
            &["append", "a", "b", "--wait", "1e3"],
            &["append", "a", "b", "--wait", ""],
            &["append", "a", "b", "--from", "x", "--from", "y"],
            &["append", "a", "b", "--raw"],
            &["append", "a", "--raw", "--id", ID],
            &["append", "a", "--raw", "--from", "x"],
            &["append", "a", "--raw", "--reply-to", "x"],
            &["append", "a", "--raw", "--request-id", "x"],
            &["append", "a", "--raw", "--source", "x"],
        ],
    );
}

#[test]
fn busy() {
    assert_busy(&Fixture::new(), "a", &["append", "a", "x"]);
}

#[test]
fn it_waits_for_a_lock_that_is_given_back() {
    let fx = Fixture::new();
    let files = fx.files("a");
    files.hold("1.0123456789abcdef");
    let mut append = fx.process(&["append", "a", "x", "--wait", "20"]);
    let mut append = crate::common::Running::start(&mut append);
    crate::common::until("it waits", || crate::common::is_flocked(&files.guard));
    assert!(!files.records.exists());
    files.let_go();
    assert!(append.wait().success());
    assert_eq!(fx.drain("a"), ["x"]);
}

#[test]
fn a_torn_line_is_healed() {
    let fx = Fixture::new();
    fx.append("a", "one");
    let records = fx.files("a").records;
    let torn = [fs::read(&records).unwrap(), b"{\"torn".to_vec()].concat();
    fs::write(&records, &torn).unwrap();
    fx.append("a", "two");
    let text = fs::read(&records).unwrap();
    assert!(text.starts_with(&[&torn, b"\n" as &[u8]].concat()));
    fx.mbox(&["drain", "a", "--format", "body"])
        .assert()
        .success()
        .stdout("one\ntwo\n")
        .stderr(predicate::str::contains("1 damaged line was set aside in "));
}

#[test]
fn sync() {
    let fx = Fixture::new();
    fx.mbox(&["append", "a", "x", "--sync"]).assert().success();
    fx.mbox(&["append", "./own", "x", "--sync"])
        .assert()
        .success();
    assert_eq!(fx.drain("a"), ["x"]);
}

#[test]
fn closed_pipe() {
    let fx = Fixture::new();
    let out = with_broken_pipe(&mut fx.process(&["append", "a", "x"]));
    assert_quiet_pipe(&out);
    fx.files("a").assert_unlocked();
    assert_eq!(fx.drain("a"), ["x"]); // acknowledged or not, it may stand
}

#[test]
fn full_stdout() {
    let fx = Fixture::new();
    assert_full_stdout(&with_full_stdout(&mut fx.process(&["append", "a", "x"])));
    fx.files("a").assert_unlocked();
}

#[test]
fn unreadable_stdin() {
    let fx = Fixture::new();
    let dir = fs::File::open(fx.dir()).unwrap();
    let mut append = fx.process(&["append", "a"]);
    let out = append.stdin(dir).output().unwrap();
    assert_eq!(out.status.code(), Some(74), "{out:?}");
    assert!(String::from_utf8_lossy(&out.stderr).starts_with("mbox: cannot read stdin"));
    assert!(tree(fx.dir()).is_empty());
}
