//! What a comparison with the peer found, as data and as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::bench::document::Machine;

/// Everything of one run. Version 1.
#[derive(Debug, Clone, Serialize)]
pub struct PeerDocument {
    /// The format's version.
    pub version: u32,
    /// `sync_peer` or `store_peer`.
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
    pub sides: Vec<Side>,
    /// The figures.
    pub figures: Vec<Figure>,
    /// crossfade's by the peer's, beside the goal.
    pub ratios: Vec<GoalRatio>,
    /// What a reader has to know of this run: what could not be measured, and why.
    pub notes: Vec<String>,
}

/// One of the things that were measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Its name in figures and ratios.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// When a write is kept.
    pub durability: &'static str,
}

/// One number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was done.
    pub case: String,
    /// What was counted or timed.
    pub name: &'static str,
    /// Of which side.
    pub side: &'static str,
    /// The unit.
    pub unit: &'static str,
    /// The number.
    pub value: f64,
    /// How many samples it is made of.
    pub n: u64,
}

/// One figure by another, with what it should be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GoalRatio {
    /// Which.
    pub name: &'static str,
    /// What was done.
    pub case: String,
    /// The side above the line.
    pub side: &'static str,
    /// The side below it.
    pub peer: &'static str,
    /// The ratio.
    pub value: f64,
    /// At most this is the goal.
    pub goal: f64,
    /// Whether it is met.
    pub met: bool,
}

impl GoalRatio {
    /// A ratio whose goal is a value of at most `goal`; `None` where nothing can be divided.
    pub(super) fn at_most(name: &'static str, of: &Figure, by: &Figure, goal: f64) -> Option<Self> {
        let value = of.value / by.value;
        value.is_finite().then(|| Self {
            name,
            case: of.case.clone(),
            side: of.side,
            peer: by.side,
            value,
            goal,
            met: value <= goal,
        })
    }
}

impl PeerDocument {
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
            let _ = writeln!(text, "  {name}: {}", plain(value));
        }
        for side in &self.sides {
            let _ = writeln!(text, "  {}: {}; {}", side.name, side.what, side.durability);
        }
        let mut cases: Vec<&str> = self.figures.iter().map(|figure| figure.case.as_str()).collect();
        cases.dedup();
        for (at, case) in cases.iter().enumerate() {
            if !cases[..at].contains(case) {
                self.write_case(&mut text, case);
            }
        }
        self.write_ratios(&mut text);
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

    /// One case: figures downwards, sides across.
    fn write_case(&self, text: &mut String, case: &str) {
        let figures = || self.figures.iter().filter(|figure| figure.case == case);
        let sides: Vec<&str> = self
            .sides
            .iter()
            .map(|side| side.name)
            .filter(|side| figures().any(|figure| figure.side == *side))
            .collect();
        let _ = write!(text, "\n{case:<42}");
        for side in &sides {
            let _ = write!(text, "{side:>21}");
        }
        let _ = writeln!(text);
        let mut names: Vec<(&str, &str)> = Vec::new();
        for figure in figures() {
            if !names.contains(&(figure.name, figure.unit)) {
                names.push((figure.name, figure.unit));
            }
        }
        for (name, unit) in names {
            let _ = write!(text, "  {:<40}", format!("{name} ({unit})"));
            for side in &sides {
                let found = figures().find(|f| f.name == name && f.side == *side);
                let shown = found.map_or("-".to_owned(), |figure| number(figure.value));
                let _ = write!(text, "{shown:>21}");
            }
            let _ = writeln!(text);
        }
    }

    fn write_ratios(&self, text: &mut String) {
        if self.ratios.is_empty() {
            return;
        }
        let _ = writeln!(
            text,
            "\n{:<23}{:<42}{:<21}{:<12}{:>10}{:>8}",
            "ratio", "case", "of", "by", "measured", "goal"
        );
        for ratio in &self.ratios {
            let verdict = if ratio.met { "met" } else { "missed" };
            let _ = writeln!(
                text,
                "{:<23}{:<42}{:<21}{:<12}{:>10.4}{:>8} {verdict}",
                ratio.name,
                ratio.case,
                ratio.side,
                ratio.peer,
                ratio.value,
                format!("≤ {}", ratio.goal),
            );
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// With as many digits as tell something.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.01 || small == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.6}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(side: &'static str, value: f64) -> Figure {
        Figure { case: "relay".to_owned(), name: "cpu", side, unit: "s", value, n: 3 }
    }

    fn document() -> PeerDocument {
        let (ours, theirs) = (figure("crossfade", 0.5), figure("node", 2.0));
        let side = |name| Side { name, what: "a server", durability: "keeps nothing" };
        PeerDocument {
            version: 1,
            benchmark: "sync_peer",
            generated_at: "2026-11-23T00:00:00.000Z".to_owned(),
            machine: Machine {
                cores: 2,
                cpu_model: None,
                load_average: Some([0.5, 0.4, 0.3]),
                os: "linux".to_owned(),
            },
            build: "debug",
            quick: true,
            setup: [("paths", Value::from(3))].into(),
            sides: vec![side("node"), side("crossfade")],
            ratios: GoalRatio::at_most("cpu", &ours, &theirs, 0.1).into_iter().collect(),
            figures: vec![theirs, ours],
            notes: vec!["something was left out".to_owned()],
        }
    }

    #[test]
    fn the_document_has_the_agreed_names() {
        let json: Value = serde_json::from_str(&document().to_json().unwrap()).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(
            json["ratios"][0],
            serde_json::json!({"name": "cpu", "case": "relay", "side": "crossfade",
                "peer": "node", "value": 0.25, "goal": 0.1, "met": false})
        );
        assert_eq!(json["figures"][0]["value"], 2.0);
    }

    #[test]
    fn the_tables_show_figures_goals_and_notes() {
        let text = document().to_text();
        for shown in ["0.500", "2.000", "0.2500", "≤ 0.1 missed", "note: something", "A debug"] {
            assert!(text.contains(shown), "{shown:?} is not in\n{text}");
        }
    }

    #[test]
    fn nothing_divided_by_nothing_is_no_ratio() {
        let nothing = figure("node", 0.0);
        assert_eq!(GoalRatio::at_most("cpu", &nothing, &nothing, 0.1), None);
        assert!(GoalRatio::at_most("cpu", &nothing, &figure("b", 1.0), 0.1).unwrap().met);
    }
}
