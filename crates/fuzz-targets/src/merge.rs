//! Merging, local transactions and rollbacks, against a model.

use std::collections::BTreeSet;

use arbitrary::Unstructured;
use mergeable_store::{
    Cell, Changes, Container, EditError, Hlc, MAX_AHEAD_MS, MergeableStore, Stamp, Text,
    Transaction,
};

use crate::arrange::{self, Contents, NOW, below};
use crate::model::Model;

/// When stores are loaded and merged anew: a full counter may have moved a clock a little beyond the limit at `NOW`.
const LATER: u64 = NOW + 1000;

/// Merges and transactions in any sequence give what the model gives; and where each stamp has one content, so does
/// every other order, with repetitions and in other portions.
pub fn merge(data: &[u8]) {
    let u = &mut Unstructured::new(data);
    let (contents, afterwards) = match below(u, 4) {
        0 => (Contents::Any, Afterwards::Store),
        1 => (Contents::OfStamp, Afterwards::Store),
        _ => (Contents::OfStamp, Afterwards::Reorder),
    };
    let mut subject = Subject {
        store: MergeableStore::new(arrange::client(0)),
        model: Model::default(),
        exact: true,
    };
    let mut all = Vec::new();
    while !u.is_empty() && all.len() < 24 {
        match below(u, 4) {
            0 => all.extend(subject.transaction(u)),
            1 => subject.roll_back(u),
            _ => all.extend(subject.merge(arrange::changes(u, contents))),
        }
    }
    subject.model.check(&subject.store, subject.exact);
    match afterwards {
        Afterwards::Store => stored_and_back(&subject),
        Afterwards::Reorder => reordered(u, &subject, &all),
    }
}

/// What the result is compared with, besides the model: one of two, for speed.
enum Afterwards {
    Store,
    Reorder,
}

struct Subject {
    store: MergeableStore,
    model: Model,
    /// No row or table without content and without HLC has arrived.
    exact: bool,
}

impl Subject {
    /// What was merged: nothing if there is a stamp from the future.
    fn merge(&mut self, changes: Changes) -> Option<Changes> {
        let refused = highest(&changes).time_ms() > NOW + MAX_AHEAD_MS;
        let before = refused.then(|| self.store.content());
        let merged = self.store.merge(NOW, &changes);
        assert_eq!(merged.is_err(), refused, "{changes:?}");
        let Ok(merged) = merged else {
            assert_eq!(Some(self.store.content()), before);
            return None;
        };
        self.exact &= has_content(&changes);
        let replaced = self.model.merge(&changes);
        assert_eq!(merged.cells.len() + merged.values.len(), replaced);
        for change in &merged.cells {
            let stamp = self.store.stamp(&change.table, &change.row, &change.cell);
            assert_eq!(stamp, Some((change.new.clone(), change.hlc)));
        }
        Some(changes)
    }

    fn transaction(&mut self, u: &mut Unstructured<'_>) -> Option<Changes> {
        let client = self.store.client();
        let newest = self.newest_own();
        let ((), changes) = self.store.transaction(NOW, |tx| writes(u, tx)).ok()?;
        for stamp in stamps(&changes) {
            assert_eq!(stamp.hlc.client(), Some(client));
            assert!(stamp.hlc > newest);
        }
        self.model.merge(&changes);
        Some(changes)
    }

    fn newest_own(&self) -> Hlc {
        let client = Some(self.store.client());
        let cells = self.store.cell_stamps().map(|(.., stamp)| stamp.hlc);
        let values = self.store.value_stamps().map(|(_, stamp)| stamp.hlc);
        cells.chain(values).filter(|hlc| hlc.client() == client).max().unwrap_or_default()
    }

    /// A transaction that fails in the end leaves no trace; only what was deleted goes to the end of its order, as in TinyBase.
    fn roll_back(&mut self, u: &mut Unstructured<'_>) {
        let before = (self.store.content(), self.store.hashes());
        let result: Result<((), Changes), Option<EditError>> = self.store.transaction(NOW, |tx| {
            writes(u, tx)?;
            Err(None)
        });
        assert!(result.is_err());
        assert_eq!((self.store.content(), self.store.hashes()), before);
    }
}

/// A few writes; each but a restamp is seen at once.
fn writes(u: &mut Unstructured<'_>, tx: &mut Transaction<'_>) -> Result<(), EditError> {
    for _ in 0..below(u, 8) {
        let (table, row, cell) = (arrange::id(u), arrange::id(u), arrange::id(u));
        let content = arrange::thing(u).unwrap_or(Cell::Null);
        match below(u, 12) {
            0 => {
                tx.del_table(&table)?;
                assert_eq!(tx.store().row_count(&table), 0);
            }
            1 => {
                tx.del_row(&table, &row)?;
                assert!(!tx.store().has_row(&table, &row));
            }
            2 => {
                tx.del_cell(&table, &row, &cell)?;
                assert!(!tx.store().cell_ids(&table, &row).contains(&cell));
            }
            3 => {
                tx.set_value(&cell, content.clone())?;
                assert_eq!(
                    tx.store().value_stamp(&cell).and_then(|(thing, _)| thing),
                    Some(content)
                );
            }
            4 => {
                tx.del_values()?;
                assert!(tx.store().value_ids().is_empty());
            }
            5 => {
                tx.set_row(&table, &row, [(&cell, content)])?;
                assert_eq!(tx.store().cell_ids(&table, &row), [cell]);
            }
            6 => tx.restamp_cell(&table, &row, &cell)?,
            7 => tx.restamp_value(&cell)?,
            8 => {
                tx.set_table(&table, [(&row, [(&cell, content)])])?;
                assert_eq!(tx.store().row_ids(&table), [row]);
            }
            _ => {
                tx.set_cell(&table, &row, &cell, content.clone())?;
                let there = tx.store().stamp(&table, &row, &cell).and_then(|(thing, _)| thing);
                assert_eq!(there, Some(content));
            }
        }
    }
    Ok(())
}

/// Saved and loaded, and put back stamp by stamp, the store is the same.
fn stored_and_back(Subject { store, model, exact }: &Subject) {
    let saved = MergeableStore::from_content(store.client(), LATER, &store.content()).unwrap();
    assert_eq!((saved.content(), saved.hashes()), (store.content(), store.hashes()));
    model.check(&saved, *exact);
    let mut rebuilt = MergeableStore::new(store.client());
    for (container, hlc) in store.container_stamps() {
        rebuilt.load_container(&container, hlc);
    }
    let mut cells: Vec<_> = store.cell_stamps().collect();
    cells.reverse();
    for (table, row, cell, stamp) in cells {
        rebuilt.load_cell(table, row, cell, stamp.thing, stamp.hlc);
    }
    for (value, stamp) in store.value_stamps() {
        rebuilt.load_value(value, stamp.thing, stamp.hlc);
    }
    model.check(&rebuilt, true);
}

/// The same changes in another order, some twice and some over the wire, make the same store.
fn reordered(u: &mut Unstructured<'_>, subject: &Subject, all: &[Changes]) {
    let mut store = MergeableStore::new(arrange::client(9));
    let mut order: Vec<usize> = (0..all.len()).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, below(u, at + 1));
    }
    for at in order {
        let changes = &all[at];
        store.merge(LATER, changes).unwrap();
        if at % 3 == 0 {
            let wire = Changes::from_json(&changes.to_json()).unwrap();
            assert_eq!(&wire, changes);
            let again = store.merge(LATER, &wire).unwrap();
            assert!(again.is_empty(), "{again:?}");
        }
    }
    subject.model.check(&store, subject.exact);
}

fn stamps(changes: &Changes) -> impl Iterator<Item = &Stamp> {
    changes.cells().map(|(.., stamp)| stamp).chain(changes.values().map(|(_, stamp)| stamp))
}

fn highest(changes: &Changes) -> Hlc {
    let containers = changes.containers().map(|(_, hlc)| hlc);
    stamps(changes).map(|stamp| stamp.hlc).chain(containers).max().unwrap_or_default()
}

/// Whether every table has rows and every row cells, or an HLC.
fn has_content(changes: &Changes) -> bool {
    let rows: BTreeSet<(&Text, &Text)> =
        changes.cells().map(|(table, row, ..)| (table, row)).collect();
    let tables: BTreeSet<Text> = changes
        .containers()
        .filter_map(|(container, _)| match container {
            Container::Row(table, _) => Some(table),
            _ => None,
        })
        .collect();
    changes.containers().filter(|(_, hlc)| hlc.is_empty()).all(|(container, _)| match &container {
        Container::Row(table, row) => rows.contains(&(table, row)),
        Container::Table(table) => tables.contains(table),
        Container::Tables | Container::Values => true,
    })
}
