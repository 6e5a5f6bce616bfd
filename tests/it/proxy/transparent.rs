//! The same bytes sent to an upstream directly and through the proxy: what the upstream gets and
//! what the client gets must be equal, but for what the proxy documents.

use std::sync::{Arc, Mutex};

use super::harness::{Message, Peer, Proxy, RawUpstream, ask, get};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok";

/// An upstream that answers each request with `response` and keeps what it got.
async fn recording(response: Vec<u8>) -> (RawUpstream, Arc<Mutex<Vec<Message>>>) {
    let got = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&got);
    let upstream = RawUpstream::start(move |mut peer: Peer| {
        let (response, kept) = (response.clone(), Arc::clone(&kept));
        async move {
            while let Some(request) = peer.request().await {
                kept.lock().unwrap().push(request);
                peer.send(&response).await;
                if !response.windows(15).any(|w| w.eq_ignore_ascii_case(b"content-length:"))
                    && !response.windows(18).any(|w| w.eq_ignore_ascii_case(b"transfer-encoding:"))
                    && !response.windows(4).any(|w| w == b" 204" || w == b" 304")
                {
                    return;
                }
            }
        }
    })
    .await;
    (upstream, got)
}

/// Both answers, and both requests as the upstream got them: direct, then proxied.
async fn both(request: &[u8], response: &[u8]) -> ([Message; 2], [Message; 2]) {
    let (upstream, got) = recording(response.to_vec()).await;
    let proxy = Proxy::before(upstream.at).await;
    let answers = [ask(upstream.at, request).await, ask(proxy.at, request).await];
    let got = std::mem::take(&mut *got.lock().unwrap());
    (answers, got.try_into().expect("two requests"))
}

fn post(more: &str, body: &str) -> Vec<u8> {
    format!("POST /p HTTP/1.1\r\nHost: app.test\r\n{more}\r\n{body}").into()
}

fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let many: String = (0..200).map(|n| format!("X-Many-{n}: {n}\r\n")).collect();
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        ("odd path", get("/a//b/../c%2f?x=%zz&y=|", "").into()),
        ("odder path", get("/%00/./a/;p=1/^\\[]\"{}~?a='b'&&=`^\\{}?/", "").into()),
        ("UTF-8 path", get("/é/日本?ü=1", "").into()),
        ("question mark alone", get("/?", "").into()),
        ("long query", get(&format!("/?q={}", "x".repeat(8000)), "").into()),
        ("asterisk", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".into()),
        ("unknown method", "M-SEARCH /m HTTP/1.1\r\nHost: h\r\n\r\n".into()),
        ("lower-case method", "get /m HTTP/1.1\r\nHost: h\r\n\r\n".into()),
        ("method with body", "REPORT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc".into()),
        ("TRACE", "TRACE /m HTTP/1.1\r\nHost: h\r\n\r\n".into()),
        ("host with port", "GET / HTTP/1.1\r\nHOST: App.Test:8080\r\n\r\n".into()),
        ("empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n".into()),
        ("many headers", get("/", &many).into()),
        ("repeated", get("/", "X-A: 1\r\nAccept: a\r\nX-A: 2\r\naccept: b\r\nx-a: 1\r\n").into()),
        ("spelling", get("/", "x-LOWER-upper: Ab\r\nETAG: x\r\n").into()),
        ("blank values", get("/", "X-Empty:\r\nX-Blank:   \r\nX-Inner: a  b\r\n").into()),
        (
            "Latin-1",
            [b"GET /l HTTP/1.1\r\nHost: h\r\nX-N: Andr".as_slice(), b"\xe9\xff\r\n\r\n"].concat(),
        ),
        ("cookies", get("/", "Cookie: a=1; b=\"2\"; __session=x.y.z\r\n").into()),
        (
            "credentials",
            get("/", "Authorization: Bearer x\r\nProxy-Authorization: Basic y\r\n").into(),
        ),
        ("range", get("/", "Range: bytes=0-1,4-\r\nIf-Range: \"e\"\r\n").into()),
        ("condition", get("/", "If-None-Match: W/\"a\", \"b\"\r\nIf-Modified-Since: x\r\n").into()),
        ("compression", get("/", "Accept-Encoding: gzip;q=0.5, br\r\n").into()),
        ("tracing", get("/", "baggage: c=d\r\nX-Request-Id: 7\r\n").into()),
        ("length", post("Content-Length: 5\r\n", "hello")),
        ("length 0", post("Content-Length: 0\r\n", "")),
        ("no body", post("", "")),
        ("chunked", post(chunked, "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")),
        ("chunk extension", post(chunked, "5;a=b\r\nhello\r\n0\r\n\r\n")),
        ("empty chunked", post(chunked, "0\r\n\r\n")),
        (
            "chunked GET",
            get("/", chunked).into_bytes().into_iter().chain(*b"2\r\nhi\r\n0\r\n\r\n").collect(),
        ),
        ("GET with length", (get("/", "Content-Length: 2\r\n") + "hi").into()),
        ("DELETE with body", "DELETE / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi".into()),
        (
            "trailers",
            post(
                &format!("{chunked}Trailer: X-Sum, x-other\r\n"),
                "2\r\nhi\r\n0\r\nX-Sum: 1\r\nx-other: 2\r\n\r\n",
            ),
        ),
        ("coded body", post("Content-Encoding: gzip\r\nContent-Length: 2\r\n", "\u{1}\u{2}")),
    ]
}

#[tokio::test]
async fn the_upstream_gets_the_request_that_the_client_sent() {
    for (name, request) in requests() {
        let (answers, [direct, proxied]) = both(&request, OK).await;
        assert_eq!(answers[1].body, b"ok", "{name}: {:?}", answers[1]);
        assert_eq!(proxied.head.line, direct.head.line, "{name}");
        assert_eq!(proxied.head.end_to_end(), direct.head.end_to_end(), "{name}");
        assert_eq!(proxied.body, direct.body, "{name}");
        assert_eq!(lower(&proxied.trailers), lower(&direct.trailers), "{name}");
        assert!(proxied.whole, "{name}");
        let framed = |m: &Message| m.head.one("transfer-encoding");
        assert_eq!(framed(&proxied), framed(&direct), "{name}");
    }
}

/// Trailer names are compared without their spelling, which is lost on the way.
fn lower(trailers: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    trailers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
}

fn responses() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let with = |status: &str, more: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nDate: now\r\n{more}\r\n{body}").into_bytes()
    };
    let many: String = (0..200).map(|n| format!("X-Many-{n}: {n}\r\n")).collect();
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        ("length", "GET", with("200 OK", "Content-Length: 5\r\n", "hello")),
        ("empty", "GET", with("200 OK", "Content-Length: 0\r\n", "")),
        ("chunked", "GET", with("200 OK", chunked, "5\r\nhello\r\n2\r\n!!\r\n0\r\n\r\n")),
        ("empty chunked", "GET", with("200 OK", chunked, "0\r\n\r\n")),
        ("until closed", "GET", with("200 OK", "Connection: close\r\n", "hello")),
        ("HTTP/1.0", "GET", b"HTTP/1.0 200 OK\r\nDate: now\r\nX: y\r\n\r\nold".to_vec()),
        (
            "trailers",
            "GET",
            with(
                "200 OK",
                &format!("{chunked}Trailer: X-Sum\r\n"),
                "2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n",
            ),
        ),
        ("HEAD with length", "HEAD", with("200 OK", "Content-Length: 1234\r\nETag: \"e\"\r\n", "")),
        ("HEAD chunked", "HEAD", with("200 OK", chunked, "")),
        ("HEAD with nothing", "HEAD", with("200 OK", "X-A: b\r\n", "")),
        ("HEAD length 0", "HEAD", with("200 OK", "Content-Length: 0\r\n", "")),
        ("304", "GET", with("304 Not Modified", "ETag: \"e\"\r\nVary: a\r\nVary: b\r\n", "")),
        ("304 with length", "GET", with("304 Not Modified", "Content-Length: 99\r\n", "")),
        ("204", "GET", with("204 No Content", "X-A: b\r\n", "")),
        ("205", "POST", with("205 Reset Content", "Content-Length: 0\r\n", "")),
        (
            "206",
            "GET",
            with(
                "206 Partial Content",
                "Content-Range: bytes 0-1/9\r\nContent-Length: 2\r\n",
                "ab",
            ),
        ),
        (
            "206 in parts",
            "GET",
            with(
                "206 Partial Content",
                "Content-Type: multipart/byteranges; boundary=B\r\nContent-Length: 45\r\n",
                "--B\r\nContent-Range: bytes 0-0/9\r\n\r\na\r\n--B--\r\n",
            ),
        ),
        (
            "416",
            "GET",
            with(
                "416 Range Not Satisfiable",
                "Content-Range: bytes */9\r\nContent-Length: 0\r\n",
                "",
            ),
        ),
        (
            "301",
            "GET",
            with("301 Moved Permanently", "Location: /else?a=b#c\r\nContent-Length: 0\r\n", ""),
        ),
        (
            "307 abroad",
            "POST",
            with(
                "307 Temporary Redirect",
                "Location: https://else.test/\r\nContent-Length: 0\r\n",
                "",
            ),
        ),
        ("300", "GET", with("300 Multiple Choices", "Content-Length: 0\r\n", "")),
        (
            "cookies",
            "GET",
            with(
                "200 OK",
                "Set-Cookie: a=1; Path=/; HttpOnly\r\nset-cookie: b=2; Secure\r\nSet-Cookie: a=3\r\nContent-Length: 0\r\n",
                "",
            ),
        ),
        (
            "coded",
            "GET",
            with(
                "200 OK",
                "Content-Encoding: br\r\nVary: Accept-Encoding\r\nContent-Length: 3\r\n",
                "\u{1}\u{2}\u{3}",
            ),
        ),
        ("many headers", "GET", with("200 OK", &format!("{many}Content-Length: 0\r\n"), "")),
        (
            "spelling",
            "GET",
            with("200 OK", "x-LOWER-upper: Ab\r\nETAG: x\r\nContent-LENGTH: 0\r\n", ""),
        ),
        (
            "401",
            "GET",
            with(
                "401 Unauthorized",
                "WWW-Authenticate: Basic, Bearer\r\nWWW-Authenticate: X\r\nContent-Length: 0\r\n",
                "",
            ),
        ),
        ("404", "GET", with("404 Not Found", "Content-Length: 4\r\n", "none")),
        ("500", "GET", with("500 Internal Server Error", "Content-Length: 4\r\n", "oops")),
        (
            "503",
            "GET",
            with("503 Service Unavailable", "Retry-After: 3\r\nContent-Length: 0\r\n", ""),
        ),
        ("own reason", "GET", with("200 All is well", "Content-Length: 0\r\n", "")),
        ("unknown status", "GET", with("799 Beyond", "Content-Length: 0\r\n", "")),
        (
            "no Vary lost",
            "GET",
            with(
                "200 OK",
                "Vary: *\r\nAge: 3\r\nVia: 1.1 cdn\r\nServer: x\r\nContent-Length: 0\r\n",
                "",
            ),
        ),
        (
            "Latin-1",
            "GET",
            [
                b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 0\r\nX-N: Andr".as_slice(),
                b"\xe9\r\n\r\n",
            ]
            .concat(),
        ),
        ("early hints before", "GET", with("200 OK", "Content-Length: 1\r\n", "a")),
    ]
}

#[tokio::test]
async fn the_client_gets_the_response_that_the_upstream_gave() {
    for (name, method, response) in responses() {
        let request =
            format!("{method} /r HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
        let ([direct, proxied], _) = both(request.as_bytes(), &response).await;
        assert_eq!(
            proxied.head.line.split_once(' '),
            direct.head.line.replace("1.0", "1.1").split_once(' '),
            "{name}"
        );
        assert_eq!(proxied.head.end_to_end(), direct.head.end_to_end(), "{name}");
        assert_eq!(proxied.body, direct.body, "{name}");
        assert_eq!(lower(&proxied.trailers), lower(&direct.trailers), "{name}");
        assert!(proxied.whole, "{name}");
    }
}

/// Headers that a response lacked are not made up, but for the date that a proxy must add.
#[tokio::test]
async fn nothing_but_a_date_is_added_to_a_response() {
    for (method, status) in
        [("HEAD", "200 OK"), ("GET", "304 Not Modified"), ("GET", "204 No Content")]
    {
        let request = format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n");
        let response = format!("HTTP/1.1 {status}\r\nX-A: b\r\n\r\n");
        let ([_, proxied], _) = both(request.as_bytes(), response.as_bytes()).await;
        let mut names: Vec<_> =
            proxied.head.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["X-A", "date"], "{method} {status}");
    }
}

/// Informational responses are passed over, the final one is not.
#[tokio::test]
async fn an_early_hint_does_not_hide_the_answer() {
    let response = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    let (upstream, _) = recording(response.to_vec()).await;
    let proxy = Proxy::before(upstream.at).await;
    let answer = ask(proxy.at, get("/", "")).await;
    assert_eq!((answer.status(), answer.body.as_slice()), (200, b"a".as_slice()));
}
