//! The server in front of the router: its limits and its end.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use crossfade::proxy::server::{ServeConfig, serve};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::harness::{Peer, soon};

struct Server {
    at: std::net::SocketAddr,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    /// Lets `/wait` answer.
    release: watch::Sender<bool>,
    /// How many requests wait.
    waiting: watch::Receiver<usize>,
}

async fn start(config: ServeConfig) -> Server {
    let (release, released) = watch::channel(false);
    let (count, waiting) = watch::channel(0);
    let router = Router::new().route("/", get(|| async { "ok" })).route(
        "/wait",
        get(move || {
            let (mut released, count) = (released.clone(), count.clone());
            async move {
                count.send_modify(|n| *n += 1);
                released.wait_for(|go| *go).await.unwrap();
                "done"
            }
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve(listener, router, config, stop.clone().cancelled_owned()));
    Server { at, stop, served, release, waiting }
}

impl Server {
    async fn waiting(&self, n: usize) {
        soon(self.waiting.clone().wait_for(|waiting| *waiting == n)).await.unwrap();
    }
}

const WAIT: &str = "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n";
const NOW: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[tokio::test]
async fn requests_under_way_end_before_the_server_does() {
    let server = start(ServeConfig::default()).await;
    let (mut busy, mut idle) = (Peer::connect(server.at).await, Peer::connect(server.at).await);
    idle.send(NOW).await;
    assert_eq!(soon(idle.response("GET")).await.unwrap().body, b"ok");
    busy.send(WAIT).await;
    server.waiting(1).await;
    server.stop.cancel();
    idle.closed().await;
    assert!(tokio::net::TcpStream::connect(server.at).await.is_err(), "no one new is let in");
    server.release.send(true).unwrap();
    assert_eq!(soon(busy.response("GET")).await.unwrap().body, b"done");
    soon(server.served).await.unwrap();
}

#[tokio::test]
async fn requests_that_do_not_end_are_cut() {
    let server = start(ServeConfig { grace: Duration::ZERO, ..ServeConfig::default() }).await;
    let mut busy = Peer::connect(server.at).await;
    busy.send(WAIT).await;
    server.waiting(1).await;
    server.stop.cancel();
    soon(server.served).await.unwrap();
    assert!(soon(busy.response("GET")).await.is_none());
}

#[tokio::test]
async fn connections_over_the_bound_wait() {
    let server = start(ServeConfig { max_connections: 1, ..ServeConfig::default() }).await;
    let mut first = Peer::connect(server.at).await;
    first.send(WAIT).await;
    server.waiting(1).await;
    let mut second = Peer::connect(server.at).await;
    second.send(NOW).await;
    let mut answer = Box::pin(second.response("GET"));
    tokio::select! {
        biased;
        _ = &mut answer => panic!("answered past the bound"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    drop(first);
    assert_eq!(soon(answer).await.unwrap().body, b"ok");
}

#[tokio::test]
async fn a_client_that_does_not_ask_is_let_go() {
    let header_timeout = Duration::from_millis(100);
    let server = start(ServeConfig { header_timeout, ..ServeConfig::default() }).await;
    for beginning in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: h\r\n"] {
        let mut peer = Peer::connect(server.at).await;
        peer.send(beginning).await;
        peer.closed().await;
    }
    // One that asked in time is not cut when the time is over.
    let mut busy = Peer::connect(server.at).await;
    busy.send(WAIT).await;
    server.waiting(1).await;
    tokio::time::sleep(header_timeout * 2).await;
    server.release.send(true).unwrap();
    assert_eq!(soon(busy.response("GET")).await.unwrap().body, b"done");
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let server = start(ServeConfig { max_headers: 10, ..ServeConfig::default() }).await;
    let mut peer = Peer::connect(server.at).await;
    let many: String = (0..11).map(|n| format!("X-{n}: y\r\n")).collect();
    peer.send(format!("GET / HTTP/1.1\r\n{many}\r\n")).await;
    assert_eq!(soon(peer.response("GET")).await.unwrap().status(), 431);
}
