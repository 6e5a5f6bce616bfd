//! The query surface: the questions about a list that the store can answer.

use super::{CellId, CellType, Collation, IndexSpec, Nulls, Schema};

/// What a filter asks of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Equal.
    Eq,
    /// Equal to one of several, separated by commas.
    In,
    /// Less than.
    Lt,
    /// Less than or equal.
    Le,
    /// Greater than.
    Gt,
    /// Greater than or equal.
    Ge,
    /// Contains, A-Z and a-z being equal.
    Contains,
}

impl Op {
    /// The word used in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::In => "in",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Contains => "contains",
        }
    }

    /// Whether the operator can be asked of cells of the type.
    #[must_use]
    pub const fn fits(self, kind: CellType) -> bool {
        match kind {
            CellType::String => true,
            CellType::Number => !matches!(self, Self::Contains),
            CellType::Boolean => matches!(self, Self::Eq | Self::In),
            CellType::Json => false,
        }
    }
}

/// One query parameter that filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterSpec {
    /// The parameter's name.
    pub param: String,
    /// The cell that it asks about.
    pub cell: CellId,
    /// What it asks.
    pub op: Op,
}

/// One key of a sort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// The cell.
    pub cell: CellId,
    /// Greatest first.
    pub descending: bool,
}

/// How a list is sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortSpec {
    /// The parameter's name (`sort=-age,name`); `None` where the caller has no choice.
    pub param: Option<String>,
    /// The cells that the parameter may name.
    pub keys: Vec<CellId>,
    /// The sort without the parameter.
    pub default: Vec<SortKey>,
    /// The cell, unique, that decides between rows equal in all keys; always ascending.
    pub tie_breaker: CellId,
    /// How strings compare.
    pub collation: Collation,
    /// Where null stands.
    pub nulls: Nulls,
}

impl SortSpec {
    /// How strings of a cell compare. The tie-breaker's always do by their bytes: under another collation they might not
    /// tell two rows apart.
    #[must_use]
    pub fn collation_of(&self, cell: &str) -> Collation {
        if *self.tie_breaker == *cell { Collation::Binary } else { self.collation }
    }
}

/// How a list is paged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageSpec {
    /// The parameter for the number of rows.
    pub limit: String,
    /// The parameter for the number of rows to skip.
    pub offset: String,
    /// The number of rows without the parameter.
    pub default_limit: usize,
    /// The greatest number of rows that legacy gives.
    pub max_limit: usize,
}

/// All questions about a list that the store can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuerySurface {
    /// The filters. All given ones must hold.
    pub filters: Vec<FilterSpec>,
    /// The sort.
    pub sort: SortSpec,
    /// The paging; `None` if a list is always whole.
    pub page: Option<PageSpec>,
    /// The indexes that answer lists without a pass over all rows.
    pub indexes: Vec<IndexSpec>,
}

impl QuerySurface {
    /// The query string that reads a page of all rows in a stable order, to be put after `?`; empty without paging.
    #[must_use]
    pub fn page_query(&self, offset: usize, limit: usize) -> String {
        let Some(page) = &self.page else { return String::new() };
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair(&page.limit, &limit.min(page.max_limit).to_string());
        query.append_pair(&page.offset, &offset.to_string());
        if let Some(param) = &self.sort.param
            && self.sort.keys.contains(&self.sort.tie_breaker)
        {
            query.append_pair(param, &self.sort.tie_breaker);
        }
        query.finish()
    }

    /// The filter that finds rows by the exact value of a cell.
    #[must_use]
    pub fn eq_filter(&self, cell: &str) -> Option<&FilterSpec> {
        self.filters.iter().find(|filter| filter.op == Op::Eq && &*filter.cell == cell)
    }
}

/// Reads `-age,name`: the cells in order of weight, `-` before those that go downwards.
///
/// # Errors
/// The first part that is empty, or names a cell that `known` denies, or one named before.
pub fn parse_sort(text: &str, known: impl Fn(&str) -> bool) -> Result<Vec<SortKey>, String> {
    let mut keys: Vec<SortKey> = Vec::new();
    for part in text.split(',') {
        let (cell, descending) = part.strip_prefix('-').map_or((part, false), |cell| (cell, true));
        if !known(cell) || keys.iter().any(|key| &*key.cell == cell) {
            return Err(part.to_owned());
        }
        keys.push(SortKey { cell: cell.into(), descending });
    }
    Ok(keys)
}

/// Whether a sort can be made by the cell: any but `json`, whose text in legacy's database is not known.
#[must_use]
pub fn is_sortable(schema: &Schema, cell: &str) -> bool {
    schema.cell(cell).is_some_and(|spec| spec.kind != CellType::Json)
}
