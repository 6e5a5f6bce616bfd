//! What a benchmark found, as data and as text.

use std::fmt::Write as _;

use serde::Serialize;

/// Everything of one run. Version 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    /// The format's version.
    pub version: u32,
    /// When, ISO 8601.
    pub generated_at: String,
    /// On what machine.
    pub machine: Machine,
    /// What was set up.
    pub setup: Setup,
    /// The figures.
    pub metrics: Vec<Metric>,
    /// Figures by one another.
    pub ratios: Vec<Ratio>,
}

/// The machine, as far as the system tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor's model.
    pub cpu_model: Option<String>,
    /// Over 1, 5 and 15 minutes, before the first measurement.
    pub load_average: Option<[f64; 3]>,
    /// System and kernel release.
    pub os: String,
}

/// What was set up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setup {
    /// Rows in the legacy API and in the store.
    pub rows: usize,
    /// Samples asked for per case and path; `n` tells how many there are.
    pub requests: usize,
    /// Whether it was a short run.
    pub quick: bool,
    /// `release` or `debug`: figures of a debug build say nothing about production.
    pub build: &'static str,
    /// Where client, crossfade and legacy API ran.
    pub topology: &'static str,
    /// When each side's writes are on disk, which sync latency depends on.
    pub durability: &'static str,
}

/// Which metric (design, success metrics).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricName {
    /// From sending a request to having its whole answer.
    QueryResponseTime,
    /// The same request to legacy directly and through crossfade, in stage `off`.
    ProxyOverhead,
    /// From making a change to its being visible to another client.
    SyncLatency,
}

/// Which path answered or carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// The legacy API's answer, through crossfade.
    Legacy,
    /// The store.
    Sync,
}

/// A distribution, in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Which.
    pub metric: MetricName,
    /// What exactly was done.
    pub case: String,
    /// On which path.
    pub path: Path,
    /// Always `us`.
    pub unit: &'static str,
    /// Samples.
    pub n: u64,
    /// Median.
    pub p50: u64,
    /// 95th percentile.
    pub p95: u64,
    /// 99th percentile.
    pub p99: u64,
}

/// One median by another, measured in turns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratio {
    /// Which.
    pub name: &'static str,
    /// What exactly was done.
    pub case: String,
    /// The ratio.
    pub value: f64,
    /// Its 95 % bootstrap interval: from.
    pub ci_low: f64,
    /// To.
    pub ci_high: f64,
    /// Pairs.
    pub n: usize,
}

impl Document {
    /// JSON.
    ///
    /// # Errors
    /// None that these types can give; serde's signature has one.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// A table for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}; {} build; {} rows",
            self.machine.to_text(),
            self.setup.build,
            self.setup.rows,
        );
        let _ = writeln!(text, "{}\n{}", self.setup.topology, self.setup.durability);
        for (name, title) in [
            (MetricName::QueryResponseTime, "query response time, through crossfade"),
            (MetricName::ProxyOverhead, "proxy overhead: legacy's answer in stage off"),
            (MetricName::SyncLatency, "sync latency: change made to visible to another client"),
        ] {
            let _ = writeln!(text, "\n{title}");
            let _ = writeln!(
                text,
                "  {:<26}{:<8}{:>7}{:>11}{:>11}{:>11}",
                "case", "path", "n", "p50 ms", "p95 ms", "p99 ms"
            );
            for metric in self.metrics.iter().filter(|metric| metric.metric == name) {
                let path = match metric.path {
                    Path::Legacy => "legacy",
                    Path::Sync => "sync",
                };
                let _ = writeln!(
                    text,
                    "  {:<26}{path:<8}{:>7}{:>11}{:>11}{:>11}",
                    metric.case,
                    metric.n,
                    ms(metric.p50),
                    ms(metric.p95),
                    ms(metric.p99)
                );
            }
        }
        let _ = writeln!(text, "\nratios of medians, measured in turns");
        for ratio in &self.ratios {
            let _ = writeln!(
                text,
                "  {:<33}{:<18}{:>7.3}  (95 %: {:.3} to {:.3}, {} pairs)",
                ratio.name, ratio.case, ratio.value, ratio.ci_low, ratio.ci_high, ratio.n
            );
        }
        if self.setup.build == "debug" {
            let _ = writeln!(text, "\nA debug build: these figures say nothing about production.");
        }
        text
    }
}

/// Microseconds as milliseconds with three digits after the point.
fn ms(us: u64) -> String {
    format!("{}.{:03}", us / 1000, us % 1000)
}

impl Machine {
    /// For people.
    pub(super) fn to_text(&self) -> String {
        let load = self.load_average.map_or("unknown".to_owned(), |load| format!("{:.2}", load[0]));
        let model = self.cpu_model.as_deref().unwrap_or("unknown processor");
        format!("{} cores, {model}, {}; load {load} before", self.cores, self.os)
    }

    /// This machine, now.
    pub(super) fn here() -> Self {
        let read = |file: &str| std::fs::read_to_string(file).ok();
        let cpu_model = read("/proc/cpuinfo").and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?.to_owned();
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let load_average = read("/proc/loadavg").and_then(|text| {
            let mut numbers = text.split(' ').map(str::parse);
            Some([numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?])
        });
        let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cpu_model,
            load_average,
            os: format!("{} {}", std::env::consts::OS, release.trim()).trim().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        Document {
            version: 1,
            generated_at: "2026-11-23T00:00:00.000Z".to_owned(),
            machine: Machine {
                cores: 2,
                cpu_model: None,
                load_average: Some([0.5, 0.4, 0.3]),
                os: "linux".to_owned(),
            },
            setup: Setup {
                rows: 10,
                requests: 5,
                quick: true,
                build: "debug",
                topology: "here",
                durability: "",
            },
            metrics: vec![Metric {
                metric: MetricName::QueryResponseTime,
                case: "list".to_owned(),
                path: Path::Sync,
                unit: "us",
                n: 5,
                p50: 1234,
                p95: 2000,
                p99: 2001,
            }],
            ratios: vec![Ratio {
                name: "proxy_overhead_p50",
                case: "get".to_owned(),
                value: 1.5,
                ci_low: 1.25,
                ci_high: 1.75,
                n: 5,
            }],
        }
    }

    #[test]
    fn the_document_has_the_agreed_names() {
        let json: serde_json::Value = serde_json::from_str(&document().to_json().unwrap()).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["machine"]["cores"], 2);
        assert_eq!(
            json["metrics"][0],
            serde_json::json!({"metric": "query_response_time", "case": "list", "path": "sync",
                "unit": "us", "n": 5, "p50": 1234, "p95": 2000, "p99": 2001})
        );
        assert_eq!(json["ratios"][0]["name"], "proxy_overhead_p50");
        assert_eq!(json["ratios"][0]["ci_low"], 1.25);
    }

    #[test]
    fn the_table_shows_every_figure_and_warns_of_a_debug_build() {
        let text = document().to_text();
        for shown in ["1.234", "2.001", "1.500  (95 %: 1.250 to 1.750, 5 pairs)", "A debug build"] {
            assert!(text.contains(shown), "{shown:?} is not in\n{text}");
        }
    }
}
