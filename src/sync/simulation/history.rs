//! What was written by whom, and the question at the end: is any acknowledged write lost?

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::client::SimClient;
use super::legacy::{Delivery, TIMEOUT};

/// Clocks of clients differ by so much at most, and stamps are pushed ahead by what is received.
pub(super) const MARGIN_MS: u64 = 2_500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Update,
    Delete,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum By {
    Rest,
    /// By REST, and the store did it.
    Store,
    /// Past crossfade.
    Past,
    /// The client of this name.
    Sync(String),
}

/// A write, and what its writer was told.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) row: String,
    pub(super) kind: Kind,
    pub(super) cells: Vec<(&'static str, Value)>,
    pub(super) by: By,
    /// When it began, in epoch milliseconds: for a sync edit, the time of its stamp.
    pub(super) start_ms: u64,
    /// When it was done; unknown without an answer.
    pub(super) end_ms: Option<u64>,
    /// Whether somebody was told that it was done: for a sync edit, see [`History::arrived`].
    pub(super) acknowledged: bool,
    /// Whether crossfade was told to leave REST writes alone, by a rollback.
    pub(super) unmirrored: bool,
    /// Whether a sync edit had lost to something newer when it arrived.
    pub(super) lost_the_merge: bool,
    /// Whether legacy refuses it.
    pub(super) refused: bool,
}

impl Write {
    /// When it cannot happen any more.
    fn latest_ms(&self) -> u64 {
        let settle = u64::try_from(TIMEOUT.as_millis()).unwrap();
        self.end_ms.unwrap_or(self.start_ms + settle)
    }

    /// Whether the store had it first, and legacy by a delivery.
    const fn is_edit(&self) -> bool {
        matches!(self.by, By::Sync(_) | By::Store)
    }

    fn counts(&self) -> bool {
        self.acknowledged && !self.refused && !self.lost_the_merge
    }
}

/// Every write of a run.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Rows that were there before.
    pub(super) seeded: BTreeMap<String, Map<String, Value>>,
    pub(super) writes: Vec<Write>,
    /// What crossfade brought to legacy.
    pub(super) deliveries: Vec<Delivery>,
    /// Rows that a client has made and that are legacy's own now: their create was taken for refused, for the row that it had
    /// made was changed before it was looked for.
    pub(super) fell: BTreeSet<String>,
    /// What the store calls rows that have another name here.
    pub(super) ids: BTreeMap<String, String>,
}

pub(super) type Rows = BTreeMap<String, Map<String, Value>>;

impl History {
    pub(super) fn add(&mut self, write: Write) -> usize {
        self.writes.push(write);
        self.writes.len() - 1
    }

    /// Rows that were written past crossfade.
    pub(super) fn past(&self) -> BTreeSet<&str> {
        let past = self.writes.iter().filter(|write| write.by == By::Past);
        past.map(|write| write.row.as_str()).collect()
    }

    fn of<'a>(&'a self, row: &'a str) -> impl Iterator<Item = &'a Write> {
        self.writes.iter().filter(move |write| write.row == row)
    }

    /// A client has the hashes that the server has: what it wrote is acknowledged, as far as it is still there.
    pub(super) fn arrived(&mut self, client: &SimClient) {
        let by = By::Sync(client.name.clone());
        let ids = &self.ids;
        for write in self.writes.iter_mut().filter(|write| write.by == by && !write.acknowledged) {
            write.acknowledged = true;
            write.lost_the_merge = !is_there(client, write, store_id(ids, &write.row));
        }
    }

    /// A client will never be seen again: what another one has of its edits is acknowledged.
    pub(super) fn lost(&mut self, client: &SimClient, others: &[&SimClient]) {
        let by = By::Sync(client.name.clone());
        let ids = &self.ids;
        for write in self.writes.iter_mut().filter(|write| write.by == by && !write.acknowledged) {
            let id = store_id(ids, &write.row);
            let near = others.iter().filter(|other| other.org == client.org);
            let mut have = near.filter(|other| is_there(other, write, id));
            write.acknowledged = is_there(client, write, id)
                && match write.kind {
                    // Somebody else may have deleted it, too.
                    Kind::Delete => have.any(|o| o.stamp(id) >= client.stamp(id)),
                    Kind::Create | Kind::Update => have.next().is_some(),
                };
        }
    }

    /// What was written to a row, for whoever looks for the reason.
    pub(super) fn story(&self, row: &str) -> String {
        self.of(row).map(|write| format!("\n    {write:?}")).collect()
    }

    /// What is wrong with this end.
    pub(super) fn check(&self, rows: &Rows) -> Vec<String> {
        let mut wrong = Vec::new();
        let written = self.writes.iter().map(|write| write.row.as_str());
        let all: BTreeSet<&str> = self.seeded.keys().map(String::as_str).chain(written).collect();
        for row in all {
            match rows.get(row) {
                Some(cells) => self.check_present(row, cells, &mut wrong),
                None => self.check_absent(row, &mut wrong),
            }
            if let Some(last) = wrong.last_mut().filter(|last| last.contains(row)) {
                last.push_str(&self.story(row));
            }
        }
        wrong
    }

    fn check_absent(&self, row: &str, wrong: &mut Vec<String>) {
        let created = |write: &&Write| write.kind == Kind::Create && write.counts();
        let made = self.seeded.contains_key(row) || self.of(row).any(|write| created(&write));
        let deleted = self.of(row).any(|write| write.kind == Kind::Delete && !write.refused);
        if made && !deleted {
            wrong.push(format!("row {row} is lost: nobody deleted it"));
        }
    }

    fn check_present(&self, row: &str, cells: &Map<String, Value>, wrong: &mut Vec<String>) {
        let stands = |write: &&Write| {
            write.kind == Kind::Delete
                && write.counts()
                && !self.fell_with_its_row(write)
                && !self.went_with_a_refused_one(write)
                && !self.passed_by(write, "name")
        };
        if let Some(delete) = self.of(row).find(stands) {
            wrong.push(format!("row {row} is there, and was deleted: {delete:?}"));
        }
        for cell in ["name", "age", "email"] {
            let now = cells.get(cell).unwrap_or(&Value::Null);
            if let Some(problem) = self.check_cell(row, cell, now) {
                wrong.push(format!("{row}.{cell} = {now}: {problem}"));
            }
        }
    }

    /// Whether an edit was one of a row that a client made, and whose create was taken for refused.
    fn fell_with_its_row(&self, lost: &Write) -> bool {
        matches!(lost.by, By::Sync(_)) && self.fell.contains(&lost.row)
    }

    /// Whether a row was written to after it was made.
    pub(super) fn was_changed(&self, row: &str) -> bool {
        self.of(row).any(|write| write.kind == Kind::Update)
    }

    /// Whether a write was overwritten by an edit, or a deletion, that legacy refused then; or came in one message with one
    /// of the same client, and so in one request; or was overwritten by one that did.
    fn went_with_a_refused_one(&self, lost: &Write) -> bool {
        let touches = |write: &Write| {
            let shares = |(cell, _): &(&str, Value)| write.cells.iter().any(|(id, _)| id == cell);
            [lost.kind, write.kind].contains(&Kind::Delete) || lost.cells.iter().any(shares)
        };
        // What the store refuses has never been anywhere.
        let refused = |write: &&Write| write.refused && write.by != By::Store;
        self.of(&lost.row).filter(refused).any(|write| {
            // A deletion takes along what it meets, whenever it arrives.
            let later = |write: &Write| {
                write.kind == Kind::Delete || write.start_ms + MARGIN_MS > lost.start_ms
            };
            // Only a sync client has several writes in one request.
            let with_it = |other: &&Write| {
                std::ptr::eq(*other, write)
                    || other.by == write.by && matches!(other.by, By::Sync(_))
            };
            let mut together = self.of(&lost.row).filter(with_it);
            write.by == lost.by || together.any(|other| later(other) && touches(other))
        })
    }

    /// Whether the value that is there reached legacy beside the one that is lost: with a REST write that was on its way at
    /// the same time, or in a delivery that a killed process had begun. Then legacy's order counts, which crossfade does
    /// not make (design rule 2: REST writes are never serialised).
    fn overlapped(&self, lost: &Write, cell: &str, now: &Value) -> bool {
        let of_row = || self.deliveries.iter().filter(|one| one.row == lost.row);
        let mut brought = of_row().filter(|one| one.body.get(cell) == Some(now));
        if lost.by == By::Rest {
            return brought
                .any(|one| one.sent_ms <= lost.latest_ms() && one.done_ms >= lost.start_ms);
        }
        let value = lost.cells.iter().find(|(id, _)| *id == cell).map(|(_, value)| value);
        let mut own = of_row().filter(|one| one.body.get(cell) == value);
        own.any(|own| brought.any(|one| one.sent_ms <= own.done_ms && one.done_ms >= own.done_ms))
    }

    /// Whether a write that passed the store by, in a rollback, met several edits of the cell, or the create of the row,
    /// of which nobody knows by then whether legacy has them: it is not told from theirs.
    fn passed_by(&self, lost: &Write, cell: &str) -> bool {
        let edits: Vec<_> = self.of(&lost.row).filter(|write| write.is_edit()).collect();
        let has_cell = |write: &&&Write| write.cells.iter().any(|(id, _)| *id == cell);
        let of_cell = edits.iter().filter(has_cell).count();
        let created = edits.iter().any(|write| write.kind == Kind::Create);
        lost.unmirrored && (of_cell > 1 || created)
    }

    /// Whether what is there passed the store by, in a rollback, and such writes went on until the edit that is lost was made
    /// or longer: then nobody knows which of both is older, and legacy's counts (design rule 7, compare-and-send).
    fn yielded(&self, lost: &Write, source: Option<&Write>) -> bool {
        let passed = self.writes.iter().filter(|write| write.unmirrored);
        let last_ms = passed.map(Write::latest_ms).max().unwrap_or_default();
        lost.is_edit()
            && source.is_some_and(|source| source.unmirrored)
            && lost.start_ms <= last_ms + MARGIN_MS
    }

    fn check_cell(&self, row: &str, cell: &str, now: &Value) -> Option<String> {
        let of_cell = |write: &&Write| write.cells.iter().any(|(id, _)| *id == cell);
        let gave =
            |write: &&Write| write.cells.iter().any(|(id, value)| *id == cell && value == now);
        let source = self.of(row).find(gave);
        // The last moment at which it can have been written.
        let at_ms = match source {
            Some(write) if write.refused => return Some(format!("it was refused: {write:?}")),
            Some(write) => write.latest_ms(),
            None => {
                let seeded = self.seeded.get(row).and_then(|cells| cells.get(cell));
                // A create that says nothing of a cell leaves it null.
                let created =
                    self.of(row).any(|write| write.kind == Kind::Create && !of_cell(&write));
                if seeded != Some(now) && !(created && now.is_null()) {
                    return Some("nobody wrote it".to_owned());
                }
                0
            }
        };
        let newer = |write: &&Write| {
            write.counts()
                && write.start_ms > at_ms + MARGIN_MS
                && !self.fell_with_its_row(write)
                && !self.went_with_a_refused_one(write)
                && !self.overlapped(write, cell, now)
                && !self.passed_by(write, cell)
                && !self.yielded(write, source)
        };
        let lost = self.of(row).filter(of_cell).find(newer)?;
        Some(format!("an acknowledged newer write is lost: {lost:?}, it has {source:?}"))
    }
}

/// What the store calls a row.
pub(super) fn store_id<'a>(ids: &'a BTreeMap<String, String>, row: &'a str) -> &'a str {
    ids.get(row).map_or(row, String::as_str)
}

/// Whether a client's store shows a write to the row that has this id there.
fn is_there(client: &SimClient, write: &Write, id: &str) -> bool {
    if write.kind == Kind::Delete {
        return client.cell(id, "orgId").is_none() && client.stamp(id).is_some();
    }
    let there = |(cell, value): &(&str, Value)| {
        client.cell(id, cell).map(|cell| cell.to_json()).as_ref() == Some(value)
    };
    write.cells.iter().all(there)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn write(kind: Kind, name: &str, start_ms: u64, end_ms: Option<u64>) -> Write {
        let cells = vec![("name", json!(name))];
        let (row, by) = ("a".to_owned(), By::Rest);
        let acknowledged = end_ms.is_some();
        let (refused, lost_the_merge, unmirrored) = (false, false, false);
        Write {
            row,
            kind,
            cells,
            by,
            start_ms,
            end_ms,
            acknowledged,
            unmirrored,
            lost_the_merge,
            refused,
        }
    }

    fn rows(name: &str) -> Rows {
        let cells = json!({ "name": name, "age": null, "email": "e" });
        [("a".to_owned(), cells.as_object().unwrap().clone())].into_iter().collect()
    }

    fn history(writes: Vec<Write>) -> History {
        History { seeded: rows("seeded"), writes, deliveries: Vec::new(), ..History::default() }
    }

    #[test]
    fn a_checker_that_finds_nothing_would_prove_nothing() {
        let late = 10 * MARGIN_MS;
        let done = || write(Kind::Update, "x", late, Some(late + 10));
        assert!(history(vec![done()]).check(&rows("x")).is_empty());
        assert_eq!(history(vec![done()]).check(&rows("seeded")).len(), 1, "lost");
        assert_eq!(history(vec![done()]).check(&rows("other")).len(), 1, "out of nowhere");
        assert_eq!(history(vec![done()]).check(&Rows::new()).len(), 1, "the row is lost");
        // Nobody was told that it was done, or it was overwritten by one at the same time.
        let unknown = Write { acknowledged: false, ..done() };
        assert!(history(vec![unknown]).check(&rows("seeded")).is_empty());
        let beside = write(Kind::Update, "y", late - 5, Some(late + 5));
        assert!(history(vec![done(), beside.clone()]).check(&rows("y")).is_empty());
        // An older one that comes back.
        let newer = write(Kind::Update, "z", 2 * late, Some(2 * late + 10));
        assert_eq!(history(vec![done(), newer]).check(&rows("x")).len(), 1);
        // A refused one, and a deleted row.
        let refused = Write { refused: true, ..done() };
        assert_eq!(history(vec![refused]).check(&rows("x")).len(), 1);
        let deleted = write(Kind::Delete, "", late, Some(late + 1));
        assert_eq!(history(vec![deleted.clone()]).check(&rows("seeded")).len(), 2);
        let deleted = Write { cells: Vec::new(), ..deleted };
        assert_eq!(history(vec![deleted.clone()]).check(&rows("seeded")).len(), 1);
        assert!(history(vec![deleted]).check(&Rows::new()).is_empty());
    }
}
