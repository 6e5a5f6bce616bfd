//! Clients that speak HTTP/2 (by prior knowledge) before an upstream that speaks HTTP/1.1.

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body, Frame};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::framing::recorder;
use super::harness::{Peer, Proxy, RawUpstream, soon};

async fn connect<B>(proxy: &Proxy) -> SendRequest<B>
where
    B: Body<Data = Bytes, Error = std::convert::Infallible> + Send + Unpin + 'static,
{
    let io = TokioIo::new(TcpStream::connect(proxy.at).await.unwrap());
    let (sender, connection) = handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn a_request_becomes_an_http_1_request() {
    let (upstream, got) = recorder().await;
    let proxy = Proxy::before(upstream.at).await;
    let mut sender = connect(&proxy).await;
    let request = Request::get("http://app.test:8080/a//b?c=|")
        .version(Version::HTTP_2)
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(Empty::new())
        .unwrap();
    let response = soon(sender.send_request(request)).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    let got = got.lock().unwrap().remove(0);
    assert_eq!(got.head.line, "GET /a//b?c=| HTTP/1.1");
    assert_eq!(got.head.one("host").as_deref(), Some("app.test:8080"));
    assert_eq!(got.head.one("cookie").as_deref(), Some("a=1; b=2"));
    assert_eq!(got.head.one("te").as_deref(), Some("trailers"));
    assert_eq!(got.head.one("transfer-encoding"), None);
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        let request = peer.request().await.unwrap();
        assert_eq!(request.head.one("transfer-encoding").as_deref(), Some("chunked"));
        assert_eq!(request.body, b"upload");
        assert_eq!(request.trailers, [("x-sum".to_owned(), b"1".to_vec())]);
        peer.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n\
             4\r\ndown\r\n0\r\nX-Undeclared: 2\r\n\r\n",
        )
        .await;
    })
    .await;
    let proxy = Proxy::before(upstream.at).await;
    let mut sender = connect(&proxy).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    let frames = [
        Frame::data(Bytes::from_static(b"up")),
        Frame::data(Bytes::from_static(b"load")),
        Frame::trailers(trailers),
    ];
    let body = StreamBody::new(futures_util::stream::iter(frames).map(Ok));
    let request = Request::post("http://h/").header("trailer", "x-sum").body(body).unwrap();
    let response = soon(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    for gone in ["connection", "x-hop", "transfer-encoding"] {
        assert!(!response.headers().contains_key(gone), "{gone}");
    }
    let whole = response.into_body().collect().await.unwrap();
    // HTTP/2 needs no announcement for its trailers.
    assert_eq!(whole.trailers().unwrap()["x-undeclared"], "2");
    assert_eq!(whole.to_bytes(), "down");
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let (upstream, got) = recorder().await;
    let proxy = Proxy::before(upstream.at).await;
    let sender = connect(&proxy).await;
    let requests = (0..50).map(|n| {
        let mut sender = sender.clone();
        async move {
            let body = Full::new(Bytes::from(vec![b'b'; n * 1000]));
            let request = Request::put(format!("http://h/{n}")).body(body).unwrap();
            let response = sender.send_request(request).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        }
    });
    for body in soon(futures_util::future::join_all(requests)).await {
        assert_eq!(body, "ok");
    }
    let mut lengths: Vec<_> = got.lock().unwrap().iter().map(|m| m.body.len()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, (0..50).map(|n| n * 1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_answer_without_a_body_ends_with_its_head() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        while let Some(request) = peer.request().await {
            peer.send(match request.head.line.as_str() {
                "HEAD / HTTP/1.1" => "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
                "GET /304 HTTP/1.1" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
                _ => "HTTP/1.1 204 No Content\r\n\r\n",
            })
            .await;
        }
    })
    .await;
    let proxy = Proxy::before(upstream.at).await;
    let mut sender = connect(&proxy).await;
    for (request, status, length) in [
        (Request::head("http://h/"), 200, Some("7")),
        (Request::get("http://h/304"), 304, Some("7")),
        (Request::get("http://h/204"), 204, None),
    ] {
        let request = request.body(Empty::new()).unwrap();
        let response = soon(sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), status);
        let told = response.headers().get("content-length").map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(told.as_deref(), length, "{status}");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "");
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_is_noticed_upstream() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        peer.request().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n").await;
        peer.closed().await;
    })
    .await;
    let proxy = Proxy::before(upstream.at).await;
    let mut sender = connect(&proxy).await;
    let request = Request::get("http://h/").body(Empty::new()).unwrap();
    let response = soon(sender.send_request(request)).await.unwrap();
    drop(response);
    upstream.all_ended().await;
}
