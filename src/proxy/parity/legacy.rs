//! Legacy's side: the ids that it lists for a user, and whether it shows them one row, with the user's own credentials.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;

use crate::compare::{ErrorSide, Reason, Verdict};
use crate::legacy::{CallerHeaders, Credentials, LegacyClient, LegacyRequest, Purpose};
use crate::migration::{Answer, Body, Failure, Origin, RowId};
use crate::resource::Resource;

/// Pages of one list at most; of a longer list nothing is said.
pub(super) const MAX_PAGES: usize = 200;
/// Rows of one side at most; of more nothing is said.
pub(super) const MAX_ROWS: usize = 10_000;
/// Bytes of one list's pages at most, all together; of more nothing is said.
pub(super) const MAX_BYTES: usize = 16 << 20;

/// Asks legacy in a user's name.
pub(super) struct AsUser<'a> {
    pub(super) client: &'a LegacyClient,
    pub(super) caller: &'a CallerHeaders,
    pub(super) resource: &'a Resource,
}

impl AsUser<'_> {
    async fn ask(&self, path_and_query: String) -> Result<Answer, Verdict> {
        let request = LegacyRequest {
            method: Method::GET,
            path_and_query,
            body: None,
            purpose: Purpose::Parity,
            credentials: Credentials::Caller(self.caller.clone()),
            idempotency_key: None,
        };
        let answer = self.client.ask(request).await.outcome.map_err(|failure| match failure {
            Failure::Timeout(_) => Verdict::Timeout(Origin::Legacy),
            Failure::Shed => Verdict::Shed,
            Failure::Unavailable(_) => Verdict::Incomparable(Reason::Unavailable),
            Failure::Unreachable(_) | Failure::NotReached(_) => {
                Verdict::Error(ErrorSide::LegacyOnly)
            }
        })?;
        match answer.status.as_u16() {
            // The session ended meanwhile: what it would see is not known.
            401 => Err(Verdict::Incomparable(Reason::Token)),
            200..=299 | 403 | 404 | 410 => Ok(answer),
            500.. => Err(Verdict::Error(ErrorSide::LegacyOnly)),
            _ => Err(Verdict::Incomparable(Reason::Unavailable)),
        }
    }

    /// The ids of all rows that the list shows; none where it is refused.
    ///
    /// # Errors
    /// The verdict, if that cannot be told. Pages may miss rows that move meanwhile: what is missing is looked at by itself.
    pub(super) async fn list(&self) -> Result<BTreeSet<RowId>, Verdict> {
        let (mut ids, mut offset, mut bytes) = (BTreeSet::new(), 0, 0);
        for _ in 0..MAX_PAGES {
            let answer = self.ask(self.resource.page_url(offset)).await?;
            if !answer.status.is_success() {
                return Ok(ids);
            }
            let page = Page::read(self.resource, &answer.body)?;
            bytes += page.bytes;
            offset += page.ids.len();
            let before = ids.len();
            let (is_empty, total) = (page.ids.is_empty(), page.total);
            ids.extend(page.ids);
            if ids.len() > MAX_ROWS || bytes > MAX_BYTES {
                break;
            }
            let all = total.is_some_and(|total| offset as u64 >= total);
            // A page that brings nothing new is one of a list that knows no offset.
            if is_empty || all || self.resource.query.page.is_none() || ids.len() == before {
                return Ok(ids);
            }
        }
        Err(Verdict::Incomparable(Reason::Truncated))
    }

    /// Whether it shows this row.
    ///
    /// # Errors
    /// The verdict, if that cannot be told.
    pub(super) async fn shows(&self, row: RowId) -> Result<bool, Verdict> {
        // An id that cannot stand in a URL is one that nobody can ask for.
        let url = self.resource.routes.get.path.with_id(&row);
        let url = url.ok_or(Verdict::Incomparable(Reason::Unavailable))?;
        Ok(self.ask(url).await?.status.is_success())
    }
}

struct Page {
    ids: Vec<RowId>,
    total: Option<u64>,
    bytes: usize,
}

impl Page {
    fn read(resource: &Resource, body: &Body) -> Result<Self, Verdict> {
        let incomparable = |reason| Verdict::Incomparable(reason);
        let bytes = match body {
            Body::Whole(bytes) => bytes,
            Body::Truncated => return Err(incomparable(Reason::Truncated)),
            Body::Encoded(_) => return Err(incomparable(Reason::Encoded)),
        };
        let body: Value =
            serde_json::from_slice(bytes).map_err(|_| incomparable(Reason::NotJson))?;
        let shape = || incomparable(Reason::Unavailable);
        let rows = resource.envelope.rows(&body).ok_or_else(shape)?;
        let ids = rows.iter().map(|row| id_of(resource, row).ok_or_else(shape));
        let ids = ids.collect::<Result<_, _>>()?;
        Ok(Self { ids, total: resource.envelope.total(&body), bytes: bytes.len() })
    }
}

/// The id of a row as legacy shows it to somebody who may not see all of its cells: a string, or a whole number.
fn id_of(resource: &Resource, row: &Value) -> Option<RowId> {
    match row.get(&*resource.id)? {
        Value::String(id) if !id.is_empty() => Some(RowId::new(id.as_str())),
        Value::Number(id) => id
            .as_i64()
            .or_else(|| {
                let whole = id.as_f64().filter(|id| id.fract() == 0.0 && id.abs() < 9e15)?;
                #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
                let whole = whole as i64;
                Some(whole)
            })
            .map(|id| RowId::new(id.to_string())),
        _ => None,
    }
}
