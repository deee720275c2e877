//! Variations of the rules, each of which must break something.

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
    AgeByMtime,
    NoMark,
    NoCompare,
    FlockBeforeUnlink,
    ChosenNotFlocked,
    GuardedAfter30,
    NoGoingOn,
    GoOnAsGuarded,
    KeepStaleMark,
    KeepOwner,
    RemoveDirOnExists,
    NoIdentity,
    NoSettle,
    NoGuardShortcut,
    BirthByClock,
    NoGiveUp,
    ChosenAfterPutBack,
    UnlinkBeforePutBack,
    KeepEmptyRecords,
    DeadBeforeOld,
}

pub struct Case {
    pub mutation: Mutation,
    pub name: &'static str,
    /// What it changes, and the requirements it goes against.
    pub what: &'static str,
    pub mix: &'static str,
    pub breaks: Property,
}

const fn case(
    mutation: Mutation,
    name: &'static str,
    what: &'static str,
    mix: &'static str,
    breaks: Property,
) -> Case {
    Case {
        mutation,
        name,
        what,
        mix,
        breaks,
    }
}

use Mutation as Mu;
use Property as Pr;

pub const CASES: [Case; 27] = [
    case(
        Mu::NoVerify,
        "no-verify",
        "acknowledge without reading O (APP-7)",
        "M:a M:d initial=1 stalls=1",
        Pr::Lost,
    ),
    case(
        Mu::NoFence,
        "no-fence",
        "read without reading O (DRAIN-4)",
        "M:a M:d initial=1 stalls=1",
        Pr::Lost,
    ),
    case(
        Mu::OpenBeforePublish,
        "open-before-publish",
        "open B before the token is published (APP-2)",
        "M:a M:d initial=1",
        Pr::Lost,
    ),
    case(
        Mu::ListAfterFence,
        "list-after-fence",
        "adopt behind the fence (DRAIN-4)",
        "M:a M:d M:d initial=2 stalls=2",
        Pr::Lost,
    ),
    case(
        Mu::OneClaimName,
        "one-claim-name",
        "one name for all claims of an acquisition (CLAIM-1)",
        "M:d M:d M:a initial=1 crashes=1",
        Pr::Lost,
    ),
    case(
        Mu::UnlinkBeforeDeliver,
        "unlink-before-deliver",
        "unlink claims before delivery (DRAIN-6)",
        "M:d initial=1 crashes=1",
        Pr::Lost,
    ),
    case(
        Mu::RenameOver,
        "rename-over",
        "put back by a rename over B (TAKE-3)",
        "M:t M:a initial=2 stalls=1",
        Pr::Lost,
    ),
    case(
        Mu::AgeByMtime,
        "age-by-mtime",
        "judge claims by their mtime (CLAIM-5)",
        "M:d M:d initial=1",
        Pr::Twice,
    ),
    case(
        Mu::NoMark,
        "no-mark",
        "recover without S (REC-2)",
        "R:a R:a M:a crashes=1",
        Pr::TwoHolders,
    ),
    case(
        Mu::NoCompare,
        "no-compare",
        "no second look under S (REC-2)",
        "R:a R:a M:a crashes=1",
        Pr::TwoHolders,
    ),
    case(
        Mu::FlockBeforeUnlink,
        "flock-before-unlink",
        "let go of the flock before the unlink (CLAIM-3)",
        "R:d R:d initial=1",
        Pr::Twice,
    ),
    case(
        Mu::ChosenNotFlocked,
        "chosen-not-flocked",
        "no flock on the chosen claim (CLAIM-3)",
        "R:t R:d initial=1",
        Pr::Twice,
    ),
    case(
        Mu::GuardedAfter30,
        "guarded-after-30",
        "take a guarded claim after 30 s (CLAIM-4)",
        "R:d M:d initial=1 slow",
        Pr::Twice,
    ),
    case(
        Mu::NoGoingOn,
        "no-going-on",
        "wait for the guard for ever (ACQ-2)",
        "R:a R:d stalls=1",
        Pr::Wedge,
    ),
    case(
        Mu::GoOnAsGuarded,
        "go-on-as-guarded",
        "go on without the guard, but with .g (ACQ-2, TOKEN-2)",
        "R:a R:a R:a",
        Pr::TwoHolders,
    ),
    case(
        Mu::KeepStaleMark,
        "keep-stale-mark",
        "leave a stale S alone (REC-4)",
        "M:a M:a crashes=2",
        Pr::Wedge,
    ),
    case(
        Mu::KeepOwner,
        "keep-owner",
        "clear D but not O (REC-2)",
        "M:a M:d crashes=1",
        Pr::Wedge,
    ),
    case(
        Mu::RemoveDirOnExists,
        "remove-dir-on-exists",
        "remove D when O is there (ACQ-5)",
        "M:a M:a stalls=1 crashes=1",
        Pr::Wedge,
    ),
    case(
        Mu::NoIdentity,
        "no-identity",
        "do not compare the identity of D (Compare)",
        "M:a M:a L:a crashes=1",
        Pr::TwoHolders,
    ),
    case(
        Mu::NoSettle,
        "no-settle",
        "do not hold S for 0.5 s (REC-6)",
        "M:a M:a L:a crashes=1",
        Pr::TwoHolders,
    ),
    case(
        Mu::NoGuardShortcut,
        "no-guard-shortcut",
        "wait 30 s for a dead holder of the guard (Judge a)",
        "R:a R:a crashes=1",
        Pr::Slow,
    ),
    case(
        Mu::BirthByClock,
        "birth-by-clock",
        "births by a clock that steps back (CLAIM-2)",
        "M:fd M:aa",
        Pr::Order,
    ),
    case(
        Mu::NoGiveUp,
        "no-give-up",
        "leave the stamp of claims that are not acknowledged (CLAIM-7)",
        "M:fd initial=1",
        Pr::Slow,
    ),
    case(
        Mu::ChosenAfterPutBack,
        "chosen-after-put-back",
        "make the chosen claim after Put back (TAKE-2)",
        "M:t initial=2 crashes=1",
        Pr::Lost,
    ),
    case(
        Mu::UnlinkBeforePutBack,
        "unlink-before-put-back",
        "unlink the old claims before Put back (TAKE-4)",
        "M:t initial=2 crashes=1",
        Pr::Lost,
    ),
    case(
        Mu::KeepEmptyRecords,
        "keep-empty-records",
        "claim B only when it is not empty (DRAIN-3)",
        "M:d M:a initial=2 crashes=2",
        Pr::Wedge,
    ),
    case(
        Mu::DeadBeforeOld,
        "dead-before-old",
        "no Settle when both cases hold (REC-6)",
        "R:aa M:a L:a crashes=1",
        Pr::TwoHolders,
    ),
];
