//! Numbers and times as people read them.

use chrono::{DateTime, SecondsFormat};

use crate::compare::{Folded, Shape};

use super::Percentiles;

/// What stands where there is no number.
pub(super) const NOT_MEASURED: &str = "not measured";

/// RFC 3339 in UTC, to the second, or to the millisecond where there are any.
pub(super) fn rfc3339(ms: u64) -> String {
    let format = if ms.is_multiple_of(1_000) { SecondsFormat::Secs } else { SecondsFormat::Millis };
    let time = i64::try_from(ms).ok().and_then(DateTime::from_timestamp_millis);
    time.map_or_else(|| format!("{ms} ms after 1970"), |time| time.to_rfc3339_opts(format, true))
}

/// `2026-11-23 14:05:09`, from RFC 3339.
pub(super) fn moment(rfc3339: &str) -> String {
    let end = rfc3339.find(['.', 'Z']).unwrap_or(rfc3339.len());
    rfc3339[..end].replace('T', " ")
}

/// `14:05:09`, from RFC 3339.
pub(super) fn clock(rfc3339: &str) -> String {
    moment(rfc3339).split(' ').next_back().unwrap_or_default().to_owned()
}

/// `12 345 678`, with narrow no-break spaces.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 read`, `2 reads`.
pub(super) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A share as a percentage. Only exactly all reads 100 %, only exactly none 0 %.
pub(super) fn percent(share: f64) -> String {
    let hundredths = (share * 10_000.0).round();
    let rounded = if share < 1.0 && hundredths >= 10_000.0 {
        9_999.0
    } else if share > 0.0 && hundredths < 1.0 {
        1.0
    } else {
        hundredths
    };
    let percent = rounded / 100.0;
    let text = if !(1.0..99.0).contains(&percent) {
        format!("{percent:.2}")
    } else {
        format!("{percent:.1}")
    };
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}\u{202f}%")
}

/// A time in milliseconds with three significant digits.
pub(super) fn ms(milliseconds: f64) -> String {
    let text = match milliseconds {
        ms if ms >= 10_000.0 => return format!("{:.1}\u{202f}s", ms / 1_000.0),
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 10.0 => format!("{ms:.1}"),
        ms if ms >= 1.0 => format!("{ms:.2}"),
        ms => format!("{ms:.3}"),
    };
    format!("{text}\u{202f}ms")
}

/// `p50 1.20 ms, p95 3.40 ms, p99 9.90 ms (n = 120)`.
pub(super) fn percentiles(found: Option<Percentiles>) -> String {
    found.map_or_else(
        || NOT_MEASURED.to_owned(),
        |p| {
            format!(
                "p50 {}, p95 {}, p99 {} (n = {})",
                ms(p.p50_ms),
                ms(p.p95_ms),
                ms(p.p99_ms),
                count(p.count)
            )
        },
    )
}

/// A piece of code within a sentence, between backticks; renderers find it there.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'"))
}

/// A sentence's pieces, each with whether it is code.
pub(super) fn pieces(sentence: &str) -> impl Iterator<Item = (bool, &str)> {
    let parts = sentence.split('`').enumerate().map(|(at, piece)| (at % 2 == 1, piece));
    parts.filter(|(_, piece)| !piece.is_empty())
}

/// A verdict's word for people: `mismatch`, `error: sync only`, `incomparable: not json`.
pub(super) fn verdict(word: &str) -> String {
    for family in ["error", "incomparable", "timeout"] {
        if let Some(detail) = word.strip_prefix(family).and_then(|rest| rest.strip_prefix('_')) {
            return format!("{family}: {}", detail.replace('_', " "));
        }
    }
    word.to_owned()
}

/// A place for people: the whole body has an empty pointer.
pub(super) fn place(path: &str) -> &str {
    if path.is_empty() { "(whole body)" } else { path }
}

/// How two answers differ at a place: `value: string`, `type: string → null`, `missing: object`.
pub(super) fn change(shape: &Shape) -> String {
    let (kind, legacy, sync) = (shape.kind.as_str(), shape.legacy.as_str(), shape.sync.as_str());
    if legacy == sync {
        format!("{kind} ({legacy})")
    } else {
        format!("{kind} ({legacy} → {sync})")
    }
}

/// A folded signature for people.
pub(super) fn folded(folded: &Folded) -> String {
    let kinds: Vec<_> = folded.kinds.iter().map(|kind| kind.as_str()).collect();
    format!("{} places below {} ({})", folded.count, place(&folded.prefix), kinds.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_and_never_round_to_certainty() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(42), "42");
        assert_eq!(percent(1.0), "100\u{202f}%");
        assert_eq!(percent(0.999_999), "99.99\u{202f}%");
        assert_eq!(percent(0.000_001), "0.01\u{202f}%");
        assert_eq!(percent(0.0), "0\u{202f}%");
        assert_eq!(percent(0.4902), "49\u{202f}%");
        assert_eq!(percent(0.1), "10\u{202f}%");
        assert_eq!(ms(0.25), "0.250\u{202f}ms");
        assert_eq!(ms(1_234.0), "1234\u{202f}ms");
        assert_eq!(ms(61_000.0), "61.0\u{202f}s");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(rfc3339(1_795_392_000_000), "2026-11-23T00:00:00Z");
        assert_eq!(rfc3339(1_795_392_000_007), "2026-11-23T00:00:00.007Z");
        assert_eq!(moment("2026-11-23T00:00:00.007Z"), "2026-11-23 00:00:00");
        assert!(rfc3339(u64::MAX).contains("1970"));
    }

    #[test]
    fn verdicts_are_words() {
        assert_eq!(verdict("incomparable_not_json"), "incomparable: not json");
        assert_eq!(verdict("match"), "match");
    }
}
