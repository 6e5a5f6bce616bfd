//! One request's life: route, decide, answer; and afterwards mirror, compare, record.
//!
//! The caller's answer leaves first, and nothing that comes after can delay or fail it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body as HttpBody;
use axum::response::IntoResponse;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};

use super::alias;
use super::caller::Authenticator;
use super::forward::{Forwarder, Tap, Tapped};
use super::meters::RequestMeters;
use super::problem::{ERROR_HEADER, Problem};
use super::shadow::{LegacyRead, Shadow, ShadowJob};
use super::store_read::{ReadFor, ReadQuestion, StoreReader, claim_of};
use super::store_write::Turn;
use crate::clock::SharedClock;
use crate::flags::StageDecider;
use crate::legacy::CallerHeaders;
use crate::migration::{
    Body, Observation, Operation, OperationKind, Origin, PathId, Plan, ReadPlan, ResourceName,
    RowId, Stage, WriteKind, WritePlan,
};
use crate::record::{Event, Exchange, ExchangeKind, Recorder};
use crate::resource::{Resource, RouteTable, Routed};
use crate::sync::mirror::{Mirror, MirrorJob};
use crate::sync::tail::Tail;
use crate::sync::{CaughtUp, Intents, OpenIntent, PassingBy, StoreWriter};

/// Says who answered a mapped route.
pub const ORIGIN_HEADER: HeaderName = HeaderName::from_static("crossfade-origin");

/// What the edge is made of.
#[derive(Debug)]
pub struct EdgeParts {
    /// Requests to operations.
    pub routes: RouteTable,
    /// Stages and cohorts.
    pub stages: Arc<StageDecider>,
    /// Who asks.
    pub authenticator: Arc<Authenticator>,
    /// The legacy path.
    pub forwarder: Forwarder,
    /// The store's answers.
    pub reader: StoreReader,
    /// REST writes that the store does first.
    pub writer: StoreWriter,
    /// Comparisons.
    pub shadow: Shadow,
    /// REST writes into the store.
    pub mirror: Mirror,
    /// Which stores hold all that legacy has.
    pub caught_up: CaughtUp,
    /// Writes that legacy is asked to do.
    pub intents: Intents,
    /// Writes of which no route tells what they do.
    pub tail: Tail,
    /// What happened, kept.
    pub recorder: Recorder,
    /// Wall time.
    pub clock: SharedClock,
    /// The longest body that is copied for a mirror or a comparison, in bytes.
    pub max_body_bytes: usize,
}

/// Answers HTTP requests.
#[derive(Debug, Clone)]
pub struct Edge(pub(super) Arc<EdgeParts>, RequestMeters);

/// A request to a mapped route.
pub(super) struct Mapped {
    pub(super) resource: Arc<Resource>,
    operation: Operation,
    pub(super) stage: Stage,
    started: Instant,
}

impl Edge {
    /// An edge of these parts.
    #[must_use]
    pub fn new(parts: EdgeParts) -> Self {
        let meters = RequestMeters::of(parts.routes.resources().map(|resource| &resource.name));
        Self(Arc::new(parts), meters)
    }

    pub(super) fn parts(&self) -> &EdgeParts {
        &self.0
    }

    /// Answers one request that came from `peer`.
    pub async fn handle(
        &self,
        mut request: Request<HttpBody>,
        peer: SocketAddr,
    ) -> Response<HttpBody> {
        let started = Instant::now();
        let uri = request.uri();
        let query = uri.query().unwrap_or_default();
        match self.0.routes.match_request(request.method(), uri.path(), query) {
            Routed::Mapped { resource, operation } => {
                let aliases = self.0.reader.aliases();
                let operation =
                    alias::under_its_ids(aliases, &mut request, &resource, operation).await;
                let stage = self.0.stages.decide(&resource.name).effective;
                let mapped = Mapped { resource, operation, stage, started };
                match mapped.operation.kind.clone() {
                    OperationKind::Write(write) => self.write(request, peer, mapped, write).await,
                    _ => self.read(request, peer, mapped).await,
                }
            }
            Routed::UnmappedWriteUnder { resource, row } => {
                self.unmapped_write(request, peer, resource, row).await
            }
            Routed::Head { .. } => self.pass(request, peer, "head").await,
            Routed::MethodUnmapped { .. } => self.pass(request, peer, "method").await,
            Routed::Unmapped => self.0.forwarder.forward(request, peer, None).await,
        }
    }

    /// Passes a request on that is near a resource but not mapped, and counts it.
    async fn pass(
        &self,
        request: Request<HttpBody>,
        peer: SocketAddr,
        why: &'static str,
    ) -> Response<HttpBody> {
        count_unmapped(why);
        self.0.forwarder.forward(request, peer, None).await
    }

    async fn read(
        &self,
        request: Request<HttpBody>,
        peer: SocketAddr,
        mapped: Mapped,
    ) -> Response<HttpBody> {
        let compared = matches!(mapped.stage, Stage::Shadow | Stage::Live);
        let sampled = compared && self.0.stages.evaluation().sampled(&mapped.resource.name);
        // Who asks matters only where the cohort or the store decides: elsewhere no token is verified
        // before the answer.
        let identity = if mapped.stage >= Stage::Live {
            let query = request.uri().query();
            self.0.authenticator.identify(request.headers(), query).await
        } else {
            None
        };
        let in_cohort = identity
            .as_ref()
            .is_some_and(|who| self.0.stages.evaluation().in_cohort(&mapped.resource.name, who));
        let Plan::Read(plan) = Plan::read(mapped.stage, in_cohort, sampled) else {
            return self.0.forwarder.forward(request, peer, None).await;
        };
        match plan.answer {
            Origin::Legacy => self.read_legacy(request, peer, mapped, plan, None).await,
            Origin::Sync => {
                match self.read_store(request.headers(), &mapped, identity.as_ref()).await {
                    Ok(observation) => self.answer_from_store(&request, mapped, plan, observation),
                    Err(why) => {
                        metrics::counter!("crossfade_fallback_total", "reason" => why).increment(1);
                        let plan = ReadPlan { answer: Origin::Legacy, compare: None };
                        self.read_legacy(request, peer, mapped, plan, Some(why)).await
                    }
                }
            }
        }
    }

    /// The store's answer, or why it has none: then legacy answers (fail open).
    async fn read_store(
        &self,
        headers: &http::HeaderMap,
        mapped: &Mapped,
        identity: Option<&crate::identity::Identity>,
    ) -> Result<Observation, &'static str> {
        if is_conditional(headers) {
            return Err("conditional");
        }
        // Only legacy knows which origins it allows: without its headers a browser would hide the answer.
        if headers.contains_key(header::ORIGIN) {
            return Err("cors");
        }
        // Stopped and continued, or cut off from the database: a rollback may have been thrown meanwhile.
        if !self.0.stages.is_current() {
            return Err("rollback-not-looked-at");
        }
        let identity = identity.ok_or("not-signed-in")?;
        let question = ReadQuestion::of(&mapped.operation.kind).ok_or("not-a-read")?;
        let reading = self.0.reader.read(&mapped.resource, &question, identity, ReadFor::Caller);
        reading.await.map_err(|no| no.reason())
    }

    fn answer_from_store(
        &self,
        request: &Request<HttpBody>,
        mapped: Mapped,
        plan: ReadPlan,
        observation: Observation,
    ) -> Response<HttpBody> {
        let Ok(answer) = &observation.outcome else {
            // `read_store` gives answers only.
            return Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store-read",
                "The store gave no answer",
            )
            .into_response();
        };
        let Body::Whole(body) = &answer.body else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let mut response = Response::new(HttpBody::from(body.clone()));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers.clone();
        response.headers_mut().insert(ORIGIN_HEADER, HeaderValue::from_static("sync"));
        self.record(&mapped, Origin::Sync, answer.status, None);
        if plan.compare == Some(Origin::Legacy) {
            let legacy = LegacyRead::Ask;
            self.shadow(&mapped, request, legacy, Some(observation));
        }
        response
    }

    async fn read_legacy(
        &self,
        request: Request<HttpBody>,
        peer: SocketAddr,
        mapped: Mapped,
        plan: ReadPlan,
        fallback: Option<&'static str>,
    ) -> Response<HttpBody> {
        let compare = plan.compare.is_some() && !is_conditional(request.headers());
        let copied = compare.then(|| ShadowRequest::of(&request));
        let edge = self.clone();
        let sink = move |tapped: Tapped| {
            let status = tapped.head.as_ref().map(|head| head.status);
            edge.record(
                &mapped,
                Origin::Legacy,
                status.unwrap_or(StatusCode::BAD_GATEWAY),
                fallback,
            );
            if let Some(copied) = copied {
                edge.shadow_copied(&mapped, copied, LegacyRead::Tapped(Box::new(tapped)), None);
            }
        };
        let response_limit = if compare { self.0.max_body_bytes } else { 0 };
        let tap = Tap { request_limit: 0, response_limit, sink: Box::new(sink) };
        marked(self.0.forwarder.forward(request, peer, Some(tap)).await)
    }

    async fn write(
        &self,
        request: Request<HttpBody>,
        peer: SocketAddr,
        mapped: Mapped,
        write: WriteKind,
    ) -> Response<HttpBody> {
        let Plan::Write(plan) = Plan::write(mapped.stage) else {
            return self.0.forwarder.forward(request, peer, None).await;
        };
        if plan != WritePlan::StoreThenLegacy {
            return self.write_legacy(request, peer, mapped, write, plan, None).await;
        }
        match self.write_store(request, &mapped, &write).await {
            Turn::Over(response) => response,
            Turn::Legacy(request, why) => {
                self.write_legacy(request, peer, mapped, write, plan, Some(why)).await
            }
        }
    }

    /// Legacy does the write; unless it goes to legacy alone, the store gets what it did.
    async fn write_legacy(
        &self,
        request: Request<HttpBody>,
        peer: SocketAddr,
        mapped: Mapped,
        write: WriteKind,
        plan: WritePlan,
        fallback: Option<&'static str>,
    ) -> Response<HttpBody> {
        let mirrored = plan != WritePlan::Legacy;
        let open = if mirrored {
            let (headers, query) = (request.headers(), request.uri().query());
            Noted::Mirrored(self.open_intent(headers, query, &mapped, &write).await)
        } else {
            // The store will not have this write: until a backfill has run, it answers nothing.
            let now_ms = self.0.clock.now_ms();
            Noted::PassesBy(self.0.caught_up.pass_by(&mapped.resource.name, now_ms))
        };
        let limit = if mirrored { self.0.max_body_bytes } else { 0 };
        let sent_ms = self.0.clock.now_ms();
        let edge = self.clone();
        let sink = move |tapped: Tapped| {
            let status = tapped.head.as_ref().map(|head| head.status);
            let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
            edge.record(&mapped, Origin::Legacy, status, fallback);
            match open {
                Noted::Mirrored(open) => {
                    let resource = mapped.resource.clone();
                    edge.0.mirror.take(MirrorJob { resource, write, sent_ms, tapped, open });
                }
                Noted::PassesBy(passing) => edge.0.mirror.passed_by(passing, sent_ms, &tapped),
            }
        };
        let tap = Tap { request_limit: limit, response_limit: limit, sink: Box::new(sink) };
        marked(self.0.forwarder.forward(request, peer, Some(tap)).await)
    }

    /// The same for one of which nothing but its end is known.
    pub(super) fn passed_by(&self, resource: &ResourceName) -> Tap {
        let (mirror, sent_ms) = (self.0.mirror.clone(), self.0.clock.now_ms());
        let passing = self.0.caught_up.pass_by(resource, sent_ms);
        let sink = move |tapped: Tapped| mirror.passed_by(passing, sent_ms, &tapped);
        Tap { request_limit: 0, response_limit: 0, sink: Box::new(sink) }
    }

    /// Has it kept that the write is under way, and holds the store's answers back until the write is in it, so that its
    /// writer reads it: from legacy first, then from the store.
    async fn open_intent(
        &self,
        headers: &http::HeaderMap,
        query: Option<&str>,
        mapped: &Mapped,
        write: &WriteKind,
    ) -> OpenIntent {
        let path = self.writer_path(headers, query, &mapped.resource, mapped.stage).await;
        self.0.intents.open(&mapped.resource.name, row_of(write).cloned(), path).await
    }

    /// The path that the writer reads, where a store answers and if it is known who writes.
    pub(super) async fn writer_path(
        &self,
        headers: &http::HeaderMap,
        query: Option<&str>,
        resource: &Resource,
        stage: Stage,
    ) -> Option<PathId> {
        if stage < Stage::Live {
            return None;
        }
        let who = self.0.authenticator.identify(headers, query).await?;
        resource.path.from_claims(|claim| claim_of(&who, claim)).ok()
    }

    fn shadow(
        &self,
        mapped: &Mapped,
        request: &Request<HttpBody>,
        legacy: LegacyRead,
        store: Option<Observation>,
    ) {
        self.shadow_copied(mapped, ShadowRequest::of(request), legacy, store);
    }

    fn shadow_copied(
        &self,
        mapped: &Mapped,
        request: ShadowRequest,
        legacy: LegacyRead,
        store: Option<Observation>,
    ) {
        let Some(question) = ReadQuestion::of(&mapped.operation.kind) else { return };
        self.0.shadow.submit(ShadowJob {
            resource: mapped.resource.clone(),
            route: mapped.operation.route.clone(),
            stage: mapped.stage,
            question,
            path_and_query: request.path_and_query,
            headers: request.headers,
            caller: request.caller,
            legacy,
            store,
        });
    }

    pub(super) fn record(
        &self,
        mapped: &Mapped,
        answered_by: Origin,
        status: StatusCode,
        fallback: Option<&'static str>,
    ) {
        let kind = match mapped.operation.kind {
            OperationKind::Write(_) => ExchangeKind::Write,
            _ => ExchangeKind::Read,
        };
        let latency = mapped.started.elapsed();
        self.1.record(&mapped.resource.name, answered_by, kind, latency);
        self.0.recorder.record(Event::Exchange(Exchange {
            at_ms: self.0.clock.now_ms(),
            resource: mapped.resource.name.clone(),
            route: mapped.operation.route.clone(),
            kind,
            stage: mapped.stage,
            answered_by,
            status: status.as_u16(),
            latency_us: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            fallback: fallback.map(Into::into),
        }));
    }
}

/// What a comparison needs of a request, copied before the request is sent on.
struct ShadowRequest {
    path_and_query: String,
    headers: http::HeaderMap,
    caller: CallerHeaders,
}

impl ShadowRequest {
    fn of(request: &Request<HttpBody>) -> Self {
        let path_and_query = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let mut headers = http::HeaderMap::new();
        for name in [header::AUTHORIZATION, header::COOKIE] {
            for value in request.headers().get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        for (name, value) in request.headers() {
            if name.as_str().starts_with("crossfade-dev-") {
                headers.append(name.clone(), value.clone());
            }
        }
        Self {
            path_and_query: path_and_query.to_owned(),
            headers,
            caller: CallerHeaders::of(request.headers()),
        }
    }
}

/// The row that a write names.
pub(super) const fn row_of(write: &WriteKind) -> Option<&RowId> {
    match write {
        WriteKind::Create => None,
        WriteKind::Update(row) | WriteKind::Delete(row) => Some(row),
    }
}

/// What is noted of a write while legacy is asked for it.
enum Noted {
    /// The store will get it.
    Mirrored(OpenIntent),
    /// It passes the store by.
    PassesBy(PassingBy),
}

/// Marks what legacy answered; crossfade's own refusals come from nobody.
pub(crate) fn marked(mut response: Response<HttpBody>) -> Response<HttpBody> {
    if response.headers().contains_key(ERROR_HEADER) {
        return response;
    }
    response.headers_mut().insert(ORIGIN_HEADER, HeaderValue::from_static("legacy"));
    response
}

pub(super) fn count_unmapped(why: &'static str) {
    metrics::counter!("crossfade_unmapped_total", "reason" => why).increment(1);
}

/// Conditional and range requests: only legacy knows its validators (design rule 4).
pub(super) fn is_conditional(headers: &http::HeaderMap) -> bool {
    [
        header::RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
    ]
    .iter()
    .any(|name| headers.contains_key(name))
}
