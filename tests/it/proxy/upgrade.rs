//! Upgraded connections: WebSocket with real libraries at both ends, and protocols nobody knows.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::harness::{Peer, Proxy, RawUpstream, get, soon};

/// Echoes messages over the subprotocol `echo`; closes with 4001 when told `bye`.
async fn websocket_upstream() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        #[expect(clippy::result_large_err, reason = "the library's callback")]
        let check = |request: &Request, mut response: Response| {
            assert_eq!(request.uri(), "/socket?room=1");
            assert_eq!(request.headers()["cookie"], "s=1");
            let wanted = request.headers()["sec-websocket-protocol"].clone();
            response.headers_mut().insert("sec-websocket-protocol", wanted);
            Ok(response)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, check).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message == Message::text("bye") {
                let close = CloseFrame { code: CloseCode::from(4001), reason: "so long".into() };
                socket.close(Some(close)).await.unwrap();
            } else if message.is_text() || message.is_binary() {
                socket.send(message).await.unwrap();
            }
        }
    });
    (at, serving)
}

async fn connect(
    at: SocketAddr,
) -> tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>> {
    let mut request = format!("ws://{at}/socket?room=1").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "echo".parse().unwrap());
    request.headers_mut().insert("cookie", "s=1".parse().unwrap());
    let (socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "echo");
    socket
}

#[tokio::test]
async fn a_websocket_passes_until_the_upstream_closes_it() {
    let (upstream, serving) = websocket_upstream().await;
    let proxy = Proxy::before(upstream).await;
    let mut socket = connect(proxy.at).await;
    for message in [Message::text("hé"), Message::binary(vec![7; 300_000]), Message::text("")] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(soon(socket.next()).await.unwrap().unwrap(), message);
    }
    socket.send(Message::text("bye")).await.unwrap();
    let Message::Close(Some(close)) = soon(socket.next()).await.unwrap().unwrap() else {
        panic!("no close frame");
    };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4001, "so long"));
    assert!(soon(socket.next()).await.is_none(), "the connection ends");
    soon(serving).await.unwrap();
}

#[tokio::test]
async fn a_websocket_passes_until_the_client_closes_it() {
    let (upstream, serving) = websocket_upstream().await;
    let proxy = Proxy::before(upstream).await;
    let mut socket = connect(proxy.at).await;
    socket.close(None).await.unwrap();
    soon(async { while socket.next().await.is_some_and(|message| message.is_ok()) {} }).await;
    soon(serving).await.unwrap();
}

#[tokio::test]
async fn a_websocket_that_vanishes_is_noticed_upstream() {
    let (upstream, serving) = websocket_upstream().await;
    let proxy = Proxy::before(upstream).await;
    drop(connect(proxy.at).await);
    soon(serving).await.unwrap();
}

/// Agrees to any upgrade and echoes in capitals until its reading ends, then says `END`.
async fn shouting() -> RawUpstream {
    RawUpstream::start(|mut peer: Peer| async move {
        let head = peer.head().await.unwrap();
        assert_eq!(head.one("upgrade").as_deref(), Some("shout/1"));
        assert_eq!(head.one("connection").as_deref(), Some("upgrade"));
        // The first bytes of the new protocol come right with the answer.
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: shout/1\r\nConnection: Upgrade\r\n\r\nHI ",
        )
        .await;
        let mut bytes = [0; 64];
        loop {
            let read = peer.stream.read(&mut bytes).await.unwrap_or(0);
            if read == 0 {
                break;
            }
            bytes[..read].make_ascii_uppercase();
            peer.send(&bytes[..read]).await;
        }
        let _ = peer.stream.write_all(b" END").await;
    })
    .await
}

async fn upgraded(at: SocketAddr) -> Peer {
    let mut client = Peer::connect(at).await;
    client.send(get("/up", "Connection: keep-alive, Upgrade\r\nUpgrade: h2c, shout/1\r\n")).await;
    let head = soon(client.head()).await.unwrap();
    assert_eq!(head.line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(head.one("upgrade").as_deref(), Some("shout/1"));
    assert_eq!(head.one("connection").as_deref(), Some("upgrade"));
    assert_eq!(head.one("content-length"), None);
    assert_eq!(soon(client.bytes(3)).await, b"HI ");
    client
}

#[tokio::test]
async fn half_of_a_tunnel_may_end_before_the_other() {
    let upstream = shouting().await;
    let proxy = Proxy::before(upstream.at).await;
    let mut client = upgraded(proxy.at).await;
    client.send("abc").await;
    assert_eq!(soon(client.bytes(3)).await, b"ABC");
    client.stream.shutdown().await.unwrap();
    assert_eq!(soon(client.bytes(usize::MAX)).await, b" END");
}

#[tokio::test]
async fn tunnels_are_closed_at_the_end() {
    let upstream = shouting().await;
    let proxy = Proxy::before(upstream.at).await;
    let mut client = upgraded(proxy.at).await;
    proxy.stop.cancel();
    soon(proxy.forwarder.close_tunnels()).await;
    client.closed().await;
    let mut served = proxy.served;
    soon(&mut served).await.unwrap();
}

#[tokio::test]
async fn a_refused_upgrade_is_a_plain_answer() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        while let Some(request) = peer.request().await {
            let (status, more) = match request.head.one("upgrade") {
                Some(_) => ("426 Upgrade Required", "Upgrade: shout/2\r\nConnection: upgrade\r\n"),
                None => ("200 OK", ""),
            };
            peer.send(format!("HTTP/1.1 {status}\r\n{more}Content-Length: 2\r\n\r\nok")).await;
        }
    })
    .await;
    let proxy = Proxy::before(upstream.at).await;
    let mut client = Peer::connect(proxy.at).await;
    client.send(get("/", "Connection: Upgrade\r\nUpgrade: shout/1\r\n")).await;
    let answer = soon(client.response("GET")).await.unwrap();
    assert_eq!(answer.status(), 426);
    assert_eq!(answer.head.one("upgrade").as_deref(), Some("shout/2"));
    client.send(get("/", "")).await;
    assert_eq!(soon(client.response("GET")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_websocket_is_refused_as_the_upstream_refuses_it() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        peer.request().await.unwrap();
        peer.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::before(upstream.at).await;
    let refused = tokio_tungstenite::connect_async(format!("ws://{}/", proxy.at)).await;
    let Err(Error::Http(response)) = refused else { panic!("not refused: {refused:?}") };
    assert_eq!(response.status(), 401);
}
