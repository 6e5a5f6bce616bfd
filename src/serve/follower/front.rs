//! What users reach through a follower.
//!
//! What needs the store goes to the holder: the sync mount, crossfade's own mount, writes of resources whose writes go to both
//! sides, and reads that the store may answer or is compared on. Everything else is legacy's, and so is all of it while the
//! holder does not answer (fail open).

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use http_body::Body as _;

use super::Parts;
use super::holder::Holder;
use crate::migration::{OperationKind, ResourceName, Stage};
use crate::proxy::forward::{Tap, Tapped};
use crate::proxy::marked;
use crate::proxy::problem::Problem;
use crate::resource::Routed;

/// A write with a body up to this is kept until the holder has it: one that cannot be reached any more leaves it to legacy.
const MAX_KEPT_BODY: u64 = 64 * 1024;

/// Routes of the users' listener.
pub(super) fn router(parts: &Parts) -> Router {
    Router::new().fallback(front).with_state(parts.clone())
}

async fn front(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response {
    let (uri, method) = (request.uri(), request.method());
    let server = &parts.config.server;
    if [&server.sync_mount, &server.own_mount].iter().any(|mount| is_under(uri.path(), mount)) {
        return parts.ask_holder(request, peer).await;
    }
    match parts.routes.match_request(method, uri.path(), uri.query().unwrap_or_default()) {
        Routed::Mapped { resource, operation } => {
            let stage = parts.stages.decide(&resource.name).effective;
            match operation.kind {
                OperationKind::Write(_) => parts.write(request, peer, &resource.name, stage).await,
                _ if stage >= Stage::Shadow => parts.read(request, peer).await,
                _ => marked(parts.legacy.forward(request, peer, None).await),
            }
        }
        Routed::UnmappedWriteUnder { resource, .. } => {
            let stage = parts.stages.decide(&resource.name).effective;
            parts.write(request, peer, &resource.name, stage).await
        }
        Routed::Head { .. } | Routed::MethodUnmapped { .. } | Routed::Unmapped => {
            parts.legacy.forward(request, peer, None).await
        }
    }
}

fn is_under(path: &str, mount: &str) -> bool {
    path.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn count(to: &'static str, why: &'static str) {
    metrics::counter!("crossfade_follower_requests_total", "to" => to, "why" => why).increment(1);
}

impl Parts {
    /// What only the holder can answer.
    async fn ask_holder(&self, request: Request<Body>, peer: SocketAddr) -> Response {
        let Some(holder) = self.holder.now() else {
            count("nobody", "no-holder");
            let title = "No process holds the database";
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-holder", title)
                .remedy("try again in a second: one of those that run takes over")
                .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
                .into_response();
        };
        count("holder", "own");
        holder.forwarder.forward(request, peer, None).await
    }

    /// A read: legacy answers where the holder does not, or stops to.
    async fn read(&self, request: Request<Body>, peer: SocketAddr) -> Response {
        // What has a body cannot be asked twice; nobody sends one.
        let holder = self.holder.now().filter(|_| request.body().is_end_stream());
        let Some(Holder { lease, forwarder }) = holder.filter(|_| self.stages.is_current()) else {
            count("legacy", "no-holder");
            return marked(self.legacy.forward(request, peer, None).await);
        };
        let again = copy_of(&request, Body::empty());
        let answer = tokio::select! {
            answer = forwarder.try_forward(request, peer) => answer.ok(),
            () = self.holder.lost(lease.epoch) => None,
        };
        if let Some(answer) = answer {
            count("holder", "read");
            return answer;
        }
        count("legacy", "holder-lost");
        marked(self.legacy.forward(again, peer, None).await)
    }

    /// A write: through the holder if its stage asks for both sides; else, and where the holder cannot be reached, to legacy
    /// alone, which is noted.
    async fn write(
        &self,
        request: Request<Body>,
        peer: SocketAddr,
        resource: &ResourceName,
        stage: Stage,
    ) -> Response {
        let holder = self.holder.now().filter(|_| stage.writes_both() || stage == Stage::Complete);
        let Some(Holder { forwarder, .. }) = holder else {
            count("legacy", if stage.writes_both() { "no-holder" } else { "stage" });
            return self.pass_by(request, peer, resource).await;
        };
        if body_bytes(&request).is_none_or(|bytes| bytes > MAX_KEPT_BODY) {
            count("holder", "write");
            return forwarder.forward(request, peer, None).await;
        }
        let (head, body) = request.into_parts();
        let kept = axum::body::to_bytes(body, usize::try_from(MAX_KEPT_BODY).unwrap_or(usize::MAX));
        let Ok(body) = kept.await else {
            return Problem::new(
                StatusCode::BAD_REQUEST,
                "request-incomplete",
                "The body did not come whole",
            )
            .into_response();
        };
        let request = Request::from_parts(head, Body::from(body.clone()));
        let again = copy_of(&request, Body::from(body));
        match forwarder.try_forward(request, peer).await {
            Ok(answer) => {
                count("holder", "write");
                answer
            }
            // It may have been carried out: nobody sends it twice.
            Err(unanswered) if unanswered.was_reached => {
                count("nobody", "holder-lost");
                unanswered.response
            }
            Err(_) => {
                count("legacy", "holder-lost");
                self.pass_by(again, peer, resource).await
            }
        }
    }

    /// Has legacy alone do a write, and notes it: before it goes, and when it is done.
    async fn pass_by(
        &self,
        request: Request<Body>,
        peer: SocketAddr,
        resource: &ResourceName,
    ) -> Response {
        self.passed.note(resource).await;
        let (passed, resource) = (self.passed.clone(), resource.clone());
        let sink = move |_: Tapped| {
            tokio::spawn(async move { passed.note(&resource).await });
        };
        let tap = Tap { request_limit: 0, response_limit: 0, sink: Box::new(sink) };
        marked(self.legacy.forward(request, peer, Some(tap)).await)
    }
}

/// How long a body is, where its head says so.
fn body_bytes(request: &Request<Body>) -> Option<u64> {
    if request.body().is_end_stream() {
        return Some(0);
    }
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn copy_of(request: &Request<Body>, body: Body) -> Request<Body> {
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_under_a_mount_is_the_holders() {
        for (path, is) in
            [("/sync", true), ("/sync/org/1", true), ("/synchronous", false), ("/", false)]
        {
            assert_eq!(is_under(path, "/sync"), is, "{path}");
        }
    }

    #[test]
    fn a_body_is_kept_only_where_its_length_is_told() {
        let request = |length: Option<&str>, body: &'static str| {
            let mut request =
                Request::new(Body::from_stream(futures_util::stream::once(async move {
                    Ok::<_, std::io::Error>(body)
                })));
            if let Some(length) = length {
                request
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, HeaderValue::from_str(length).unwrap());
            }
            request
        };
        assert_eq!(body_bytes(&request(Some("3"), "abc")), Some(3));
        assert_eq!(body_bytes(&request(Some("x"), "abc")), None);
        assert_eq!(body_bytes(&request(None, "abc")), None);
        assert_eq!(body_bytes(&Request::new(Body::empty())), Some(0));
        let copy = copy_of(&request(Some("3"), "abc"), Body::from("abc"));
        assert_eq!(copy.headers()[header::CONTENT_LENGTH], "3");
    }
}
