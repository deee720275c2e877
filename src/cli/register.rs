//! `mbox register`.

use super::args::RegisterArgs;
use super::exit::{Exit, Status};
use super::{Places, out, var};
use crate::sys::process;

pub(super) fn run(args: RegisterArgs, places: &Places) -> Result<Status, Exit> {
    let pid = args.pid.unwrap_or_else(process::parent);
    let mine = || var("MBOX_NAME").map(|name| name.to_string_lossy().into_owned());
    let name = args.name.or_else(mine).unwrap_or_else(|| name_of(pid));
    let session = places.root()?.register(&name, pid, args.agent.as_deref())?;
    out::answer(&session.name, "it is registered all the same")?;
    Ok(Status::Yes)
}

/// A name for a process that has none: its program and its number.
fn name_of(pid: i32) -> String {
    let program = process::program(pid).unwrap_or_default();
    let mut name: String = program
        .chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .take(32)
        .collect();
    if name.is_empty() {
        name.push_str("process");
    }
    format!("{name}-{pid}")
}
