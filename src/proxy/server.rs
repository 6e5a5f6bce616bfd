//! The HTTP server in front of a handler, which may be a router.
//!
//! `axum::serve` cannot be told to keep the spelling of header names, to bound the time that a
//! client may take for its headers, or to end connections that do not end by themselves; hyper's
//! own server can.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Headers that a message may have if nobody says otherwise.
pub const MAX_HEADERS: usize = 256;

/// Headers for which the library has room without being told: told any number, it makes that room anew for each message.
pub(super) const ROOM_FOR_HEADERS: usize = 100;

/// Limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeConfig {
    /// How long a connection may wait for a request's headers to be whole, from its beginning or
    /// from the end of the request before; then it is closed. It bounds idle connections too, so
    /// let it be longer than that of whatever stands in front (60 s is common), or that one meets
    /// connections that are being closed.
    pub header_timeout: Duration,
    /// Headers that a request may have; one with more is answered 431.
    pub max_headers: usize,
    /// Connections at a time. At the bound none is accepted: clients wait in the system's queue.
    pub max_connections: usize,
    /// How long requests under way get to end once shutdown began; then they are cut.
    pub grace: Duration,
}

impl Default for ServeConfig {
    /// 75 s for headers, 256 of them, 16,384 connections, 30 s of grace.
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(75),
            max_headers: MAX_HEADERS,
            max_connections: 16_384,
            grace: Duration::from_secs(30),
        }
    }
}

/// Answers requests. A router would be asked, and copied, for each request; most requests of a proxy need none.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The answer to a request of the client at `peer`.
    fn handle(
        &self,
        request: Request<Body>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Its handlers find the client's address as `ConnectInfo<SocketAddr>`.
impl Handler for Router {
    async fn handle(&self, mut request: Request<Body>, peer: SocketAddr) -> Response<Body> {
        request.extensions_mut().insert(ConnectInfo(peer));
        self.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
    }
}

/// Serves HTTP/1 and HTTP/2 (by prior knowledge) until `shutdown` resolves; then accepts no more,
/// lets requests under way end within the grace, and returns.
///
/// Upgraded connections are their
/// owner's: [`Forwarder::close_tunnels`](super::forward::Forwarder::close_tunnels).
pub async fn serve(
    listener: TcpListener,
    handler: impl Handler,
    config: ServeConfig,
    shutdown: impl Future<Output = ()>,
) {
    let connections = TaskTracker::new();
    let (draining, cut) = (CancellationToken::new(), CancellationToken::new());
    let permits = Arc::new(tokio::sync::Semaphore::new(config.max_connections));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let permit = permits.clone().acquire_owned().await.ok()?;
            Some((accept(&listener).await, permit))
        };
        let ((stream, peer), permit) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accepted => match accepted {
                Some(accepted) => accepted,
                None => break,
            },
        };
        let connection =
            connection(stream, peer, handler.clone(), config, draining.clone(), cut.clone());
        connections.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    draining.cancel();
    connections.close();
    if tokio::time::timeout(config.grace, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections cut at the end of the grace");
        cut.cancel();
        connections.wait().await;
    }
}

/// The next connection. Errors of a single connection are passed over; when the process has no
/// more descriptors, the next try waits until some may have come back.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error)
                if matches!(
                    error.kind(),
                    ConnectionAborted | ConnectionRefused | ConnectionReset
                ) => {}
            Err(error) => {
                tracing::error!(%error, "connections cannot be accepted; trying again in 1 s");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Lets small answers and events leave at once, and finds out when a client vanished without a
/// word: a tunnel that is silent for hours is in order, one whose client is gone is not.
fn prepare(stream: &TcpStream) {
    let alive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
    let set = stream
        .set_nodelay(true)
        .and_then(|()| socket2::SockRef::from(stream).set_tcp_keepalive(&alive));
    if let Err(error) = set {
        // It was closed before it was looked at, most likely; serving it tells.
        tracing::debug!(%error, "a connection's options could not be set");
    }
}

/// Serves one connection to its end.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    handler: impl Handler,
    config: ServeConfig,
    draining: CancellationToken,
    cut: CancellationToken,
) {
    prepare(&stream);
    let began = Arc::new(AtomicBool::new(false));
    let noting = Arc::clone(&began);
    let service = service_fn(move |request: Request<Incoming>| {
        noting.store(true, Ordering::Relaxed);
        let (request, handler) = (request.map(Body::new), handler.clone());
        async move { Ok::<_, Infallible>(handler.handle(request, peer).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .preserve_header_case(true);
    if config.max_headers != ROOM_FOR_HEADERS {
        builder.http1().max_headers(config.max_headers);
    }
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    // The library's own timer starts once it knows which version of HTTP the client speaks.
    let silent = async {
        tokio::time::sleep(config.header_timeout).await;
        if began.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = silent => return,
        () = draining.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = serving.as_mut() => ended,
                () = cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
