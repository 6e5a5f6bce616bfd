//! The store's answer to a REST read, in the legacy API's own shape.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::identity::Identity;
use crate::migration::{Answer, Body, Observation, OperationKind, Origin, RowId};
use crate::resource::{
    ClaimName, ListQuery, Resource, StoreRow, Unanswerable, parse_get_query, store_rows,
};
use crate::storage::StorageError;
use crate::sync::{Aliases, CaughtUp, PathRegistry, PathView};

/// A question that a store may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadQuestion {
    /// A list; the raw query string.
    List(String),
    /// One row; the raw query string.
    Get(RowId, String),
}

impl ReadQuestion {
    /// The question that an operation asks, if it is a read.
    #[must_use]
    pub fn of(kind: &OperationKind) -> Option<Self> {
        match kind {
            OperationKind::List { query } => Some(Self::List(query.clone())),
            OperationKind::Get { row, query } => Some(Self::Get(row.clone(), query.clone())),
            OperationKind::Write(_) => None,
        }
    }
}

/// For whom the store is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFor {
    /// The caller, who must see every write that was acknowledged: not while a mirror is under way.
    Caller,
    /// A comparison, which tells lag by reading again.
    Comparison,
}

/// Why the store does not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoStoreAnswer {
    /// The backfill is not finished.
    #[error("the store is not caught up: run `crossfade backfill`")]
    NotCaughtUp,
    /// A write has reached legacy and not the store yet.
    #[error("a write is on its way into the store")]
    MirrorUnderWay,
    /// The session names no path of the resource.
    #[error("the session has no right to a path of this resource")]
    NoPath,
    /// The query is not mapped.
    #[error(transparent)]
    Query(#[from] Unanswerable),
    /// The store has no such row; only legacy can say what that means to the caller.
    #[error("the store has no such row")]
    NoRow,
    /// It took longer than the deadline.
    #[error("the store gave no answer within {0:?}")]
    Deadline(Duration),
    /// The path could not be loaded or read.
    #[error("the path cannot be read: {0}")]
    Path(String),
}

impl NoStoreAnswer {
    /// A word from a small fixed set, fit for a metric's label and for reports.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotCaughtUp => "not-caught-up",
            Self::MirrorUnderWay => "mirror-under-way",
            Self::NoPath => "no-path",
            Self::Query(query) => query.reason(),
            Self::NoRow => "no-row",
            Self::Deadline(_) => "deadline",
            Self::Path(_) => "path",
        }
    }
}

/// Reads stores.
#[derive(Debug, Clone)]
pub struct StoreReader {
    registry: PathRegistry,
    caught_up: CaughtUp,
    deadline: Duration,
}

enum Ask {
    List(ListQuery),
    Get(RowId),
}

impl StoreReader {
    /// A reader of the registry's paths; a read over `deadline` is given up.
    #[must_use]
    pub const fn new(registry: PathRegistry, caught_up: CaughtUp, deadline: Duration) -> Self {
        Self { registry, caught_up, deadline }
    }

    /// Which rows have another id in legacy.
    #[must_use]
    pub fn aliases(&self) -> &Aliases {
        self.registry.aliases()
    }

    /// The store's answer, with the time it took.
    ///
    /// # Errors
    /// [`NoStoreAnswer`] says why there is none.
    pub async fn read(
        &self,
        resource: &Arc<Resource>,
        question: &ReadQuestion,
        identity: &Identity,
        reading_for: ReadFor,
    ) -> Result<Observation, NoStoreAnswer> {
        let started = Instant::now();
        if !self.caught_up.is(&resource.name) {
            return Err(NoStoreAnswer::NotCaughtUp);
        }
        let mut ask = match question {
            ReadQuestion::List(raw) => {
                Ask::List(ListQuery::parse(raw, &resource.query, &resource.schema)?)
            }
            ReadQuestion::Get(row, raw) => {
                parse_get_query(raw)?;
                Ask::Get(row.clone())
            }
        };
        let path = resource
            .path
            .from_claims(|claim| claim_of(identity, claim))
            .map_err(|_| NoStoreAnswer::NoPath)?;
        if reading_for == ReadFor::Caller && !self.caught_up.may_answer(&resource.name, &path) {
            return Err(NoStoreAnswer::MirrorUnderWay);
        }
        let reading = async {
            let unreadable = |e: &dyn std::fmt::Display| NoStoreAnswer::Path(e.to_string());
            self.as_in_store(resource, &mut ask).await.map_err(|e| unreadable(&e))?;
            let handle = self.registry.get(&path).await.map_err(|e| unreadable(&e))?;
            let of = resource.clone();
            let body = handle.view(move |path| body(path, &of, &ask)).await;
            let Some(mut body) = body.map_err(|e| unreadable(&e))? else {
                return Ok::<_, NoStoreAnswer>(None);
            };
            let shown = self.as_in_legacy(resource, question, &mut body).await;
            shown.map_err(|e| unreadable(&e))?;
            Ok(Some(Bytes::from(body.to_string())))
        };
        let body = tokio::time::timeout(self.deadline, reading)
            .await
            .map_err(|_| NoStoreAnswer::Deadline(self.deadline))??
            .ok_or(NoStoreAnswer::NoRow)?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        headers.insert(header::VARY, HeaderValue::from_static("authorization, cookie"));
        let answer = Answer { status: StatusCode::OK, headers, body: Body::Whole(body) };
        Ok(Observation { origin: Origin::Sync, outcome: Ok(answer), latency: started.elapsed() })
    }
}

impl StoreReader {
    /// A question under the ids that rows have in the store.
    async fn as_in_store(&self, resource: &Resource, ask: &mut Ask) -> Result<(), StorageError> {
        match ask {
            Ask::Get(row) => *row = self.aliases().row_of(resource, row).await?,
            Ask::List(query) => self.aliases().question_to_store(resource, query).await?,
        }
        Ok(())
    }

    /// An answer under the ids that rows have in legacy. A row's own is in its id cell; here are those to which it refers.
    async fn as_in_legacy(
        &self,
        resource: &Resource,
        question: &ReadQuestion,
        body: &mut Value,
    ) -> Result<(), StorageError> {
        if !self.aliases().refers(resource) {
            return Ok(());
        }
        let rows = match question {
            ReadQuestion::List(_) => resource.envelope.rows_mut(body),
            ReadQuestion::Get(..) => resource.envelope.item_mut(body).map(std::slice::from_mut),
        };
        for row in rows.unwrap_or_default() {
            self.aliases().to_legacy(resource, row).await?;
        }
        Ok(())
    }
}

/// A claim of the identity, by the name that templates use.
#[must_use]
pub fn claim_of(identity: &Identity, claim: ClaimName) -> Option<&str> {
    match claim {
        ClaimName::OrgId => identity.org_id.as_deref(),
        ClaimName::OrgSlug => identity.org_slug.as_deref(),
        ClaimName::UserId => Some(identity.user.as_str()),
    }
}

fn body(path: PathView<'_>, resource: &Resource, ask: &Ask) -> Option<Value> {
    let (store, table) = (path.store, resource.table.as_str());
    Some(match ask {
        Ask::Get(row) => resource.answer_get(StoreRow::of(store, table, row.as_str())?, row),
        Ask::List(query) => {
            let indexes = path.indexes.of(&resource.name);
            let indexed = indexes.and_then(|indexes| indexes.answer(resource, store, query));
            let by = if indexed.is_some() { "index" } else { "scan" };
            let resource_name = resource.name.to_string();
            metrics::counter!("crossfade_store_lists_total", "resource" => resource_name, "by" => by)
                .increment(1);
            indexed.unwrap_or_else(|| resource.answer_list(store_rows(store, table), query))
        }
    })
}
