//! Merging changes: per cell and value the greater HLC stays.

use std::fmt;
use std::sync::Arc;

use crate::cell::CellError;
use crate::changes::{RowChanges, TableChanges};
use crate::content::{ChildRule, Table};
use crate::ids::{Id, Ids};
use crate::map::Map;
use crate::row::{Row, Rule, StampRef};
use crate::transaction::{InvalidCell, InvalidValue};
use crate::{Cell, CellRef, Changes, Container, Hlc, MergeableStore, Millis, Stamp, Text};

/// A connection of a path, by its `Sec-WebSocket-Key` header; TinyBase's client id in frames.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(Arc<str>);

impl ConnectionId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ConnectionId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<String> for ConnectionId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Through whom a change came into a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The store's own owner.
    Store,
    /// A connected client.
    Connection(ConnectionId),
}

/// A cell whose stamp was replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct CellChange {
    /// Table id.
    pub table: Text,
    /// Row id.
    pub row: Text,
    /// Cell id.
    pub cell: Text,
    /// What was there; `None` if nothing or a tombstone.
    pub old: Option<Cell>,
    /// What is there now; `None` for a tombstone. May equal `old`, with a newer stamp.
    pub new: Option<Cell>,
    /// The stamp it has now.
    pub hlc: Hlc,
    /// Through whom it came.
    pub by: Writer,
}

/// A value whose stamp was replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueChange {
    /// Value id.
    pub value: Text,
    /// What was there.
    pub old: Option<Cell>,
    /// What is there now; `None` for a tombstone.
    pub new: Option<Cell>,
    /// The stamp it has now.
    pub hlc: Hlc,
    /// Through whom it came.
    pub by: Writer,
}

/// A container that got a greater HLC, or that is new and has no content by which it would be known.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerChange {
    /// Which one.
    pub container: Container,
    /// Its HLC now.
    pub hlc: Hlc,
    /// Through whom it came.
    pub by: Writer,
}

/// What a merge or a transaction changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merged {
    /// Cells whose stamp was replaced.
    pub cells: Vec<CellChange>,
    /// Values whose stamp was replaced.
    pub values: Vec<ValueChange>,
    /// Containers changed in themselves.
    pub containers: Vec<ContainerChange>,
    /// Cells that the store's own writes could not set, because its schema does not allow them.
    pub invalid_cells: Vec<InvalidCell>,
    /// Values that the store's own writes could not set.
    pub invalid_values: Vec<InvalidValue>,
}

impl Merged {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.values.is_empty() && self.containers.is_empty()
    }

    /// The new stamps, for other stores to merge.
    #[must_use]
    pub fn to_changes(&self) -> Changes {
        let mut changes = Changes::new();
        for change in &self.containers {
            changes.set_container(&change.container, change.hlc);
        }
        for change in &self.cells {
            changes.set_cell(
                &change.table,
                &change.row,
                &change.cell,
                change.new.clone(),
                change.hlc,
            );
        }
        for change in &self.values {
            changes.set_value(&change.value, change.new.clone(), change.hlc);
        }
        changes
    }

    /// Says through whom all of this came.
    pub(crate) fn by(mut self, writer: &Writer) -> Self {
        self.cells.iter_mut().for_each(|change| change.by = writer.clone());
        self.values.iter_mut().for_each(|change| change.by = writer.clone());
        self.containers.iter_mut().for_each(|change| change.by = writer.clone());
        self
    }
}

/// Why changes were refused, whole.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MergeError {
    /// A stamp from the future.
    #[error("stamp {hlc} is more than five minutes ahead of {now} ms; correct the writer's clock")]
    TooFarAhead {
        /// The stamp.
        hlc: Hlc,
        /// The own clock.
        now: Millis,
    },
    /// A cell or value that cannot be stored.
    #[error(transparent)]
    Cell(#[from] CellError),
}

/// Whether a store whose clock reads `now` would take these changes.
pub(crate) fn check(now: Millis, changes: &Changes) -> Result<(), MergeError> {
    if let Some(hlc) = changes.hlcs().find(|hlc| hlc.is_too_far_ahead(now)) {
        return Err(MergeError::TooFarAhead { hlc, now });
    }
    let stamps = changes.cells().map(|(_, _, _, stamp)| stamp).chain(changes.values.values());
    Ok(stamps.filter_map(|stamp| stamp.thing.as_ref()).try_for_each(Cell::check)?)
}

impl MergeableStore {
    /// Merges what another store has. What is older than what is here changes nothing; merging in any order, and any number
    /// of times, gives the same.
    ///
    /// # Errors
    /// A stamp more than five minutes ahead or a cell that cannot be stored refuses all of `changes`.
    pub fn merge(&mut self, now: Millis, changes: &Changes) -> Result<Merged, MergeError> {
        check(now, changes)?;
        let mut merge = Merge::new(&mut self.ids);
        let tables = &mut self.content.tables;
        merge.see(changes.tables_hlc);
        if tables.raise(changes.tables_hlc) {
            merge.container(Container::Tables, tables.hlc);
        }
        for (table_id, table_changes) in changes.tables.iter() {
            let (at, made) = tables.entries.entry(table_id.as_wtf8());
            let was = tables.before(at, made, ChildRule::TinyBase);
            let died = merge.table(tables.entries.get_mut(at), made, table_id, table_changes);
            tables.child_changed(at, was);
            tables.came_back(at, died);
        }
        let values = &mut self.content.values;
        merge.see(changes.values_hlc);
        if values.raise(changes.values_hlc) {
            merge.container(Container::Values, values.hlc());
        }
        merge.values(values, &changes.values);
        let (merged, highest) = (merge.merged, merge.highest);
        self.clock.seen(now, highest);
        Ok(merged)
    }
}

/// A merge under way.
struct Merge<'a> {
    ids: &'a mut Ids,
    merged: Merged,
    /// The greatest of the container HLCs received and the cell and value HLCs that won: what the clock has to see.
    highest: Hlc,
    /// The cell ids of the row before by place: rows of a table mostly have the same cells in the same order.
    columns: Vec<Id>,
    /// The stamps of one row.
    stamps: Vec<(Id, StampRef<'a>)>,
    scratch: Vec<u8>,
}

impl<'a> Merge<'a> {
    fn new(ids: &'a mut Ids) -> Self {
        Self {
            ids,
            merged: Merged::default(),
            highest: Hlc::EMPTY,
            columns: Vec::new(),
            stamps: Vec::new(),
            scratch: Vec::new(),
        }
    }

    fn see(&mut self, hlc: Hlc) {
        self.highest = self.highest.max(hlc);
    }

    fn container(&mut self, container: Container, hlc: Hlc) {
        self.merged.containers.push(ContainerChange { container, hlc, by: Writer::Store });
    }

    /// Whether the table had nothing living in it at some moment.
    fn table(
        &mut self,
        table: &mut Table,
        made: bool,
        id: &Text,
        changes: &'a TableChanges,
    ) -> bool {
        self.see(changes.hlc);
        if table.raise(changes.hlc) || made && changes.rows.is_empty() {
            self.container(Container::Table(id.clone()), table.hlc);
        }
        let (mut guess, mut died) = (0, false);
        for (row_id, row_changes) in changes.rows.iter() {
            let (at, made) = table.entries.entry_near(guess, row_id.as_wtf8());
            let was = table.before(at, made, ChildRule::TinyBase);
            let row_died = self.row(table.entries.get_mut(at), made, (id, row_id), row_changes);
            table.child_changed(at, was);
            died |= table.came_back(at, row_died);
            guess = at + 1;
        }
        died
    }

    /// Whether the row had nothing living in it at some moment.
    fn row(
        &mut self,
        row: &mut Row,
        made: bool,
        (table_id, row_id): (&Text, &Text),
        changes: &'a RowChanges,
    ) -> bool {
        self.see(changes.hlc);
        if row.raise(changes.hlc) || made && changes.cells.is_empty() {
            let container = Container::Row(table_id.clone(), row_id.clone());
            self.container(container, row.hlc());
        }
        self.things(row, &changes.cells, |merged, cell, old, stamp| {
            merged.cells.push(CellChange {
                table: table_id.clone(),
                row: row_id.clone(),
                cell: cell.clone(),
                old,
                new: stamp.thing.clone(),
                hlc: stamp.hlc,
                by: Writer::Store,
            });
        })
    }

    fn values(&mut self, values: &mut Row, changes: &'a Map<Stamp>) {
        self.things(values, changes, |merged, value, old, stamp| {
            let (value, new, hlc) = (value.clone(), stamp.thing.clone(), stamp.hlc);
            merged.values.push(ValueChange { value, old, new, hlc, by: Writer::Store });
        });
    }

    /// Merges the cells of a row, or the values, and tells of each that changed what was there. Whether none lived at some
    /// moment.
    fn things(
        &mut self,
        row: &mut Row,
        changes: &'a Map<Stamp>,
        tell: impl Fn(&mut Merged, &Text, Option<Cell>, &Stamp),
    ) -> bool {
        self.stamps.clear();
        for (place, (id, stamp)) in changes.iter().enumerate() {
            let id = self.column(place, id);
            let thing = stamp.thing.as_ref().map(Cell::view);
            self.stamps.push((id, StampRef::new(thing, stamp.hlc)));
        }
        let (merged, highest, mut died) = (&mut self.merged, &mut self.highest, false);
        let mut changed = |place: usize, old: Option<StampRef<'_>>, live: u32| {
            let (id, stamp) = changes.at(place);
            *highest = stamp.hlc.max(*highest);
            let new = stamp.thing.as_ref().map(Cell::view);
            if old.is_none_or(|old| old.hlc != stamp.hlc || old.thing != new) {
                tell(merged, id, old.and_then(|old| old.thing).map(CellRef::to_cell), stamp);
                died |= live == 0;
            }
        };
        row.write(self.ids, &self.stamps, Rule::Merge, &mut self.scratch, &mut changed);
        died
    }

    /// The number of the cell id at this place of a row.
    fn column(&mut self, place: usize, id: &Text) -> Id {
        match self.columns.get_mut(place) {
            Some(column) if self.ids.is_at(*column as usize, id.as_wtf8()) => *column,
            Some(column) => {
                *column = self.ids.intern(id.as_wtf8()).0;
                *column
            }
            None => {
                let (column, _) = self.ids.intern(id.as_wtf8());
                self.columns.push(column);
                column
            }
        }
    }
}
