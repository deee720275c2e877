//! The pure `format` layer and the properties it has, compiled once more, to be fuzzed.
//!
//! Both are taken from where they stand: the layer knows nothing of the rest of the
//! crate, and need not be public to be fuzzed. The properties are also what the test
//! suite checks with random values.

#[path = "../../src/format/mod.rs"]
#[allow(dead_code)]
mod format;

#[path = "../../tests/suite/properties/grammar.rs"]
#[allow(dead_code)]
mod grammar;
#[path = "../../tests/suite/properties/message.rs"]
pub mod message;
#[path = "../../tests/suite/properties/names.rs"]
#[allow(private_interfaces)]
pub mod names;
#[path = "../../tests/suite/properties/record.rs"]
pub mod record;
