//! What the client is told when the upstream does not answer, and what is tried twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::harness::{Message, Peer, Proxy, RawUpstream, ask, get, soon};

/// Checks the shape that every failure has.
fn assert_problem(answer: &Message, status: u16, kind: &str) {
    assert_eq!(answer.status(), status);
    assert_eq!(answer.head.one("content-type").as_deref(), Some("application/problem+json"));
    assert_eq!(answer.head.one("crossfade-error").as_deref(), Some(kind));
    assert_eq!(answer.head.one("cache-control").as_deref(), Some("no-store"));
    let body = answer.json();
    assert_eq!(body["type"], format!("urn:crossfade:problem:{kind}"));
    assert_eq!(body["status"], status);
    for member in ["title", "detail", "remedy"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}");
    }
    assert!(!body.to_string().contains("secret"), "the query is nobody's business");
}

/// A port that nobody listens on.
async fn closed_port() -> std::net::SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn an_upstream_that_is_down_is_a_502() {
    let at = closed_port().await;
    let proxy = Proxy::before(at).await;
    let answer = ask(proxy.at, get("/?secret=1", "")).await;
    assert_problem(&answer, 502, "upstream-unreachable");
    assert!(answer.json()["detail"].as_str().unwrap().contains(&format!("http://{at}")));
}

#[tokio::test]
async fn an_upstream_comes_back_by_itself() {
    let at = closed_port().await;
    let proxy = Proxy::before(at).await;
    let mut client = Peer::connect(proxy.at).await;
    client.send(get("/", "")).await;
    assert_eq!(soon(client.response("GET")).await.unwrap().status(), 502);
    let listener = tokio::net::TcpListener::bind(at).await.unwrap();
    let serving = tokio::spawn(async move {
        let mut peer = Peer::new(listener.accept().await.unwrap().0);
        peer.request().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    });
    client.send(get("/", "")).await;
    assert_eq!(soon(client.response("GET")).await.unwrap().status(), 200);
    serving.await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_hangs_is_a_504() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        peer.request().await.unwrap();
        peer.closed().await;
    })
    .await;
    let short = Duration::from_millis(100);
    let proxy = Proxy::with(upstream.at, |config| config.response_timeout = short).await;
    for request in [
        get("/?secret=1", ""),
        "POST /?secret=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
    ] {
        assert_problem(&ask(proxy.at, request).await, 504, "upstream-timeout");
    }
}

/// The limit is on the upstream's silence, not on the client's upload.
#[tokio::test]
async fn a_slow_upload_is_not_the_upstreams_fault() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        let request = peer.request().await.unwrap();
        assert_eq!(request.body, b"slow");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let short = Duration::from_millis(100);
    let proxy = Proxy::with(upstream.at, |config| config.response_timeout = short).await;
    let mut client = Peer::connect(proxy.at).await;
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n").await;
    for byte in ["s", "l", "o", "w"] {
        // Time itself is the subject here: each pause is longer than the limit.
        tokio::time::sleep(short * 2).await;
        client.send(byte).await;
    }
    assert_eq!(soon(client.response("POST")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_upstream_that_speaks_no_http_is_a_502() {
    for (bytes, kind) in [
        (&b""[..], "upstream-broken"),
        (b"HTTP/1.1 200", "upstream-broken"),
        (b"SSH-2.0-x\r\n\r\n", "upstream-broken"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "upstream-broken"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "upstream-invalid",
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "upstream-invalid"),
    ] {
        let upstream = RawUpstream::start(move |mut peer: Peer| async move {
            peer.request().await.unwrap();
            peer.send(bytes).await;
        })
        .await;
        let proxy = Proxy::before(upstream.at).await;
        let answer = ask(proxy.at, get("/?secret=1", "")).await;
        assert_problem(&answer, 502, kind);
        assert_eq!(upstream.accepted(), 1, "a fresh connection is not tried twice");
    }
}

/// Answers the first request of each connection; then closes the first connection when it gets
/// another request, as a server does whose idle timeout meets the request on its way.
async fn closing_once() -> (RawUpstream, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let connections = Arc::new(AtomicUsize::new(0));
    let upstream = RawUpstream::start(move |mut peer: Peer| {
        let (seen, nth) = (Arc::clone(&seen), connections.fetch_add(1, Ordering::SeqCst));
        async move {
            let mut answered = 0;
            while peer.request().await.is_some() {
                seen.fetch_add(1, Ordering::SeqCst);
                if nth == 0 && answered == 1 {
                    return;
                }
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                answered += 1;
            }
        }
    })
    .await;
    (upstream, requests)
}

#[tokio::test]
async fn a_stale_connection_is_tried_again_where_that_is_safe() {
    for (request, status, deliveries) in [
        (get("/", ""), 200, 3),
        ("DELETE / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 200, 3),
        // Twice is not as good as once.
        ("POST / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 502, 2),
        // Its body is gone.
        ("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi".to_owned(), 502, 2),
    ] {
        let (upstream, requests) = closing_once().await;
        let proxy = Proxy::before(upstream.at).await;
        let mut client = Peer::connect(proxy.at).await;
        client.send(get("/", "")).await;
        assert_eq!(soon(client.response("GET")).await.unwrap().status(), 200);
        client.send(&request).await;
        let answer = soon(client.response("X")).await.unwrap();
        assert_eq!(answer.status(), status, "{request}");
        assert_eq!(requests.load(Ordering::SeqCst), deliveries, "{request}");
    }
}

#[tokio::test]
async fn an_upstream_that_closes_after_each_answer_is_connected_anew() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        peer.request().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::before(upstream.at).await;
    let mut client = Peer::connect(proxy.at).await;
    for _ in 0..5 {
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi").await;
        let answer = soon(client.response("POST")).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.head.one("connection"), None, "the client's connection stays");
    }
    assert_eq!(upstream.accepted(), 5);
}
