//! The pooled HTTP client towards the upstream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::Service;

use super::body::{BodyError, RequestBody};
use super::{ForwardConfig, ForwardError};
use crate::proxy::server::ROOM_FOR_HEADERS;

pub(super) type UpstreamClient = Client<Connector, RequestBody>;

pub(super) fn build(config: &ForwardConfig) -> Result<UpstreamClient, ForwardError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(config.connect_timeout));
    // A tunnel may be silent for hours; keep-alive finds out that its upstream is gone.
    tcp.set_keepalive(Some(std::time::Duration::from_secs(60)));
    // The provider is named: with two of them linked in, rustls would not choose and panic.
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()?
    .with_webpki_roots()
    .with_no_client_auth();
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(config.idle_timeout)
        .pool_max_idle_per_host(config.max_idle_connections)
        .http1_preserve_header_case(true)
        // A proxy unfolds obsolete line folds and takes the space before the colon away
        // (RFC 9112 §5.1, §5.2); it does not refuse a response for them.
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        // The forwarder sets `Host`.
        .set_host(false)
        // Sends again only what was never begun to be sent: no byte of it left.
        .retry_canceled_requests(true);
    // As for requests: see the server.
    if config.max_response_headers != ROOM_FOR_HEADERS {
        builder.http1_max_headers(config.max_response_headers);
    }
    Ok(builder.build(Connector(https)))
}

/// Whether a connection has answered before. Carried by the connection, and from it by each
/// response and each error.
#[derive(Debug, Clone, Default)]
pub(super) struct Answered(Arc<AtomicBool>);

impl Answered {
    /// That of the connection on which a request failed.
    pub(super) fn of(connection: Option<&Connected>) -> Self {
        let mut extras = http::Extensions::new();
        if let Some(connection) = connection {
            connection.get_extras(&mut extras);
        }
        extras.remove().unwrap_or_default()
    }

    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn before(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Connects, and gives each connection its [`Answered`].
#[derive(Debug, Clone)]
pub(super) struct Connector(HttpsConnector<HttpConnector>);

impl Service<Uri> for Connector {
    type Response = UpstreamStream;
    type Error = BodyError;
    type Future = Pin<Box<dyn Future<Output = Result<UpstreamStream, BodyError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move {
            let io = connecting.await?;
            Ok(UpstreamStream { io, answered: Answered::default() })
        })
    }
}

/// A connection to the upstream.
pub(super) struct UpstreamStream {
    io: MaybeHttpsStream<TokioIo<TcpStream>>,
    answered: Answered,
}

impl Connection for UpstreamStream {
    fn connected(&self) -> Connected {
        self.io.connected().extra(self.answered.clone())
    }
}

impl Read for UpstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for UpstreamStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}
