//! Model and code mean the same: counterexamples of the model, played call by call by
//! shell/mbox.sh with the same step left out. See ../README.md.

#[allow(dead_code)]
#[path = "../suite/common.rs"]
mod common;

#[allow(dead_code)]
#[path = "../model/claim_rules.rs"]
mod claim_rules;
#[allow(dead_code)]
#[path = "../model/faults.rs"]
mod faults;
#[allow(dead_code)]
#[path = "../model/legacy_rules.rs"]
mod legacy_rules;
#[allow(dead_code)]
#[path = "../model/lock_rules.rs"]
mod lock_rules;
#[allow(dead_code)]
#[path = "../model/mixes.rs"]
mod mixes;
#[allow(dead_code)]
#[path = "../model/mutations.rs"]
mod mutations;
#[allow(dead_code)]
#[path = "../model/pack.rs"]
mod pack;
#[allow(dead_code)]
#[path = "../model/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../model/properties.rs"]
mod properties;
#[allow(dead_code)]
#[path = "../model/reader_rules.rs"]
mod reader_rules;
#[allow(dead_code)]
#[path = "../model/reduction.rs"]
mod reduction;
#[path = "../model/rules.rs"]
mod rules;
#[allow(dead_code)]
#[path = "../model/search.rs"]
mod search;
#[allow(dead_code)]
#[path = "../model/state.rs"]
mod state;
#[allow(dead_code)]
#[path = "../model/take_rules.rs"]
mod take_rules;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[allow(dead_code)]
#[path = "../crash/calls.rs"]
mod calls;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[allow(dead_code)]
#[path = "../crash/tracer.rs"]
mod tracer;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod goal;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod party;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod play;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod replays;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod script;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod walks;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[test]
fn replays() {
    common::skip("the tracer knows the registers of Linux on x86_64 only");
}
