//! `Expect: 100-continue`: the client's body is asked for when the upstream asks for it.

use std::time::Duration;

use super::harness::{Peer, Proxy, RawUpstream, soon};

const HEAD: &str =
    "POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

/// Patience that no test outlives.
async fn patient(upstream: &RawUpstream) -> Proxy {
    Proxy::with(upstream.at, |config| config.continue_timeout = Duration::from_secs(3600)).await
}

#[tokio::test]
async fn the_upstreams_word_reaches_the_client_before_the_body_is_sent() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        let head = peer.head().await.unwrap();
        assert_eq!(head.one("expect").as_deref(), Some("100-continue"));
        peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let request = peer.body(head, true, false).await;
        assert_eq!(request.body, b"hello");
        peer.send("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    for direct in [true, false] {
        let proxy = patient(&upstream).await;
        let mut client = Peer::connect(if direct { upstream.at } else { proxy.at }).await;
        client.send(HEAD).await;
        assert_eq!(soon(client.head()).await.unwrap().line, "HTTP/1.1 100 Continue");
        client.send("hello").await;
        let answer = soon(client.response("POST")).await.unwrap();
        assert_eq!((answer.status(), answer.body.as_slice()), (201, b"ok".as_slice()));
    }
}

#[tokio::test]
async fn a_refusal_reaches_the_client_without_its_body() {
    for (status, body) in [("417 Expectation Failed", ""), ("413 Content Too Large", "too large")] {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let upstream = RawUpstream::start(move |mut peer: Peer| {
            let answer = answer.clone();
            async move {
                peer.head().await.unwrap();
                peer.send(answer).await;
                // The body never comes; the connection ends instead.
                assert_eq!(peer.bytes(1).await, b"");
            }
        })
        .await;
        let proxy = patient(&upstream).await;
        let mut client = Peer::connect(proxy.at).await;
        client.send(HEAD).await;
        let answer = soon(client.response("POST")).await.unwrap();
        assert_eq!(answer.head.line, format!("HTTP/1.1 {status}"));
        assert_eq!(answer.body, body.as_bytes());
        // What the client might still send is no request.
        client.closed().await;
        upstream.all_ended().await;
    }
}

#[tokio::test]
async fn an_upstream_that_never_says_so_gets_the_body_anyway() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        assert_eq!(peer.request().await.unwrap().body, b"hello");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let short = Duration::from_millis(50);
    let proxy = Proxy::with(upstream.at, |config| config.continue_timeout = short).await;
    let mut client = Peer::connect(proxy.at).await;
    client.send(HEAD).await;
    assert_eq!(soon(client.head()).await.unwrap().status(), 100);
    client.send("hello").await;
    assert_eq!(soon(client.response("POST")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_upstream_may_answer_before_it_takes_the_body() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        let head = peer.head().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
        assert_eq!(peer.body(head, true, false).await.body, b"hello");
        peer.send("0\r\n\r\n").await;
    })
    .await;
    let proxy = patient(&upstream).await;
    let mut client = Peer::connect(proxy.at).await;
    client.send(HEAD).await;
    let head = soon(client.head()).await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(soon(client.chunk()).await.unwrap(), b"hi");
    client.send("hello").await;
    assert_eq!(soon(client.chunk()).await.unwrap(), b"");
}

#[tokio::test]
async fn an_http_1_0_client_expects_nothing() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        let request = peer.request().await.unwrap();
        assert_eq!(request.head.one("expect"), None);
        assert_eq!(request.body, b"hello");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let proxy = patient(&upstream).await;
    let mut client = Peer::connect(proxy.at).await;
    client.send(HEAD.replace("1.1", "1.0") + "hello").await;
    assert_eq!(soon(client.response("POST")).await.unwrap().status(), 200);
}
