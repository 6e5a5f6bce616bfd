//! The two servers that the benchmark brings: the legacy API's stub, and the plain pass-through. Each is a
//! process of its own, and ends when its standard input does.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::{LIST, ORG, ROWS, row_target};
use crate::bench::{BenchError, recipe};

/// Serves the stub until standard input ends. `ready` gets the line that says where.
///
/// # Errors
/// [`BenchError::Start`] if it cannot listen.
pub async fn stub(ready: impl FnOnce(&str)) -> Result<(), BenchError> {
    let rows = Arc::new(Rows::new());
    serve(ready, move |request| {
        let answer = rows.answer(request.uri());
        async move { answer }
    })
    .await
}

/// Serves the pass-through to `to` until standard input ends. `ready` gets the line that says where.
///
/// It is the least that a reverse proxy can be: hyper's server, hyper's client and its pool, and the one
/// header taken away that concerns the connection alone. It shares no code with crossfade's forwarder.
///
/// # Errors
/// [`BenchError::Start`] if it cannot listen.
pub async fn pass_through(to: SocketAddr, ready: impl FnOnce(&str)) -> Result<(), BenchError> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(tcp);
    serve(ready, move |request| pass(client.clone(), to, request)).await
}

type Passed = http_body_util::Either<Incoming, Full<Bytes>>;

async fn pass(
    client: Client<HttpConnector, Incoming>,
    to: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Passed> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let Ok(uri) = Uri::try_from(format!("http://{to}{target}")) else {
        return failed(StatusCode::BAD_REQUEST);
    };
    *request.uri_mut() = uri;
    request.headers_mut().remove(header::CONNECTION);
    match client.request(request).await {
        Ok(response) => response.map(Passed::Left),
        Err(_) => failed(StatusCode::BAD_GATEWAY),
    }
}

fn failed(status: StatusCode) -> Response<Passed> {
    let mut response = Response::new(Passed::Right(Full::default()));
    *response.status_mut() = status;
    response
}

/// Listens on a free loopback port, and answers every request with `answer`.
async fn serve<F, Fut, B>(ready: impl FnOnce(&str), answer: F) -> Result<(), BenchError>
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let lost = |error: std::io::Error| BenchError::Start(format!("a listener: {error}"));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(lost)?;
    let listen = listener.local_addr().map_err(lost)?;
    ready(&json!({ "ready": true, "listen": listen }).to_string());
    let accepting = async {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => return lost(error),
            };
            // Without it every answer is late, which the figures show.
            let _ = stream.set_nodelay(true);
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answering = answer(request);
                async move { Ok::<_, Infallible>(answering.await) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    };
    tokio::select! {
        error = accepting => Err(error),
        () = input_ended() => Ok(()),
    }
}

/// Whoever started this process is gone, or wants it to end.
async fn input_ended() {
    let (mut input, mut ignored) = (tokio::io::stdin(), [0; 64]);
    while input.read(&mut ignored).await.is_ok_and(|length| length > 0) {}
}

/// The stub's rows, as answers that are there already.
struct Rows {
    rows: Vec<Value>,
    /// What the load asks for, by target.
    ready: HashMap<String, Bytes>,
}

impl Rows {
    fn new() -> Self {
        let rows: Vec<Value> = (0..ROWS).map(|row| recipe::legacy_row(ORG, row)).collect();
        let single = (0..).zip(&rows).map(|(number, row)| (row_target(number), text(row)));
        let mut ready: HashMap<String, Bytes> = single.collect();
        ready.insert(LIST.to_owned(), page(&rows, LIST));
        Self { rows, ready }
    }

    fn answer(&self, uri: &Uri) -> Response<Full<Bytes>> {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let body = match self.ready.get(target) {
            Some(body) => body.clone(),
            // The backfill chooses its pages.
            None if uri.path() == "/users" => page(&self.rows, target),
            None => {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::NOT_FOUND;
                return response;
            }
        };
        let mut response = Response::new(Full::new(body));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

fn text(value: &Value) -> Bytes {
    value.to_string().into()
}

/// The page of `rows` that a target asks for by `limit` and `offset`.
fn page(rows: &[Value], target: &str) -> Bytes {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let asked = |name: &str| -> Option<usize> {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name)?.1.parse().ok()
    };
    let page = rows.iter().skip(asked("offset").unwrap_or(0)).take(asked("limit").unwrap_or(20));
    text(&json!({ "data": page.collect::<Vec<_>>(), "total": rows.len() }))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn body(rows: &Rows, target: &str) -> (StatusCode, Value) {
        let answer = rows.answer(&target.parse().unwrap());
        let status = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    #[tokio::test]
    async fn the_stub_has_single_rows_and_pages_and_nothing_else() {
        let rows = Rows::new();
        let (status, row) = body(&rows, &row_target(7)).await;
        assert_eq!((status, &row), (StatusCode::OK, &recipe::legacy_row(ORG, 7)));
        let (_, list) = body(&rows, LIST).await;
        assert_eq!((list["data"].as_array().unwrap().len(), &list["total"]), (20, &json!(ROWS)));
        let (_, last) = body(&rows, &format!("/users?limit=50&offset={}", ROWS - 3)).await;
        assert_eq!(last["data"].as_array().unwrap().len(), 3);
        assert_eq!(last["data"][2], recipe::legacy_row(ORG, ROWS - 1));
        for target in ["/", "/users/nobody"] {
            assert_eq!(body(&rows, target).await.0, StatusCode::NOT_FOUND);
        }
    }
}
