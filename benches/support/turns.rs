//! Cases measured by turns, so that whatever else the machine does hits all of them alike.

use std::time::{Duration, Instant};

/// Something to do many times.
pub struct Case<'a> {
    pub what: String,
    run: Box<dyn FnMut() -> Option<Duration> + 'a>,
}

impl<'a> Case<'a> {
    /// Timed from outside.
    pub fn new(what: &str, mut run: impl FnMut() + 'a) -> Case<'a> {
        Case {
            what: what.to_owned(),
            run: Box::new(move || {
                run();
                None
            }),
        }
    }

    /// Does more than what counts, and says itself how long that took.
    pub fn timed(what: &str, mut run: impl FnMut() -> Duration + 'a) -> Case<'a> {
        Case {
            what: what.to_owned(),
            run: Box::new(move || Some(run())),
        }
    }
}

/// Each case `batch` times in a row, then the next one; `turns` times. The figure of a turn is
/// the median of its batch, so that a process that got in between does not count. The first
/// turn warms up and does not count, and each turn begins with another case.
pub fn by_turns(cases: &mut [Case], turns: usize, batch: u32) -> Vec<Series> {
    let mut series = vec![Series(Vec::with_capacity(turns)); cases.len()];
    for turn in 0..=turns {
        for step in 0..cases.len() {
            let index = (turn + step) % cases.len();
            let mut once = || {
                let begun = Instant::now();
                let told = (cases[index].run)();
                told.unwrap_or_else(|| begun.elapsed())
            };
            let batch: Series = (0..batch).map(|_| once()).collect();
            if turn > 0 {
                series[index].0.push(batch.median());
            }
        }
    }
    series
}

/// What one thing took, in seconds, one figure for each turn.
#[derive(Clone, Default)]
pub struct Series(pub Vec<f64>);

impl Series {
    /// The figure that this share of the others does not exceed.
    pub fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            len => sorted[((len - 1) as f64 * share).round() as usize],
        }
    }

    pub fn median(&self) -> f64 {
        self.at(0.5)
    }

    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    pub fn least(&self) -> f64 {
        self.at(0.0)
    }

    /// How many times the other: the median of the ratios of each turn, which what disturbs a
    /// turn does not change.
    pub fn to(&self, other: &Series) -> f64 {
        let ratios = self.0.iter().zip(&other.0).map(|(a, b)| a / b);
        Series(ratios.collect()).median()
    }

    pub fn push(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64());
    }
}

impl FromIterator<Duration> for Series {
    fn from_iter<T: IntoIterator<Item = Duration>>(all: T) -> Series {
        Series(all.into_iter().map(|took| took.as_secs_f64()).collect())
    }
}
