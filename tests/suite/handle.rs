//! What a handle does that appends often: files kept open, and threads that go together.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mbox::{Append, ErrorKind, Mailbox, Message, Released, Root};

use crate::common::{DEADLINE, Files};

fn put(mailbox: &Mailbox, body: &str) {
    let id = mailbox.append(&Message::new(body), &Append::default());
    id.unwrap();
}

fn drain(mailbox: &Mailbox) -> Vec<String> {
    let Some(mut claim) = mailbox.drain().unwrap() else {
        return Vec::new();
    };
    let bodies = claim
        .messages()
        .map(|record| record.unwrap().body().unwrap().to_owned())
        .collect();
    claim.ack().unwrap();
    bodies
}

fn kept(dir: &Path) -> (Mailbox, Files) {
    let path = dir.join("box");
    (Mailbox::at(&path).keeping_open(), Files::of(path))
}

#[test]
fn a_kept_file_is_left_when_its_name_is_anothers() {
    let dir = tempfile::tempdir().unwrap();
    let (mailbox, files) = kept(dir.path());
    let other = Mailbox::at(&files.records);
    put(&mailbox, "one");
    assert_eq!(drain(&other), ["one"]);
    // Where there is none any more, where there is another, and where it is the same.
    put(&mailbox, "two");
    assert_eq!(drain(&other), ["two"]);
    put(&other, "three");
    put(&mailbox, "four");
    put(&mailbox, "five");
    assert_eq!(drain(&other), ["three", "four", "five"]);
}

#[test]
fn a_line_that_was_torn_meanwhile_is_healed() {
    let dir = tempfile::tempdir().unwrap();
    let (mailbox, files) = kept(dir.path());
    put(&mailbox, "one");
    let mut text = fs::read(&files.records).unwrap();
    text.extend_from_slice(b"{\"torn");
    fs::write(&files.records, text).unwrap();
    put(&mailbox, "two");
    assert_eq!(drain(&mailbox), ["one", "two"]);
    assert_eq!(fs::read(&files.damaged).unwrap(), b"{\"torn\n");
}

#[test]
fn the_private_file_is_there_once_and_goes_with_the_last_clone() {
    let dir = tempfile::tempdir().unwrap();
    let (mailbox, files) = kept(dir.path());
    assert!(files.temporaries().is_empty() && fs::read_dir(dir.path()).unwrap().count() == 0);
    for body in ["one", "two", "three"] {
        put(&mailbox, body);
        assert_eq!(files.temporaries().len(), 1);
    }
    let file = files.temporaries().remove(0);
    let meta = fs::metadata(file).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.nlink()), (0o600, 1));
    let clone = mailbox.clone();
    drop(mailbox);
    put(&clone, "four");
    assert_eq!(files.temporaries().len(), 1);
    drop(clone);
    assert!(files.temporaries().is_empty());
}

#[test]
fn a_directory_that_was_made_anew_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::at(dir.path().join("root"));
    let mailbox = root.mailbox("box").unwrap().keeping_open();
    let other = root.mailbox("box").unwrap();
    put(&mailbox, "one");
    fs::remove_dir_all(root.dir()).unwrap();
    put(&mailbox, "two");
    assert_eq!(drain(&other), ["two"]);
    fs::remove_dir_all(root.dir()).unwrap();
    put(&other, "three");
    put(&mailbox, "four");
    assert_eq!(drain(&other), ["three", "four"]);
}

/// A guard under another name proves nobody dead: the lock of one who lives would be taken
/// from him (ACQ-9).
#[test]
fn a_guard_that_was_made_anew_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (mailbox, files) = kept(dir.path());
    put(&mailbox, "one");
    fs::remove_file(&files.guard).unwrap();
    let other = Mailbox::at(&files.records);
    let lock = other.lock().unwrap();
    let busy = mailbox.clone().waiting(Duration::from_millis(50));
    let error = busy.append(&Message::new("two"), &Append::default());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(lock.release().unwrap(), Released::Held);
    put(&mailbox, "two");
    assert_eq!(drain(&other), ["one", "two"]);
}

#[test]
fn a_temporary_that_somebody_removed_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mailbox, files) = kept(dir.path());
    put(&mailbox, "one");
    for path in files.temporaries() {
        fs::remove_file(path).unwrap();
    }
    for body in ["two", "three"] {
        put(&mailbox, body);
    }
    assert_eq!(files.temporaries().len(), 1);
    assert_eq!(drain(&mailbox), ["one", "two", "three"]);
}

/// Whoever goes with another does not wait as long as that one.
#[test]
fn a_thread_waits_no_longer_than_it_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("box");
    let lock = Mailbox::at(&path).lock().unwrap();
    let mailbox = Mailbox::at(&path).waiting(DEADLINE);
    thread::scope(|scope| {
        let patient = scope.spawn(|| put(&mailbox, "patient"));
        thread::sleep(Duration::from_millis(50)); // or both are alone, and the test holds too
        let hasty = mailbox.clone().waiting(Duration::from_millis(50));
        let begun = Instant::now();
        let error = hasty.append(&Message::new("hasty"), &Append::default());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Busy);
        assert!(begun.elapsed() < DEADLINE / 2);
        assert_eq!(lock.release().unwrap(), Released::Held);
        patient.join().unwrap();
    });
    assert_eq!(drain(&mailbox), ["patient"]);
}

#[test]
fn threads_that_go_together_are_told_of_a_failure_alike() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("box");
    fs::create_dir(&path).unwrap();
    let mailbox = Mailbox::at(&path);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let error = mailbox.append(&Message::new(""), &Append::default());
                assert_eq!(error.unwrap_err().kind(), ErrorKind::Refused);
            });
        }
    });
}
