//! A row's version column: which of two copies of a row is the newer one.

use std::cmp::Ordering;

use super::CellRef;

/// The value of a row's version column. Only two of the same kind can be compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Version {
    /// A counter.
    Number(f64),
    /// An instant: seconds since the Unix epoch, and nanoseconds within the second.
    Instant(i64, u32),
}

impl Version {
    /// Reads a version column: a number, an RFC 3339 instant (`2026-01-31T08:00:00.000Z`, any offset), or SQLite's
    /// own spelling without an offset (`2026-01-31 08:00:00`), which is UTC.
    ///
    /// `None` if it is neither.
    #[must_use]
    pub fn from_cell(cell: CellRef<'_>) -> Option<Self> {
        match cell {
            CellRef::Number(number) if number.is_finite() => Some(Self::Number(number)),
            CellRef::String(text) => instant(text.as_str()?),
            _ => None,
        }
    }
}

fn instant(text: &str) -> Option<Version> {
    let utc = crate::compare::instant(text)?;
    Some(Version::Instant(utc.timestamp(), utc.timestamp_subsec_nanos()))
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.partial_cmp(b),
            (Self::Instant(s, n), Self::Instant(t, m)) => Some((s, n).cmp(&(t, m))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cell;
    use super::*;

    fn version(text: &str) -> Option<Version> {
        Version::from_cell(Cell::String(text.into()).view())
    }

    #[test]
    fn instants_compare_by_time_not_by_text() {
        assert_eq!(version("2026-01-31T08:00:00Z"), version("2026-01-31T10:00:00.000+02:00"));
        assert_eq!(version("2026-01-31T08:00:00Z"), version("2026-01-31 08:00:00"));
        assert!(version("2026-01-31T08:00:00.9Z") < version("2026-01-31T08:00:01Z"));
        assert!(version("2026-01-31T08:00:00.1Z") > version("2026-01-31T08:00:00.09Z"));
        assert!(version("2026-01-31T09:00:00+02:00") < version("2026-01-31T08:00:00Z"));
    }

    #[test]
    fn numbers_compare_by_value() {
        assert!(
            Version::from_cell(CellRef::Number(9.0)) < Version::from_cell(CellRef::Number(10.0))
        );
    }

    #[test]
    fn what_is_no_version_is_none_and_kinds_do_not_compare() {
        for text in ["", "10", "2026-01-31", "yesterday", "2026-13-01T00:00:00Z"] {
            assert_eq!(version(text), None, "{text}");
        }
        assert_eq!(Version::from_cell(CellRef::Null), None);
        let number = Version::from_cell(CellRef::Number(1.0)).unwrap();
        assert_eq!(number.partial_cmp(&version("2026-01-31T08:00:00Z").unwrap()), None);
    }
}
