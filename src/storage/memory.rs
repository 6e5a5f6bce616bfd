//! [`Storage`] in memory, for tests and simulated runs: what was committed survives a simulated kill,
//! because the data belongs to the handle and not to whoever uses it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::types::{
    Base, CellRecord, ContainerRecord, EntryState, Op, OutboxEntry, OutboxSummary, Seq, StoredPath,
    Transaction, ValueRecord,
};
use super::{BoxFuture, Storage, StorageError};
use crate::migration::{PathId, ResourceName, RowId};

/// Storage that lives as long as its last handle.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    tables: Arc<Mutex<Tables>>,
    commits: Arc<tokio::sync::Mutex<()>>,
    loads: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Tables {
    cells: BTreeMap<(PathId, String, String, String), CellRecord>,
    values: BTreeMap<(PathId, String), ValueRecord>,
    containers: BTreeMap<(PathId, char, String, String), ContainerRecord>,
    bases: BTreeMap<(PathId, ResourceName, RowId), Base>,
    outbox: BTreeMap<Seq, OutboxEntry>,
    control: BTreeMap<String, String>,
    last_seq: i64,
    fail_next: u32,
}

impl MemoryStorage {
    /// Lets the next `count` commits fail, none of their changes being kept.
    pub fn fail_commits(&self, count: u32) {
        self.lock().fail_next = count;
    }

    /// Lets commits wait until the guard is dropped.
    pub async fn hold_commits(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.commits.clone().lock_owned().await
    }

    /// Lets the loading of paths wait until the guard is dropped.
    pub async fn hold_loads(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.loads.clone().lock_owned().await
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // The tables are changed in full or not at all, so a poisoned lock hides nothing.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn changed(&self, transaction: &Transaction) -> Option<String> {
        transaction.iter().find_map(|op| match op {
            Op::SwapControl { key, from, .. } => {
                (self.control.get(key) != from.as_ref()).then(|| key.clone())
            }
            _ => None,
        })
    }

    fn apply(&mut self, op: Op) -> Option<Seq> {
        match op {
            Op::PutCell(path, r) => {
                self.cells.insert((path, r.table.clone(), r.row.clone(), r.cell.clone()), r);
            }
            Op::PutValue(path, r) => {
                self.values.insert((path, r.id.clone()), r);
            }
            Op::PutContainer(path, r) => {
                self.containers.insert((path, r.kind, r.table.clone(), r.row.clone()), r);
            }
            Op::Owe(entry) => {
                self.last_seq += 1;
                let seq = Seq(self.last_seq);
                let due_ms = entry.accepted_ms;
                let (state, attempts, last_error) = (EntryState::Pending, 0, None);
                self.outbox
                    .insert(seq, OutboxEntry { seq, entry, state, attempts, due_ms, last_error });
                return Some(seq);
            }
            Op::Settle(seq) => {
                self.outbox.remove(&seq);
            }
            Op::Postpone { seq, attempts, due_ms, error } => {
                if let Some(entry) = self.outbox.get_mut(&seq) {
                    entry.attempts = attempts;
                    entry.due_ms = due_ms;
                    entry.last_error = Some(error);
                    entry.state = EntryState::Pending;
                }
            }
            Op::Bury { seq, error } => {
                if let Some(entry) = self.outbox.get_mut(&seq) {
                    entry.state = EntryState::Dead;
                    entry.last_error = Some(error);
                }
            }
            Op::PutBase { path, resource, row, base } => {
                self.bases.insert((path, resource, row), base);
            }
            Op::DropBase { path, resource, row } => {
                self.bases.remove(&(path, resource, row));
            }
            Op::SwapControl { key, to, .. } => {
                self.control.insert(key, to);
            }
            Op::PutControl { key, value } => {
                self.control.insert(key, value);
            }
        }
        None
    }

    fn pending(&self) -> impl Iterator<Item = &OutboxEntry> {
        self.outbox.values().filter(|entry| entry.state == EntryState::Pending)
    }

    fn is_head(&self, entry: &OutboxEntry) -> bool {
        let same_row = |other: &&OutboxEntry| {
            other.entry.path == entry.entry.path
                && other.entry.resource == entry.entry.resource
                && other.entry.row == entry.entry.row
        };
        self.pending().find(same_row).is_none_or(|first| first.seq == entry.seq)
    }

    fn stored(&self, path: &PathId) -> StoredPath {
        StoredPath {
            cells: of_path(&self.cells, |key| &key.0 == path),
            values: of_path(&self.values, |key| &key.0 == path),
            containers: of_path(&self.containers, |key| &key.0 == path),
            owed: self.pending().filter(|entry| &entry.entry.path == path).cloned().collect(),
        }
    }
}

fn of_path<K, V: Clone>(map: &BTreeMap<K, V>, belongs: impl Fn(&K) -> bool) -> Vec<V> {
    map.iter().filter(|(key, _)| belongs(key)).map(|(_, value)| value.clone()).collect()
}

impl Storage for MemoryStorage {
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Vec<Seq>, StorageError>> {
        Box::pin(async move {
            drop(self.commits.lock().await);
            let mut tables = self.lock();
            if tables.fail_next > 0 {
                tables.fail_next -= 1;
                return Err(StorageError::Failed("told to fail".to_owned()));
            }
            if let Some(key) = tables.changed(&transaction) {
                return Err(StorageError::Changed(key));
            }
            Ok(transaction.into_iter().filter_map(|op| tables.apply(op)).collect())
        })
    }

    fn load_path(&self, path: PathId) -> BoxFuture<'_, Result<StoredPath, StorageError>> {
        Box::pin(async move {
            drop(self.loads.lock().await);
            Ok(self.lock().stored(&path))
        })
    }

    fn bases(
        &self,
        path: PathId,
        resource: ResourceName,
        rows: Vec<RowId>,
    ) -> BoxFuture<'_, Result<Vec<(RowId, Base)>, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let find = |row: RowId| {
                let key = (path.clone(), resource.clone(), row.clone());
                tables.bases.get(&key).map(|base| (row, base.clone()))
            };
            Ok(rows.into_iter().filter_map(find).collect())
        })
    }

    fn path_of_row(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<Option<PathId>, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let mut keys = tables.bases.keys();
            Ok(keys.find(|key| key.1 == resource && key.2 == row).map(|key| key.0.clone()))
        })
    }

    fn rows_with_base(
        &self,
        resource: ResourceName,
    ) -> BoxFuture<'_, Result<Vec<(PathId, RowId)>, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let keys = tables.bases.keys().filter(|key| key.1 == resource);
            Ok(keys.map(|key| (key.0.clone(), key.2.clone())).collect())
        })
    }

    fn due_entries(
        &self,
        now_ms: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let due = tables.pending().filter(|e| e.due_ms <= now_ms && tables.is_head(e));
            Ok(due.take(limit).cloned().collect())
        })
    }

    fn next_due_ms(&self) -> BoxFuture<'_, Result<Option<u64>, StorageError>> {
        Box::pin(async move { Ok(self.lock().pending().map(|entry| entry.due_ms).min()) })
    }

    fn outbox_summary(&self, limit: usize) -> BoxFuture<'_, Result<OutboxSummary, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let pending = tables.pending().count() as u64;
            Ok(OutboxSummary {
                pending,
                dead: tables.outbox.len() as u64 - pending,
                oldest_ms: tables.pending().map(|entry| entry.entry.accepted_ms).min(),
                entries: tables.outbox.values().take(limit).cloned().collect(),
            })
        })
    }

    fn control(&self, key: String) -> BoxFuture<'_, Result<Option<String>, StorageError>> {
        Box::pin(async move { Ok(self.lock().control.get(&key).cloned()) })
    }

    fn controls(
        &self,
        prefix: String,
    ) -> BoxFuture<'_, Result<Vec<(String, String)>, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let found = tables.control.iter().filter(|(key, _)| key.starts_with(&prefix));
            Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
        })
    }
}
