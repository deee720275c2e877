//! A full disk, a read-only one, missing permissions, limits: the right status, a clear
//! message, no lock left, and earlier mail intact byte for byte.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{Files, Fixture, MBOX, has_program, is_root, skip, tree};

/// A small filesystem of its own, unmounted whatever happens.
struct Mounted(PathBuf);

impl Mounted {
    /// At the root of `fx`; `None` where this process may not mount.
    fn tmpfs(fx: &Fixture, options: &str) -> Option<Mounted> {
        let root = fx.root();
        fs::create_dir(&root).unwrap();
        if !is_root() {
            skip("only root can mount");
            return None;
        }
        let options = format!("mode=0700,{options}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "mbox-suite"])
            .arg(&root)
            .output();
        if !mounted.is_ok_and(|out| out.status.success()) {
            skip("this root may not mount");
            return None;
        }
        Some(Mounted(root))
    }

    fn remount(&self, options: &str) {
        let out = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0)
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
    }

    /// Fills it up, to the last byte but `spare` pages.
    fn fill(&self, spare: usize) -> PathBuf {
        use std::io::Write;
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let len = file.metadata().unwrap().len();
        file.set_len(len - spare as u64 * 4096).unwrap();
        path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let out = Command::new("umount").arg("-l").arg(&self.0).output();
        assert!(std::thread::panicking() || out.unwrap().status.success());
    }
}

#[track_caller]
fn assert_failed(out: &Output, code: i32, words: &[&str]) {
    assert_eq!(out.status.code(), Some(code), "{out:?}");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(stderr.starts_with("mbox: cannot "), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word}? {stderr}");
    }
}

fn all_mail(files: &Files) -> Vec<u8> {
    let mut all = Vec::new();
    for name in files.claim_names() {
        all.extend(fs::read(files.claims.join(name)).unwrap());
    }
    all.extend(fs::read(&files.records).unwrap_or_default());
    all
}

const FULL: [&str; 2] = ["no space left on device", "free some space"];

#[test]
fn a_disk_with_no_space_at_all() {
    let fx = Fixture::new();
    let Some(disk) = Mounted::tmpfs(&fx, "size=256k") else {
        return;
    };
    let files = fx.files("a");
    fx.fill("a", &["one", "two"]);
    let filler = disk.fill(0);
    let before = tree(files.dir());
    for verb in [
        &["append", "a", "x"] as &[&str],
        &["append", "a", "x", "--sync"],
        &["drain", "a"],
        &["drain", "a", "--max", "1"],
        &["take", "a"],
        &["acquire", "a"],
        &["lock", "a", "--", "true"],
    ] {
        let out = fx.mbox(verb).output().unwrap();
        assert_failed(&out, 74, &FULL);
        assert!(out.stdout.is_empty(), "{verb:?}: {out:?}");
        files.assert_unlocked();
        assert_eq!(tree(files.dir()), before, "{verb:?}");
    }
    assert_eq!(fx.peek("a"), ["one", "two"]);
    fs::remove_file(filler).unwrap();
    fx.append("a", "three");
    assert_eq!(fx.drain("a"), ["one", "two", "three"]);
}

#[test]
fn a_disk_that_fills_up_in_the_middle_of_a_write() {
    let fx = Fixture::new();
    let Some(disk) = Mounted::tmpfs(&fx, "size=256k") else {
        return;
    };
    let files = fx.files("a");
    fx.fill("a", &["one", "two"]);
    let mail = fs::read(&files.records).unwrap();
    // Room for the owner file, and for a part of the record.
    let filler = disk.fill(2);
    let body = "x".repeat(20_000);
    let out = fx.mbox(&["append", "a", &body]).output().unwrap();
    assert_failed(&out, 74, &FULL);
    assert!(out.stdout.is_empty());
    files.assert_unlocked();
    let torn = fs::read(&files.records).unwrap();
    assert!(
        torn.starts_with(&mail) && torn.len() > mail.len(),
        "a short write"
    );
    assert_eq!(fx.peek("a"), ["one", "two"]);
    fs::remove_file(filler).unwrap();
    fx.append("a", "three"); // heals
    assert_eq!(fx.drain("a"), ["one", "two", "three"]);
    let damaged = fs::read(&files.damaged).unwrap();
    assert_eq!(damaged, [&torn[mail.len()..], b"\n"].concat());
}

#[test]
fn a_disk_too_full_to_split_the_mail() {
    let fx = Fixture::new();
    let Some(disk) = Mounted::tmpfs(&fx, "size=512k") else {
        return;
    };
    let files = fx.files("a");
    fx.fill("a", &["one", &"x".repeat(30_000), "two"]);
    let mail = fs::read(&files.records).unwrap();
    let filler = disk.fill(2);
    for verb in [&["take", "a"] as &[&str], &["drain", "a", "--max", "1"]] {
        let out = fx.mbox(verb).output().unwrap();
        assert_failed(&out, 74, &FULL);
        assert!(out.stdout.is_empty(), "{verb:?}: {out:?}");
        files.assert_unlocked();
        assert_eq!(all_mail(&files), mail, "{verb:?}");
    }
    // The whole of it needs no space, and makes some.
    fx.mbox(&["drain", "a"]).assert().success().stdout(mail);
    fs::remove_file(filler).unwrap();
}

#[test]
fn a_disk_too_full_for_damaged_lines() {
    let fx = Fixture::new();
    let Some(disk) = Mounted::tmpfs(&fx, "size=256k") else {
        return;
    };
    let files = fx.files("a");
    fx.append("a", "one");
    let mut mail = fs::read(&files.records).unwrap();
    mail.extend([b"x".repeat(9000), b"\n".to_vec()].concat());
    fs::write(&files.records, &mail).unwrap();
    let filler = disk.fill(1);
    let out = fx.mbox(&["drain", "a"]).output().unwrap();
    assert_failed(&out, 74, &FULL);
    files.assert_unlocked();
    assert_eq!(all_mail(&files), mail);
    fs::remove_file(filler).unwrap();
    assert_eq!(fx.drain("a"), ["one"]);
}

#[test]
fn a_disk_with_no_inodes() {
    let fx = Fixture::new();
    let Some(disk) = Mounted::tmpfs(&fx, "size=256k,nr_inodes=12") else {
        return;
    };
    let files = fx.files("a");
    fx.fill("a", &["one", "two"]);
    let mail = fs::read(&files.records).unwrap();
    // From no inode left to as many as a take needs.
    for spare in 0..6 {
        let mut fillers = Vec::new();
        loop {
            let path = disk.0.join(format!("filler{}", fillers.len()));
            if fs::write(&path, "").is_err() {
                break;
            }
            fillers.push(path);
        }
        for path in fillers.iter().take(spare) {
            fs::remove_file(path).unwrap();
        }
        let out = with_closed(&fx, &["take", "a"]);
        assert_eq!(out.status.code(), Some(74), "{spare}: {out:?}");
        files.assert_unlocked();
        for path in fillers.iter().skip(spare) {
            fs::remove_file(path).unwrap();
        }
        assert_eq!(fx.peek("a"), ["one", "two"], "{spare}");
    }
    fx.mbox(&["drain", "a"]).assert().success().stdout(mail);
}

/// With a stdout that fails, so that mail is never handed over.
fn with_closed(fx: &Fixture, args: &[&str]) -> Output {
    crate::common::with_full_stdout(&mut fx.process(args))
}

#[test]
fn a_read_only_disk() {
    let fx = Fixture::new();
    let Some(disk) = Mounted::tmpfs(&fx, "size=256k") else {
        return;
    };
    let files = fx.files("a");
    fx.fill("a", &["one", "two"]);
    disk.remount("ro");
    let before = tree(&disk.0);
    for verb in [
        &["append", "a", "x"] as &[&str],
        &["append", "new", "x"],
        &["drain", "a"],
        &["drain", "a", "--max", "1"],
        &["take", "a"],
        &["acquire", "a"],
        &["acquire", "new"],
        &["lock", "a", "--", "true"],
    ] {
        let out = fx.mbox(verb).output().unwrap();
        assert_failed(&out, 77, &["read-only file system"]);
        assert!(out.stdout.is_empty(), "{verb:?}: {out:?}");
    }
    // Looking works.
    assert_eq!(fx.peek("a"), ["one", "two"]);
    fx.mbox(&["has", "a"]).assert().success();
    fx.mbox(&["list"]).assert().success();
    assert_eq!(tree(&disk.0), before);
    disk.remount("rw");
    files.assert_unlocked();
    assert_eq!(fx.drain("a"), ["one", "two"]);
}

const NOBODY: u32 = 65_534;

/// `mbox` as a user for whom permissions count, and a copy of it that user can reach.
fn as_nobody(fx: &Fixture, args: &[&str]) -> Command {
    if !is_root() {
        return fx.process(args);
    }
    let copy = fx.dir().join("mbox");
    if !copy.exists() {
        // Not by this process: a descriptor open for writing would be inherited by what
        // other tests start just now, and the copy be busy.
        let status = Command::new("cp").arg(MBOX).arg(&copy).status();
        assert!(status.unwrap().success());
    }
    let id = NOBODY.to_string();
    let mut command = fx.program("setpriv");
    command
        .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
        .arg(copy)
        .args(args);
    command
}

/// Gives the fixture to that user.
fn give(fx: &Fixture) -> bool {
    if !is_root() {
        return true;
    }
    if !has_program("setpriv") {
        skip("setpriv is not installed");
        return false;
    }
    for path in std::iter::once(fx.dir().to_owned()).chain(tree(fx.dir()).into_keys()) {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    true
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_without_permission() {
    for mode in [0o500, 0o000] {
        let fx = Fixture::new();
        let files = fx.files("a");
        fx.fill("a", &["one", "two"]);
        let mail = fs::read(&files.records).unwrap();
        if !give(&fx) {
            return;
        }
        set_mode(files.dir(), mode);
        for verb in [
            &["append", "a", "x"] as &[&str],
            &["append", "new", "x"],
            &["drain", "a"],
            &["drain", "a", "--max", "1"],
            &["take", "a"],
            &["acquire", "a"],
            &["lock", "a", "--", "true"],
        ] {
            let out = as_nobody(&fx, verb).output().unwrap();
            assert_failed(&out, 77, &["permission denied", "check who owns it"]);
            assert!(out.stdout.is_empty(), "{verb:?}: {out:?}");
        }
        for verb in [&["peek", "a"] as &[&str], &["has", "a"], &["list"]] {
            let out = as_nobody(&fx, verb).output().unwrap();
            let code = if mode == 0o500 { 0 } else { 77 };
            assert_eq!(out.status.code(), Some(code), "{verb:?}: {out:?}");
        }
        set_mode(files.dir(), 0o700);
        files.assert_unlocked();
        assert!(!files.claims.exists());
        let out = as_nobody(&fx, &["drain", "a"]).output().unwrap();
        assert_eq!(out.stdout, mail, "{out:?}");
    }
}

#[test]
fn files_without_permission() {
    let fx = Fixture::new();
    let files = fx.files("a");
    fx.fill("a", &["one", "two"]);
    let mail = fs::read(&files.records).unwrap();
    if !give(&fx) {
        return;
    }
    for (path, verbs) in [
        (
            &files.records,
            &["append", "drain", "take", "peek"] as &[&str],
        ),
        (&files.guard, &["append", "drain", "take"]),
    ] {
        set_mode(path, 0);
        for verb in verbs {
            let body: &[&str] = if *verb == "append" { &["x"] } else { &[] };
            let mut command = as_nobody(&fx, &[verb, "a"]);
            let out = command.args(body).output().unwrap();
            assert_failed(&out, 77, &["permission denied"]);
            files.assert_unlocked();
        }
        set_mode(path, 0o600);
        assert_eq!(all_mail(&files), mail);
        assert!(files.records.exists());
    }
    let out = as_nobody(&fx, &["drain", "a"]).output().unwrap();
    assert_eq!(out.stdout, mail, "{out:?}");
}

#[test]
fn a_root_that_cannot_be_made() {
    let fx = Fixture::new();
    if !give(&fx) {
        return;
    }
    let parent = fx.dir().join("parent");
    fs::create_dir(&parent).unwrap();
    set_mode(&parent, 0o555);
    for verb in [&["append", "a", "x"] as &[&str], &["acquire", "a"]] {
        let mut command = as_nobody(&fx, verb);
        let out = command
            .env("MBOX_ROOT", parent.join("root"))
            .output()
            .unwrap();
        assert_failed(&out, 77, &["permission denied"]);
    }
    // A file where a parent directory should be.
    fs::write(fx.dir().join("file"), "").unwrap();
    let mut append = fx.mbox(&["append", "a", "x"]);
    let out = append.env("MBOX_ROOT", fx.dir().join("file/root")).output();
    assert_failed(&out.unwrap(), 74, &["not a directory"]);
}

#[test]
fn a_root_of_another_user() {
    if !is_root() {
        return skip("only root can make a directory of another user");
    }
    for inner in ["", "mailboxes"] {
        let fx = Fixture::new();
        fx.append("a", "one");
        chown(fx.root().join(inner), Some(NOBODY), None).unwrap();
        let before = tree(fx.dir());
        for verb in [
            &["append", "a", "x"] as &[&str],
            &["drain", "a"],
            &["has", "a"],
            &["list"],
        ] {
            let out = fx.mbox(verb).output().unwrap();
            assert_failed(&out, 77, &["it belongs to another user"]);
            assert_eq!(tree(fx.dir()), before);
        }
    }
}

/// `mbox` under a limit of the shell.
fn limited(fx: &Fixture, limit: &str, args: &[&str]) -> Output {
    let mut shell = fx.program("sh");
    let script = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    shell
        .args(["-c", &script, MBOX])
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn few_open_files() {
    for verb in [
        &["append", "a", "new"] as &[&str],
        &["drain", "a", "--format", "body"],
        &["drain", "a", "--max", "1", "--format", "body"],
        &["take", "a", "--format", "body"],
        &["peek", "a", "--format", "body"],
    ] {
        let mut has_failed = false;
        for limit in 4..=12 {
            let fx = Fixture::new();
            let files = fx.files("a");
            fx.fill("a", &["one", "two"]);
            let dead = "{\"id\":\"0\",\"body\":\"zero\"}\n";
            files.put_claim(1_000_000_000_000, -31, "8.0123456789abcdef", dead);
            let out = limited(&fx, &format!("-n {limit}"), verb);
            let at = format!("{limit} files: {verb:?}: {out:?}");
            let mut all = vec!["zero", "one", "two"];
            let stdout = String::from_utf8_lossy(&out.stdout);
            match out.status.code() {
                Some(0) if verb[0] == "append" => all.push("new"),
                Some(0) if verb[0] != "peek" => all.retain(|b| !stdout.contains(b)),
                Some(0) => {}
                Some(74) => {
                    has_failed = true;
                    assert_failed(&out, 74, &["too many open files", "ulimit -n"]);
                    assert!(out.stdout.is_empty(), "{at}");
                }
                _ => panic!("{at}"),
            }
            for path in [&files.lock, &files.steal] {
                assert!(!path.exists(), "{at}: {} was left", path.display());
            }
            files.assert_unlocked();
            let mut left = fx.drain("a");
            left.retain(|body| out.status.success() || body != "new");
            assert_eq!(left, all, "{at}");
        }
        assert!(has_failed, "{verb:?} needs next to no files?");
    }
}

#[test]
fn no_room_in_the_file_size_limit() {
    let fx = Fixture::new();
    let files = fx.files("a");
    fx.fill("a", &["one", "two"]);
    let before = tree(fx.dir());
    for verb in [
        &["append", "a", "x"] as &[&str],
        &["drain", "a"],
        &["take", "a"],
        &["acquire", "a"],
    ] {
        let out = limited(&fx, "-f 0", verb);
        assert_failed(&out, 74, &["file too large", "ulimit -f"]);
        files.assert_unlocked();
        assert_eq!(tree(fx.dir()), before, "{verb:?}");
    }
}

#[test]
fn a_write_cut_short_by_the_file_size_limit() {
    let fx = Fixture::new();
    let files = fx.files("a");
    fx.fill("a", &["one", "two"]);
    let mail = fs::read(&files.records).unwrap();
    // One unit is 512 bytes or 1 KiB, as the shell likes it.
    let out = limited(&fx, "-f 1", &["append", "a", &"x".repeat(3000)]);
    assert_failed(&out, 74, &["file too large", "ulimit -f"]);
    assert!(out.stdout.is_empty());
    files.assert_unlocked();
    let torn = fs::read(&files.records).unwrap();
    assert!(
        torn.starts_with(&mail) && torn.len() > mail.len(),
        "a short write"
    );
    fx.append("a", "three");
    assert_eq!(fx.drain("a"), ["one", "two", "three"]);
}

#[test]
fn no_stdio_at_all() {
    let fx = Fixture::new();
    fx.append("a", "one");
    for verb in ["drain", "drain --max=1", "take", "peek", "acquire"] {
        let script = format!("exec \"$0\" {verb} a <&- >&- 2>&-");
        let mut shell = fx.program("sh");
        let status = shell.args(["-c", &script, MBOX]).status().unwrap();
        assert_eq!(status.code(), Some(74), "{verb}: {status}");
        fx.files("a").assert_unlocked();
    }
    let mut shell = fx.program("sh");
    let script = "exec \"$0\" append a two <&- >&- 2>&-";
    shell.args(["-c", script, MBOX]).status().unwrap();
    assert_eq!(fx.drain("a"), ["one", "two"]);
}
