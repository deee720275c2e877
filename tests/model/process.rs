//! A process: what it does, where it is, what it remembers.

use crate::state::{FD_NONE, Ids, Places};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// R
    WithGuard,
    /// M
    WithoutGuard,
    /// L
    Legacy,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    Append,
    Drain,
    /// A drain whose delivery fails, and that gives up.
    FailingDrain,
    /// A bounded drain of one message.
    TakeFirst,
    /// A take that chooses the last message there is.
    TakeLast,
    /// A take whose delivery fails, and that gives up.
    FailingTake,
    /// A take for which nothing matches any more at Split.
    VainTake,
}

impl Job {
    pub fn is_take(self) -> bool {
        matches!(
            self,
            Job::TakeFirst | Job::TakeLast | Job::FailingTake | Job::VainTake
        )
    }

    pub fn fails(self) -> bool {
        matches!(self, Job::FailingDrain | Job::FailingTake)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    Runs,
    Stalled,
}

/// The system call a process makes next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pc {
    Done,
    Start,
    OpenEarly,
    // Acquire
    Guard,
    Gate,
    // Recover
    ObserveToken,
    ObserveDir,
    Mark,
    LookMark,
    ClearMark,
    CompareToken,
    CompareDir,
    ClearToken,
    ClearDir,
    Settle,
    Unmark,
    // with D made by this process
    PublishCreate,
    PublishWrite,
    UndoLook,
    UndoOwner,
    UndoDir,
    // with the token published
    Open,
    Write,
    List,
    AdoptOpen,
    AdoptFlock,
    AdoptCheck,
    AdoptRename,
    LookRecords,
    ClaimOpen,
    ClaimFlock,
    ClaimCheck,
    MakeClaims,
    ClaimRename,
    RemoveEmpty,
    Fence,
    Split,
    MakeChosen,
    PutBack,
    DropChosen,
    UnlinkOld,
    LegacyRead,
    LegacyTruncate,
    Verify,
    ReleaseToken,
    ReleaseDir,
    // the lock is given back
    CloseGuard,
    Read,
    Deliver,
    Unlink,
    RemoveClaims,
    GiveUp,
    CloseClaims,
    // legacy
    LegacyLook,
    LegacyObserve,
}

const _: () = assert!((Pc::LegacyObserve as u8) < 64, "a bit for each call");

impl Pc {
    /// Every call there is but the one of a mutation.
    pub const CALLS: &[Pc] = &[
        Pc::Start,
        Pc::Guard,
        Pc::Gate,
        Pc::ObserveToken,
        Pc::ObserveDir,
        Pc::Mark,
        Pc::LookMark,
        Pc::ClearMark,
        Pc::CompareToken,
        Pc::CompareDir,
        Pc::ClearToken,
        Pc::ClearDir,
        Pc::Settle,
        Pc::Unmark,
        Pc::PublishCreate,
        Pc::PublishWrite,
        Pc::UndoLook,
        Pc::UndoOwner,
        Pc::UndoDir,
        Pc::Open,
        Pc::Write,
        Pc::List,
        Pc::AdoptOpen,
        Pc::AdoptFlock,
        Pc::AdoptCheck,
        Pc::AdoptRename,
        Pc::LookRecords,
        Pc::ClaimOpen,
        Pc::ClaimFlock,
        Pc::ClaimCheck,
        Pc::MakeClaims,
        Pc::ClaimRename,
        Pc::RemoveEmpty,
        Pc::Fence,
        Pc::Split,
        Pc::MakeChosen,
        Pc::PutBack,
        Pc::DropChosen,
        Pc::UnlinkOld,
        Pc::LegacyRead,
        Pc::LegacyTruncate,
        Pc::Verify,
        Pc::ReleaseToken,
        Pc::ReleaseDir,
        Pc::CloseGuard,
        Pc::Read,
        Pc::Deliver,
        Pc::Unlink,
        Pc::RemoveClaims,
        Pc::GiveUp,
        Pc::CloseClaims,
        Pc::LegacyLook,
        Pc::LegacyObserve,
    ];

    /// From the mkdir of D to its rmdir.
    pub fn is_in_lock(self) -> bool {
        self >= Pc::PublishCreate && self <= Pc::ReleaseDir
    }

    /// Believes to hold the lock.
    pub fn is_holder(self) -> bool {
        self >= Pc::Open && self <= Pc::Verify
    }

    /// Has looked at somebody's lock and not acted yet.
    pub fn is_in_window(self) -> bool {
        (self >= Pc::ObserveDir && self <= Pc::ClearDir) || self == Pc::LegacyObserve
    }

    /// Has marked.
    pub fn is_marker(self) -> bool {
        self >= Pc::CompareToken && self <= Pc::Unmark
    }

    /// Takes its mail, the lock given back.
    pub fn is_reading(self) -> bool {
        self >= Pc::Read && self <= Pc::Unlink
    }
}

/// What Observe saw in O, as far as Compare can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observed {
    Nothing,
    Empty,
    /// The token that is still there.
    Token,
    /// A token that is gone and never comes back.
    GoneToken,
}

/// What comes after the next acquisition or release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Work,
    /// Acquire again and Release (DRAIN-4).
    Refence,
    /// Lost at Verify.
    Lost,
    /// Lost at Verify of a Refence: publishing was the fence.
    ToRead,
    Finish,
    Again,
    /// The token could not be published.
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    pub kind: Kind,
    pub life: Life,
    pub pc: Pc,
    /// Which job of its list, counted from 0.
    pub nth: u8,
    pub job: Job,
    pub phase: Phase,
    /// Whether this attempt has the guard and a token ending in `.g`.
    pub is_guarded: bool,
    pub observed: Observed,
    pub observed_guarded: bool,
    /// D is still the one that was observed.
    pub same_dir: bool,
    pub by_age: bool,
    /// The O this process created is still there.
    pub made_owner: bool,
    pub fd: u8,
    /// Claims listed, or to be read, by their places.
    pub list: Places,
    /// Claims of its own.
    pub held: Places,
    pub chosen: Places,
    /// Greatest birth listed.
    pub birth: u8,
    /// Peers Settle still waits for.
    pub waits: u8,
    pub read: Ids,
}

impl Process {
    pub fn at_start(kind: Kind, nth: u8, job: Job) -> Process {
        Process {
            kind,
            life: Life::Runs,
            pc: Pc::Start,
            nth,
            job,
            phase: Phase::Work,
            is_guarded: false,
            observed: Observed::Nothing,
            observed_guarded: false,
            same_dir: false,
            by_age: false,
            made_owner: false,
            fd: FD_NONE,
            list: 0,
            held: 0,
            chosen: 0,
            birth: 0,
            waits: 0,
            read: Ids(0),
        }
    }

    pub fn done(kind: Kind) -> Process {
        Process {
            pc: Pc::Done,
            ..Process::at_start(kind, 0, Job::Append)
        }
    }

    /// What Observe saw is of no use any more.
    pub fn forget_observed(&mut self) {
        self.observed = Observed::Nothing;
        self.observed_guarded = false;
        self.same_dir = false;
        self.by_age = false;
        self.waits = 0;
    }
}
