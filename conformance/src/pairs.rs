//! Scenarios of two drivers, A and B, on one mailbox. Run on every ordered
//! pair, a driver with itself included.

use std::fs::File;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::arena::{Arena, Ledger, Reader};
use crate::content::{is_token, message_line, show};
use crate::driver::{Driver, Running, StdoutTo, pipe};

pub struct Scenario {
    pub name: &'static str,
    pub tests: &'static [&'static str],
    pub run: fn(&Arena, &Driver, &Driver) -> Result<(), String>,
}

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "pair/exchange",
        tests: &[
            "MSG-1", "MSG-2", "MSG-5", "APPEND-1", "DRAINV-1", "FMT-1", "FMT-2", "RECORD-2",
        ],
        run: exchange,
    },
    Scenario {
        name: "pair/torn",
        tests: &["APP-3", "DMG-1", "DMG-2"],
        run: torn,
    },
    Scenario {
        name: "pair/busy",
        tests: &[
            "ACQV-1", "RELV-1", "CLI-5", "ACQ-5", "ACQ-6", "REC-1", "REL-1",
        ],
        run: busy,
    },
    Scenario {
        name: "pair/lost-lock",
        tests: &["REC-1", "REL-1", "REL-2", "RELV-1"],
        run: lost_lock,
    },
    Scenario {
        name: "pair/broken-pipe",
        tests: &["CLAIM-7", "DRAIN-9", "EXIT-2", "DRAIN-6"],
        run: broken_pipe,
    },
    Scenario {
        name: "pair/full-device",
        tests: &["CLAIM-7", "DRAIN-9", "DRAIN-6"],
        run: full_device,
    },
    Scenario {
        name: "pair/killed-reader",
        tests: &[
            "DRAIN-2", "DRAIN-6", "DRAIN-9", "CLAIM-1", "CLAIM-3", "CLAIM-4", "CLAIM-5", "CLAIM-6",
            "TOKEN-2",
        ],
        run: killed_reader,
    },
    Scenario {
        name: "pair/slow-reader",
        tests: &[
            "DRAIN-4", "DRAIN-8", "CLAIM-6", "PEEK-2", "PEEKV-1", "DRAINV-4",
        ],
        run: slow_reader,
    },
    Scenario {
        name: "pair/take-one",
        tests: &["TAKE-5", "TAKEV-1"],
        run: take_one,
    },
    Scenario {
        name: "pair/bounded",
        tests: &["DRAIN-10", "DRAINV-2", "DRAINV-3"],
        run: bounded,
    },
];

fn same(what: &str, have: &[u8], want: &[u8]) -> Result<(), String> {
    if have == want {
        return Ok(());
    }
    Err(format!(
        "{what}: \"{}\", not \"{}\"",
        show(have),
        show(want)
    ))
}

/// A appends bodies of every kind, B hands them over byte for byte.
fn exchange(x: &Arena, a: &Driver, b: &Driver) -> Result<(), String> {
    let controls: String = (1u8..32).chain([127]).map(char::from).collect();
    let bodies = [
        format!("\"quotes\" \\ back\\\\slash \\u0041 '`$HOME %s %% {controls}"),
        "é € 😀 \u{2028}\u{2029}\u{85}\u{feff} ".repeat(700),
        String::new(),
        "two\n\n".to_string(),
        "-n".to_string(),
    ];
    for (i, body) in bodies.iter().enumerate() {
        if i % 2 == 0 {
            x.ok(a, "append", &["--from", "a", "--", body])?;
        } else {
            let mut call = x.call("append", &[]);
            call.stdin = format!("{body}\n").into_bytes();
            let out = a.run(x.temp.path(), call)?;
            if out.exit() != "0" {
                return Err(format!(
                    "append from stdin: {} {}",
                    out.exit(),
                    show(&out.stderr)
                ));
            }
        }
    }
    let lines = x.read("").unwrap_or_default();
    for (line, body) in lines.split(|c| *c == b'\n').zip(&bodies) {
        let v: serde_json::Value = serde_json::from_slice(line).map_err(|e| e.to_string())?;
        same(
            "body",
            v["body"].as_str().unwrap_or_default().as_bytes(),
            body.as_bytes(),
        )?;
    }
    same("peek", &x.ok(b, "peek", &["--format", "jsonl"])?, &lines)?;
    let want: String = bodies.iter().map(|b| format!("{b}\n")).collect();
    same(
        "drain",
        &x.ok(b, "drain", &["--format", "body"])?,
        want.as_bytes(),
    )?;
    x.nothing_left(&[])
}

/// A record without its end is in B; B appends after it, A drains.
fn torn(x: &Arena, a: &Driver, b: &Driver) -> Result<(), String> {
    let good = message_line(b"00000000000000a1", b"good", b"");
    let half = &good[..good.len() / 2];
    x.write("", &[&good[..], half].concat())?;
    let id = x.ok(b, "append", &["after"])?;
    let lines = x.read("").unwrap_or_default();
    let last = lines
        .split(|c| *c == b'\n')
        .rev()
        .nth(1)
        .unwrap_or_default();
    let out = x.ok(a, "drain", &[])?;
    same("drain", &out, &[&good[..], last, b"\n"].concat())?;
    if !String::from_utf8_lossy(&out).contains(String::from_utf8_lossy(&id).trim()) {
        return Err(format!(
            "what was appended did not come out: {}",
            show(&out)
        ));
    }
    same(
        "b.damaged",
        &x.read(".damaged").unwrap_or_default(),
        &[half, b"\n"].concat(),
    )?;
    x.nothing_left(&[".damaged"])
}

/// A holds the lock: B is busy, and writes and takes nothing.
fn busy(x: &Arena, a: &Driver, b: &Driver) -> Result<(), String> {
    let line = message_line(b"00000000000000a1", b"earlier", b"");
    x.write("", &line)?;
    let token = x.ok(a, "acquire", &[])?;
    let token = token.strip_suffix(b"\n").unwrap_or(&token);
    if !is_token(token) || token.ends_with(b".g") {
        return Err(format!("not a token of acquire: {}", show(token)));
    }
    let owner = x.read(".lock.owner").unwrap_or_default();
    same("owner", owner.strip_suffix(b"\n").unwrap_or(&owner), token)?;
    let token = String::from_utf8_lossy(token).into_owned();
    let since = Instant::now();
    for verb in [
        ["append", "hi"].as_slice(),
        &["drain"],
        &["take"],
        &["acquire"],
    ] {
        let more = [&verb[1..], &["--wait", "0.1"]].concat();
        same(verb[0], &x.want(&["75"], b, verb[0], &more)?, b"")?;
    }
    if since.elapsed() > Duration::from_secs(20) {
        return Err("waited far longer than --wait says".to_string());
    }
    x.want(&["1"], b, "release", &["1.00c0ffee00c0ffee"])?;
    same("B", &x.read("").unwrap_or_default(), &line)?;
    same("peek", &x.ok(b, "peek", &[])?, &line)?;
    // The token, not the program that took it, is what the lock belongs to.
    x.ok(b, "release", &[&token])?;
    x.ok(b, "append", &["later"])?;
    x.ok(a, "drain", &[])?;
    x.nothing_left(&[])
}

/// A's lock is recovered by age; then A's release touches nothing of B's.
fn lost_lock(x: &Arena, a: &Driver, b: &Driver) -> Result<(), String> {
    let old = String::from_utf8_lossy(&x.ok(a, "acquire", &[])?)
        .trim()
        .to_string();
    x.age_lock()?;
    let new = x.ok(b, "acquire", &["--wait", "5"])?;
    let new = String::from_utf8_lossy(&new).trim().to_string();
    x.want(&["1"], a, "release", &[&old])?;
    let owner = x.read(".lock.owner").unwrap_or_default();
    same("owner", owner.trim_ascii_end(), new.as_bytes())?;
    if !x.path(".lock").is_dir() {
        return Err("release with a lost token removed the lock of another".to_string());
    }
    x.ok(b, "release", &[&new])?;
    x.want(&["1"], a, "release", &[&old])?;
    x.nothing_left(&[])
}

fn broken_pipe(x: &Arena, a: &Driver, b: &Driver) -> Result<(), String> {
    undeliverable(x, a, b, StdoutTo::Broken)
}

fn full_device(x: &Arena, a: &Driver, b: &Driver) -> Result<(), String> {
    undeliverable(x, a, b, StdoutTo::Full)
}

/// A cannot deliver; B gets everything, and at once.
fn undeliverable(x: &Arena, a: &Driver, b: &Driver, to: StdoutTo) -> Result<(), String> {
    let mut ledger = Ledger::default();
    ledger.fill(x, 3)?;
    let mut call = x.call("drain", &[]);
    call.stdout = to;
    let out = a.run(x.temp.path(), call)?;
    let broken = to == StdoutTo::Broken;
    match out.exit().as_str() {
        "74" => {}
        // Dead by SIGPIPE: then it could give nothing up, and B has to wait.
        "SIGPIPE" if broken => x.age_claims()?,
        other => {
            return Err(format!(
                "exit {other}, not 74 [stderr: {}]",
                show(&out.stderr)
            ));
        }
    }
    if broken && !out.stderr.is_empty() {
        return Err(format!(
            "a closed stdout is not quiet: {}",
            show(&out.stderr)
        ));
    }
    ledger.received(&x.ok(b, "drain", &[])?, true)?;
    ledger.settle()?;
    x.nothing_left(&[])
}

/// Mail that does not fit into a pipe.
fn much_mail(x: &Arena) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    for i in 0..40 {
        let id = format!("{:016x}", 0xb000 + i);
        all.extend(message_line(id.as_bytes(), &vec![b'x'; 8192], b""));
    }
    x.write("", &all)?;
    Ok(all)
}

/// A drains into a pipe that nobody reads on: it is amid delivering.
fn stuck_reader(x: &Arena, a: &Driver) -> Result<(Running, Reader), String> {
    let (r, w) = pipe()?;
    let mut call = x.call("drain", &[]);
    call.stdout_fd = Some(w);
    let mut running = a.start(x.temp.path(), call)?;
    let mut reader = Reader::new(r)?;
    let since = Instant::now();
    while reader.seen.is_empty() {
        if !reader.read(1)? || since.elapsed() > Duration::from_secs(20) {
            running.kill_all();
            return Err(format!("{}: drain wrote nothing", a.name));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok((running, reader))
}

/// A dies by SIGKILL while it delivers: B gets everything once the claim is
/// old, and at once from a peer with guard to a peer with guard.
fn killed_reader(x: &Arena, a: &Driver, b: &Driver) -> Result<(), String> {
    let all = much_mail(x)?;
    let (mut running, reader) = stuck_reader(x, a)?;
    let claims = x.claims();
    let checked = check_claims(x, a, &claims);
    running.kill_all();
    drop(reader);
    checked?;
    if !(a.guard && b.guard) {
        same("drain of a fresh claim", &x.ok(b, "drain", &[])?, b"")?;
        if x.claims() != claims {
            return Err(format!("a fresh claim was touched: {:?}", x.claims()));
        }
        x.age_claims()?;
    }
    same("drain", &x.ok(b, "drain", &[])?, &all)?;
    x.nothing_left(&[])
}

/// CLAIM-1, CLAIM-3 and TOKEN-2, seen from outside.
fn check_claims(x: &Arena, a: &Driver, claims: &[String]) -> Result<(), String> {
    let [name] = claims else {
        return Err(format!("not one claim: {claims:?}"));
    };
    let p = crate::content::Pattern::new(b"<ms>-<ms>-<int>.<token>");
    if p.matches(name.as_bytes()).is_none() {
        return Err(format!("{name} is not a claim name"));
    }
    if name.ends_with(".g") != a.guard {
        return Err(format!(
            "{name}: the ending .g is for tokens published with the guard"
        ));
    }
    let f = File::open(x.path(".claims").join(name)).map_err(|e| format!("{name}: {e}"))?;
    let free = Flock::lock(f, FlockArg::LockExclusiveNonblock).is_ok();
    if a.guard && free {
        return Err("a peer with guard holds no flock on the claim it delivers".to_string());
    }
    Ok(())
}

/// A is slow to deliver. Meanwhile B appends, peeks and drains what is new.
fn slow_reader(x: &Arena, a: &Driver, b: &Driver) -> Result<(), String> {
    let all = much_mail(x)?;
    let (mut running, mut reader) = stuck_reader(x, a)?;
    let meanwhile = (|| {
        x.ok(b, "append", &["--wait", "2", "new"])?;
        let new = x.read("").unwrap_or_default();
        same(
            "peek",
            &x.ok(b, "peek", &[])?,
            &[&all[..], &new[..]].concat(),
        )?;
        same("drain", &x.ok(b, "drain", &[])?, &new)?;
        x.ok(b, "has", &[])?;
        same("second drain", &x.ok(b, "drain", &[])?, b"")
    })();
    if meanwhile.is_err() {
        running.kill_all();
        return meanwhile;
    }
    while reader.read(65_536)? {
        if running.is_over() {
            while reader.read(65_536)? {}
            break;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    let out = running.finish()?;
    if out.exit() != "0" {
        return Err(format!(
            "slow drain: exit {} [stderr: {}]",
            out.exit(),
            show(&out.stderr)
        ));
    }
    same("slow drain", &reader.seen, &all)?;
    x.nothing_left(&[])
}

/// B takes one from the middle of A's mail.
fn take_one(x: &Arena, a: &Driver, b: &Driver) -> Result<(), String> {
    for (id, body) in [("1", "one"), ("2", "two\n\"2\""), ("3", "three")] {
        x.ok(
            a,
            "append",
            &["--id", &format!("000000000000000{id}"), "--from", "a", body],
        )?;
    }
    let before = x.read("").unwrap_or_default();
    let lines: Vec<&[u8]> = before.split_inclusive(|c| *c == b'\n').collect();
    let [one, two, three] = lines[..] else {
        return Err(format!("not 3 lines: {}", show(&before)));
    };
    same(
        "take",
        &x.ok(b, "take", &["--from", "a", "--id", "0000000000000002"])?,
        two,
    )?;
    same(
        "what stays",
        &x.read("").unwrap_or_default(),
        &[one, three].concat(),
    )?;
    same(
        "take",
        &x.want(&["1"], a, "take", &["--id", "0000000000000002"])?,
        b"",
    )?;
    same("drain", &x.ok(a, "drain", &[])?, &[one, three].concat())?;
    x.nothing_left(&[])
}

/// A and B take turns at bounded drains.
fn bounded(x: &Arena, a: &Driver, b: &Driver) -> Result<(), String> {
    let line = |i: u8| message_line(format!("00000000000000b{i}").as_bytes(), &[b'x'; 40], b"");
    let lines: Vec<Vec<u8>> = (0..5).map(line).collect();
    x.write("", &lines.concat())?;
    same(
        "drain",
        &x.ok(a, "drain", &["--max", "2"])?,
        &lines[..2].concat(),
    )?;
    same(
        "what stays",
        &x.read("").unwrap_or_default(),
        &lines[2..].concat(),
    )?;
    let two = (2 * lines[0].len() + 1).to_string();
    same(
        "drain",
        &x.ok(b, "drain", &["--max-bytes", &two])?,
        &lines[2..4].concat(),
    )?;
    same("drain", &x.ok(a, "drain", &["--max", "9"])?, &lines[4])?;
    x.nothing_left(&[])
}
