//! Instants: one point in time has many spellings.

use chrono::{DateTime, NaiveDateTime, Utc};

use super::document::Json;
use super::rules::TimeUnit;

/// Nanoseconds since 1970.
pub(super) type Nanos = i128;

/// Values that are times, and how far they may be apart.
#[derive(Debug, Clone)]
pub(super) struct TimeRule {
    within: Nanos,
    unit: TimeUnit,
}

impl TimeRule {
    pub(super) fn new(within_ms: u64, unit: TimeUnit) -> Self {
        Self { within: Nanos::from(within_ms) * 1_000_000, unit }
    }

    /// The instant of a value, if it is one.
    pub(super) fn instant(&self, json: &Json) -> Option<Nanos> {
        // The power of ten of a unit in nanoseconds; what is finer than one is no instant.
        let power = match (json, self.unit) {
            (Json::String(text), _) => return instant(text).map(nanos),
            (Json::Number(_), TimeUnit::S) => 9,
            (Json::Number(_), TimeUnit::Ms) => 6,
            _ => return None,
        };
        let Json::Number(number) = json else { return None };
        number.in_units_of(-power)
    }

    /// Whether two instants are near enough.
    pub(super) fn allows(&self, a: Nanos, b: Nanos) -> bool {
        a.abs_diff(b) <= self.within.unsigned_abs()
    }

    /// Whether only equal instants are near enough.
    pub(super) const fn is_exact(&self) -> bool {
        self.within == 0
    }
}

/// The instant that a text spells: RFC 3339 with any offset (`2026-01-31T08:00:00.000Z`), or SQLite's own
/// spelling without one (`2026-01-31 08:00:00`), which is UTC.
#[must_use]
pub(crate) fn instant(text: &str) -> Option<DateTime<Utc>> {
    let sqlite = || NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok();
    rfc3339(text).or_else(|| sqlite().map(|time| time.and_utc()))
}

/// The instant of a text that says its offset itself, as nanoseconds.
pub(super) fn plain(text: &str) -> Option<Nanos> {
    rfc3339(text).map(nanos)
}

fn rfc3339(text: &str) -> Option<DateTime<Utc>> {
    // Most strings are no times: told by their first characters, without a parser.
    let like = text.len() >= 20 && text.as_bytes()[..4].iter().all(u8::is_ascii_digit);
    like.then(|| DateTime::parse_from_rfc3339(text).ok()).flatten().map(|time| time.to_utc())
}

fn nanos(time: DateTime<Utc>) -> Nanos {
    Nanos::from(time.timestamp()) * 1_000_000_000 + Nanos::from(time.timestamp_subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::super::Number;
    use super::*;

    fn string(text: &str) -> Json {
        Json::String(text.into())
    }

    #[test]
    fn one_instant_has_many_spellings() {
        let spellings =
            ["2026-01-31T08:00:00Z", "2026-01-31T08:00:00.000Z", "2026-01-31T10:00:00+02:00"];
        let instants: Vec<_> = spellings.into_iter().map(plain).collect();
        assert!(instants[0].is_some() && instants.windows(2).all(|pair| pair[0] == pair[1]));
        for text in ["2026-01-31 08:00:00", "2026-01-31", "20260131T080000Z0000", "é", ""] {
            assert_eq!(plain(text), None, "{text}");
        }
        assert_eq!(instant("2026-01-31 08:00:00").map(nanos), instants[0]);
    }

    #[test]
    fn numbers_are_times_in_their_unit() {
        let ms = TimeRule::new(0, TimeUnit::Ms);
        let number = |text: &str| Json::Number(Number::parse(text));
        let moment = ms.instant(&string("1970-01-01T00:00:01.5Z"));
        assert_eq!(ms.instant(&number("1500")), moment);
        assert_eq!(TimeRule::new(0, TimeUnit::S).instant(&number("1.5")), moment);
        assert_eq!(TimeRule::new(0, TimeUnit::Iso).instant(&number("1500")), None);
        assert_eq!(ms.instant(&number("1e400")), None);
        assert_eq!(ms.instant(&Json::Null), None);
    }
}
