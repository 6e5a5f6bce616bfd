//! The data of the peer benchmarks, in one place. `packages/peer-bench/src/recipe.js` makes the store's data
//! for TinyBase, byte for byte; a run compares the digests of both before it measures anything.
//!
//! There is no seed: everything follows from a row's number.
//!
//! | cell | store benchmark | sync benchmark |
//! | --- | --- | --- |
//! | 1 | `name`: `User Number 7` | `id`: the row id |
//! | 2 | `email`: `user7@example.com` | `orgId`: the last segment of the path |
//! | 3 | `role`: `member` | `name`: `User Number 7`; what edits change |
//! | 4 | `active`: every third is true | `email`: `user7@example.com` |
//! | 5 | `score`: number / 7 | `active`: every third is true |
//! | 6 | `tags`: the array `["a","b"]` | `score`: number / 7 |
//!
//! Row ids are `user_00000007` in the store benchmark, and `o_3_00000007` in the other: the legacy API has the rows of
//! all paths in one table. In the store benchmark all stamps have one time and one writer; the counter
//! numbers the writes. In the sync benchmark stamps are fresh: each client has a clock of its own.

use mergeable_store::{Cell, Changes, ClientId, Clock, Hlc, Millis};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The time in every stamp of the store benchmark, and of its stores' clocks: they stand still.
pub(super) const NOW_MS: Millis = 1_763_800_000_000;
/// The only table.
pub(super) const TABLE: &str = "users";
/// Cells of a row.
pub(super) const CELLS_PER_ROW: u32 = 6;
/// Rows of one frame: about 300 bytes each, so that a frame stays far below TinyBase's 16 MiB.
pub(super) const ROWS_PER_FRAME: u32 = 10_000;
/// Rows of one frame where memory is measured: what reading a frame takes for a moment must be small beside
/// what the store keeps.
pub(super) const ROWS_PER_SMALL_FRAME: u32 = 1_000;
/// The cell that edits change.
pub(super) const EDITED: &str = "name";

/// The stamp of the n-th write of the store benchmark.
pub(super) fn hlc(n: u32) -> Hlc {
    Hlc::new(NOW_MS, n, ClientId::from_unique_id("writer"))
}

pub(super) fn row_id(row: u32) -> String {
    format!("user_{row:08}")
}

/// The store benchmark's rows `from` to `to` (without it).
pub(super) fn changes(from: u32, to: u32) -> Changes {
    let mut changes = Changes::new();
    for row in from..to {
        let id = row_id(row);
        let cells = [
            ("name", format!("User Number {row}").into()),
            ("email", format!("user{row}@example.com").into()),
            ("role", "member".into()),
            ("active", row.is_multiple_of(3).into()),
            ("score", (f64::from(row) / 7.0).into()),
            ("tags", Cell::Json("[\"a\",\"b\"]".into())),
        ];
        for (at, (cell, thing)) in (row * CELLS_PER_ROW..).zip(cells) {
            changes.set_cell(TABLE, &id, cell, Some(thing), hlc(at));
        }
    }
    changes
}

/// The changes of all frames of so many rows.
pub(super) fn bodies(rows: u32) -> impl Iterator<Item = Changes> {
    bodies_of(rows, ROWS_PER_FRAME)
}

/// The same in frames of another size.
pub(super) fn bodies_of(rows: u32, per_frame: u32) -> impl Iterator<Item = Changes> {
    let starts = (0..rows).step_by(per_frame.max(1) as usize);
    starts.map(move |from| changes(from, from.saturating_add(per_frame).min(rows)))
}

/// The store benchmark's edit of one cell: the n-th write.
pub(super) fn edit(row: u32, n: u32) -> Changes {
    let mut changes = Changes::new();
    changes.set_cell(TABLE, row_id(row), EDITED, Some(format!("Edited {n}").into()), hlc(n));
    changes
}

/// A ContentDiff from another client, as it comes out of the socket.
pub(super) fn frame(changes: &Changes) -> String {
    format!("S\n[\"abcdefghijk\",3,{}]", changes.to_json())
}

/// SHA-256 of all frames, in order, in lower-case hexadecimal.
pub(super) fn digest(rows: u32) -> String {
    let mut hash = Sha256::new();
    bodies(rows).for_each(|changes| hash.update(frame(&changes)));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A row's id in the sync benchmark.
pub(super) fn synced_row_id(org: &str, row: u32) -> String {
    format!("{org}_{row:08}")
}

/// A row of the sync benchmark, as the legacy API has it.
pub(super) fn legacy_row(org: &str, row: u32) -> Value {
    json!({
        "id": synced_row_id(org, row),
        "orgId": org,
        "name": format!("User Number {row}"),
        "email": format!("user{row}@example.com"),
        "active": row.is_multiple_of(3),
        "score": f64::from(row) / 7.0,
    })
}

/// Rows of the sync benchmark, written by one client now.
pub(super) fn synced_rows(
    org: &str,
    rows: std::ops::Range<u32>,
    clock: &mut Clock,
    now: Millis,
) -> Changes {
    let mut changes = Changes::new();
    for row in rows {
        let id = synced_row_id(org, row);
        let cells: [(&str, Cell); CELLS_PER_ROW as usize] = [
            ("id", id.as_str().into()),
            ("orgId", org.into()),
            ("name", format!("User Number {row}").into()),
            ("email", format!("user{row}@example.com").into()),
            ("active", row.is_multiple_of(3).into()),
            ("score", (f64::from(row) / 7.0).into()),
        ];
        for (cell, thing) in cells {
            changes.set_cell(TABLE, &id, cell, Some(thing), clock.next(now));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `packages/peer-bench/test/recipe.test.js` has the same text.
    #[test]
    fn the_recipe_is_what_the_other_side_makes() {
        assert_eq!(digest(25_000), DIGEST_OF_25_000_ROWS);
        assert_eq!(
            frame(&edit(7, 42)),
            "S\n[\"abcdefghijk\",3,[[{\"users\":[{\"user_00000007\":[{\"name\":[\"Edited \
             42\",\"Oeef1N----e3n8Ke\"]}]}]}],[{}],1]]"
        );
    }

    const DIGEST_OF_25_000_ROWS: &str =
        "2baa80dd1372b24a330b10c9a6918661e16ab7bfd291a6bfde24a11d7116ecb0";

    #[test]
    fn both_forms_of_a_synced_row_say_the_same() {
        let mut clock = Clock::new(ClientId::from_unique_id("writer"));
        let changes = synced_rows("o_1", 4..5, &mut clock, NOW_MS);
        let legacy = legacy_row("o_1", 4);
        assert_eq!(changes.cells().count(), legacy.as_object().unwrap().len());
        for (_, row, cell, stamp) in changes.cells() {
            assert_eq!(row.as_str(), legacy["id"].as_str());
            let (cell, thing) = (cell.as_str().unwrap(), stamp.thing.as_ref().unwrap());
            match thing {
                Cell::String(text) => assert_eq!(legacy[cell].as_str(), text.as_str()),
                Cell::Number(number) => assert_eq!(legacy[cell].as_f64(), Some(*number)),
                Cell::Bool(on) => assert_eq!(legacy[cell].as_bool(), Some(*on)),
                other => panic!("{other:?}"),
            }
        }
    }
}
