//! Gates: a success metric with a threshold, judged as its data come in.
//!
//! A verdict may be asked for at any time and as often as one likes: the tests are anytime-valid, so looking every second does not
//! make a false alarm, or a false pass, any more likely. Data that are missing never make a pass.

mod mismatch;
mod tally;

pub use mismatch::{GateResult, GateVerdict, MismatchGate};
pub use tally::{Tallies, Tally};
