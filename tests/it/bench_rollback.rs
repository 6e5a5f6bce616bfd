//! `crossfade bench rollback`, whole: two processes under load, rolled back in every trouble. How soon is not asserted here.

use serde_json::Value;
use tokio::process::Command;

#[tokio::test]
async fn a_quick_run_rolls_back_in_every_trouble() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
    command.args(["bench", "rollback", "--quick", "--connections", "4", "--rate", "50"]);
    command.args(["--format", "json"]).env_remove("RUST_LOG").kill_on_drop(true);
    let output = command.output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    // 1: something was the store's for longer than it may be, which is a figure as well.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}: {error}", output.status);
    let document: Value = serde_json::from_slice(&output.stdout).expect(&error);
    assert_eq!((&document["version"], &document["benchmark"]), (&1.into(), &"rollback".into()));
    let cases = document["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let number = |key: &str| case[key].as_f64().unwrap_or_else(|| panic!("{key}: {case}"));
        assert!(number("sync_share_before") >= 0.9, "{case}");
        assert!(number("answers_per_s_before") > 1.0 && number("command_ms") > 0.0, "{case}");
        assert!(number("answers_late") > 0.0, "the load went on: {case}");
        let is_written = case["trouble"] != "database not writable";
        assert_eq!(case["replicated"], is_written, "{case}");
    }
}
