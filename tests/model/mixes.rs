//! Mixes by name: `R:a M:dd crashes=1 stalls=1`.
//!
//! A word for each process, its kind (R, M, L) and its jobs: a append, d drain, f drain
//! that fails and gives up, t bounded drain of one, k take of the last, g bounded drain
//! that fails and gives up, n take that finds nothing any more. Then options:
//! `crashes=N`, `stalls=N`, `initial=N` messages in B, `exclusive=N` crashes through which
//! one holder is demanded, `slow` guarded readers, `full`: a token may not be published for
//! want of space, `patient`: waiting at the guard is over only beside a frozen holder,
//! `whole`: every order of the same things is gone into.

use crate::rules::Mix;
use crate::state::{Job, Kind, PEERS};

pub fn parse(text: &str) -> Result<Mix, String> {
    let mut mix = Mix {
        peers: Vec::new(),
        initial: 0,
        crashes: 0,
        stalls: 0,
        exclusive: 1,
        is_slow: false,
        is_ordered: false,
        is_hasty: true,
        is_full: false,
        is_whole: false,
    };
    for word in text.split_whitespace() {
        let number = |value: &str, most: u8| match value.parse() {
            Ok(number) if number <= most => Ok(number),
            _ => Err(format!("{word}: at most {most}")),
        };
        match word.split_once(['=', ':']) {
            None if word == "slow" => mix.is_slow = true,
            None if word == "full" => mix.is_full = true,
            None if word == "whole" => mix.is_whole = true,
            None if word == "patient" => mix.is_hasty = false,
            Some(("crashes", value)) => mix.crashes = number(value, 3)?,
            Some(("stalls", value)) => mix.stalls = number(value, 2)?,
            Some(("initial", value)) => mix.initial = number(value, 2)?,
            Some(("exclusive", value)) => mix.exclusive = number(value, 3)?,
            Some((kind, jobs)) if mix.peers.len() < PEERS => {
                mix.peers.push((parse_kind(kind)?, parse_jobs(jobs)?));
            }
            _ => return Err(format!("{word}: not a part of a mix")),
        }
    }
    if mix.peers.is_empty() {
        return Err("a mix needs a process".into());
    }
    // Order is promised where one process reads (spec/rationale.md, "Order").
    let readers = mix
        .peers
        .iter()
        .filter(|(_, jobs)| jobs.iter().any(|&job| job != Job::Append));
    let takes = mix
        .peers
        .iter()
        .any(|(_, jobs)| jobs.contains(&Job::TakeLast));
    mix.is_ordered = readers.count() == 1 && !takes;
    Ok(mix)
}

fn parse_kind(text: &str) -> Result<Kind, String> {
    match text {
        "R" => Ok(Kind::WithGuard),
        "M" => Ok(Kind::WithoutGuard),
        "L" => Ok(Kind::Legacy),
        _ => Err(format!("{text}: R, M or L")),
    }
}

fn parse_jobs(text: &str) -> Result<Vec<Job>, String> {
    let jobs: Result<Vec<Job>, String> = text
        .chars()
        .map(|letter| match letter {
            'a' => Ok(Job::Append),
            'd' => Ok(Job::Drain),
            'f' => Ok(Job::FailingDrain),
            't' => Ok(Job::TakeFirst),
            'k' => Ok(Job::TakeLast),
            'g' => Ok(Job::FailingTake),
            'n' => Ok(Job::VainTake),
            _ => Err(format!("{letter}: a, d, f, t, k, g or n")),
        })
        .collect();
    let jobs = jobs?;
    let appends = jobs.iter().filter(|&&job| job == Job::Append).count();
    if jobs.is_empty() || appends > 2 {
        return Err(format!("{text}: one job or more, and at most two appends"));
    }
    Ok(jobs)
}
