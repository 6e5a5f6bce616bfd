//! The end of a demo: what both sides hold, held against each other and against the ledger.

use std::collections::BTreeMap;

use serde_json::Value;

use super::checks::{self, Check};
use super::error::DemoError;
use super::legacy_api::Seed;
use super::script::WRONG_FIELD;
use super::world::World;
use crate::flags::{RollbackState, Scope, SwitchState};
use crate::migration::PathId;
use crate::record::Recording;
use crate::resource::store_rows;

/// How the sockets ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sockets {
    /// Clients that were connected.
    pub(super) all: usize,
    /// Clients whose sockets were closed as drained.
    pub(super) drained: usize,
}

/// Looks at everything. Nobody writes any more, and nothing is under way.
pub(super) async fn verify(world: &World, sockets: Sockets) -> Result<Vec<Check>, DemoError> {
    let legacy = world.legacy_rows().await?;
    let store = stored_rows(world).await?;
    let ledger = &world.shared.ledger;
    let storage = world.server.storage();
    let outbox = storage.outbox_summary(0).await?;
    world.server.recorder().flush().await?;
    let recording = Recording::open_read(&world.recordings).await?;
    let (verdicts, signatures) = (recording.verdicts().await?, recording.signatures().await?);
    let tally = &world.shared.tally;
    let counts = tally.counts();
    let kept = is_tripped(&crate::serve::switch::read(&**storage).await?);
    Ok(vec![
        checks::equal(&legacy, &store, &ledger.written_after_switch()),
        checks::nothing_lost(&ledger.judge(&world.seeded, &legacy)),
        checks::nothing_owed(&outbox),
        checks::explained(&verdicts, &signatures, WRONG_FIELD),
        checks::switched_back(&counts, kept, sockets.all, sockets.drained),
        checks::nothing_failed(&counts, &tally.failures()),
    ])
}

fn is_tripped(state: &RollbackState) -> bool {
    matches!(state.get(&Scope::All), Some(SwitchState::Tripped(_)))
}

/// All rows of all paths, by id, in the legacy API's own shape.
async fn stored_rows(world: &World) -> Result<BTreeMap<String, Value>, DemoError> {
    let mut all = BTreeMap::new();
    for number in 0..world.shared.scale.organisations {
        let path = PathId::new(&format!("org/{}", Seed::organisation(number)))
            .map_err(|error| DemoError::Broken(error.to_string()))?;
        let handle = world.server.registry().get(&path).await?;
        let resource = world.resource.clone();
        let rows = handle.read(move |store| {
            let rows = store_rows(store, &resource.table);
            let row = |(id, row): (crate::resource::Text, _)| {
                (id.to_string(), resource.schema.json_from_row(row))
            };
            rows.map(row).collect::<Vec<_>>()
        });
        all.extend(rows.await.map_err(|error| DemoError::Broken(error.to_string()))?);
    }
    Ok(all)
}
