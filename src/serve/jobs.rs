//! Long work of this process, one of a kind a resource at a time, whoever begins it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::build::Parts;
use crate::migration::ResourceName;
use crate::resource::Resource;
use crate::sync::LegacyRowError;
use crate::sync::backfill::BackfillProgress;
use crate::sync::reconcile::{Authority, Reconciliation};

/// How far a job is.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct JobState<P> {
    /// Whether it is under way.
    pub running: bool,
    /// How far it is, or what it came to.
    pub progress: P,
    /// Why the last one failed.
    pub error: Option<String>,
}

/// The state of each resource's last one.
#[derive(Debug)]
pub(crate) struct Jobs<P>(Arc<Mutex<BTreeMap<ResourceName, JobState<P>>>>);

impl<P> Clone for Jobs<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P> Default for Jobs<P> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<P: Clone + Default> Jobs<P> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ResourceName, JobState<P>>> {
        // Every change is one step, so a poisoned lock hides nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far each one is.
    pub(super) fn states(&self) -> BTreeMap<ResourceName, JobState<P>> {
        self.lock().clone()
    }

    /// Notes that one begins; `false` if one is under way.
    pub(super) fn begin(&self, resource: &ResourceName) -> bool {
        let mut states = self.lock();
        let state = states.entry(resource.clone()).or_default();
        let free = !state.running;
        if free {
            *state = JobState { running: true, ..JobState::default() };
        }
        free
    }

    fn told(&self, resource: &ResourceName, progress: P) {
        if let Some(state) = self.lock().get_mut(resource) {
            state.progress = progress;
        }
    }

    /// Notes that one has ended. Gives whether it came to its end.
    fn end<T>(&self, resource: &ResourceName, outcome: Result<T, LegacyRowError>) -> bool {
        let ended = outcome.is_ok();
        if let Some(state) = self.lock().get_mut(resource) {
            state.running = false;
            state.error = outcome.err().map(|e| e.to_string());
        }
        ended
    }
}

/// Runs a backfill that was noted as begun, to its end. Gives whether it is finished.
pub(super) async fn backfill(parts: &Parts, resource: &Arc<Resource>) -> bool {
    let name = &resource.name;
    let told = |progress: BackfillProgress| parts.backfills.told(name, progress);
    let outcome = parts.backfill.run(resource, told).await;
    if let Err(error) = &outcome {
        tracing::error!(resource = %name, %error, "backfill stopped");
    }
    parts.backfills.end(name, outcome)
}

/// Runs a reconcile that was noted as begun, to its end.
pub(super) async fn reconcile(parts: &Parts, resource: &Arc<Resource>, repair: Option<Authority>) {
    let name = &resource.name;
    let told = |found: &Reconciliation| parts.reconciles.told(name, found.clone());
    let outcome = parts.reconcile.run(resource, repair, told).await;
    match &outcome {
        Ok(found) => {
            let (differ, repaired) = (found.diverged(), found.repaired);
            metrics::counter!("crossfade_reconciles_total").increment(1);
            tracing::info!(resource = %name, differ, repaired, "both sides were compared in full");
        }
        Err(error) => tracing::error!(resource = %name, %error, "reconcile stopped"),
    }
    parts.reconciles.end(name, outcome);
}
