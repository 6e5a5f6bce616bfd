//! The questions about a list that the store can answer.

use std::collections::BTreeMap;

use crate::resource::{
    CellId, CellType, FilterSpec, PageSpec, QuerySurface, SortKey, SortSpec, parse_sort,
};

use super::super::key::Key;
use super::super::raw;
use super::Checker;
use super::rows::Cells;

/// Query parameters by name, each with the key that maps it.
type Params = BTreeMap<String, Key>;

/// Far over what an API gives at once, and little enough for one answer in memory.
const MAX_LIMIT: u64 = 10_000;

impl Checker<'_> {
    pub(super) fn query(
        &mut self,
        key: &Key,
        raw: raw::Query,
        id: Option<&CellId>,
        cells: &Cells<'_>,
    ) -> Option<QuerySurface> {
        let mut params = Params::new();
        let mut filters = Vec::new();
        for (place, raw) in raw.filters.unwrap_or_default().into_iter().enumerate() {
            filters.push(self.filter(&key.field("filters").index(place), raw, cells, &mut params));
        }
        let sort =
            self.sort(&key.field("sort"), raw.sort.unwrap_or_default(), id, cells, &mut params);
        let page = raw.page.map(|page| self.page(&key.field("page"), page, &mut params));
        let filters: Option<Vec<FilterSpec>> = filters.into_iter().collect();
        let (filters, sort) = (filters?, sort?);
        let indexes = raw.indexes.unwrap_or_default();
        let indexes = self.indexes(&key.field("indexes"), indexes, (&filters, &sort), cells);
        Some(QuerySurface {
            filters,
            sort,
            page: page.map_or(Some(None), |page| page.map(Some))?,
            indexes: indexes?,
        })
    }

    fn filter(
        &mut self,
        key: &Key,
        raw: raw::Filter,
        cells: &Cells<'_>,
        params: &mut Params,
    ) -> Option<FilterSpec> {
        let param = self.param(&key.field("param"), raw.param, "", params);
        let cell_key = key.field("cell");
        let cell = self.require(&cell_key, raw.cell, "name the cell that it asks about");
        let op_key = key.field("op");
        let op = self.require(&op_key, raw.op, "write eq, in, lt, le, gt, ge or contains");
        let spec = self.known(&cell_key, &cell?, cells)?;
        let op = op?;
        if !op.fits(spec.kind) {
            self.report(
                &op_key,
                format!("cells.{} is a {}, which has no `{}`", spec.id, spec.kind, op.as_str()),
            );
            return None;
        }
        Some(FilterSpec { param: param?, cell: spec.id.clone(), op })
    }

    fn sort(
        &mut self,
        key: &Key,
        raw: raw::Sort,
        id: Option<&CellId>,
        cells: &Cells<'_>,
        params: &mut Params,
    ) -> Option<SortSpec> {
        let param = match raw.param {
            Some(param) => Some(self.param(&key.field("param"), Some(param), "", params)?),
            None => None,
        };
        let keys_key = key.field("keys");
        let raw_keys = raw.keys.unwrap_or_default();
        if param.is_some() && raw_keys.is_empty() {
            self.report(&keys_key, "is missing: list the cells that `param` may name");
        }
        let mut keys = Vec::new();
        for (place, name) in raw_keys.iter().enumerate() {
            keys.push(self.sortable(&keys_key.index(place), name, cells));
        }
        let tie_breaker = self.tie_breaker(&key.field("tie_breaker"), raw.tie_breaker, id, cells);
        let default = self.default_sort(&key.field("default"), raw.default, cells);
        let tie_breaker = tie_breaker?;
        Some(SortSpec {
            param,
            keys: keys.into_iter().collect::<Option<_>>()?,
            default: default?
                .unwrap_or_else(|| vec![SortKey { cell: tie_breaker.clone(), descending: false }]),
            tie_breaker,
            collation: raw.collation.unwrap_or_default(),
            nulls: raw.nulls.unwrap_or_default(),
        })
    }

    pub(super) fn sortable(&mut self, key: &Key, name: &str, cells: &Cells<'_>) -> Option<CellId> {
        let spec = self.known(key, name, cells)?;
        if spec.kind == CellType::Json {
            self.report(key, format!("cells.{name} is json, which has no order"));
            return None;
        }
        Some(spec.id.clone())
    }

    fn tie_breaker(
        &mut self,
        key: &Key,
        value: Option<String>,
        id: Option<&CellId>,
        cells: &Cells<'_>,
    ) -> Option<CellId> {
        let Some(name) = value else { return id.cloned() };
        let spec = self.known(key, &name, cells)?;
        if id.is_some_and(|id| *id != spec.id) && (!spec.unique || spec.nullable) {
            self.report(
                key,
                format!(
                    "must tell any two rows apart: use the id, or give cells.{name} unique = true"
                ),
            );
            return None;
        }
        Some(spec.id.clone())
    }

    /// The outer `None` is a problem, the inner one no default.
    fn default_sort(
        &mut self,
        key: &Key,
        value: Option<String>,
        cells: &Cells<'_>,
    ) -> Option<Option<Vec<SortKey>>> {
        let Some(text) = value else { return Some(None) };
        self.sort_keys(key, &text, cells).map(Some)
    }

    /// A sort as in `-createdAt,name`.
    pub(super) fn sort_keys(
        &mut self,
        key: &Key,
        text: &str,
        cells: &Cells<'_>,
    ) -> Option<Vec<SortKey>> {
        let keys = parse_sort(text, |name| !name.is_empty());
        let keys = self.accept(
            key,
            keys.map_err(|part| {
                format!(
                    "`{part}` is no cell, or is named twice: write it as in \"-createdAt,name\""
                )
            }),
        )?;
        for sort_key in &keys {
            self.sortable(key, &sort_key.cell, cells)?;
        }
        Some(keys)
    }

    fn page(&mut self, key: &Key, raw: raw::Page, params: &mut Params) -> Option<PageSpec> {
        let limit = self.param(&key.field("limit"), raw.limit, "limit", params);
        let offset = self.param(&key.field("offset"), raw.offset, "offset", params);
        let max_limit = self.number(&key.field("max_limit"), raw.max_limit, 100, (1, MAX_LIMIT));
        let default_key = key.field("default_limit");
        let default_limit =
            self.number(&default_key, raw.default_limit, 20.min(max_limit), (1, MAX_LIMIT));
        if default_limit > max_limit {
            self.report(&default_key, format!("is over max_limit ({max_limit})"));
        }
        Some(PageSpec {
            limit: limit?,
            offset: offset?,
            default_limit: usize::try_from(default_limit).unwrap_or(usize::MAX),
            max_limit: usize::try_from(max_limit).unwrap_or(usize::MAX),
        })
    }

    /// A query parameter's name, that no other key maps; required where there is no default.
    fn param(
        &mut self,
        key: &Key,
        value: Option<String>,
        default: &str,
        params: &mut Params,
    ) -> Option<String> {
        let value = value.or_else(|| (!default.is_empty()).then(|| default.to_owned()));
        let value = self.require(key, value, "name the query parameter")?;
        if value.is_empty() {
            self.report(key, "is empty: name the query parameter");
            return None;
        }
        if let Some(other) = params.get(&value) {
            let other = self.source.problem(other, "").key;
            self.report(key, format!("the query parameter `{value}` is mapped by {other} already"));
            return None;
        }
        params.insert(value.clone(), key.clone());
        Some(value)
    }
}
