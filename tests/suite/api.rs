//! The library, on a real directory.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mbox::{
    Append, Bounded, Claim, Error, ErrorKind, Limit, LockGuard, Mailbox, Match, Message, Peek,
    Record, Released, Root, Token, resolve,
};

use crate::common::{DEADLINE, Files, age, set_age, tree};

/// A mailbox in a directory of its own, given by path.
struct Place {
    dir: tempfile::TempDir,
    mailbox: Mailbox,
    files: Files,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("box");
    Place {
        mailbox: Mailbox::at(&path).waiting(Duration::from_millis(200)),
        files: Files::of(path),
        dir,
    }
}

fn put(mailbox: &Mailbox, bodies: &[&str]) {
    for body in bodies {
        mailbox
            .append(&Message::new(*body), &Append::default())
            .unwrap();
    }
}

fn bodies(claim: &mut Claim) -> Vec<String> {
    claim
        .messages()
        .map(|record| record.unwrap().body().unwrap().to_owned())
        .collect()
}

fn drain(mailbox: &Mailbox) -> Vec<String> {
    let Some(mut claim) = mailbox.drain().unwrap() else {
        return Vec::new();
    };
    let bodies = bodies(&mut claim);
    claim.ack().unwrap();
    bodies
}

#[test]
fn types_can_be_sent_to_other_threads() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<(Mailbox, Root, Message, Record, Token, Error)>();
    sync::<(Mailbox, Root, Message, Record, Token, Error)>();
    send::<(Claim, LockGuard, Bounded, Append, Limit, Match, Peek)>();
    sync::<LockGuard>();
}

#[test]
fn append_then_drain() {
    let Place {
        dir,
        mailbox,
        files,
    } = place();
    assert!(mailbox.drain().unwrap().is_none());
    assert!(!mailbox.has_mail().unwrap());
    let message = Message::new("one")
        .from("alice")
        .reply_to("q")
        .id("00c0ffee00c0ffee");
    let id = mailbox.append(&message, &Append::default()).unwrap();
    assert_eq!(id, "00c0ffee00c0ffee");
    let id = mailbox
        .append(&Message::new("two"), &Append::default())
        .unwrap();
    assert!(mbox::is_id(id.as_bytes()));
    assert!(mailbox.has_mail().unwrap());

    let mut claim = mailbox.drain().unwrap().unwrap();
    let records: Vec<Record> = claim.messages().map(Result::unwrap).collect();
    let text: Vec<u8> = records
        .iter()
        .flat_map(|r| [r.bytes(), b"\n"].concat())
        .collect();
    assert_eq!(
        fs::read(files.claims.join(&files.claim_names()[0])).unwrap(),
        text
    );
    assert_eq!(records[0].from(), Some("alice"));
    assert_eq!(records[0].reply_to(), Some("q"));
    assert_eq!(records[1].id(), Some(&*id));
    assert!(records[1].enqueued_at().unwrap() > 1_700_000_000);

    // In hand: nobody else's, but still mail.
    assert!(mailbox.drain().unwrap().is_none());
    assert!(mailbox.has_mail().unwrap());
    assert_eq!(claim.ack().unwrap().damaged, 0);
    assert!(!mailbox.has_mail().unwrap());
    assert_eq!(
        tree(dir.path()).into_keys().collect::<Vec<_>>(),
        [files.guard]
    );
}

#[test]
fn append_many_is_all_or_nothing() {
    let Place {
        dir: _dir,
        mailbox,
        files,
    } = place();
    let how = Append::default();
    let error = mailbox
        .append_many(b"{\"id\":\"a\"}\n\nx\n", &how)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("line 3: "), "{error}");
    assert!(!files.records.exists());
    let ids = mailbox
        .append_many(b"{\"id\":\"a\"}\n \n{}\n{\"id\":\"b\"}", &how)
        .unwrap();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(
        fs::read(&files.records).unwrap(),
        b"{\"id\":\"a\"}\n{}\n{\"id\":\"b\"}\n"
    );
    assert!(mailbox.append_many(b" \n\n", &how).unwrap().is_empty());
}

#[test]
fn append_options() {
    let Place {
        dir: _dir, mailbox, ..
    } = place();
    let small = Append {
        max_body: 3,
        sync: true,
    };
    mailbox.append(&Message::new("abc"), &small).unwrap();
    let error = mailbox.append(&Message::new("abcd"), &small).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    for bad in [
        Message::new("a\0"),
        Message::new("").id("A"),
        Message::new("").from("a b"),
        Message::new("").source("/"),
    ] {
        let error = mailbox.append(&bad, &Append::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    }
    assert_eq!(drain(&mailbox), ["abc"]);
}

#[test]
fn dropping_a_claim_puts_it_back() {
    let Place {
        dir: _dir,
        mailbox,
        files,
    } = place();
    put(&mailbox, &["one", "two"]);
    let mut claim = mailbox.drain().unwrap().unwrap();
    assert_eq!(bodies(&mut claim), ["one", "two"]);
    drop(claim);
    let name = &files.claim_names()[0];
    assert!(name.contains("-0000000000000-"), "{name}"); // CLAIM-7
    put(&mailbox, &["three"]);
    let claim = mailbox.drain().unwrap().unwrap();
    claim.put_back();
    assert_eq!(drain(&mailbox), ["one", "two", "three"]);
    assert_eq!(drain(&mailbox), [] as [&str; 0]);
}

#[test]
fn messages_again_begins_anew() {
    let Place {
        dir: _dir,
        mailbox,
        files,
    } = place();
    put(&mailbox, &["one"]);
    fs::write(
        &files.records,
        [fs::read(&files.records).unwrap(), b"x\n".to_vec()].concat(),
    )
    .unwrap();
    put(&mailbox, &["two"]);
    let mut claim = mailbox.drain().unwrap().unwrap();
    assert_eq!(bodies(&mut claim), ["one", "two"]);
    assert_eq!(
        claim.messages().next().unwrap().unwrap().body(),
        Some("one")
    );
    assert_eq!(bodies(&mut claim), ["one", "two"]);
    // A damaged line met three times is set aside once.
    assert_eq!(claim.ack().unwrap().damaged, 1);
    assert_eq!(fs::read(&files.damaged).unwrap(), b"x\n");
    assert_eq!(mailbox.damaged_path(), files.damaged);
}

#[test]
fn ack_without_reading_sets_damaged_lines_aside() {
    for read in [0, 1] {
        let Place {
            dir: _dir,
            mailbox,
            files,
        } = place();
        fs::write(&files.records, "{\"n\":1}\nx\n{\"n\":2}\n{\"torn").unwrap();
        let mut claim = mailbox.drain().unwrap().unwrap();
        assert_eq!(claim.messages().take(read).count(), read);
        assert_eq!(claim.ack().unwrap().damaged, 2);
        assert_eq!(fs::read(&files.damaged).unwrap(), b"x\n{\"torn\n");
        assert!(!mailbox.has_mail().unwrap());
    }
}

#[test]
fn ack_removes_what_was_not_read() {
    let Place {
        dir: _dir, mailbox, ..
    } = place();
    put(&mailbox, &["one", "two"]);
    let mut claim = mailbox.drain().unwrap().unwrap();
    assert!(claim.messages().next().is_some());
    claim.ack().unwrap();
    assert!(!mailbox.has_mail().unwrap());
}

#[test]
fn take() {
    let Place {
        dir: _dir,
        mailbox,
        files,
    } = place();
    for (body, from) in [("one", "alice"), ("two", "bob"), ("three", "bob")] {
        let message = Message::new(body).from(from);
        mailbox.append(&message, &Append::default()).unwrap();
    }
    let from = |name: &str| Match {
        from: Some(name.into()),
        ..Match::default()
    };
    assert!(mailbox.take(&from("eve")).unwrap().is_none());
    let mut claim = mailbox.take(&from("bob")).unwrap().unwrap();
    assert_eq!(bodies(&mut claim), ["two"]);
    // The rest is free at once; what is in hand is nobody else's.
    assert!(files.records.exists());
    assert!(
        mailbox
            .take(&Match {
                id: Some("x".into()),
                ..from("bob")
            })
            .unwrap()
            .is_none()
    );
    drop(claim);
    let mut claim = mailbox.take(&from("bob")).unwrap().unwrap();
    assert_eq!(bodies(&mut claim), ["two"]);
    claim.ack().unwrap();
    assert_eq!(drain(&mailbox), ["one", "three"]);
}

#[test]
fn drain_some() {
    let Place {
        dir: _dir, mailbox, ..
    } = place();
    let some = |messages, bytes| mailbox.drain_some(&Limit { messages, bytes }).unwrap();
    assert!(matches!(some(Some(1), None), Bounded::Nothing));
    mailbox
        .append_many(b"{\"body\":\"1\"}\n{\"body\":\"2\"}\n", &Append::default())
        .unwrap();
    assert!(matches!(
        some(None, Some(12)),
        Bounded::TooLarge { bytes: 13 }
    ));
    let Bounded::Mail(mut claim) = some(Some(1), None) else {
        panic!("one of two");
    };
    assert_eq!(bodies(&mut claim), ["1"]);
    claim.ack().unwrap();
    assert_eq!(drain(&mailbox), ["2"]);
}

/// Damaged lines alone go the way of a drain (TAKE-9).
#[test]
fn a_bounded_drain_of_damaged_lines() {
    let Place {
        dir: _dir,
        mailbox,
        files,
    } = place();
    fs::write(&files.records, "garbage\n").unwrap();
    let limit = Limit {
        messages: Some(1),
        bytes: None,
    };
    let some = || match mailbox.drain_some(&limit).unwrap() {
        Bounded::Mail(claim) => claim,
        _ => panic!("no claim"),
    };
    some().put_back();
    assert!(mailbox.has_mail().unwrap());
    let mut claim = some();
    assert!(claim.messages().next().is_none());
    assert_eq!(claim.ack().unwrap().damaged, 1);
    assert!(!mailbox.has_mail().unwrap());
    assert_eq!(fs::read_to_string(&files.damaged).unwrap(), "garbage\n");
}

/// A child has a copy of every descriptor until it executes its program.
#[test]
fn what_is_let_go_of_is_free_at_once() {
    let Place {
        dir: _dir, mailbox, ..
    } = place();
    put(&mailbox, &["one"]);
    let claim = mailbox.drain().unwrap().unwrap();
    let lock = mailbox.lock().unwrap();
    let (mut forked, mut in_child) = std::io::pipe().unwrap();
    let (mut wait, go) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut command = Command::new("true");
            // Between the fork and the exec; only reads and writes are done there.
            unsafe {
                command.pre_exec(move || {
                    in_child.write_all(b"x")?;
                    wait.read_exact(&mut [0])
                });
            }
            assert!(command.status().unwrap().success());
        });
        forked.read_exact(&mut [0]).unwrap();
        claim.put_back();
        assert_eq!(lock.release().unwrap(), Released::Held);
        let again = drain(&mailbox);
        let lock = mailbox.lock().unwrap();
        (&go).write_all(b"x").unwrap();
        assert_eq!(again, ["one"]);
        assert!(lock.token().as_str().ends_with(".g"), "no guard to be had");
    });
}

#[test]
fn peek() {
    let Place {
        dir,
        mailbox,
        files,
    } = place();
    assert_eq!(mailbox.peek(&Peek::default()).unwrap().records.len(), 0);
    put(&mailbox, &["one", "two", "three"]);
    let claim = mailbox.drain().unwrap().unwrap();
    put(&mailbox, &["four"]);
    fs::write(
        &files.records,
        [fs::read(&files.records).unwrap(), b"x\n".to_vec()].concat(),
    )
    .unwrap();
    let before = tree(dir.path());
    let peek = |since: Option<&Record>, max| {
        let since = since.map(|record| record.id().unwrap().to_owned());
        mailbox.peek(&Peek { since, max }).unwrap()
    };
    let all = peek(None, None);
    assert_eq!(all.damaged, 1);
    let bodies = |records: &[Record]| -> Vec<String> {
        records
            .iter()
            .map(|r| r.body().unwrap().to_owned())
            .collect()
    };
    assert_eq!(bodies(&all.records), ["one", "two", "three", "four"]);
    let some = peek(Some(&all.records[0]), Some(2));
    assert_eq!(bodies(&some.records), ["two", "three"]);
    assert_eq!(tree(dir.path()), before);
    claim.ack().unwrap();
}

#[test]
fn lock_and_release() {
    let Place {
        dir: _dir,
        mailbox,
        files,
    } = place();
    let lock = mailbox.lock().unwrap();
    assert_eq!(files.token().as_deref(), Some(lock.token().as_str()));
    assert!(lock.token().to_string().ends_with(".g"));
    assert!(lock.still_held().unwrap());
    // Not even for this process: a lock is not counted.
    assert_eq!(mailbox.lock().unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(lock.release().unwrap(), Released::Held);
    files.assert_unlocked();
    drop(mailbox.lock().unwrap());
    files.assert_unlocked();
}

#[test]
fn renew_makes_it_young() {
    let Place {
        dir: _dir,
        mailbox,
        files,
    } = place();
    let lock = mailbox.lock().unwrap();
    set_age(&files.lock, -25);
    assert!(lock.renew().unwrap());
    assert!(age(&files.lock) < Duration::from_secs(10));
    assert_eq!(lock.release().unwrap(), Released::Held);
}

#[test]
fn a_lost_lock_is_not_touched() {
    let Place {
        dir,
        mailbox,
        files,
    } = place();
    let lock = mailbox.lock().unwrap();
    let second = mailbox.lock();
    assert!(second.is_err());
    fs::remove_file(&files.owner).unwrap();
    fs::write(&files.owner, "4242.0123456789abcdef").unwrap();
    set_age(&files.lock, -20);
    let before = tree(dir.path());
    assert!(!lock.still_held().unwrap());
    assert!(!lock.renew().unwrap());
    assert!(age(&files.lock) > Duration::from_secs(15)); // ACQ-7
    assert_eq!(lock.release().unwrap(), Released::Lost);
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn dropping_a_lost_lock_touches_nothing() {
    let Place {
        dir,
        mailbox,
        files,
    } = place();
    let lock = mailbox.lock().unwrap();
    fs::remove_file(&files.owner).unwrap();
    let before = tree(dir.path());
    drop(lock);
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn errors_say_what_where_and_what_next() {
    let Place {
        dir,
        mailbox,
        files,
    } = place();
    let show = |error: &Error| format!("{error}; {}", error.next_step());

    files.hold("4242.0123456789abcdef");
    let error = mailbox
        .append(&Message::new("x"), &Append::default())
        .unwrap_err();
    assert_eq!((error.kind(), error.op()), (ErrorKind::Busy, "lock"));
    assert_eq!(error.path(), files.lock);
    assert!(error.source().is_none());
    assert!(
        show(&error).contains("held by process 4242 for "),
        "{}",
        show(&error)
    );
    assert!(error.next_step().contains("try again"));
    files.let_go();

    let nowhere = Mailbox::at(dir.path().join("no/box"));
    let error = nowhere
        .append(&Message::new("x"), &Append::default())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.path().starts_with(dir.path().join("no")));
    let source = error
        .source()
        .unwrap()
        .downcast_ref::<std::io::Error>()
        .unwrap();
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(error.next_step(), "create the directory first");
    let display = error.to_string();
    assert!(display.starts_with("cannot lock "), "{display}");
    assert!(display.ends_with("no such file or directory"), "{display}");

    fs::create_dir(&files.records).unwrap();
    let error = mailbox.drain().map(drop).unwrap_err();
    assert_eq!(
        (error.kind(), error.path()),
        (ErrorKind::Refused, &*files.records)
    );
    assert!(error.source().is_none());
    assert!(error.to_string().contains("a directory is in the way"));

    let error = Root::at(dir.path()).mailbox("a b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Name);
    assert!(!error.next_step().is_empty());
}

#[test]
fn roots() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::at(dir.path().join("r/"));
    assert_eq!(root.dir(), dir.path().join("r"));
    assert!(root.mailboxes_by_name().unwrap().is_empty());
    let path = dir.path().join("r/mailboxes/a.jsonl");
    assert_eq!(root.mailbox("a").unwrap().path(), path);
    assert_eq!(root.mailbox("a").unwrap().title(), "a");
    assert_eq!(resolve("a".as_ref(), &root).unwrap().path(), path);
    assert_eq!(
        resolve("./a".as_ref(), &root).unwrap().path().to_str(),
        Some("./a")
    );
    assert_eq!(
        resolve("a/".as_ref(), &root).unwrap_err().kind(),
        ErrorKind::Name
    );
    assert_eq!(
        resolve("".as_ref(), &root).unwrap_err().kind(),
        ErrorKind::Name
    );
    assert!(tree(dir.path()).is_empty());
    put(&root.mailbox("b").unwrap(), &["x"]);
    put(&root.mailbox("a").unwrap(), &["x"]);
    let names: Vec<String> = root
        .mailboxes_by_name()
        .unwrap()
        .iter()
        .map(|mailbox| mailbox.title().to_owned())
        .collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn threads_lose_nothing_and_keep_their_order() {
    const WRITERS: usize = 8;
    const EACH: usize = 200;
    let Place {
        dir: _dir,
        mailbox,
        files,
    } = place();
    let mailbox = mailbox.waiting(Duration::from_secs(30));
    let writing = AtomicUsize::new(WRITERS);
    // In the order in which mail was handed over: a drain of one reader may be
    // acknowledged after that of the other, so each keeps its own list.
    let end = Instant::now() + DEADLINE;
    let read = || {
        let mut got: Vec<(usize, usize)> = Vec::new();
        loop {
            // Looked at before the drain: what is written before is seen by it.
            let is_last = writing.load(Ordering::SeqCst) == 0;
            if let Some(mut claim) = mailbox.drain().unwrap() {
                for body in bodies(&mut claim) {
                    let (writer, n) = body.split_once(' ').unwrap();
                    got.push((writer.parse().unwrap(), n.parse().unwrap()));
                }
                claim.ack().unwrap();
            }
            if is_last || Instant::now() > end {
                return got;
            }
        }
    };
    let (mailbox, writing) = (&mailbox, &writing);
    let got = std::thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for n in 0..EACH {
                    put(mailbox, &[&format!("{writer} {n}")]);
                }
                writing.fetch_sub(1, Ordering::SeqCst);
            });
        }
        readers.map(|reader| reader.join().unwrap())
    });
    let mut all: Vec<(usize, usize)> = Vec::new();
    for got in &got {
        let mut last: BTreeMap<usize, usize> = BTreeMap::new();
        for &(writer, n) in got {
            let before = last.insert(writer, n);
            assert!(
                before.is_none_or(|before| before < n),
                "{writer}: {before:?} {n}"
            );
        }
        all.extend(got);
    }
    let distinct: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(
        all.len(),
        WRITERS * EACH,
        "something was handed over twice, or never"
    );
    assert_eq!(distinct.len(), WRITERS * EACH, "something was lost");
    files.assert_unlocked();
    assert!(!mailbox.has_mail().unwrap());
}
