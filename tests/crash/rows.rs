//! What is put to the test: a row for each verb, and who drives it.

use crate::common::MBOX;
use crate::library::VERB;

/// A call of a verb, and what it is to do to the mailbox of [`scene`](crate::scene).
pub struct Row {
    pub name: &'static str,
    pub args: &'static [&'static str],
    pub stdin: &'static str,
    pub does: Does,
    /// Whether shells have it, or the binary alone.
    pub is_for_shells: bool,
    /// Whether a dead holder's lock is in the way.
    pub has_dead_lock: bool,
    /// How it ends without a fault.
    pub status: i32,
}

impl Row {
    /// Whether its message is entered in the ledger first (LEDGER-2).
    pub fn sends(&self) -> bool {
        matches!(self.args[0], "send" | "reply" | "ask")
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Does {
    /// Appends messages with these bodies, and prints their ids.
    Append(&'static [&'static str]),
    /// Hands over these.
    Hand(&'static [&'static str]),
    /// Takes the lock and leaves it, or runs a command under it.
    Lock,
    /// Gives a lock back that was taken before.
    Release,
    /// Moves the mail to the mailbox `b`.
    Move,
}

/// Mail of a dead reader, then mail in the record file with a damaged line in it.
pub const BEFORE: [&str; 5] = ["c1", "c2", "m1", "m2", "m3"];

/// What is appended by whoever comes next.
pub const NEXT: &str = "f1";

/// The token of the lock that `release` gives back, or that a dead holder left.
pub const TOKEN: &str = "4242.0123456789abcdef";

/// The same of a peer with guard.
pub const GUARDED: &str = "4242.0123456789abcdef.g";

/// What the host of an agent says.
const EVENT: &str = "{\"session_id\":\"a\",\"hook_event_name\":\"PreToolUse\"}\n";

/// The id of a message from `a` to `me`.
pub const LETTER: &str = "00000000000000e1";

const RAW: &str = "{\"id\":\"00000000000000b1\",\"body\":\"b1\"}\n\
                   {\"id\":\"00000000000000b2\",\"body\":\"b2\"}\n";

const fn both(name: &'static str, args: &'static [&'static str], does: Does) -> Row {
    Row {
        name,
        args,
        stdin: "",
        does,
        is_for_shells: true,
        has_dead_lock: false,
        status: 0,
    }
}

const fn binary(name: &'static str, args: &'static [&'static str], does: Does) -> Row {
    Row {
        is_for_shells: false,
        ..both(name, args, does)
    }
}

/// One more verb is one more line.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    both("append", &["append", "a", "b1", "--id", "00000000000000b1"], Does::Append(&["b1"])),
    Row { has_dead_lock: true, ..both("append, recovery", &["append", "a", "b1", "--id", "00000000000000b1"], Does::Append(&["b1"])) },
    both("drain", &["drain", "a", "--format", "body"], Does::Hand(&BEFORE)),
    both("drain --max", &["drain", "a", "--max", "3", "--format", "body"], Does::Hand(&["c1", "c2", "m1"])),
    both("take", &["take", "a", "--id", "00000000000000a2", "--format", "body"], Does::Hand(&["m2"])),
    both("send", &["send", "a", "b1", "--id", "00000000000000b1"], Does::Append(&["b1"])),
    both("reply", &["reply", LETTER, "b1", "--from", "me", "--id", "00000000000000b1"], Does::Append(&["b1"])),
    Row { status: 1, ..binary("ask", &["ask", "a", "b1", "--from", "me", "--timeout", "0"], Does::Append(&["b1"])) },
    Row { stdin: EVENT, ..both("hook", &["hook", "claude"], Does::Hand(&BEFORE)) },
    binary("migrate", &["migrate", "a", "b"], Does::Move),
    binary("register", &["register", "me"], Does::Lock),
    binary("append --sync", &["append", "a", "b1", "--id", "00000000000000b1", "--sync"], Does::Append(&["b1"])),
    binary("append, files kept open", &[VERB, "a", "b1", "b2", "b3"], Does::Append(&["b1", "b2", "b3"])),
    Row { stdin: RAW, ..binary("append --raw", &["append", "a", "--raw"], Does::Append(&["b1", "b2"])) },
    binary("watch --drain", &["watch", "a", "--drain", "--timeout", "0", "--format", "body", "--backend", "poll"], Does::Hand(&BEFORE)),
    binary("acquire", &["acquire", "a"], Does::Lock),
    binary("release", &["release", "a", TOKEN], Does::Release),
    binary("lock", &["lock", "a", "--", "true"], Does::Lock),
];

/// What mbox.zsh has a way of its own for.
pub const IN_ONE_GO: Row = both("append", &["append", "a", "b1"], Does::Append(&["b1"]));

/// A program that speaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Driver {
    Binary,
    Shell(&'static str),
}

pub const SHELLS: [Driver; 3] = [
    Driver::Shell("dash"),
    Driver::Shell("bash"),
    Driver::Shell("zsh"),
];

/// The functions of mbox.zsh.
pub const OVERLAY: Driver = Driver::Shell("zsh-overlay");

impl Driver {
    /// The words before a verb.
    pub fn words(self) -> Vec<String> {
        let file = |path: &str| format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
        match self {
            Driver::Binary => vec![MBOX.into()],
            OVERLAY => vec![
                "zsh".into(),
                "-f".into(),
                file("conformance/drivers/overlay.zsh"),
            ],
            Driver::Shell(shell) => vec![shell.into(), file("shell/mbox.sh")],
        }
    }

    pub fn is_zsh(self) -> bool {
        matches!(self, OVERLAY | Driver::Shell("zsh"))
    }

    pub fn name(self) -> &'static str {
        match self {
            Driver::Binary => "binary",
            Driver::Shell(shell) => shell,
        }
    }

    /// Whom to have look at what it left: programs of another kind, one by one.
    pub fn other(self, n: usize) -> Driver {
        match self {
            Driver::Binary => SHELLS[n % 2],
            Driver::Shell(_) => Driver::Binary,
        }
    }
}

/// A verb of a driver.
#[derive(Clone, Copy)]
pub struct Case {
    pub driver: Driver,
    pub row: &'static Row,
}

impl Case {
    pub fn name(&self) -> String {
        format!("{} {}", self.driver.name(), self.row.name)
    }

    pub fn all() -> Vec<Case> {
        let binary = ROWS.iter().map(|row| (Driver::Binary, row));
        let shells = SHELLS.iter().flat_map(|&shell| {
            let rows = ROWS.iter().filter(|row| row.is_for_shells);
            rows.map(move |row| (shell, row))
        });
        let overlay = std::iter::once((OVERLAY, &IN_ONE_GO));
        let all = binary.chain(shells).chain(overlay);
        all.map(|(driver, row)| Case { driver, row }).collect()
    }
}
