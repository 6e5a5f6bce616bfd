//! Results, written out: text, JSON, JUnit XML.

use std::fmt::Write as _;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::model::{ActorKind, Scenario};
use super::outcome::{Check, Outcome, ScenarioResult, Verdict};

/// Text for people.
#[must_use]
pub fn to_text(results: &[ScenarioResult]) -> String {
    let mut text = String::new();
    for result in results {
        let word = match result.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
        };
        let seconds = Duration::from_millis(result.elapsed_ms).as_secs_f64();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{word}  {}  ({seconds:.1} s)  {}", result.name, result.file);
        for check in result.steps.iter().chain(&result.invariants) {
            if let Outcome::Failed(why) = &check.outcome {
                let _ = writeln!(text, "        line {}: {}: {why}", check.line, check.text);
            }
        }
        for check in &result.invariants {
            if check.outcome == Outcome::Ok {
                let _ = writeln!(text, "        {}", check.text);
            }
        }
        let writes = result.writes;
        let _ = writeln!(
            text,
            "        {} cells written by clients, {} by REST; {} of them acknowledged",
            writes.native, writes.rest, writes.acknowledged
        );
    }
    let failed = results.iter().filter(|result| result.verdict == Verdict::Failed).count();
    let _ = writeln!(text, "{} passed, {failed} failed", results.len() - failed);
    text
}

/// `{"version": 1, "scenarios": [...]}`.
///
/// # Errors
/// None that these types can give; serde's signature has one.
pub fn to_json(results: &[ScenarioResult]) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&serde_json::json!({ "version": 1, "scenarios": results }))
}

/// JUnit XML: a suite a scenario, a case a step and an invariant.
///
/// # Errors
/// If the XML cannot be written; with these types it always can.
pub fn to_junit(results: &[ScenarioResult]) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new("crossfade scenarios");
    for result in results {
        let mut suite = TestSuite::new(&result.name);
        suite.set_time(Duration::from_millis(result.elapsed_ms));
        suite.add_property(("file", result.file.as_str()));
        for (kind, checks) in [("steps", &result.steps), ("invariants", &result.invariants)] {
            suite.add_test_cases(checks.iter().map(|check| case(result, kind, check)));
        }
        report.add_test_suite(suite);
    }
    report.to_string()
}

fn case(result: &ScenarioResult, kind: &str, check: &Check) -> TestCase {
    let status = match &check.outcome {
        Outcome::Ok => TestCaseStatus::success(),
        Outcome::Skipped => TestCaseStatus::skipped(),
        Outcome::Failed(why) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(why.as_str());
            status
        }
    };
    let mut case = TestCase::new(format!("line {}: {}", check.line, check.text), status);
    case.set_classname(format!("{}.{kind}", result.name));
    case.set_time(Duration::from_millis(check.elapsed_ms));
    case.extra.insert("file".into(), result.file.as_str().into());
    case.extra.insert("line".into(), check.line.to_string().into());
    case
}

/// What a folder of scenarios holds, for people.
#[must_use]
pub fn list_text(scenarios: &[Scenario]) -> String {
    let mut text = String::new();
    for scenario in scenarios {
        let _ = writeln!(text, "{}\n  {}", scenario.file.display(), scenario.name);
        for line in scenario.summary.trim().lines() {
            let _ = writeln!(text, "  {line}");
        }
        let count = |kind| scenario.actors.iter().filter(|actor| actor.kind == kind).count();
        let _ = writeln!(
            text,
            "  {} native, {} REST; {} steps, {} invariants",
            count(ActorKind::Native),
            count(ActorKind::Rest),
            scenario.steps.len(),
            scenario.expect.len()
        );
    }
    text
}

/// What a folder of scenarios holds, for programs.
///
/// # Errors
/// None that these types can give; serde's signature has one.
pub fn list_json(scenarios: &[Scenario]) -> Result<String, serde_json::Error> {
    let entries = scenarios.iter().map(|scenario| {
        serde_json::json!({
            "file": scenario.file, "name": scenario.name, "summary": scenario.summary.trim(),
            "actors": scenario.actors.len(), "steps": scenario.steps.len(),
            "invariants": scenario.expect.len(),
        })
    });
    serde_json::to_string_pretty(&entries.collect::<Vec<_>>())
}
