//! Backfills of this process, one a resource at a time, whoever begins them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::build::Parts;
use crate::migration::ResourceName;
use crate::resource::Resource;
use crate::sync::backfill::BackfillProgress;

/// How far a backfill is.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct BackfillState {
    /// Whether it is under way.
    pub running: bool,
    /// How far it is.
    pub progress: BackfillProgress,
    /// Why the last one failed.
    pub error: Option<String>,
}

/// The state of each resource's last one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backfills(Arc<Mutex<BTreeMap<ResourceName, BackfillState>>>);

impl Backfills {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ResourceName, BackfillState>> {
        // Every change is one step, so a poisoned lock hides nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far each one is.
    pub(super) fn states(&self) -> BTreeMap<ResourceName, BackfillState> {
        self.lock().clone()
    }

    /// Notes that one begins; `false` if one is under way.
    pub(super) fn begin(&self, resource: &ResourceName) -> bool {
        let mut states = self.lock();
        let state = states.entry(resource.clone()).or_default();
        let free = !state.running;
        if free {
            *state = BackfillState { running: true, ..BackfillState::default() };
        }
        free
    }
}

/// Runs one that was noted as begun, to its end. Gives whether it is finished.
pub(super) async fn run(parts: &Parts, resource: &Arc<Resource>) -> bool {
    let name = &resource.name;
    let told = |progress: BackfillProgress| {
        if let Some(state) = parts.backfills.lock().get_mut(name) {
            state.progress = progress;
        }
    };
    let outcome = parts.backfill.run(resource, told).await;
    if let Err(error) = &outcome {
        tracing::error!(resource = %name, %error, "backfill stopped");
    }
    let finished = outcome.is_ok();
    if let Some(state) = parts.backfills.lock().get_mut(name) {
        state.running = false;
        state.error = outcome.err().map(|e| e.to_string());
    }
    finished
}
