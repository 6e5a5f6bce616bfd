//! One try to deliver one entry.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::classify::{Asked, Meaning, classify};
use super::create::Known;
use super::references::Awaited;
use super::{Delivered, DeliveryError, OutboxContext, bury, not_before, postpone, wait_out};
use crate::legacy::{Credentials, LegacyRequest, Purpose};
use crate::migration::{Answer, Failure, RowId};
use crate::resource::{CreateMode, Resource, Route, RowCells};
use crate::storage::OutboxEntry;
use crate::sync::path::{LegacyRow, Outcome, PathHandle, Prepared, Settled, Source};

/// How long a delivery waits for REST writes of its row to be in the store, before it makes room for others; when it looks
/// again; and how long after its edit it waits for them no more.
const REST_WAIT: Duration = Duration::from_secs(1);
const REST_LOOK_MS: u64 = 100;
const REST_LIMIT_MS: u64 = 60_000;

/// How long a row is waited for that has not all of its required cells yet, in milliseconds; and one without its id, where
/// that is the client's; and how long between two looks.
const INCOMPLETE_LIMIT_MS: u64 = 10_000;
const NAMELESS_LIMIT_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
const FIRST_LOOK_MS: u64 = 50;
const LAST_LOOK_MS: u64 = 30_000;

/// Asks the path what the entry means now, sends it, and settles it by the answer.
pub(super) async fn deliver(
    context: &OutboxContext,
    requests: &Semaphore,
    entry: &OutboxEntry,
) -> Result<Delivered, DeliveryError> {
    let (name, row) = (entry.entry.resource.clone(), entry.entry.row.clone());
    let path = context.registry.get(&entry.entry.path).await?;
    let Some(resource) = context.registry.tables().named(&name).cloned() else {
        let error = format!("no resource `{name}` is configured any more");
        return Ok(bury(context, entry, error).await);
    };
    let known = Known::of(context, entry, &resource).await?;
    let mut delivery =
        Delivery { context, requests, entry, path: &path, resource: &resource, known };
    // What a user's request is doing to the row must be in the store before it is decided what the entry means. Where
    // there is always one, legacy is asked.
    let in_time = context.intents.row_closed(&name, &row, REST_WAIT).await;
    let now_ms = context.clock.now_ms();
    if !in_time && now_ms.saturating_sub(entry.entry.accepted_ms) < REST_LIMIT_MS {
        let reason = "a REST write of the row is not in the store yet";
        return Ok(not_before(context, entry, now_ms + REST_LOOK_MS, reason).await);
    }
    if (!in_time || !context.intents.is_caught_up(&name))
        && let Err(reason) = delivery.compare_first(in_time).await?
    {
        return Ok(wait_out(context, entry, &reason).await);
    }
    if let Some(ended) = delivery.settle_asked().await? {
        return Ok(ended);
    }
    // What is sent is what the row is now, not before the wait. None begins any more: the process ends.
    let Ok(permit) = requests.acquire().await else { return Ok(Delivered::Later) };
    if in_time && !context.intents.row_closed(&name, &row, Duration::ZERO).await {
        // A request began while this one waited for its turn.
        drop(permit);
        return Ok(Delivered::Later);
    }
    let prepared = path.prepare(name, row, entry.seq).await?;
    let routes = &resource.routes;
    let (asked, route, body) = match prepared {
        Prepared::Superseded | Prepared::Reread { .. } if delivery.known.asks_again() => {
            // Nobody wants the row any more: which one it is that legacy has made is told by asking for it once more.
            (Asked::Create, routes.create.as_ref(), delivery.known.asked_body())
        }
        Prepared::Superseded => {
            drop(permit);
            metrics::counter!("crossfade_outbox_superseded_total").increment(1);
            return delivery.settle(Outcome::Superseded).await;
        }
        Prepared::Reread { sent_ms } => {
            drop(permit);
            if delivery.known.legacy_id.is_none() {
                // Legacy was never asked for it, or does not have it.
                return delivery.settle(Outcome::Superseded).await;
            }
            return delivery.look_after(sent_ms).await;
        }
        // Not sent while the rest of the row may still come.
        Prepared::Create(body) if let Some(limit_ms) = delivery.waits_for_the_rest(&body) => {
            drop(permit);
            return Ok(delivery.wait_for_the_rest(limit_ms).await);
        }
        Prepared::Create(body) => (Asked::Create, routes.create.as_ref(), Some(body)),
        Prepared::Update(body) => (Asked::Update, routes.update.as_ref(), Some(body)),
        Prepared::Delete => (Asked::Delete, routes.delete.as_ref(), None),
    };
    let Some(route) = route else {
        let error = format!("[resource.routes] of `{}` has no route for this write", resource.name);
        return Ok(bury(context, entry, error).await);
    };
    let body = match body {
        // What was sent before is sent again as it was.
        Some(body) if asked == Asked::Create && delivery.known.repeats() => Some(body),
        Some(body) => match delivery.with_references(body).await? {
            Awaited::Nothing(body) => Some(body),
            Awaited::Create => {
                drop(permit);
                return Ok(delivery.wait_for_reference().await);
            }
            Awaited::Fallen => {
                drop(permit);
                return delivery.fall().await;
            }
        },
        None => None,
    };
    let body = match asked {
        Asked::Create => Some(delivery.about_to_create(body).await?),
        Asked::Update | Asked::Delete => body,
    };
    delivery.send(asked, route, body, permit).await
}

pub(super) struct Delivery<'a> {
    pub(super) context: &'a OutboxContext,
    /// Requests to the legacy API that may still begin.
    pub(super) requests: &'a Semaphore,
    pub(super) entry: &'a OutboxEntry,
    pub(super) path: &'a PathHandle,
    pub(super) resource: &'a Arc<Resource>,
    pub(super) known: Known,
}

impl Delivery<'_> {
    async fn send(
        &self,
        asked: Asked,
        route: &Route,
        body: Option<Value>,
        permit: SemaphorePermit<'_>,
    ) -> Result<Delivered, DeliveryError> {
        let Some(path_and_query) = self.path_of_row(route) else {
            let error = "the row's id cannot stand in a URL".to_owned();
            return Ok(bury(self.context, self.entry, error).await);
        };
        let now = self.context.clock.now_ms();
        let assertion = match self.context.on_behalf_of.sign(&self.entry.entry.actor, now) {
            Ok(assertion) => assertion,
            Err(error) => return Ok(self.later(&error).await),
        };
        let idempotency_key = self.idempotency_key(asked, body.as_ref());
        let observation = self
            .context
            .legacy
            .ask(LegacyRequest {
                method: route.method.clone(),
                path_and_query,
                body,
                purpose: Purpose::Deliver,
                credentials: Credentials::OnBehalfOf(assertion),
                idempotency_key: Some(idempotency_key),
            })
            .await;
        drop(permit);
        let out_of_sight = observation.outcome.as_ref().is_err_and(Failure::may_be_done);
        if out_of_sight && self.known.legacy_id.is_some() {
            self.look_once_more(now).await;
        }
        match observation.outcome {
            Ok(answer) => self.answered(asked, &answer, now).await,
            Err(failure) if asked == Asked::Create => self.unanswered(&failure).await,
            Err(failure) => Ok(wait_out(self.context, self.entry, &failure.to_string()).await),
        }
    }

    /// Names the request, for an API that answers a repetition without doing it again. One with another body is another
    /// request: an API refuses a key that comes back with something else. Only where the key alone keeps a row from being
    /// made twice does it stay the same.
    fn idempotency_key(&self, asked: Asked, body: Option<&Value>) -> String {
        let seq = self.known.asked.as_ref().map_or(self.entry.seq, |asked| asked.seq).0;
        let by_key = asked == Asked::Create && self.resource.create == CreateMode::Key;
        match body.filter(|_| !by_key) {
            Some(body) => {
                let digest = Sha256::digest(body.to_string());
                let digest: String =
                    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                format!("crossfade-{seq}-{digest}")
            }
            None => format!("crossfade-{seq}"),
        }
    }

    /// For how long after its edit a row is waited for, in milliseconds, of which the store has a part only: the rest is still
    /// with the client that made it, which was cut off, or has just come back and sent an edit before all that it had.
    fn waits_for_the_rest(&self, body: &Value) -> Option<u64> {
        let lacks = |cell: &str| body.get(cell).is_none();
        let specs = self.resource.schema.cells().iter();
        let mut required = specs.filter(|spec| spec.required && !spec.read_only);
        let limit_ms = if self.resource.create == CreateMode::ClientId && lacks(&self.resource.id) {
            NAMELESS_LIMIT_MS
        } else if required.any(|spec| lacks(&spec.id)) {
            // Legacy may know a default for it.
            INCOMPLETE_LIMIT_MS
        } else {
            return None;
        };
        let now_ms = self.context.clock.now_ms();
        let waited_ms = now_ms.saturating_sub(self.entry.entry.accepted_ms);
        (waited_ms < limit_ms || limit_ms == NAMELESS_LIMIT_MS).then_some(limit_ms)
    }

    /// What its client has comes with it, whenever that is; in the end people look at it.
    async fn wait_for_the_rest(&self, limit_ms: u64) -> Delivered {
        metrics::counter!("crossfade_outbox_incomplete_total").increment(1);
        let now_ms = self.context.clock.now_ms();
        let waited_ms = now_ms.saturating_sub(self.entry.entry.accepted_ms);
        if waited_ms >= limit_ms {
            let error = "the row never got its id, without which legacy cannot be asked to make it";
            return bury(self.context, self.entry, error.to_owned()).await;
        }
        // The longer it has waited, the less it is looked for.
        let due_ms = now_ms + (waited_ms / 4).clamp(FIRST_LOOK_MS, LAST_LOOK_MS);
        let reason = "the row has not come whole yet";
        not_before(self.context, self.entry, due_ms, reason).await
    }

    async fn answered(
        &self,
        asked: Asked,
        answer: &Answer,
        sent_ms: u64,
    ) -> Result<Delivered, DeliveryError> {
        let meaning = classify(asked, answer.status);
        metrics::counter!("crossfade_outbox_answers_total", "meaning" => format!("{meaning:?}"))
            .increment(1);
        match meaning {
            Meaning::Taken if asked == Asked::Delete => self.gone().await,
            Meaning::Taken if asked == Asked::Create && self.was_deleted_since(sent_ms) => {
                let made = self.row_of(answer).and_then(|now| self.resource.row_id(&now));
                self.unmake(made.or_else(|| self.known.legacy_id.clone()), sent_ms).await
            }
            Meaning::Taken => match self.row_of(answer) {
                Some(now) if asked == Asked::Create => self.made(now, sent_ms).await,
                Some(now) => self.taken(now, sent_ms).await,
                None if self.known.legacy_id.is_none() => {
                    let error = "legacy's answer does not tell which row it has made";
                    Ok(self.within_budget(error.to_owned()).await)
                }
                None => self.taken_after_reread().await,
            },
            Meaning::Gone => self.gone().await,
            // By the caller's id it can be looked at whether the row is there.
            Meaning::Refused | Meaning::Conflict
                if asked == Asked::Create
                    && self.resource.create == CreateMode::Key
                    && self.known.asked_before
                    && (meaning == Meaning::Refused || self.resource.legacy_makes_ids()) =>
            {
                Ok(self.not_repeated(meaning).await)
            }
            Meaning::Refused | Meaning::Conflict => {
                let asked_ms = self.context.clock.now_ms();
                match self.reread().await {
                    Ok(now) => self.refuse(asked, answer.status, now, asked_ms).await,
                    Err(reason) => Ok(self.later(&reason).await),
                }
            }
            Meaning::NotAllowedIn => {
                tracing::error!(
                    status = answer.status.as_u16(),
                    "legacy does not accept [legacy] service_token: all deliveries wait"
                );
                self.later("the service credential is not accepted").await;
                Ok(Delivered::Paused)
            }
            Meaning::Later => {
                let error = format!("legacy answered {}", answer.status.as_u16());
                Ok(self.within_budget(error).await)
            }
        }
    }

    /// Legacy may have taken writes that passed the store by, in a rollback for one, or that are not in it in time: what has changed there since it was
    /// last known is not overwritten by an edit that did not know of it (design rule 7, compare-and-send).
    async fn compare_first(&self, in_time: bool) -> Result<Result<(), String>, DeliveryError> {
        let asked_ms = self.context.clock.now_ms();
        let now = match self.reread().await {
            Ok(now) => now,
            Err(reason) => return Ok(Err(reason)),
        };
        let (name, row) = (self.entry.entry.resource.clone(), self.entry.entry.row.clone());
        let known = self.context.storage.path_of_row(name.clone(), row.clone()).await?;
        // A row that legacy was not known to have, and does not have, is yet to be made.
        if now.is_some() || known.is_some() {
            let late_ms = if in_time { 0 } else { asked_ms };
            let missed_ms = self.context.intents.missed_ms(&name).max(late_ms);
            let source = Source::Compare { asked_ms, missed_ms };
            self.path.apply(name, vec![LegacyRow { row, now }], source).await?;
        }
        Ok(Ok(()))
    }

    /// Whether legacy said that it deleted the row after this was sent.
    fn was_deleted_since(&self, sent_ms: u64) -> bool {
        let (resource, row) = (&self.entry.entry.resource, &self.entry.entry.row);
        self.context.traffic.deleted_since(resource, row, sent_ms)
    }

    /// Legacy deleted the row, which an earlier try had made, and then this try made it anew: it is taken out again. If that
    /// fails, the row is back on both sides.
    async fn unmake(&self, made: Option<RowId>, sent_ms: u64) -> Result<Delivered, DeliveryError> {
        let route = self.resource.routes.delete.as_ref();
        let url = route.and_then(|route| Some((route.method.clone(), route.path.with_id(&made?)?)));
        let now_ms = self.context.clock.now_ms();
        let assertion = self.context.on_behalf_of.sign(&self.entry.entry.actor, now_ms);
        let (Some((method, path_and_query)), Ok(assertion)) = (url, assertion) else {
            return self.taken_after_reread().await;
        };
        metrics::counter!("crossfade_outbox_unmade_total").increment(1);
        let request = LegacyRequest {
            method,
            path_and_query,
            body: None,
            purpose: Purpose::Deliver,
            credentials: Credentials::OnBehalfOf(assertion),
            idempotency_key: Some(format!("crossfade-{}-unmake", self.entry.seq.0)),
        };
        match self.context.legacy.ask(request).await.outcome {
            Ok(answer) if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND => {
                self.gone().await
            }
            _ => {
                self.look_once_more(sent_ms).await;
                self.taken_after_reread().await
            }
        }
    }

    /// Legacy has the row as `now` says, unless it was deleted since the delivery was sent.
    pub(super) async fn taken(
        &self,
        now: RowCells,
        sent_ms: u64,
    ) -> Result<Delivered, DeliveryError> {
        let (resource, row) = (&self.entry.entry.resource, &self.entry.entry.row);
        let Ok(arriving) = self.context.traffic.arrive(resource, row, sent_ms) else {
            return self.taken_after_reread().await;
        };
        let now = self.as_in_store(now).await?;
        // An answer that was asked for before, and does not have the row yet, is on its way, perhaps.
        self.context.traffic.made(resource, row, self.context.clock.now_ms());
        let settled = self.settle(Outcome::Delivered(Some(now))).await;
        drop(arriving);
        settled
    }

    /// Nothing is left of the entry, and legacy may have been asked for it at `sent_ms`: what legacy has by now is what
    /// counts. That it has no such row counts only once the request can no longer be under way.
    async fn look_after(&self, sent_ms: u64) -> Result<Delivered, DeliveryError> {
        let settled_ms = self.context.intents.settled_ms(sent_ms);
        if self.context.clock.now_ms() < settled_ms && matches!(self.reread().await, Ok(None)) {
            let reason = "it is not known yet whether legacy made the row";
            return Ok(not_before(self.context, self.entry, settled_ms, reason).await);
        }
        self.taken_after_reread().await
    }

    /// Has the row read when a request whose answer is lost can no longer be under way: it may come after all that is
    /// known of the row until then.
    async fn look_once_more(&self, sent_ms: u64) {
        let (resource, row) = (self.resource.clone(), self.entry.entry.row.clone());
        let path = Some(self.entry.entry.path.clone());
        let intent = self.context.intents.open(&resource.name, Some(row.clone()), path).await;
        self.context.owed.look_once_more(resource, row, intent, sent_ms, None);
    }

    async fn taken_after_reread(&self) -> Result<Delivered, DeliveryError> {
        let asked_ms = self.context.clock.now_ms();
        match self.reread().await {
            Ok(None) => self.settle(Outcome::Delivered(None)).await,
            Ok(Some(now)) => {
                let (resource, row) = (&self.entry.entry.resource, &self.entry.entry.row);
                match self.context.traffic.arrive(resource, row, asked_ms) {
                    Ok(_arriving) => self.settle(Outcome::Delivered(Some(now))).await,
                    // Deleted while it was being read: the next try finds out.
                    Err(_) => Ok(self.later("the row was deleted meanwhile").await),
                }
            }
            Err(reason) => Ok(self.later(&reason).await),
        }
    }

    /// Legacy does not have the row any more.
    pub(super) async fn gone(&self) -> Result<Delivered, DeliveryError> {
        let (resource, row) = (&self.entry.entry.resource, &self.entry.entry.row);
        self.context.traffic.deleted(resource, row, self.context.clock.now_ms());
        self.settle(Outcome::Delivered(None)).await
    }

    async fn refuse(
        &self,
        asked: Asked,
        status: StatusCode,
        now: Option<RowCells>,
        asked_ms: u64,
    ) -> Result<Delivered, DeliveryError> {
        let (resource, row) = (&self.entry.entry.resource, &self.entry.entry.row);
        let arriving = self.context.traffic.arrive(resource, row, asked_ms);
        let is_deleted = self.context.traffic.deleted_since(resource, row, asked_ms);
        if arriving.is_err() && !is_deleted {
            return Ok(self.later("legacy's rows may have changed meanwhile").await);
        }
        // Deleted since it was asked for.
        let now = now.filter(|_| !is_deleted);
        // A create that meets its own row: an earlier try got through and its answer was lost.
        // Or somebody else made it: either way the entry goes on as a change of the row that is there.
        if asked == Asked::Create
            && classify(asked, status) == Meaning::Conflict
            && let Some(now) = now.clone()
        {
            return self.settle(Outcome::Found(now)).await;
        }
        tracing::warn!(seq = self.entry.seq.0, status = status.as_u16(), "legacy refused an edit");
        metrics::counter!("crossfade_outbox_refused_total").increment(1);
        self.settle(Outcome::Refused(now)).await
    }

    fn path_of_row(&self, route: &Route) -> Option<String> {
        if !route.path.takes_id() {
            return Some(route.path.as_str().to_owned());
        }
        route.path.with_id(self.known.legacy_id.as_ref()?)
    }

    pub(super) async fn settle(&self, outcome: Outcome) -> Result<Delivered, DeliveryError> {
        let (name, row) = (self.entry.entry.resource.clone(), self.entry.entry.row.clone());
        match self.path.settle(name, row, self.entry.seq, outcome).await? {
            Settled::Done => Ok(Delivered::Done),
            Settled::Again => Ok(self.later("legacy has another row than was known").await),
        }
    }

    /// Tries again later, or gives up what was tried often enough.
    pub(super) async fn within_budget(&self, error: String) -> Delivered {
        if self.entry.attempts >= self.context.settings.max_attempts {
            return bury(self.context, self.entry, error).await;
        }
        self.later(&error).await
    }

    pub(super) async fn later(&self, error: &str) -> Delivered {
        postpone(self.context, self.entry, error).await
    }
}
