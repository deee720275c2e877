//! Which mixes each setting searches.

use crate::mutations::Case;
use crate::properties::Property;

/// Seconds, with the mutations.
pub const DEFAULT: &[&str] = &[
    // Nothing fails: exactly once, in order, one holder.
    "R:aa M:aa R:dd",
    "M:aa M:a M:d",
    "R:fd R:aa M:a",
    "R:gd M:aa M:a initial=1",
    "R:td R:n M:aa initial=1",
    "R:t M:k R:d initial=2",
    "M:a M:d R:a initial=1 full",
    // A reader that needs long.
    "R:d M:d R:d initial=2 slow",
    "R:f R:t M:d initial=2 slow",
    "R:g R:d M:d initial=2 slow",
    // Crashes.
    "R:aa R:a R:d crashes=1",
    "R:aa M:a M:d crashes=1 initial=1",
    "R:t M:d R:a crashes=1 initial=2",
    "M:f R:d M:a crashes=1 initial=1",
    "M:aa M:a M:a crashes=3",
    "R:ad R:da crashes=3",
    "R:aa R:aa R:aa crashes=3 patient exclusive=3",
    // Stalls.
    "R:a R:d stalls=2 crashes=1 initial=1",
    "M:a M:t stalls=2 initial=2",
    "M:a M:f stalls=2 initial=1",
    "M:a R:t stalls=1 crashes=1 initial=2 full",
    "M:a M:d M:d stalls=1 initial=1",
    "R:a M:d R:d stalls=1 initial=1",
];

/// Under 3 minutes, with those above.
pub const FULL: &[&str] = &[
    "R:aa R:aa R:aa crashes=1",
    "R:aa R:aa M:aa crashes=1",
    "M:ad M:ad M:ad crashes=1 initial=1",
    "R:a R:t R:d crashes=2 initial=2",
    "R:n M:d R:a stalls=1 initial=2",
    "M:f M:d R:a stalls=1 initial=1 full",
    "R:g M:k R:a stalls=1 initial=2",
    "M:a M:t stalls=2 crashes=1 initial=2",
    "M:a M:d M:d stalls=2 initial=1",
    "R:a M:t R:d stalls=1 crashes=1 initial=1",
    "R:ad R:ad R:ad crashes=3 initial=1 patient exclusive=3",
    "R:a R:a R:d crashes=3 stalls=2 initial=1",
    "R:a M:a M:d crashes=3 stalls=2 initial=1",
    "M:a M:a M:d crashes=3 stalls=2 initial=1",
];

/// Searched in every order of the same things too.
pub const WHOLE: &[&str] = &[
    "M:a M:d M:d stalls=1 initial=1",
    "R:a R:d stalls=2 crashes=1 initial=1",
    "M:a M:t stalls=2 crashes=1 initial=2",
    "R:t M:d R:a crashes=1 initial=2",
    "M:ad M:a crashes=2 stalls=1 initial=1",
    "M:a M:a M:d crashes=1 stalls=2 initial=1",
];

/// The mutations searched in every order too: all but those whose mixes are large.
pub fn is_compared(case: &Case) -> bool {
    !case.mix.contains("patient")
}

/// Every mix of three peers with and without guard over these jobs.
pub fn night() -> Vec<String> {
    const PEERS: [&str; 6] = ["R:a", "R:d", "R:t", "M:a", "M:d", "M:t"];
    let mut mixes = Vec::new();
    for (i, first) in PEERS.iter().enumerate() {
        for (j, second) in PEERS.iter().enumerate().skip(i) {
            for third in &PEERS[j..] {
                mixes.push(format!(
                    "{first} {second} {third} crashes=3 stalls=2 initial=2"
                ));
            }
        }
    }
    mixes
}

/// A row of the table of legacy mixes.
pub struct Row {
    pub about: &'static str,
    pub mix: &'static str,
    /// What can happen to the mail of our peers, and to the lock.
    pub breaks: &'static [Property],
    /// Only where there is time.
    pub is_large: bool,
}

const fn row(about: &'static str, mix: &'static str, breaks: &'static [Property]) -> Row {
    Row {
        about,
        mix,
        breaks,
        is_large: false,
    }
}

use Property::{Lost, TwoHolders};

pub const LEGACY: &[Row] = &[
    row("one, no fault", "R:a M:d L:d initial=1", &[]),
    row(
        "one, one crash, ours without guard",
        "M:ad M:d L:d initial=1 crashes=1",
        &[],
    ),
    row(
        "one, one crash, ours with guard",
        "R:a R:d L:d initial=1 crashes=1",
        &[],
    ),
    Row {
        is_large: true,
        ..row(
            "one, one crash, all of ours with guard, more of it",
            "R:ad R:d L:d initial=1 crashes=1",
            &[],
        )
    },
    row(
        "one that appends, one crash, ours with guard",
        "R:aa R:a L:a crashes=1",
        &[],
    ),
    row(
        "one, one crash, ours with and without guard",
        "R:a M:d L:d initial=1 crashes=1",
        &[],
    ),
    row(
        "one, two crashes",
        "M:aa M:a L:d crashes=2 exclusive=2",
        &[Lost, TwoHolders],
    ),
    row(
        "one that appends, one stall",
        "M:a M:d L:a initial=1 stalls=1",
        &[],
    ),
    Row {
        is_large: true,
        ..row(
            "one that appends, one stall, one crash",
            "R:a M:d L:a initial=1 stalls=1 crashes=1",
            &[],
        )
    },
    Row {
        is_large: true,
        ..row(
            "one that appends, two stalls",
            "M:a M:d L:a initial=1 stalls=2",
            &[],
        )
    },
    row(
        "one that drains, one stall",
        "M:a L:d initial=1 stalls=1",
        &[Lost],
    ),
    row("two, no fault", "M:a L:d L:d initial=1", &[]),
    row(
        "two, one crash",
        "M:aa L:d L:d initial=1 crashes=1",
        &[Lost, TwoHolders],
    ),
];
