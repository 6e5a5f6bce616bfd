//! Starting a path's next generation, without its tombstones (design §5).
//!
//! The path's task ends first, its connections drained, so that nobody writes the path. What lives is copied into
//! a generation that nobody reads yet; one commit makes it the current one. A kill before that commit
//! leaves the path as it was, and the copy is erased by the next rebuild; a kill after it leaves nothing
//! to do. The generation before stays as the former one, until the next rebuild.

use std::collections::HashSet;
use std::time::Duration;

use mergeable_store::Hlc;

use super::path::{self, PathContext, PathHandle};
use super::registry::PathRegistry;
use crate::migration::PathId;
use crate::storage::{CHUNK_RECORDS, Generation, Op, Standing, Storage, StorageError};

/// Younger tombstones are copied as well, in milliseconds: an answer of legacy that was asked for before
/// a deletion may be under way, and must find that the row was deleted since.
const YOUNG_MS: u64 = 10 * 60 * 1000;
/// How long a path has to come to rest. Its own limit of a drain is shorter.
const REST_LIMIT: Duration = Duration::from_secs(20);
/// How often it is asked whether it has.
const REST_PAUSE: Duration = Duration::from_millis(20);

/// What a rebuild did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Rebuilt {
    /// The generation that was started.
    pub generation: Generation,
    /// Live cells and values in it.
    pub kept: u64,
    /// Tombstones in it: those that are owed, and young ones.
    pub tombstones_kept: u64,
    /// Tombstones that it does not have any more.
    pub tombstones_dropped: u64,
}

/// Why a path was not rebuilt. It is as it was before.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RebuildError {
    /// Somebody else loads or rebuilds it.
    #[error("the path is being loaded or rebuilt by somebody else; try again")]
    Busy,
    /// Its connections could not be drained in time.
    #[error("the path's connections could not be drained in {} s; try again", REST_LIMIT.as_secs())]
    NotAtRest,
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl PathRegistry {
    /// Drains the path's connections and starts its next generation. Whoever wants the path meanwhile
    /// waits.
    ///
    /// # Errors
    /// [`RebuildError`]; then the path goes on with the generation that it had.
    pub async fn rebuild(&self, path: &PathId) -> Result<Rebuilt, RebuildError> {
        let (registry, path) = (self.clone(), path.clone());
        // A task of its own: a caller that goes away must not leave it half done.
        let work = tokio::spawn(async move { registry.rebuild_here(path).await });
        work.await.map_err(|_| StorageError::Closed)?
    }

    async fn rebuild_here(&self, path: PathId) -> Result<Rebuilt, RebuildError> {
        let former = self.get(&path).await?;
        let mut outcome = Err(RebuildError::Busy);
        let make = self.replace(&path, &former, || async {
            let (context, generations) = (self.context(), self.generations());
            if let Err(error) = rest(&former).await {
                outcome = Err(error);
                return Ok(former.clone());
            }
            outcome = next_generation(context, &path).await.map_err(RebuildError::from);
            if let Ok(rebuilt) = &outcome {
                generations.set(&path, rebuilt.generation);
            }
            path::spawn(path.clone(), context.clone()).await
        });
        make.await?;
        if let Ok(rebuilt) = &outcome {
            metrics::counter!("crossfade_sync_paths_rebuilt_total").increment(1);
            tracing::info!(%path, generation = %rebuilt.generation, "path rebuilt");
        }
        outcome
    }
}

/// Waits until the path's task has drained its connections and ended.
async fn rest(path: &PathHandle) -> Result<(), RebuildError> {
    let ended = async {
        // An error says that the task is gone by itself.
        while let Ok(false) = path.retire().await {
            tokio::time::sleep(REST_PAUSE).await;
        }
    };
    tokio::time::timeout(REST_LIMIT, ended).await.map_err(|_| RebuildError::NotAtRest)
}

async fn next_generation(context: &PathContext, path: &PathId) -> Result<Rebuilt, StorageError> {
    let (storage, now_ms) = (&*context.storage, context.clock.now_ms());
    let current = erase_others(storage, path).await?;
    let mut rebuilt =
        Rebuilt { generation: current.next(), kept: 0, tombstones_kept: 0, tombstones_dropped: 0 };
    let owed = owed(storage, path).await?;
    let is_young = |hlc: Hlc| hlc.time_ms().saturating_add(YOUNG_MS) > now_ms;
    let mut stays = |value: &Option<String>, hlc: Hlc| {
        let stays = value.is_some() || owed.contains(&hlc) || is_young(hlc);
        *match (value, stays) {
            (Some(_), _) => &mut rebuilt.kept,
            (None, true) => &mut rebuilt.tombstones_kept,
            (None, false) => &mut rebuilt.tombstones_dropped,
        } += 1;
        stays
    };
    let (generation, mut after) = (current.next(), None);
    loop {
        let mut chunk = storage.read_path(path.clone(), Some(current), after).await?;
        after = chunk.next.take();
        chunk.cells.retain(|r| stays(&r.value, r.hlc));
        chunk.values.retain(|r| stays(&r.value, r.hlc));
        // HLCs of containers say when old clients set them, to other clients of the old generation.
        chunk.containers.clear();
        let prepare = Op::Prepare(path.clone(), generation, chunk);
        storage.commit(vec![prepare]).await?;
        if after.is_none() {
            break;
        }
    }
    storage.commit(vec![Op::Start(path.clone(), generation)]).await?;
    Ok(rebuilt)
}

/// Erases what a killed rebuild has left, and the former generation. Gives the current one.
async fn erase_others(storage: &dyn Storage, path: &PathId) -> Result<Generation, StorageError> {
    let mut current = Generation::FIRST;
    for one in storage.generations(Some(path.clone())).await? {
        if one.standing == Standing::Current {
            current = one.generation;
            continue;
        }
        let erase = || Op::Erase(path.clone(), one.generation, CHUNK_RECORDS);
        let is_there = async || {
            let all = storage.generations(Some(path.clone())).await?;
            Ok::<_, StorageError>(all.iter().any(|left| left.generation == one.generation))
        };
        while is_there().await? {
            storage.commit(vec![erase()]).await?;
        }
    }
    Ok(current)
}

/// The stamps of all that is owed, dead letters too. A deletion that is owed is found by its tombstone.
async fn owed(storage: &dyn Storage, path: &PathId) -> Result<HashSet<Hlc>, StorageError> {
    let entries = storage.entries_of(path.clone()).await?;
    let stamps = entries.iter().flat_map(|entry| &entry.entry.cells);
    // A stamp that cannot be read has no tombstone either.
    Ok(stamps.filter_map(|(_, stamp)| stamp.parse().ok()).collect())
}
