//! The rollback switch in the database: merged, never overwritten, whoever writes at the same time.

use std::time::Instant;

use crate::flags::{RollbackState, RollbackSwitch, StageDecider};
use crate::storage::{ControlOp, Storage, StorageError};

/// Control key of the rollback switch.
const KEY: &str = "rollback";
/// Writers that may come in between before it is given up.
const TRIES: u32 = 16;

/// The switch as the database has it.
///
/// # Errors
/// [`StorageError`] if it cannot be read.
pub(crate) async fn read(storage: &dyn Storage) -> Result<RollbackState, StorageError> {
    parse(storage.control(KEY.to_owned()).await?.as_deref())
}

fn parse(text: Option<&str>) -> Result<RollbackState, StorageError> {
    text.map_or_else(
        || Ok(RollbackState::default()),
        |text| {
            let damaged = |e: serde_json::Error| StorageError::Damaged {
                what: "rollback switch",
                reason: e.to_string(),
            };
            serde_json::from_str(text).map_err(damaged)
        },
    )
}

/// Brings the switch and the database to the same state: of each scope the one with the highest epoch.
///
/// # Errors
/// [`StorageError`] if the database cannot be read or written; the switch holds in memory all the same.
pub(crate) async fn keep(storage: &dyn Storage, stages: &StageDecider) -> Result<(), StorageError> {
    let switch = stages.rollback();
    let asked = Instant::now();
    keep_in(storage, switch, || stages.looked(asked)).await
}

/// The same without stages; `looked` is called once the switch is at least what the database says.
///
/// # Errors
/// As [`keep`].
pub(crate) async fn keep_in(
    storage: &dyn Storage,
    switch: &RollbackSwitch,
    looked: impl Fn(),
) -> Result<(), StorageError> {
    for _ in 0..TRIES {
        let from = storage.control(KEY.to_owned()).await?;
        switch.merge(&parse(from.as_deref())?);
        looked();
        let to = serde_json::to_string(&*switch.state())
            .map_err(|e| StorageError::Failed(format!("rollback switch: {e}")))?;
        if from.as_deref() == Some(to.as_str()) {
            return Ok(());
        }
        let swap = ControlOp::Swap { key: KEY.to_owned(), from, to };
        match storage.commit_control(vec![swap]).await {
            Err(StorageError::Changed(_)) => {}
            outcome => return outcome,
        }
    }
    Err(StorageError::Changed(KEY.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::Scope;
    use crate::storage::MemoryStorage;

    #[tokio::test]
    async fn two_processes_end_with_the_same_switch() {
        let storage = MemoryStorage::default();
        let [one, two] = [(); 2].map(|()| RollbackSwitch::new(RollbackState::default()));
        one.trip(&Scope::All, "a", "first", 1, false);
        keep_in(&storage, &one, || {}).await.unwrap();
        // The second process knows nothing of it yet, and must not wipe it out.
        keep_in(&storage, &two, || {}).await.unwrap();
        assert_eq!(*two.state(), *one.state());
        assert!(two.lift(&Scope::All, "b", "over").is_some());
        keep_in(&storage, &two, || {}).await.unwrap();
        keep_in(&storage, &one, || {}).await.unwrap();
        assert_eq!(*one.state(), *two.state());
        assert_eq!(read(&storage).await.unwrap(), *one.state());
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_written_leaves_it_in_memory() {
        let storage = MemoryStorage::default();
        let switch = RollbackSwitch::new(RollbackState::default());
        switch.trip(&Scope::All, "a", "why", 1, false);
        storage.fail_commits(1);
        assert!(keep_in(&storage, &switch, || {}).await.is_err());
        assert!(switch.state().get(&Scope::All).is_some());
        keep_in(&storage, &switch, || {}).await.unwrap();
        assert_eq!(read(&storage).await.unwrap(), *switch.state());
    }
}
