//! The legacy path for everything that is not answered here: a transparent reverse proxy
//! (RFC 9110 §7.6, RFC 9112).
//!
//! What passes untouched: method, path and query to the byte, status and reason, headers with
//! their values, order per name and spelling (behind [`server::serve`](crate::proxy::server::serve)),
//! bodies frame by frame, announced trailers, `100 Continue` when the upstream says it, upgrades.
//!
//! What changes: headers of one connection go (RFC 9110 §7.6.1), as does a request's
//! `Crossfade-*`; `Forwarded`, `X-Forwarded-*` and `traceparent` are set; a response without a
//! `Date` gets one (RFC 9110 §6.6.1). A body of unknown length is chunked.
//!
//! This path uses hyper's own client. reqwest, which crossfade uses for everything it asks of its
//! own accord, parses URLs by the WHATWG rules (`/a/../b` becomes `/b`) and adds headers: a proxy
//! built on it would send other bytes than it got.
//!
//! Known limits, all of the HTTP library beneath:
//! - Informational responses other than `100 Continue` (`103 Early Hints`) end here: its server
//!   cannot send them.
//! - Trailers reach an HTTP/1.1 peer only where `Trailer` announced them and, in responses, where
//!   the client said `TE: trailers`. Their names lose their spelling.
//! - A target with a fragment loses it. One with a byte that no URI may have raw (`<`, `>`, a
//!   backtick in the path, a quote in the query, what is not UTF-8) is refused with 400.
//! - A client that closes its sending half before the response came is taken for gone.

mod body;
mod client;
mod config;
mod failure;
mod headers;
mod request;
mod response;
mod tap;
pub mod trace;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;

use body::{Progress, RequestBody};
use client::{Answered, UpstreamClient};
pub use config::{
    ClientScheme, ForwardConfig, ForwardError, ForwardedPolicy, HostPolicy, TracePolicy, Upstream,
};
use failure::{NoAnswer, Refusal};
use tap::Watch;
pub use tap::{Copied, End, Tap, Tapped, TappedHead};
use tunnel::Tunnels;

use super::meters::ForwardedMeters;

/// Forwards requests to one upstream. Clones share connections and tunnels.
#[derive(Debug, Clone)]
pub struct Forwarder {
    config: Arc<ForwardConfig>,
    client: UpstreamClient,
    tunnels: Tunnels,
    forwarded: ForwardedMeters,
}

/// An upstream gave no answer.
#[derive(Debug)]
pub struct Unanswered {
    /// Whether it may have got the request.
    pub was_reached: bool,
    /// What its client would be told.
    pub response: Response<Body>,
}

/// Why the client gets an answer made here.
enum NotForwarded {
    Refused(Refusal),
    NoAnswer(NoAnswer),
}

impl Forwarder {
    /// A forwarder. It connects when it is first used.
    ///
    /// # Errors
    /// [`ForwardError::Tls`] if TLS cannot be set up.
    pub fn new(config: ForwardConfig) -> Result<Self, ForwardError> {
        let client = client::build(&config)?;
        let tunnels = Tunnels::new(config.max_tunnels);
        let forwarded = ForwardedMeters::new();
        Ok(Self { config: Arc::new(config), client, tunnels, forwarded })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &ForwardConfig {
        &self.config
    }

    /// Forwards one request that came from `peer` and gives the upstream's response, whose body is
    /// still on its way.
    ///
    /// An upstream that gives none is answered for, as problem details: 502 if it cannot be reached
    /// (`Crossfade-Error: upstream-unreachable`), breaks off (`upstream-broken`) or answers what
    /// cannot be passed on (`upstream-invalid`), 504 if it is late (`upstream-timeout`). Requests
    /// that cannot be forwarded are refused: CONNECT, a transfer coding besides chunked, no host or
    /// several.
    ///
    /// Dropping the future, or the response's body, drops the request to the upstream. A request is
    /// sent a second time only if a connection that had answered before was closed without a byte
    /// of an answer, and the request has no body and an idempotent method.
    pub async fn forward(
        &self,
        request: Request<Body>,
        peer: SocketAddr,
        tap: Option<Tap>,
    ) -> Response<Body> {
        let mut watch = tap.map(|tap| {
            let is_empty = request.body().is_end_stream();
            Watch::new(tap, request.headers(), is_empty)
        });
        match self.exchange(request, peer, &mut watch).await {
            Ok(response) => {
                self.forwarded.count(response.status());
                response
            }
            Err(NotForwarded::Refused(refusal)) => {
                let kind = refusal.kind();
                metrics::counter!("crossfade_proxy_refused_total", "kind" => kind).increment(1);
                end(watch, End::Refused);
                refusal.respond()
            }
            Err(NotForwarded::NoAnswer(no_answer)) => {
                let kind = no_answer.kind();
                metrics::counter!("crossfade_proxy_failed_total", "kind" => kind).increment(1);
                tracing::debug!(upstream = %self.config.upstream, kind, "not answered");
                end(watch, no_answer.end());
                no_answer.respond(&self.config.upstream)
            }
        }
    }

    /// The same for whoever has another upstream to ask: one that gives no answer is not answered for.
    ///
    /// # Errors
    /// [`Unanswered`], with the answer that [`Forwarder::forward`] would have given.
    pub async fn try_forward(
        &self,
        request: Request<Body>,
        peer: SocketAddr,
    ) -> Result<Response<Body>, Unanswered> {
        match self.exchange(request, peer, &mut None).await {
            Ok(response) => Ok(response),
            Err(NotForwarded::Refused(refusal)) => Ok(refusal.respond()),
            Err(NotForwarded::NoAnswer(no_answer)) => Err(Unanswered {
                was_reached: !matches!(no_answer, NoAnswer::Unreachable(_)),
                response: no_answer.respond(&self.config.upstream),
            }),
        }
    }

    /// Closes all tunnels (upgraded connections) and waits until they are closed. Requests are not
    /// touched: their server ends them.
    pub async fn close_tunnels(&self) {
        self.tunnels.close().await;
    }

    async fn exchange(
        &self,
        request: Request<Body>,
        peer: SocketAddr,
        watch: &mut Option<Watch>,
    ) -> Result<Response<Body>, NotForwarded> {
        let outbound = request::prepare(request, peer, &self.config, &self.tunnels, watch.as_ref())
            .map_err(NotForwarded::Refused)?;
        let response = self
            .in_time(self.ask(outbound.request), outbound.progress)
            .await
            .map_err(NotForwarded::NoAnswer)?;
        response::pass_on(response, outbound.asked, &self.config, &self.tunnels, watch)
            .map_err(NotForwarded::NoAnswer)
    }

    /// Gives the upstream up once it was silent for too long.
    async fn in_time(
        &self,
        asking: impl Future<Output = Result<Response<Incoming>, NoAnswer>>,
        progress: Option<Arc<Progress>>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let limit = self.config.response_timeout;
        match progress {
            None => {
                tokio::time::timeout(limit, asking).await.unwrap_or(Err(NoAnswer::Timeout(limit)))
            }
            Some(progress) => tokio::select! {
                biased;
                answer = asking => answer,
                () = progress.silent_for(limit) => Err(NoAnswer::Timeout(limit)),
            },
        }
    }

    async fn ask(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, NoAnswer> {
        let again = request::replayable(&request);
        let mut answer = self.client.request(request).await;
        if let (Err(error), Some(again)) = (&answer, again)
            && failure::closed_unanswered(error)
            && Answered::of(error.connect_info()).before()
        {
            metrics::counter!("crossfade_proxy_retried_total").increment(1);
            answer = self.client.request(again).await;
        }
        let mut response =
            answer.map_err(|error| NoAnswer::read(&error, self.config.connect_timeout))?;
        if let Some(answered) = response.extensions_mut().remove::<Answered>() {
            answered.note();
        }
        Ok(response)
    }
}

fn end(watch: Option<Watch>, end: End) {
    if let Some(mut watch) = watch {
        watch.end(end);
    }
}
