//! The jobs that ask questions: TinyBase's queries by `crates/tinyql`.

use serde_json::{Value, json};
use tinyql::{Definition, Page, Queries, Select, SortedTable, Source, Where};

use super::worker::{Full, changed, timed};
use crate::bench::recipe;

const QUERY: &str = "active";
/// Rows of a page.
const PAGE_ROWS: i64 = 100;

/// Two cells of the rows that are active: every third.
fn active() -> Definition {
    Definition::new(Source::table(recipe::TABLE))
        .select(Select::cell(recipe::EDITED))
        .select(Select::cell("score"))
        .filter(Where::cell("active", true))
}

/// The query is defined, and has its result.
pub(super) fn first(full: &Full) -> Result<Value, String> {
    let mut queries = Queries::new();
    let mut answer = timed(|| {
        let defined = queries.set_definition(full.end.store(), QUERY, active());
        defined.map(drop).map_err(|error| error.to_string())
    })?;
    answer["result_rows"] = queries.result(QUERY).row_count().into();
    Ok(answer)
}

/// Frames of one cell each, of rows that the query has; its result is up to date after each.
pub(super) fn update(full: &mut Full, rows: u32, edits: u32) -> Result<Value, String> {
    let mut queries = Queries::new();
    let defined = queries.set_definition(full.end.store(), QUERY, active());
    defined.map_err(|error| error.to_string())?;
    let row = |n: u32| {
        let row = u64::from(n) * 7919 % u64::from(rows.max(1)) / 3 * 3;
        u32::try_from(row).unwrap_or(0)
    };
    let numbers = full.next..full.next + edits;
    let edit = |n| recipe::frame(&recipe::edit(row(n), n));
    let frames: Vec<String> = numbers.clone().map(edit).collect();
    full.next = numbers.end;
    let mut answer = timed(|| {
        frames.iter().try_for_each(|frame| {
            let changed = changed(&mut full.end, frame)?;
            queries.apply(full.end.store(), &changed);
            Ok(())
        })
    })?;
    let taken = numbers.last().is_none_or(|n| {
        let wanted = mergeable_store::Cell::from(format!("Edited {n}"));
        queries.result(QUERY).cell(recipe::row_id(row(n)), recipe::EDITED) == Some(&wanted)
    });
    answer["taken"] = taken.into();
    Ok(answer)
}

/// Pages of the table sorted by a cell. The order is kept here and made before; TinyBase sorts for each page.
pub(super) fn sorted_pages(full: &Full, rows: u32, pages: u32) -> Result<Value, String> {
    let sorted = SortedTable::new(full.end.store(), recipe::TABLE, Some("score"));
    let mut page = Vec::new();
    let mut answer = timed(|| {
        for number in 0..pages {
            let offset = i64::from(number) * 7919 % i64::from(rows.max(1));
            page = sorted.row_ids(Page { descending: true, offset, limit: Some(PAGE_ROWS) });
        }
        Ok(())
    })?;
    let ids: Vec<_> = page.iter().filter_map(|id| id.as_str()).collect();
    answer["page"] = json!(ids);
    Ok(answer)
}
