//! What listeners would hear of a transaction or a merge, as TinyBase calls them: a list to pull, without callbacks.

use indexmap::IndexMap;

use crate::{Cell, MergeableStore, Merged, Text};

/// Whether an id came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdChange {
    /// TinyBase's 1.
    Added,
    /// TinyBase's -1.
    Removed,
}

impl IdChange {
    fn between(was: bool, is: bool) -> Option<Self> {
        match (was, is) {
            (false, true) => Some(Self::Added),
            (true, false) => Some(Self::Removed),
            _ => None,
        }
    }
}

/// What a cell or value was, and is now; `None` where it was not, or is not.
pub type OldAndNew = (Option<Cell>, Option<Cell>);

/// What changed for readers of the living content, each named once and in order of first touch. What ended as it began is
/// not named, however often it changed in between.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notifications {
    /// Whether there are tables, if that changed (`hasTables`).
    pub has_tables: Option<bool>,
    /// Tables that came or went (`tableIds`, `hasTable`).
    pub table_ids: Vec<(Text, IdChange)>,
    /// Tables in which a cell changed (`table`).
    pub tables: Vec<Text>,
    /// Tables whose number of rows changed, with the number now (`rowCount`).
    pub row_counts: Vec<(Text, usize)>,
    /// Rows that came or went: table, row (`rowIds`, `hasRow`).
    pub row_ids: Vec<(Text, Text, IdChange)>,
    /// Rows in which a cell changed (`row`).
    pub rows: Vec<(Text, Text)>,
    /// Cells that came or went: table, row, cell (`cellIds`, `hasCell`).
    pub cell_ids: Vec<(Text, Text, Text, IdChange)>,
    /// Cells that changed (`cell`).
    pub cells: Vec<(Text, Text, Text, OldAndNew)>,
    /// Whether there are values, if that changed (`hasValues`).
    pub has_values: Option<bool>,
    /// Values that came or went (`valueIds`, `hasValue`).
    pub value_ids: Vec<(Text, IdChange)>,
    /// Values that changed (`value`).
    pub values: Vec<(Text, OldAndNew)>,
}

impl Notifications {
    /// Whether no listener would be called.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.values.is_empty()
    }
}

/// By how much a count of the living grew.
type Growth = i64;

impl MergeableStore {
    /// What listeners would hear of these changes, which have to be the latest of this store. Costs what the changes cost,
    /// whatever the store holds.
    #[must_use]
    pub fn notifications(&self, merged: &Merged) -> Notifications {
        let mut heard = Notifications::default();
        let mut rows: IndexMap<&Text, IndexMap<&Text, Growth>> = IndexMap::new();
        for change in &merged.cells {
            if reads_alike(&change.old, &change.new) {
                continue;
            }
            let (table, row, cell) = (&change.table, &change.row, &change.cell);
            let growth = rows.entry(table).or_default().entry(row).or_default();
            if let Some(id) = IdChange::between(change.old.is_some(), change.new.is_some()) {
                *growth += step(id);
                heard.cell_ids.push((table.clone(), row.clone(), cell.clone(), id));
            }
            let old_and_new = (change.old.clone(), change.new.clone());
            heard.cells.push((table.clone(), row.clone(), cell.clone(), old_and_new));
        }
        self.tables_heard(&rows, &mut heard);
        self.values_heard(merged, &mut heard);
        heard
    }

    fn tables_heard(
        &self,
        rows: &IndexMap<&Text, IndexMap<&Text, Growth>>,
        heard: &mut Notifications,
    ) {
        let mut tables_growth = 0;
        for (table_id, rows) in rows {
            let table = self.content.table(table_id.as_wtf8());
            let mut table_growth = 0;
            for (row_id, growth) in rows {
                let row = table.and_then(|table| table.entries.find(row_id.as_wtf8()));
                let live = row.map_or(0, |row| i64::from(row.live()));
                if let Some(id) = IdChange::between(live > *growth, live > 0) {
                    table_growth += step(id);
                    heard.row_ids.push(((*table_id).clone(), (*row_id).clone(), id));
                }
                heard.rows.push(((*table_id).clone(), (*row_id).clone()));
            }
            let live = table.map_or(0, |table| i64::from(table.live));
            if let Some(id) = IdChange::between(live > table_growth, live > 0) {
                tables_growth += step(id);
                heard.table_ids.push(((*table_id).clone(), id));
            }
            if table_growth != 0 {
                heard.row_counts.push(((*table_id).clone(), live as usize));
            }
            heard.tables.push((*table_id).clone());
        }
        heard.has_tables = has_changed(i64::from(self.content.tables.live), tables_growth);
    }

    fn values_heard(&self, merged: &Merged, heard: &mut Notifications) {
        let mut growth = 0;
        for change in &merged.values {
            if reads_alike(&change.old, &change.new) {
                continue;
            }
            if let Some(id) = IdChange::between(change.old.is_some(), change.new.is_some()) {
                growth += step(id);
                heard.value_ids.push((change.value.clone(), id));
            }
            let old_and_new = (change.old.clone(), change.new.clone());
            heard.values.push((change.value.clone(), old_and_new));
        }
        heard.has_values = has_changed(i64::from(self.content.values.live()), growth);
    }
}

fn step(id: IdChange) -> Growth {
    match id {
        IdChange::Added => 1,
        IdChange::Removed => -1,
    }
}

/// Whether anything lives, if that was otherwise before the living grew by so many.
fn has_changed(live: i64, growth: Growth) -> Option<bool> {
    IdChange::between(live > growth, live > 0).map(|id| id == IdChange::Added)
}

fn reads_alike(old: &Option<Cell>, new: &Option<Cell>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old.reads_like(new),
        (None, None) => true,
        _ => false,
    }
}
