//! A row's version column: which of two copies of a row is the newer one.

use std::cmp::Ordering;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

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

    /// This much earlier: milliseconds of an instant, units of a counter.
    #[must_use]
    pub fn earlier(self, by: u64) -> Self {
        match self {
            Self::Number(number) => Self::Number(number - by as f64),
            Self::Instant(..) => {
                let by = TimeDelta::try_milliseconds(i64::try_from(by).unwrap_or(i64::MAX));
                let earlier = self.time().and_then(|time| time.checked_sub_signed(by?));
                earlier.map_or(self, Self::of_time)
            }
        }
    }

    /// The same, but an instant at this time in epoch milliseconds at the latest.
    #[must_use]
    pub fn until(self, at_ms: u64) -> Self {
        let latest = i64::try_from(at_ms).ok().and_then(DateTime::from_timestamp_millis);
        match (self.time(), latest) {
            (Some(time), Some(latest)) if time > latest => Self::of_time(latest),
            _ => self,
        }
    }

    /// How long before this time in epoch milliseconds an instant was; `None` for a counter, and for an instant after it.
    #[must_use]
    pub fn ago_ms(self, now_ms: u64) -> Option<u64> {
        let at_ms = u64::try_from(self.time()?.timestamp_millis()).ok()?;
        now_ms.checked_sub(at_ms)
    }

    /// As it stands in a URL and is read again: decimal digits, or RFC 3339 in UTC, cut to milliseconds.
    #[must_use]
    pub fn to_text(self) -> String {
        match (self, self.time()) {
            (_, Some(time)) => time.to_rfc3339_opts(SecondsFormat::Millis, true),
            (Self::Number(number), None) => number.to_string(),
            (Self::Instant(second, _), None) => second.to_string(),
        }
    }

    /// Reads what [`Version::to_text`] has written.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let number = || text.parse().ok().filter(|number: &f64| number.is_finite());
        instant(text).or_else(|| number().map(Self::Number))
    }

    fn time(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Number(_) => None,
            Self::Instant(second, nanos) => DateTime::from_timestamp(second, nanos),
        }
    }

    fn of_time(time: DateTime<Utc>) -> Self {
        Self::Instant(time.timestamp(), time.timestamp_subsec_nanos())
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
    fn a_version_goes_back_is_held_back_and_is_read_again() {
        let at = version("2026-01-31T08:00:00.123456Z").unwrap();
        assert_eq!(at.earlier(1_500).to_text(), "2026-01-31T07:59:58.623Z");
        assert_eq!(Version::of_text(&at.to_text()), version("2026-01-31T08:00:00.123Z"));
        let now_ms = 1_769_846_400_000; // 2026-01-31T08:00:00Z
        assert_eq!(Some(at.until(now_ms)), version("2026-01-31T08:00:00Z"));
        assert_eq!(at.until(now_ms + 1_000), at);
        assert_eq!((at.ago_ms(now_ms + 1_000), at.ago_ms(now_ms)), (Some(877), None));
        let number = Version::Number(7.0);
        assert_eq!(number.earlier(10).to_text(), "-3");
        assert_eq!((number.until(3), number.ago_ms(9)), (number, None));
        assert_eq!(Version::of_text("7"), Some(number));
        assert_eq!((Version::of_text("soon"), Version::of_text("inf")), (None, None));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_again_and_going_back_never_goes_forward(
            second in -30_000_000_000_i64..200_000_000_000, ms in 0..1_000_u32, by in 0..u64::MAX,
            number in -1e15..1e15_f64,
        ) {
            for at in [Version::Instant(second, ms * 1_000_000), Version::Number(number)] {
                proptest::prop_assert_eq!(Version::of_text(&at.to_text()), Some(at));
                proptest::prop_assert!(at.earlier(by) <= at);
            }
        }
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
