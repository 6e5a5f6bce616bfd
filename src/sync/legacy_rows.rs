//! Rows in legacy's answers: read, and brought into the paths that they belong to.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use serde_json::Value;

use super::legacy_pace::LegacyPace;
use super::path::{Applied, LegacyRow, PathError, Source, Wrote};
use super::registry::PathRegistry;
use super::row_traffic::{DeletedMeanwhile, RowTraffic};
use crate::legacy::{Credentials, LegacyClient, LegacyRequest, Purpose};
use crate::migration::{Answer, Body, PathId, RowId};
use crate::resource::{PathProblem, Resource, RowCells, RowProblem};
use crate::storage::{SharedStorage, StorageError};

/// Why a row of legacy could not be brought into the store.
#[derive(Debug, thiserror::Error)]
pub enum LegacyRowError {
    /// No answer, or one that says nothing about the row.
    #[error("legacy {0}")]
    NoAnswer(String),
    /// The answer is no JSON of the configured envelope.
    #[error("the answer has not the shape that [resource.envelope] says")]
    Shape,
    /// The answer is longer than what is kept of one.
    #[error(
        "the answer is longer than [compare] max_body_bytes, or in a content coding that is not read"
    )]
    TooLong,
    /// The row does not fit the schema.
    #[error("a row does not fit [resource.cells]: {0}")]
    Row(#[from] RowProblem),
    /// The row has no id.
    #[error("a row has no id in the cell that `id` names")]
    NoId,
    /// The row belongs to no path.
    #[error("a row belongs to no path: {0}")]
    Path(#[from] PathProblem),
    /// Its URL cannot be built.
    #[error("the row's id cannot stand in a URL")]
    Url,
    /// Rows moved faster than they were read, or writes went past the mirror, in every pass.
    #[error(
        "the list would not hold still: rows were deleted faster than pages were read, or writes were not mirrored. Run it again in a quieter hour, in dualwrite or later"
    )]
    Restless,
    /// The list is not in the order that it was asked for.
    #[error(
        "the list is not sorted by `{0}`, the newest first, or no row has a time or a number in it: take `by` out of [resource.tail], or have the API sort by it"
    )]
    Unsorted(String),
    /// So many rows are gone that it may be a fault of the list's.
    #[error(
        "{gone} of the store's {rows} rows are missing in the list, more than [resource.tail] max_gone allows: none was taken out. If that is right, run `crossfade backfill`"
    )]
    TooManyGone {
        /// Rows that the store has and the list has not.
        gone: usize,
        /// Rows that the store has.
        rows: usize,
    },
    /// It could not be kept.
    #[error(transparent)]
    NotKept(#[from] PathError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl LegacyRowError {
    /// Whether it may work later: a path that was just dropped, a legacy API that is away.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::NoAnswer(_) | Self::NotKept(_) | Self::Storage(_))
    }

    /// Whether legacy has a row that the store cannot take.
    pub(super) const fn is_of_a_row(&self) -> bool {
        matches!(self, Self::Row(_) | Self::NoId | Self::Path(_))
    }
}

/// A row as legacy gave it.
#[derive(Debug, Clone)]
pub(crate) struct FoundRow {
    pub(crate) path: PathId,
    pub(crate) row: RowId,
    pub(crate) cells: RowCells,
}

/// Reads one row of a JSON answer, under legacy's ids.
fn read_row(resource: &Resource, value: &Value) -> Result<FoundRow, LegacyRowError> {
    let cells = resource.schema.row_from_json(value)?.cells;
    let row = resource.row_id(&cells).ok_or(LegacyRowError::NoId)?;
    let path = resource.path.from_row(&cells)?;
    Ok(FoundRow { path, row, cells })
}

/// A whole body as JSON.
pub(crate) fn json_of(body: &Body) -> Result<Value, LegacyRowError> {
    let Body::Whole(bytes) = body else { return Err(LegacyRowError::TooLong) };
    serde_json::from_slice(bytes).map_err(|_| LegacyRowError::Shape)
}

/// What a user's REST request asked to be written, for reading the row again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requested {
    /// The fields of its body, if they are known: a process that was killed took that with it.
    pub(crate) fields: Option<serde_json::Map<String, Value>>,
    /// When it was sent, in epoch milliseconds.
    pub(crate) sent_ms: u64,
}

impl Requested {
    /// What legacy has by now, as the answer that the request did not give: its own are the fields that are as it asked.
    fn source(&self, item: &Value) -> Source {
        let as_asked = |(name, value): &(&String, &Value)| item.get(name.as_str()) == Some(*value);
        let wrote = match &self.fields {
            Some(fields) => {
                Wrote::Cells(fields.iter().filter(as_asked).map(|(name, _)| name.clone()).collect())
            }
            None => Wrote::Changed,
        };
        Source::Request { wrote, sent_ms: self.sent_ms }
    }
}

/// What a row that was read again turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reread {
    /// Legacy has it.
    There,
    /// Legacy has it no more.
    Gone,
}

/// The way of legacy's rows into the paths.
#[derive(Debug, Clone)]
pub struct LegacyRows {
    /// The paths.
    pub registry: PathRegistry,
    /// Which path a row was last in.
    pub storage: SharedStorage,
    /// The legacy API.
    pub legacy: LegacyClient,
    /// What is happening to rows.
    pub traffic: RowTraffic,
    /// How fast legacy is read where nobody waits for it.
    pub pace: LegacyPace,
}

/// Times that a row is read again because it was deleted while it was being read.
const REREADS: u32 = 5;

impl LegacyRows {
    /// Reads one row of a JSON answer, under the ids that it and the rows that it refers to have in the store.
    pub(crate) async fn read_row(
        &self,
        resource: &Resource,
        value: &Value,
    ) -> Result<FoundRow, LegacyRowError> {
        let mut found = read_row(resource, value)?;
        let aliases = self.registry.aliases();
        found.row = aliases.row_of(resource, &found.row).await?;
        aliases.to_store(resource, &mut found.cells).await?;
        Ok(found)
    }

    /// The target of a read of one row, under the id that it has in legacy.
    async fn url_of(&self, resource: &Resource, row: &RowId) -> Result<String, LegacyRowError> {
        let legacy_id = self.registry.aliases().legacy_id(resource, row).await?;
        let id = legacy_id.as_ref().unwrap_or(row);
        resource.routes.get.path.with_id(id).ok_or(LegacyRowError::Url)
    }

    /// Brings rows into their paths. Gives how many were taken, and how many were older than what is there.
    pub(crate) async fn apply(
        &self,
        resource: &Arc<Resource>,
        rows: Vec<FoundRow>,
        source: &Source,
    ) -> Result<(u64, u64), LegacyRowError> {
        let mut by_path: BTreeMap<PathId, Vec<LegacyRow>> = BTreeMap::new();
        let mut arriving = Vec::with_capacity(rows.len());
        for found in rows {
            // A row that was deleted since the page was asked for is not taken; nor is it missed.
            match self.traffic.arrive(&resource.name, &found.row, source.sent_ms()) {
                Ok(one) => arriving.push(one),
                Err(DeletedMeanwhile) => continue,
            }
            let row = LegacyRow { row: found.row, now: Some(found.cells) };
            by_path.entry(found.path).or_default().push(row);
        }
        let (mut taken, mut stale) = (0, 0);
        for (path, rows) in by_path {
            let handle = self.registry.get(&path).await?;
            let applied = handle.apply(resource.name.clone(), rows, source.clone()).await?;
            taken += applied.iter().filter(|one| **one == Applied::Taken).count() as u64;
            stale += applied.iter().filter(|one| **one == Applied::Stale).count() as u64;
        }
        drop(arriving);
        Ok((taken, stale))
    }

    /// Brings one row into its path, and takes it out of the path that it was in before. Reads it again
    /// if it was deleted since the request was sent.
    pub(crate) async fn apply_one(
        &self,
        resource: &Arc<Resource>,
        found: FoundRow,
        source: &Source,
        now_ms: u64,
    ) -> Result<(), LegacyRowError> {
        let arriving = self.traffic.arrive(&resource.name, &found.row, source.sent_ms());
        let Ok(arriving) = arriving else {
            return self.reread(resource, found.row, now_ms).await.map(drop);
        };
        self.take_in(resource, found, source).await?;
        drop(arriving);
        Ok(())
    }

    async fn take_in(
        &self,
        resource: &Arc<Resource>,
        found: FoundRow,
        source: &Source,
    ) -> Result<(), LegacyRowError> {
        let before = self.storage.path_of_row(resource.name.clone(), found.row.clone()).await?;
        if let Some(before) = before.filter(|before| *before != found.path) {
            self.remove_from(resource, &before, found.row.clone(), source).await?;
        }
        let handle = self.registry.get(&found.path).await?;
        let row = LegacyRow { row: found.row, now: Some(found.cells) };
        handle.apply(resource.name.clone(), vec![row], source.clone()).await?;
        Ok(())
    }

    /// Takes a row out of the path that it is in, if it is in one.
    pub(crate) async fn remove(
        &self,
        resource: &Arc<Resource>,
        row: RowId,
        source: &Source,
    ) -> Result<(), LegacyRowError> {
        // What is on its way in must be in before it is looked for.
        self.traffic.settled(&resource.name, &row).await;
        let (name, id) = (resource.name.clone(), row.clone());
        let path = match self.storage.path_of_row(name.clone(), id.clone()).await? {
            Some(path) => Some(path),
            // Legacy had it, so it was made there, and that answer was lost: without this, it would be made anew.
            None if matches!(source, Source::Request { .. }) => {
                self.storage.path_of_owed_row(name, id).await?
            }
            // It may not have been made yet.
            None => None,
        };
        match path {
            Some(path) => self.remove_from(resource, &path, row, source).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn remove_from(
        &self,
        resource: &Arc<Resource>,
        path: &PathId,
        row: RowId,
        source: &Source,
    ) -> Result<(), LegacyRowError> {
        let handle = self.registry.get(path).await?;
        let gone = LegacyRow { row, now: None };
        handle.apply(resource.name.clone(), vec![gone], source.clone()).await?;
        Ok(())
    }

    /// Takes a row out of a path where the list has it in another one, unless it has come back since that was read.
    pub(super) async fn remove_if_moved(
        &self,
        resource: &Arc<Resource>,
        path: &PathId,
        row: RowId,
        asked_ms: u64,
    ) -> Result<(), LegacyRowError> {
        if self.look(resource, path, &row).await?.is_some() {
            return Ok(());
        }
        self.remove_from(resource, path, row, &Source::Read { asked_ms }).await
    }

    /// Asks legacy for a row, and brings what it says into the store.
    pub(crate) async fn reread(
        &self,
        resource: &Arc<Resource>,
        row: RowId,
        asked_ms: u64,
    ) -> Result<Reread, LegacyRowError> {
        self.reread_for(resource, row, asked_ms, &[]).await
    }

    /// The same, for requests that wrote the row and gave no answer that says how: a cell that one of them wrote is newer
    /// than an owed edit from before it was sent.
    pub(crate) async fn reread_for(
        &self,
        resource: &Arc<Resource>,
        row: RowId,
        asked_ms: u64,
        requested: &[Requested],
    ) -> Result<Reread, LegacyRowError> {
        let row = self.registry.aliases().row_of(resource, &row).await?;
        let path = self.url_of(resource, &row).await?;
        let source = Source::Read { asked_ms };
        for _ in 0..REREADS {
            let answer = self.ask(path.clone(), Purpose::Reread).await?;
            match answer.status.as_u16() {
                200..=299 => {
                    let body = json_of(&answer.body)?;
                    let item = resource.envelope.item(&body).ok_or(LegacyRowError::Shape)?;
                    let found = self.read_row(resource, item).await?;
                    // Deleted while it was being read: it is asked for once more.
                    if let Ok(arriving) = self.traffic.arrive(&resource.name, &found.row, asked_ms)
                    {
                        for one in requested {
                            self.take_in(resource, found.clone(), &one.source(item)).await?;
                        }
                        self.take_in(resource, found, &source).await?;
                        drop(arriving);
                        return Ok(Reread::There);
                    }
                }
                404 | 410 if self.traffic.made_since(&resource.name, &row, asked_ms) => {
                    let made_since = "had not yet made the row that it is asked for once more";
                    return Err(LegacyRowError::NoAnswer(made_since.to_owned()));
                }
                404 | 410 => {
                    self.remove(resource, row, &source).await?;
                    return Ok(Reread::Gone);
                }
                status => return Err(LegacyRowError::NoAnswer(format!("answered {status}"))),
            }
        }
        Err(LegacyRowError::NoAnswer("showed a row that it also said to have deleted".to_owned()))
    }

    /// What legacy has of a row that belongs to this path; nothing of it is brought into the store.
    pub(crate) async fn look(
        &self,
        resource: &Arc<Resource>,
        path: &PathId,
        row: &RowId,
    ) -> Result<Option<RowCells>, LegacyRowError> {
        let url = self.url_of(resource, row).await?;
        let answer = self.ask(url, Purpose::Reconcile).await?;
        match answer.status.as_u16() {
            200..=299 => {
                let body = json_of(&answer.body)?;
                let item = resource.envelope.item(&body).ok_or(LegacyRowError::Shape)?;
                let found = self.read_row(resource, item).await?;
                // A row of another path, or one that legacy gives under another name, is no row of this one.
                let here = found.path == *path && found.row == *row;
                Ok(here.then_some(found.cells))
            }
            404 | 410 => Ok(None),
            status => Err(LegacyRowError::NoAnswer(format!("answered {status}"))),
        }
    }

    /// Makes the store's copy of a row what legacy has, whatever the store took it from, except for cells that are
    /// owed. Gives whether it was done: not, if a newer answer was there first.
    pub(crate) async fn take_over(
        &self,
        resource: &Arc<Resource>,
        path: &PathId,
        row: RowId,
        asked_ms: u64,
    ) -> Result<bool, LegacyRowError> {
        let now = self.look(resource, path, &row).await?;
        let Ok(arriving) = self.traffic.arrive(&resource.name, &row, asked_ms) else {
            return Ok(false);
        };
        let source = Source::Repair { asked_ms };
        let handle = self.registry.get(path).await?;
        let row = LegacyRow { row, now };
        let applied = handle.apply(resource.name.clone(), vec![row], source).await?;
        drop(arriving);
        Ok(applied.iter().all(|one| *one == Applied::Taken))
    }

    /// Asks legacy with crossfade's own credential.
    pub(crate) async fn ask(
        &self,
        path_and_query: String,
        purpose: Purpose,
    ) -> Result<Answer, LegacyRowError> {
        if purpose.is_bulk() {
            self.pace.turn().await;
        }
        let request = LegacyRequest {
            method: Method::GET,
            path_and_query,
            body: None,
            purpose,
            credentials: Credentials::Service,
            idempotency_key: None,
        };
        let outcome = self.legacy.ask(request).await.outcome;
        outcome.map_err(|failure| LegacyRowError::NoAnswer(failure.to_string()))
    }
}
