//! Which system call of shell/mbox.sh, or of the binary, is which call of the model.

use nix::libc;

use crate::calls::{self, Call};
use crate::state::{Job, Kind, Owner, Pc, Process, State};

/// The file a call is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    Records,
    Lock,
    Owner,
    Steal,
    Guard,
    Claims,
    Claim,
    Temporary,
    Stdout,
    Elsewhere,
}

use Place::{Claim, Claims, Guard, Lock, Owner as OwnerFile, Records, Stdout, Steal, Temporary};

impl Place {
    fn of(path: &str) -> Place {
        if path.starts_with("~/out.") || path == "/dev/full" {
            return Stdout;
        }
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let Some((_, ending)) = path.split_once("/mailboxes/a.jsonl") else {
            return Place::Elsewhere;
        };
        match ending {
            "" => Records,
            ".lock" => Lock,
            ".lock.owner" => OwnerFile,
            ".lock.steal" => Steal,
            ".lock.guard" => Guard,
            ".claims" => Claims,
            _ if ending.starts_with(".claims/") => Claim,
            _ if ending.starts_with(".tmp.") => Temporary,
            _ => Place::Elsewhere,
        }
    }
}

pub fn places(call: &Call) -> Vec<Place> {
    call.on.iter().map(|path| Place::of(path)).collect()
}

/// What a process is to have done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// A call of this family, about these files.
    Call(&'static str, &'static [Place]),
    /// Opened, and may make.
    Creates(Place),
    /// Written to one of these.
    Writes(&'static [Place]),
    /// Opened, and does not make.
    Opens(Place),
    /// Looked at, without opening.
    Looks(Place),
    /// The same, by a tool: what the shell asks itself is something else.
    LooksByTool(Place),
    /// Looked at B, and at B.claims when it has to.
    LooksForMail {
        is_shell: bool,
    },
    /// Seen that D is there.
    FindsLock,
    /// Read to the end; of an empty O the script asks whether it is there still.
    ReadsOwner,
    ReadsEmptyOwner,
    ReadsClaim,
    ListsClaims,
    Sleeps,
}

impl Goal {
    /// The call of the model that a process is about to make in this state; `None` when the
    /// script makes none for it.
    pub fn of(me: &Process, before: &State) -> Option<Goal> {
        let is_shell = me.kind == Kind::WithoutGuard;
        let is_binary = me.kind == Kind::WithGuard;
        let is_owned = before.owner != Owner::Absent;
        Some(match me.pc {
            Pc::Start if me.job == Job::Append => return None,
            Pc::Start => Goal::LooksForMail { is_shell },
            Pc::Gate if before.lock.is_there && is_shell => Goal::FindsLock,
            Pc::Gate => Goal::Call("mkdir", &[Lock]),
            Pc::PublishCreate if is_owned && is_shell => Goal::Looks(OwnerFile),
            Pc::PublishCreate => Goal::Creates(OwnerFile),
            Pc::PublishWrite => Goal::Writes(&[OwnerFile]),
            Pc::Open | Pc::OpenEarly => Goal::Creates(Records),
            // It may have been renamed meanwhile.
            Pc::Write => Goal::Writes(&[Records, Claim]),
            Pc::ObserveToken | Pc::LegacyObserve | Pc::CompareToken | Pc::Fence | Pc::Verify => {
                match before.owner {
                    Owner::Absent if is_binary => Goal::Opens(OwnerFile),
                    Owner::Absent => Goal::Looks(OwnerFile),
                    _ if is_binary => Goal::ReadsOwner,
                    Owner::Empty => Goal::ReadsEmptyOwner,
                    Owner::Token { .. } => Goal::ReadsOwner,
                }
            }
            Pc::ObserveDir | Pc::CompareDir if is_binary => Goal::Looks(Lock),
            Pc::LookMark if is_binary => Goal::Looks(Steal),
            Pc::Guard => Goal::Call("flock", &[Guard]),
            Pc::CloseGuard if is_binary && me.is_guarded => Goal::Call("flock", &[Guard]),
            Pc::AdoptOpen => Goal::Opens(Claim),
            Pc::AdoptFlock => Goal::Call("flock", &[Claim]),
            Pc::AdoptCheck => Goal::Looks(Claim),
            Pc::ClaimOpen => Goal::Opens(Records),
            Pc::ClaimFlock => Goal::Call("flock", &[Records]),
            Pc::ClaimCheck => Goal::Looks(Records),
            Pc::ObserveDir | Pc::LegacyLook | Pc::CompareDir => Goal::LooksByTool(Lock),
            Pc::Mark => Goal::Call("mkdir", &[Steal]),
            Pc::LookMark => Goal::LooksByTool(Steal),
            Pc::ClearMark | Pc::Unmark => Goal::Call("rmdir", &[Steal]),
            Pc::ClearToken | Pc::ReleaseToken => Goal::Call("unlink", &[OwnerFile]),
            Pc::ClearDir | Pc::ReleaseDir => Goal::Call("rmdir", &[Lock]),
            Pc::Settle => Goal::Sleeps,
            Pc::List if before.has_claims_dir => Goal::ListsClaims,
            Pc::List => Goal::Looks(Claims),
            Pc::AdoptRename | Pc::GiveUp => Goal::Call("rename", &[Claim, Claim]),
            Pc::LookRecords => Goal::Looks(Records),
            Pc::MakeClaims => Goal::Call("mkdir", &[Claims]),
            Pc::ClaimRename => Goal::Call("rename", &[Records, Claim]),
            // Not made when another has removed it meanwhile.
            Pc::RemoveEmpty if is_shell && !before.has_claims_dir => Goal::Looks(Claims),
            Pc::RemoveEmpty | Pc::RemoveClaims => Goal::Call("rmdir", &[Claims]),
            Pc::Split | Pc::Read => Goal::ReadsClaim,
            Pc::MakeChosen => Goal::Call("rename", &[Temporary, Claim]),
            Pc::PutBack => Goal::Call("link or rename", &[Temporary, Records]),
            Pc::DropChosen | Pc::UnlinkOld | Pc::Unlink => Goal::Call("unlink", &[Claim]),
            Pc::Deliver => Goal::Writes(&[Stdout]),
            // Without guard there is none to close.
            Pc::CloseGuard | Pc::CloseClaims => return None,
            other => panic!("no replay has needed {other:?} so far"),
        })
    }

    /// Whether this call reaches it, or begins to. `looked` is what was looked at last.
    pub fn is(self, call: &Call, looked: Option<Place>) -> bool {
        let places = places(call);
        let is_by_tool = call.process != "1";
        match self {
            Goal::Call("link or rename", wanted) => {
                (call.name.starts_with("link") || call.name.starts_with("rename"))
                    && places == wanted
            }
            Goal::Call(family, wanted) => call.name.starts_with(family) && places == wanted,
            Goal::Creates(place) => call.is_creating() && places == [place],
            Goal::Writes(wanted) => {
                call.kind == calls::Kind::Write
                    && places.last().is_some_and(|last| wanted.contains(last))
            }
            Goal::Opens(place) => {
                call.kind == calls::Kind::Open && !call.is_creating() && places == [place]
            }
            Goal::Looks(place) => call.kind == calls::Kind::Look && places == [place],
            Goal::LooksByTool(place) => {
                call.kind == calls::Kind::Look && places == [place] && is_by_tool
            }
            // The shell looks at all of them whether they are what they should be, and then
            // for mail.
            Goal::LooksForMail { is_shell } => {
                Goal::Looks(Records).is(call, None) && (!is_shell || looked == Some(Claims))
            }
            // The same with D and S, and then at D.
            Goal::FindsLock => {
                call.kind == calls::Kind::Look && places == [Lock] && looked == Some(Steal)
            }
            Goal::ReadsOwner | Goal::ReadsEmptyOwner => {
                call.kind == calls::Kind::Open && !call.is_creating() && places == [OwnerFile]
            }
            Goal::ReadsClaim => is_reading(call, Claim),
            Goal::ListsClaims => is_reading(call, Claims),
            Goal::Sleeps => call.nr == libc::SYS_clock_nanosleep,
        }
    }

    /// Whether it is not reached before this call either, `seen` being those behind the
    /// first one.
    pub fn goes_on(self, call: &Call, seen: &[Call]) -> bool {
        let first = &seen[0];
        let is_same = call.process == first.process;
        match self {
            Goal::ReadsOwner => {
                is_reading(call, OwnerFile) || !seen.iter().any(|seen| is_reading(seen, OwnerFile))
            }
            Goal::LooksForMail { .. } => {
                Goal::Looks(Records).is(call, None) || Goal::Looks(Claims).is(call, None)
            }
            Goal::ReadsEmptyOwner => {
                let is_looking = |call: &Call| Goal::Looks(OwnerFile).is(call, None);
                !seen.iter().any(is_looking)
            }
            Goal::ReadsClaim => {
                let is_closing = call.name == "close" && places(call) == [Claim];
                !is_same || !(is_closing || call.name == "exit_group")
            }
            Goal::ListsClaims => is_reading(call, Claims),
            // A tool does its one thing, in more than one call when it has to.
            _ => first.process != "1" && is_same && call.name != "exit_group",
        }
    }
}

fn is_reading(call: &Call, place: Place) -> bool {
    let is_reading = call.kind == calls::Kind::Read || call.name == "copy_file_range";
    is_reading && places(call).first() == Some(&place)
}

/// Whether a call changes what another process, or a person, can see: not one that is going
/// to find its work done.
pub fn is_effect(call: &Call, is_there: impl Fn(&str) -> bool) -> bool {
    let places = places(call);
    let counts = |place: &Place| !matches!(place, Guard | Temporary | Place::Elsewhere);
    match call.kind {
        calls::Kind::Change if call.name.starts_with("mkdir") => {
            places.iter().any(counts) && !is_there(&call.on[0])
        }
        calls::Kind::Change => places.iter().any(counts) && is_there(&call.on[0]),
        calls::Kind::Open => call.is_creating() && places.iter().any(counts),
        calls::Kind::Write => places.last().is_some_and(counts),
        _ => false,
    }
}
