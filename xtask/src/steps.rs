//! Steps run in order, and the summary of how each one ended.

use std::time::{Duration, Instant};

use crate::process::{complain, say};

/// How one step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepResult {
    /// It did its work.
    Passed,
    /// It failed; what came after was not run.
    Failed,
    /// A step before it failed.
    NotRun,
}

/// One line of the summary.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: &'static str,
    result: StepResult,
    took: Duration,
}

/// Runs steps until one fails, and remembers how each ended.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    lines: Vec<Line>,
}

impl Steps {
    /// Runs `work` under `name` and returns its value, unless a step before it failed.
    pub(crate) fn step<T, E: std::error::Error>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Option<T> {
        if self.failed() {
            self.push(name, StepResult::NotRun, Duration::ZERO);
            return None;
        }
        say(&format!("\n=== {name}"));
        let started = Instant::now();
        match work() {
            Ok(value) => {
                self.push(name, StepResult::Passed, started.elapsed());
                Some(value)
            }
            Err(error) => {
                self.push(name, StepResult::Failed, started.elapsed());
                complain(&format!("{name}: {error}"));
                None
            }
        }
    }

    /// Whether a step failed.
    pub(crate) fn failed(&self) -> bool {
        self.lines.iter().any(|line| line.result == StepResult::Failed)
    }

    fn push(&mut self, name: &'static str, result: StepResult, took: Duration) {
        self.lines.push(Line { name, result, took });
    }

    /// The table of steps with their times, and the totals on the last line.
    pub(crate) fn summary(&self) -> String {
        let width = self.lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for line in &self.lines {
            let took = format!("{:.1} s", line.took.as_secs_f64());
            let (result, took) = match line.result {
                StepResult::Passed => ("ok", took.as_str()),
                StepResult::Failed => ("FAILED", took.as_str()),
                StepResult::NotRun => ("not run", "-"),
            };
            text.push_str(&format!("{:width$}  {result:7}  {took:>9}\n", line.name));
        }
        let count = |wanted| self.lines.iter().filter(|line| line.result == wanted).count();
        let not_run = match count(StepResult::NotRun) {
            0 => String::new(),
            n => format!(", {n} not run"),
        };
        text.push_str(&format!(
            "steps: {} passed, {} failed{not_run}",
            count(StepResult::Passed),
            count(StepResult::Failed)
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_stops_the_rest() {
        let mut steps = Steps::default();
        assert_eq!(steps.step("one", || Ok::<_, std::fmt::Error>(1)), Some(1));
        assert_eq!(steps.step("two", || Err::<(), _>(std::fmt::Error)), None);
        let mut ran = false;
        steps.step("three", || {
            ran = true;
            Ok::<_, std::fmt::Error>(())
        });
        assert!(!ran);
        assert!(steps.failed());
        let summary = steps.summary();
        assert_eq!(summary.lines().last(), Some("steps: 1 passed, 1 failed, 1 not run"));
        assert!(summary.contains("three  not run"), "{summary}");
    }

    #[test]
    fn all_passed() {
        let mut steps = Steps::default();
        steps.step("only", || Ok::<_, std::fmt::Error>(()));
        assert!(!steps.failed());
        assert_eq!(steps.summary().lines().last(), Some("steps: 1 passed, 0 failed"));
    }
}
