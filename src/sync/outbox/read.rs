//! What a delivery reads of legacy: rows in answers, and the row under the id that it has there.

use http::Method;
use serde_json::Value;

use super::DeliveryError;
use super::deliver::Delivery;
use crate::legacy::{Credentials, LegacyRequest, Purpose};
use crate::migration::{Answer, Body, Failure, RowId};
use crate::resource::RowCells;

impl Delivery<'_> {
    /// The row in an answer, under legacy's ids.
    pub(super) fn row_of(&self, answer: &Answer) -> Option<RowCells> {
        let Body::Whole(body) = &answer.body else { return None };
        let body: Value = serde_json::from_slice(body).ok()?;
        let item = self.resource.envelope.item(&body)?;
        self.read_row(item)
    }

    pub(super) fn read_row(&self, item: &Value) -> Option<RowCells> {
        match self.resource.schema.row_from_json(item) {
            Ok(read) => Some(read.cells),
            Err(problem) => {
                tracing::warn!(resource = %self.resource.name, %problem, "answer does not fit [resource.cells]");
                None
            }
        }
    }

    /// A row of legacy's, with the ids that rows to which it refers have in the store.
    pub(super) async fn as_in_store(&self, mut now: RowCells) -> Result<RowCells, DeliveryError> {
        let aliases = self.context.registry.aliases();
        aliases.to_store(self.resource, &mut now).await?;
        Ok(now)
    }

    /// What legacy has now; `None` if it has no such row.
    pub(super) async fn reread(&self) -> Result<Option<RowCells>, String> {
        match &self.known.legacy_id {
            Some(id) => self.read_as(id).await,
            // It has given it no id.
            None => Ok(None),
        }
    }

    /// What legacy has under an id.
    pub(super) async fn read_as(&self, id: &RowId) -> Result<Option<RowCells>, String> {
        let path = self.resource.routes.get.path.with_id(id);
        let path = path.ok_or_else(|| "the row's id cannot stand in a URL".to_owned())?;
        let answer = self.ask_for(path, Purpose::Reread).await.map_err(|e| e.to_string())?;
        match answer.status.as_u16() {
            200..=299 => match self.row_of(&answer) {
                Some(now) if self.is_of(id, &now) => {
                    Ok(Some(self.as_in_store(now).await.map_err(|e| e.to_string())?))
                }
                Some(_) => Err("legacy answered with another row".to_owned()),
                None => Err("the row read again does not fit [resource.cells]".to_owned()),
            },
            404 | 410 => Ok(None),
            status => Err(format!("the row could not be read again: {status}")),
        }
    }

    /// Whether a row has this id in legacy. Where the store has legacy's ids, its path looks at that itself.
    fn is_of(&self, id: &RowId, now: &RowCells) -> bool {
        !self.resource.legacy_makes_ids() || self.resource.row_id(now).as_ref() == Some(id)
    }

    /// Reads of legacy, with crossfade's own credential.
    pub(super) async fn ask_for(
        &self,
        path_and_query: String,
        purpose: Purpose,
    ) -> Result<Answer, Failure> {
        // A delivery that has begun is brought to its end, also when none begins any more.
        let _permit = self.requests.acquire().await;
        let request = LegacyRequest {
            method: Method::GET,
            path_and_query,
            body: None,
            purpose,
            credentials: Credentials::Service,
            idempotency_key: None,
        };
        self.context.legacy.ask(request).await.outcome
    }
}
