//! From raw to validated settings: every check, and all that it finds.

mod indexes;
mod permissions;
mod queries;
mod references;
mod resources;
mod rows;
mod rules;
mod sections;
mod tail;

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use super::error::Problem;
use super::key::Key;
use super::source::{Read, Source};
use super::{Config, ConfigError};

/// No time in the file is longer: a day.
const MAX_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// Gathers problems while settings are checked.
struct Checker<'t> {
    source: Source<'t>,
    base_dir: &'t Path,
    problems: Vec<Problem>,
    unreadable: Vec<Key>,
}

/// Checks a file's text.
pub(super) fn parse(text: &str, base_dir: &Path, file: &str) -> Result<Config, ConfigError> {
    let Read { source, settings, problems, unreadable } =
        Source::read(text, file).map_err(ConfigError::Invalid)?;
    let mut checker = Checker { source, base_dir, problems, unreadable };
    let config = checker.config(settings);
    let mut problems = checker.problems;
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => {
            problems.sort_by_key(|problem| problem.place);
            Err(ConfigError::Invalid(problems))
        }
    }
}

impl Checker<'_> {
    /// Notes a problem. One about a key that could not even be read is not told twice.
    fn report(&mut self, key: &Key, message: impl Display) {
        if !self.unreadable.iter().any(|unreadable| key.starts_with(unreadable)) {
            self.problems.push(self.source.problem(key, message.to_string()));
        }
    }

    /// The value, or a problem that says how to give one.
    fn require<T>(&mut self, key: &Key, value: Option<T>, remedy: &str) -> Option<T> {
        if value.is_none() {
            self.report(key, format!("is missing: {remedy}"));
        }
        value
    }

    /// The value of a result, or its error as a problem.
    fn accept<T, E: Display>(&mut self, key: &Key, result: Result<T, E>) -> Option<T> {
        result.map_err(|problem| self.report(key, problem)).ok()
    }

    /// A number between two bounds.
    fn number(
        &mut self,
        key: &Key,
        value: Option<u64>,
        default: u64,
        (min, max): (u64, u64),
    ) -> u64 {
        let value = value.unwrap_or(default);
        if (min..=max).contains(&value) {
            return value;
        }
        self.report(key, format!("must be from {min} to {max}"));
        default
    }

    /// A time in milliseconds, over 0.
    fn millis(&mut self, key: &Key, value: Option<u64>, default: u64) -> Duration {
        Duration::from_millis(self.number(key, value, default, (1, MAX_MILLIS)))
    }
}
