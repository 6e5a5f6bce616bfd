//! TinyBase's queries ("TinyQL") over a [`MergeableStore`](mergeable_store::MergeableStore), kept up to date change by
//! change: the same rows in the same order as TinyBase 10 gives, down to the last digit of an average.
//!
//! Nothing here does I/O or waits. The caller changes the store, and hands what changed to [`Queries::apply`], which brings
//! the results up to date in time proportional to the rows concerned, and says what changed in them.
//!
//! - [`Definition`]: what a query asks: select, where, join, group, having.
//! - [`Queries`]: all queries over a store, with their [`ResultTable`]s.
//! - [`SortedTable`]: rows of one of the store's tables, kept in order.
//! - [`RankedIndex`]: an ordered set that knows each key's place, by which a sorted page costs what the page costs.
//!
//! ```
//! use mergeable_store::{ClientId, MergeableStore};
//! use tinyql::{Aggregate, Definition, Group, Join, Page, Queries, Select, Source, Where};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut store = MergeableStore::new(ClientId::from_unique_id("server"));
//! let now = 1_763_800_000_000;
//! let mut queries = Queries::new();
//! let by_owner = Definition::new(Source::table("pets"))
//!     .join(Join::on(Source::table("owners"), "ownerId"))
//!     .select(Select::joined("owners", "name").named("owner"))
//!     .select(Select::cell("price"))
//!     .filter(Where::cell("sold", true))
//!     .group(Group::new("price", Aggregate::Avg).named("mean"));
//! queries.set_definition(&store, "byOwner", by_owner)?;
//! queries.keep_sorted("byOwner", Some("mean"));
//!
//! let ((), merged) = store.edit(now, |tx| {
//!     tx.set_cell("owners", "o1", "name", "Alice")?;
//!     tx.set_row("pets", "fido", [("ownerId", "o1")])?;
//!     tx.set_cell("pets", "fido", "price", 5.0)?;
//!     tx.set_cell("pets", "fido", "sold", true)
//! })?;
//! let changes = queries.apply(&store, &merged.cells);
//! assert_eq!(changes[0].query, "byOwner");
//! let result = queries.result("byOwner");
//! assert_eq!(result.sorted_row_ids(Some("mean"), Page::default()), ["0"]);
//! assert_eq!(result.cell("0", "mean"), Some(&5.0.into()));
//! # Ok(())
//! # }
//! ```

mod aggregate;
mod cell_ids;
mod changes;
mod context;
mod definition;
mod group;
mod js;
mod links;
mod plan;
mod pool;
mod queries;
mod ranked;
mod reader;
mod select;
mod sort;
mod sorted_table;
mod table;
mod v8;

pub use aggregate::{Aggregate, CustomAggregate};
pub use changes::{ResultCellChange, ResultChange, RowChange, RowChangeKind};
pub use context::{FromContext, GroupContext, RowContext};
pub use definition::{
    Definition, Group, Having, Join, Operand, Params, Select, Source, Where, param,
};
pub use queries::{Queries, QueryError};
pub use ranked::{Keys, RankedIndex};
pub use sort::Page;
pub use sorted_table::SortedTable;
pub use table::ResultTable;
