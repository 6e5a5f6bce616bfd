//! What is revoked, in the database: merged, never overwritten, whoever writes at the same time.

use super::outage::Outage;
use crate::identity::{RevocationState, Revocations};
use crate::storage::{ControlOp, Storage, StorageError};

/// Control key of what is revoked.
const KEY: &str = "revocations";
/// Writers that may come in between before it is given up.
const TRIES: u32 = 16;

/// What the database says.
///
/// # Errors
/// [`StorageError`] if it cannot be read.
pub(crate) async fn read(storage: &dyn Storage) -> Result<RevocationState, StorageError> {
    parse(storage.control(KEY.to_owned()).await?.as_deref())
}

fn parse(text: Option<&str>) -> Result<RevocationState, StorageError> {
    let damaged = |e: serde_json::Error| StorageError::Damaged {
        what: "list of revocations",
        reason: e.to_string(),
    };
    text.map_or_else(
        || Ok(RevocationState::default()),
        |text| serde_json::from_str(text).map_err(damaged),
    )
}

/// Brings memory and the database to the same state.
///
/// # Errors
/// [`StorageError`] if the database cannot be read or written; what is revoked in memory stays so.
pub(crate) async fn keep(
    storage: &dyn Storage,
    revocations: &Revocations,
) -> Result<(), StorageError> {
    for _ in 0..TRIES {
        let from = storage.control(KEY.to_owned()).await?;
        let kept = parse(from.as_deref())?;
        revocations.merge(&kept);
        let now = revocations.state();
        if *now == kept {
            return Ok(());
        }
        let to = serde_json::to_string(&*now)
            .map_err(|e| StorageError::Failed(format!("list of revocations: {e}")))?;
        let swap = ControlOp::Swap { key: KEY.to_owned(), from, to };
        match storage.commit_control(vec![swap]).await {
            Err(StorageError::Changed(_)) => {}
            outcome => return outcome,
        }
    }
    Err(StorageError::Changed(KEY.to_owned()))
}

/// The same for whoever looks now and then: a failure is counted, told, and tried again with the next look.
pub(super) async fn look(storage: &dyn Storage, revocations: &Revocations, outage: &mut Outage) {
    if outage.take(keep(storage, revocations).await) {
        metrics::counter!("crossfade_revocations_not_replicated_total").increment(1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::identity::{Grant, GrantedIn, RevocationOrder, RevocationStanding, Subject};
    use crate::migration::UserId;
    use crate::storage::MemoryStorage;

    fn process() -> Revocations {
        let ttl = Duration::from_secs(900);
        Revocations::new(RevocationState::default(), ttl, Arc::new(SystemClock))
    }

    fn order(user: &str, standing: RevocationStanding) -> RevocationOrder {
        RevocationOrder {
            subject: Subject::User(UserId::new(user)),
            standing,
            actor: "ada".to_owned(),
            reason: "why".to_owned(),
        }
    }

    fn is_revoked(process: &Revocations, user: &str) -> bool {
        let (user, session) = (UserId::new(user), GrantedIn::NoSession);
        process.is_revoked(&Grant { user, session, issued_at_ms: 1 })
    }

    #[tokio::test]
    async fn two_processes_revoke_and_lift_and_a_third_one_reads_it_at_its_start() {
        let storage = MemoryStorage::default();
        let (one, two) = (process(), process());
        one.order(&order("u", RevocationStanding::Revoked), 0).unwrap();
        keep(&storage, &one).await.unwrap();
        // The second one knows nothing of it yet, and must not wipe it out.
        two.order(&order("v", RevocationStanding::Revoked), 0).unwrap();
        keep(&storage, &two).await.unwrap();
        keep(&storage, &one).await.unwrap();
        for process in [&one, &two] {
            assert!(is_revoked(process, "u") && is_revoked(process, "v"));
        }
        two.order(&order("u", RevocationStanding::Lifted), 0).unwrap();
        keep(&storage, &two).await.unwrap();
        keep(&storage, &one).await.unwrap();
        let third = process();
        third.merge(&read(&storage).await.unwrap());
        for process in [&one, &third] {
            assert!(!is_revoked(process, "u") && is_revoked(process, "v"));
        }
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_written_leaves_it_in_memory() {
        let storage = MemoryStorage::default();
        let one = process();
        one.order(&order("u", RevocationStanding::Revoked), 0).unwrap();
        storage.fail_commits(1);
        assert!(keep(&storage, &one).await.is_err());
        assert!(is_revoked(&one, "u"));
        look(&storage, &one, &mut Outage::of("the list of revocations")).await;
        assert_eq!(read(&storage).await.unwrap(), *one.state());
    }
}
