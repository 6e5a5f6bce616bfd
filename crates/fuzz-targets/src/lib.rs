//! What the fuzzer runs: each target is a function over bytes that panics where a promise of the engine is broken.
//!
//! The functions live here, apart from the fuzzer, so that `fuzz/` links them into its binaries and an ordinary test replays
//! the kept inputs through the very same code. Every target compares with an oracle that is slow and obvious: another
//! parser, a model in sorted maps, hashes computed from scratch, or the same thing done in another way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise has to stop the fuzzer"
)]

mod arrange;
mod channels;
mod frame;
mod hostile;
mod json;
mod merge;
mod model;
mod query;
mod relay;
mod rng;
mod saved;
mod star;
mod wire;

pub use channels::channels;
pub use frame::frame;
pub use json::json;
pub use merge::merge;
pub use query::query;
pub use relay::relay;
pub use saved::saved;
pub use star::star;

/// A target's name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by the name of their binary in `fuzz/` and of their corpus folder.
pub const TARGETS: &[Target] = &[
    ("channels", channels),
    ("frame", frame),
    ("json", json),
    ("merge", merge),
    ("query", query),
    ("relay", relay),
    ("saved", saved),
    ("star", star),
];
