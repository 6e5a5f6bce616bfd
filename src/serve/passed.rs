//! Writes that a follower sent to legacy itself, past the process that holds the database: noted in the database first, so
//! that the holder, and whoever takes over from it, knows that its stores lack them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::clock::SharedClock;
use crate::flags::StageDecider;
use crate::migration::ResourceName;
use crate::storage::{ControlOp, SharedStorage, Storage, StorageError};
use crate::sync::{CaughtUp, Missed};

/// Control keys begin with this; then come a process and, after a point, a resource.
const PREFIX: &str = "passed.";
/// For how long ahead a note speaks: of many writes in a row, one a second is noted.
const AHEAD_MS: u64 = 1_000;
/// How long a write waits for its note, as for an intent (design §5).
const NOTE_WAIT: Duration = Duration::from_millis(5);
/// Wait before a note is tried again that could not be kept.
const RETRY_WAIT: Duration = Duration::from_millis(250);
/// How often that is. After it the next write notes anew.
const TRIES: u32 = 40;

/// A follower's notes.
#[derive(Debug, Clone)]
pub(super) struct PassedBy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    storage: SharedStorage,
    clock: SharedClock,
    /// How long a request that crossfade lost sight of may still change legacy, in milliseconds.
    settle_ms: u64,
    /// The process's name in keys: no point in it.
    process: String,
    /// What was noted. One entry a resource.
    noted: Mutex<HashMap<ResourceName, Missed>>,
    keeping: TaskTracker,
}

impl PassedBy {
    pub(super) fn new(
        storage: SharedStorage,
        clock: SharedClock,
        settle: Duration,
        process: u64,
    ) -> Self {
        Self(Arc::new(Inner {
            storage,
            clock,
            settle_ms: u64::try_from(settle.as_millis()).unwrap_or(u64::MAX),
            process: format!("{process:016x}"),
            noted: Mutex::default(),
            keeping: TaskTracker::new(),
        }))
    }

    /// Notes that legacy alone is asked to write now, or was until now. Waits until that is kept, 5 ms at most.
    pub(super) async fn note(&self, resource: &ResourceName) {
        metrics::counter!("crossfade_follower_passed_by_total").increment(1);
        let now_ms = self.0.clock.now_ms();
        let missed = {
            let mut noted = self.0.noted.lock().unwrap_or_else(PoisonError::into_inner);
            let known = noted.entry(resource.clone()).or_default();
            if now_ms <= known.done_ms {
                return;
            }
            let done_ms = now_ms.saturating_add(AHEAD_MS);
            let settled_ms = done_ms.saturating_add(self.0.settle_ms);
            *known = Missed { done_ms, settled_ms };
            *known
        };
        let (this, resource) = (self.clone(), resource.clone());
        let keeping = self.0.keeping.spawn(async move { this.keep(&resource, missed).await });
        // Past it the write goes all the same: a database that is slow must not make legacy slow.
        let _ = tokio::time::timeout(NOTE_WAIT, keeping).await;
    }

    async fn keep(&self, resource: &ResourceName, missed: Missed) {
        let key = format!("{PREFIX}{}.{resource}", self.0.process);
        let put = ControlOp::Put { key, value: missed.to_string() };
        for _ in 0..TRIES {
            let Err(error) = self.0.storage.commit_control(vec![put.clone()]).await else { return };
            tracing::warn!(%resource, %error, "it is not kept yet that writes pass the holder by");
            tokio::time::sleep(RETRY_WAIT).await;
        }
        metrics::counter!("crossfade_follower_unrecorded_total").increment(1);
        let mut noted = self.0.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.remove(resource);
    }

    /// Waits until nothing is being noted.
    pub(super) async fn idle(&self) {
        self.0.keeping.close();
        self.0.keeping.wait().await;
        self.0.keeping.reopen();
    }
}

/// What followers have noted, brought into what is known of the stores; then taken out. To be called before a store answers,
/// and every now and then.
///
/// # Errors
/// [`StorageError`] if the database cannot be read; nothing is lost by that.
pub(super) async fn take_in(
    storage: &dyn Storage,
    caught_up: &CaughtUp,
    stages: &StageDecider,
) -> Result<(), StorageError> {
    let notes = storage.controls(PREFIX.to_owned()).await?;
    let mut taken = Vec::new();
    for (key, value) in notes {
        let Some(missed) = Missed::parse(&value) else { continue };
        let Some((_, resource)) = key.strip_prefix(PREFIX).and_then(|of| of.split_once('.')) else {
            continue;
        };
        let resource = ResourceName::new(resource);
        if stages.decide(&resource).effective.writes_both() {
            caught_up.lose_for_now(&resource, missed);
        } else {
            caught_up.lose(&resource, missed);
        }
        // Empty stands for none; a note that came in between stays.
        taken.push(ControlOp::Swap { key, from: Some(value), to: String::new() });
    }
    if taken.is_empty() {
        return Ok(());
    }
    // Kept otherwise before it is forgotten here.
    caught_up.idle().await;
    for swap in taken {
        match storage.commit_control(vec![swap]).await {
            Ok(()) | Err(StorageError::Changed(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::flags::{Evaluation, FixedToggles, NoInterlock, RollbackSwitch};
    use crate::migration::Stage;
    use crate::storage::MemoryStorage;
    use crate::sync::Standing;

    fn stages(stage: Stage) -> StageDecider {
        let users = ResourceName::new("users");
        let toggles = FixedToggles::new("crossfade", Arc::new(SystemClock)).toggles();
        let evaluation = Evaluation::new(toggles, "crossfade", vec![users.clone()]);
        let switch = Arc::new(RollbackSwitch::default());
        StageDecider::new(evaluation, switch, Arc::new(NoInterlock), [(users, stage)])
    }

    #[tokio::test]
    async fn what_passes_the_holder_by_is_known_to_it_and_taken_in_once() {
        for stage in [Stage::Live, Stage::RampDown] {
            is_known_and_taken_in_once(stage).await;
        }
    }

    async fn is_known_and_taken_in_once(stage: Stage) {
        let memory = MemoryStorage::default();
        let storage: SharedStorage = Arc::new(memory.clone());
        let users = ResourceName::new("users");
        let caught_up = CaughtUp::load(storage.clone(), 0, Duration::ZERO).await.unwrap();
        assert!(caught_up.finish(&users, caught_up.begin(&users, u64::MAX)).await.unwrap());
        let settle = Duration::from_secs(30);
        let passed = PassedBy::new(storage.clone(), Arc::new(SystemClock), settle, 7);
        passed.note(&users).await;
        passed.note(&users).await;
        passed.idle().await;
        assert_eq!(storage.controls(PREFIX.to_owned()).await.unwrap().len(), 1);
        let live = stages(stage);
        take_in(&memory, &caught_up, &live).await.unwrap();
        let Standing::Mending { after_ms } = caught_up.standing(&users) else {
            panic!("{:?}", caught_up.standing(&users))
        };
        assert_eq!(caught_up.missed(&users).done_ms + 30_000, after_ms);
        // The next look finds nothing new, and a backfill is not undone by it.
        assert!(caught_up.finish(&users, caught_up.begin(&users, u64::MAX)).await.unwrap());
        take_in(&memory, &caught_up, &live).await.unwrap();
        assert!(caught_up.is(&users));
    }

    #[tokio::test]
    async fn what_passes_by_in_a_rollback_asks_for_an_operator_and_survives_a_database_that_fails()
    {
        let memory = MemoryStorage::default();
        let storage: SharedStorage = Arc::new(memory.clone());
        let users = ResourceName::new("users");
        let caught_up = CaughtUp::load(storage.clone(), 0, Duration::ZERO).await.unwrap();
        assert!(caught_up.finish(&users, caught_up.begin(&users, u64::MAX)).await.unwrap());
        let passed = PassedBy::new(storage, Arc::new(SystemClock), Duration::ZERO, 7);
        memory.fail_commits(1);
        passed.note(&users).await;
        passed.idle().await;
        take_in(&memory, &caught_up, &stages(Stage::Off)).await.unwrap();
        assert_eq!(caught_up.standing(&users), Standing::Unfinished);
    }
}
