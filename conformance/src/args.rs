//! The command line of the runner.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Part {
    /// Every case on every driver.
    Cases,
    /// Every scenario of two on every ordered pair of drivers.
    Pairs,
    /// Hubs, by spec/events.md.
    Events,
    /// Eight racing for a lock left behind, and the swarm.
    Swarm,
    /// Is every requirement tested, or listed as not testable?
    Coverage,
}

/// Checks any implementation of the mbox specification.
#[derive(Parser)]
pub struct Args {
    /// A driver: NAME='COMMAND' (may be given many times)
    #[arg(long = "driver", value_name = "NAME=COMMAND")]
    pub drivers: Vec<String>,
    /// Add the drivers of drivers/bundled.json
    #[arg(long)]
    pub bundled: bool,
    /// The mbox binary among them [default: mbox beside this runner]
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// A bundled driver that cannot run, or no strace, is a failure (CI)
    #[arg(long)]
    pub require_all: bool,
    /// Run only these parts [default: all of them]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Only cases and scenarios whose name contains one of these
    #[arg(long, value_name = "TEXT")]
    pub filter: Vec<String>,
    /// Cases on this driver only, pairs with this driver only
    #[arg(long, value_name = "NAME")]
    pub with: Vec<String>,
    /// How many at once; most of the time is waiting
    #[arg(long, default_value_t = 8)]
    pub jobs: usize,
    /// Stalls for each ordered pair, in turn, or `all`
    #[arg(long, default_value = "6", value_name = "N")]
    pub stalls: String,
    /// Trials of each race
    #[arg(long, default_value_t = 10)]
    pub trials: usize,
    /// Messages of the swarm
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub swarm_messages: usize,
    /// Milliseconds from one kill in the swarm to the next
    #[arg(long, default_value_t = 50, value_name = "MS")]
    pub kill_every: u64,
    /// Seed of the swarm and of the races [default: from the clock; printed]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where spec/*.md is
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec"), hide_default_value = true)]
    pub spec: PathBuf,
    /// Say also what failed as expected, and what the "may" cases showed
    #[arg(long, short)]
    pub verbose: bool,
}

impl Args {
    pub fn part(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    pub fn wants(&self, name: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|f| name.contains(f))
    }

    pub fn has(&self, driver: &str) -> bool {
        self.with.is_empty() || self.with.iter().any(|w| w == driver)
    }
}
