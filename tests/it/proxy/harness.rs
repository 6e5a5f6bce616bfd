//! A proxy on a free port, upstreams written by hand, and a client that speaks raw HTTP/1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use crossfade::clock::SystemEntropy;
use crossfade::proxy::forward::{ForwardConfig, Forwarder, Tap, Upstream};
use crossfade::proxy::server::{ServeConfig, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Guards against hanging; no test asserts it.
pub(super) const HANG: Duration = Duration::from_secs(60);

/// Fails instead of hanging.
pub(super) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(HANG, what).await.expect("nothing happened")
}

/// Makes a tap for each request, or none.
pub(super) type MakeTap = Arc<dyn Fn() -> Option<Tap> + Send + Sync>;

/// A running proxy; it ends when dropped.
pub(super) struct Proxy {
    pub(super) at: SocketAddr,
    pub(super) forwarder: Forwarder,
    pub(super) stop: CancellationToken,
    pub(super) served: tokio::task::JoinHandle<()>,
    _stop: DropGuard,
}

impl Proxy {
    pub(super) async fn before(upstream: SocketAddr) -> Self {
        Self::with(upstream, |_| {}).await
    }

    pub(super) async fn with(
        upstream: SocketAddr,
        change: impl FnOnce(&mut ForwardConfig),
    ) -> Self {
        Self::start(&format!("http://{upstream}"), change, Arc::new(|| None)).await
    }

    pub(super) async fn tapped(upstream: SocketAddr, tap: MakeTap) -> Self {
        Self::start(&format!("http://{upstream}"), |_| {}, tap).await
    }

    pub(super) async fn start(
        upstream: &str,
        change: impl FnOnce(&mut ForwardConfig),
        tap: MakeTap,
    ) -> Self {
        let mut config =
            ForwardConfig::new(Upstream::parse(upstream).unwrap(), Arc::new(SystemEntropy));
        change(&mut config);
        let forwarder = Forwarder::new(config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let router = {
            let forwarder = forwarder.clone();
            Router::new().fallback(move |ConnectInfo(peer): ConnectInfo<SocketAddr>, r: Request| {
                let (forwarder, tap) = (forwarder.clone(), tap());
                async move { forwarder.forward(r, peer, tap).await }
            })
        };
        let stop = CancellationToken::new();
        let config = ServeConfig { grace: Duration::ZERO, ..ServeConfig::default() };
        let served = tokio::spawn(serve(listener, router, config, stop.clone().cancelled_owned()));
        Self { at, forwarder, served, _stop: stop.clone().drop_guard(), stop }
    }
}

/// An upstream that runs `serve` on each connection; it ends when dropped.
pub(super) struct RawUpstream {
    pub(super) at: SocketAddr,
    /// Connections accepted, connections ended, connections ended by a panic.
    counts: watch::Receiver<[usize; 3]>,
    task: AbortHandle,
}

impl RawUpstream {
    pub(super) async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(Peer) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, serve)
    }

    pub(super) fn on<F, Fut>(listener: TcpListener, serve: F) -> Self
    where
        F: Fn(Peer) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let at = listener.local_addr().unwrap();
        let (count, counts) = watch::channel([0; 3]);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        connections.spawn(serve(Peer::new(accepted.unwrap().0)));
                        count.send_modify(|count| count[0] += 1);
                    }
                    Some(ended) = connections.join_next() => count.send_modify(|count| {
                        count[1] += 1;
                        count[2] += usize::from(ended.is_err());
                    }),
                }
            }
        });
        Self { at, counts, task: task.abort_handle() }
    }

    pub(super) fn accepted(&self) -> usize {
        self.counts.borrow()[0]
    }

    /// Waits until a connection was accepted and none is open.
    pub(super) async fn all_ended(&self) {
        let mut counts = self.counts.clone();
        let ended = counts.wait_for(|[accepted, ended, _]| *accepted > 0 && accepted == ended);
        soon(ended).await.unwrap();
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            assert_eq!(self.counts.borrow()[2], 0, "an upstream failed, see above");
        }
    }
}

/// The start line and headers of a message, as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) line: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// All values of a header, in order.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let of_name = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    pub(super) fn one(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        assert!(all.len() < 2, "{name} is there {} times", all.len());
        all.pop()
    }

    pub(super) fn status(&self) -> u16 {
        self.line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Headers that are not of one connection, nor added on purpose; by name, in the order of each.
    pub(super) fn end_to_end(&self) -> Vec<(String, Vec<u8>)> {
        const PASSING: [&str; 11] = [
            "connection",
            "keep-alive",
            "transfer-encoding",
            "te",
            "date",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "traceparent",
            "upgrade",
        ];
        let mut kept = self.headers.clone();
        kept.retain(|(name, _)| !PASSING.contains(&name.to_ascii_lowercase().as_str()));
        kept.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        kept
    }
}

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, Vec<u8>)>,
    /// Whether the body came to its proper end.
    pub(super) whole: bool,
}

impl Message {
    pub(super) fn status(&self) -> u16 {
        self.head.status()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One side of a raw HTTP/1 connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    pub(super) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(super) async fn connect(to: SocketAddr) -> Self {
        Self::new(TcpStream::connect(to).await.unwrap())
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads more into the buffer; false at the end of the stream or on an error.
    async fn more(&mut self) -> bool {
        soon(self.stream.read_buf(&mut self.buffer)).await.is_ok_and(|read| read > 0)
    }

    /// Waits until the other side closed or broke the connection.
    pub(super) async fn closed(&mut self) {
        while self.more().await {
            self.buffer.clear();
        }
    }

    async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = self.buffer[..end].to_vec();
                self.buffer.drain(..end + 2);
                return Some(line);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn fields(&mut self) -> Option<Vec<(String, Vec<u8>)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(fields);
            }
            let colon = line.iter().position(|b| *b == b':').unwrap();
            let name = String::from_utf8(line[..colon].to_vec()).unwrap();
            fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    /// The next head; `None` if the connection ended before it.
    pub(super) async fn head(&mut self) -> Option<Head> {
        let line = String::from_utf8(self.line().await?).unwrap();
        Some(Head { line, headers: self.fields().await? })
    }

    /// Up to `length` bytes; fewer if the connection ended.
    pub(super) async fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length && self.more().await {}
        let taken = length.min(self.buffer.len());
        self.buffer.drain(..taken).collect()
    }

    /// The next chunk; empty at the end of the body, `None` if the connection ended.
    pub(super) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.line().await?;
        // An extension may follow the size.
        let size = size.split(|byte| *byte == b';').next().unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(size).unwrap(), 16).unwrap();
        let data = self.bytes(size).await;
        if data.len() < size {
            return None;
        }
        if size > 0 && self.line().await.is_none() {
            return None;
        }
        Some(data)
    }

    /// The body that belongs to `head`.
    pub(super) async fn body(&mut self, head: Head, has_body: bool, until_closed: bool) -> Message {
        let mut message = Message { head, body: Vec::new(), trailers: Vec::new(), whole: true };
        let length = message.head.one("content-length").map(|text| text.parse().unwrap());
        let chunked = message.head.one("transfer-encoding").is_some();
        if !has_body {
            return message;
        }
        if chunked {
            loop {
                match self.chunk().await {
                    None => {
                        message.whole = false;
                        break;
                    }
                    Some(data) if data.is_empty() => {
                        match self.fields().await {
                            Some(trailers) => message.trailers = trailers,
                            None => message.whole = false,
                        }
                        break;
                    }
                    Some(data) => message.body.extend(data),
                }
            }
        } else if let Some(length) = length {
            message.body = self.bytes(length).await;
            message.whole = message.body.len() == length;
        } else if until_closed {
            message.body = self.bytes(usize::MAX).await;
        }
        message
    }

    /// The next request; `None` if the connection ended.
    pub(super) async fn request(&mut self) -> Option<Message> {
        let head = self.head().await?;
        Some(self.body(head, true, false).await)
    }

    /// The next final response to a request with `method`.
    pub(super) async fn response(&mut self, method: &str) -> Option<Message> {
        let head = self.head().await?;
        let status = head.status();
        let has_body = method != "HEAD" && !matches!(status, 100..=199 | 204 | 304);
        Some(self.body(head, has_body, true).await)
    }
}

/// Sends `request` on a new connection and reads the response.
pub(super) async fn ask(to: SocketAddr, request: impl AsRef<[u8]>) -> Message {
    let request = request.as_ref();
    let mut peer = Peer::connect(to).await;
    peer.send(request).await;
    let method = request.split(|b| *b == b' ').next().unwrap();
    soon(peer.response(std::str::from_utf8(method).unwrap())).await.expect("a response")
}

/// `GET path`, with more header lines.
pub(super) fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n{more}\r\n")
}
