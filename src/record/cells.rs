//! Stored rows as typed values.

use std::path::Path;

use libsql::Row;

use super::schema::doing;
use super::{Latencies, RecordError};

/// One row, with errors that name the file.
pub(super) struct Cells<'a> {
    row: &'a Row,
    path: &'a Path,
}

impl<'a> Cells<'a> {
    pub(super) const fn of(row: &'a Row, path: &'a Path) -> Self {
        Self { row, path }
    }

    pub(super) fn text(&self, at: i32) -> Result<String, RecordError> {
        self.row.get(at).map_err(doing(self.path, "read a text"))
    }

    pub(super) fn count(&self, at: i32) -> Result<u64, RecordError> {
        let number: i64 = self.row.get(at).map_err(doing(self.path, "read a number"))?;
        u64::try_from(number).map_err(|error| self.damaged("a number", error.to_string()))
    }

    pub(super) fn optional_count(&self, at: i32) -> Result<Option<u64>, RecordError> {
        let number: Option<i64> = self.row.get(at).map_err(doing(self.path, "read a number"))?;
        Ok(number.and_then(|number| u64::try_from(number).ok()))
    }

    pub(super) fn word<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        at: i32,
        what: &'static str,
    ) -> Result<T, RecordError> {
        self.text(at)?.parse().map_err(|error: T::Err| self.damaged(what, error.to_string()))
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(
        &self,
        at: i32,
        what: &'static str,
    ) -> Result<T, RecordError> {
        serde_json::from_str(&self.text(at)?).map_err(|error| self.damaged(what, error.to_string()))
    }

    /// A word that `serde` knows.
    pub(super) fn named<T: serde::de::DeserializeOwned>(
        &self,
        at: i32,
        what: &'static str,
    ) -> Result<T, RecordError> {
        serde_json::from_value(self.text(at)?.into())
            .map_err(|error| self.damaged(what, error.to_string()))
    }

    pub(super) fn latencies(&self, at: i32) -> Result<Latencies, RecordError> {
        Latencies::from_base64(&self.text(at)?)
            .map_err(|reason| self.damaged("a histogram", reason))
    }

    fn damaged(&self, what: &'static str, reason: String) -> RecordError {
        RecordError::Damaged { path: self.path.to_owned(), what, reason }
    }
}
