//! REST writes that the store answers (stage `rampdown` and later): read, placed, done in the path, and owed to legacy.
//!
//! A write is done by one side first, never by both: what is not for the store says so before anything has happened, and goes
//! to legacy with an intent, as up to `live`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::caught_up::CaughtUp;
use super::path::{PathError, StoreDeed, StoreRefusal, StoreWrite, StoreWritten};
use super::policy::Writer;
use super::registry::PathRegistry;
use crate::clock::{SharedClock, SharedEntropy};
use crate::migration::{PathId, ResourceName, RowId, WriteKind};
use crate::resource::{CreateMode, FieldsProblem, NewId, Resource, RowCells};
use crate::storage::{EntryState, SharedStorage, StorageError};

/// How long a path may take to be loaded for a write, as for a read.
const LOAD_WAIT: Duration = Duration::from_secs(2);
/// How long a write that has to go to legacy waits for what legacy is owed of its row; and between two looks.
const OWED_WAIT: Duration = Duration::from_secs(2);
const OWED_LOOK: Duration = Duration::from_millis(25);
/// How many wait at most. One more is told at once whether something is owed.
const MAX_WAITS: usize = 256;

/// A user's REST write.
#[derive(Debug)]
pub struct RestWrite {
    /// The resource.
    pub resource: Arc<Resource>,
    /// What is asked.
    pub kind: WriteKind,
    /// The fields of its body; none for a delete.
    pub fields: Map<String, Value>,
    /// The path that the user may open.
    pub path: PathId,
    /// Who asks.
    pub writer: Arc<Writer>,
    /// Names the request, where its sender may send it again.
    pub key: Option<String>,
}

/// The store's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreAnswer {
    /// The row is made, and this.
    Created(RowId, RowCells),
    /// The same request made it before; it is this now.
    Repeated(RowId, RowCells),
    /// The row is changed, and this.
    Updated(RowCells),
    /// The row is gone.
    Deleted,
    /// It is not allowed; nothing has happened.
    Refused(StoreRefusal),
    /// A field breaks the schema; nothing has happened. The text is for people.
    Invalid(String),
    /// It could not be kept: nothing has happened, or nobody knows. The text is for people.
    NotKept(String),
}

impl StoreAnswer {
    /// A word from a small fixed set, fit for a metric's label.
    const fn outcome(&self) -> &'static str {
        match self {
            Self::Created(..) => "created",
            Self::Repeated(..) => "repeated",
            Self::Updated(_) => "updated",
            Self::Deleted => "deleted",
            Self::Refused(_) | Self::Invalid(_) => "refused",
            Self::NotKept(_) => "not-kept",
        }
    }
}

/// The store does not answer, and nothing has happened: legacy is to be asked. The word is one of a small fixed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elsewhere(pub &'static str);

/// Writes into stores on behalf of REST callers.
#[derive(Debug, Clone)]
pub struct StoreWriter {
    /// The paths.
    pub registry: PathRegistry,
    /// Which path a row is in, and what is owed of it.
    pub storage: SharedStorage,
    /// Which stores hold all that legacy has.
    pub caught_up: CaughtUp,
    /// Wall time.
    pub clock: SharedClock,
    /// Randomness, for ids.
    pub entropy: SharedEntropy,
    /// Who waits for what is owed.
    pub waits: OwedWaits,
}

/// Writes that wait for what legacy is owed of their rows, a bounded number.
#[derive(Debug, Clone)]
pub struct OwedWaits(Arc<Semaphore>);

impl Default for OwedWaits {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_WAITS)))
    }
}

impl StoreWriter {
    /// Does a write, and says how it ended.
    ///
    /// # Errors
    /// [`Elsewhere`], if it is not for the store.
    pub async fn write(&self, write: RestWrite) -> Result<StoreAnswer, Elsewhere> {
        let name = write.resource.name.to_string();
        let answer = self.written(write).await?;
        metrics::counter!("crossfade_store_writes_total", "resource" => name, "outcome" => answer.outcome())
            .increment(1);
        Ok(answer)
    }

    async fn written(&self, write: RestWrite) -> Result<StoreAnswer, Elsewhere> {
        let resource = write.resource.clone();
        self.may_write(&resource, &write.path)?;
        let (row, deed) = match self.deed(&write).await? {
            Ok(deed) => deed,
            Err(invalid) => return Ok(StoreAnswer::Invalid(invalid)),
        };
        let loading = tokio::time::timeout(LOAD_WAIT, self.registry.get(&write.path));
        let loaded = loading.await.map_err(|_| Elsewhere("deadline"))?;
        let handle = loaded.map_err(|_| Elsewhere("path"))?;
        let store_write = StoreWrite { row: row.clone(), deed, writer: write.writer };
        // From here on it may be done: whatever fails, legacy is not asked.
        let written = handle.write(resource.name.clone(), store_write).await;
        self.answer(&resource, &write.kind, row, written).await
    }

    /// Whether the store may answer a write of this path now: as a read, and if somebody may write at all.
    fn may_write(&self, resource: &Resource, path: &PathId) -> Result<(), Elsewhere> {
        if resource.write.is_none() {
            return Err(Elsewhere("no-permissions"));
        }
        if !self.caught_up.is(&resource.name) {
            return Err(Elsewhere("not-caught-up"));
        }
        if !self.caught_up.may_answer(&resource.name, path) {
            return Err(Elsewhere("mirror-under-way"));
        }
        Ok(())
    }

    /// What is to be done in the store; the inner error says, for people, which field breaks the schema.
    async fn deed(
        &self,
        write: &RestWrite,
    ) -> Result<Result<(RowId, StoreDeed), String>, Elsewhere> {
        let read = match &write.kind {
            WriteKind::Delete(row) => Ok((row.clone(), StoreDeed::Delete)),
            WriteKind::Update(_) if write.fields.is_empty() => return Err(Elsewhere("no-field")),
            WriteKind::Update(row) => write
                .resource
                .written_fields(&write.fields)
                .map(|fields| (row.clone(), StoreDeed::Update(fields))),
            WriteKind::Create if write.resource.create != CreateMode::ClientId => {
                return Err(Elsewhere("create-mode"));
            }
            WriteKind::Create => write
                .resource
                .new_row(&write.fields, &write.path, self.new_id(write))
                .map(|(row, cells)| {
                    let same = same_request(write, &cells);
                    (row, StoreDeed::Create { cells, same })
                }),
        };
        match read {
            Ok((row, deed)) => {
                // An id that was made here is nobody else's.
                let is_given = write.fields.contains_key(&*write.resource.id);
                if is_given && matches!(deed, StoreDeed::Create { .. }) {
                    self.is_free_elsewhere(&write.resource.name, &row, &write.path).await?;
                }
                Ok(Ok((row, deed)))
            }
            Err(FieldsProblem::Unmapped(why)) => Err(Elsewhere(why)),
            Err(FieldsProblem::Invalid(problem)) => Ok(Err(problem.to_string())),
        }
    }

    /// An id for a new row: with a key, always the same.
    fn new_id(&self, write: &RestWrite) -> NewId {
        let Some(key) = &write.key else {
            let mut random = [0; 10];
            self.entropy.fill(&mut random);
            return NewId::of_time(self.clock.now_ms(), random);
        };
        let mut digest = Sha256::new();
        let name = write.resource.name.as_str();
        // Keys of different users never meet; the length before each part keeps parts apart.
        let user = write.writer.actor.user.as_str();
        for part in [name, write.path.as_str(), user, key.as_str()] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.finalize()[..16]);
        NewId::of_key(bytes)
    }

    /// Ids are the caller's: another path may have the row, and only legacy, which has all of them, can say what that means.
    async fn is_free_elsewhere(
        &self,
        resource: &ResourceName,
        row: &RowId,
        path: &PathId,
    ) -> Result<(), Elsewhere> {
        let unreadable = |_: StorageError| Elsewhere("database");
        let based = self.storage.path_of_row(resource.clone(), row.clone()).await;
        let owed = self.storage.path_of_owed_row(resource.clone(), row.clone()).await;
        let known = [based.map_err(unreadable)?, owed.map_err(unreadable)?];
        if known.into_iter().flatten().any(|there| there != *path) {
            return Err(Elsewhere("row-of-another-path"));
        }
        Ok(())
    }

    async fn answer(
        &self,
        resource: &Resource,
        kind: &WriteKind,
        row: RowId,
        written: Result<StoreWritten, PathError>,
    ) -> Result<StoreAnswer, Elsewhere> {
        let written = match written {
            Ok(written) => written,
            Err(PathError::UnknownResource(_)) => return Err(Elsewhere("path")),
            Err(PathError::Refused(why)) => return Ok(StoreAnswer::Invalid(why)),
            Err(error @ (PathError::Gone | PathError::NotKept(_))) => {
                return Ok(StoreAnswer::NotKept(error.to_string()));
            }
        };
        Ok(match (written, kind) {
            (StoreWritten::Done(Some(now)), WriteKind::Create) => StoreAnswer::Created(row, now),
            (StoreWritten::Done(Some(now)), _) => StoreAnswer::Updated(now),
            (StoreWritten::Done(None), _) => StoreAnswer::Deleted,
            (StoreWritten::Repeated(now), _) => StoreAnswer::Repeated(row, now),
            (StoreWritten::Refused(refusal), _) => StoreAnswer::Refused(refusal),
            (StoreWritten::Elsewhere(why), _) => {
                // What another path owes of it is not in legacy yet, either: to this caller it does not exist.
                if why == "no-row" && self.is_owed(resource, &row).await {
                    return Ok(StoreAnswer::Refused(StoreRefusal::NoSuchRow));
                }
                return Err(Elsewhere(why));
            }
        })
    }

    async fn is_owed(&self, resource: &Resource, row: &RowId) -> bool {
        let owed = self.storage.path_of_owed_row(resource.name.clone(), row.clone()).await;
        owed.ok().flatten().is_some()
    }

    /// Waits until legacy has what it is owed of a row, two seconds at most: a write that goes to legacy itself must not come
    /// before a write of the store's that its caller may know of. `false` if something is still owed then. What was given up
    /// does not count.
    pub async fn owes_nothing(&self, resource: &ResourceName, row: &RowId) -> bool {
        let place = self.waits.0.try_acquire();
        let limit = if place.is_ok() { OWED_WAIT } else { Duration::ZERO };
        let until = Instant::now() + limit;
        loop {
            let owed = self.storage.path_of_owed_row(resource.clone(), row.clone()).await;
            let path = match owed {
                Ok(None) => return true,
                Ok(Some(path)) => path,
                // A database that does not answer keeps nobody from legacy.
                Err(_) => return true,
            };
            if Instant::now() >= until {
                let is_pending = self.is_pending(path, resource, row).await;
                if is_pending {
                    metrics::counter!("crossfade_writes_held_back_total").increment(1);
                }
                return !is_pending;
            }
            tokio::time::sleep(OWED_LOOK).await;
        }
    }

    async fn is_pending(&self, path: PathId, resource: &ResourceName, row: &RowId) -> bool {
        let entries = self.storage.entries_of(path).await.unwrap_or_default();
        entries.iter().any(|one| {
            one.state == EntryState::Pending
                && one.entry.resource == *resource
                && one.entry.row == *row
        })
    }
}

/// What tells a repeated create: with a key, an id made of the key; where the request gives the id, all that it gives.
fn same_request(write: &RestWrite, cells: &RowCells) -> Option<RowCells> {
    write.key.as_ref()?;
    if !write.fields.contains_key(&*write.resource.id) {
        return Some(RowCells::new());
    }
    let given = cells.iter().filter(|(id, _)| write.fields.contains_key(&***id));
    Some(given.map(|(id, cell)| (id.clone(), cell.clone())).collect())
}

#[cfg(test)]
mod tests;
