//! A row's cells, and what changed between two copies of a row.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Cell, CellRef};

/// A cell's id within its row: the field's name in the legacy API's JSON.
pub type CellId = Arc<str>;

/// Something whose cells can be read by id: a row of the store, or [`RowCells`].
///
/// The lifetime is that of the cells, not of the view, so that a view can be made on the fly.
pub trait RowView<'a> {
    /// The cell, or `None` where the row has none (a tombstone counts as none).
    fn cell(&self, id: &str) -> Option<CellRef<'a>>;
}

impl<'a, V: RowView<'a> + ?Sized> RowView<'a> for &V {
    fn cell(&self, id: &str) -> Option<CellRef<'a>> {
        (**self).cell(id)
    }
}

/// The cells of one row, by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowCells(BTreeMap<CellId, Cell>);

impl RowCells {
    /// No cells.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The cell, if the row has it.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Cell> {
        self.0.get(id)
    }

    /// Puts a cell in the place of whatever was there.
    pub fn insert(&mut self, id: impl Into<CellId>, cell: Cell) -> Option<Cell> {
        self.0.insert(id.into(), cell)
    }

    /// Takes a cell out.
    pub fn remove(&mut self, id: &str) -> Option<Cell> {
        self.0.remove(id)
    }

    /// All cells, ordered by id.
    pub fn iter(&self) -> impl Iterator<Item = (&CellId, &Cell)> {
        self.0.iter()
    }

    /// How many cells there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no cell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What must be done to this copy to turn it into `newer`.
    #[must_use]
    pub fn changes_to(&self, newer: &Self) -> Changes {
        let differs = |id: &CellId, cell| self.0.get(id).is_none_or(|old| !same(old, cell));
        let set = newer.0.iter().filter(|(id, cell)| differs(id, cell));
        let removed = self.0.keys().filter(|id| !newer.0.contains_key(*id));
        Changes {
            set: set.map(|(id, cell)| (id.clone(), cell.clone())).collect(),
            removed: removed.cloned().collect(),
        }
    }

    /// Does to this copy what `changes` says.
    pub fn apply(&mut self, changes: &Changes) {
        for (id, cell) in &changes.set.0 {
            self.0.insert(id.clone(), cell.clone());
        }
        for id in &changes.removed {
            self.0.remove(id);
        }
    }
}

/// Whether two cells hold the same JSON value. The order of an object's keys never counts: a database may change it.
fn same(a: &Cell, b: &Cell) -> bool {
    let json = |cell: &Cell| matches!(cell, Cell::Json(_) | Cell::RawJson(_));
    a == b || (json(a) && json(b) && a.to_json() == b.to_json())
}

impl<'a> RowView<'a> for &'a RowCells {
    fn cell(&self, id: &str) -> Option<CellRef<'a>> {
        self.0.get(id).map(Cell::view)
    }
}

impl<K: Into<CellId>> FromIterator<(K, Cell)> for RowCells {
    fn from_iter<I: IntoIterator<Item = (K, Cell)>>(cells: I) -> Self {
        Self(cells.into_iter().map(|(id, cell)| (id.into(), cell)).collect())
    }
}

impl IntoIterator for RowCells {
    type Item = (CellId, Cell);
    type IntoIter = std::collections::btree_map::IntoIter<CellId, Cell>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The difference between two copies of a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Cells that are new or have another value, with the newer value.
    pub set: RowCells,
    /// Cells that the newer copy does not have.
    pub removed: Vec<CellId>,
}

impl Changes {
    /// Whether the two copies are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }

    /// The ids of all cells that differ.
    pub fn cells(&self) -> impl Iterator<Item = &CellId> {
        self.set.iter().map(|(id, _)| id).chain(&self.removed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_cell() -> impl Strategy<Value = Cell> {
        prop_oneof![
            "[a-cA-C_é\u{1F600}\u{FFFD}]{0,3}".prop_map(|text| Cell::String(text.as_str().into())),
            (-3_i32..4).prop_map(|n| Cell::Number(f64::from(n) / 2.0)),
            any::<bool>().prop_map(Cell::Bool),
            Just(Cell::Null),
            Just(Cell::Json("[1]".into())),
        ]
    }

    fn any_row() -> impl Strategy<Value = RowCells> {
        proptest::collection::btree_map("[a-e]", any_cell(), 0..5)
            .prop_map(|cells| cells.into_iter().collect())
    }

    #[test]
    fn a_cell_set_to_null_is_changed_not_removed() {
        let base: RowCells =
            [("a", Cell::Number(1.0)), ("b", Cell::Bool(true))].into_iter().collect();
        let answer: RowCells = [("a", Cell::Null)].into_iter().collect();
        let changes = base.changes_to(&answer);
        assert_eq!(changes.set.get("a"), Some(&Cell::Null));
        assert_eq!(changes.removed, [CellId::from("b")]);
        assert_eq!(changes.cells().map(|id| &**id).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn json_is_compared_as_a_value() {
        let row = |cell| [("a", cell)].into_iter().collect::<RowCells>();
        let base = row(Cell::Json(r#"{"x":1,"y":[2,3]}"#.into()));
        assert!(base.changes_to(&row(Cell::RawJson(r#"{"y":[2,3],"x":1}"#.into()))).is_empty());
        assert!(!base.changes_to(&row(Cell::Json(r#"{"x":1,"y":[3,2]}"#.into()))).is_empty());
        assert!(!base.changes_to(&row(Cell::String(r#"{"x":1,"y":[2,3]}"#.into()))).is_empty());
    }

    proptest! {
        #[test]
        fn changes_turn_the_one_copy_into_the_other(mut base in any_row(), answer in any_row()) {
            let changes = base.changes_to(&answer);
            prop_assert_eq!(changes.is_empty(), base == answer);
            base.apply(&changes);
            prop_assert_eq!(base, answer);
        }
    }
}
