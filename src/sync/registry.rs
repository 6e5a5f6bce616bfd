//! The paths in memory: loaded at first use, once for however many wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OnceCell};

use super::aliases::Aliases;
use super::authority::{LegacyDecides, SharedAuthority};
use super::mapped::MappedTables;
use super::name::PathName;
use super::path::{self, CloseReason, Pace, PaceSettings, PathContext, PathHandle};
use crate::clock::{SharedClock, SharedEntropy};
use crate::config::Durability;
use crate::migration::PathId;
use crate::storage::{Generation, SharedStorage, Standing, StorageError};

/// What a registry is made of.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// Where paths are kept.
    pub storage: SharedStorage,
    /// The tables that may be written.
    pub tables: Arc<MappedTables>,
    /// Wall time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// The unique id of this database's stores: their stamps carry it.
    pub unique_id: Arc<str>,
    /// When a client is told of an edit: after its commit or before.
    pub durability: Durability,
    /// A path that nobody has used for so long is dropped from memory.
    pub idle_unload: Duration,
    /// When broadcasts leave.
    pub pace: PaceSettings,
    /// A longer cell is refused of a client, in bytes of its text.
    pub max_cell_bytes: usize,
}

/// Paths in memory above which those that nobody uses are dropped before their time. Paths in use are
/// bounded by who uses them.
const MAX_UNUSED: usize = 1024;
/// How many of them are asked to go when one more is loaded: two, so that their number falls.
const SUGGESTED: usize = 2;

type Slot = Arc<OnceCell<PathHandle>>;

/// The current generations of paths that were ever rebuilt; all others have their first.
#[derive(Debug, Default)]
pub(super) struct Generations(Mutex<HashMap<PathId, Generation>>);

impl Generations {
    fn of(&self, path: &PathId) -> Generation {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(path).copied().unwrap_or(Generation::FIRST)
    }

    pub(super) fn set(&self, path: &PathId, generation: Generation) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(path.clone(), generation);
    }
}

/// The paths in memory, each with its only handle that is not in use.
#[derive(Debug, Default)]
pub(super) struct Paths(Mutex<HashMap<PathId, Slot>>);

impl Paths {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathId, Slot>> {
        // Every change is one step, so a poisoned lock hides nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a path out if nobody holds it; then nobody can reach it any more.
    pub(super) fn remove_unheld(&self, path: &PathId) -> bool {
        let mut paths = self.lock();
        let unheld = paths.get(path).is_some_and(is_unheld);
        if unheld {
            paths.remove(path);
        }
        unheld
    }

    /// The path's place, made if there is none.
    fn slot(&self, path: &PathId) -> Slot {
        let mut paths = self.lock();
        if let Some(slot) = paths.get_mut(path) {
            if slot.get().is_some_and(PathHandle::is_gone) {
                *slot = Slot::default();
            }
            return slot.clone();
        }
        if paths.len() >= MAX_UNUSED {
            let unheld = paths.values().filter(|slot| is_unheld(slot));
            unheld
                .filter_map(|slot| slot.get())
                .take(SUGGESTED)
                .for_each(PathHandle::suggest_unload);
        }
        paths.entry(path.clone()).or_default().clone()
    }
}

/// Whether nobody holds the place or its path: such a hold is taken only under the lock, or from another.
fn is_unheld(slot: &Slot) -> bool {
    Arc::strong_count(slot) == 1 && slot.get().is_some_and(PathHandle::is_unheld)
}

/// All paths that this process has in memory.
#[derive(Debug, Clone)]
pub struct PathRegistry {
    context: PathContext,
    paths: Arc<Paths>,
    generations: Arc<Generations>,
}

impl PathRegistry {
    /// A registry with no path in memory.
    #[must_use]
    pub fn new(settings: RegistrySettings) -> Self {
        let RegistrySettings {
            storage,
            tables,
            clock,
            entropy,
            unique_id,
            durability,
            idle_unload,
            pace,
            max_cell_bytes,
        } = settings;
        let (owed, shared) = (Arc::new(Notify::new()), Arc::<Paths>::default());
        let paths = Arc::downgrade(&shared);
        let context = PathContext {
            aliases: Aliases::new(storage.clone(), tables.clone()),
            storage,
            tables,
            clock,
            entropy,
            unique_id,
            owed,
            durability,
            idle_unload,
            paths,
            pace: Pace::new(pace),
            refusals: Arc::default(),
            max_cell_bytes,
            authority: Arc::new(LegacyDecides),
        };
        Self { context, paths: shared, generations: Arc::default() }
    }

    /// The same registry, before any path is loaded, with somebody who says which writes the store decides about; without,
    /// it is none.
    #[must_use]
    pub fn decided_by(mut self, authority: SharedAuthority) -> Self {
        self.context.authority = authority;
        self
    }

    /// Learns which paths were rebuilt, and how often. Needed once, before clients connect.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be read.
    pub async fn learn_generations(&self) -> Result<(), StorageError> {
        for one in self.context.storage.generations(None).await? {
            if one.standing == Standing::Current && one.generation > Generation::FIRST {
                self.generations.set(&one.path, one.generation);
            }
        }
        Ok(())
    }

    /// What clients have to call the path by now.
    #[must_use]
    pub fn name_of(&self, path: &PathId) -> PathName {
        PathName { path: path.clone(), generation: self.generations.of(path) }
    }

    pub(super) fn context(&self) -> &PathContext {
        &self.context
    }

    pub(super) fn generations(&self) -> &Generations {
        &self.generations
    }

    /// Puts what `make` gives in the place of `former`. Whoever asks for the path meanwhile waits for it; if
    /// it fails, the next one loads the path.
    pub(super) async fn replace<F>(
        &self,
        path: &PathId,
        former: &PathHandle,
        make: impl FnOnce() -> F,
    ) -> Result<(), StorageError>
    where
        F: Future<Output = Result<PathHandle, StorageError>>,
    {
        let slot = Slot::default();
        let (publish, published) = tokio::sync::oneshot::channel::<()>();
        let mut making = std::pin::pin!(slot.get_or_try_init(|| async {
            // Refused: there is nothing to be replaced.
            let Ok(()) = published.await else { return Ok(former.clone()) };
            make().await
        }));
        // The place is taken before anybody can find it, so that nobody else fills it.
        if futures_util::poll!(&mut making).is_pending() && self.put(path, former, &slot) {
            // The receiver is in `making`, which is not over.
            let _ = publish.send(());
        } else {
            drop(publish);
        }
        making.await.map(drop)
    }

    /// Puts a place in the place of that of `former`, if that is still there.
    fn put(&self, path: &PathId, former: &PathHandle, slot: &Slot) -> bool {
        let mut paths = self.paths.lock();
        let there = paths.get_mut(path);
        let there = there.filter(|there| there.get().is_some_and(|held| held.is_same(former)));
        let Some(there) = there else { return false };
        *there = slot.clone();
        true
    }

    /// The tables that belong to resources.
    #[must_use]
    pub fn tables(&self) -> &Arc<MappedTables> {
        &self.context.tables
    }

    /// Which rows have another id in legacy.
    #[must_use]
    pub fn aliases(&self) -> &Aliases {
        &self.context.aliases
    }

    /// Woken when a path owes something new.
    #[must_use]
    pub fn owed(&self) -> Arc<Notify> {
        self.context.owed.clone()
    }

    /// The path's handle; the first use loads it.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be loaded; the next use tries again.
    pub async fn get(&self, path: &PathId) -> Result<PathHandle, StorageError> {
        let slot = self.paths.slot(path);
        if let Some(handle) = slot.get() {
            return Ok(handle.clone());
        }
        // A task of its own: a waiter that gives up must not make the next one begin anew.
        let (path, context) = (path.clone(), self.context.clone());
        let load = tokio::spawn(async move {
            slot.get_or_try_init(|| path::spawn(path, context)).await.cloned()
        });
        load.await.map_err(|_| StorageError::Closed)?
    }

    /// The paths in memory.
    #[must_use]
    pub fn loaded(&self) -> Vec<PathHandle> {
        let paths = self.paths.lock();
        paths.values().filter_map(|slot| slot.get().cloned()).collect()
    }

    /// Drains the connections of all loaded paths (design rule 7).
    pub async fn drain_all(&self) {
        for path in self.loaded() {
            // A path that is gone has no connections.
            let _ = path.drain().await;
        }
    }

    /// Closes all connections.
    pub async fn close_all(&self, reason: CloseReason) {
        for path in self.loaded() {
            let _ = path.close(reason.clone()).await;
        }
    }
}
