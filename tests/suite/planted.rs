//! What should not be there, at every path of the protocol: refused, not followed, not
//! waited for, and nothing else changed (FILE-2, FILE-3).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use crate::common::{Files, Fixture, Running, set_age, tree};

const VERBS: [&[&str]; 9] = [
    &["append", "a", "new"],
    &["drain", "a"],
    &["drain", "a", "--max", "1"],
    &["take", "a"],
    &["peek", "a"],
    &["has", "a"],
    &["acquire", "a"],
    &["lock", "a", "--", "true"],
    &["list"],
];

type Plant = fn(&Path, &Path);

/// What is planted, and how, at a path; the second path is what a link leads to.
const PLANTS: [(&str, Plant); 6] = [
    ("link to a file", |path, elsewhere| {
        symlink(elsewhere.join("file"), path).unwrap()
    }),
    ("link to a directory", |path, elsewhere| {
        symlink(elsewhere, path).unwrap()
    }),
    ("dangling link", |path, elsewhere| {
        symlink(elsewhere.join("new"), path).unwrap()
    }),
    ("fifo", |path, _| {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }),
    ("file", |path, _| fs::write(path, "planted\n").unwrap()),
    ("directory", |path, _| fs::create_dir(path).unwrap()),
];

/// Plants something at `path` in a fresh mailbox and tries every verb on it. `is_hit`
/// says which verbs meet it there and have to refuse.
fn plant(path: fn(&Files) -> &Path, fine: &str, is_hit: fn(&str) -> bool, prepare: fn(&Files)) {
    for (kind, make) in PLANTS {
        if kind == fine {
            continue;
        }
        for verb in VERBS {
            let fx = Fixture::new();
            let files = fx.files("a");
            let elsewhere = fx.dir().join("elsewhere");
            fs::create_dir(&elsewhere).unwrap();
            fs::write(elsewhere.join("file"), "precious\n").unwrap();
            fx.append("a", "one");
            prepare(&files);
            let path = path(&files);
            if path == files.records || path == files.guard {
                fs::remove_file(path).unwrap();
            }
            make(path, &elsewhere);
            // The guard is made when it is missing, and then stays.
            if path != files.guard {
                drop(crate::common::flock(&files.guard));
            }
            let at = format!("{kind} at {}: {verb:?}", path.display());
            let before = tree(fx.dir());

            let mut process = fx.process(&[]);
            process
                .args(verb)
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            let mut running = Running::start(&mut process);
            let status = running.wait();
            let stderr = running.stderr();

            assert_eq!(tree(&elsewhere).len(), 1, "{at}");
            let precious = fs::read_to_string(elsewhere.join("file")).unwrap();
            assert_eq!(precious, "precious\n", "{at}");
            if is_hit(verb[0]) {
                assert_eq!(status.code(), Some(77), "{at}: {stderr}");
                assert!(
                    stderr.contains("is in the way; look who put it there"),
                    "{at}: {stderr}"
                );
                assert_eq!(tree(fx.dir()), before, "{at}");
            } else {
                assert_eq!(status.code(), Some(0), "{at}: {stderr}");
                assert_eq!(tree(fx.dir()).get(path), before.get(path), "{at}");
            }
        }
    }
}

fn nothing(_: &Files) {}

fn uses_lock(verb: &str) -> bool {
    !matches!(verb, "peek" | "has" | "list")
}

#[test]
fn at_the_record_file() {
    let is_hit = |verb: &str| !matches!(verb, "acquire" | "lock");
    plant(|files| &files.records, "file", is_hit, nothing);
}

#[test]
fn at_the_claims() {
    // has looks no further when there are records.
    let is_hit = |verb: &str| !matches!(verb, "append" | "has" | "acquire" | "lock");
    plant(|files| &files.claims, "directory", is_hit, nothing);
}

#[test]
fn at_the_lock() {
    // A directory there is a lock like any other; list tells of it.
    let is_hit = |verb: &str| !matches!(verb, "peek" | "has");
    plant(|files| &files.lock, "directory", is_hit, nothing);
}

#[test]
fn at_the_owner() {
    // A file there is an owner like any other.
    let is_hit = |verb: &str| !matches!(verb, "peek" | "has");
    plant(|files| &files.owner, "file", is_hit, nothing);
}

#[test]
fn at_the_owner_of_a_stale_lock() {
    let is_hit = |verb: &str| !matches!(verb, "peek" | "has");
    plant(
        |files| &files.owner,
        "file",
        is_hit,
        |files| {
            fs::create_dir(&files.lock).unwrap();
            set_age(&files.lock, -31);
        },
    );
}

#[test]
fn at_the_steal_marker_of_a_stale_lock() {
    plant(
        |files| &files.steal,
        "directory",
        uses_lock,
        |files| {
            files.hold("4242.0123456789abcdef");
            set_age(&files.lock, -31);
        },
    );
}

#[test]
fn at_the_guard() {
    // acquire is a peer without guard.
    let is_hit = |verb: &str| uses_lock(verb) && verb != "acquire";
    plant(|files| &files.guard, "file", is_hit, nothing);
}

#[test]
fn at_the_damaged_lines() {
    for (kind, make) in PLANTS {
        if kind == "file" {
            continue;
        }
        for verb in [
            &["drain", "a"] as &[&str],
            &["drain", "a", "--max", "1"],
            &["take", "a"],
        ] {
            let fx = Fixture::new();
            let files = fx.files("a");
            let elsewhere = fx.dir().join("elsewhere");
            fs::create_dir(&elsewhere).unwrap();
            files.make_dir();
            fs::write(&files.records, "x\n{\"body\":\"one\"}\n").unwrap();
            make(&files.damaged, &elsewhere);
            let at = format!("{kind}: {verb:?}");
            let out = fx.mbox(verb).output().unwrap();
            assert_eq!(out.status.code(), Some(77), "{at}: {out:?}");
            assert!(tree(&elsewhere).is_empty(), "{at}");
            files.assert_unlocked();
            // Nothing is removed as long as it cannot be set aside; then everything is.
            assert_eq!(fx.peek("a"), ["one"], "{at}");
            let _ = fs::remove_file(&files.damaged).or_else(|_| fs::remove_dir(&files.damaged));
            assert_eq!(fx.drain("a"), ["one"], "{at}");
            assert_eq!(fs::read_to_string(&files.damaged).unwrap(), "x\n", "{at}");
        }
    }
}

#[test]
fn at_a_claim() {
    for (kind, make) in PLANTS {
        if kind == "file" {
            continue;
        }
        let fx = Fixture::new();
        let files = fx.files("a");
        let elsewhere = fx.dir().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("file"), "{\"body\":\"planted\"}\n").unwrap();
        fx.append("a", "one");
        fs::create_dir(&files.claims).unwrap();
        let planted = files
            .claims
            .join("1000000000000-1000000000000-0.1.0123456789abcdef");
        make(&planted, &elsewhere);
        let before = tree(fx.dir());
        // Left alone and reported (CLAIM-8); mail goes on.
        assert_eq!(fx.peek("a"), ["one"], "{kind}");
        assert_eq!(tree(fx.dir()), before, "{kind}");
        assert_eq!(fx.drain("a"), ["one"], "{kind}");
        assert_eq!(tree(fx.dir()).get(&planted), before.get(&planted), "{kind}");
        assert_eq!(tree(&elsewhere).len(), 1);
    }
}

#[test]
fn at_the_root() {
    for kind in ["link", "mailboxes link", "file", "mailboxes file"] {
        for verb in VERBS {
            let fx = Fixture::new();
            fx.append("a", "one");
            let at = match kind.starts_with("mailboxes") {
                true => fx.root().join("mailboxes"),
                false => fx.root(),
            };
            let moved = fx.dir().join("moved");
            fs::rename(&at, &moved).unwrap();
            if kind.ends_with("link") {
                symlink(&moved, &at).unwrap();
            } else {
                fs::write(&at, "").unwrap();
            }
            let before = tree(fx.dir());
            let out = fx.mbox(verb).output().unwrap();
            assert_eq!(out.status.code(), Some(77), "{kind} {verb:?}: {out:?}");
            let stderr = String::from_utf8_lossy(&out.stderr);
            assert!(
                stderr.contains("is in the way"),
                "{kind} {verb:?}: {stderr}"
            );
            assert_eq!(tree(fx.dir()), before, "{kind} {verb:?}");
            // A trailing slash does not get past the check.
            let slash = format!("{}/", fx.root().display());
            fx.mbox(verb).env("MBOX_ROOT", &slash).assert().code(77);
        }
    }
}

#[test]
fn a_root_others_may_write_to() {
    use std::os::unix::fs::PermissionsExt;
    for inner in ["", "mailboxes"] {
        let fx = Fixture::new();
        fx.append("a", "one");
        let dir = fx.root().join(inner);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o707)).unwrap();
        for verb in VERBS {
            let before = tree(fx.dir());
            let out = fx.mbox(verb).output().unwrap();
            assert_eq!(out.status.code(), Some(77), "{verb:?}: {out:?}");
            let stderr = String::from_utf8_lossy(&out.stderr);
            assert!(
                stderr.contains("others may write to it; run chmod o-w"),
                "{stderr}"
            );
            assert_eq!(tree(fx.dir()), before);
        }
        // For one given by path that is the user's own affair.
        let path = fx.files("a").records;
        fx.mbox(&["drain", path.to_str().unwrap()])
            .assert()
            .success();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o770)).unwrap();
        fx.append("a", "two"); // the group is no others
    }
}
