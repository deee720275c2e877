//! A power cut after every operation: each image a crash can leave is put on a real disk
//! and recovered. See ../README.md.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mbox::{Append, ErrorKind, Mailbox, Message, Root};

use crate::common::{Files, Fixture, has_program, is_full, set_age, skip, unix_millis};
use crate::disk::{Image, Op};
use crate::rows::Driver;
use crate::run::{grouped, parallel};
use crate::script::{Recording, SCRIPTS, id_of, owed};

/// Over the age at which any lock or claim is a dead one's.
const OLD: i64 = -301;

const NEXT: &str = "next";

/// Whether `cargo test --test crash -- ROW` means these.
pub fn is_wanted(row: Option<&str>) -> bool {
    row.is_none_or(|row| row == "crash" || row.starts_with("power"))
}

/// An image, and what has to come out of it.
struct Case<'a> {
    recording: &'a Recording,
    image: Image,
    owed: BTreeSet<String>,
    /// The crash it was found for.
    after: usize,
}

/// Records the scripts, cuts the power, recovers; gives what failed.
pub fn run(row: Option<&str>) -> Vec<String> {
    let begin = Instant::now();
    let only = row.and_then(|row| row.strip_prefix("power ")).unwrap_or("");
    let failures = Mutex::new(Vec::new());
    let recordings = record(only, &failures);

    let mut cases: BTreeMap<Image, Case> = BTreeMap::new();
    let (mut points, mut bounded, mut found) = (0, 0, 0);
    for recording in &recordings {
        let ops = &recording.disk.ops;
        let mut images = BTreeSet::new();
        for done in 0..=ops.len() {
            let (some, is_all) = recording.disk.images(ops, done);
            bounded += usize::from(!is_all);
            let owed = owed(recording, done);
            for image in some {
                let case = cases.entry(likeness(&image)).or_insert_with(|| Case {
                    recording,
                    image: image.clone(),
                    owed: BTreeSet::new(),
                    after: done,
                });
                case.owed.extend(owed.iter().cloned());
                images.insert(image);
            }
        }
        let (name, crashes) = (recording.name(), ops.len() + 1);
        let of_them = grouped(images.len());
        println!("power: {name}: {crashes} crash points, {of_them} images");
        points += crashes;
        found += images.len();
    }
    let mut cases: Vec<Case> = cases.into_values().collect();
    let unlike = cases.len();
    thin(&mut cases);

    let counts = Counts::default();
    let fail = |case: &Case<'_>, by: Driver, error: String| {
        let op = case
            .after
            .checked_sub(1)
            .map(|n| &case.recording.disk.ops[n]);
        let failure = format!(
            "power: FAILED {}: cut after operation {} ({op:?}), recovered by {}: {error}; of {}",
            case.recording.name(),
            case.after,
            by.name(),
            show(&case.image)
        );
        println!("{failure}");
        failures.lock().unwrap().push(failure);
    };
    let (waiting, quick): (Vec<&Case>, Vec<&Case>) =
        cases.iter().partition(|case| is_locked(&case.image));
    let check = |case: &&Case<'_>| {
        if let Err(error) = recover(case, Driver::Binary, &counts) {
            fail(case, Driver::Binary, error);
        }
    };
    // Who clears a lock waits for half a second.
    std::thread::scope(|scope| {
        scope.spawn(|| parallel(48, &waiting, check));
        scope.spawn(|| parallel(2, &quick, check));
    });
    let every = if is_full() { 40 } else { 30 };
    let in_shell: Vec<&Case> = cases.iter().skip(every / 2).step_by(every).collect();
    if has_program("dash") {
        parallel(4, &in_shell, |case| {
            let dash = Driver::Shell("dash");
            if let Err(error) = recover(case, dash, &counts) {
                fail(case, dash, error);
            }
        });
    }
    if bounded > 0 {
        println!("power: {bounded} crash points have too many images; some of them were taken");
    }
    let dropped = drop_syncs(&recordings, &failures);
    println!(
        "power: {} scripts, {} crash points, {} images, {} of them unlike, {} recovered and {} by \
         a shell too: {} lost, {} torn or invented, {} wedged; {dropped} syncs left out, one at a \
         time, each for a loss; {} s",
        recordings.len(),
        grouped(points),
        grouped(found),
        grouped(unlike),
        grouped(cases.len()),
        in_shell.len(),
        counts.lost.load(Ordering::Relaxed),
        counts.wrong.load(Ordering::Relaxed),
        counts.wedged.load(Ordering::Relaxed),
        begin.elapsed().as_secs()
    );
    failures.into_inner().unwrap()
}

fn record(only: &str, failures: &Mutex<Vec<String>>) -> Vec<Recording> {
    let mut wanted = Vec::new();
    for driver in [Driver::Binary, Driver::Shell("dash"), Driver::Shell("bash")] {
        if let Driver::Shell(shell) = driver
            && !has_program(shell)
        {
            skip(&format!("{shell} is not installed"));
            continue;
        }
        // By day, of a shell, what is special about it.
        let of_shell = |needs: Option<usize>| driver == Driver::Shell("dash") && needs == Some(0);
        wanted.extend(
            SCRIPTS
                .iter()
                .filter(|s| driver == Driver::Binary || is_full() || of_shell(s.needs_syncs_of))
                .map(|script| (script, driver))
                .filter(|(script, driver)| {
                    format!("{} {}", driver.name(), script.name).contains(only)
                }),
        );
    }
    let recordings = Mutex::new(Vec::new());
    parallel(2, &wanted, |(script, driver)| {
        match Recording::of(script, *driver) {
            Ok(recording) => recordings.lock().unwrap().push(recording),
            Err(error) => failures.lock().unwrap().push(error),
        }
    });
    let mut recordings = recordings.into_inner().unwrap();
    recordings.sort_by_key(|recording| recording.name());
    recordings
}

/// What a run by day leaves out: most images, and more of those that make it wait.
fn thin(cases: &mut Vec<Case<'_>>) {
    if is_full() {
        return;
    }
    let mut place = 0;
    cases.retain(|case| {
        place += 1;
        place % if is_locked(&case.image) { 40 } else { 4 } == 0
    });
}

fn is_locked(image: &Image) -> bool {
    let mut names = image.keys();
    names.any(|path| path.contains(".jsonl.lock") && !path.ends_with(".guard"))
}

#[derive(Default)]
struct Counts {
    lost: AtomicUsize,
    wrong: AtomicUsize,
    wedged: AtomicUsize,
}

/// Has somebody append and drain on the image, when time has passed.
fn recover(case: &Case<'_>, by: Driver, counts: &Counts) -> Result<(), String> {
    let fx = Fixture::new();
    let root = fx.dir().join("disk").join(case.recording.root);
    let files = Files::of(root.join("mailboxes/a.jsonl"));
    put(&case.image, &fx.dir().join("disk"));
    let got = match by {
        Driver::Binary => by_library(&root, &files),
        Driver::Shell(shell) => by_shell(&fx, &root, &files, shell),
    };
    let got = got.inspect_err(|_| {
        counts.wedged.fetch_add(1, Ordering::Relaxed);
    })?;
    let mut ids = HashSet::new();
    for (id, body) in &got {
        let is_sent = *body == NEXT || *id == id_of(body);
        if !is_sent || !ids.insert(id) {
            counts.wrong.fetch_add(1, Ordering::Relaxed);
            return Err(format!("it handed over {got:?}"));
        }
    }
    let lost: Vec<&String> = case.owed.iter().filter(|id| !ids.contains(id)).collect();
    if !lost.is_empty() {
        counts.lost.fetch_add(1, Ordering::Relaxed);
        return Err(format!("{lost:?} is lost"));
    }
    let is_next = got.iter().any(|(_, body)| body == NEXT);
    // A steal marker on its own is in nobody's way (REC-4).
    let left = [&files.records, &files.claims, &files.lock, &files.owner];
    let left = left
        .into_iter()
        .find(|path| path.symlink_metadata().is_ok());
    if !is_next || left.is_some() {
        counts.wedged.fetch_add(1, Ordering::Relaxed);
        return Err(format!("it handed over {got:?} and left {left:?}"));
    }
    Ok(())
}

type Mail = Vec<(String, String)>;

fn by_library(root: &Path, files: &Files) -> Result<Mail, String> {
    let mailbox = Root::at(root).mailbox("a").map_err(|e| e.to_string())?;
    let append = |wait| {
        let mailbox = mailbox.clone().waiting(Duration::from_secs(wait));
        mailbox.append(&Message::new(NEXT), &Append::default())
    };
    // An owner whose lock is gone waits for the age of the next one.
    let mut appended = append(0);
    if appended
        .as_ref()
        .is_err_and(|e| e.kind() == ErrorKind::Busy)
    {
        age_lock(files);
        appended = append(2);
    }
    appended.map_err(|e| e.to_string())?;
    drain(&mailbox).map_err(|e| e.to_string())
}

fn drain(mailbox: &Mailbox) -> mbox::Result<Mail> {
    let mut mail = Mail::new();
    if let Some(mut claim) = mailbox.drain()? {
        for message in claim.messages() {
            let message = message?;
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            mail.push((text(message.id()), text(message.body())));
        }
        claim.ack()?;
    }
    Ok(mail)
}

fn by_shell(fx: &Fixture, root: &Path, files: &Files, shell: &str) -> Result<Mail, String> {
    let run = |args: &[&str]| {
        let mbox_sh = Path::new(env!("CARGO_MANIFEST_DIR")).join("shell/mbox.sh");
        let mut command = fx.program(shell);
        command.env("MBOX_PURE", "1").env("MBOX_ROOT", root);
        command.arg(mbox_sh).args(args).output().unwrap()
    };
    let mut out = run(&["append", "--wait", "0", "a", NEXT]);
    if out.status.code() == Some(75) {
        age_lock(files);
        out = run(&["append", "a", NEXT]);
    }
    if out.status.success() {
        out = run(&["drain", "a"]);
    }
    if !out.status.success() {
        return Err(format!("{out:?}"));
    }
    let lines = out.stdout.split(|&byte| byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let value: Option<serde_json::Value> = serde_json::from_slice(line).ok();
            let value = value
                .ok_or_else(|| format!("it handed over {:?}", line.escape_ascii().to_string()))?;
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            Ok((text("id"), text("body")))
        })
        .collect()
}

fn put(image: &Image, top: &Path) {
    fs::create_dir(top).unwrap();
    for (path, content) in image {
        let mut path = path.clone();
        if let Some((dir, name)) = path.split_once(".claims/") {
            // birth-stamp-n.token
            let aged = unix_millis().saturating_add_signed(OLD * 1000);
            let parts: Vec<&str> = name.splitn(3, '-').collect();
            path = format!("{dir}.claims/{}-{aged:013}-{}", parts[0], parts[2]);
        }
        let path = top.join(path.trim_start_matches('/'));
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::create_dir(&path).unwrap(),
        }
    }
    for path in image.keys().filter(|path| path.contains(".jsonl.lock")) {
        set_age(&top.join(path.trim_start_matches('/')), OLD);
    }
}

fn age_lock(files: &Files) {
    for dir in [&files.lock, &files.steal] {
        if dir.exists() {
            set_age(dir, OLD);
        }
    }
}

/// Leaves out one sync at a time: something that was promised must then be lost. Gives
/// how many.
fn drop_syncs(recordings: &[Recording], failures: &Mutex<Vec<String>>) -> usize {
    let mut jobs = Vec::new();
    for recording in recordings {
        if let Some(step) = recording.script.needs_syncs_of {
            let begin = recording.begins[step];
            let ends = recording.begins.get(step + 1).copied();
            let end = ends.unwrap_or(recording.disk.ops.len());
            let syncs: Vec<usize> = (begin..end)
                .filter(|&n| recording.disk.ops[n].is_sync())
                .collect();
            if syncs.is_empty() {
                let failure = format!("power: FAILED {}: nothing is synced", recording.name());
                println!("{failure}");
                failures.lock().unwrap().push(failure);
            }
            jobs.extend(syncs.into_iter().map(|n| (recording, n)));
        }
    }
    parallel(2, &jobs, |(recording, n)| {
        if !is_missed(recording, *n) {
            let (op, name) = (&recording.disk.ops[*n], recording.name());
            let failure =
                format!("power: FAILED {name}: nothing is lost without operation {n}, {op:?}");
            println!("{failure}");
            failures.lock().unwrap().push(failure);
        }
    });
    jobs.len()
}

/// Whether a sync that is left out costs a message that was promised.
fn is_missed(recording: &Recording, sync: usize) -> bool {
    let mut ops = recording.disk.ops.clone();
    // Nothing is told by it.
    ops[sync] = Op::Told {
        step: 0,
        bytes: Vec::new(),
    };
    for done in sync..=ops.len() {
        let owed: BTreeSet<String> = owed(recording, done).into_iter().collect();
        if owed.is_empty() {
            continue;
        }
        let (images, _) = recording.disk.images(&ops, done);
        let lacks = |image: &&Image| {
            let holds = |id: &String| {
                let quoted = format!("\"id\":\"{id}\"").into_bytes();
                let mail = image
                    .iter()
                    .filter(|(path, _)| !path.contains(".jsonl.lock"));
                let mut lines = mail
                    .filter_map(|(_, content)| content.as_ref())
                    .flat_map(|content| content.split(|&byte| byte == b'\n'));
                lines.any(|line| line.windows(quoted.len()).any(|part| part == quoted))
            };
            owed.iter().any(|id| !holds(id))
        };
        if let Some(image) = images.iter().find(lacks) {
            let case = Case {
                recording,
                image: image.clone(),
                owed: owed.clone(),
                after: done,
            };
            let counts = Counts::default();
            let recovered = recover(&case, Driver::Binary, &counts);
            return recovered.is_err() && counts.lost.load(Ordering::Relaxed) == 1;
        }
    }
    false
}

/// The image without what makes no difference to anybody: which token, what time.
fn likeness(image: &Image) -> Image {
    let mut claims = 0;
    let mut alike = Image::new();
    for (path, content) in image {
        let mut path = path.clone();
        if let Some((dir, name)) = path.split_once(".claims/") {
            claims += 1;
            let is_guarded = name.ends_with(".g");
            path = format!(
                "{dir}.claims/{claims}{}",
                if is_guarded { ".g" } else { "" }
            );
        }
        let content = content.as_ref().map(|content| {
            if path.ends_with(".owner") && content.contains(&b'.') {
                return match (content.ends_with(b".g"), content.len() > 17) {
                    (true, _) => b"guarded".to_vec(),
                    (_, true) => b"not guarded".to_vec(),
                    _ => b"cut".to_vec(),
                };
            }
            let text = String::from_utf8_lossy(content);
            let mut parts = text.split("\"enqueued_at\":");
            let mut alike = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                alike.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
            }
            alike.into_bytes()
        });
        alike.insert(path, content);
    }
    alike
}

/// The image in short.
fn show(image: &Image) -> String {
    let files = image.iter().map(|(path, content)| match content {
        Some(content) => format!("{path} {:?}", String::from_utf8_lossy(content)),
        None => format!("{path}/"),
    });
    files.collect::<Vec<_>>().join(", ")
}
