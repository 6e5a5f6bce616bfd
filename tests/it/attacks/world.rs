//! A crossfade in this process, two honest clients and a hostile one, on real sockets.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossfade::clock::{SystemClock, SystemEntropy};
use crossfade::config::Config;
use crossfade::flags::FixedToggles;
use crossfade::migration::{ResourceName, Stage};
use crossfade::serve::{Server, Surroundings};
use crossfade::sync::client::{ClientSettings, Status, SyncClient};
use futures_util::{SinkExt as _, StreamExt as _};
use mergeable_store::{Cell, CellRef, Changes, EditError, MergeableStore};
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

/// Only guards against hanging.
const LIMIT: Duration = Duration::from_secs(600);

/// Times, in milliseconds, after which no socket is given up while a test runs: what it looks at is something else.
pub(crate) const PATIENT: [(&str, i64); 3] =
    [("ping_ms", 300_000), ("silence_ms", 600_000), ("send_timeout_ms", 300_000)];

/// Close codes and reasons as the documents have them.
pub(crate) const INVALID: (u16, &str) = (1007, "tinybase:14");
pub(crate) const TOO_MUCH: (u16, &str) = (1013, "tinybase:15:socket");
pub(crate) const FRAGMENTS: (u16, &str) = (1013, "tinybase:15:fragments");
pub(crate) const CHANNELS: (u16, &str) = (1013, "tinybase:15:channels");
pub(crate) const REFUSED: (u16, &str) = (4006, "crossfade:too-many-refused");
pub(crate) const ID_TOO_LONG: (u16, &str) = (4007, "crossfade:id-too-long");
pub(crate) const CLOCK_SKEW: (u16, &str) = (4004, "crossfade:clock-skew");

pub(crate) struct World {
    server: Server,
    /// Writes.
    alice: Arc<SyncClient>,
    /// Only reads: what it has came through the server.
    carol: Arc<SyncClient>,
    /// Each ends when its client loses its connection.
    losses: Mutex<Vec<JoinHandle<Status>>>,
    rounds: AtomicU64,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With these numbers in section `[sync]`.
    pub(crate) async fn start_sync(numbers: &[(&str, i64)]) -> Self {
        Self::start_with(|config| {
            let sync = config["sync"].as_table_mut().unwrap();
            for (key, number) in numbers {
                sync.insert((*key).to_owned(), (*number).into());
            }
        })
        .await
    }

    /// As the documented example configures it, but for what `change` changes.
    pub(crate) async fn start_with(change: impl FnOnce(&mut toml::Table)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder, change);
        let toggles = FixedToggles::new(&config.flags.prefix, Arc::new(SystemClock));
        toggles.set_enabled(true);
        let users: ResourceName = config.resources[0].name.clone();
        toggles.set_stage(&users, Stage::DualWrite);
        let surroundings = Surroundings {
            grace: Duration::from_secs(2),
            toggles: Some(toggles.toggles()),
            ..Surroundings::default()
        };
        let server = Server::start(config, surroundings).await.unwrap();
        let (alice, carol) = (honest(&server, "alice"), honest(&server, "carol"));
        for client in [&alice, &carol] {
            limited(client.wait_status(|status| *status == Status::Live)).await;
        }
        let losses = [&alice, &carol].map(|client| {
            let client = client.clone();
            tokio::spawn(async move {
                client.wait_status(|status| matches!(status, Status::Waiting(_))).await;
                client.status()
            })
        });
        let (losses, rounds) = (Mutex::new(losses.into()), AtomicU64::new(0));
        Self { server, alice, carol, losses, rounds, _folder: folder }
    }

    /// A hostile client of the same path.
    pub(crate) async fn attacker(&self) -> Attacker {
        self.try_attacker().await.expect("it may connect")
    }

    /// As [`World::attacker`], unless the server has as many sockets as it takes.
    pub(crate) async fn try_attacker(&self) -> Option<Attacker> {
        Attacker::connect(url(&self.server, "mallory"), None).await
    }

    /// A hostile client on a multiplexed socket, greeted; the path is its channel `o`.
    pub(crate) async fn multiplexed(&self) -> Attacker {
        let url = url(&self.server, "mallory").replace("/sync/org/o?", "/sync/org?");
        let mut attacker = Attacker::connect(url, Some("tinybase")).await.unwrap();
        attacker.send("S\n[\"hello\",-1,[0,1]]").await;
        attacker
    }

    /// Runs an attack while the honest clients go on, and sees that they go on after it, all on the connections that they
    /// had before.
    pub(crate) async fn during<T>(&self, attack: impl Future<Output = T>) -> T {
        let over = AtomicBool::new(false);
        let attack = async {
            let result = attack.await;
            over.store(true, Ordering::Relaxed);
            result
        };
        let honest = async {
            while !over.load(Ordering::Relaxed) {
                self.go_on().await;
            }
        };
        let (result, ()) = limited(async { tokio::join!(attack, honest) }).await;
        limited(self.go_on()).await;
        if let Some(loss) = self.losses.lock().await.iter_mut().find(|loss| loss.is_finished()) {
            panic!("an honest client was cut off: {:?}", loss.await);
        }
        result
    }

    /// Alice writes a row, the server acknowledges it, and Carol sees it.
    async fn go_on(&self) {
        let row = format!("honest{}", self.rounds.fetch_add(1, Ordering::Relaxed));
        self.write(&row, &row);
        self.alice.wait_acknowledged().await;
        self.carol.wait_until(|store| store.has_row("users", &row)).await;
    }

    /// Alice writes a whole row with this name in it.
    pub(crate) fn write(&self, row: &str, name: &str) {
        let written: Result<(), EditError> =
            self.alice.edit(|tx| tx.set_row("users", row, cells(row, name)));
        written.unwrap();
    }

    /// Returns once the server has all that Alice wrote.
    pub(crate) async fn acknowledged(&self) {
        self.alice.wait_acknowledged().await;
    }

    /// Returns once the reading client has this name in a row.
    pub(crate) async fn sees(&self, row: &str, name: &str) {
        let there = |store: &MergeableStore| {
            let cell = store.get_cell("users", row, "name");
            matches!(cell, Some(CellRef::String(there)) if there == name)
        };
        limited(self.carol.wait_until(there)).await;
    }

    /// The name in a row, as a client sees it that has all of the path.
    pub(crate) async fn name(&self, row: &str) -> Option<String> {
        limited(self.carol.wait_caught_up()).await;
        self.carol.read(|store| {
            let (name, _) = store.stamp("users", row, "name")?;
            name?.to_json().as_str().map(str::to_owned)
        })
    }

    /// How many stamps the path has, tombstones included, as a client that holds all of it counts them.
    pub(crate) async fn stamps(&self) -> usize {
        limited(self.carol.wait_caught_up()).await;
        self.carol.read(|store| store.cell_stamps().count() + store.container_stamps().len())
    }

    /// How many stamps the honest clients' own rows have.
    pub(crate) fn honest_stamps(&self) -> usize {
        self.carol.read(|store| {
            let rows =
                store.cell_stamps().filter(|(_, row, ..)| row.to_string().starts_with("honest"));
            rows.count()
        })
    }

    /// A frame with another content for each cell of the rows whose ids begin like this, under the
    /// stamps that they have.
    pub(crate) fn forged(&self, rows: &str, content: &str) -> String {
        let mut changes = Changes::new();
        self.carol.read(|store| {
            for (table, row, cell, stamp) in store.cell_stamps() {
                if row.to_string().starts_with(rows) {
                    changes.set_cell(table, row, cell, Some(content.into()), stamp.hlc);
                }
            }
        });
        format!("\n[null,3,{}]", changes.to_json())
    }

    pub(crate) async fn stop(self) {
        self.losses.lock().await.iter().for_each(JoinHandle::abort);
        limited(self.server.stop()).await.unwrap();
    }
}

/// Valid cells of a user.
pub(crate) fn cells(row: &str, name: &str) -> [(&'static str, Cell); 6] {
    [
        ("id", row.into()),
        ("orgId", "o".into()),
        ("name", name.into()),
        ("email", "a@example.com".into()),
        ("role", "member".into()),
        ("active", true.into()),
    ]
}

/// What must come to pass some time.
pub(crate) async fn limited<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it hangs")
}

fn config(folder: &TempDir, change: impl FnOnce(&mut toml::Table)) -> Config {
    let mut example: toml::Table =
        toml::from_str(include_str!("../../../docs/crossfade.example.toml")).unwrap();
    let settings = [
        ("server", "listen", "127.0.0.1:0"),
        ("admin", "listen", "127.0.0.1:0"),
        ("admin", "token", "0123456789abcdef0123456789abcdef"),
        // Nobody is there: what is owed waits.
        ("legacy", "url", "http://127.0.0.1:1"),
        ("legacy", "service_token", "0123456789abcdef0123456789abcdef"),
        ("identity", "mode", "insecure-dev"),
    ];
    let mut section = |name: &str, act: &mut dyn FnMut(&mut toml::Table)| {
        act(example[name].as_table_mut().unwrap());
    };
    for (name, key, value) in settings {
        section(name, &mut |table| drop(table.insert(key.to_owned(), value.into())));
    }
    section("identity", &mut |table| drop(table.remove("jwt_key_file")));
    change(&mut example);
    Config::parse(&toml::to_string(&example).unwrap(), folder.path(), "crossfade.toml").unwrap()
}

fn url(server: &Server, user: &str) -> String {
    format!("ws://{}/sync/org/o?user={user}&org=o&role=admin", server.listen())
}

fn honest(server: &Server, user: &str) -> Arc<SyncClient> {
    let url = url(server, user).parse().unwrap();
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    Arc::new(SyncClient::connect(ClientSettings::new(url, user, clock, entropy)))
}

/// A socket whose owner sends and reads what it likes.
pub(crate) struct Attacker(WebSocketStream<TcpStream>);

impl Attacker {
    /// `None`: refused with 503.
    async fn connect(url: String, protocol: Option<&'static str>) -> Option<Self> {
        let mut request = url.into_client_request().unwrap();
        if let Some(protocol) = protocol {
            let name = http::header::SEC_WEBSOCKET_PROTOCOL;
            request.headers_mut().insert(name, http::HeaderValue::from_static(protocol));
        }
        let host = request.uri().authority().unwrap().as_str();
        // A small buffer on this side: what is not read soon waits at the server.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let stream = socket.connect(host.parse().unwrap()).await.unwrap();
        // No limit of its own gets in the way.
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let connected =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
        match connected {
            Ok((socket, _)) => Some(Self(socket)),
            Err(Error::Http(answer)) if answer.status() == 503 => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, text: impl Into<Utf8Bytes>) {
        // It may be closed already; that is what is asked afterwards.
        let _ = self.0.send(Message::Text(text.into())).await;
    }

    pub(crate) async fn send_binary(&mut self, bytes: Vec<u8>) {
        let _ = self.0.send(Message::Binary(bytes.into())).await;
    }

    /// A frame that says of itself that it is text.
    pub(crate) async fn send_as_text(&mut self, bytes: Vec<u8>) {
        let frame = Frame::message(bytes, OpCode::Data(Data::Text), true);
        let _ = self.0.send(Message::Frame(frame)).await;
    }

    /// Reads until the server closes; with which code and reason. (1006: without any.)
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        // No text has all of this in it.
        self.hears_or_closed("\u{0}").await.expect("only a close ends it")
    }

    pub(crate) async fn assert_closed(&mut self, (code, reason): (u16, &str)) {
        assert_eq!(self.closed().await, (code, reason.to_owned()));
    }

    /// Reads until a text with this in it comes.
    pub(crate) async fn hears(&mut self, words: &str) {
        assert_eq!(self.hears_or_closed(words).await, None);
    }

    /// Reads until a text with this in it comes, or the server closes: then with which code and reason.
    pub(crate) async fn hears_or_closed(&mut self, words: &str) -> Option<(u16, String)> {
        let heard = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) if text.contains(words) => return None,
                    Some(Ok(Message::Close(Some(close)))) => {
                        return Some((close.code.into(), close.reason.to_string()));
                    }
                    Some(Ok(Message::Close(None))) => return Some((1005, String::new())),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Some((1006, String::new())),
                }
            }
        };
        limited(heard).await
    }

    /// Sends a request and reads until its answer: what was sent before has been taken in.
    pub(crate) async fn assert_open(&mut self) {
        self.send("\n[\"abcdefghijk.open\",1,\"\"]").await;
        self.hears("abcdefghijk.open").await;
    }
}
