//! What is going on, read every now and then: from the counters, the database and the recording.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

use super::error::DemoError;
use super::script::Audience;
use super::tally::Tally;
use super::world::World;
use crate::flags::StageDecider;
use crate::migration::{ResourceName, Stage};
use crate::record::Recording;
use crate::storage::SharedStorage;

/// How often the meters are read.
const EVERY: Duration = Duration::from_millis(250);

/// One reading. What could not be read is what it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meters {
    /// Since the first scene.
    pub elapsed: Duration,
    /// The stage in force.
    pub stage: Stage,
    /// REST requests that were answered.
    pub requests: u64,
    /// Those that the store answered.
    pub from_store: u64,
    /// Comparisons so far, by the verdict's word.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Edits of sync clients.
    pub edits: u64,
    /// Writes that legacy is owed now.
    pub owed: u64,
    /// Writes that were given up.
    pub dead: u64,
}

/// Reads the meters.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    begun: Instant,
    stages: Arc<StageDecider>,
    resource: ResourceName,
    storage: SharedStorage,
    recordings: PathBuf,
    tally: Arc<Tally>,
}

impl Reader {
    pub(super) fn of(world: &World) -> Self {
        Self {
            begun: Instant::now(),
            stages: world.server.stages().clone(),
            resource: world.resource.name.clone(),
            storage: world.server.storage().clone(),
            recordings: world.recordings.clone(),
            tally: world.shared.tally.clone(),
        }
    }

    /// Reads them now.
    pub(super) async fn read(&self) -> Result<Meters, DemoError> {
        let owed = self.storage.outbox_summary(0).await?;
        let mut verdicts: BTreeMap<&'static str, u64> = BTreeMap::new();
        for one in Recording::open_read(&self.recordings).await?.verdicts().await? {
            *verdicts.entry(one.verdict.as_str()).or_default() += one.count;
        }
        let counts = self.tally.counts();
        Ok(Meters {
            elapsed: self.begun.elapsed(),
            stage: self.stages.decide(&self.resource).effective,
            requests: counts.requests,
            from_store: counts.from_store,
            verdicts,
            edits: counts.edits,
            owed: owed.pending,
            dead: owed.dead,
        })
    }

    /// Shows them to the audience until the handle is dropped.
    pub(super) fn show(&self, audience: Arc<dyn Audience>) -> AbortOnDropHandle<()> {
        let reader = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                // A reading that fails is left out: the demo itself tells what is wrong.
                if let Ok(meters) = reader.read().await {
                    audience.meters(&meters);
                }
                tokio::time::sleep(EVERY).await;
            }
        }))
    }
}
