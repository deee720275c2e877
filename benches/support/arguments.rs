//! What stands behind `--` on the command line of a bench.

use std::path::PathBuf;

/// `[NUMBER...] [--plot] [--on DIR]`; what cargo adds by itself is passed over.
#[derive(Default)]
pub struct Arguments {
    /// How much of it; each bench says of what.
    pub numbers: Vec<u64>,
    /// Write the plots in `docs/`. Nothing else ever does.
    pub plot: bool,
    /// The directory to work in, instead of a fresh filesystem.
    pub on: Option<PathBuf>,
}

impl Arguments {
    pub fn parse() -> Arguments {
        let mut arguments = Arguments::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--plot" => arguments.plot = true,
                "--on" => arguments.on = words.next().map(PathBuf::from),
                word => arguments.numbers.extend(word.parse::<u64>()),
            }
        }
        arguments
    }

    /// The first number, or what is done without one.
    pub fn number_or(&self, default: u64) -> u64 {
        self.numbers.first().copied().unwrap_or(default)
    }
}
