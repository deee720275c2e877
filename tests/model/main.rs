//! A model of the protocol, and the search for what could break it. See README.md.

mod claim_rules;
mod faults;
mod legacy_rules;
mod lock_rules;
mod mixes;
mod mutations;
mod properties;
mod rules;
mod search;
mod state;
mod trace;

use properties::ALL;
use rules::Model;
use search::{Limits, search};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mutation = args.iter().position(|a| a == "--mutation").map(|i| {
        mutations::CASES
            .iter()
            .find(|c| c.name == args[i + 1])
            .expect("mutation")
    });
    if let Some(i) = args.iter().position(|a| a == "--mix") {
        let model = Model {
            mix: mixes::parse(&args[i + 1]).unwrap(),
            mutation: mutation.map(|c| c.mutation),
        };
        let watch: Vec<_> = ALL
            .into_iter()
            .filter(|p| mutation.is_none_or(|m| m.breaks == *p))
            .collect();
        let r = search(
            &model,
            &watch,
            Limits {
                states: 60_000_000,
                is_first: false,
            },
        );
        println!(
            "{}: {} states depth {} {:.1?} capped {}",
            model.mix.name, r.states, r.depth, r.time, r.is_capped
        );
        for (p, path) in &r.found {
            println!("  {}: {} steps", p.name(), path.len());
            trace::print(path);
        }
        return;
    }
    for c in &mutations::CASES {
        let model = Model {
            mix: mixes::parse(c.mix).unwrap(),
            mutation: Some(c.mutation),
        };
        let r = search(
            &model,
            &[c.breaks],
            Limits {
                states: 3_000_000,
                is_first: true,
            },
        );
        println!(
            "{:<24} {:<40} {:>8} {:.1?} {}",
            c.name,
            c.mix,
            r.states,
            r.time,
            r.found.first().map_or("NONE".into(), |f| format!(
                "{} in {}",
                f.0.name(),
                f.1.len()
            ))
        );
    }
}
