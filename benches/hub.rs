//! `cargo bench --bench hub`: the hub with 1,000 subscribers at 10,000 events a second for
//! 30 s, ten of whom never read. Arguments: subscribers, events a second, seconds.

#[path = "../tests/suite/events/load.rs"]
mod load;
mod support;

use std::time::Duration;

use load::{Figures, Plan};

use support::arguments::Arguments;
use support::fresh::Fresh;
use support::table::{Table, ms, plain};

fn main() {
    let arguments = Arguments::parse();
    let mut numbers = arguments.numbers.iter().map(|&number| number as usize);
    let mut next = |default| numbers.next().unwrap_or(default);
    let plan = Plan {
        subscribers: next(1000),
        silent: 10,
        // A little more, so that looks that find two changes do not make it less.
        events_per_second: next(10_500),
        time: Duration::from_secs(next(30) as u64),
        mailboxes: 1000,
    };
    let fresh = Fresh::filesystem(&arguments);
    fresh.announce("hub");
    let dir = fresh.directory("root");
    let figures = load::run(env!("CARGO_BIN_EXE_mbox"), &dir, &plan);
    let Figures {
        events,
        events_per_second,
        deliveries,
        p50,
        p99,
        max,
        missed_by_readers,
        missed_by_silent,
        memory_kib,
    } = figures;
    let mut table = Table::new("one hub and many subscribers", &["what", "figure"]);
    let mut row = |what: &str, figure: &str| table.row([what, figure]);
    row("subscribers", &plain(plan.subscribers as f64));
    row("events", &plain(events as f64));
    row("events a second", &plain(events_per_second));
    row("lines delivered", &plain(deliveries as f64));
    row("latency, p50 ms", &ms(p50.as_secs_f64()));
    row("latency, p99 ms", &ms(p99.as_secs_f64()));
    row("latency, max ms", &ms(max.as_secs_f64()));
    row("missed by readers", &plain(missed_by_readers as f64));
    row("missed by the silent", &format!("{missed_by_silent:?}"));
    row(
        "memory of the hub, KiB",
        &plain(memory_kib.unwrap_or(0) as f64),
    );
}
