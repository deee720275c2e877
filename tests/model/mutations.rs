//! Variations of the rules: steps left out, each of which must break something, and
//! repairs of what the text as it stands does not keep.

use crate::properties::Property;

/// One step left out, or done the other way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    NoVerify,
    NoFence,
    OpenBeforePublish,
    ListAfterFence,
    OneClaimName,
    UnlinkBeforeDeliver,
    RenameOver,
    ChosenAfterPutBack,
    UnlinkBeforePutBack,
    AgeByMtime,
    FlockBeforeUnlink,
    ChosenNotFlocked,
    GuardedAfter30,
    BirthByClock,
    NoMark,
    NoCompare,
    GoOnAsGuarded,
    NoIdentity,
    NoSettle,
    NoGoingOn,
    KeepStaleMark,
    KeepOwner,
    RemoveDirOnExists,
    KeepEmptyRecords,
    NoGuardShortcut,
    NoGiveUp,
    DeadBeforeOld,
    SettleWhenOld,
    PatientAtGuard,
}

pub struct Case {
    pub mutation: Mutation,
    pub name: &'static str,
    /// What it changes.
    pub what: &'static str,
    /// The requirements it goes against.
    pub against: &'static str,
    pub mix: &'static str,
    /// What must break: by a mutation with it, by a repair without it.
    pub breaks: Property,
}

/// What each step is for.
pub const MUTATIONS: &[Case] = &[
    Case {
        mutation: Mutation::NoVerify,
        name: "no-verify",
        what: "acknowledge without reading O",
        against: "APP-7 REL-2",
        mix: "M:a M:d initial=1 stalls=1",
        breaks: Property::Lost,
    },
    Case {
        mutation: Mutation::NoFence,
        name: "no-fence",
        what: "read claims without reading O",
        against: "DRAIN-4",
        mix: "M:a M:d initial=1 stalls=1",
        breaks: Property::Lost,
    },
    Case {
        mutation: Mutation::OpenBeforePublish,
        name: "open-before-publish",
        what: "open B before the token is published",
        against: "APP-2",
        mix: "M:a M:d initial=1",
        breaks: Property::Lost,
    },
    Case {
        mutation: Mutation::ListAfterFence,
        name: "list-after-fence",
        what: "adopt behind the fence",
        against: "DRAIN-4",
        mix: "M:a M:d M:d initial=1 stalls=2",
        breaks: Property::Lost,
    },
    Case {
        mutation: Mutation::OneClaimName,
        name: "one-claim-name",
        what: "one name for all claims of an acquisition",
        against: "CLAIM-1",
        mix: "M:dd M:a initial=1 crashes=1",
        breaks: Property::Lost,
    },
    Case {
        mutation: Mutation::UnlinkBeforeDeliver,
        name: "unlink-before-deliver",
        what: "unlink claims before delivery",
        against: "DRAIN-6 TAKE-6",
        mix: "M:d initial=1 crashes=1",
        breaks: Property::Lost,
    },
    Case {
        mutation: Mutation::RenameOver,
        name: "rename-over",
        what: "put back by a rename over B",
        against: "TAKE-3",
        mix: "M:t M:a initial=2 stalls=1",
        breaks: Property::Lost,
    },
    Case {
        mutation: Mutation::ChosenAfterPutBack,
        name: "chosen-after-put-back",
        what: "unlink the old claims before the chosen one is made",
        against: "TAKE-2",
        mix: "M:t initial=2 crashes=1",
        breaks: Property::Lost,
    },
    Case {
        mutation: Mutation::UnlinkBeforePutBack,
        name: "unlink-before-put-back",
        what: "unlink the old claims before Put back",
        against: "TAKE-4",
        mix: "M:t initial=2 crashes=1",
        breaks: Property::Lost,
    },
    Case {
        mutation: Mutation::AgeByMtime,
        name: "age-by-mtime",
        what: "judge claims by their mtime",
        against: "CLAIM-5",
        mix: "M:d M:d initial=1",
        breaks: Property::Twice,
    },
    Case {
        mutation: Mutation::FlockBeforeUnlink,
        name: "flock-before-unlink",
        what: "let go of the flock before the unlink",
        against: "CLAIM-3",
        mix: "R:d R:d initial=1",
        breaks: Property::Twice,
    },
    Case {
        mutation: Mutation::ChosenNotFlocked,
        name: "chosen-not-flocked",
        what: "no flock on the chosen claim",
        against: "CLAIM-3",
        mix: "R:t R:d initial=1",
        breaks: Property::Twice,
    },
    Case {
        mutation: Mutation::GuardedAfter30,
        name: "guarded-after-30",
        what: "adopt a guarded claim after 30 s, not 300",
        against: "CLAIM-4",
        mix: "R:d M:d initial=1 slow",
        breaks: Property::Twice,
    },
    Case {
        mutation: Mutation::BirthByClock,
        name: "birth-by-clock",
        what: "births by a clock that steps back",
        against: "CLAIM-2",
        mix: "M:fd M:aa",
        breaks: Property::Order,
    },
    Case {
        mutation: Mutation::NoMark,
        name: "no-mark",
        what: "recover without S",
        against: "REC-2",
        mix: "R:a R:a M:a crashes=1",
        breaks: Property::TwoHolders,
    },
    Case {
        mutation: Mutation::NoCompare,
        name: "no-compare",
        what: "no second look under S",
        against: "REC-2",
        mix: "R:a R:a M:a crashes=1",
        breaks: Property::TwoHolders,
    },
    Case {
        mutation: Mutation::GoOnAsGuarded,
        name: "go-on-as-guarded",
        what: "go on without the guard, but with .g",
        against: "ACQ-2 TOKEN-2",
        mix: "R:a R:a",
        breaks: Property::TwoHolders,
    },
    Case {
        mutation: Mutation::NoIdentity,
        name: "no-identity",
        what: "do not compare the identity of D",
        against: "REC-2",
        mix: "M:a M:a L:a crashes=1",
        breaks: Property::TwoHolders,
    },
    Case {
        mutation: Mutation::NoSettle,
        name: "no-settle",
        what: "do not hold S for 0.5 s",
        against: "REC-6",
        mix: "M:a M:a L:a crashes=1",
        breaks: Property::TwoHolders,
    },
    Case {
        mutation: Mutation::NoGoingOn,
        name: "no-going-on",
        what: "wait for the guard for ever",
        against: "ACQ-2",
        mix: "R:a R:d stalls=1",
        breaks: Property::Wedge,
    },
    Case {
        mutation: Mutation::KeepStaleMark,
        name: "keep-stale-mark",
        what: "leave a stale S alone",
        against: "REC-4",
        mix: "M:a M:a crashes=2",
        breaks: Property::Wedge,
    },
    Case {
        mutation: Mutation::KeepOwner,
        name: "keep-owner",
        what: "clear D but not O",
        against: "REC-2",
        mix: "M:a M:d crashes=1",
        breaks: Property::Wedge,
    },
    Case {
        mutation: Mutation::RemoveDirOnExists,
        name: "remove-dir-on-exists",
        what: "remove D when O is there",
        against: "ACQ-5",
        mix: "M:a M:a crashes=1 stalls=1",
        breaks: Property::Wedge,
    },
    Case {
        mutation: Mutation::KeepEmptyRecords,
        name: "keep-empty-records",
        what: "a take claims B only when it is not empty",
        against: "DRAIN-3 TAKE-3",
        mix: "M:d M:a initial=2 crashes=2",
        breaks: Property::Wedge,
    },
    Case {
        mutation: Mutation::NoGuardShortcut,
        name: "no-guard-shortcut",
        what: "wait 30 s for a dead holder of the guard",
        against: "REC-1",
        mix: "R:a R:a crashes=1",
        breaks: Property::Slow,
    },
    Case {
        mutation: Mutation::NoGiveUp,
        name: "no-give-up",
        what: "keep the stamp of claims that are not acknowledged",
        against: "CLAIM-7",
        mix: "M:fd initial=1",
        breaks: Property::Slow,
    },
    Case {
        mutation: Mutation::DeadBeforeOld,
        name: "dead-before-old",
        what: "no Settle where both (a) and (b) hold",
        against: "REC-6",
        mix: "R:aa M:a L:a crashes=1",
        breaks: Property::TwoHolders,
    },
];

/// What the text does not keep, and what would: as written the mix breaks, with the
/// repair it does not.
pub const REPAIRS: &[Case] = &[
    Case {
        mutation: Mutation::SettleWhenOld,
        name: "settle-when-old",
        what: "Settle after Clear whenever D is over 30 s old by then",
        against: "REC-6",
        mix: "R:a R:d L:d initial=1 crashes=1",
        breaks: Property::Lost,
    },
    Case {
        mutation: Mutation::PatientAtGuard,
        name: "patient-at-guard",
        what: "go on without the guard only when its holder is frozen",
        against: "ACQ-2",
        mix: "R:aa R:aa R:a crashes=2 patient exclusive=2",
        breaks: Property::TwoHolders,
    },
];

pub fn find(name: &str) -> Option<&'static Case> {
    MUTATIONS
        .iter()
        .chain(REPAIRS)
        .find(|case| case.name == name)
}
