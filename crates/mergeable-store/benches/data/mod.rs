//! What the benchmarks work on.

use mergeable_store::{Cell, Changes, ClientId, Hlc, MergeableStore};

pub(crate) const NOW: u64 = 1_763_800_000_000;
pub(crate) const CELLS_PER_ROW: u32 = 6;

pub(crate) fn hlc(counter: u32) -> Hlc {
    Hlc::new(NOW, counter, ClientId::from_unique_id("writer"))
}

/// Users as an app has them: six cells a row, of the usual types.
pub(crate) fn users(rows: u32) -> Changes {
    users_from(0, rows)
}

/// So many users, from this number on.
pub(crate) fn users_from(first: u32, rows: u32) -> Changes {
    let mut changes = Changes::new();
    for row in first..first + rows {
        let id = format!("user_{row:08}");
        let cells: [(&str, Cell); CELLS_PER_ROW as usize] = [
            ("name", format!("User Number {row}").into()),
            ("email", format!("user{row}@example.com").into()),
            ("role", "member".into()),
            ("active", (row % 3 == 0).into()),
            ("score", (f64::from(row) / 7.0).into()),
            ("tags", Cell::Json("[\"a\",\"b\"]".into())),
        ];
        for (at, (cell, content)) in (0..).zip(cells) {
            changes.set_cell("users", &id, cell, Some(content), hlc(row * CELLS_PER_ROW + at));
        }
    }
    changes
}

pub(crate) fn store(changes: &Changes) -> MergeableStore {
    let mut store = MergeableStore::new(ClientId::from_unique_id("server"));
    store.merge(NOW, changes).unwrap();
    store
}
