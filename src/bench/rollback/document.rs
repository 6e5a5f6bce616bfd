//! What the rollback's benchmark found, as data and as text.

use std::fmt::Write as _;

use serde::Serialize;

use crate::bench::document::Machine;

/// The rate that a run has to carry before its verdict counts, in answers a second.
const LEAST_RATE: f64 = 2_000.0;

/// Everything of one run. Version 1.
#[derive(Debug, Clone, Serialize)]
pub struct RollbackDocument {
    /// The format's version.
    pub version: u32,
    /// Always `rollback`.
    pub benchmark: &'static str,
    /// When, ISO 8601.
    pub generated_at: String,
    /// On what machine.
    pub machine: Machine,
    /// `release` or `debug`.
    pub build: &'static str,
    /// Whether it was a short run.
    pub quick: bool,
    /// Requests offered a second, over both processes.
    pub rate_per_s: f64,
    /// Client connections, half of them to each process.
    pub connections: usize,
    /// How long after the command's return a request may still be the store's, in milliseconds.
    pub bound_ms: f64,
    /// Each trouble.
    pub cases: Vec<RollbackCase>,
}

/// One rollback.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RollbackCase {
    /// What was in trouble.
    pub trouble: &'static str,
    /// Answers a second before the switch was thrown.
    pub answers_per_s_before: f64,
    /// How many of them the store gave.
    pub sync_share_before: f64,
    /// How long the command took.
    pub command_ms: f64,
    /// Whether the command said that the switch is in the database.
    pub replicated: bool,
    /// Answers to requests sent after the command returned.
    pub answers_after: usize,
    /// Requests of the whole run without an answer of class 2xx.
    pub failed: usize,
    /// Of the answers after, those that the store gave.
    pub sync_after: usize,
    /// When the last of them was sent, counted from the command's return.
    pub last_sync_ms: Option<f64>,
    /// Answers to requests sent later than the bound.
    pub answers_late: usize,
    /// Those of them that the store gave: must be none.
    pub sync_late: usize,
}

impl RollbackCase {
    /// Whether none was the store's past the bound, at a load of at least `rate` answers a second.
    #[must_use]
    pub fn passed(&self, rate: f64) -> bool {
        self.sync_late == 0 && self.answers_late > 0 && self.answers_per_s_before >= rate
    }
}

impl RollbackDocument {
    /// Whether each case passed; of a quick run at any rate.
    #[must_use]
    pub fn passed(&self) -> bool {
        let rate = if self.quick { 0.0 } else { LEAST_RATE };
        self.cases.iter().all(|case| case.passed(rate))
    }

    /// JSON.
    ///
    /// # Errors
    /// None that these types can give; serde's signature has one.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "rollback: {}; {} build; {}\n{:.0} requests/s offered over {} connections to two processes on one database\n\n",
            self.machine.to_text(),
            self.build,
            self.generated_at,
            self.rate_per_s,
            self.connections
        );
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:34} {:>9} {:>6} {:>11} {:>11} {:>10} {:>12} {:>10} {:>7}",
            "in trouble",
            "answers/s",
            "sync",
            "command ms",
            "replicated",
            "sync after",
            "last sync ms",
            "over 1 s",
            "failed"
        );
        for case in &self.cases {
            let last = case.last_sync_ms.map_or("–".to_owned(), |ms| format!("{ms:.0}"));
            let _ = writeln!(
                text,
                "{:34} {:>9.0} {:>6.3} {:>11.0} {:>11} {:>10} {:>12} {:>4} of {:<6} {:>4}",
                case.trouble,
                case.answers_per_s_before,
                case.sync_share_before,
                case.command_ms,
                case.replicated,
                case.sync_after,
                last,
                case.sync_late,
                case.answers_late,
                case.failed
            );
        }
        let verdict = match (self.quick, self.passed()) {
            (true, true) => "nothing of the store's past the bound (a quick run, at any rate)",
            (false, true) => {
                "met: at 2,000 answers/s or more, nothing of the store's past the bound"
            }
            (_, false) => "MISSED",
        };
        let _ = writeln!(text, "\n{verdict}");
        text
    }
}
