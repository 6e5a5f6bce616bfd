//! Keeps a follower's stages, rollback switch and revocations in step with the database and the flags.

use std::time::Duration;

use tokio::sync::watch;

use super::Parts;
use crate::serve::keeper::{ROLLBACK_POLL, kept_stages};
use crate::serve::outage::Outage;
use crate::serve::{revoked, switch};

/// How often metrics are kept from growing.
const UPKEEP: Duration = Duration::from_secs(2);

/// Runs until told to stop.
pub(super) async fn run(parts: Parts, stopping: watch::Receiver<bool>) {
    let mut stop = std::pin::pin!(crate::serve::told(stopping));
    let mut documents = parts.stages.evaluation().toggles().subscribe();
    let mut trips = parts.stages.rollback().subscribe();
    let mut poll = tokio::time::interval(ROLLBACK_POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut upkeep = tokio::time::interval(UPKEEP);
    let (mut rollback, mut revoked_list) =
        (Outage::of("the rollback switch"), Outage::of("the list of revocations"));
    loop {
        tokio::select! {
            _ = documents.changed() => {
                if let Some(tripped) = parts.stages.obey_kill_switch(parts.clock.now_ms()) {
                    parts.audit.note(&tripped.actor, "rollback", "*", &tripped.reason);
                }
            }
            _ = trips.changed() => {}
            _ = poll.tick() => {}
            _ = upkeep.tick() => parts.metrics.run_upkeep(),
            () = &mut stop => return,
        }
        if rollback.take(switch::keep(&*parts.storage, &parts.stages).await) {
            metrics::counter!("crossfade_rollback_not_replicated_total").increment(1);
        }
        revoked::look(&*parts.storage, &parts.revocations, &mut revoked_list).await;
        // The holder keeps what holds; without flags it is what holds here, too.
        match kept_stages(&*parts.storage).await {
            Ok(stages) => parts.stages.learn(stages),
            Err(error) => tracing::warn!(%error, "last known stages cannot be read"),
        }
    }
}
