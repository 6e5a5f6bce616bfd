//! A client's request, made into the one that the upstream gets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};
use http_body::Body as _;
use tokio::sync::oneshot;

use super::body::{Gate, Progress, RequestBody};
use super::failure::Refusal;
use super::tap::Watch;
use super::tunnel::{Tunnels, Wish};
use super::{ForwardConfig, headers, trace};

/// A request that is ready to be sent.
pub(super) struct Outbound {
    pub(super) request: Request<RequestBody>,
    pub(super) asked: Asked,
    /// Of the upload; `None` where there is none.
    pub(super) progress: Option<Arc<Progress>>,
}

/// What the way back needs to know of the request.
pub(super) struct Asked {
    pub(super) method: Method,
    /// The version that the client speaks.
    pub(super) version: Version,
    /// The client's connection, if it is to change protocol.
    pub(super) upgrade: Option<Wish>,
    pub(super) opener: Option<Opener>,
}

/// Makes `request` ready, or says why it is not forwarded.
pub(super) fn prepare(
    mut request: Request<Body>,
    peer: SocketAddr,
    config: &ForwardConfig,
    tunnels: &Tunnels,
    watch: Option<&Watch>,
) -> Result<Outbound, Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    let version = request.version();
    let host = headers::client_host(request.uri(), request.headers(), version)
        .map_err(|headers::BadHost| Refusal::Host)?;
    let hop = headers::strip_hop_by_hop(request.headers_mut());
    if hop.coded {
        return Err(Refusal::TransferCoding);
    }
    let upgrade = match hop.upgrade {
        Some(_) => {
            let room = tunnels.room().ok_or(Refusal::Tunnels)?;
            Some(Wish { client: hyper::upgrade::on(&mut request), room })
        }
        None => None,
    };
    let (mut parts, body) = request.into_parts();
    headers::prepare_request(&mut parts.headers, &hop, host.as_ref(), peer.ip(), config);
    trace::ensure(&mut parts.headers, config.trace, &*config.entropy);
    if let Some(name) = &config.via {
        headers::add_via(&mut parts.headers, version, name);
    }
    parts.uri =
        config.upstream.uri(parts.uri.into_parts().path_and_query).map_err(|_| Refusal::Target)?;
    parts.version = Version::HTTP_11;
    let method = parts.method.clone();

    if body.is_end_stream() {
        let request = Request::from_parts(parts, RequestBody::new(body, None, None, None));
        let asked = Asked { method, version, upgrade, opener: None };
        return Ok(Outbound { request, asked, progress: None });
    }
    frame(&mut parts.headers);
    let expects = version != Version::HTTP_10 && expects_continue(&parts.headers);
    if version == Version::HTTP_10 {
        // RFC 9110 §10.1.1: it means nothing there, and must not begin to here.
        parts.headers.remove(EXPECT);
    }
    let progress = Progress::new();
    let copy = watch.map(Watch::request);
    let (opener, gate) = if expects {
        let (open, gate) = Gate::new(config.continue_timeout);
        (Some(Opener::new(open)), Some(gate))
    } else {
        (None, None)
    };
    let body = RequestBody::new(body, gate, Some(Arc::clone(&progress)), copy);
    let mut request = Request::from_parts(parts, body);
    if let Some(opener) = opener.clone() {
        hyper::ext::on_informational(&mut request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                opener.open();
            }
        });
    }
    let asked = Asked { method, version, upgrade, opener };
    Ok(Outbound { request, asked, progress: Some(progress) })
}

/// A body without a length is chunked, whatever the method: left alone, the client beneath would
/// drop the body of a GET that came chunked.
fn frame(headers: &mut HeaderMap) {
    if !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Opens the gate before a body that is held back.
#[derive(Debug, Clone)]
pub(super) struct Opener(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl Opener {
    fn new(open: oneshot::Sender<()>) -> Self {
        Self(Arc::new(Mutex::new(Some(open))))
    }

    fn open(&self) {
        if let Some(open) = self.take() {
            // The body may be gone already; then nothing waits.
            let _ = open.send(());
        }
    }

    fn take(&self) -> Option<oneshot::Sender<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The final response came. One that refuses leaves the gate shut until the response is done,
    /// which the returned handle tells by being dropped: given up earlier, the body would tear the
    /// connection down, and the response with it.
    pub(super) fn answered(&self, status: StatusCode) -> Option<oneshot::Sender<()>> {
        if status.is_client_error() || status.is_server_error() {
            self.take()
        } else {
            self.open();
            None
        }
    }
}

/// A copy of a request that may be sent twice: one without a body, whose method says that twice is
/// as good as once (RFC 9110 §9.2.2). The second one's header names lose their spelling, which would cost every request
/// a second copy of them.
pub(super) fn replayable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::new(Body::empty(), None, None, None));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
