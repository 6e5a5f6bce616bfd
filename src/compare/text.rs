//! The difference as people read it: a unified diff of canonical, pretty-printed JSON.

use similar::{Algorithm, TextDiff};

/// At most so many lines of each side are looked at, from their first difference on.
const MAX_LINES: usize = 2_000;
/// Lines of context around a change.
const CONTEXT: usize = 3;

/// A JSON value with sorted keys, two spaces a level, no line end at the end.
#[must_use]
pub fn canonical_pretty(value: &serde_json::Value) -> String {
    let sorted = sorted(value);
    serde_json::to_string_pretty(&sorted).unwrap_or_default()
}

fn sorted(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            members.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
        }
        scalar => scalar.clone(),
    }
}

/// A unified diff from legacy's value to the store's, at most `max_bytes` long; empty if they are
/// equal. What was cut is said in its last line. Values come out as they go in: redact them first.
#[must_use]
pub fn unified_diff(
    legacy: &serde_json::Value,
    sync: &serde_json::Value,
    max_bytes: usize,
) -> String {
    let (legacy, sync) = (canonical_pretty(legacy), canonical_pretty(sync));
    if legacy == sync {
        return String::new();
    }
    let (old, new): (Vec<_>, Vec<_>) = (lines(&legacy), lines(&sync));
    let common = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let start = common.saturating_sub(CONTEXT);
    let window = |lines: &[&str]| lines.len().min(start + MAX_LINES);
    let (old_end, new_end) = (window(&old), window(&new));
    let diff = TextDiff::configure()
        .algorithm(Algorithm::Myers)
        .diff_slices(&old[start..old_end], &new[start..new_end]);

    let mut text = String::from("--- legacy\n+++ sync\n");
    let mut cut = old_end < old.len() || new_end < new.len();
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        let mut lines = vec![position(hunk.ops(), start)];
        lines.extend(
            hunk.iter_changes().map(|change| format!("{}{}", change.tag(), change.value())),
        );
        for line in lines {
            if text.len() + line.len() >= max_bytes {
                cut = true;
                break;
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
    if cut {
        text.push_str("… more differences were cut\n");
    }
    text
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// A hunk's header, with line numbers of the whole text.
fn position(ops: &[similar::DiffOp], start: usize) -> String {
    let (Some(first), Some(last)) = (ops.first(), ops.last()) else { return String::new() };
    let old = first.old_range().start..last.old_range().end;
    let new = first.new_range().start..last.new_range().end;
    let place = |range: std::ops::Range<usize>| {
        format!("{},{}", range.start + start + usize::from(!range.is_empty()), range.len())
    };
    format!("@@ -{} +{} @@", place(old), place(new))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_as_a_unified_diff_of_sorted_keys() {
        let legacy = json!({"b": 1, "a": [1, 2]});
        let sync = json!({"a": [1, 3], "b": 1});
        let expected = "--- legacy\n+++ sync\n@@ -1,7 +1,7 @@\n {\n   \"a\": [\n     1,\n-    2\n+    3\n   ],\n   \"b\": 1\n }\n";
        assert_eq!(unified_diff(&legacy, &sync, 10_000), expected);
        assert_eq!(unified_diff(&legacy, &legacy, 10_000), "");
    }

    #[test]
    fn stays_within_its_bound_and_says_so() {
        let rows = |add: u64| (0..5_000).map(|n| json!({"n": n + add})).collect();
        let text = unified_diff(&rows(0), &rows(7), 4_000);
        assert!(text.len() <= 4_100, "{}", text.len());
        assert!(text.ends_with("… more differences were cut\n"));
    }

    #[test]
    fn line_numbers_are_those_of_the_whole_text() {
        let rows = |last: u64| (0..100).map(|n| if n == 99 { last } else { n }).collect();
        let text = unified_diff(&rows(1), &rows(2), 4_000);
        assert!(text.contains("@@ -98,5 +98,5 @@"), "{text}");
    }
}
