//! [`Storage`] in memory, for tests and simulated runs: what was committed survives a simulated kill,
//! because the data belongs to the handle and not to whoever uses it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mergeable_store::{Container, Text};

use super::path::{
    CHUNK_RECORDS, CellRecord, ContainerRecord, CountChunk, CountCursor, Generation, PathChunk,
    PathCursor, Standing, StoredGeneration, TableCount, ValueRecord,
};
use super::types::{
    AskedCreate, AuditEntry, AuditRecord, Base, ControlOp, EntryState, Intent, IntentId, NewEntry,
    Op, OutboxEntry, OutboxSummary, OwingPath, Seq, Transaction,
};
use super::{BoxFuture, Storage, StorageError};
use crate::migration::{PathId, ResourceName, RowId};

/// Storage that lives as long as its last handle.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    tables: Arc<Mutex<Tables>>,
    commits: Arc<tokio::sync::Mutex<()>>,
    loads: Arc<tokio::sync::Mutex<()>>,
    fate: Arc<Fate>,
}

/// What becomes of the commits of one process.
#[derive(Debug, Default)]
struct Fate {
    killed: AtomicBool,
    delay_ms: AtomicU64,
}

impl Fate {
    /// Half of a commit's way. A process that was killed meanwhile never gets to its end.
    async fn half_way(&self) {
        let delay_ms = self.delay_ms.load(Ordering::Relaxed);
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms).div_f64(2.0)).await;
        }
        if self.killed.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

#[derive(Debug, Default)]
struct Tables {
    stores: BTreeMap<(PathId, Generation), Stored>,
    bases: BTreeMap<(PathId, ResourceName, RowId), Base>,
    outbox: BTreeMap<Seq, OutboxEntry>,
    intents: BTreeMap<IntentId, Intent>,
    aliases: BTreeMap<(ResourceName, RowId), RowId>,
    asked: BTreeMap<(ResourceName, RowId), AskedCreate>,
    refused: BTreeMap<(ResourceName, RowId), u64>,
    control: BTreeMap<String, String>,
    audit: Vec<AuditEntry>,
    last_seq: i64,
    fail_next: u32,
    /// Whether a commit failed since the control table was last written.
    has_failed: bool,
    /// Commits that still succeed before all fail.
    left: Option<u32>,
}

/// The records of a generation.
#[derive(Debug)]
struct Stored {
    standing: Standing,
    cells: BTreeMap<(Text, Text, Text), CellRecord>,
    values: BTreeMap<Text, ValueRecord>,
    containers: BTreeMap<ContainerKey, ContainerRecord>,
}

type ContainerKey = (u8, Text, Text);

fn container_key(container: &Container) -> ContainerKey {
    match container {
        Container::Tables => (0, Text::default(), Text::default()),
        Container::Table(table) => (1, table.clone(), Text::default()),
        Container::Row(table, row) => (2, table.clone(), row.clone()),
        Container::Values => (3, Text::default(), Text::default()),
    }
}

impl Stored {
    fn new(standing: Standing) -> Self {
        let (cells, values, containers) = Default::default();
        Self { standing, cells, values, containers }
    }

    fn put_cell(&mut self, r: CellRecord) {
        self.cells.insert((r.table.clone(), r.row.clone(), r.cell.clone()), r);
    }

    fn put_value(&mut self, r: ValueRecord) {
        self.values.insert(r.id.clone(), r);
    }

    fn put_container(&mut self, r: ContainerRecord) {
        self.containers.insert(container_key(&r.container), r);
    }

    fn read(&self, after: Option<PathCursor>) -> PathChunk {
        let mut chunk = PathChunk::default();
        chunk.next = match after {
            None | Some(PathCursor::Cell(..)) => {
                let after = after.and_then(|after| match after {
                    PathCursor::Cell(table, row, cell) => Some((table, row, cell)),
                    _ => None,
                });
                chunk.cells = behind(&self.cells, after);
                let last = chunk.cells.last().filter(|_| chunk.len() == CHUNK_RECORDS);
                Some(last.map_or(PathCursor::Value(None), |r| {
                    PathCursor::Cell(r.table.clone(), r.row.clone(), r.cell.clone())
                }))
            }
            Some(PathCursor::Value(after)) => {
                chunk.values = behind(&self.values, after);
                let last = chunk.values.last().filter(|_| chunk.len() == CHUNK_RECORDS);
                let next = |r: &ValueRecord| PathCursor::Value(Some(r.id.clone()));
                Some(last.map_or(PathCursor::Container(None), next))
            }
            Some(PathCursor::Container(after)) => {
                chunk.containers = behind(&self.containers, after.as_ref().map(container_key));
                let last = chunk.containers.last().filter(|_| chunk.len() == CHUNK_RECORDS);
                last.map(|r| PathCursor::Container(Some(r.container.clone())))
            }
        };
        chunk
    }

    fn count(&self, after: Option<CountCursor>) -> CountChunk {
        let mut chunk = CountChunk::default();
        let mut rows = BTreeMap::<(&Text, &Text), Vec<&CellRecord>>::new();
        for cell in self.cells.values() {
            rows.entry((&cell.table, &cell.row)).or_default().push(cell);
        }
        let after = after.as_ref().map(|(table, row)| (table, row));
        for ((table, row), cells) in rows.into_iter().filter(|(key, _)| Some(*key) > after) {
            let mut one = TableCount::new(table.to_string_lossy().into_owned());
            for cell in &cells {
                match &cell.value {
                    Some(_) => one.cells += 1,
                    None => one.tombstones += 1,
                }
                let value = cell.value.as_ref().map_or(0, String::len);
                one.bytes += (row.as_wtf8().len() + value + 16) as u64;
                one.last_write_ms = one.last_write_ms.max(cell.hlc.time_ms());
            }
            one.rows = u64::from(one.cells > 0);
            chunk.add(CountChunk { tables: vec![one], next: None });
        }
        chunk
    }

    fn erase(&mut self, limit: usize) {
        let erased = self.cells.len().min(limit);
        for _ in 0..erased {
            self.cells.pop_first();
        }
        if erased < limit {
            self.values.clear();
            self.containers.clear();
        }
    }

    fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.values.is_empty() && self.containers.is_empty()
    }
}

/// The first records behind `after`.
fn behind<K: Ord, V: Clone>(map: &BTreeMap<K, V>, after: Option<K>) -> Vec<V> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    map.range((from, Bound::Unbounded)).take(CHUNK_RECORDS).map(|(_, v)| v.clone()).collect()
}

impl MemoryStorage {
    /// The same data for another process: what befalls one does not befall the other.
    #[must_use]
    pub fn for_process(&self) -> Self {
        Self { fate: Arc::default(), ..self.clone() }
    }

    /// Ends this process's commits: those on their way are kept or not, and none is ever answered.
    pub fn kill(&self) {
        self.fate.killed.store(true, Ordering::Relaxed);
    }

    /// Whether commits of this process take a while, or have failed and nothing in the control table was kept since.
    #[cfg(test)]
    pub(crate) fn is_troubled(&self) -> bool {
        let tables = self.lock();
        self.fate.delay_ms.load(Ordering::Relaxed) > 0 || tables.fail_next > 0 || tables.has_failed
    }

    /// Lets each commit of this process take so long.
    pub fn delay_commits(&self, delay_ms: u64) {
        self.fate.delay_ms.store(delay_ms, Ordering::Relaxed);
    }

    /// Lets the next `count` commits fail, none of their changes being kept.
    pub fn fail_commits(&self, count: u32) {
        self.lock().fail_next = count;
    }

    /// Lets `count` more commits succeed, and fails all after them until this is called again: what a
    /// kill at that place leaves behind. `None`: all succeed.
    pub fn allow_commits(&self, count: Option<u32>) {
        self.lock().left = count;
    }

    /// Lets commits wait until the guard is dropped.
    pub async fn hold_commits(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.commits.clone().lock_owned().await
    }

    /// Lets the loading of paths wait until the guard is dropped.
    pub async fn hold_loads(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.loads.clone().lock_owned().await
    }

    fn apply(&self, transaction: Transaction) -> Result<Vec<Seq>, StorageError> {
        let mut tables = self.lock();
        tables.may_commit()?;
        if let Some(key) = tables.changed(&transaction) {
            return Err(StorageError::Changed(key));
        }
        Ok(transaction.into_iter().filter_map(|op| tables.apply(op)).collect())
    }

    fn apply_control(&self, ops: Vec<ControlOp>) -> Result<(), StorageError> {
        let mut tables = self.lock();
        tables.may_commit()?;
        let (mut control, mut audit) = (tables.control.clone(), Vec::new());
        for op in ops {
            match op {
                ControlOp::Swap { key, from, .. } if control.get(&key) != from.as_ref() => {
                    return Err(StorageError::Changed(key));
                }
                ControlOp::Swap { key, to: value, .. } | ControlOp::Put { key, value } => {
                    control.insert(key, value);
                }
                ControlOp::Audit(entry) => audit.push(entry),
            }
        }
        tables.control = control;
        tables.audit.extend(audit);
        tables.has_failed = false;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // The tables are changed in full or not at all, so a poisoned lock hides nothing.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    /// Whether a commit succeeds, as the test has told.
    fn may_commit(&mut self) -> Result<(), StorageError> {
        if self.fail_next > 0 {
            self.fail_next -= 1;
            self.has_failed = true;
            return Err(StorageError::Failed("told to fail".to_owned()));
        }
        match &mut self.left {
            Some(0) => return Err(StorageError::Failed("killed".to_owned())),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    fn changed(&self, transaction: &Transaction) -> Option<String> {
        transaction.iter().find_map(|op| match op {
            Op::Start(path, generation) => {
                let next = self.current(path).map_or(Generation::FIRST, |(at, _)| at).next();
                (next != *generation).then(|| format!("generation of {path}"))
            }
            Op::Prepare(path, generation, _) => {
                let there = self.stores.get(&(path.clone(), *generation));
                let other = there.is_some_and(|stored| stored.standing != Standing::Prepared);
                other.then(|| format!("generation of {path}"))
            }
            _ => None,
        })
    }

    fn current(&self, path: &PathId) -> Option<(Generation, &Stored)> {
        let mut all = self.stores.range((path.clone(), Generation::FIRST)..);
        let of_path = all.by_ref().take_while(|((of, _), _)| of == path);
        of_path
            .map(|((_, generation), stored)| (*generation, stored))
            .find(|(_, stored)| stored.standing == Standing::Current)
    }

    fn current_mut(&mut self, path: PathId) -> &mut Stored {
        let generation = self.current(&path).map_or(Generation::FIRST, |(at, _)| at);
        let made = || Stored::new(Standing::Current);
        self.stores.entry((path, generation)).or_insert_with(made)
    }

    fn prepare(&mut self, path: PathId, generation: Generation, chunk: PathChunk) {
        let made = || Stored::new(Standing::Prepared);
        let stored = self.stores.entry((path, generation)).or_insert_with(made);
        chunk.cells.into_iter().for_each(|r| stored.put_cell(r));
        chunk.values.into_iter().for_each(|r| stored.put_value(r));
        chunk.containers.into_iter().for_each(|r| stored.put_container(r));
    }

    fn start(&mut self, path: PathId, generation: Generation) {
        self.current_mut(path.clone()).standing = Standing::Former;
        self.prepare(path.clone(), generation, PathChunk::default());
        if let Some(stored) = self.stores.get_mut(&(path, generation)) {
            stored.standing = Standing::Current;
        }
    }

    fn erase(&mut self, path: PathId, generation: Generation, limit: usize) {
        let key = (path, generation);
        let Some(stored) = self.stores.get_mut(&key) else { return };
        if stored.standing == Standing::Current {
            return;
        }
        stored.erase(limit);
        if stored.is_empty() {
            self.stores.remove(&key);
        }
    }

    fn apply(&mut self, op: Op) -> Option<Seq> {
        match op {
            Op::PutCell(path, r) => self.current_mut(path).put_cell(r),
            Op::PutValue(path, r) => self.current_mut(path).put_value(r),
            Op::PutContainer(path, r) => self.current_mut(path).put_container(r),
            Op::Prepare(path, generation, chunk) => self.prepare(path, generation, chunk),
            Op::Start(path, generation) => self.start(path, generation),
            Op::Erase(path, generation, limit) => self.erase(path, generation, limit),
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
            Op::OpenIntent(intent) => {
                self.intents.insert(intent.id, intent);
            }
            Op::AskCreate(asked) => {
                self.asked.insert((asked.resource.clone(), asked.row.clone()), asked);
            }
            Op::EndCreate { resource, row } => {
                self.asked.remove(&(resource, row));
            }
            Op::RefuseCreate { resource, row, at_ms, forget_before_ms } => {
                self.refused.retain(|_, at_ms| *at_ms >= forget_before_ms);
                self.refused.insert((resource, row), at_ms);
            }
            Op::Alias { resource, row, legacy_id } => {
                self.aliases.insert((resource, row), legacy_id);
            }
            Op::CloseIntent(id) => {
                self.intents.remove(&id);
            }
            Op::DropBase { path, resource, row } => {
                self.bases.remove(&(path, resource, row));
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
}

impl Storage for MemoryStorage {
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Vec<Seq>, StorageError>> {
        Box::pin(async move {
            self.fate.half_way().await;
            drop(self.commits.lock().await);
            let applied = self.apply(transaction);
            self.fate.half_way().await;
            applied
        })
    }

    fn commit_control(&self, ops: Vec<ControlOp>) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            self.fate.half_way().await;
            drop(self.commits.lock().await);
            let applied = self.apply_control(ops);
            self.fate.half_way().await;
            applied
        })
    }

    fn read_path(
        &self,
        path: PathId,
        generation: Option<Generation>,
        after: Option<PathCursor>,
    ) -> BoxFuture<'_, Result<PathChunk, StorageError>> {
        Box::pin(async move {
            drop(self.loads.lock().await);
            let tables = self.lock();
            let stored = match generation {
                None => tables.current(&path).map(|(_, stored)| stored),
                Some(generation) => tables.stores.get(&(path, generation)),
            };
            Ok(stored.map_or_else(PathChunk::default, |stored| stored.read(after)))
        })
    }

    fn generations(
        &self,
        of: Option<PathId>,
    ) -> BoxFuture<'_, Result<Vec<StoredGeneration>, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let wanted = |path: &PathId| of.as_ref().is_none_or(|of| of == path);
            let stores = tables.stores.iter().filter(|((path, _), _)| wanted(path));
            let all = stores.map(|((path, generation), stored)| StoredGeneration {
                path: path.clone(),
                generation: *generation,
                standing: stored.standing,
            });
            Ok(all.collect())
        })
    }

    fn count(
        &self,
        path: PathId,
        after: Option<CountCursor>,
    ) -> BoxFuture<'_, Result<CountChunk, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let current = tables.current(&path);
            Ok(current.map_or_else(CountChunk::default, |(_, stored)| stored.count(after)))
        })
    }

    fn entries_of(&self, path: PathId) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let of_path = tables.outbox.values().filter(|entry| entry.entry.path == path);
            Ok(of_path.cloned().collect())
        })
    }

    fn owed_counts(&self) -> BoxFuture<'_, Result<Vec<(PathId, u64)>, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let mut counts = BTreeMap::<PathId, u64>::new();
            for entry in tables.pending() {
                *counts.entry(entry.entry.path.clone()).or_default() += 1;
            }
            Ok(counts.into_iter().collect())
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

    fn path_of_owed_row(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<Option<PathId>, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let mut entries = tables.outbox.values().map(|entry| &entry.entry);
            let of_row = |entry: &&NewEntry| entry.resource == resource && entry.row == row;
            Ok(entries.find(of_row).map(|entry| entry.path.clone()))
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

    fn legacy_id(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<Option<RowId>, StorageError>> {
        Box::pin(async move { Ok(self.lock().aliases.get(&(resource, row)).cloned()) })
    }

    fn row_of_legacy_id(
        &self,
        resource: ResourceName,
        legacy_id: RowId,
    ) -> BoxFuture<'_, Result<Option<RowId>, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let mut aliases = tables.aliases.iter();
            let found = aliases.find(|((of, _), id)| *of == resource && **id == legacy_id);
            Ok(found.map(|((_, row), _)| row.clone()))
        })
    }

    fn asked_create(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<Option<AskedCreate>, StorageError>> {
        Box::pin(async move { Ok(self.lock().asked.get(&(resource, row)).cloned()) })
    }

    fn is_create_refused(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        Box::pin(async move { Ok(self.lock().refused.contains_key(&(resource, row))) })
    }

    fn due_entries(
        &self,
        now_ms: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let due = tables.pending().filter(|e| e.due_ms <= now_ms && tables.is_head(e));
            let mut due: Vec<OutboxEntry> = due.cloned().collect();
            due.sort_by_key(|entry| (entry.due_ms, entry.seq));
            due.truncate(limit);
            Ok(due)
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

    fn outbox_entry(&self, seq: Seq) -> BoxFuture<'_, Result<Option<OutboxEntry>, StorageError>> {
        Box::pin(async move { Ok(self.lock().outbox.get(&seq).cloned()) })
    }

    fn dead_letters(&self, limit: usize) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let dead = tables.outbox.values().filter(|entry| entry.state == EntryState::Dead);
            Ok(dead.take(limit).cloned().collect())
        })
    }

    fn owed_since(&self, accepted_ms: u64) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let old = tables.pending().filter(|entry| entry.entry.accepted_ms <= accepted_ms);
            Ok(old.count() as u64)
        })
    }

    fn owing_paths(&self, limit: usize) -> BoxFuture<'_, Result<Vec<OwingPath>, StorageError>> {
        Box::pin(async move {
            let tables = self.lock();
            let mut paths = BTreeMap::<PathId, OwingPath>::new();
            for one in tables.outbox.values() {
                let (path, at) = (one.entry.path.clone(), one.entry.accepted_ms);
                let none = OwingPath { path: path.clone(), pending: 0, dead: 0, oldest_ms: at };
                let owing = paths.entry(path).or_insert(none);
                owing.oldest_ms = owing.oldest_ms.min(at);
                match one.state {
                    EntryState::Pending => owing.pending += 1,
                    EntryState::Dead => owing.dead += 1,
                }
            }
            let mut paths: Vec<_> = paths.into_values().collect();
            paths.sort_by(|a, b| (a.oldest_ms, &a.path).cmp(&(b.oldest_ms, &b.path)));
            paths.truncate(limit);
            Ok(paths)
        })
    }

    fn open_intents(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Intent>, StorageError>> {
        Box::pin(async move {
            let mut open: Vec<_> = self.lock().intents.values().cloned().collect();
            open.sort_by_key(|intent| (intent.opened_ms, intent.id));
            open.truncate(limit);
            Ok(open)
        })
    }

    fn audit(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AuditRecord>, StorageError>> {
        Box::pin(async move {
            let entries = self.lock().audit.clone();
            let numbered = (1_i64..).zip(entries);
            let mut records: Vec<_> =
                numbered.map(|(number, entry)| AuditRecord { number, entry }).collect();
            records.retain(|record| before.is_none_or(|before| record.number < before));
            records.reverse();
            records.truncate(limit);
            Ok(records)
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
