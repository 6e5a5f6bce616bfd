//! What the proxy adds to a request, on loopback, one request at a time on a kept-alive connection.
//!
//! In each group: `direct` asks the upstream itself; `pass-through` asks the least that a proxy can
//! be (the same server and client libraries, nothing looked at, one header taken away); `forwarder`
//! asks crossfade's; `tapped` does so with a copy of the body. Read them as ratios within a group:
//! client, proxy and upstream share one thread, so that a time is the work of all three and not the
//! waking of one by another.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::convert::Infallible;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use crossfade::clock::SystemEntropy;
use crossfade::proxy::forward::{ForwardConfig, Forwarder, Tap, Upstream};
use crossfade::proxy::server::{ServeConfig, serve};
use http::{Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Serves every connection with `answer`.
async fn http1<F, Fut, B>(answer: F) -> SocketAddr
where
    F: Fn(http::Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<B>> + Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answering = answer(request);
                async move { Ok::<_, Infallible>(answering.await) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    at
}

/// Answers with `body`, once the request's own was read.
async fn upstream(body: Bytes) -> SocketAddr {
    http1(move |request| {
        let body = body.clone();
        async move {
            request.into_body().collect().await.unwrap();
            let mut response = Response::new(Full::new(body));
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
    })
    .await
}

async fn pass_through(to: SocketAddr) -> SocketAddr {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(tcp);
    http1(move |mut request| {
        let client = client.clone();
        async move {
            let target = request.uri().path_and_query().unwrap().clone();
            *request.uri_mut() = Uri::builder()
                .scheme("http")
                .authority(to.to_string())
                .path_and_query(target)
                .build()
                .unwrap();
            request.headers_mut().remove(header::CONNECTION);
            client.request(request).await.unwrap()
        }
    })
    .await
}

async fn forwarder(to: SocketAddr, tapped: bool) -> SocketAddr {
    let upstream = Upstream::parse(&format!("http://{to}")).unwrap();
    let forwarder = Forwarder::new(ForwardConfig::new(upstream, Arc::new(SystemEntropy))).unwrap();
    let router = Router::new().fallback(
        move |ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request| {
            let forwarder = forwarder.clone();
            let tap = tapped.then(|| Tap {
                request_limit: 1 << 20,
                response_limit: 1 << 20,
                sink: Box::new(|copy| drop(black_box(copy))),
            });
            async move { forwarder.forward(request, peer, tap).await }
        },
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router, ServeConfig::default(), std::future::pending()));
    at
}

async fn connect(to: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// One request as a browser sends it, and its answer to the last byte.
async fn ask(sender: &mut SendRequest<Full<Bytes>>, body: Bytes) -> usize {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let request = http::Request::builder()
        .method(method)
        .uri("/users?limit=50&sort=name")
        .header("host", "app.example.com")
        .header("accept", "application/json, text/plain, */*")
        .header("accept-encoding", "gzip, deflate, br")
        .header("accept-language", "en-GB,en;q=0.9")
        .header("authorization", "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1XzEifQ.c2lnbmF0dXJl")
        .header("cookie", "__session=abcdef; theme=dark")
        .header("referer", "https://app.example.com/users")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36")
        .body(Full::new(body))
        .unwrap();
    sender.ready().await.unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap().to_bytes().len()
}

fn measure(
    group: &mut BenchmarkGroup<'_, criterion::measurement::WallTime>,
    runtime: &Runtime,
    name: &str,
    at: SocketAddr,
    body: &Bytes,
) {
    let sender = runtime.block_on(connect(at));
    // Only one iteration runs at a time; the lock is what lends it the connection.
    let sender = Arc::new(tokio::sync::Mutex::new(sender));
    group.bench_function(name, |bencher| {
        bencher
            .to_async(runtime)
            .iter(|| async { ask(&mut *sender.lock().await, body.clone()).await });
    });
}

fn proxy_overhead(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let shapes =
        [("get-1KiB", 0, 1 << 10), ("get-1MiB", 0, 1 << 20), ("post-16KiB", 16 << 10, 256)];
    for (shape, up, down) in shapes {
        let mut group = criterion.benchmark_group(format!("proxy/{shape}"));
        group.throughput(Throughput::Bytes(u64::try_from(up + down).unwrap()));
        let body = Bytes::from(vec![b'x'; up]);
        let direct = runtime.block_on(upstream(Bytes::from(vec![b'y'; down])));
        let paths = [
            ("direct", direct),
            ("pass-through", runtime.block_on(pass_through(direct))),
            ("forwarder", runtime.block_on(forwarder(direct, false))),
            ("tapped", runtime.block_on(forwarder(direct, true))),
        ];
        for (name, at) in paths {
            measure(&mut group, &runtime, name, at, &body);
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30);
    targets = proxy_overhead
}
criterion_main!(benches);
