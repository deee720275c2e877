//! `mbox migrate`.

use super::Places;
use super::args::MigrateArgs;
use super::exit::{Exit, Status, say};
use super::out::say_foreign;
use crate::delivery::{Migrated, migrate};

pub(super) fn run(args: MigrateArgs, places: &Places) -> Result<Status, Exit> {
    let mailbox = |argument| {
        let mailbox = places.mailbox(argument)?;
        Ok::<_, Exit>(mailbox.waiting(args.wait.time))
    };
    let (old, new) = (mailbox(&args.old)?, mailbox(&args.new)?);
    if old.is_same(&new) {
        return Err(Exit::usage("OLD and NEW are one mailbox; give another one"));
    }
    let migrated = migrate(&old, &new)?;
    say_foreign(&old)?;
    match migrated {
        Migrated::All => Ok(Status::Yes),
        Migrated::InHand => {
            say(&format!(
                "{}: mail is in the hands of a reader; run it again when that one is done",
                old.title()
            ));
            Ok(Status::Of(75))
        }
    }
}
