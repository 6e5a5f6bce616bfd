//! Between the store's stamps and what storage keeps.

use mergeable_store::{Cell, ClientId, Container, Hlc, MergeableStore, Text};

use super::owed::Owed;
use crate::migration::PathId;
use crate::storage::{
    CellRecord, ContainerRecord, Generation, PathChunk, Storage, StorageError, ValueRecord,
};

/// A cell's newest stamp, to be kept.
pub(super) fn cell_record(ids: [&Text; 3], thing: Option<&Cell>, hlc: Hlc) -> CellRecord {
    let [table, row, cell] = ids.map(Clone::clone);
    CellRecord { table, row, cell, value: thing.map(Cell::encoded), hlc }
}

/// A value's newest stamp, to be kept.
pub(super) fn value_record(id: &Text, thing: Option<&Cell>, hlc: Hlc) -> ValueRecord {
    ValueRecord { id: id.clone(), value: thing.map(Cell::encoded), hlc }
}

/// A container's HLC, to be kept.
pub(super) fn container_record(container: &Container, hlc: Hlc) -> ContainerRecord {
    ContainerRecord { container: container.clone(), hlc }
}

/// Rebuilds a path's store from what was kept, chunk by chunk: while one is taken in, the next is read,
/// so that at most two are in memory. Each stamp is shown to `seen`.
pub(in crate::sync) async fn load(
    storage: &dyn Storage,
    path: &PathId,
    generation: Option<Generation>,
    client: ClientId,
    mut seen: impl FnMut(Hlc) + Send,
) -> Result<MergeableStore, StorageError> {
    let mut store = MergeableStore::new(client);
    let mut chunk = storage.read_path(path.clone(), generation, None).await?;
    loop {
        let Some(next) = chunk.next.take() else {
            take(&mut store, chunk, &mut seen)?;
            return Ok(store);
        };
        let reading = storage.read_path(path.clone(), generation, Some(next));
        // The reading is asked for first, and goes on while the chunk is taken in.
        let (read, taken) =
            tokio::join!(biased; reading, async { take(&mut store, chunk, &mut seen) });
        taken?;
        chunk = read?;
    }
}

fn take(
    store: &mut MergeableStore,
    chunk: PathChunk,
    seen: &mut impl FnMut(Hlc),
) -> Result<(), StorageError> {
    for r in chunk.cells {
        seen(r.hlc);
        store.load_cell(r.table, r.row, r.cell, thing(r.value.as_deref())?, r.hlc);
    }
    for r in chunk.values {
        seen(r.hlc);
        store.load_value(r.id, thing(r.value.as_deref())?, r.hlc);
    }
    for r in chunk.containers {
        store.load_container(&r.container, r.hlc);
    }
    Ok(())
}

fn thing(value: Option<&str>) -> Result<Option<Cell>, StorageError> {
    let damaged = |text: &str| StorageError::Damaged {
        what: "cell",
        reason: format!("{} bytes that cannot be read", text.len()),
    };
    value.map(|text| Cell::from_encoded(text).map_err(|_| damaged(text))).transpose()
}

/// What the path owes, as the outbox has it.
pub(super) async fn owed(
    storage: &dyn Storage,
    path: &PathId,
    now_ms: u64,
) -> Result<Owed, StorageError> {
    let mut owed = Owed::default();
    let entries = storage.entries_of(path.clone()).await?;
    // Dead letters too: legacy still lacks them, so its answers must not overwrite their cells; and one that is tried again
    // must be known.
    for entry in entries {
        let key = (entry.entry.resource, entry.entry.row);
        let cells = entry.entry.cells.into_iter();
        let cells = cells.map(|(id, stamp)| Ok((id, hlc(&stamp)?)));
        let cells = cells.collect::<Result<_, StorageError>>()?;
        owed.load(key, entry.seq, cells, entry.entry.actor, now_ms);
    }
    Ok(owed)
}

fn hlc(text: &str) -> Result<Hlc, StorageError> {
    let reason = format!("{} bytes that cannot be read", text.len());
    text.parse().map_err(|_| StorageError::Damaged { what: "stamp", reason })
}
