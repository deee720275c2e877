//! Recover: observe, judge, mark, compare, clear, settle, unmark.

use super::{Lock, OP, age};
use crate::error::{Error, Result};
use crate::format::token::Owner;
use crate::format::{NEARLY_STALE, SETTLE, STALE};
use crate::sys::fs::{self, Identity, Removed};

#[derive(PartialEq, Eq)]
pub(super) enum Recovered {
    /// The gate may be open: try it at once.
    Yes,
    /// Somebody holds the lock, or is clearing it: wait.
    NotYet,
}

impl Lock {
    /// Clears a stale lock, when it is one.
    pub(super) fn recover(&self, have_guard: bool) -> Result<Recovered> {
        // Observe: the token before the directory, so that a directory that is old
        // belongs to the token or to nobody.
        let observed = self.read_owner()?;
        let Some((id, age)) = self.read_dir()? else {
            return Ok(Recovered::Yes);
        };
        // Judge
        let is_dead = have_guard && observed.as_ref().is_some_and(Owner::is_guarded);
        let is_old = age > STALE;
        if !is_dead && !is_old {
            return Ok(Recovered::NotYet);
        }
        // Mark
        if !fs::mkdir(&self.steal).map_err(|e| self.failed(&self.steal, e))? {
            self.clear_stale_mark()?;
            return Ok(Recovered::NotYet);
        }
        let cleared = self.clear(observed.as_ref(), &id, is_old);
        fs::rmdir(&self.steal).map_err(|e| self.failed(&self.steal, e))?;
        cleared
    }

    /// Compare, Clear and Settle, holding the steal marker.
    fn clear(&self, observed: Option<&Owner>, id: &Identity, is_old: bool) -> Result<Recovered> {
        if self.read_owner()?.as_ref() != observed {
            return Ok(Recovered::NotYet);
        }
        let age = match self.read_dir()? {
            Some((now, age)) if now == *id => age,
            _ => return Ok(Recovered::NotYet),
        };
        if observed.is_some() {
            fs::unlink(&self.owner).map_err(|e| self.failed(&self.owner, e))?;
        }
        let removed = fs::rmdir(&self.dir).map_err(|e| self.failed(&self.dir, e))?;
        if is_old && removed == Removed::NotEmpty {
            fs::remove_tree(&self.dir).map_err(|e| self.failed(&self.dir, e))?;
        }
        if is_old || age > NEARLY_STALE {
            // A legacy peer that saw it old may be between its own look and its rmdir.
            std::thread::sleep(SETTLE);
        }
        Ok(Recovered::Yes)
    }

    /// REC-4: a marker whose maker died.
    pub(crate) fn clear_stale_mark(&self) -> Result<()> {
        let Some(meta) = fs::lstat(&self.steal).map_err(|e| self.failed(&self.steal, e))? else {
            return Ok(());
        };
        if !meta.is_dir() {
            return Err(Error::unsafe_file(OP, &self.steal));
        }
        if age(&meta) > STALE {
            let removed = fs::rmdir(&self.steal).map_err(|e| self.failed(&self.steal, e))?;
            if removed == Removed::NotEmpty {
                fs::remove_tree(&self.steal).map_err(|e| self.failed(&self.steal, e))?;
            }
        }
        Ok(())
    }
}
