//! What a demo looks at in the end, and how it judges it.
//!
//! Nothing passes that was not measured: a check that found nothing to look at has failed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::ledger::Judged;
use super::tally::Counts;
use crate::record::{SignatureRecord, VerdictCount};
use crate::storage::OutboxSummary;

/// How many rows are named.
const MAX_NAMED: usize = 5;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// What must hold.
    pub name: &'static str,
    /// Whether it does.
    pub passed: bool,
    /// What was found, in numbers.
    pub found: String,
}

/// Rows of both sides, by id.
type Rows = BTreeMap<String, Value>;

/// Legacy and the store hold the same rows, but for those that only legacy was to get.
pub(super) fn equal(legacy: &Rows, store: &Rows, left_out: &BTreeSet<String>) -> Check {
    let ids: BTreeSet<_> =
        legacy.keys().chain(store.keys()).filter(|id| !left_out.contains(*id)).collect();
    let differ: Vec<_> = ids.iter().filter(|id| legacy.get(**id) != store.get(**id)).collect();
    let mut found = format!("{} rows compared, {} differ", ids.len(), differ.len());
    if !left_out.is_empty() {
        let rows = left_out.len();
        found.push_str(&format!(
            "; {rows} more were written after the rollback, when only legacy is"
        ));
    }
    for id in differ.iter().take(MAX_NAMED) {
        found.push_str(&format!("; {id}: {}", cells_apart(legacy.get(**id), store.get(**id))));
    }
    Check { name: "legacy equals the store", passed: !ids.is_empty() && differ.is_empty(), found }
}

/// Which cells differ, without their values.
fn cells_apart(legacy: Option<&Value>, store: Option<&Value>) -> String {
    let (Some(legacy), Some(store)) = (legacy, store) else {
        let side = if legacy.is_some() { "legacy" } else { "the store" };
        return format!("only in {side}");
    };
    let fields = |row: &Value| row.as_object().cloned().unwrap_or_default();
    let names: BTreeSet<_> =
        fields(legacy).into_iter().chain(fields(store)).map(|(name, _)| name).collect();
    let apart: Vec<_> =
        names.into_iter().filter(|name| legacy.get(name) != store.get(name)).collect();
    apart.join(", ")
}

/// No acknowledged write is lost.
pub(super) fn nothing_lost(judged: &Judged) -> Check {
    let mut found = format!(
        "{} REST writes and {} sync edits were acknowledged, {} lost",
        judged.rest, judged.sync, judged.lost
    );
    for told in &judged.told {
        found.push_str(&format!("; {told}"));
    }
    let passed = judged.rest > 0 && judged.sync > 0 && judged.lost == 0;
    Check { name: "every acknowledged write is in legacy", passed, found }
}

/// Nothing is owed any more.
pub(super) fn nothing_owed(outbox: &OutboxSummary) -> Check {
    let found = format!("{} owed, {} given up", outbox.pending, outbox.dead);
    Check { name: "the outbox is empty", passed: outbox.pending == 0 && outbox.dead == 0, found }
}

/// The two sides agreed, but at the field that was falsified on purpose; and that one was found.
pub(super) fn explained(
    verdicts: &[VerdictCount],
    signatures: &[SignatureRecord],
    wrong_field: &str,
) -> Check {
    let agreed: u64 = count(verdicts, |one| one.verdict.agrees());
    let apart: u64 = count(verdicts, |one| one.verdict.is_decided() && !one.verdict.agrees());
    let undecided: u64 = count(verdicts, |one| !one.verdict.is_decided());
    let on_purpose: u64 =
        signatures.iter().filter(|one| names_only(one, wrong_field)).map(|one| one.count).sum();
    let unexplained = apart.saturating_sub(on_purpose);
    let found = format!(
        "{agreed} comparisons agreed, {on_purpose} differed at `{wrong_field}`, as they were made to, \
         {unexplained} otherwise; {undecided} could not be decided"
    );
    let passed = agreed > 0 && on_purpose > 0 && unexplained == 0;
    Check { name: "both paths answer alike", passed, found }
}

fn count(verdicts: &[VerdictCount], which: impl Fn(&&VerdictCount) -> bool) -> u64 {
    verdicts.iter().filter(which).map(|one| one.count).sum()
}

/// Whether a signature is about this field and no other place.
fn names_only(signature: &SignatureRecord, field: &str) -> bool {
    let parts = &signature.signature.parts;
    let is_field = |path: &str| path.rsplit('/').next() == Some(field);
    parts.folded.is_none()
        && !parts.shapes.is_empty()
        && parts.shapes.iter().all(|shape| is_field(&shape.path))
}

/// The store answered while it was its turn, and nothing after the switch.
pub(super) fn switched_back(counts: &Counts, kept: bool, sockets: usize, drained: usize) -> Check {
    let found = format!(
        "the store answered {} requests before the switch, and {} of {} after it; the switch is {} in \
         the database; {drained} of {sockets} sockets were drained",
        counts.from_store - counts.store_after_switch,
        counts.store_after_switch,
        counts.after_switch,
        if kept { "kept" } else { "not" },
    );
    let passed = counts.from_store > 0
        && counts.after_switch > 0
        && counts.store_after_switch == 0
        && kept
        && sockets > 0
        && drained == sockets;
    Check { name: "one switch took everybody back", passed, found }
}

/// No request of anybody failed.
pub(super) fn nothing_failed(counts: &Counts, failures: &[String]) -> Check {
    let mut found = format!("{} requests answered, {} failed", counts.requests, counts.failed);
    for failure in failures {
        found.push_str(&format!("; {failure}"));
    }
    Check { name: "nobody noticed", passed: counts.requests > 0 && counts.failed == 0, found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(rows: Value) -> Rows {
        serde_json::from_value(rows).unwrap()
    }

    #[test]
    fn rows_that_differ_are_named_with_their_cells_and_no_values() {
        let legacy = rows(json!({"a": {"n": 1, "s": "x"}, "b": {"n": 1}, "c": {"n": 1}}));
        let store = rows(json!({"a": {"n": 2, "s": "x"}, "c": {"n": 2}, "d": {"n": 3}}));
        let left_out = BTreeSet::from(["c".to_owned()]);
        let check = equal(&legacy, &store, &left_out);
        assert!(!check.passed);
        assert!(check.found.starts_with("3 rows compared, 3 differ; 1 more"), "{}", check.found);
        assert!(
            check.found.ends_with("a: n; b: only in legacy; d: only in the store"),
            "{}",
            check.found
        );
        assert!(equal(&legacy, &legacy, &left_out).passed);
    }

    #[test]
    fn nothing_to_look_at_is_no_pass() {
        assert!(!equal(&Rows::new(), &Rows::new(), &BTreeSet::new()).passed);
        assert!(!nothing_lost(&Judged::default()).passed);
        assert!(!explained(&[], &[], "createdAt").passed);
        assert!(!switched_back(&Counts::default(), true, 0, 0).passed);
        assert!(!nothing_failed(&Counts::default(), &[]).passed);
    }

    #[test]
    fn an_answer_of_the_store_after_the_switch_fails() {
        let counts = Counts { from_store: 9, after_switch: 5, ..Counts::default() };
        assert!(switched_back(&counts, true, 2, 2).passed);
        assert!(!switched_back(&Counts { store_after_switch: 1, ..counts }, true, 2, 2).passed);
        assert!(!switched_back(&counts, false, 2, 2).passed);
        assert!(!switched_back(&counts, true, 2, 1).passed);
    }
}
