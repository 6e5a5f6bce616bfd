use std::path::Path;

use super::*;

const OFFLINE: &str = include_str!("../../scenarios/offline/edit-while-offline.toml");

fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    check::parse(text, Path::new("s.toml"))
}

/// A small file that is right, with `from` replaced.
fn edited(from: &str, to: &str) -> String {
    let text = r#"
version = 1
name = "small"
summary = "Small."

[[actors]]
name = "alice"
kind = "native"

[[actors]]
name = "carol"
kind = "rest"

[[steps]]
connect = { actor = "alice" }

[[steps]]
edit = { actor = "alice", row = "r1", cells = { name = "Ada" } }

[[steps]]
rest = { actor = "carol", method = "GET", path = "/users" }

[[steps]]
wait_until = { actor = "alice", row = "r1" }

[[expect]]
converged = {}
"#
    .trim_start();
    assert_eq!(text.matches(from).count(), 1, "{from:?} must be in the file once");
    text.replace(from, to)
}

/// The same, with a row that legacy takes: one that it refuses would vanish again, sooner or later.
fn runnable(from: &str, to: &str) -> String {
    let whole = r#"cells = { id = "r1", orgId = "org_1", name = "Ada", email = "ada@example.com", role = "member", active = true }"#;
    edited(from, to).replace(r#"cells = { name = "Ada" }"#, whole)
}

fn told(from: &str, to: &str) -> String {
    parse(&edited(from, to)).unwrap_err().to_string()
}

#[test]
fn the_offline_scenario_is_one() {
    let scenario = parse(OFFLINE).unwrap();
    assert_eq!(scenario.name, "edit while offline");
    assert_eq!(scenario.actors.len(), 3);
    assert_eq!(scenario.steps[0].line, OFFLINE.lines().position(|l| l == "[[steps]]").unwrap() + 1);
    let Action::Connect { actor, path } = &scenario.steps[0].action else { panic!("connects") };
    assert_eq!((scenario.actor(*actor).name.as_str(), path.as_str()), ("alice", "org/org_1"));
    let texts: Vec<_> = scenario.steps.iter().map(|s| scenario.describe(&s.action)).collect();
    assert!(texts.contains(&"bob edits users/user_00002: name".to_owned()), "{texts:#?}");
    assert!(!texts.iter().any(|text| text.contains("Bob was later")), "values are not told");
}

#[test]
fn what_is_left_out_has_defaults() {
    let scenario = parse(&edited("Small.", "s")).unwrap();
    assert_eq!(scenario.deadline.as_secs(), 30);
    assert_eq!(scenario.start.stage.stage, crate::migration::Stage::DualWrite);
    assert!(scenario.start.backfill);
    let alice = scenario.actor(ActorId(0));
    assert_eq!(
        (alice.user.as_str(), alice.org.as_str(), alice.role.as_str()),
        ("alice", "org_1", "admin")
    );
    assert_eq!(scenario.expect[0].invariant, Invariant::Converged(vec![ActorId(0)]));
}

#[test]
fn mistakes_are_told_with_place_key_and_remedy() {
    let cases = [
        ("version = 1", "version = 2", "s.toml:1:1: version = 2: this crossfade reads version 1"),
        ("version = 1\n", "", "s.toml:1:1: version: is missing: begin the file with `version = 1`"),
        ("name = \"small\"", "name = \"small", "s.toml:2:14: this is no TOML"),
        ("summary =", "sumary =", "sumary"),
        (
            "\"native\"",
            "\"browser\"",
            "s.toml:7:1: actors[0].kind = \"browser\": this kind of actor is planned",
        ),
        ("\"native\"", "\"robot\"", "robot"),
        ("name = \"carol\"", "name = \"alice\"", "each actor needs a name of its own"),
        (
            "connect = { actor = \"alice\" }",
            "connect = { actor = \"alic\" }",
            "s.toml:14:13: steps[0].connect.actor = \"alic\": no actor has this name; did you mean `alice`?",
        ),
        (
            "connect = { actor = \"alice\" }",
            "kill_server = {}",
            "s.toml:14:1: steps[0].kill_server: this step is planned and not supported yet",
        ),
        (
            "connect = { actor = \"alice\" }",
            "conect = { actor = \"alice\" }",
            "unknown variant `conect`",
        ),
        (
            "connect = { actor = \"alice\" }",
            "go_online = { actor = \"alice\" }",
            "add a step `connect` first",
        ),
        (
            "connect = { actor = \"alice\" }",
            "connect = { actor = \"carol\" }",
            "only native clients connect",
        ),
        ("cells = { name = \"Ada\" }", "cells = {}", "an edit needs `cells` or `clear`"),
        ("cells = { name = \"Ada\" }", "cell = { name = \"Ada\" }", "unknown field `cell`"),
        ("name = \"Ada\"", "name = 2026-01-01", "write it as a string"),
        ("\"GET\"", "\"FETCH\"", "use GET, POST, PUT, PATCH or DELETE"),
        ("\"/users\"", "\"users\"", "begins with `/`"),
        ("rest = { actor = \"carol\"", "rest = { actor = \"alice\"", "is no REST client"),
        ("row = \"r1\" }", "row = \"r1\", acknowledged = true }", "waits for one of"),
        ("row = \"r1\" }", "row = \"r1\", cell = \"name\" }", "a `cell` with its `value`"),
        (
            "converged = {}",
            "converged = { actors = [\"carol\"] }",
            "expect[0].converged.actors[0] = \"carol\": is a REST client",
        ),
        ("[[expect]]\nconverged = {}\n", "", "a scenario that expects nothing proves nothing"),
        (
            "converged = {}",
            "rows = { resource = \"tasks\", count = 1 }",
            "the sample legacy API has one resource, `users`",
        ),
    ];
    for (from, to, expected) in cases {
        let text = told(from, to);
        assert!(text.contains(expected), "{to:?}: {expected:?} is not in {text:?}");
        assert!(text.starts_with("s.toml:"), "{to:?} has no place: {text:?}");
    }
}

#[test]
fn several_mistakes_are_told_at_once() {
    let text = edited("name = \"carol\"", "name = \"dave\"").replace("\"GET\"", "\"GOT\"");
    let ScenarioError::Invalid(problems) = parse(&text).unwrap_err() else { panic!("invalid") };
    assert_eq!(problems.len(), 2, "{problems:#?}");
}

fn options(file: &Path) -> RunOptions {
    RunOptions {
        files: vec![file.to_owned()],
        progress: false,
        clock: std::sync::Arc::new(crate::clock::SystemClock),
        entropy: std::sync::Arc::new(crate::clock::SystemEntropy),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scenarios_of_the_repository_pass() {
    let results =
        run(&options(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"))).await.unwrap();
    for result in &results {
        assert_eq!(result.verdict, Verdict::Passed, "{}", to_text(&results));
        assert_eq!(result.writes.acknowledged, result.writes.native + result.writes.rest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scenario_that_expects_what_is_not_so_fails_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.toml");
    let text =
        runnable("converged = {}", "row = { row = \"user_00001\", cells = { name = \"Nobody\" } }");
    std::fs::write(&file, text.replace("version = 1", "version = 1\nsettle_ms = 1000")).unwrap();
    let results = run(&options(&file)).await.unwrap();
    assert_eq!(results[0].verdict, Verdict::Failed);
    let failures: Vec<_> = results[0].failures().collect();
    assert_eq!(failures.len(), 1, "{failures:#?}");
    assert_eq!(failures[0].outcome, Outcome::Failed("the store has another name".to_owned()));
    let xml = to_junit(&results).unwrap();
    assert!(xml.contains("failures=\"1\"") && xml.contains("the store has another name"), "{xml}");
}

#[tokio::test]
async fn nothing_is_run_while_a_file_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let missing = run(&options(&folder.path().join("none.toml"))).await.unwrap_err();
    assert!(matches!(missing, ScenarioError::Read { .. }) && missing.exit_code() == 2);
    let empty = run(&options(folder.path())).await.unwrap_err();
    assert!(matches!(empty, ScenarioError::Empty(_)) && empty.exit_code() == 2);
    std::fs::write(folder.path().join("a.toml"), "version = 1").unwrap();
    let wrong = run(&options(folder.path())).await.unwrap_err();
    assert!(matches!(wrong, ScenarioError::Invalid(_)) && wrong.exit_code() == 2, "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_legacys_rows_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.toml");
    let text = runnable("converged = {}", "legacy_equals_store = {}")
        .replace("version = 1", "version = 1\nsettle_ms = 500")
        .replace(
            "[[actors]]\nname = \"alice\"",
            "[crossfade]\nbackfill = false\n\n[[actors]]\nname = \"alice\"",
        );
    std::fs::write(&file, text).unwrap();
    let results = run(&options(&file)).await.unwrap();
    let failures: Vec<_> = results[0].failures().collect();
    let Outcome::Failed(why) = &failures[0].outcome else { panic!("{failures:#?}") };
    assert!(why.contains("user_00001 is not in the store") && why.contains("more"), "{why}");
    let json: serde_json::Value = serde_json::from_str(&to_json(&results).unwrap()).unwrap();
    let scenario = &json["scenarios"][0];
    assert_eq!((&json["version"], &scenario["verdict"]), (&1.into(), &"failed".into()));
    assert_eq!(scenario["invariants"][0]["outcome"], "failed");
    assert_eq!(scenario["steps"][0]["outcome"], "ok");
}

#[test]
fn a_folder_lists_its_scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let scenarios = load(&[folder]).unwrap();
    let names: Vec<_> = scenarios.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["edit while offline", "lost connection"]);
    assert!(list_text(&scenarios).contains("2 native, 1 REST"));
    let json: serde_json::Value = serde_json::from_str(&list_json(&scenarios).unwrap()).unwrap();
    assert_eq!(json[0]["actors"], 3);
}
