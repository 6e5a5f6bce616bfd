//! Keeps stages and the rollback switch in step with the database and the flags, and drains sockets when
//! sync is switched off.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;

use super::build::Parts;
use super::switch;
use crate::migration::{ResourceName, Stage};
use crate::record::{Event, Note, NoteKind};
use crate::storage::ControlOp;

/// Control keys of last known stages begin with this.
pub(super) const STAGE_KEY: &str = "stage.";

/// How often the database is asked for a rollback that another process has thrown.
const ROLLBACK_POLL: Duration = Duration::from_millis(250);

/// Runs until told to stop.
pub(super) async fn run(parts: Parts, stopping: watch::Receiver<bool>) {
    let mut stop = std::pin::pin!(super::told(stopping));
    let mut documents = parts.stages.evaluation().toggles().subscribe();
    let mut trips = parts.stages.rollback().subscribe();
    let mut seen: HashMap<ResourceName, Stage> = HashMap::new();
    let mut poll = tokio::time::interval(ROLLBACK_POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = documents.changed() => {
                parts.stages.obey_kill_switch(parts.clock.now_ms());
            }
            _ = trips.changed() => {}
            _ = poll.tick() => {}
            () = &mut stop => return,
        }
        keep_rollback(&parts).await;
        keep_stages(&parts).await;
        follow(&parts, &mut seen).await;
    }
}

/// Keeps the switch in step with the database, where other processes throw it too.
async fn keep_rollback(parts: &Parts) {
    if let Err(error) = switch::keep(&*parts.storage, parts.stages.rollback()).await {
        metrics::counter!("crossfade_rollback_not_replicated_total").increment(1);
        tracing::error!(%error, "the rollback switch is not replicated; it holds as it is");
    }
}

async fn keep_stages(parts: &Parts) {
    let changes = parts.stages.remember();
    if changes.is_empty() {
        return;
    }
    let ops = changes.iter().map(|change| ControlOp::Put {
        key: format!("{STAGE_KEY}{}", change.resource),
        value: change.stage.as_str().to_owned(),
    });
    match parts.storage.commit_control(ops.collect()).await {
        Ok(()) => parts.stages.kept(&changes),
        Err(error) => tracing::warn!(%error, "last known stages are not kept yet"),
    }
}

/// Notes changes of effective stages, and drains sockets when the last resource is switched off.
async fn follow(parts: &Parts, seen: &mut HashMap<ResourceName, Stage>) {
    let mut changed = false;
    for resource in &parts.config.resources {
        let stage = parts.stages.decide(&resource.name);
        if !stage.effective.writes_both() && stage.effective != Stage::Complete {
            // Whatever is written now reaches legacy alone.
            parts.backfill.caught_up.lose(&resource.name);
        }
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
