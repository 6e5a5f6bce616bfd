//! Putting a store back together from storage that keeps each stamp on its own.

use crate::content::ChildRule;
use crate::row::{Rule, StampRef};
use crate::{AsText, Cell, Container, Hlc, MergeableStore};

impl MergeableStore {
    /// Puts back a cell from storage. Of several stamps of one cell the greatest HLC stays. The clock moves to the
    /// greatest HLC seen, and the hashes become those computed from scratch.
    pub fn load_cell(
        &mut self,
        table: impl AsText,
        row: impl AsText,
        cell: impl AsText,
        thing: Option<Cell>,
        hlc: Hlc,
    ) {
        self.clock.restore(hlc);
        let stamp = StampRef::new(thing.as_ref().map(Cell::view), hlc);
        let at = [table.wtf8(), row.wtf8(), cell.wtf8()];
        self.put_cell(at, stamp, Rule::Merge, ChildRule::Exact);
    }

    /// Puts back a value from storage, as [`MergeableStore::load_cell`].
    pub fn load_value(&mut self, value: impl AsText, thing: Option<Cell>, hlc: Hlc) {
        self.clock.restore(hlc);
        let (id, _) = self.ids.intern(value.wtf8());
        let stamp = StampRef::new(thing.as_ref().map(Cell::view), hlc);
        self.content.values.put(&self.ids, (id, stamp), Rule::Merge, &mut self.scratch);
    }

    /// Puts back a container from storage, with its HLC, which may be empty.
    pub fn load_container(&mut self, container: &Container, hlc: Hlc) {
        self.clock.restore(hlc);
        match container {
            Container::Tables => {
                self.content.tables.raise(hlc);
            }
            Container::Values => {
                self.content.values.raise(hlc);
            }
            Container::Table(table) => {
                let tables = &mut self.content.tables;
                let (at, made) = tables.entries.entry(table.as_wtf8());
                let was = tables.before(at, made, ChildRule::Exact);
                tables.entries.get_mut(at).raise(hlc);
                tables.child_changed(at, was);
            }
            Container::Row(table, row) => {
                let tables = &mut self.content.tables;
                let (table_at, made) = tables.entries.entry(table.as_wtf8());
                let table_was = tables.before(table_at, made, ChildRule::Exact);
                let table = tables.entries.get_mut(table_at);
                let (at, made) = table.entries.entry(row.as_wtf8());
                let was = table.before(at, made, ChildRule::Exact);
                table.entries.get_mut(at).raise(hlc);
                table.child_changed(at, was);
                tables.child_changed(table_at, table_was);
            }
        }
    }
}
