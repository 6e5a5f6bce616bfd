//! Scenarios: files of actors, steps and invariants, run on real sockets.
//!
//! ```text
//! file ─ Source ─ check ─ Scenario ─ runner ─ ScenarioResult ─ text, JSON, JUnit
//!                                      │
//!                       Environment (sample API, crossfade, issuer) + World (clients, ledger)
//! ```
//!
//! The format: `scenarios/README.md`.

mod check;
pub(crate) mod environment;
mod error;
mod file;
mod invariants;
mod ledger;
mod model;
mod outcome;
mod render;
mod runner;
mod source;
mod steps;
#[cfg(test)]
mod tests;
mod world;

pub use error::ScenarioError;
pub use model::{
    Action, Actor, ActorId, ActorKind, Condition, Expectation, Invariant, LegacyStart, RowRef,
    Scenario, StageChange, Start, Step,
};
pub use outcome::{Check, Outcome, ScenarioResult, Verdict, Writes};
pub use render::{list_json, list_text, to_json, to_junit, to_text};
pub(crate) use runner::iso;
pub use runner::{RunOptions, load, run};
