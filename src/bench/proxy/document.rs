//! What the proxy's benchmark found, as data and as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::verdict::{Goal, Verdict};
use crate::bench::document::Machine;
use crate::bench::peer::Figure;

/// Everything of one run. Version 1.
#[derive(Debug, Clone, Serialize)]
pub struct ProxyDocument {
    /// The format's version.
    pub version: u32,
    /// Always `proxy`.
    pub benchmark: &'static str,
    /// When, ISO 8601.
    pub generated_at: String,
    /// On what machine.
    pub machine: Machine,
    /// `release` or `debug`: figures of a debug build say nothing about production.
    pub build: &'static str,
    /// Whether it was a short run.
    pub quick: bool,
    /// What was set up: numbers and texts by name.
    pub setup: BTreeMap<&'static str, Value>,
    /// What was measured.
    pub sides: Vec<ProxySide>,
    /// One side by another, beside the goal.
    pub results: Vec<ProxyResult>,
    /// Further figures.
    pub figures: Vec<Figure>,
    /// What stage `shadow` compared meanwhile.
    pub comparisons: Vec<ProxyComparisons>,
    /// Requests without an answer of class 2xx. Each makes the pair that it belongs to void.
    pub failures: Vec<FailedRequests>,
    /// What a reader has to know of this run.
    pub notes: Vec<String>,
}

/// One of the servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProxySide {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
}

/// One figure of two sides, measured in turns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProxyResult {
    /// `latency_p50`, `latency_p99` or `throughput`.
    pub name: &'static str,
    /// The unit: `us` or `1/s`.
    pub unit: &'static str,
    /// The side above the line.
    pub side: &'static str,
    /// The side below it.
    pub peer: &'static str,
    /// The side's figure: the median over its turns.
    pub side_value: Option<f64>,
    /// The peer's.
    pub peer_value: Option<f64>,
    /// The geometric mean of the pairs' ratios.
    pub ratio: Option<f64>,
    /// Its two-sided 95 % interval: from.
    pub ci_low: Option<f64>,
    /// To.
    pub ci_high: Option<f64>,
    /// Pairs that it is made of.
    pub pairs: usize,
    /// Pairs in which a request failed; they are not used.
    pub void: usize,
    /// What the ratio should be.
    pub goal: Goal,
    /// Whether it is.
    pub verdict: Verdict,
    /// Why there is no verdict.
    pub why: Option<String>,
}

/// Comparisons during one part of the benchmark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProxyComparisons {
    /// Which part.
    pub case: String,
    /// Reads by verdict; `shed` ones were not compared, because too many were under way.
    pub verdicts: BTreeMap<String, u64>,
}

/// Failed requests of one side in one part of the benchmark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedRequests {
    /// Which side.
    pub side: &'static str,
    /// Which part.
    pub case: String,
    /// How many, by what became of them.
    pub requests: BTreeMap<String, u64>,
}

impl ProxyDocument {
    /// Whether no goal was missed, and none went unjudged because requests failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.results.iter().all(|result| result.verdict.may_pass())
    }

    /// JSON.
    ///
    /// # Errors
    /// None that these types can give; serde's signature has one.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// Tables for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", self.machine_line());
        for (name, value) in &self.setup {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let _ = writeln!(text, "  {name}: {value}");
        }
        for side in &self.sides {
            let _ = writeln!(text, "  {}: {}", side.name, side.what);
        }
        self.write_results(&mut text);
        self.write_figures(&mut text);
        let _ = writeln!(text);
        for one in &self.comparisons {
            let _ = writeln!(text, "comparisons, {}: {}", one.case, listed(&one.verdicts));
        }
        if self.failures.is_empty() {
            let _ = writeln!(text, "failed requests: none");
        }
        for one in &self.failures {
            let requests = listed(&one.requests);
            let _ = writeln!(text, "failed requests, {}, {}: {requests}", one.side, one.case);
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        if self.build == "debug" {
            let _ = writeln!(text, "\nA debug build: these figures say nothing about production.");
        }
        text
    }

    fn machine_line(&self) -> String {
        let machine = &self.machine;
        let load = machine.load_average.map_or("unknown".to_owned(), |l| format!("{:.2}", l[0]));
        format!(
            "{}: {} cores, {}, {}; load {load} before; {} build{}; {}",
            self.benchmark,
            machine.cores,
            machine.cpu_model.as_deref().unwrap_or("unknown processor"),
            machine.os,
            self.build,
            if self.quick { ", quick" } else { "" },
            self.generated_at,
        )
    }

    fn write_results(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\n{:<18}{:<9}{:<14}{:>10}{:>10}{:>9}  {:<17}{:>6}{:>6}{:>9}  verdict",
            "metric", "of", "by", "by's", "of's", "ratio", "95 %", "pairs", "void", "goal"
        );
        for result in &self.results {
            let shown = |value: Option<f64>, digits: usize| {
                value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
            };
            let interval = match (result.ci_low, result.ci_high) {
                (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
                _ => "-".to_owned(),
            };
            let verdict = match &result.why {
                Some(why) => format!("{}: {why}", result.verdict),
                None => result.verdict.to_string(),
            };
            let _ = writeln!(
                text,
                "{:<18}{:<9}{:<14}{:>10}{:>10}{:>9}  {interval:<17}{:>6}{:>6}{:>9}  {verdict}",
                format!("{} ({})", result.name, result.unit),
                result.side,
                result.peer,
                shown(result.peer_value, 1),
                shown(result.side_value, 1),
                shown(result.ratio, 3),
                result.pairs,
                result.void,
                result.goal.to_string(),
            );
        }
    }

    /// Figures downwards, sides across.
    fn write_figures(&self, text: &mut String) {
        let mut rows: Vec<(&str, &str, &str)> = Vec::new();
        for figure in &self.figures {
            let row = (figure.case.as_str(), figure.name, figure.unit);
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        let _ = write!(text, "\n{:<52}", "median over turns");
        for side in &self.sides {
            let _ = write!(text, "{:>14}", side.name);
        }
        let _ = writeln!(text);
        for (case, name, unit) in rows {
            let _ = write!(text, "{:<52}", format!("{case}: {name} ({unit})"));
            for side in &self.sides {
                let found = self.figures.iter().find(|figure| {
                    (figure.case.as_str(), figure.name, figure.side) == (case, name, side.name)
                });
                let shown = found.map_or("-".to_owned(), |figure| format!("{:.1}", figure.value));
                let _ = write!(text, "{shown:>14}");
            }
            let _ = writeln!(text);
        }
    }
}

fn listed(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let listed: Vec<String> =
        counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    listed.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(verdict: Verdict) -> ProxyResult {
        ProxyResult {
            name: "latency_p50",
            unit: "us",
            side: "off",
            peer: "pass_through",
            side_value: Some(206.0),
            peer_value: Some(200.0),
            ratio: Some(1.03),
            ci_low: Some(1.01),
            ci_high: Some(1.0502),
            pairs: 11,
            void: 1,
            goal: Goal::UpperBoundAtMost(1.05),
            verdict,
            why: None,
        }
    }

    fn document() -> ProxyDocument {
        let absent = ProxyResult {
            name: "throughput",
            unit: "1/s",
            peer: "nginx",
            side_value: None,
            peer_value: None,
            ratio: None,
            ci_low: None,
            ci_high: None,
            goal: Goal::AtLeast(1.0),
            why: Some("not installed".to_owned()),
            ..result(Verdict::NotMeasured)
        };
        let figure = |side, value| Figure {
            case: "30 %".to_owned(),
            name: "cpu per request",
            side,
            unit: "us",
            value,
            n: 12,
        };
        ProxyDocument {
            version: 1,
            benchmark: "proxy",
            generated_at: "2026-11-23T00:00:00.000Z".to_owned(),
            machine: Machine {
                cores: 2,
                cpu_model: None,
                load_average: Some([0.5, 0.4, 0.3]),
                os: "linux".to_owned(),
            },
            build: "debug",
            quick: false,
            setup: [("pairs", Value::from(12))].into(),
            sides: vec![ProxySide { name: "off", what: "crossfade" }],
            results: vec![result(Verdict::Missed), absent],
            figures: vec![figure("off", 41.25), figure("nginx", 7.0)],
            comparisons: vec![ProxyComparisons {
                case: "shadow".to_owned(),
                verdicts: [("match".to_owned(), 99)].into(),
            }],
            failures: vec![FailedRequests {
                side: "off",
                case: "30 %".to_owned(),
                requests: [("status 502".to_owned(), 3)].into(),
            }],
            notes: vec!["something".to_owned()],
        }
    }

    #[test]
    fn the_document_has_the_agreed_names() {
        let json: Value = serde_json::from_str(&document().to_json().unwrap()).unwrap();
        assert_eq!((&json["version"], &json["benchmark"]), (&1.into(), &"proxy".into()));
        let result = &json["results"][0];
        assert_eq!(
            (&result["name"], &result["verdict"], &result["void"]),
            (&"latency_p50".into(), &"missed".into(), &1.into())
        );
        let goal = serde_json::json!({"kind": "upper_bound_at_most", "limit": 1.05});
        assert_eq!(result["goal"], goal);
        assert_eq!(json["results"][1]["verdict"], "not_measured");
        assert_eq!(json["results"][1]["ratio"], Value::Null);
        assert_eq!(json["failures"][0]["requests"]["status 502"], 3);
    }

    #[test]
    fn the_tables_show_ratios_goals_failures_and_what_was_not_measured() {
        let text = document().to_text();
        for shown in [
            "1.030  1.010 to 1.050",
            "≤ 1.05  missed",
            "not measured: not installed",
            "comparisons, shadow: 99 match",
            "failed requests, off, 30 %: 3 status 502",
            "41.2",
            "note: something",
            "A debug build",
        ] {
            assert!(text.contains(shown), "{shown:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_goal_missed_or_unjudged_fails_the_run_and_one_not_measured_does_not() {
        let passed =
            |verdict| ProxyDocument { results: vec![result(verdict)], ..document() }.passed();
        assert!(passed(Verdict::Met) && passed(Verdict::NotMeasured));
        assert!(!passed(Verdict::Missed) && !passed(Verdict::TooFewPairs));
    }
}
