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
use mergeable_store::{Cell, EditError};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// Only guards against hanging.
const LIMIT: Duration = Duration::from_secs(240);

/// Close codes and reasons as the documents have them.
pub(crate) const INVALID: (u16, &str) = (1007, "tinybase:14");
pub(crate) const TOO_MUCH: (u16, &str) = (1013, "tinybase:15:socket");
pub(crate) const FRAGMENTS: (u16, &str) = (1013, "tinybase:15:fragments");
pub(crate) const CLOCK_SKEW: (u16, &str) = (4004, "crossfade:clock-skew");

pub(crate) struct World {
    server: Server,
    /// Writes.
    alice: Arc<SyncClient>,
    /// Only reads: what it has came through the server.
    carol: Arc<SyncClient>,
    /// Each ends when its client loses its connection.
    losses: Vec<JoinHandle<()>>,
    rounds: AtomicU64,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
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
            })
        });
        let (losses, rounds) = (losses.into(), AtomicU64::new(0));
        Self { server, alice, carol, losses, rounds, _folder: folder }
    }

    /// A hostile client of the same path.
    pub(crate) async fn attacker(&self) -> Attacker {
        Attacker::connect(&self.server, "mallory").await
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
        assert!(self.losses.iter().all(|loss| !loss.is_finished()), "an honest client was cut off");
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

    pub(crate) async fn stop(self) {
        self.losses.iter().for_each(JoinHandle::abort);
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
    async fn connect(server: &Server, user: &str) -> Self {
        let request = url(server, user).into_client_request().unwrap();
        let stream = TcpStream::connect(server.listen()).await.unwrap();
        // No limit of its own gets in the way.
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let connected =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
        Self(connected.unwrap().0)
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
        let close = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Close(Some(close)))) => {
                        return (close.code.into(), close.reason.to_string());
                    }
                    Some(Ok(Message::Close(None))) => return (1005, String::new()),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return (1006, String::new()),
                }
            }
        };
        limited(close).await
    }

    pub(crate) async fn assert_closed(&mut self, (code, reason): (u16, &str)) {
        assert_eq!(self.closed().await, (code, reason.to_owned()));
    }

    /// Sends a request and reads until its answer: what was sent before has been taken in.
    pub(crate) async fn assert_open(&mut self) {
        self.send("\n[\"abcdefghijk.open\",1,\"\"]").await;
        let answer = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) if text.contains("abcdefghijk.open") => return,
                    Some(Ok(Message::Close(close))) => panic!("closed: {close:?}"),
                    Some(Ok(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        limited(answer).await;
    }
}
