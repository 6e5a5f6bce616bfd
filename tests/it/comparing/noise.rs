//! An API that disagrees with itself: what differs no more than that is noise.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::response::Response;
use serde_json::{Value, json};

use super::world::{World, answer, limited, page, row, section};

/// `updatedAt` is another one in each answer.
fn restless(_: &str, target: &str, _: &str) -> Response {
    static ANSWERS: AtomicU64 = AtomicU64::new(0);
    let mut row = row("u1", "Ada");
    let minute = ANSWERS.fetch_add(1, Ordering::Relaxed) % 60;
    row["updatedAt"] = json!(format!("2026-02-01T08:{minute:02}:00Z"));
    if target.starts_with("/users/") { answer(200, &row) } else { answer(200, &page(&[row])) }
}

#[tokio::test]
async fn what_the_api_shows_against_itself_is_noise_once_it_was_measured() {
    let world = World::start(restless, |config| {
        section(config, "compare").insert("noise_sample".to_owned(), 1.0.into());
    })
    .await;
    let mut reads = 0;
    let comparisons = limited(async {
        loop {
            world.get("/users/u1").await;
            reads += 1;
            let comparisons = world.compared(reads).await;
            if comparisons["verdicts"]["noise"].as_u64().is_some() {
                return comparisons;
            }
        }
    })
    .await;
    assert!(reads > 50, "nothing is noise before it was measured: {comparisons}");
    let field = &comparisons["noise"][0];
    assert_eq!(
        (&field["route"], &field["field"]),
        (&json!("GET /users/{id}"), &json!("/updatedAt value"))
    );
    assert!(field["legacy_pairs"].as_u64().unwrap() >= 50, "{field}");
    assert_eq!(comparisons["signatures"], json!([]), "noise has no signature");
    let metrics = world.admin("/metrics").await;
    let asked = metrics.lines().find(|line| {
        line.starts_with("crossfade_legacy_requests_total") && line.contains("\"noise\"")
    });
    assert!(asked.is_some(), "{metrics}");
    let report = world.run(&["report", "--format", "json", "--run", "noise"]).await;
    assert!(report.status.success());
    let report = std::fs::read(world.folder().join("reports/noise/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let spots = report["blind_spots"].as_array().unwrap();
    assert!(spots.iter().any(|spot| spot["code"] == "noise_measured"), "{report}");
    world.stop().await;
}
