//! `mbox events`: follow the events of the root, or be the hub that serves them.

use std::io::{self, Write};
use std::os::fd::AsFd;

use super::Places;
use super::args::EventsArgs;
use super::exit::{Exit, Status, say};
use super::out::{answer, refuse_closed_stdout};
use crate::events::{Hub, Stream};
use crate::format::event::Request;
use crate::sys::signals::{self, Deferred, Watch};

pub(super) fn run(args: EventsArgs, places: &Places) -> Result<Status, Exit> {
    if args.serve {
        serve(places)
    } else {
        follow(args, places)
    }
}

fn serve(places: &Places) -> Result<Status, Exit> {
    let root = places.root()?;
    // From before there is a socket until somebody watches for them.
    let _signals = Deferred::begin();
    let mut hub = Hub::start(&root, places.runtime_dir().as_deref())?;
    let ours = hub.ours();
    let watch = Watch::begin(move |signal| ours.remove_and(|| signals::die_by(signal)));
    let _watch = watch.ok_or_else(|| {
        let why = "cannot start a thread; raise the limit of processes (ulimit -u)";
        Exit::of(74, why)
    })?;
    say_fallback(hub.fallback());
    let path = hub.socket().display().to_string();
    if let Err(exit) = answer(&path, "it serves all the same") {
        let _: Status = exit.told(); // nobody has to be told where it is
    }
    match hub.run() {
        Ok(never) => match never {},
        Err(error) => Err(error.into()),
    }
}

fn follow(args: EventsArgs, places: &Places) -> Result<Status, Exit> {
    refuse_closed_stdout()?;
    let mailboxes = Some(args.mailboxes).filter(|names| !names.is_empty());
    let request = Request {
        mailboxes: mailboxes.map(|names| names.into_iter().collect()),
        heartbeat: args.heartbeat,
    };
    let runtime_dir = places.runtime_dir();
    let mut stream = Stream::open(&places.root()?, runtime_dir.as_deref(), request)?;
    say_fallback(stream.fallback());
    let mut left = args.count;
    let mut stdout = io::stdout().lock();
    loop {
        // A reader who is gone is noticed while there is nothing to tell him.
        let Some(line) = stream.next_or_hang_up(Some(io::stdout().as_fd()))? else {
            return Err(Exit::of(74, ""));
        };
        let written = stdout.write_all(line.bytes()).and_then(|()| stdout.flush());
        written.map_err(|e| Exit::stdout(&e, "see where it goes"))?;
        if let (true, Some(left)) = (line.is_event(), &mut left) {
            *left -= 1;
            if *left == 0 {
                return Ok(Status::Yes);
            }
        }
    }
}

/// Once, at the start.
fn say_fallback(why: Option<&str>) {
    if let Some(why) = why {
        say(&format!("{why}; looking every 10 to 40 ms instead"));
    }
}
