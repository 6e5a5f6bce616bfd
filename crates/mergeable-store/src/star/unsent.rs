//! What was merged and is not yet broadcast.

use crate::{Changes, ConnectionId, Container};

/// Merged changes that the connections have not been told.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    pub(super) changes: Changes,
    pub(super) writers: Writers,
}

/// Whose edits they are. A writer that gets its own stamps back finds that they change nothing.
#[derive(Debug, Default)]
pub(super) enum Writers {
    #[default]
    Nobody,
    One(ConnectionId),
    /// Several connections, or the server itself.
    Several,
}

impl Unsent {
    /// Adds newer changes, by a connection or by the server itself.
    pub(super) fn add(&mut self, changes: Changes, by: Option<&ConnectionId>) {
        if self.changes.is_empty() {
            self.changes = changes;
        } else {
            self.changes.extend(changes);
        }
        self.writers = match (std::mem::take(&mut self.writers), by) {
            (Writers::Nobody, Some(by)) => Writers::One(by.clone()),
            (Writers::One(one), Some(by)) if one == *by => Writers::One(one),
            _ => Writers::Several,
        };
    }
}

impl Writers {
    /// The one connection that needs not be told.
    pub(super) fn only(&self) -> Option<&ConnectionId> {
        match self {
            Self::One(one) => Some(one),
            Self::Nobody | Self::Several => None,
        }
    }
}

/// Two parts that together say the same; `None` when there is nothing to part.
pub(super) fn halves(changes: &Changes) -> Option<[Changes; 2]> {
    let cells = changes.cells().count();
    let all = cells + changes.values.len();
    if all < 2 {
        return None;
    }
    let mut parts = [Changes::new(), Changes::new()];
    containers(changes, &mut parts[0]);
    for (at, (table, row, cell, stamp)) in changes.cells().enumerate() {
        let part = &mut parts[usize::from(at >= all / 2)];
        part.set_cell(table, row, cell, stamp.thing.clone(), stamp.hlc);
    }
    for (at, (value, stamp)) in changes.values().enumerate() {
        let part = &mut parts[usize::from(cells + at >= all / 2)];
        part.set_value(value, stamp.thing.clone(), stamp.hlc);
    }
    Some(parts)
}

/// Takes over the containers that say something of their own.
fn containers(changes: &Changes, part: &mut Changes) {
    (part.tables_hlc, part.values_hlc) = (changes.tables_hlc, changes.values_hlc);
    for (id, table) in changes.tables.iter() {
        if !table.hlc.is_empty() || table.rows.is_empty() {
            part.set_container(&Container::Table(id.clone()), table.hlc);
        }
        for (row_id, row) in table.rows.iter() {
            if !row.hlc.is_empty() || row.cells.is_empty() {
                part.set_container(&Container::Row(id.clone(), row_id.clone()), row.hlc);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientId, Hlc};

    fn hlc(n: u64) -> Hlc {
        Hlc::new(n, 0, ClientId::from_unique_id("c"))
    }

    fn cell(row: &str, n: u64) -> Changes {
        let mut changes = Changes::new();
        changes.set_cell("t", row, "c", Some((n as f64).into()), hlc(n));
        changes
    }

    #[test]
    fn only_a_lone_writer_is_left_out() {
        let (a, b) = (ConnectionId::from("a"), ConnectionId::from("b"));
        let mut unsent = Unsent::default();
        unsent.add(cell("r", 1), Some(&a));
        unsent.add(cell("r", 2), Some(&a));
        assert_eq!(unsent.writers.only(), Some(&a));
        assert_eq!(unsent.changes, cell("r", 2), "the newest stamp of a cell");
        unsent.add(cell("s", 3), Some(&b));
        assert_eq!(unsent.writers.only(), None);
        let mut unsent = Unsent::default();
        unsent.add(cell("r", 1), None);
        unsent.add(cell("r", 2), Some(&a));
        assert_eq!(unsent.writers.only(), None);
    }

    #[test]
    fn halves_say_together_what_the_whole_said() {
        let mut whole = Changes::new();
        for n in 0..7 {
            whole.extend(cell(&format!("r{n}"), n + 1));
        }
        whole.set_value("v", None, hlc(9));
        whole.set_container(&Container::Row("t".into(), "r6".into()), hlc(3));
        whole.set_container(&Container::Values, hlc(4));
        let [mut one, other] = halves(&whole).unwrap();
        assert_eq!((one.cells().count(), other.cells().count()), (4, 3));
        one.extend(other);
        // Rows may come in another order; what they say is the same.
        assert_eq!(one, whole);
        assert_eq!(halves(&cell("r", 1)), None);
    }
}
