//! `crossfade bench proxy`, whole: what its document holds. No figure is asserted, only that it is there.

use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

async fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
    command.args(["bench", "proxy", "--quick", "--connections", "4", "--rate", "50"]).args(args);
    // Whatever nginx this machine has, the test finds the same.
    command.env_remove("RUST_LOG").env("PATH", "/nowhere").kill_on_drop(true);
    command.output().await.unwrap()
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_quick_run_measures_both_stages_beside_the_pass_through() {
    let output = bench(&["--format", "json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["version"], &document["benchmark"]), (&1.into(), &"proxy".into()));
    assert_eq!(document["failures"], Value::Array(Vec::new()), "{document}");

    let results = document["results"].as_array().unwrap();
    let names: Vec<(&str, &str, &str)> = results
        .iter()
        .map(|result| {
            let text = |key: &str| result[key].as_str().unwrap();
            (text("name"), text("side"), text("peer"))
        })
        .collect();
    let expected = [
        ("latency_p50", "off", "pass_through"),
        ("latency_p99", "off", "pass_through"),
        ("latency_p50", "shadow", "pass_through"),
        ("latency_p99", "shadow", "pass_through"),
        ("throughput", "off", "nginx"),
        ("throughput", "shadow", "nginx_mirror"),
    ];
    assert_eq!(names, expected);
    for result in &results[..4] {
        assert_eq!((&result["pairs"], &result["void"]), (&2.into(), &0.into()), "{result}");
        let number = |key: &str| result[key].as_f64().unwrap();
        assert!(number("side_value") > 0.0 && number("peer_value") > 0.0, "{result}");
        assert!(number("ci_low") <= number("ratio") && number("ratio") <= number("ci_high"));
    }
    for result in &results[4..] {
        assert_eq!(result["verdict"], "not_measured");
        assert_eq!((&result["ratio"], &result["why"]), (&Value::Null, &"not installed".into()));
    }
    for case in document["comparisons"].as_array().unwrap() {
        assert!(case["verdicts"]["match"].as_u64().unwrap() > 0, "{case}");
    }
    assert_eq!(document["comparisons"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_nginx_that_does_not_run_is_told_and_takes_nothing_from_the_rest() {
    let output = bench(&["--nginx", "/nowhere/nginx"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("not measured: ") && text.contains("/nowhere/nginx"), "{text}");
    assert!(text.contains("failed requests: none"), "{text}");
}

#[tokio::test]
async fn options_out_of_bounds_are_wrong_usage() {
    let output = bench(&["--pairs", "3"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
}
