//! Runs backfills by itself where a store may lack a write that crossfade was to mirror: after a kill in the middle of a
//! create, or an answer that left open which row it made.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::build::Parts;
use super::jobs;
use crate::migration::ResourceName;
use crate::sync::Standing;

/// How often it is looked whether a store is to be mended.
const LOOK: Duration = Duration::from_millis(500);
/// Wait after a backfill that failed; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Runs until told to stop.
pub(super) async fn run(parts: Parts, stopping: watch::Receiver<bool>) {
    let mut stop = std::pin::pin!(super::told(stopping));
    let mut failed: HashMap<ResourceName, (u32, Instant)> = HashMap::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = &mut stop => return,
        }
        for resource in &parts.config.resources {
            let name = &resource.name;
            let Standing::Mending { after_ms } = parts.backfill.caught_up.standing(name) else {
                failed.remove(name);
                continue;
            };
            let waits = failed.get(name).is_some_and(|(_, until)| *until > Instant::now());
            let due = after_ms <= parts.clock.now_ms() && !waits;
            if !due || !parts.stages.decide(name).effective.writes_both() {
                continue;
            }
            if !parts.backfills.begin(name) {
                continue;
            }
            tracing::info!(resource = %name, "a backfill mends its store");
            metrics::counter!("crossfade_mends_total").increment(1);
            let finished = tokio::select! {
                finished = jobs::backfill(&parts, resource) => finished,
                // What was copied stays; the next process begins anew.
                () = &mut stop => return,
            };
            if !finished {
                let (times, until) = failed.entry(name.clone()).or_insert((0, Instant::now()));
                *until =
                    Instant::now() + FIRST_WAIT.saturating_mul(1 << (*times).min(6)).min(MAX_WAIT);
                *times += 1;
            }
        }
    }
}
