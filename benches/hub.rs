//! `cargo bench --bench hub`: the hub with 1,000 subscribers at 10,000 events a second for
//! 30 s, ten of whom never read. Arguments: subscribers, events a second, seconds.

#[path = "../tests/suite/events/load.rs"]
mod load;

use std::time::Duration;

use load::{Figures, Plan};

fn main() {
    let mut numbers = std::env::args().filter_map(|word| word.parse().ok());
    let mut next = |default| numbers.next().unwrap_or(default);
    let plan = Plan {
        subscribers: next(1000),
        silent: 10,
        // A little more, so that looks that find two changes do not make it less.
        events_per_second: next(10_500),
        time: Duration::from_secs(next(30) as u64),
        mailboxes: 1000,
    };
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let figures = load::run(env!("CARGO_BIN_EXE_mbox"), dir.path(), &plan);
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
    println!("subscribers         {:>12}", plan.subscribers);
    println!("events              {events:>12}");
    println!("events a second     {events_per_second:>12.0}");
    println!("lines delivered     {deliveries:>12}");
    println!("latency p50         {:>12.2} ms", p50.as_secs_f64() * 1e3);
    println!("latency p99         {:>12.2} ms", p99.as_secs_f64() * 1e3);
    println!("latency max         {:>12.2} ms", max.as_secs_f64() * 1e3);
    println!("missed by readers   {missed_by_readers:>12}");
    println!("missed by silent    {missed_by_silent:>12?}");
    println!("hub memory          {:>12} KiB", memory_kib.unwrap_or(0));
}
