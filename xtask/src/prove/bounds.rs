//! The registry: every bound that a document promises, and where its measurement is found.
//!
//! A document that promises a bound shows its name and its promise on one line; a test holds the
//! two together.

use serde_json::Value;

/// On which side of the limit a measurement keeps the promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The limit or less.
    AtMost,
    /// The limit or more.
    #[cfg_attr(not(test), expect(dead_code, reason = "no bound of today promises a least value"))]
    AtLeast,
}

/// A program's subcommand that prints the JSON document to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measurement {
    /// Arguments of `crossfade`.
    pub(crate) args: &'static [&'static str],
    /// The `version` of the document that the selectors are written for.
    pub(crate) version: u64,
}

/// One number in a document: the only element of the array at `list` whose fields have these
/// texts, and in it the number at `value`. Both are JSON Pointers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) list: &'static str,
    pub(crate) fields: &'static [(&'static str, &'static str)],
    pub(crate) value: &'static str,
}

/// How the bound's number comes out of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It is there.
    Number(Selector),
    /// It is the first number divided by the second.
    Quotient(Selector, Selector),
}

/// A promise that can be checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bound {
    /// Its name in documents and in the table.
    pub(crate) name: &'static str,
    /// The document that promises it, from the repository's root.
    pub(crate) promised_in: &'static str,
    /// Which side of the limit is the good one.
    pub(crate) direction: Direction,
    /// The limit.
    pub(crate) limit: f64,
    /// What is run.
    pub(crate) measurement: Measurement,
    /// What is read from it.
    pub(crate) reading: Reading,
}

/// Why a document does not hold the number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadingError {
    #[error("the document has version {found}, this reads {expected}")]
    Version { found: String, expected: u64 },
    #[error("{found} elements of {list} have {fields}, exactly one should")]
    Elements { list: &'static str, fields: String, found: usize },
    #[error("there is no finite number at {0}")]
    NoNumber(String),
}

impl Selector {
    fn read(&self, document: &Value) -> Result<f64, ReadingError> {
        let is = |element: &Value, (name, text): &(&str, &str)| {
            element.get(*name).and_then(Value::as_str) == Some(*text)
        };
        let elements = document.pointer(self.list).and_then(Value::as_array);
        let found: Vec<_> = elements
            .into_iter()
            .flatten()
            .filter(|element| self.fields.iter().all(|field| is(element, field)))
            .collect();
        let [element] = found.as_slice() else {
            let fields: Vec<_> =
                self.fields.iter().map(|(name, text)| format!("{name}={text}")).collect();
            return Err(ReadingError::Elements {
                list: self.list,
                fields: fields.join(" "),
                found: found.len(),
            });
        };
        element
            .pointer(self.value)
            .and_then(Value::as_f64)
            .filter(|number| number.is_finite())
            .ok_or_else(|| ReadingError::NoNumber(format!("{}…{}", self.list, self.value)))
    }
}

impl Bound {
    /// The bound's number in a document of its measurement.
    ///
    /// # Errors
    /// [`ReadingError`], naming what is missing.
    pub(crate) fn read(&self, document: &Value) -> Result<f64, ReadingError> {
        let version = document.get("version").cloned().unwrap_or(Value::Null);
        let expected = self.measurement.version;
        if version.as_u64() != Some(expected) {
            return Err(ReadingError::Version { found: version.to_string(), expected });
        }
        let number = match self.reading {
            Reading::Number(selector) => selector.read(document)?,
            Reading::Quotient(over, under) => over.read(document)? / under.read(document)?,
        };
        // Nothing divided by nothing is no measurement.
        if number.is_finite() { Ok(number) } else { Err(ReadingError::NoNumber("quotient".into())) }
    }

    /// Whether `number` keeps the promise.
    pub(crate) fn kept_by(&self, number: f64) -> bool {
        match self.direction {
            Direction::AtMost => number <= self.limit,
            Direction::AtLeast => number >= self.limit,
        }
    }

    /// The promise as documents and the table write it.
    pub(crate) fn promise(&self) -> String {
        let sign = match self.direction {
            Direction::AtMost => "≤",
            Direction::AtLeast => "≥",
        };
        format!("{sign} {:.2}", self.limit)
    }
}

const BENCH: Measurement = Measurement { args: &["bench", "--format", "json"], version: 1 };
const ARCHITECTURE: &str = "docs/architecture.md";

/// p50 of a metric on the sync path over p50 of the same on the legacy path.
const fn p50_sync_over_legacy(
    sync: &'static [(&'static str, &'static str)],
    legacy: &'static [(&'static str, &'static str)],
) -> Reading {
    let metrics = "/metrics";
    Reading::Quotient(
        Selector { list: metrics, fields: sync, value: "/p50" },
        Selector { list: metrics, fields: legacy, value: "/p50" },
    )
}

const SYNC_PEER: Measurement =
    Measurement { args: &["bench", "sync", "--peer", "--format", "json"], version: 1 };
const STORE_PEER: Measurement =
    Measurement { args: &["bench", "store", "--peer", "--format", "json"], version: 1 };
const BENCHMARKS: &str = "docs/benchmarks.md";

/// A ratio of a comparison with the peer, at most `limit`.
const fn peer_ratio(
    name: &'static str,
    measurement: Measurement,
    fields: &'static [(&'static str, &'static str)],
    limit: f64,
) -> Bound {
    Bound {
        name,
        promised_in: BENCHMARKS,
        direction: Direction::AtMost,
        limit,
        measurement,
        reading: Reading::Number(Selector { list: "/ratios", fields, value: "/value" }),
    }
}

/// crossfade's processor time for one edit in so many rows.
const fn edit_time(fields: &'static [(&'static str, &'static str)]) -> Selector {
    Selector { list: "/figures", fields, value: "/value" }
}

/// The bounds to be measured: those of the comparisons with the peer on request only.
pub(crate) fn chosen(peer: bool) -> Vec<Bound> {
    let compares = |bound: &&Bound| [SYNC_PEER, STORE_PEER].contains(&bound.measurement);
    BOUNDS.iter().filter(|bound| peer || !compares(bound)).copied().collect()
}

/// Every bound.
pub(crate) const BOUNDS: &[Bound] = &[
    Bound {
        name: "proxy_overhead_p50",
        promised_in: ARCHITECTURE,
        direction: Direction::AtMost,
        limit: 2.0,
        measurement: BENCH,
        reading: Reading::Number(Selector {
            list: "/ratios",
            fields: &[("name", "proxy_overhead_p50")],
            value: "/value",
        }),
    },
    Bound {
        name: "query_list_p50",
        promised_in: ARCHITECTURE,
        direction: Direction::AtMost,
        limit: 1.25,
        measurement: BENCH,
        reading: p50_sync_over_legacy(
            &[("metric", "query_response_time"), ("case", "list"), ("path", "sync")],
            &[("metric", "query_response_time"), ("case", "list"), ("path", "legacy")],
        ),
    },
    Bound {
        name: "query_get_p50",
        promised_in: ARCHITECTURE,
        direction: Direction::AtMost,
        limit: 0.75,
        measurement: BENCH,
        reading: p50_sync_over_legacy(
            &[("metric", "query_response_time"), ("case", "get"), ("path", "sync")],
            &[("metric", "query_response_time"), ("case", "get"), ("path", "legacy")],
        ),
    },
    Bound {
        name: "sync_latency_p50",
        promised_in: ARCHITECTURE,
        direction: Direction::AtMost,
        limit: 1.5,
        measurement: BENCH,
        reading: p50_sync_over_legacy(
            &[("metric", "sync_latency"), ("path", "sync")],
            &[("metric", "sync_latency"), ("case", "refetch at once"), ("path", "legacy")],
        ),
    },
    peer_ratio(
        "relay_cpu",
        SYNC_PEER,
        &[
            ("name", "cpu_per_relay"),
            ("case", "at the rate that saturates node_relay"),
            ("side", "crossfade_relay"),
            ("peer", "node_relay"),
        ],
        0.1,
    ),
    peer_ratio(
        "relay_p99",
        SYNC_PEER,
        &[("name", "p99"), ("side", "crossfade_relay"), ("peer", "node_relay")],
        0.2,
    ),
    peer_ratio(
        "relay_memory",
        SYNC_PEER,
        &[("name", "memory_per_connection"), ("side", "crossfade_relay"), ("peer", "node_relay")],
        0.2,
    ),
    peer_ratio(
        "committed_cpu",
        SYNC_PEER,
        &[
            ("name", "cpu_per_relay"),
            ("case", "at the rate that saturates node_relay"),
            ("side", "crossfade_committed"),
            ("peer", "node_relay"),
        ],
        0.1,
    ),
    peer_ratio(
        "committed_p99",
        SYNC_PEER,
        &[("name", "p99"), ("side", "crossfade_committed"), ("peer", "node_relay")],
        0.2,
    ),
    peer_ratio(
        "committed_memory",
        SYNC_PEER,
        &[
            ("name", "memory_per_connection"),
            ("side", "crossfade_committed"),
            ("peer", "node_relay"),
        ],
        0.2,
    ),
    peer_ratio(
        "store_merge_text",
        STORE_PEER,
        &[("name", "merge"), ("case", "merge of 600000 cells, from text")],
        0.1,
    ),
    peer_ratio(
        "store_merge_parsed",
        STORE_PEER,
        &[("name", "merge"), ("case", "merge of 600000 cells, parsed before")],
        0.1,
    ),
    peer_ratio("store_edit", STORE_PEER, &[("case", "one edit in 100000 rows")], 0.1),
    peer_ratio("store_query_first", STORE_PEER, &[("name", "query_first")], 0.1),
    peer_ratio("store_query_update", STORE_PEER, &[("name", "query_update")], 0.1),
    peer_ratio("store_sorted_page", STORE_PEER, &[("name", "sorted_page")], 0.1),
    peer_ratio("store_bytes_per_row", STORE_PEER, &[("name", "bytes_per_row")], 0.2),
    Bound {
        name: "store_edit_growth",
        promised_in: BENCHMARKS,
        direction: Direction::AtMost,
        limit: 4.0,
        measurement: STORE_PEER,
        reading: Reading::Quotient(
            edit_time(&[
                ("case", "one edit in 1000000 rows"),
                ("name", "cpu time"),
                ("side", "crossfade"),
            ]),
            edit_time(&[
                ("case", "one edit in 1000 rows"),
                ("name", "cpu time"),
                ("side", "crossfade"),
            ]),
        ),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn bound(name: &str) -> Bound {
        *BOUNDS.iter().find(|bound| bound.name == name).unwrap()
    }

    #[test]
    fn every_bound_is_promised_where_it_says() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for bound in BOUNDS {
            let text = std::fs::read_to_string(root.join(bound.promised_in)).unwrap();
            let name = format!("`{}`", bound.name);
            let promised =
                text.lines().any(|line| line.contains(&name) && line.contains(&bound.promise()));
            assert!(promised, "{} does not promise {name} {}", bound.promised_in, bound.promise());
        }
    }

    #[test]
    fn comparisons_with_the_peer_are_measured_on_request() {
        let (few, all) = (chosen(false), chosen(true));
        assert_eq!(all, BOUNDS);
        assert!(few.iter().all(|bound| bound.measurement == BENCH));
        assert!(!few.is_empty() && few.len() < all.len());
    }

    #[test]
    fn numbers_and_quotients_are_read() {
        let document = json!({"version": 1,
            "metrics": [
                {"metric": "query_response_time", "case": "list", "path": "legacy", "p50": 800},
                {"metric": "query_response_time", "case": "list", "path": "sync", "p50": 200},
                {"metric": "query_response_time", "case": "get", "path": "sync", "p50": 1},
                {"metric": "sync_latency", "case": "refetch at once", "path": "legacy", "p50": 0},
                {"metric": "sync_latency", "case": "a", "path": "sync", "p50": 1}],
            "ratios": [{"name": "proxy_overhead_p50", "value": 1.5}]});
        assert_eq!(bound("proxy_overhead_p50").read(&document), Ok(1.5));
        assert_eq!(bound("query_list_p50").read(&document), Ok(0.25));
        assert!(matches!(
            bound("query_get_p50").read(&document),
            Err(ReadingError::Elements { found: 0, .. })
        ));
        assert!(matches!(
            bound("sync_latency_p50").read(&document),
            Err(ReadingError::NoNumber(_))
        ));
    }

    #[test]
    fn ratios_to_the_peer_are_told_apart_by_case_and_sides() {
        let ratio = |case: &str, side: &str, peer: &str, value: f64| {
            json!({"name": "cpu_per_relay", "case": case, "side": side, "peer": peer,
                "value": value, "goal": 0.1, "met": true})
        };
        let highest = "at the rate that saturates node_relay";
        let document = json!({"version": 1, "ratios": [
            ratio("100 edits/s", "crossfade_committed", "node_relay", 0.9),
            ratio(highest, "crossfade_relaxed", "node_relay", 0.8),
            ratio(highest, "crossfade_committed", "node_file", 0.7),
            ratio(highest, "crossfade_committed", "node_relay", 0.05)]});
        assert_eq!(bound("committed_cpu").read(&document), Ok(0.05));
        assert!(bound("committed_p99").read(&document).is_err());
        let time = |rows: u32, value: f64| {
            json!({"case": format!("one edit in {rows} rows"), "name": "cpu time",
                "side": "crossfade", "unit": "us", "value": value})
        };
        let document = json!({"version": 1, "figures": [time(1000, 2.0), time(1_000_000, 3.0)]});
        assert_eq!(bound("store_edit_growth").read(&document), Ok(1.5));
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        let proxy = bound("proxy_overhead_p50");
        let ratio = json!({"name": "proxy_overhead_p50", "value": 1.5});
        for document in [
            json!({"version": 2, "ratios": [ratio]}),
            json!({"ratios": [ratio]}),
            json!({"version": 1, "ratios": [ratio, ratio]}),
            json!({"version": 1, "ratios": [{"name": "proxy_overhead_p50", "value": "1.5"}]}),
            json!({"version": 1, "ratios": {}}),
            json!(null),
        ] {
            assert!(proxy.read(&document).is_err(), "{document}");
        }
    }

    #[test]
    fn the_limit_itself_keeps_the_promise() {
        let at_most = Bound { limit: 1.0, ..bound("query_list_p50") };
        assert!(at_most.kept_by(1.0) && at_most.kept_by(0.2) && !at_most.kept_by(1.01));
        let at_least = Bound { direction: Direction::AtLeast, ..at_most };
        assert!(at_least.kept_by(1.0) && at_least.kept_by(1.01) && !at_least.kept_by(0.2));
        assert_eq!(at_least.promise(), "≥ 1.00");
    }
}
