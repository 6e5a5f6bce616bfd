//! The demo, whole: what it finds, what it writes, and how it ends.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

fn demo(out: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
    command.arg("demo").arg("--quick").arg("--out").arg(out).args(args);
    command.env_remove("RUST_LOG").kill_on_drop(true);
    command
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(bytes)))
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_demo_ends_with_a_report_that_names_the_wrong_field_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--format", "json", "--seed", "7", "--run", "demo"];
    let output = demo(folder.path(), &args).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let result = json(&output.stdout);
    assert_eq!(result["passed"], true);
    assert_eq!(result["checks"].as_array().unwrap().len(), 6, "{result}");
    assert!(result["verdicts"]["match"].as_u64().unwrap() > 0, "{result}");
    assert!(result["from_store"].as_u64().unwrap() > 0, "{result}");

    let report = folder.path().join("demo");
    let page = std::fs::read_to_string(report.join("index.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("createdAt"));
    assert!(report.join("report.md").exists());
    let report = json(&std::fs::read(report.join("report.json")).unwrap());
    let users = &report["resources"][0];
    let signatures = users["signatures"].as_array().unwrap();
    let shapes = signatures.iter().flat_map(|one| one["shapes"].as_array().unwrap());
    let paths: Vec<_> = shapes.map(|shape| shape["path"].as_str().unwrap()).collect();
    assert!(!paths.is_empty(), "{users}");
    assert!(paths.iter().all(|path| path.ends_with("/createdAt")), "{paths:?}");
    let answered: Vec<_> = users["routes"].as_array().unwrap().iter().collect();
    let sum = |side: &str| -> u64 {
        answered.iter().map(|route| route["answered_by"][side].as_u64().unwrap()).sum()
    };
    assert!(sum("legacy") > 0 && sum("sync") > 0);
    let stages: Vec<_> = report["timeline"].as_array().unwrap().iter().collect();
    for stage in ["→ off", "→ dualwrite", "→ shadow", "→ live", "rolled back"] {
        assert!(
            stages.iter().any(|line| line["text"].as_str().unwrap().contains(stage)),
            "{stage}"
        );
    }
    // What people wrote and who they are stays out of it.
    for private in ["sync_1_1", "rest_1_1", "@example.com", "Bearer", "org_1"] {
        assert!(!page.contains(private), "{private}");
    }
}

#[tokio::test]
async fn a_demo_that_holds_can_be_looked_at_and_ends_by_a_signal() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let mut command = demo(folder.path(), &["--format", "json", "--hold"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let result = json(lines.next_line().await.unwrap().unwrap().as_bytes());
    assert_eq!(result["passed"], true, "{result}");
    let invitation = json(lines.next_line().await.unwrap().unwrap().as_bytes());
    let text = |key: &str| invitation[key].as_str().unwrap().to_owned();

    let http = reqwest::Client::new();
    let url = format!("{}/users?limit=3", text("users"));
    let answer = http.get(url).bearer_auth(text("session")).send().await.unwrap();
    assert_eq!(answer.headers()["crossfade-origin"], "legacy", "it is rolled back");
    let page: Value = answer.json().await.unwrap();
    assert_eq!(page["data"].as_array().unwrap().len(), 3);

    // The other commands find it by the configuration that it wrote.
    let mut stage = Command::new(env!("CARGO_BIN_EXE_crossfade"));
    let stage = stage.args(["stage", "--format", "json", "-c"]).arg(text("config"));
    let output = stage.output().await.unwrap();
    let stages = json(&output.stdout);
    assert_eq!(stages["resources"][0]["because"]["reason"], "rolled-back", "{stages}");
    let mut report = Command::new(env!("CARGO_BIN_EXE_crossfade"));
    let report = report.args(["report", "--format", "json", "--run", "again", "-c"]);
    let report = report.arg(text("config")).arg("--out").arg(folder.path());
    let output = report.output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(folder.path().join("again/index.html").exists());

    interrupt(&child).await;
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert!(!Path::new(&text("config")).exists(), "its folder is gone");
}

#[tokio::test]
async fn a_demo_that_is_stopped_early_leaves_nothing_behind() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let (out, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut command = demo(out.path(), &[]);
    let command = command.env("TMPDIR", temporary.path()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().unwrap().starts_with("[2/8]") {}
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 1);
    interrupt(&child).await;
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "no report of half a demo");
}

async fn interrupt(child: &tokio::process::Child) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
}
