//! Raw sockets at a server: what is negotiated, admitted, bounded and relayed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::*;
use crate::sync::test_server::{TestServer, guard};

const HELLO: &str = "S\n[\"q\",-1,[0,1]]";
const ASK: &str = "\n[\"AAAAAAAAAAA.AAAA\",1,\"\"]";

struct Raw {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    protocol: Option<String>,
    key: String,
}

impl TestServer {
    async fn open(&self, target: &str, protocols: &str) -> Result<Raw, Option<StatusCode>> {
        let url = format!("ws://{}/sync{target}", self.url.authority().unwrap());
        let mut request = url.into_client_request().unwrap();
        let key = request.headers()["sec-websocket-key"].to_str().unwrap().to_owned();
        if !protocols.is_empty() {
            request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        }
        match guard("opened", tokio_tungstenite::connect_async(request)).await {
            Ok((socket, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                let protocol = protocol.map(|value| value.to_str().unwrap().to_owned());
                Ok(Raw { socket, protocol, key })
            }
            Err(Error::Http(response)) => Err(Some(response.status())),
            Err(_) => Err(None),
        }
    }

    async fn multiplexed(&self, target: &str) -> Raw {
        let mut raw = self.open(target, "tinybase, crossfade.token.t").await.unwrap();
        raw.send(HELLO).await;
        assert_eq!(raw.frame().await, HELLO);
        raw
    }
}

impl Raw {
    async fn send(&mut self, frame: &str) {
        self.socket.send(Message::text(frame)).await.unwrap();
    }

    /// The next text frame.
    async fn frame(&mut self) -> String {
        loop {
            match guard("a frame", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?} instead of a frame"),
            }
        }
    }

    /// The next frame for which this holds; others are passed over.
    async fn frame_with(&mut self, what: &str) -> String {
        loop {
            let frame = self.frame().await;
            if frame.contains(what) {
                return frame;
            }
        }
    }

    /// How the server closes; frames before are passed over.
    async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            match guard("closed", self.socket.next()).await {
                Some(Ok(Message::Close(frame))) => {
                    return frame.map(|f| (f.code.into(), f.reason.to_string()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    async fn subscribe(&mut self, channel: &str) {
        self.send(&format!("S\n[\"{channel}\",-1,[1,\"{channel}\"]]")).await;
    }
}

fn edit(row: &str, name: &str) -> String {
    let hlc = mergeable_store::Clock::new(mergeable_store::ClientId::from_unique_id("raw"))
        .next(crate::clock::Clock::now_ms(&crate::clock::SystemClock));
    format!(
        "\n[\"AAAAAAAAAAA\",3,[[{{\"users\":[{{\"{row}\":[{{\"name\":[\"{name}\",\"{hlc}\"]}}]}}]}}],[{{}}],1]]"
    )
}

#[tokio::test]
async fn tinybases_own_subprotocol_is_confirmed_before_crossfades_and_the_token_never() {
    let server = TestServer::start().await;
    for (offered, confirmed) in [
        ("", None),
        ("crossfade, crossfade.token.sesame", Some("crossfade")),
        ("crossfade, crossfade.token.sesame, tinybase", Some("tinybase")),
        ("tinybase", Some("tinybase")),
    ] {
        let raw = server.open("/team", offered).await.unwrap();
        assert_eq!(raw.protocol.as_deref(), confirmed, "{offered}");
    }
    let two = server.open("/team", "crossfade.token.a, crossfade.token.b").await;
    assert_eq!(two.err(), Some(Some(StatusCode::UNAUTHORIZED)));
}

#[tokio::test]
async fn each_subscription_is_admitted_by_the_rule_of_the_upgrade() {
    let server = TestServer::start().await;
    for (target, status) in [("/secret", 403), ("/team/%2e%2e/secret", 400), ("/", 400)] {
        let refused = server.open(target, "crossfade").await.err();
        assert_eq!(refused, Some(StatusCode::from_u16(status).ok()), "{target}");
    }
    assert_eq!(server.open("/%74eam", "tinybase").await.err(), Some(Some(StatusCode::BAD_REQUEST)));
    for (target, channels) in [
        (
            "",
            &["secret", "Secret", "%73ecret", "team%2F..%2Fsecret", "ſecret", "team/x", " team"][..],
        ),
        ("/team", &["secret", "..%2fsecret", "x"]),
    ] {
        let mut raw = server.multiplexed(target).await;
        for channel in channels {
            raw.subscribe(channel).await;
        }
        // What is confirmed next is the first thing that may be: nothing before it was.
        raw.send(HELLO).await;
        assert_eq!(raw.frame().await, HELLO, "{target}");
        raw.send(&format!("M\n{}\n{ASK}", channels[0])).await;
        assert_eq!(raw.closed().await, Some((1007, "tinybase:14".to_owned())));
    }
    server.door.refuse.store(1, Ordering::SeqCst);
    assert_eq!(server.open("", "tinybase").await.err(), Some(Some(StatusCode::UNAUTHORIZED)));
}

#[tokio::test]
async fn channels_of_one_socket_are_connections_of_their_own_paths() {
    let server = TestServer::start().await;
    let mut both = server.multiplexed("").await;
    for channel in ["team", "other"] {
        both.subscribe(channel).await;
        both.frame_with(&format!("[1,\"{channel}\"]")).await;
        both.send(&format!("M\n{channel}\n{ASK}")).await;
        both.frame_with(&format!("M\n{channel}\nS\n[\"AAAAAAAAAAA.AAAA\",0,")).await;
    }
    let mut single = server.open("/team", "crossfade").await.unwrap();
    single.send(ASK).await;
    single.frame_with("AAAAAAAAAAA.AAAA").await;
    both.send(&format!("M\nteam\n{}", edit("r1", "Ada"))).await;
    single.frame_with("Ada").await;
    single.send(&edit("r2", "Bob")).await;
    assert!(both.frame_with("Bob").await.starts_with("M\nteam\nS\n"));
    // A channel that was left hears no more; the other one still does.
    both.send("S\n[null,-1,[2,\"team\"]]").await;
    both.send(HELLO).await;
    both.frame_with("[0,1]").await;
    single.send(&edit("r3", "Cid")).await;
    let mut elsewhere = server.open("/other", "crossfade").await.unwrap();
    elsewhere.send(&edit("r4", "Dee")).await;
    let heard = both.frame_with("M\n").await;
    assert!(heard.starts_with("M\nother\n") && heard.contains("Dee"), "{heard}");
    // Subscribed again, it is a new connection.
    both.subscribe("team").await;
    both.frame_with("[1,\"team\"]").await;
    assert!(both.frame_with("M\nteam\n").await.contains(",1,\"\"]"), "S asks for its hashes");
}

#[tokio::test]
async fn a_multiplexed_socket_is_drained_when_all_its_channels_are() {
    let server = TestServer::start().await;
    let mut raw = server.multiplexed("").await;
    for channel in ["team", "other"] {
        raw.subscribe(channel).await;
        raw.frame_with(&format!("[1,\"{channel}\"]")).await;
    }
    server.door.off.store(true, Ordering::SeqCst);
    server.registry.drain_all().await;
    // Nothing was ever written: hashes of nothing are equal everywhere.
    let mut answered = 0;
    let closed = loop {
        match guard("drained", raw.socket.next()).await {
            Some(Ok(Message::Text(frame))) => {
                let Some((head, _)) = frame.split_once(",1,\"\"]") else { continue };
                answered += 1;
                raw.socket.send(Message::text(format!("{head},0,[0,0]]"))).await.unwrap();
            }
            Some(Ok(Message::Close(frame))) => break frame.unwrap(),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((u16::from(closed.code), closed.reason.as_str()), (4001, "crossfade:drained"));
    assert!(answered >= 2, "{answered}");
}

#[tokio::test]
async fn unmapped_paths_are_relayed_and_mapped_ones_are_not() {
    let server = TestServer::with(true, SocketLimits::default()).await;
    let frame = "\n [null, 3, [[{}], [{}], 1]]";
    let mut alice = server.open("/free/%C3%A9", "").await.unwrap();
    let mut bob = server.multiplexed("/free").await;
    bob.subscribe("%C3%A9").await;
    bob.frame_with("%C3%A9").await;
    alice.send(frame).await;
    assert_eq!(bob.frame().await, format!("M\n%C3%A9\n{}{frame}", alice.key));
    bob.send(&format!("M\n%C3%A9\n{}\n[null,1,\"\"]", alice.key)).await;
    assert_eq!(alice.frame().await, format!("{}\n[null,1,\"\"]", bob.key));
    // Binary frames are text, what is no UTF-8 in them replaced.
    let binary = b"\n[\"\xFF\",1,\"\"]";
    alice.socket.send(Message::binary(binary.to_vec())).await.unwrap();
    let text = format!("M\n%C3%A9\n{}\n[\"\u{FFFD}\",1,\"\"]", alice.key);
    assert_eq!(bob.frame().await, text);
    alice.send("\n[null,1]").await;
    assert_eq!(alice.closed().await, Some((1007, "tinybase:14".to_owned())));

    // A mapped path asks for a session, and hears nobody but the server.
    assert_eq!(server.open("/secret", "").await.err(), Some(Some(StatusCode::FORBIDDEN)));
    bob.subscribe("../secret").await;
    assert_eq!(bob.closed().await, Some((1007, "tinybase:14".to_owned())));
    let mut one = server.open("/team", "").await.unwrap();
    let mut two = server.open("/team", "").await.unwrap();
    one.send(frame).await;
    one.send(&edit("r", "Eve")).await;
    let heard = two.frame_with("Eve").await;
    assert!(heard.starts_with("S\n"), "{heard}");
}

#[tokio::test]
async fn a_relayed_path_ends_with_its_last_client_and_begins_anew() {
    let server = TestServer::with(true, SocketLimits::default()).await;
    for _ in 0..20 {
        let mut one = server.open("/free", "").await.unwrap();
        let mut two = server.open("/free", "").await.unwrap();
        // Who is there is known once an answer to oneself has come back.
        for raw in [&mut one, &mut two] {
            let key = raw.key.clone();
            raw.send(&format!("{key}\n[null,1,\"\"]")).await;
            raw.frame().await;
        }
        one.send(ASK).await;
        assert_eq!(two.frame().await, format!("{}{ASK}", one.key));
    }
}

#[tokio::test]
async fn one_socket_more_than_may_be_is_refused_until_one_has_gone() {
    let limits = SocketLimits { max_connections: 2, ..SocketLimits::default() };
    let server = TestServer::with(false, limits).await;
    let mut one = server.open("/team", "").await.unwrap();
    let _two = server.multiplexed("").await;
    let full = server.open("/team", "").await.err();
    assert_eq!(full, Some(Some(StatusCode::SERVICE_UNAVAILABLE)));
    one.socket.close(None).await.unwrap();
    guard("a place", async { while server.open("/team", "").await.is_err() {} }).await;
}

#[tokio::test]
async fn a_socket_without_a_sign_of_life_is_dropped_and_one_that_answers_pings_is_not() {
    let (ping, silence) = (Duration::from_millis(20), Duration::from_millis(200));
    let limits = SocketLimits { ping, silence, ..SocketLimits::default() };
    let server = TestServer::with(false, limits).await;
    let mut alive = server.open("/team", "").await.unwrap();
    let answering = tokio::spawn(async move { alive.closed().await });
    let mut dead = TcpStream::connect(server.url.authority().unwrap().as_str()).await.unwrap();
    let request = "GET /sync/team HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    dead.write_all(request.as_bytes()).await.unwrap();
    // It reads everything, answers nothing, and comes to the end.
    let mut read = Vec::new();
    guard("dropped", dead.read_to_end(&mut read)).await.unwrap();
    assert!(read.windows(2).any(|pair| pair == [0x89, 0x00]), "it was pinged before");
    assert!(!answering.is_finished(), "the other one is still there");
    answering.abort();
}

#[tokio::test]
async fn a_socket_that_does_not_take_what_is_sent_is_closed() {
    let limits =
        SocketLimits { send_timeout: Duration::from_millis(50), ..SocketLimits::default() };
    let server = TestServer::with(false, limits).await;
    // It never reads, so that the system's buffers fill up.
    let stuck = server.open("/team", "").await.unwrap();
    let mut writer = server.open("/team", "").await.unwrap();
    let name = "x".repeat(1 << 20);
    let path = server.registry.get(&crate::migration::PathId::new("team").unwrap()).await.unwrap();
    for row in 0..14 {
        writer.send(&edit(&format!("r{row}"), &name)).await;
    }
    // All is worked on; what waits is bounded by bytes, and the send by time.
    guard("worked on", async {
        while path.read(|store| store.row_count("users")).await.unwrap() < 14 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut stuck = stuck;
    guard("closed", async { while let Some(Ok(_)) = stuck.socket.next().await {} }).await;
}

#[tokio::test]
async fn a_frame_over_the_limit_is_closed_as_tinybase_closes_it() {
    let server = TestServer::start().await;
    let mut raw = server.open("/team", "").await.unwrap();
    raw.send(&"x".repeat(mergeable_store::MAX_FRAME_BYTES + 1)).await;
    assert_eq!(raw.closed().await, Some((1013, "tinybase:15:socket".to_owned())));
    let mut raw = server.open("/team", "").await.unwrap();
    let fragment = format!("\nmsgmsgmsgmsg0001\n0\n2\n{}", "x".repeat(16 << 20));
    raw.send(&fragment).await;
    assert_eq!(raw.closed().await, Some((1013, "tinybase:15:fragments".to_owned())));
}

/// Revocations, and what revokes all tokens of the one user who comes.
fn revocable(server: &TestServer) -> impl Fn() + use<> {
    use crate::identity::{
        Grant, GrantedIn, RevocationOrder, RevocationStanding, Revocations, Subject,
    };
    let user = crate::migration::UserId::new("u");
    let ttl = Duration::from_secs(900);
    let clock = Arc::new(crate::clock::SystemClock);
    let revocations = Revocations::new(Default::default(), ttl, clock);
    let grant = Grant { user: user.clone(), session: GrantedIn::NoSession, issued_at_ms: 1 };
    *server.door.token.lock().unwrap() = Some(revocations.follow(grant));
    move || {
        let order = RevocationOrder {
            subject: Subject::User(user.clone()),
            standing: RevocationStanding::Revoked,
            actor: "ada".to_owned(),
            reason: String::new(),
        };
        revocations.order(&order, 0).unwrap();
    }
}

#[tokio::test]
async fn a_revoked_token_closes_its_sockets_with_or_without_channels_and_opens_none() {
    let server = TestServer::start().await;
    let revoke = revocable(&server);
    let mut single = server.open("/team", "crossfade").await.unwrap();
    let mut without = server.multiplexed("").await;
    let mut with = server.multiplexed("").await;
    with.subscribe("team").await;
    with.frame_with("team").await;
    *server.door.token.lock().unwrap() = None;
    let mut other = server.open("/team", "crossfade").await.unwrap();
    let revoke_again = revocable(&server);
    revoke();
    for raw in [&mut single, &mut without, &mut with] {
        assert_eq!(raw.closed().await, Some((4008, "crossfade:revoked".to_owned())));
    }
    // Whose token is not revoked notices nothing.
    other.send(&edit("u1", "Ada")).await;
    other.frame().await;
    revoke_again();
    for protocols in ["crossfade", "tinybase"] {
        let refused = server.open("/team", protocols).await;
        // A multiplexed socket is opened to whoever is known, and closed at once.
        match refused {
            Err(status) => assert_eq!(status, Some(StatusCode::UNAUTHORIZED)),
            Ok(mut raw) => assert_eq!(raw.closed().await.map(|(code, _)| code), Some(4008)),
        }
    }
}
