//! Whether a backend tells of changes in a directory: shown by a write, not believed.
//!
//! On some filesystems (NFS, 9p, WSL) a watch succeeds and tells nothing.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Change, Interest, Notifier};
use crate::sys::fs;
use crate::sys::signals::Deferred;

/// What the files of a proof are called, less a random ending. A killed one stays behind.
pub(crate) const PROOF_FILE: &str = ".mbox-proof.";

/// Makes a file in `dir`, removes it, and says how long it took until that was told; `None`
/// when it was not told within `limit`. What else the notifier has to tell meanwhile is
/// lost: look at everything afterwards.
///
/// # Errors
/// When `dir` cannot be watched or nothing can be made in it.
pub(crate) fn prove(
    notifier: &mut Notifier,
    dir: &Path,
    limit: Duration,
) -> io::Result<Option<Duration>> {
    let name = format!("{PROOF_FILE}{:016x}", rand::random::<u64>());
    let path = dir.join(&name);
    let id = notifier.add(dir, Interest::Names(vec![name.into()]))?;
    let _signals = Deferred::begin(); // the file is not left behind
    let made = fs::create_new(&path);
    let begin = Instant::now(); // a slow create says nothing of the notifier
    let told = made.and_then(|_| {
        let mut changes = Vec::new();
        loop {
            let left = limit.saturating_sub(begin.elapsed());
            notifier.wait(Some(left), &mut changes)?;
            if changes.iter().any(|change: &Change| change.watch == id) {
                return Ok(Some(begin.elapsed()));
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    });
    let _ = fs::unlink(&path); // there is none, or it cannot be helped
    notifier.remove(id);
    told
}
