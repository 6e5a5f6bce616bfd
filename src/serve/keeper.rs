//! Keeps stages and the rollback switch in step with the database and the flags, and drains sockets when
//! sync is switched off.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;

use super::build::Parts;
use crate::flags::RollbackState;
use crate::migration::{ResourceName, Stage};
use crate::record::{Event, Note, NoteKind};
use crate::storage::{Op, StorageError};

/// Control keys of last known stages begin with this.
pub(super) const STAGE_KEY: &str = "stage.";
/// Control key of the rollback switch.
pub(crate) const ROLLBACK_KEY: &str = "rollback";

/// How often the database is asked for a rollback that another process has thrown.
const ROLLBACK_POLL: Duration = Duration::from_millis(250);

/// Runs until told to stop.
pub(super) async fn run(parts: Parts, stopping: watch::Receiver<bool>) {
    let mut stop = std::pin::pin!(super::told(stopping));
    let mut documents = parts.stages.evaluation().toggles().subscribe();
    let mut trips = parts.stages.rollback().subscribe();
    let mut seen: HashMap<ResourceName, Stage> = HashMap::new();
    let mut kept = RollbackState::default();
    let mut poll = tokio::time::interval(ROLLBACK_POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = documents.changed() => {
                parts.stages.obey_kill_switch(parts.clock.now_ms());
            }
            _ = trips.changed() => {}
            _ = poll.tick() => merge_rollback(&parts).await,
            () = &mut stop => return,
        }
        keep_rollback(&parts, &mut kept).await;
        keep_stages(&parts).await;
        follow(&parts, &mut seen).await;
    }
}

async fn merge_rollback(parts: &Parts) {
    match parts.storage.control(ROLLBACK_KEY.to_owned()).await {
        Ok(Some(text)) => match serde_json::from_str::<RollbackState>(&text) {
            Ok(state) => {
                parts.stages.rollback().merge(&state);
            }
            Err(error) => tracing::error!(%error, "the kept rollback switch cannot be read"),
        },
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(%error, "the rollback switch cannot be read; it holds as it is")
        }
    }
}

/// Keeps the switch as it is now, if it changed.
async fn keep_rollback(parts: &Parts, kept: &mut RollbackState) {
    let state = parts.stages.rollback().state();
    if *state == *kept {
        return;
    }
    match store_rollback(parts).await {
        Ok(()) => *kept = (*state).clone(),
        Err(error) => {
            tracing::error!(%error, "the rollback switch is not replicated: the database cannot be written");
        }
    }
}

/// Keeps the switch in the database.
pub(super) async fn store_rollback(parts: &Parts) -> Result<(), StorageError> {
    let state = parts.stages.rollback().state();
    let value = serde_json::to_string(&*state)
        .map_err(|e| StorageError::Failed(format!("rollback switch: {e}")))?;
    let op = Op::PutControl { key: ROLLBACK_KEY.to_owned(), value };
    parts.storage.commit(vec![op]).await.map(drop)
}

async fn keep_stages(parts: &Parts) {
    let changes = parts.stages.remember();
    if changes.is_empty() {
        return;
    }
    let ops = changes.iter().map(|change| Op::PutControl {
        key: format!("{STAGE_KEY}{}", change.resource),
        value: change.stage.as_str().to_owned(),
    });
    match parts.storage.commit(ops.collect()).await {
        Ok(_) => parts.stages.kept(&changes),
        Err(error) => tracing::warn!(%error, "last known stages are not kept yet"),
    }
}

/// Notes changes of effective stages, and drains sockets when the last resource is switched off.
async fn follow(parts: &Parts, seen: &mut HashMap<ResourceName, Stage>) {
    let mut changed = false;
    for resource in &parts.config.resources {
        let stage = parts.stages.decide(&resource.name);
        let before = seen.insert(resource.name.clone(), stage.effective);
        if before == Some(stage.effective) {
            continue;
        }
        changed = true;
        let from = before.map_or("start".to_owned(), |stage| stage.to_string());
        let text = format!("{}: {from} → {}", resource.name, stage.effective);
        tracing::info!(resource = %resource.name, stage = %stage.effective, "stage");
        let at_ms = parts.clock.now_ms();
        parts.recorder.record(Event::Note(Note { at_ms, kind: NoteKind::Stage, text }));
    }
    if changed && seen.values().all(|stage| *stage == Stage::Off) {
        parts.registry.drain_all().await;
    }
}
