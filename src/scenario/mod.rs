//! Scenarios: files of actors, steps and invariants, run on real sockets.

mod check;
pub(crate) mod environment;
mod error;
mod file;
mod model;
mod source;
#[cfg(test)]
mod tests;

pub use error::ScenarioError;
pub use model::{
    Action, Actor, ActorId, ActorKind, Condition, Expectation, Invariant, LegacyStart, RowRef,
    Scenario, StageChange, Start, Step,
};
