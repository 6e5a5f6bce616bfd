//! What a run found, as data.

use serde::Serialize;

/// A scenario's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScenarioResult {
    /// The scenario's name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// What it shows.
    pub summary: String,
    /// Whether everything held.
    pub verdict: Verdict,
    /// When it began, ISO 8601.
    pub started_at: String,
    /// How long it took, servers included.
    pub elapsed_ms: u64,
    /// The steps, in order.
    pub steps: Vec<Check>,
    /// The invariants, in order.
    pub invariants: Vec<Check>,
    /// What was written.
    pub writes: Writes,
}

/// Whether everything held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every step went through and every invariant held.
    Passed,
    /// Something did not.
    Failed,
}

/// A step or an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its line in the file.
    pub line: usize,
    /// What it is, for people.
    pub text: String,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// How a step or an invariant went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "outcome", content = "why")]
pub enum Outcome {
    /// As it should.
    Ok,
    /// Not as it should: why.
    Failed(String),
    /// Not tried, because a step before it failed.
    Skipped,
}

/// What the actors wrote. Cells count one by one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Writes {
    /// By native clients.
    pub native: usize,
    /// By REST requests that were answered 2xx.
    pub rest: usize,
    /// Of all these, those that were acknowledged by the end.
    pub acknowledged: usize,
}

impl ScenarioResult {
    /// Steps and invariants that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        let all = self.steps.iter().chain(&self.invariants);
        all.filter(|check| matches!(check.outcome, Outcome::Failed(_)))
    }
}
