//! Dead letters: entries that were given up, until somebody tries them again or discards them.

use tokio::sync::Semaphore;

use super::create::Known;
use super::deliver::Delivery;
use super::{DeliveryError, OutboxContext};
use crate::storage::{EntryState, Op, OutboxEntry, Seq, StorageError};
use crate::sync::path::{Outcome, PathError};

/// Why nothing was done about a dead letter.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// There is no such entry: it was delivered or discarded, or never was.
    #[error("no entry {0} is in the outbox (any more)")]
    Unknown(i64),
    /// It is still being tried.
    #[error("entry {0} is no dead letter: it is still tried")]
    Alive(i64),
    /// What legacy has instead cannot be asked for.
    #[error("legacy cannot be asked for what it has instead: {0}. Discard it once legacy answers")]
    Legacy(String),
    /// The path did not take it.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<DeliveryError> for DeadLetterError {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Path(error) => Self::Path(error),
            DeliveryError::Storage(error) => Self::Storage(error),
        }
    }
}

async fn dead_letter(context: &OutboxContext, seq: Seq) -> Result<OutboxEntry, DeadLetterError> {
    match context.storage.outbox_entry(seq).await? {
        Some(entry) if entry.state == EntryState::Dead => Ok(entry),
        Some(_) => Err(DeadLetterError::Alive(seq.0)),
        None => Err(DeadLetterError::Unknown(seq.0)),
    }
}

/// Has a dead letter tried again, at once and with a whole budget of tries.
///
/// # Errors
/// [`DeadLetterError`]; nothing has changed then.
pub async fn retry(context: &OutboxContext, seq: Seq) -> Result<(), DeadLetterError> {
    let entry = dead_letter(context, seq).await?;
    let again = Op::Postpone {
        seq,
        attempts: 0,
        due_ms: context.clock.now_ms(),
        error: entry.last_error.unwrap_or_default(),
    };
    context.storage.commit(vec![again]).await?;
    metrics::counter!("crossfade_outbox_retried_total").increment(1);
    context.registry.owed().notify_one();
    Ok(())
}

/// Gives a dead letter up for good: what legacy has instead comes back into those of its cells that nobody has edited since,
/// for every client.
///
/// # Errors
/// [`DeadLetterError`]; the dead letter is still there then.
pub async fn discard(context: &OutboxContext, seq: Seq) -> Result<(), DeadLetterError> {
    let entry = dead_letter(context, seq).await?;
    let Some(resource) = context.registry.tables().named(&entry.entry.resource).cloned() else {
        // Its table is not mapped any more, so no client can be shown anything.
        context.storage.commit(vec![Op::Settle(seq)]).await?;
        return Ok(());
    };
    let path = context.registry.get(&entry.entry.path).await?;
    let requests = Semaphore::new(1);
    let known = Known::of(context, &entry, &resource).await?;
    let delivery = Delivery {
        context,
        requests: &requests,
        entry: &entry,
        path: &path,
        resource: &resource,
        known,
    };
    let now = delivery.reread().await.map_err(DeadLetterError::Legacy)?;
    delivery.settle(Outcome::Refused(now)).await?;
    metrics::counter!("crossfade_outbox_discarded_total").increment(1);
    Ok(())
}
