//! What people asked for and what was acknowledged: the measure of "no write is lost".
//!
//! For each cell the ledger knows who wrote what, when it was begun and when it was acknowledged. In the
//! end the legacy API must hold, in each cell, the value of a write that no later acknowledged write of
//! that cell has replaced. "Later" is said only where it is certain:
//!
//! - it was begun in a later scene, after everything owed had been delivered, or
//! - both came the same way (REST: the legacy API puts them in order; sync: their stamps do), and it was
//!   begun after the other had been acknowledged.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Map, Value};

/// How many losses are told.
const MAX_TOLD: usize = 5;

/// Which way a write came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    Rest,
    Sync,
}

/// What a write does to a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// Makes the row, or sets these cells of it.
    Set { cells: Map<String, Value>, creates: bool },
    /// Deletes the row.
    Delete,
}

/// Names a write in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WriteId(usize);

#[derive(Debug)]
struct Write {
    row: String,
    via: Via,
    change: Change,
    scene: u32,
    begun: Instant,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It may have happened.
    Unknown,
    /// It has happened, known since then.
    Acknowledged(Instant),
    /// It has not happened.
    Refused,
}

/// All writes of a demo.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    scene: u32,
    writes: Vec<Write>,
    /// Rows that a REST write may have changed while crossfade was rolled back.
    after_switch: BTreeSet<String>,
    switched: bool,
}

/// What the ledger makes of legacy's rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Judged {
    /// Acknowledged REST writes.
    pub(super) rest: u64,
    /// Acknowledged edits of sync clients.
    pub(super) sync: u64,
    /// How many cells or rows are not as an acknowledged write left them.
    pub(super) lost: u64,
    /// The first of them: row and cell.
    pub(super) told: Vec<String>,
}

impl Ledger {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything owed is delivered and nobody writes: what comes now is later than all before.
    pub(super) fn next_scene(&self) {
        self.pages().scene += 1;
    }

    /// From now on REST writes may reach legacy only: the rollback is about to be ordered.
    pub(super) fn rolling_back(&self) {
        let mut pages = self.pages();
        pages.switched = true;
        // A request under way may be decided after the switch.
        let under_way =
            pages.writes.iter().filter(|w| w.via == Via::Rest && w.fate == Fate::Unknown);
        let rows: Vec<_> = under_way.map(|write| write.row.clone()).collect();
        pages.after_switch.extend(rows);
    }

    /// Rows that the store need not follow any more: written by REST during the rollback.
    pub(super) fn written_after_switch(&self) -> BTreeSet<String> {
        self.pages().after_switch.clone()
    }

    /// A write is about to be made.
    pub(super) fn begin(&self, via: Via, row: &str, change: Change) -> WriteId {
        let mut pages = self.pages();
        if pages.switched && via == Via::Rest {
            pages.after_switch.insert(row.to_owned());
        }
        let scene = pages.scene;
        let (row, begun) = (row.to_owned(), Instant::now());
        pages.writes.push(Write { row, via, change, scene, begun, fate: Fate::Unknown });
        WriteId(pages.writes.len() - 1)
    }

    /// It was acknowledged.
    pub(super) fn acknowledged(&self, id: WriteId) {
        self.decide(id, Fate::Acknowledged(Instant::now()));
    }

    /// It was refused: it did not happen.
    pub(super) fn refused(&self, id: WriteId) {
        self.decide(id, Fate::Refused);
    }

    fn decide(&self, id: WriteId, fate: Fate) {
        if let Some(write) = self.pages().writes.get_mut(id.0) {
            write.fate = fate;
        }
    }

    /// Holds legacy's rows against the ledger. `seeded` are the rows that were there before.
    pub(super) fn judge(
        &self,
        seeded: &BTreeMap<String, Value>,
        legacy: &BTreeMap<String, Value>,
    ) -> Judged {
        let pages = self.pages();
        let mut by_row: HashMap<&str, Vec<&Write>> = HashMap::new();
        let mut judged = Judged::default();
        for write in pages.writes.iter().filter(|write| write.fate != Fate::Refused) {
            by_row.entry(write.row.as_str()).or_default().push(write);
            if matches!(write.fate, Fate::Acknowledged(_)) {
                *match write.via {
                    Via::Rest => &mut judged.rest,
                    Via::Sync => &mut judged.sync,
                } += 1;
            }
        }
        let rows: BTreeSet<_> =
            by_row.keys().copied().chain(seeded.keys().map(String::as_str)).collect();
        for row in rows {
            let writes = by_row.get(row).map_or(&[][..], Vec::as_slice);
            for what in row_losses(writes, seeded.get(row), legacy.get(row)) {
                judged.lost += 1;
                if judged.told.len() < MAX_TOLD {
                    judged.told.push(format!("{row}: {what}"));
                }
            }
        }
        judged
    }
}

/// What of a row is not as an acknowledged write left it.
fn row_losses(writes: &[&Write], seeded: Option<&Value>, legacy: Option<&Value>) -> Vec<String> {
    let deletes = || writes.iter().filter(|write| write.change == Change::Delete);
    let acknowledged = |write: &Write| matches!(write.fate, Fate::Acknowledged(_));
    let created = seeded.is_some()
        || writes
            .iter()
            .any(|w| acknowledged(w) && matches!(w.change, Change::Set { creates: true, .. }));
    let Some(legacy) = legacy else {
        let lost = created && deletes().next().is_none();
        return if lost { vec!["the row is not there".to_owned()] } else { Vec::new() };
    };
    // Ids are never used again, and a delete wins over whatever is written meanwhile.
    if deletes().any(|write| acknowledged(write)) {
        return vec!["the row was deleted and is there".to_owned()];
    }
    let cells: BTreeSet<&str> =
        writes.iter().flat_map(|write| cells(write)).map(|(id, _)| id.as_str()).collect();
    let wrong = |cell: &&str| {
        let writes: Vec<_> = writes.iter().filter_map(|w| Some((*w, value(w, cell)?))).collect();
        !may_be(legacy.get(cell), &writes, seeded.and_then(|row| row.get(cell)))
    };
    cells
        .into_iter()
        .filter(wrong)
        .map(|cell| format!("`{cell}` is of no write that may stand"))
        .collect()
}

fn cells(write: &Write) -> impl Iterator<Item = (&String, &Value)> {
    let cells = match &write.change {
        Change::Set { cells, .. } => Some(cells),
        Change::Delete => None,
    };
    cells.into_iter().flatten()
}

fn value<'a>(write: &'a Write, cell: &str) -> Option<&'a Value> {
    match &write.change {
        Change::Set { cells, .. } => cells.get(cell),
        Change::Delete => None,
    }
}

/// Whether a cell may end like this after these writes of it.
fn may_be(found: Option<&Value>, writes: &[(&Write, &Value)], seeded: Option<&Value>) -> bool {
    let nobody_wrote = !writes.iter().any(|(write, _)| matches!(write.fate, Fate::Acknowledged(_)));
    if nobody_wrote && seeded.is_some_and(|seeded| Some(seeded) == found) {
        return true;
    }
    let stands = |write: &Write| !writes.iter().any(|(other, _)| replaces(other, write));
    writes.iter().any(|(write, value)| Some(*value) == found && stands(write))
}

/// Whether `later` is certain to have taken the place of `earlier`.
fn replaces(later: &Write, earlier: &Write) -> bool {
    if !matches!(later.fate, Fate::Acknowledged(_)) {
        return false;
    }
    let known = match earlier.fate {
        Fate::Acknowledged(at) => later.begun > at && later.via == earlier.via,
        Fate::Unknown | Fate::Refused => false,
    };
    known || later.scene > earlier.scene
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(cell: &str, value: Value) -> Change {
        Change::Set { cells: Map::from_iter([(cell.to_owned(), value)]), creates: false }
    }

    fn create(cell: &str, value: Value) -> Change {
        Change::Set { cells: Map::from_iter([(cell.to_owned(), value)]), creates: true }
    }

    fn rows(rows: Value) -> BTreeMap<String, Value> {
        serde_json::from_value(rows).unwrap()
    }

    fn lost(ledger: &Ledger, seeded: Value, legacy: Value) -> u64 {
        ledger.judge(&rows(seeded), &rows(legacy)).lost
    }

    #[test]
    fn the_last_acknowledged_write_must_stand() {
        let ledger = Ledger::default();
        let seeded = json!({"r": {"n": 0}});
        for value in [1, 2] {
            let id = ledger.begin(Via::Rest, "r", set("n", json!(value)));
            ledger.acknowledged(id);
            std::thread::sleep(std::time::Duration::from_micros(1));
        }
        assert_eq!(lost(&ledger, seeded.clone(), json!({"r": {"n": 2}})), 0);
        assert_eq!(lost(&ledger, seeded.clone(), json!({"r": {"n": 1}})), 1, "replaced");
        assert_eq!(lost(&ledger, seeded.clone(), json!({"r": {"n": 0}})), 1, "never written");
        assert_eq!(lost(&ledger, seeded.clone(), json!({})), 1, "nobody deleted it");
        // A write of unknown fate may stand, a refused one may not.
        let unknown = ledger.begin(Via::Rest, "r", set("n", json!(3)));
        assert_eq!(lost(&ledger, seeded.clone(), json!({"r": {"n": 3}})), 0);
        assert_eq!(lost(&ledger, seeded.clone(), json!({"r": {"n": 2}})), 0);
        ledger.refused(unknown);
        assert_eq!(lost(&ledger, seeded, json!({"r": {"n": 3}})), 1);
    }

    #[test]
    fn between_the_two_ways_only_a_scene_is_certain() {
        let ledger = Ledger::default();
        let seeded = json!({"r": {"n": 0}});
        let sync = ledger.begin(Via::Sync, "r", set("n", json!(1)));
        ledger.acknowledged(sync);
        let rest = ledger.begin(Via::Rest, "r", set("n", json!(2)));
        ledger.acknowledged(rest);
        assert_eq!(lost(&ledger, seeded.clone(), json!({"r": {"n": 1}})), 0);
        assert_eq!(lost(&ledger, seeded.clone(), json!({"r": {"n": 2}})), 0);
        ledger.next_scene();
        let later = ledger.begin(Via::Sync, "r", set("n", json!(3)));
        ledger.acknowledged(later);
        assert_eq!(lost(&ledger, seeded.clone(), json!({"r": {"n": 2}})), 1);
        assert_eq!(lost(&ledger, seeded, json!({"r": {"n": 3}})), 0);
    }

    #[test]
    fn created_rows_stay_and_deleted_rows_go() {
        let ledger = Ledger::default();
        let made = ledger.begin(Via::Sync, "new", create("n", json!(1)));
        assert_eq!(lost(&ledger, json!({}), json!({})), 0, "not acknowledged yet");
        ledger.acknowledged(made);
        assert_eq!(lost(&ledger, json!({}), json!({})), 1);
        assert_eq!(lost(&ledger, json!({}), json!({"new": {"n": 1}})), 0);
        let gone = ledger.begin(Via::Rest, "new", Change::Delete);
        assert_eq!(
            lost(&ledger, json!({}), json!({"new": {"n": 1}})),
            0,
            "it may not have happened"
        );
        assert_eq!(lost(&ledger, json!({}), json!({})), 0);
        ledger.acknowledged(gone);
        assert_eq!(lost(&ledger, json!({}), json!({"new": {"n": 1}})), 1);
        let judged = ledger.judge(&rows(json!({})), &rows(json!({})));
        assert_eq!((judged.rest, judged.sync), (1, 1));
    }

    #[test]
    fn rows_of_requests_under_way_at_the_switch_are_left_out_of_the_comparison() {
        let ledger = Ledger::default();
        let before = ledger.begin(Via::Rest, "a", Change::Delete);
        ledger.acknowledged(before);
        ledger.begin(Via::Rest, "b", Change::Delete);
        ledger.rolling_back();
        ledger.begin(Via::Rest, "c", Change::Delete);
        ledger.begin(Via::Sync, "d", Change::Delete);
        let left_out: Vec<_> = ledger.written_after_switch().into_iter().collect();
        assert_eq!(left_out, ["b", "c"]);
    }
}
