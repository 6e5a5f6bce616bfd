//! Copies of what passes: whole where they can be, bounded always, and never in the way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade::migration::{Body, Failure};
use crossfade::proxy::forward::{End, Tap, Tapped};
use tokio::sync::mpsc;

use super::harness::{MakeTap, Message, Peer, Proxy, RawUpstream, ask, get, soon};

const LIMIT: usize = 1000;

/// Taps that send what they got.
fn taps() -> (MakeTap, mpsc::UnboundedReceiver<Tapped>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let make = move || {
        let sender = sender.clone();
        Some(Tap {
            request_limit: LIMIT,
            response_limit: LIMIT,
            sink: Box::new(move |tapped| sender.send(tapped).unwrap()),
        })
    };
    (Arc::new(make), receiver)
}

/// One exchange with an upstream that reads one request, answers `response` and closes.
async fn exchange(request: impl AsRef<[u8]>, response: Vec<u8>) -> (Message, Tapped) {
    let upstream = RawUpstream::start(move |mut peer: Peer| {
        let response = response.clone();
        async move {
            peer.request().await.unwrap();
            peer.send(response).await;
        }
    })
    .await;
    let (make, mut tapped) = taps();
    let proxy = Proxy::tapped(upstream.at, make).await;
    let answer = ask(proxy.at, request).await;
    let tapped_one = soon(tapped.recv()).await.unwrap();
    drop(proxy);
    assert!(tapped.try_recv().is_err(), "told exactly once");
    (answer, tapped_one)
}

fn with_length(body: &[u8], more: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{more}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn post(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn whole(bytes: &[u8]) -> Body {
    Body::Whole(bytes.to_vec().into())
}

#[tokio::test]
async fn a_small_exchange_is_copied_whole() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
    for response in [with_length(b"{\"a\":1}", "X-A: b\r\nX-A: c\r\n"), chunked.to_vec()] {
        let (answer, tapped) = exchange(post("{\"q\":2}"), response).await;
        assert_eq!(answer.body, b"{\"a\":1}");
        assert_eq!(tapped.end, End::Complete);
        assert_eq!(tapped.request.decode(), whole(b"{\"q\":2}"));
        assert_eq!(tapped.response.decode(), whole(b"{\"a\":1}"));
        let head = tapped.head.as_ref().unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers.get_all("x-a").iter().count(), answer.head.all("x-a").len());
        assert!(head.latency <= tapped.latency);
        let seen = tapped.observation().unwrap();
        assert_eq!(seen.outcome.unwrap().body, whole(b"{\"a\":1}"));
    }
}

#[tokio::test]
async fn an_answer_without_a_body_is_complete() {
    for (method, response) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n"),
        ("DELETE", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let request = format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n");
        let (_, tapped) = exchange(request, response.into()).await;
        assert_eq!(tapped.end, End::Complete, "{method} {response}");
        assert_eq!(tapped.response.decode(), whole(b""));
        assert_eq!(tapped.request.decode(), whole(b""));
    }
}

#[tokio::test]
async fn past_the_bound_the_copy_goes_and_the_body_stays() {
    let large = vec![b'x'; LIMIT + 1];
    let (answer, tapped) = exchange(post("q"), with_length(&large, "")).await;
    assert_eq!(answer.body, large);
    assert_eq!(tapped.end, End::Complete);
    assert_eq!(tapped.response.decode(), Body::Truncated);
    assert_eq!(tapped.request.decode(), whole(b"q"));

    let exactly = vec![b'x'; LIMIT];
    let (_, tapped) = exchange(post(&"y".repeat(LIMIT + 1)), with_length(&exactly, "")).await;
    assert_eq!(tapped.response.decode(), whole(&exactly));
    assert_eq!(tapped.request.decode(), Body::Truncated);
}

#[tokio::test]
async fn codings_are_undone_or_named() {
    let coded =
        |body: &[u8], coding: &str| with_length(body, &format!("Content-Encoding: {coding}\r\n"));
    let bomb = gzip(&vec![0; 100_000]);
    assert!(bomb.len() < LIMIT);
    for (response, kept) in [
        (coded(&gzip(b"plain"), "gzip"), whole(b"plain")),
        (coded(&gzip(b"plain"), "X-GZIP"), whole(b"plain")),
        (coded(b"plain", "identity"), whole(b"plain")),
        (coded(&gzip(&vec![0; LIMIT]), "gzip"), whole(&vec![0; LIMIT])),
        (coded(&bomb, "gzip"), Body::Truncated),
        (coded(b"not gzip", "gzip"), Body::Encoded("gzip".into())),
        (coded(b"??", "br"), Body::Encoded("br".into())),
        (coded(b"??", "gzip, br"), Body::Encoded("gzip, br".into())),
    ] {
        let (answer, tapped) = exchange(get("/", ""), response.clone()).await;
        assert!(response.ends_with(&answer.body), "the client gets it as it was coded");
        assert_eq!(tapped.response.decode(), kept);
    }
}

#[tokio::test]
async fn a_broken_answer_is_a_failure() {
    let (answer, tapped) =
        exchange(get("/", ""), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart".to_vec()).await;
    assert!(!answer.whole);
    assert!(matches!(tapped.end, End::Failed(Failure::Unreachable(_))), "{:?}", tapped.end);
    assert_eq!(tapped.response.decode(), Body::Truncated);
    assert!(tapped.head.is_some());
    assert!(tapped.observation().unwrap().outcome.is_err());

    let (answer, tapped) = exchange(get("/", ""), Vec::new()).await;
    assert_eq!(answer.status(), 502);
    assert!(matches!(tapped.end, End::Failed(Failure::Unreachable(_))));
    assert!(tapped.head.is_none());
}

#[tokio::test]
async fn a_request_that_no_connection_was_made_for_is_told_from_one_that_broke_off() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (make, mut tapped) = taps();
    let proxy = Proxy::start(&format!("http://{free}"), |_| {}, make).await;
    assert_eq!(ask(proxy.at, get("/", "")).await.status(), 502);
    let tapped = soon(tapped.recv()).await.unwrap();
    assert!(matches!(tapped.end, End::NotReached(Failure::Unreachable(_))), "{:?}", tapped.end);
    assert!(tapped.observation().unwrap().outcome.is_err());
}

#[tokio::test]
async fn a_late_answer_is_a_timeout_and_a_refusal_says_nothing() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        peer.request().await.unwrap();
        peer.closed().await;
    })
    .await;
    let (make, mut tapped) = taps();
    let short = Duration::from_millis(50);
    let url = format!("http://{}", upstream.at);
    let proxy = Proxy::start(&url, |config| config.response_timeout = short, make).await;
    assert_eq!(ask(proxy.at, get("/", "")).await.status(), 504);
    assert_eq!(soon(tapped.recv()).await.unwrap().end, End::Failed(Failure::Timeout(short)));
    assert_eq!(ask(proxy.at, "GET / HTTP/1.1\r\n\r\n").await.status(), 400);
    let refused = soon(tapped.recv()).await.unwrap();
    assert_eq!(refused.end, End::Refused);
    assert!(refused.observation().is_none());
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_copy() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        let request = peer.request().await.unwrap();
        if request.head.line.contains("begun") {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart").await;
        }
        peer.closed().await;
    })
    .await;
    let (make, mut tapped) = taps();
    let proxy = Proxy::tapped(upstream.at, make).await;
    for (n, path) in ["/begun", "/not-yet"].into_iter().enumerate() {
        let mut client = Peer::connect(proxy.at).await;
        client.send(get(path, "")).await;
        if path == "/begun" {
            soon(client.head()).await.unwrap();
        }
        soon(async {
            while upstream.accepted() <= n {
                tokio::task::yield_now().await;
            }
        })
        .await;
        drop(client);
        let left = soon(tapped.recv()).await.unwrap();
        assert_eq!(left.end, End::CallerLeft);
        assert_eq!(left.head.is_some(), path == "/begun");
        assert_eq!(left.response.decode(), Body::Truncated);
        assert!(left.observation().is_none());
    }
}

/// An answer that ends before its request does is told with the part of the request as such.
#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_request() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        peer.head().await.unwrap();
        peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
        peer.closed().await;
    })
    .await;
    let (make, mut tapped) = taps();
    let proxy = Proxy::tapped(upstream.at, make).await;
    let mut client = Peer::connect(proxy.at).await;
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\npart").await;
    assert_eq!(soon(client.response("POST")).await.unwrap().status(), 403);
    let early = soon(tapped.recv()).await.unwrap();
    assert_eq!(early.end, End::Complete);
    assert_eq!(early.request.decode(), Body::Truncated);
    assert_eq!(early.response.decode(), whole(b"no"));
}

/// The sink is told before the client can ask again.
#[tokio::test]
async fn copies_come_in_the_order_of_the_requests() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        while let Some(request) = peer.request().await {
            peer.send(with_length(request.head.line.as_bytes(), "")).await;
        }
    })
    .await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&order);
    let make: MakeTap = Arc::new(move || {
        let kept = Arc::clone(&kept);
        Some(Tap {
            request_limit: 0,
            response_limit: LIMIT,
            sink: Box::new(move |tapped| kept.lock().unwrap().push(tapped.response.decode())),
        })
    });
    let proxy = Proxy::tapped(upstream.at, make).await;
    let mut client = Peer::connect(proxy.at).await;
    for n in 0..5 {
        client.send(get(&format!("/{n}"), "")).await;
        soon(client.response("GET")).await.unwrap();
    }
    let expected: Vec<_> = (0..5).map(|n| whole(format!("GET /{n} HTTP/1.1").as_bytes())).collect();
    assert_eq!(*order.lock().unwrap(), expected);
}
