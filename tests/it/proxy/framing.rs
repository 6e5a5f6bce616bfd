//! One request in is one request out: framing, headers of one connection, and what the proxy adds.

use std::sync::{Arc, Mutex};

use crossfade::proxy::forward::{ClientScheme, ForwardedPolicy, HostPolicy, TracePolicy};

use super::harness::{Message, Peer, Proxy, RawUpstream, ask, get, soon};

/// An upstream that answers 200 and keeps every request on every connection.
pub(super) async fn recorder() -> (RawUpstream, Arc<Mutex<Vec<Message>>>) {
    let got = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&got);
    let upstream = RawUpstream::start(move |mut peer: Peer| {
        let kept = Arc::clone(&kept);
        async move {
            while let Some(request) = peer.request().await {
                kept.lock().unwrap().push(request);
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    (upstream, got)
}

/// What the upstream got for one request, and what the client was answered.
async fn sent(request: &[u8]) -> (Vec<Message>, Message) {
    let (upstream, got) = recorder().await;
    let proxy = Proxy::before(upstream.at).await;
    let answer = ask(proxy.at, request).await;
    let got = std::mem::take(&mut *got.lock().unwrap());
    (got, answer)
}

async fn sent_one(request: impl AsRef<[u8]>) -> Message {
    let (mut got, answer) = sent(request.as_ref()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(got.len(), 1);
    got.remove(0)
}

#[tokio::test]
async fn a_length_beside_a_transfer_coding_never_goes_on() {
    for lines in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: Chunked\r\nContent-Length: 0\r\nContent-Length: 9\r\n",
    ] {
        // By its length, the body would end inside of it and a second request would follow.
        let body = "2d\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\nX-Tail: 12\r\n\r\n0\r\n\r\n";
        let got = sent_one(format!("POST /s HTTP/1.1\r\nHost: h\r\n{lines}\r\n{body}")).await;
        assert_eq!(got.head.one("content-length"), None, "{lines}");
        assert_eq!(got.head.one("transfer-encoding").as_deref(), Some("chunked"));
        assert_eq!(got.body.len(), 0x2d);
    }
}

#[tokio::test]
async fn an_ambiguous_length_is_refused() {
    for lines in [
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: 4, 5\r\n",
        "Content-Length: -1\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length : 4\r\n",
        "X-Folded: a\r\n Content-Length: 4\r\n",
        "X-Bare: a\rb\r\n",
    ] {
        let request = format!("POST /s HTTP/1.1\r\nHost: h\r\n{lines}\r\nbody");
        let (got, answer) = sent(request.as_bytes()).await;
        assert_eq!(answer.status(), 400, "{lines}");
        assert_eq!(got.len(), 0, "{lines}");
    }
    // The same length twice is one length.
    let twice = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(sent_one(twice).await.head.one("content-length").as_deref(), Some("4"));
}

#[tokio::test]
async fn what_cannot_be_forwarded_is_refused_with_a_reason() {
    for (request, status, kind) in [
        ("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 501, "connect-refused"),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
            "transfer-coding-unknown",
        ),
        ("GET / HTTP/1.1\r\n\r\n", 400, "host-invalid"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "host-invalid"),
    ] {
        let (got, answer) = sent(request.as_bytes()).await;
        assert_eq!(answer.status(), status, "{request}");
        assert_eq!(answer.head.one("crossfade-error").as_deref(), Some(kind));
        assert_eq!(answer.head.one("connection").as_deref(), Some("close"));
        assert_eq!(answer.json()["type"], format!("urn:crossfade:problem:{kind}"));
        assert_eq!(got.len(), 0);
    }
}

#[tokio::test]
async fn targets_that_are_no_uri_are_refused_and_fragments_are_dropped() {
    for target in ["/a<b", "/a>b", "/a`b", "/?q=\"", "/?q=<", "/?q=>", "/\u{7f}", "a/b"] {
        let (got, answer) = sent(get(target, "").as_bytes()).await;
        assert_eq!((answer.status(), got.len()), (400, 0), "{target}");
    }
    assert_eq!(sent_one(get("/a?b#c", "")).await.head.line, "GET /a?b HTTP/1.1");
}

#[tokio::test]
async fn headers_of_one_connection_stay_on_it() {
    let got = sent_one(get(
        "/",
        "Connection: close, X-Hop , keep-alive\r\nConnection: X-Other\r\nX-Hop: 1\r\nx-other: 2\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABk\r\nX-Kept: 3\r\n",
    ))
    .await;
    for gone in
        ["connection", "x-hop", "x-other", "keep-alive", "proxy-connection", "te", "upgrade"]
    {
        assert_eq!(got.head.one(gone), None, "{gone}");
    }
    assert_eq!(got.head.one("http2-settings"), None);
    assert_eq!(got.head.one("x-kept").as_deref(), Some("3"));
}

#[tokio::test]
async fn a_connection_header_cannot_take_the_message_apart() {
    let request = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2\r\n\
                   Connection: content-length, host, x-forwarded-for, forwarded\r\n\
                   X-Forwarded-For: 6.6.6.6\r\n\r\nhi";
    let got = sent_one(request).await;
    assert_eq!(got.head.one("host").as_deref(), Some("app.test"));
    assert_eq!(got.head.one("content-length").as_deref(), Some("2"));
    assert_eq!(got.body, b"hi");
    // The client may withdraw its own words, not the proxy's.
    assert_eq!(got.head.one("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert!(got.head.one("forwarded").is_some());
}

#[tokio::test]
async fn trailers_are_asked_for_where_the_client_takes_them() {
    let got = sent_one(get("/", "TE: deflate;q=0.5, trailers\r\nConnection: TE\r\n")).await;
    assert_eq!(got.head.one("te").as_deref(), Some("trailers"));
    assert_eq!(got.head.one("connection").as_deref(), Some("te"));
}

#[tokio::test]
async fn the_upstream_is_told_who_asks() {
    let plain = sent_one(get("/", "")).await.head;
    assert_eq!(plain.one("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(plain.one("x-forwarded-host").as_deref(), Some("app.test"));
    assert_eq!(plain.one("x-forwarded-proto").as_deref(), Some("http"));
    let forwarded = "for=127.0.0.1;host=\"app.test\";proto=http";
    assert_eq!(plain.one("forwarded").as_deref(), Some(forwarded));
    assert_eq!(plain.one("via"), None);

    let before = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n\
                  X-Forwarded-Host: outer.test\r\nForwarded: for=1.2.3.4\r\n";
    let behind = sent_one(get("/", before)).await.head;
    assert_eq!(behind.one("x-forwarded-for").as_deref(), Some("1.2.3.4, 5.6.7.8, 127.0.0.1"));
    assert_eq!(behind.one("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(behind.one("x-forwarded-host").as_deref(), Some("outer.test"));
    assert_eq!(behind.one("forwarded").unwrap(), format!("for=1.2.3.4, {forwarded}"));

    let (upstream, got) = recorder().await;
    let proxy = Proxy::with(upstream.at, |config| {
        config.forwarded = ForwardedPolicy::Replace;
        config.client_scheme = ClientScheme::Https;
        config.host = HostPolicy::Upstream;
        config.via = Some("edge".parse().unwrap());
    })
    .await;
    let answer = ask(proxy.at, get("/", before)).await;
    let edge = got.lock().unwrap().remove(0).head;
    assert_eq!(edge.one("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(edge.one("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(edge.one("x-forwarded-host").as_deref(), Some("app.test"));
    assert_eq!(edge.one("host"), Some(upstream.at.to_string()));
    assert_eq!(edge.one("via").as_deref(), Some("1.1 edge"));
    assert_eq!(answer.head.one("via").as_deref(), Some("1.1 edge"));
}

#[tokio::test]
async fn nobody_speaks_for_crossfade() {
    let more = "Crossfade-Purpose: outbox\r\ncrossfade-on-behalf-of: root\r\nX-Crossfade: kept\r\n";
    let head = sent_one(get("/", more)).await.head;
    assert_eq!(head.one("crossfade-purpose"), None);
    assert_eq!(head.one("crossfade-on-behalf-of"), None);
    assert_eq!(head.one("x-crossfade").as_deref(), Some("kept"));
}

#[tokio::test]
async fn a_trace_is_passed_on_or_begun() {
    let theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let head =
        sent_one(get("/", &format!("traceparent: {theirs}\r\ntracestate: a=b\r\n"))).await.head;
    assert_eq!(head.one("traceparent").as_deref(), Some(theirs));
    assert_eq!(head.one("tracestate").as_deref(), Some("a=b"));
    let begun = sent_one(get("/", "tracestate: a=b\r\n")).await.head;
    let parent = begun.one("traceparent").unwrap();
    assert!(parent.starts_with("00-") && parent.ends_with("-01") && parent.len() == 55, "{parent}");
    assert_eq!(begun.one("tracestate"), None);

    let (upstream, got) = recorder().await;
    let proxy = Proxy::with(upstream.at, |config| config.trace = TracePolicy::Pass).await;
    ask(proxy.at, get("/", "")).await;
    assert_eq!(got.lock().unwrap()[0].head.one("traceparent"), None);
}

#[tokio::test]
async fn an_absolute_target_names_the_host() {
    let got = sent_one("GET http://real.test:81/p?q HTTP/1.1\r\nHost: lie.test\r\n\r\n").await;
    assert_eq!(got.head.line, "GET /p?q HTTP/1.1");
    assert_eq!(got.head.one("host").as_deref(), Some("real.test:81"));
}

#[tokio::test]
async fn an_upstream_may_have_a_path() {
    let (upstream, got) = recorder().await;
    let url = format!("http://{}/base/", upstream.at);
    let proxy = Proxy::start(&url, |_| {}, Arc::new(|| None)).await;
    ask(proxy.at, get("/a//b?c=%2f", "")).await;
    assert_eq!(got.lock().unwrap()[0].head.line, "GET /base/a//b?c=%2f HTTP/1.1");
}

#[tokio::test]
async fn an_old_client_is_served_in_its_own_version() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        let request = peer.request().await.unwrap();
        assert_eq!(request.head.line, "GET /old HTTP/1.1");
        assert_eq!(request.head.all("host").len(), 1);
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            .await;
    })
    .await;
    let proxy = Proxy::before(upstream.at).await;
    let answer = ask(proxy.at, "GET /old HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.head.line, "HTTP/1.0 200 OK");
    assert_eq!(answer.head.one("transfer-encoding"), None);
    assert_eq!(answer.body, b"abc");
}

#[tokio::test]
async fn requests_on_one_connection_are_answered_in_order() {
    let (upstream, got) = recorder().await;
    let proxy = Proxy::before(upstream.at).await;
    let mut client = Peer::connect(proxy.at).await;
    let pipelined: String = (0..5).map(|n| get(&format!("/{n}"), "")).collect();
    client.send(pipelined).await;
    for _ in 0..5 {
        assert_eq!(soon(client.response("GET")).await.unwrap().body, b"ok");
    }
    let lines: Vec<_> = got.lock().unwrap().iter().map(|m| m.head.line.clone()).collect();
    assert_eq!(lines, (0..5).map(|n| format!("GET /{n} HTTP/1.1")).collect::<Vec<_>>());
    assert_eq!(upstream.accepted(), 1, "one connection serves them all");
}
