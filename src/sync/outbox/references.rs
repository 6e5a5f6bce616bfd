//! Entries that refer to rows which legacy is still owed: they wait for the create, and fall with it if it is refused.

use serde_json::Value;

use super::deliver::Delivery;
use super::{Delivered, DeliveryError, bury, not_before};
use crate::migration::{ResourceName, RowId};
use crate::sync::path::Outcome;

/// How long after its edit an entry waits for a create, in milliseconds, before people look at it; and how long between two
/// looks.
const LIMIT_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
const FIRST_LOOK_MS: u64 = 50;
const LAST_LOOK_MS: u64 = 30_000;

/// What an entry has to wait for.
pub(super) enum Awaited {
    /// Nothing: this is to be sent, under legacy's ids.
    Nothing(Value),
    /// A row that it refers to is still owed to legacy.
    Create,
    /// Legacy refused to make a row that it refers to.
    Fallen,
}

impl Delivery<'_> {
    /// Looks at the rows that a body refers to.
    pub(super) async fn with_references(&self, mut body: Value) -> Result<Awaited, DeliveryError> {
        for (spec, of) in self.resource.schema.references() {
            let id = match body.get(&*spec.id) {
                Some(Value::String(id)) => RowId::new(id.as_str()),
                Some(Value::Number(id)) => RowId::new(id.to_string()),
                _ => continue,
            };
            if *of == self.resource.name && id == self.entry.entry.row {
                continue;
            }
            match self.awaited(of, id).await? {
                None => {}
                Some(awaited) => return Ok(awaited),
            }
        }
        self.context.registry.aliases().to_legacy(self.resource, &mut body).await?;
        Ok(Awaited::Nothing(body))
    }

    async fn awaited(
        &self,
        of: &ResourceName,
        id: RowId,
    ) -> Result<Option<Awaited>, DeliveryError> {
        let storage = &self.context.storage;
        if storage.path_of_row(of.clone(), id.clone()).await?.is_some() {
            return Ok(None);
        }
        if storage.path_of_owed_row(of.clone(), id.clone()).await?.is_some() {
            return Ok(Some(Awaited::Create));
        }
        let refused = storage.is_create_refused(of.clone(), id).await?;
        Ok(refused.then_some(Awaited::Fallen))
    }

    /// The row that it refers to is in the outbox, too: it goes first.
    pub(super) async fn wait_for_reference(&self) -> Delivered {
        metrics::counter!("crossfade_outbox_awaits_create_total").increment(1);
        let now_ms = self.context.clock.now_ms();
        let waited_ms = now_ms.saturating_sub(self.entry.entry.accepted_ms);
        if waited_ms >= LIMIT_MS {
            let error = "legacy never got the row that it refers to";
            return bury(self.context, self.entry, error.to_owned()).await;
        }
        let due_ms = now_ms + (waited_ms / 4).clamp(FIRST_LOOK_MS, LAST_LOOK_MS);
        let reason = "waits for the create of a row that it refers to";
        not_before(self.context, self.entry, due_ms, reason).await
    }

    /// Legacy refused to make the row that it refers to: it falls with that.
    pub(super) async fn fall(&self) -> Result<Delivered, DeliveryError> {
        match self.reread().await {
            Ok(now) => {
                tracing::warn!(seq = self.entry.seq.0, "falls with a create that was refused");
                metrics::counter!("crossfade_outbox_fallen_total").increment(1);
                self.settle(Outcome::Refused(now)).await
            }
            Err(reason) => Ok(self.later(&reason).await),
        }
    }
}
