//! Whether an agent is at work: a hint for its peers (HOOK-6).

use crate::error::{Error, Result};
use crate::format::place;
use crate::root::Root;
use crate::sys::{clock, fs};

/// When any agent was last stamped, in unix seconds.
pub(crate) fn last_run(root: &Root) -> Result<Option<u64>> {
    let dir = root.place(place::ACTIVITY);
    let failed = |e| Error::io("look at", &dir, e);
    let mut last = None;
    for entry in fs::list(&dir).map_err(failed)?.unwrap_or_default() {
        let stamp = fs::read(&dir.join(entry))
            .map_err(failed)?
            .unwrap_or_default();
        let stamp = String::from_utf8_lossy(&stamp);
        let seconds = stamp.split_ascii_whitespace().nth(1);
        last = last.max(seconds.and_then(|seconds| seconds.parse().ok()));
    }
    Ok(last)
}

/// Notes that the agent of this name is at work from now on, or has nothing to do. Where
/// there is no root nobody asks.
pub(super) fn stamp(root: &Root, name: &str, is_busy: bool) -> Result<()> {
    let failed = |path: &std::path::Path, e| Error::io("note the activity in", path, e);
    if fs::lstat(root.dir())
        .map_err(|e| failed(root.dir(), e))?
        .is_none()
    {
        return Ok(());
    }
    let dir = root.place(place::ACTIVITY);
    root.create(&dir)?;
    let state = if is_busy { "busy" } else { "idle" };
    let line = format!("{state} {}\n", clock::unix_seconds());
    let path = dir.join(name);
    // Over what is there, which is as long: nobody sees half of it.
    fs::overwrite(&path, line.as_bytes()).map_err(|e| failed(&path, e))
}
