//! A migrated entity, compiled from its configuration: which requests are its own, what its rows are, and how the
//! store answers in the legacy API's place. Pure: no I/O.

mod answer;
mod decode;
mod dropped;
mod envelope;
mod generate;
mod index;
mod list_query;
mod order;
mod path;
mod permission;
mod ramp;
mod rest_write;
mod route;
mod row;
mod schema;
mod store;
mod surface;
mod table;
mod tail;
mod unique;
mod version;

use serde_json::{Map, Value};

use crate::compare::RuleSettings;
use crate::migration::{ResourceName, RowId};

pub use answer::OwnId;
pub use dropped::DroppedFields;
pub use envelope::{Envelope, Pointer, PointerProblem};
pub use generate::{Generated, Generator, NewId, TimeSpelling};
pub use index::{IndexSpec, ListIndexes};
pub use list_query::{ListQuery, Unanswerable, parse_get_query};
pub use mergeable_store::{Cell, CellRef, Text};
pub use order::{Collation, Nulls, compare, contains_nocase};
pub use path::{ClaimName, PathProblem, PathTemplate, TemplateProblem};
pub use permission::{ORG_PREFIX, RoleClaim, RolePermissions, WritableCells, WritePermissions};
pub use ramp::Lack;
pub use rest_write::{FieldsProblem, WrittenFields};
pub use route::{PathPattern, Route, RouteProblem, Routes};
pub use row::{CellId, Changes, RowCells, RowView};
pub use schema::{CellSpec, CellType, ReadRow, RowProblem, Schema};
pub use store::{StoreRow, store_rows};
pub use surface::{
    FilterSpec, Op, PageSpec, QuerySurface, SortKey, SortSpec, is_sortable, parse_sort,
};
pub use table::{RouteClash, RouteTable, Routed};
pub use tail::{FollowSpec, TailSpec};
pub use unique::UniqueIndexes;
pub use version::Version;

/// A migrated entity.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Its name, also in flag names.
    pub name: ResourceName,
    /// Its TinyBase table.
    pub table: String,
    /// The cell that holds the row's id.
    pub id: CellId,
    /// The cell that grows with each change of the row, if there is one.
    pub version: Option<CellId>,
    /// How a create can be sent twice without making two rows.
    pub create: CreateMode,
    /// Where its rows live.
    pub path: PathTemplate,
    /// Its REST routes.
    pub routes: Routes,
    /// The shape of its answers.
    pub envelope: Envelope,
    /// Its cells.
    pub schema: Schema,
    /// The questions about a list that the store can answer.
    pub query: QuerySurface,
    /// How answers are compared.
    pub compare: RuleSettings,
    /// Who may write what through sync; `None`: whoever may open the path, whatever the schema allows.
    pub write: Option<WritePermissions>,
    /// How writes that never pass crossfade are found; `None`: nobody looks for them.
    pub tail: Option<TailSpec>,
}

/// How a create is told from its own repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "kebab-case")]
pub enum CreateMode {
    /// Legacy takes the caller's id.
    #[default]
    ClientId,
    /// Legacy honours `Idempotency-Key`.
    Key,
    /// A unique cell that legacy can be asked for tells whether the create happened.
    Probe,
}

impl Resource {
    /// Whether a row cannot be without this cell, so that who clears it deletes the row: of the cells that a client may write,
    /// those that are required, and the id.
    #[must_use]
    pub fn tells_deletion(&self, spec: &CellSpec) -> bool {
        !spec.read_only && (spec.required || *spec.id == *self.id)
    }

    /// The cells that legacy makes, and the store in its place.
    pub fn made_by_legacy(&self) -> impl Iterator<Item = &CellSpec> {
        self.schema.cells().iter().filter(|spec| spec.read_only && spec.generated.is_some())
    }

    /// A row's id: the text, or the whole number in decimal digits, of its id cell.
    pub fn row_id<'a>(&self, row: impl RowView<'a>) -> Option<RowId> {
        path::key_text(row.cell(&self.id)?).map(RowId::new)
    }

    /// A row's version, if the resource has a version column and the row a value in it.
    pub fn version<'a>(&self, row: impl RowView<'a>) -> Option<Version> {
        Version::from_cell(row.cell(self.version.as_ref()?)?)
    }

    /// The body that makes the row in legacy: every cell but the read-only ones.
    pub fn create_body<'a>(&self, row: impl RowView<'a>) -> Value {
        self.schema.create_body(row)
    }

    /// The body that makes `changes` in legacy: without read-only cells and the id; a removed cell is null.
    ///
    /// `None` if nothing is left to send.
    #[must_use]
    pub fn update_body(&self, changes: &Changes) -> Option<Value> {
        let mut body = Map::new();
        for spec in self.schema.cells() {
            if spec.read_only || spec.id == self.id {
                continue;
            }
            if let Some(cell) = changes.set.get(&spec.id) {
                body.insert(spec.id.to_string(), cell.to_json());
            } else if changes.removed.contains(&spec.id) {
                body.insert(spec.id.to_string(), Value::Null);
            }
        }
        (!body.is_empty()).then_some(Value::Object(body))
    }

    /// The target of the list's page at `offset`, as large as legacy gives one, in a stable order; of the whole list if
    /// it has no pages.
    #[must_use]
    pub fn page_url(&self, offset: usize) -> String {
        let path = self.routes.list.path.as_str();
        let limit = self.query.page.as_ref().map_or(0, |page| page.max_limit);
        match self.query.page_query(offset, limit).as_str() {
            "" => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }

    /// Whether legacy chooses the ids of rows, so that one made by a client has another in legacy than in the store.
    #[must_use]
    pub fn legacy_makes_ids(&self) -> bool {
        self.create != CreateMode::ClientId
            && self.schema.cell(&self.id).is_some_and(|id| id.read_only)
    }

    /// The target of the list that asks for the row with this value in the unique cell, for [`CreateMode::Probe`]. Two rows
    /// are enough to see that it is not unique.
    #[must_use]
    pub fn probe_url(&self, sent: &Value) -> Option<String> {
        let (param, cell) = self.probe()?;
        let value = match sent.get(&*cell.id)? {
            Value::String(text) if !text.is_empty() => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair(param, &value);
        if let Some(page) = &self.query.page {
            query.append_pair(&page.limit, &page.max_limit.min(2).to_string());
        }
        Some(format!("{}?{}", self.routes.list.path.as_str(), query.finish()))
    }

    /// For [`CreateMode::Probe`]: the query parameter and the unique cell by which legacy is asked for a row.
    #[must_use]
    pub fn probe(&self) -> Option<(&str, &CellSpec)> {
        let unique = self.schema.cells().iter().filter(|cell| cell.unique && cell.id != self.id);
        unique
            .into_iter()
            .find_map(|cell| Some((self.query.eq_filter(&cell.id)?.param.as_str(), cell)))
    }
}

#[cfg(test)]
mod tests;
