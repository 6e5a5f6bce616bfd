//! Keeps stages, the rollback switch and revocations in step with the database and the flags, and drains sockets when
//! sync is switched off.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::backlog::Look;
use super::build::Parts;
use super::outage::Outage;
use super::{passed, revoked, switch};
use crate::migration::{ResourceName, Stage};
use crate::record::{Event, Note, NoteKind};
use crate::storage::{ControlOp, Storage, StorageError};
use crate::sync::Missed;

/// Control keys of last known stages begin with this.
const STAGE_KEY: &str = "stage.";

/// Control keys of tallies begin with this.
pub(super) const TALLY_KEY: &str = "tally.";

/// How often tallies are kept, if anything was counted. What a kill loses are the comparisons that were made since, a failure
/// among them too: both sides of the count, so it is not bent either way.
const KEEP_TALLIES: Duration = Duration::from_secs(2);

/// How often it is looked what is owed, while a step may depend on it.
const BACKLOG_LOOK: Duration = Duration::from_secs(1);

/// How often the database is asked for a rollback that another process has thrown.
pub(super) const ROLLBACK_POLL: Duration = Duration::from_millis(250);

/// Runs until told to stop.
pub(super) async fn run(parts: Parts, stopping: watch::Receiver<bool>) {
    let mut stop = std::pin::pin!(super::told(stopping));
    let mut documents = parts.stages.evaluation().toggles().subscribe();
    let mut trips = parts.stages.rollback().subscribe();
    let mut seen: HashMap<ResourceName, Stage> = HashMap::new();
    let mut kept = KeptTallies::default();
    let mut backlog_due = Instant::now();
    let (mut rollback, mut revoked_list) =
        (Outage::of("the rollback switch"), Outage::of("the list of revocations"));
    let mut poll = tokio::time::interval(ROLLBACK_POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = documents.changed() => {
                obey_kill_switch(&parts);
            }
            _ = trips.changed() => {}
            _ = poll.tick() => {}
            () = &mut stop => return kept.keep_now(&parts).await,
        }
        keep_rollback(&parts, &mut rollback).await;
        revoked::look(&*parts.storage, &parts.revocations, &mut revoked_list).await;
        take_in_passed(&parts).await;
        if backlog_due <= Instant::now() {
            look_at_backlog(&parts).await;
            backlog_due = Instant::now() + BACKLOG_LOOK;
        }
        parts.interlocks.refresh();
        keep_stages(&parts).await;
        follow(&parts, &mut seen).await;
        kept.keep(&parts).await;
    }
}

/// The last known stages, as the database has them.
///
/// # Errors
/// [`StorageError`] if it cannot be read.
pub(crate) async fn kept_stages(
    storage: &dyn Storage,
) -> Result<Vec<(ResourceName, Stage)>, StorageError> {
    let stored = storage.controls(STAGE_KEY.to_owned()).await?;
    let known = stored.into_iter().filter_map(|(key, stage)| {
        let name = key.strip_prefix(STAGE_KEY)?.to_owned();
        Some((ResourceName::new(name), stage.parse::<Stage>().ok()?))
    });
    Ok(known.collect())
}

/// Keeps the switch in step with the database, where other processes throw it too.
async fn keep_rollback(parts: &Parts, outage: &mut Outage) {
    if outage.take(switch::keep(&*parts.storage, &parts.stages).await) {
        metrics::counter!("crossfade_rollback_not_replicated_total").increment(1);
    }
}

fn obey_kill_switch(parts: &Parts) {
    if let Some(tripped) = parts.stages.obey_kill_switch(parts.clock.now_ms()) {
        parts.audit.note(&tripped.actor, "rollback", "*", &tripped.reason);
    }
}

/// What followers sent past this process.
async fn take_in_passed(parts: &Parts) {
    if parts.config.cluster.advertise.is_none() {
        return;
    }
    let (storage, caught_up) = (&*parts.storage, &parts.backfill.caught_up);
    if let Err(error) = passed::take_in(storage, caught_up, &parts.stages).await {
        tracing::warn!(%error, "it cannot be read what followers sent to legacy alone");
    }
}

/// What is owed decides about the step beyond `live`, and about no other.
async fn look_at_backlog(parts: &Parts) {
    let is_live = |one: &ResourceName| parts.stages.decide(one).effective >= Stage::Live;
    if !parts.config.resources.iter().any(|resource| is_live(&resource.name)) {
        return;
    }
    let look = match Look::at(&*parts.storage).await {
        Ok(look) => Some(look),
        Err(error) => {
            tracing::warn!(%error, "it cannot be read what is owed");
            None
        }
    };
    parts.interlocks.looked(look, parts.clock.now_ms());
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

/// The tallies as the database has them.
#[derive(Default)]
struct KeptTallies {
    kept: HashMap<ResourceName, String>,
    at: Option<Instant>,
}

impl KeptTallies {
    async fn keep(&mut self, parts: &Parts) {
        if self.at.is_none_or(|at| at.elapsed() >= KEEP_TALLIES) {
            self.keep_now(parts).await;
        }
    }

    async fn keep_now(&mut self, parts: &Parts) {
        self.at = Some(Instant::now());
        // What nobody scrapes must not grow: histograms keep every value until then.
        parts.metrics.run_upkeep();
        let now = parts.config.resources.iter().filter_map(|resource| {
            let text = parts.tallies.to_keep(&resource.name)?;
            (self.kept.get(&resource.name) != Some(&text)).then(|| (resource.name.clone(), text))
        });
        let changed: Vec<_> = now.collect();
        if changed.is_empty() {
            return;
        }
        let put = |(name, text): &(ResourceName, String)| ControlOp::Put {
            key: format!("{TALLY_KEY}{name}"),
            value: text.clone(),
        };
        match parts.storage.commit_control(changed.iter().map(put).collect()).await {
            Ok(()) => self.kept.extend(changed),
            Err(error) => tracing::warn!(%error, "tallies are not kept yet"),
        }
    }
}

/// Notes changes of effective stages, and drains sockets when the last resource is switched off.
async fn follow(parts: &Parts, seen: &mut HashMap<ResourceName, Stage>) {
    let mut changed = false;
    for resource in &parts.config.resources {
        let stage = parts.stages.decide(&resource.name);
        if !stage.effective.writes_both() && stage.effective != Stage::Complete {
            // Whatever is written now reaches legacy alone.
            parts.backfill.caught_up.lose(&resource.name, Missed::default());
        }
        parts.tallies.begin(&resource.name, stage.effective, parts.clock.now_ms());
        let before = seen.insert(resource.name.clone(), stage.effective);
        if before == Some(stage.effective) {
            continue;
        }
        changed = true;
        let from = before.map_or("start".to_owned(), |stage| stage.to_string());
        let text = format!("{}: {from} → {}", resource.name, stage.effective);
        tracing::info!(resource = %resource.name, stage = %stage.effective, "stage");
        if before.is_some() {
            let reason = serde_json::to_string(&stage.because).unwrap_or_default();
            let what = format!("stage {from} → {}", stage.effective);
            parts.audit.note("flags", &what, resource.name.as_str(), &reason);
        }
        let at_ms = parts.clock.now_ms();
        parts.recorder.record(Event::Note(Note { at_ms, kind: NoteKind::Stage, text }));
    }
    if changed && seen.values().all(|stage| *stage == Stage::Off) {
        parts.registry.drain_all().await;
    }
}
