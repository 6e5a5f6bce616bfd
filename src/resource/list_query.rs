//! A list request's query string, read as a question to the store, or refused as one for legacy.

use super::decode::form;
use super::order::{compare, contains_nocase};
use super::surface::{FilterSpec, PageSpec, QuerySurface, SortKey, parse_sort};
use super::{Cell, CellId, CellRef, CellSpec, CellType, Collation, Nulls, Op, RowView, Schema};

/// A question about a list that the store can answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ListQuery {
    pub(super) filters: Vec<Filter>,
    /// The keys of the sort, in order of weight; the last one is the tie-breaker.
    pub sort: Vec<SortKey>,
    collation: Collation,
    tie_breaker: CellId,
    /// Where null stands in the sort.
    pub nulls: Nulls,
    /// Rows to skip.
    pub offset: usize,
    /// Rows to give; `None` gives all.
    pub limit: Option<usize>,
}

/// Why a request cannot be answered from the store, and goes to legacy. Values are not told: they may be personal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// A parameter that is not mapped. Its name is the caller's: no label for a metric.
    #[error("the query parameter `{0}` is not mapped")]
    UnknownParameter(String),
    /// A parameter given twice.
    #[error("the query parameter `{0}` is given more than once")]
    Repeated(String),
    /// A parameter with an empty value, which some APIs ignore and others compare with.
    #[error("the query parameter `{0}` is empty")]
    Empty(String),
    /// A query string that is not well encoded.
    #[error("the query string is not well encoded")]
    Encoding,
    /// A value that does not fit the cell's type, or that its `enum` does not list.
    #[error("the value of `{param}` is no {expected}")]
    BadValue {
        /// The parameter.
        param: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A sort by a cell that may not be sorted by, or named twice.
    #[error("the value of `{0}` names a cell that cannot be sorted by")]
    Unsortable(String),
    /// More rows than legacy gives at once.
    #[error("the value of `{param}` is over {max}")]
    OverLimit {
        /// The parameter.
        param: String,
        /// The greatest value.
        max: usize,
    },
}

impl Unanswerable {
    /// A word from a small fixed set, fit for a metric's label.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::UnknownParameter(_) => "unknown-parameter",
            Self::Repeated(_) => "repeated-parameter",
            Self::Empty(_) => "empty-parameter",
            Self::Encoding => "encoding",
            Self::BadValue { .. } => "bad-value",
            Self::Unsortable(_) => "unsortable",
            Self::OverLimit { .. } => "over-limit",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filter {
    pub(super) cell: CellId,
    pub(super) test: Test,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    In(Vec<Cell>),
    Lt(Cell),
    Le(Cell),
    Gt(Cell),
    Ge(Cell),
    Contains(String),
}

impl ListQuery {
    /// Reads a raw query string (without `?`), percent-encoded as forms are.
    ///
    /// # Errors
    /// [`Unanswerable`] for everything whose meaning in legacy is not certain.
    pub fn parse(raw: &str, surface: &QuerySurface, schema: &Schema) -> Result<Self, Unanswerable> {
        let mut query = Self {
            filters: Vec::new(),
            sort: surface.sort.default.clone(),
            collation: surface.sort.collation,
            tie_breaker: surface.sort.tie_breaker.clone(),
            nulls: surface.sort.nulls,
            offset: 0,
            limit: surface.page.as_ref().map(|page| page.default_limit),
        };
        for (param, value) in parameters(raw)? {
            query.take(&param, &value, surface, schema)?;
        }
        if !query.sort.iter().any(|key| key.cell == query.tie_breaker) {
            query.sort.push(SortKey { cell: query.tie_breaker.clone(), descending: false });
        }
        Ok(query)
    }

    fn take(
        &mut self,
        param: &str,
        value: &str,
        surface: &QuerySurface,
        schema: &Schema,
    ) -> Result<(), Unanswerable> {
        if let Some(spec) = surface.filters.iter().find(|filter| filter.param == param)
            && let Some(cell) = schema.cell(&spec.cell)
        {
            self.filters.push(Filter { cell: spec.cell.clone(), test: test(spec, cell, value)? });
        } else if surface.sort.param.as_deref() == Some(param) {
            let sortable = |cell: &str| surface.sort.keys.iter().any(|key| &**key == cell);
            self.sort = parse_sort(value, sortable)
                .map_err(|_| Unanswerable::Unsortable(param.to_owned()))?;
        } else if let Some(page) = &surface.page {
            self.take_page(param, value, page)?;
        } else {
            return Err(Unanswerable::UnknownParameter(param.to_owned()));
        }
        Ok(())
    }

    fn take_page(&mut self, param: &str, value: &str, page: &PageSpec) -> Result<(), Unanswerable> {
        let bad = |expected| Unanswerable::BadValue { param: param.to_owned(), expected };
        if param == page.limit {
            let limit =
                whole(value).filter(|&n| n > 0).ok_or_else(|| bad("whole number above 0"))?;
            if limit > page.max_limit {
                let max = page.max_limit;
                return Err(Unanswerable::OverLimit { param: param.to_owned(), max });
            }
            self.limit = Some(limit);
        } else if param == page.offset {
            self.offset = whole(value).ok_or_else(|| bad("whole number"))?;
        } else {
            return Err(Unanswerable::UnknownParameter(param.to_owned()));
        }
        Ok(())
    }

    /// The values that filters want a cell to equal.
    pub fn equal_values_mut(&mut self, cell: &str) -> impl Iterator<Item = &mut Cell> {
        let of_cell = self.filters.iter_mut().filter(move |filter| *filter.cell == *cell);
        let values = of_cell.filter_map(|filter| match &mut filter.test {
            Test::In(values) => Some(values),
            _ => None,
        });
        values.flatten()
    }

    /// How strings compare in a key of the sort. The tie-breaker's always do by their bytes: under another collation
    /// they might not tell two rows apart.
    #[must_use]
    pub fn collation(&self, key: &SortKey) -> Collation {
        if key.cell == self.tie_breaker { Collation::Binary } else { self.collation }
    }

    /// Whether the row passes all filters. As in SQL, no filter is passed by null.
    #[must_use]
    pub fn admits<'a>(&self, row: &impl RowView<'a>) -> bool {
        self.filters
            .iter()
            .all(|filter| row.cell(&filter.cell).is_some_and(|cell| filter.test.passes(cell)))
    }
}

/// Reads the query string of a request for one row, none of whose parameters can be mapped.
///
/// # Errors
/// [`Unanswerable`] if there is any parameter.
pub fn parse_get_query(raw: &str) -> Result<(), Unanswerable> {
    match parameters(raw)?.into_iter().next() {
        Some((param, _)) => Err(Unanswerable::UnknownParameter(param)),
        None => Ok(()),
    }
}

fn parameters(raw: &str) -> Result<Vec<(String, String)>, Unanswerable> {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = form(name).ok_or(Unanswerable::Encoding)?;
        let value = form(value).ok_or(Unanswerable::Encoding)?;
        if parameters.iter().any(|(known, _)| *known == name) {
            return Err(Unanswerable::Repeated(name));
        }
        if value.is_empty() {
            return Err(Unanswerable::Empty(name));
        }
        parameters.push((name, value));
    }
    Ok(parameters)
}

fn test(spec: &FilterSpec, cell: &CellSpec, value: &str) -> Result<Test, Unanswerable> {
    let read = |value: &str| {
        let bad = |expected| Unanswerable::BadValue { param: spec.param.clone(), expected };
        read_value(cell, value).map_err(bad)
    };
    Ok(match spec.op {
        Op::Eq => Test::In(vec![read(value)?]),
        Op::In => Test::In(value.split(',').map(read).collect::<Result<_, _>>()?),
        Op::Lt => Test::Lt(read(value)?),
        Op::Le => Test::Le(read(value)?),
        Op::Gt => Test::Gt(read(value)?),
        Op::Ge => Test::Ge(read(value)?),
        Op::Contains => Test::Contains(value.to_owned()),
    })
}

impl Test {
    fn passes(&self, cell: CellRef<'_>) -> bool {
        if cell == CellRef::Null {
            return false;
        }
        let to =
            |other: &Cell| compare(Some(cell), Some(other.view()), Collation::Binary, Nulls::First);
        match self {
            Self::In(values) => values.iter().any(|value| to(value).is_eq()),
            Self::Lt(bound) => to(bound).is_lt(),
            Self::Le(bound) => to(bound).is_le(),
            Self::Gt(bound) => to(bound).is_gt(),
            Self::Ge(bound) => to(bound).is_ge(),
            Self::Contains(needle) => match cell {
                CellRef::String(text) => contains_nocase(text.as_wtf8(), needle.as_bytes()),
                _ => false,
            },
        }
    }
}

/// A parameter's value as a cell of the type; the error says what was expected.
fn read_value(cell: &CellSpec, value: &str) -> Result<Cell, &'static str> {
    match cell.kind {
        CellType::String if value.is_empty() => Err("text"),
        CellType::String if !cell.allows(Some(value)) => Err("allowed value"),
        CellType::String => Ok(Cell::String(value.into())),
        CellType::Number => number(value).map(Cell::Number).ok_or("plain decimal number"),
        CellType::Boolean => match value {
            "true" => Ok(Cell::Bool(true)),
            "false" => Ok(Cell::Bool(false)),
            _ => Err("`true` or `false`"),
        },
        CellType::Json => Err("value that can be compared"),
    }
}

/// `-12.5`; neither `1e3` nor ` 1` nor `0x1`, which not every parser takes for the same number.
fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if plain(whole) && plain(fraction) {
        text.parse().ok().filter(|n: &f64| n.is_finite())
    } else {
        None
    }
}

/// A whole number in at most 15 decimal digits.
fn whole(text: &str) -> Option<usize> {
    let plain = (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}
