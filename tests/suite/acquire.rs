//! `mbox acquire` and `mbox release`.

use predicates::prelude::*;

use crate::common::{
    Fixture, assert_busy, assert_full_stdout, assert_help, assert_quiet_pipe, assert_usage,
    set_age, tree, with_broken_pipe, with_full_stdout,
};

fn acquire(fx: &Fixture) -> String {
    let out = fx.mbox(&["acquire", "a"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let line = String::from_utf8(out.stdout).unwrap();
    line.strip_suffix('\n').unwrap().to_owned()
}

#[test]
fn help() {
    assert_help(
        "acquire",
        &["MAILBOX", "--wait", "--root", "mbox release MAILBOX TOKEN"],
    );
    assert_help("release", &["MAILBOX", "TOKEN", "--root"]);
}

#[test]
fn the_lock_stays_until_it_is_released() {
    let fx = Fixture::new();
    let token = acquire(&fx);
    let files = fx.files("a");
    assert_eq!(files.token().as_deref(), Some(&*token));
    assert!(files.lock.is_dir());
    // Without the guard, so by M's rules: never `.g` (TOKEN-1, TOKEN-2).
    let (pid, random) = token.split_once('.').unwrap();
    assert!(pid.parse::<u32>().is_ok(), "{token}");
    assert!(mbox::is_id(random.as_bytes()), "{token}");
    assert!(!files.guard.exists());

    fx.mbox(&["append", "a", "x", "--wait", "0"])
        .assert()
        .code(75);
    fx.mbox(&["release", "a", &token])
        .assert()
        .success()
        .stdout("")
        .stderr("");
    files.assert_unlocked();
    fx.append("a", "x");
}

#[test]
fn only_its_own_token_releases_it() {
    let fx = Fixture::new();
    let token = acquire(&fx);
    let before = tree(fx.dir());
    for other in [
        "1.0123456789abcdef",
        "",
        "x",
        &token[1..],
        &format!("{token}.g"),
    ] {
        fx.mbox(&["release", "a", "--", other])
            .assert()
            .code(1)
            .stdout("");
        assert_eq!(tree(fx.dir()), before, "{other:?}");
    }
    fx.mbox(&["release", "a", &token]).assert().success();
    fx.mbox(&["release", "a", &token]).assert().code(1);
    fx.mbox(&["release", "nosuch", &token]).assert().code(1);
    assert!(!fx.files("nosuch").lock.exists());
}

#[test]
fn it_is_stale_like_any_other() {
    let fx = Fixture::new();
    let token = acquire(&fx);
    set_age(&fx.files("a").lock, -31);
    fx.append("a", "x");
    fx.mbox(&["release", "a", &token]).assert().code(1);
    assert_eq!(fx.drain("a"), ["x"]);
}

#[test]
fn bad_usage() {
    assert_usage(
        &Fixture::new(),
        &[
            &["acquire"],
            &["acquire", "a", "b"],
            &["acquire", "a", "--wait", "no"],
            &["release"],
            &["release", "a"],
            &["release", "a", "b", "c"],
            &["release", "a", "b", "--wait", "1"],
        ],
    );
}

#[test]
fn busy() {
    assert_busy(&Fixture::new(), "a", &["acquire", "a"]);
}

#[test]
fn a_lock_whose_token_nobody_learned_is_released() {
    let fx = Fixture::new();
    assert_quiet_pipe(&with_broken_pipe(&mut fx.process(&["acquire", "a"])));
    fx.files("a").assert_unlocked();
    assert_full_stdout(&with_full_stdout(&mut fx.process(&["acquire", "a"])));
    fx.files("a").assert_unlocked();
}

#[test]
fn releasing_needs_no_stdout() {
    let fx = Fixture::new();
    let token = acquire(&fx);
    let out = with_broken_pipe(&mut fx.process(&["release", "a", &token]));
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let token = acquire(&fx);
    let out = with_full_stdout(&mut fx.process(&["release", "a", &token]));
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}

#[test]
fn an_unsafe_owner_file_is_refused() {
    let fx = Fixture::new();
    let files = fx.files("a");
    let token = acquire(&fx);
    std::fs::rename(&files.owner, fx.dir().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(fx.dir().join("elsewhere"), &files.owner).unwrap();
    let before = tree(fx.dir());
    fx.mbox(&["release", "a", &token])
        .assert()
        .code(77)
        .stderr(predicate::str::contains("a symbolic link is in the way"));
    assert_eq!(tree(fx.dir()), before);
}
