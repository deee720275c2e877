//! The library's `Watcher`.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use mbox::{Append, Backend, Mailbox, Message, Problem, Root, Watch, Watcher};
use tempfile::TempDir;

use crate::common::{DEADLINE, until};

/// What a subscription was shown.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<String>>>);

impl Shown {
    fn bodies(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    #[track_caller]
    fn expect(&self, wanted: &[&str]) {
        until("all is shown", || self.bodies().len() >= wanted.len());
        assert_eq!(self.bodies(), wanted);
    }
}

fn body(record: &mbox::Record) -> String {
    record.body().unwrap_or_default().to_owned()
}

fn subscribe(watcher: &Watcher, mailbox: &Mailbox, since: Option<&str>) -> Shown {
    let shown = Shown::default();
    let shared = shown.clone();
    watcher.subscribe(mailbox, since, move |record| {
        shared.0.lock().unwrap().push(body(record));
        Ok(())
    });
    shown
}

fn inbox(dir: &Path) -> Mailbox {
    Root::at(dir.join("root")).mailbox("inbox").unwrap()
}

fn append(mailbox: &Mailbox, body: &str) -> String {
    mailbox
        .append(&Message::new(body), &Append::default())
        .unwrap()
}

fn drain(mailbox: &Mailbox) {
    mailbox.drain().unwrap().unwrap().ack().unwrap();
}

/// A watcher that says what goes wrong.
fn with(backend: Option<Backend>) -> (Watcher, mpsc::Receiver<String>) {
    let (sender, problems) = mpsc::channel();
    let watcher = Watcher::new(Watch {
        backend,
        on_problem: Box::new(move |problem: &Problem| {
            let _ = sender.send(problem.to_string()); // a test that does not ask
        }),
        ..Watch::default()
    });
    (watcher, problems)
}

fn on_each(test: impl Fn(&TempDir, Watcher)) {
    for &backend in Backend::available() {
        let (watcher, _) = with(Some(backend));
        test(&tempfile::tempdir().unwrap(), watcher);
    }
}

#[test]
fn life() {
    let dir = tempfile::tempdir().unwrap();
    let (watcher, problems) = with(None);
    assert!(!watcher.is_running());
    assert_eq!((watcher.backend(), watcher.subscription_count()), (None, 0));
    watcher.stop(); // nothing to stop
    let shown = subscribe(&watcher, &inbox(dir.path()), None);
    watcher.start().unwrap();
    watcher.start().unwrap();
    assert!(watcher.is_running());
    assert_eq!(watcher.backend(), Some(Backend::available()[0]));
    assert_eq!(watcher.subscription_count(), 1);
    append(&inbox(dir.path()), "1");
    shown.expect(&["1"]);
    watcher.stop();
    watcher.stop();
    assert!(!watcher.is_running());
    drop(watcher);
    assert_eq!(problems.try_iter().collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn nothing_between_stop_and_start_is_missed() {
    on_each(|dir, watcher| {
        let inbox = inbox(dir.path());
        let shown = subscribe(&watcher, &inbox, None);
        append(&inbox, "0");
        watcher.start().unwrap();
        shown.expect(&["0"]);
        for round in 0..5 {
            watcher.stop();
            append(&inbox, &format!("{round} appended"));
            if round % 2 == 0 {
                // The mail is in a file that is gone for everybody else.
                drain(&inbox);
                append(&inbox, &format!("{round} later"));
            }
            let before = shown.bodies().len();
            watcher.start().unwrap();
            let more = if round % 2 == 0 { 2 } else { 1 };
            until("all is shown", || shown.bodies().len() >= before + more);
        }
        watcher.stop();
        let shown = shown.bodies();
        assert_eq!(shown.len(), 1 + 5 + 3, "{shown:?}");
    });
}

#[test]
fn since_across_watchers() {
    on_each(|dir, watcher| {
        let inbox = inbox(dir.path());
        append(&inbox, "1");
        let id = append(&inbox, "2");
        append(&inbox, "3");
        let all = subscribe(&watcher, &inbox, None);
        let later = subscribe(&watcher, &inbox, Some(&id));
        let unknown = subscribe(&watcher, &inbox, Some("00c0ffee00c0ffee"));
        watcher.start().unwrap();
        append(&inbox, "4");
        all.expect(&["1", "2", "3", "4"]);
        later.expect(&["3", "4"]);
        unknown.expect(&["1", "2", "3", "4"]);
    });
}

#[test]
fn subscriptions_come_and_go_in_callbacks() {
    on_each(|dir, watcher| {
        let inbox = inbox(dir.path());
        let watcher = Arc::new(watcher);
        let (inner, outer) = (Shown::default(), Shown::default());
        let me = Arc::new(OnceLock::new());
        let subscription = watcher.subscribe(&inbox, None, {
            let (watcher, inbox) = (Arc::downgrade(&watcher), inbox.clone());
            let (inner, outer, me) = (inner.clone(), outer.clone(), Arc::clone(&me));
            move |record| {
                outer.0.lock().unwrap().push(body(record));
                let watcher = watcher.upgrade().unwrap();
                let shared = inner.clone();
                watcher.subscribe(&inbox, record.id(), move |record| {
                    shared.0.lock().unwrap().push(body(record));
                    Ok(())
                });
                assert!(watcher.unsubscribe(*me.get().unwrap()));
                assert!(!watcher.unsubscribe(*me.get().unwrap()));
                Ok(())
            }
        });
        me.set(subscription).unwrap();
        append(&inbox, "1");
        append(&inbox, "2"); // not for the first subscription, which is over
        watcher.start().unwrap();
        inner.expect(&["2"]);
        append(&inbox, "3");
        inner.expect(&["2", "3"]);
        assert_eq!(outer.bodies(), ["1"]);
        assert_eq!(watcher.subscription_count(), 1);
    });
}

#[test]
fn unsubscribed_is_not_called_again() {
    on_each(|dir, watcher| {
        let inbox = inbox(dir.path());
        let calls = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&calls);
        let subscription = watcher.subscribe(&inbox, None, move |_| {
            shared.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        let other = subscribe(&watcher, &inbox, None);
        watcher.start().unwrap();
        append(&inbox, "1");
        other.expect(&["1"]);
        until("it was called", || calls.load(Ordering::SeqCst) == 1);
        assert!(watcher.unsubscribe(subscription));
        append(&inbox, "2");
        other.expect(&["1", "2"]);
        watcher.stop();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        // What the callback held is let go of.
        until("it is dropped", || Arc::strong_count(&calls) == 1);
    });
}

#[test]
fn callbacks_that_fail_and_panic() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = inbox(dir.path());
    let (watcher, problems) = with(None);
    watcher.subscribe(&inbox, None, |_| Err("it did not like it".into()));
    let panicking = Shown::default();
    let shared = panicking.clone();
    watcher.subscribe(&inbox, None, move |record| {
        shared
            .0
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push(body(record));
        std::panic::resume_unwind(Box::new("on purpose")); // without a word on stderr
    });
    let good = subscribe(&watcher, &inbox, None);
    watcher.start().unwrap();
    append(&inbox, "1");
    append(&inbox, "2");
    good.expect(&["1", "2"]);
    panicking.expect(&["1", "2"]); // each once, and the subscription lives
    watcher.stop();
    let mut problems: Vec<String> = problems.try_iter().collect();
    problems.sort();
    let failed = "a callback failed: it did not like it";
    assert_eq!(
        problems,
        [failed, failed, "a callback panicked", "a callback panicked"]
    );
}

#[test]
fn stopped_started_and_dropped_in_a_callback() {
    on_each(|dir, watcher| {
        let inbox = inbox(dir.path());
        let watcher = Arc::new(watcher);
        let shown = Shown::default();
        let (shared, weak) = (shown.clone(), Arc::downgrade(&watcher));
        watcher.subscribe(&inbox, None, move |record| {
            let text = body(record);
            shared.0.lock().unwrap().push(text.clone());
            let watcher = weak.upgrade().unwrap();
            watcher.stop();
            if text != "2" {
                watcher.start().unwrap();
            }
            Ok(())
        });
        watcher.start().unwrap();
        append(&inbox, "1");
        shown.expect(&["1"]);
        append(&inbox, "2");
        shown.expect(&["1", "2"]);
        until("it has stopped", || !watcher.is_running());
        append(&inbox, "3");
        watcher.start().unwrap();
        shown.expect(&["1", "2", "3"]);
    });
}

#[test]
fn drop_stops_everything() {
    on_each(|dir, watcher| {
        let inbox = inbox(dir.path());
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let (begun, has_begun) = mpsc::channel();
        watcher.subscribe(&inbox, None, move |_| {
            let _held = &held;
            begun.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(50)); // the drop has to wait for it
            Ok(())
        });
        watcher.start().unwrap();
        append(&inbox, "1");
        has_begun.recv_timeout(DEADLINE).unwrap();
        drop(watcher);
        assert_eq!(Arc::strong_count(&alive), 1);
        append(&inbox, "2");
        assert!(has_begun.try_recv().is_err());
    });
}

#[test]
fn from_many_threads() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = inbox(dir.path());
    let (watcher, _) = with(None);
    watcher.start().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..20 {
                    let shown = subscribe(&watcher, &inbox, None);
                    let own = watcher.subscribe(&inbox, None, |_| Ok(()));
                    if round % 5 == 0 {
                        watcher.stop();
                    }
                    watcher.start().unwrap();
                    assert!(watcher.unsubscribe(own));
                    drop(shown);
                }
            });
        }
    });
    watcher.start().unwrap();
    assert_eq!(watcher.subscription_count(), 80);
    let shown = subscribe(&watcher, &inbox, None);
    append(&inbox, "1");
    shown.expect(&["1"]);
}

/// What fails is told once, and what is mended goes on.
#[test]
fn a_mailbox_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = inbox(dir.path());
    append(&inbox, "1");
    let (watcher, problems) = with(None);
    let shown = subscribe(&watcher, &inbox, None);
    watcher.start().unwrap();
    shown.expect(&["1"]);
    let moved = inbox.path().with_extension("moved");
    fs::rename(inbox.path(), &moved).unwrap();
    std::os::unix::fs::symlink("nowhere", inbox.path()).unwrap();
    let problem = problems.recv_timeout(DEADLINE).unwrap();
    assert!(
        problem.contains("a symbolic link is in the way"),
        "{problem}"
    );
    let begin = Instant::now();
    assert!(
        problems.recv_timeout(Duration::from_millis(1500)).is_err(),
        "told again"
    );
    assert!(begin.elapsed() > Duration::from_secs(1));
    fs::remove_file(inbox.path()).unwrap();
    fs::rename(&moved, inbox.path()).unwrap();
    append(&inbox, "2");
    shown.expect(&["1", "2"]);
}

#[test]
fn a_backend_that_is_not_there() {
    let missing = [Backend::Inotify, Backend::Kqueue];
    let missing = missing
        .into_iter()
        .find(|b| !Backend::available().contains(b))
        .unwrap();
    let (watcher, _) = with(Some(missing));
    let error = watcher.start().unwrap_err();
    assert!(error.to_string().contains("on this platform"), "{error}");
    assert!(!watcher.is_running());
}

/// Reading does not wake who reads: one call a message, and no more looks than changes.
#[test]
fn a_handler_that_opens_the_file_does_not_wake_itself() {
    on_each(|dir, watcher| {
        let inbox = inbox(dir.path());
        let calls = Arc::new(AtomicUsize::new(0));
        let (shared, path) = (Arc::clone(&calls), inbox.path().to_owned());
        watcher.subscribe(&inbox, None, move |_| {
            shared.fetch_add(1, Ordering::SeqCst);
            fs::read(&path)?;
            Ok(())
        });
        watcher.start().unwrap();
        for n in 1..=20 {
            append(&inbox, "x");
            until("it was called", || calls.load(Ordering::SeqCst) >= n);
            assert_eq!(calls.load(Ordering::SeqCst), n);
        }
        drain(&inbox);
        watcher.stop();
        assert_eq!(calls.load(Ordering::SeqCst), 20);
    });
}

/// What a dead reader left is put back after more ids than are remembered for their own
/// sake: they are remembered because their records still stand in a file.
#[test]
fn ids_of_what_still_stands_are_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = inbox(dir.path());
    let lines = |from: u64, to: u64| -> String {
        (from..to)
            .map(|id| format!("{{\"id\":\"{id:016x}\"}}\n"))
            .collect()
    };
    append(&inbox, "first"); // makes the directories
    drain(&inbox);
    let files = crate::common::Files::of(inbox.path().to_owned());
    let dead = "4242.0123456789abcdef.g";
    files.put_claim(1_700_000_000_000, -600, dead, &lines(0, 10));
    let (watcher, _) = with(None);
    let shown = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&shown);
    watcher.subscribe(&inbox, None, move |record| {
        shared.lock().unwrap().push(record.id().unwrap().to_owned());
        Ok(())
    });
    watcher.start().unwrap();
    let count = || shown.lock().unwrap().len() as u64;
    until("the claim is shown", || count() == 10);
    let mut next = 1_000;
    for _ in 0..4 {
        let text = lines(next, next + 50_000);
        let ids = inbox
            .append_many(text.as_bytes(), &Append::default())
            .unwrap();
        assert_eq!(ids.len(), 50_000);
        next += 50_000;
        until("they are shown", || count() == next - 990);
        // Not by a drain, which would take the claim too.
        fs::remove_file(inbox.path()).unwrap();
    }
    let wanted = mbox::Match {
        id: Some(format!("{:016x}", 3)),
        ..mbox::Match::default()
    };
    inbox.take(&wanted).unwrap().unwrap().ack().unwrap();
    assert_eq!(inbox.peek(&mbox::Peek::default()).unwrap().records.len(), 9);
    append(&inbox, "last");
    until("the last one is shown", || count() > next - 990);
    watcher.stop();
    assert_eq!(count(), next - 990 + 1);
}
