//! What one comparison of two 100-row lists costs: reading both bodies, marking, diffing.
//!
//! Outside the timed part: making the bodies and compiling the rules, which a process does once.

#![allow(missing_docs, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossfade::compare::{ArrayRuleSettings, RuleSettings, Rules, Verdict, compare};
use crossfade::migration::{Answer, Body, Observation, Origin};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

const ROWS: usize = 100;

fn row(at: usize) -> Value {
    json!({
        "id": format!("user_{at:04}"),
        "name": format!("User Number {at}"),
        "email": format!("user{at}@example.test"),
        "role": if at.is_multiple_of(7) { "admin" } else { "member" },
        "active": !at.is_multiple_of(3),
        "age": 18 + at % 60,
        "orgId": "o_42",
        "createdAt": "2026-01-02T03:04:05Z",
        "updatedAt": format!("2026-11-{:02}T10:00:00Z", 1 + at % 28),
        "version": at,
    })
}

fn list(rows: Vec<Value>) -> Value {
    json!({"data": rows, "total": ROWS, "limit": ROWS, "offset": 0})
}

fn answer(origin: Origin, body: &Value) -> Observation {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let body = Body::Whole(Bytes::from(body.to_string()));
    let answer = Answer { status: StatusCode::OK, headers, body };
    Observation { origin, outcome: Ok(answer), latency: Duration::ZERO }
}

/// Settings that always compile; a benchmark of nothing would be worse than none.
fn rules(settings: &RuleSettings) -> Rules {
    match Rules::compile(settings) {
        Ok(rules) => rules,
        Err(error) => unreachable!("{error}"),
    }
}

fn lists_of_100_rows(c: &mut Criterion) {
    let rows: Vec<Value> = (0..ROWS).map(row).collect();
    let equal = list(rows.clone());
    let mut changed = rows.clone();
    changed[ROWS / 2]["role"] = json!("viewer");
    let one_difference = list(changed);
    let mut reversed = rows;
    reversed.reverse();
    let reversed = list(reversed);

    let plain = rules(&RuleSettings::default());
    let by_id = ArrayRuleSettings {
        path: "$.data".to_owned(),
        by: Some("id".to_owned()),
        ordered: Some(false),
        order: None,
    };
    let keyed = rules(&RuleSettings { arrays: vec![by_id], ..RuleSettings::default() });
    let ignore = vec!["$.data[*].updatedAt".to_owned()];
    let ignoring = rules(&RuleSettings { ignore, ..RuleSettings::default() });

    let legacy = answer(Origin::Legacy, &equal);
    let mut group = c.benchmark_group("compare_100_rows");
    group.throughput(Throughput::Bytes(2 * equal.to_string().len() as u64));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for (name, sync, rules, expected) in [
        ("equal", &equal, &plain, Verdict::Match),
        ("one_difference", &one_difference, &plain, Verdict::Mismatch),
        ("keyed_and_reversed", &reversed, &keyed, Verdict::Match),
        ("ignored_path", &equal, &ignoring, Verdict::Match),
    ] {
        let sync = answer(Origin::Sync, sync);
        assert_eq!(compare(&legacy, &sync, rules).verdict, expected, "{name}");
        group.bench_function(name, |b| {
            b.iter(|| compare(black_box(&legacy), black_box(&sync), rules));
        });
    }
    group.finish();
}

criterion_group!(benches, lists_of_100_rows);
criterion_main!(benches);
