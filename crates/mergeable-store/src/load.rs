//! Putting a store back together from storage that keeps each stamp on its own.

use crate::content::{ChildRule, Stamped};
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
        let ids = [self.ids.intern(table), self.ids.intern(row), self.ids.intern(cell)];
        let there =
            self.content.tables.entries.find(ids[0]).and_then(|table| table.entries.find(ids[1]));
        if there.is_none_or(|row| row.wins(row.entries.position(ids[2]), hlc)) {
            self.put_cell(ids, Stamped::new(thing, hlc), ChildRule::Exact);
        }
    }

    /// Puts back a value from storage, as [`MergeableStore::load_cell`].
    pub fn load_value(&mut self, value: impl AsText, thing: Option<Cell>, hlc: Hlc) {
        self.clock.restore(hlc);
        let id = self.ids.intern(value);
        if self.content.values.wins(self.content.values.entries.position(id), hlc) {
            self.content.values.put(&self.ids, id, Stamped::new(thing, hlc));
        }
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
                let table = self.ids.intern(table);
                let tables = &mut self.content.tables;
                let (at, made) = tables.child(table);
                let was = tables.before(at, made, ChildRule::Exact);
                tables.entries.get_mut(at).raise(hlc);
                tables.child_changed(&self.ids, at, was);
            }
            Container::Row(table, row) => {
                let (table, row) = (self.ids.intern(table), self.ids.intern(row));
                let tables = &mut self.content.tables;
                let (table_at, made) = tables.child(table);
                let table_was = tables.before(table_at, made, ChildRule::Exact);
                let table = tables.entries.get_mut(table_at);
                let (at, made) = table.child(row);
                let was = table.before(at, made, ChildRule::Exact);
                table.entries.get_mut(at).raise(hlc);
                table.child_changed(&self.ids, at, was);
                tables.child_changed(&self.ids, table_at, table_was);
            }
        }
    }
}
