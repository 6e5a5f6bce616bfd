//! From a URL and a token to a WebSocket.
//!
//! hyper makes the upgrade request, because tungstenite's own handshake writes whole requests to the
//! log at level trace, and the request holds the token.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::settings::{ClientSettings, TokenError};
use crate::identity::MULTIPLEXED;
use crate::storage::BoxFuture;

/// TinyBase's limit of a message, and what the transport adds.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024 + 64 * 1024;
/// Small, since one process holds thousands of clients; larger messages are read in pieces.
const BUFFER_BYTES: usize = 8 * 1024;
/// The subprotocol that stands beside the token's.
const PROTOCOL: &str = "crossfade";

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes byte streams: TCP here; a simulated network elsewhere.
pub trait Transport: Send + Sync {
    /// Connects to the host and port of `url`.
    fn connect<'a>(&'a self, url: &'a Uri) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;
}

/// A transport shared by many clients.
pub type SharedTransport = Arc<dyn Transport>;

/// TCP, for `ws://`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpTransport;

impl Transport for TcpTransport {
    fn connect<'a>(&'a self, url: &'a Uri) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let invalid = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
            if url.scheme_str() != Some("ws") {
                return Err(invalid("native clients connect by ws:// only; wss:// needs TLS"));
            }
            let host = url.host().ok_or_else(|| invalid("the URL has no host"))?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let stream = TcpStream::connect((host, url.port_u16().unwrap_or(80))).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// Why a connection was not made. Never holds the token or the query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// There is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The server cannot be reached.
    #[error("the sync server cannot be reached: {0}")]
    Unreachable(String),
    /// The server answered, and not with an upgrade.
    #[error("the sync server refused the connection with status {0}")]
    Refused(StatusCode),
    /// The server's upgrade is none of ours.
    #[error("the sync server answered with a wrong upgrade: {0}")]
    Handshake(&'static str),
    /// It took too long.
    #[error("no connection within the time for it")]
    TimedOut,
}

/// A connected socket.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Gets a token, connects and upgrades, all within the time for it.
pub(super) async fn open(
    settings: &ClientSettings,
    multiplexed: bool,
) -> Result<Socket, ConnectError> {
    match tokio::time::timeout(settings.connect_timeout, upgrade(settings, multiplexed)).await {
        Ok(opened) => opened,
        Err(_) => Err(ConnectError::TimedOut),
    }
}

async fn upgrade(settings: &ClientSettings, multiplexed: bool) -> Result<Socket, ConnectError> {
    let unreachable = |error: hyper::Error| ConnectError::Unreachable(error.to_string());
    let request = request(settings, multiplexed).await?;
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned();
    let stream = settings.transport.connect(&settings.url).await;
    let stream = stream.map_err(|error| ConnectError::Unreachable(error.to_string()))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(unreachable)?;
        check(&response, key.as_ref(), multiplexed)?;
        hyper::upgrade::on(response).await.map_err(unreachable)
    };
    // The connection has to be driven until the socket is handed over, and not any longer.
    let driven = connection.with_upgrades();
    let (mut driven, mut answered) = (std::pin::pin!(driven), std::pin::pin!(answered));
    let upgraded = tokio::select! {
        biased;
        upgraded = &mut answered => upgraded,
        ended = &mut driven => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(unreachable(error)),
        },
    }?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let io = TokioIo::new(upgraded);
    Ok(WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await)
}

async fn request(
    settings: &ClientSettings,
    multiplexed: bool,
) -> Result<Request<Empty<Bytes>>, ConnectError> {
    let mut key = [0_u8; 16];
    settings.entropy.fill(&mut key);
    let target = settings.url.path_and_query().map_or("/", |path| path.as_str());
    let host = settings.url.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::get(target)
        .header(header::HOST, host)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, STANDARD.encode(key));
    let token = settings.tokens.token().await?;
    let mut offered = Vec::new();
    if multiplexed {
        offered.push(MULTIPLEXED.to_owned());
    }
    if let Some(token) = &token {
        offered.push(PROTOCOL.to_owned());
        offered.push(format!("{PROTOCOL}.token.{}", token.expose()));
    }
    if !offered.is_empty() {
        let offered = offered.join(", ");
        let mut offered = HeaderValue::try_from(offered)
            .map_err(|_| TokenError("it has characters that no header may have".to_owned()))?;
        offered.set_sensitive(true);
        request = request.header(header::SEC_WEBSOCKET_PROTOCOL, offered);
    }
    request.body(Empty::new()).map_err(|_| ConnectError::Handshake("the URL makes no request"))
}

/// Checks an answer as RFC 6455 §4.1 asks of a client.
fn check<B>(
    response: &http::Response<B>,
    key: Option<&HeaderValue>,
    multiplexed: bool,
) -> Result<(), ConnectError> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ConnectError::Refused(response.status()));
    }
    let headers = response.headers();
    let upgrade = headers.get(header::UPGRADE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !upgrade.eq_ignore_ascii_case(b"websocket") {
        return Err(ConnectError::Handshake("not to WebSocket"));
    }
    let expected = key.map(|key| derive_accept_key(key.as_bytes()));
    let accept = headers.get(header::SEC_WEBSOCKET_ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_none() || accept != expected.as_deref() {
        return Err(ConnectError::Handshake("Sec-WebSocket-Accept does not fit"));
    }
    match headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        Some(protocol) if multiplexed && protocol == MULTIPLEXED => Ok(()),
        _ if multiplexed => Err(ConnectError::Handshake("without the subprotocol `tinybase`")),
        Some(protocol) if protocol != PROTOCOL => {
            Err(ConnectError::Handshake("a subprotocol that was not offered, or the token's"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)]) -> Result<(), ConnectError> {
        answer_in(false, status, headers)
    }

    fn answer_in(
        multiplexed: bool,
        status: u16,
        headers: &[(&str, &str)],
    ) -> Result<(), ConnectError> {
        let mut response = http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        // The example of RFC 6455 §1.3.
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        check(&response.body(()).unwrap(), Some(&key), multiplexed)
    }

    #[test]
    fn only_the_upgrade_that_was_asked_for_counts() {
        let upgrade = ("upgrade", "WebSocket");
        let accept = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer(101, &[upgrade, accept]), Ok(()));
        let protocol = ("sec-websocket-protocol", "crossfade");
        assert_eq!(answer(101, &[upgrade, accept, protocol]), Ok(()));
        assert_eq!(
            answer(401, &[upgrade, accept]),
            Err(ConnectError::Refused(StatusCode::UNAUTHORIZED))
        );
        let echoed = ("sec-websocket-protocol", "crossfade.token.x");
        for wrong in [&[accept][..], &[upgrade], &[upgrade, accept, echoed]] {
            assert!(matches!(answer(101, wrong), Err(ConnectError::Handshake(_))), "{wrong:?}");
        }
        let multiplexed = ("sec-websocket-protocol", "tinybase");
        assert_eq!(answer_in(true, 101, &[upgrade, accept, multiplexed]), Ok(()));
        for wrong in [&[upgrade, accept, protocol][..], &[upgrade, accept]] {
            let answer = answer_in(true, 101, wrong);
            assert!(matches!(answer, Err(ConnectError::Handshake(_))), "{wrong:?}");
        }
    }
}
