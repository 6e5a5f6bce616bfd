use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mergeable_store::{Cell, CellRef, EditError};
use tokio::net::TcpListener;

use super::*;
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::identity::Secret;
use crate::migration::PathId;
use crate::storage::{Op, Storage as _};
use crate::sync::CloseReason;
use crate::sync::test_server::{GUARD, TestServer, guard};

impl TestServer {
    fn settings(&self, id: &str) -> ClientSettings {
        let clock = Arc::new(SystemClock);
        let mut settings =
            ClientSettings::new(self.url.clone(), id, clock, Arc::new(SystemEntropy));
        settings.backoff.initial = Duration::from_millis(5);
        settings.confirm_after = Duration::from_millis(5);
        settings
    }

    fn client(&self, id: &str) -> SyncClient {
        SyncClient::connect(self.settings(id))
    }
}

fn set(client: &SyncClient, row: &str, cell: &str, value: impl Into<Cell>) {
    client.edit(|tx| tx.set_cell("users", row, cell, value)).unwrap();
}

async fn converged(clients: &[&SyncClient]) {
    for client in clients {
        guard("caught up", client.wait_caught_up()).await;
    }
    for pair in clients.windows(2) {
        assert_eq!(pair[0].hashes(), pair[1].hashes());
        assert_eq!(
            pair[0].read(|s| s.to_changes().to_json()),
            pair[1].read(|s| s.to_changes().to_json())
        );
    }
}

fn live(status: &Status) -> bool {
    *status == Status::Live
}

#[tokio::test]
async fn an_edit_reaches_the_other_client_and_is_acknowledged() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.client("alice"), server.client("bob"));
    guard("live", alice.wait_status(live)).await;
    guard("live", bob.wait_status(live)).await;
    let mut changes = bob.changes();
    set(&alice, "r1", "name", "Ada");
    let seen = guard("seen", changes.recv()).await.unwrap();
    assert_eq!((seen.change.cell.as_str(), seen.change.new), (Some("name"), Some("Ada".into())));
    guard("acknowledged", alice.wait_acknowledged()).await;
    assert_eq!(alice.unacknowledged(), 0);
    converged(&[&alice, &bob]).await;
    // By itself, with nobody waiting: the server is asked after a quiet moment.
    set(&alice, "r1", "age", 36);
    assert_eq!(alice.unacknowledged(), 1);
    guard("acknowledged by itself", alice.wait(|| alice.unacknowledged() == 0)).await;
}

#[tokio::test]
async fn offline_edits_of_both_meet_when_one_comes_back() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.client("alice"), server.client("bob"));
    set(&alice, "r1", "name", "Ada");
    guard("first row", bob.wait_until(|s| s.has_row("users", "r1"))).await;
    bob.go_offline().await;
    assert_eq!(bob.status(), Status::Offline);
    set(&alice, "r1", "age", 36);
    set(&bob, "r1", "name", "Ada Lovelace");
    set(&bob, "r2", "name", "Charles");
    guard("acknowledged", alice.wait_acknowledged()).await;
    assert!(bob.read(|s| s.get_cell("users", "r1", "age").is_none()), "offline hears nothing");
    assert!(alice.read(|s| !s.has_row("users", "r2")), "offline tells nothing");
    bob.go_online();
    guard("the offline row", alice.wait_until(|s| s.has_row("users", "r2"))).await;
    converged(&[&alice, &bob]).await;
    alice.read(|s| {
        assert_eq!(s.get_cell("users", "r1", "name"), Some(Cell::from("Ada Lovelace").view()));
        assert_eq!(s.get_cell("users", "r1", "age"), Some(CellRef::Number(36.0)));
    });
}

#[tokio::test]
async fn a_lost_connection_comes_back_by_itself_with_what_was_edited_meanwhile() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.client("alice"), server.client("bob"));
    set(&alice, "r1", "name", "Ada");
    converged(&[&alice]).await;
    guard("live", bob.wait_status(live)).await;
    alice.cut();
    server.registry.close_all(CloseReason::going_away()).await;
    set(&alice, "r1", "name", "Ada L.");
    set(&bob, "r2", "name", "Bob");
    guard("r2", alice.wait_until(|s| s.has_row("users", "r2"))).await;
    converged(&[&alice, &bob]).await;
    assert!(server.door.offered.lock().unwrap().len() >= 4, "both connected anew");
}

#[tokio::test]
async fn each_connection_asks_for_a_token_and_a_refusal_is_told() {
    let server = TestServer::start().await;
    server.door.refuse.store(1, Ordering::SeqCst);
    let issued = Arc::new(AtomicUsize::new(0));
    let mut settings = server.settings("alice");
    settings.tokens = Arc::new(TokenFn(move || {
        let number = issued.fetch_add(1, Ordering::SeqCst);
        std::future::ready(match number {
            0 => Err(TokenError("the issuer is away".to_owned())),
            n => Ok(Some(Secret::new(format!("t{n}")))),
        })
    }));
    let alice = SyncClient::connect(settings);
    let mut lost = Vec::new();
    let follow = alice.wait_status(|status| {
        if let Status::Waiting(reason) = status
            && lost.last() != Some(reason)
        {
            lost.push(reason.clone());
        }
        live(status)
    });
    guard("live", follow).await;
    assert_eq!(
        lost,
        [
            Lost::NotConnected(ConnectError::Token(TokenError("the issuer is away".to_owned()))),
            Lost::NotConnected(ConnectError::Refused(http::StatusCode::UNAUTHORIZED)),
        ]
    );
    let offered = server.door.offered.lock().unwrap().clone();
    assert_eq!(
        offered,
        ["t1", "t2"].map(|t| Some(format!("crossfade, crossfade.token.{t}"))).to_vec()
    );
    assert!(!format!("{alice:?}").contains("t2"));
}

#[tokio::test]
async fn a_refused_edit_goes_back_by_itself() {
    let server = TestServer::start().await;
    let alice = server.client("alice");
    set(&alice, "r1", "name", "Ada");
    guard("acknowledged", alice.wait_acknowledged()).await;
    set(&alice, "r1", "age", "not a number");
    let back = alice.wait_until(|s| s.get_cell("users", "r1", "age").is_none());
    guard("the refused cell", back).await;
    converged(&[&alice]).await;
}

#[tokio::test]
async fn a_client_that_is_closed_gives_its_store_back_and_can_resume_it() {
    let server = TestServer::start().await;
    let alice = server.client("alice");
    set(&alice, "r1", "name", "Ada");
    alice.go_offline().await;
    set(&alice, "r2", "name", "Offline");
    let store = guard("closed", alice.close()).await;
    let alice = SyncClient::resume(server.settings("alice"), store);
    let bob = server.client("bob");
    guard("both rows", bob.wait_until(|s| s.row_count("users") == 2)).await;
    converged(&[&alice, &bob]).await;
}

#[tokio::test]
async fn a_frame_that_is_no_message_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        use futures_util::{SinkExt as _, StreamExt as _};
        use tokio_tungstenite::tungstenite::Message;
        socket.send(Message::text("no newline, so no frame")).await.unwrap();
        loop {
            if let Some(Ok(Message::Close(frame))) = socket.next().await {
                return frame.map(|frame| u16::from(frame.code));
            }
        }
    });
    let clock = Arc::new(SystemClock);
    let mut settings = ClientSettings::new(url, "alice", clock, Arc::new(SystemEntropy));
    settings.backoff.initial = GUARD;
    settings.backoff.max = GUARD;
    let alice = SyncClient::connect(settings);
    let waiting = |status: &Status| *status == Status::Waiting(Lost::NotUnderstood);
    guard("given up", alice.wait_status(waiting)).await;
    assert_eq!(guard("closed", server).await.unwrap(), Some(1007));
    // Going offline does not wait for the backoff.
    guard("offline", alice.go_offline()).await;
}

#[tokio::test]
async fn more_frames_than_may_wait_end_the_connection_and_lose_nothing() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.client("alice"), server.client("bob"));
    guard("live", alice.wait_status(live)).await;
    // The task cannot send while this one does not yield.
    for n in 0..5000 {
        set(&alice, &format!("r{n}"), "name", "x");
    }
    guard("all rows", bob.wait_until(|s| s.row_count("users") == 5000)).await;
    converged(&[&alice, &bob]).await;
    assert_eq!(server.door.offered.lock().unwrap().len(), 3, "alice connected anew");
}

#[tokio::test]
async fn a_failed_edit_writes_nothing() {
    let server = TestServer::start().await;
    let alice = server.client("alice");
    let failed = alice.edit(|tx| {
        tx.set_cell("users", "r1", "name", "Ada")?;
        Err::<(), EditError>(EditError::Empty)
    });
    assert_eq!(failed, Err(EditError::Empty));
    assert_eq!(alice.unacknowledged(), 0);
    assert!(alice.read(|s| !s.has_row("users", "r1")));
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/sync/team?user=secret", listener.local_addr().unwrap());
    drop(listener);
    let clock = Arc::new(SystemClock);
    let settings = ClientSettings::new(url.parse().unwrap(), "a", clock, Arc::new(SystemEntropy));
    let alice = SyncClient::connect(settings);
    let mut told = String::new();
    let waiting = alice.wait_status(|status| {
        if let Status::Waiting(lost) = status {
            told = lost.to_string();
        }
        !told.is_empty()
    });
    guard("told", waiting).await;
    assert!(told.starts_with("the sync server cannot be reached"), "{told}");
    assert!(!told.contains("secret"));
}

/// A clock that is ahead of the clients', so that what they delete is old at once.
#[derive(Debug)]
struct Ahead(u64);

impl Clock for Ahead {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + self.0
    }
}

#[tokio::test]
async fn a_late_client_brings_what_it_made_and_nothing_that_was_deleted() {
    let server = TestServer::with_clock(Arc::new(Ahead(3_600_000))).await;
    let (alice, bob) = (server.client("alice"), server.client("bob"));
    set(&alice, "gone", "name", "Gone");
    set(&alice, "r1", "name", "Ada");
    converged(&[&alice, &bob]).await;
    alice.go_offline().await;
    bob.edit(|tx| tx.del_row("users", "gone")).unwrap();
    guard("the deletion", bob.wait_acknowledged()).await;
    bob.go_offline().await;
    // Legacy has heard of all of it: what is owed would keep its tombstone.
    let owed = server.storage.outbox_summary(100).await.unwrap().entries;
    let settled = owed.iter().map(|entry| Op::Settle(entry.seq)).collect();
    server.storage.commit(settled).await.unwrap();
    let rebuilt = guard("rebuilt", server.registry.rebuild(&PathId::new("team").unwrap())).await;
    assert_eq!(rebuilt.unwrap().tombstones_dropped, 1);

    // She still has the row whose tombstone is gone, and two edits that nobody knows.
    assert!(alice.read(|s| s.has_row("users", "gone")));
    set(&alice, "r1", "age", 36);
    set(&alice, "r2", "name", "Late");
    alice.go_online();
    let rebuilt = CloseReason::rebuilt();
    let closed = |status: &Status| matches!(status, Status::Waiting(Lost::Closed { code, .. }) if *code == rebuilt.code);
    guard("closed with 4005", alice.wait_status(closed)).await;

    let mut settings = server.settings("carol");
    settings.url = format!("{}@2", server.url).parse().unwrap();
    let carol = SyncClient::connect(settings);
    guard("the late row", carol.wait_until(|s| s.has_row("users", "r2"))).await;
    converged(&[&carol]).await;
    carol.read(|s| {
        assert_eq!(s.get_cell("users", "r1", "age"), Some(CellRef::Number(36.0)));
        assert!(!s.has_row("users", "gone"), "what was deleted came back");
        assert!(s.stamp("users", "gone", "name").is_none());
    });
}

#[tokio::test]
async fn a_client_of_a_generation_before_is_closed_with_a_code_of_its_own() {
    let server = TestServer::start().await;
    let alice = server.client("alice");
    set(&alice, "r1", "name", "Ada");
    converged(&[&alice]).await;
    let team = PathId::new("team").unwrap();
    guard("rebuilt", server.registry.rebuild(&team)).await.unwrap();
    let code = |wanted: u16| move |status: &Status| matches!(status, Status::Waiting(Lost::Closed { code, .. }) if *code == wanted);
    guard("closed with 4005", alice.wait_status(code(4005))).await;

    // By the name that the path has now, an empty client finds what was there.
    let mut settings = server.settings("alice anew");
    settings.url = format!("{}@2", server.url).parse().unwrap();
    let anew = SyncClient::connect(settings);
    guard("the row", anew.wait_until(|s| s.has_row("users", "r1"))).await;
    converged(&[&anew]).await;
}

fn channels(server: &TestServer, id: &str, names: &[&str]) -> Vec<SyncClient> {
    let mut settings = server.settings(id);
    settings.url = format!("ws://{}/sync", server.url.authority().unwrap()).parse().unwrap();
    let stores = names.iter().map(|name| {
        let store = MergeableStore::new(ClientId::from_unique_id(&format!("{id} {name}")));
        (ChannelId::new(name).unwrap(), store)
    });
    SyncClient::connect_channels(settings, stores.collect()).unwrap()
}

#[tokio::test]
async fn stores_of_several_paths_share_a_connection_and_its_returns() {
    let server = TestServer::start().await;
    let [team, other] = <[_; 2]>::try_from(channels(&server, "both", &["team", "other"])).unwrap();
    let alice = server.client("alice");
    set(&team, "r1", "name", "Ada");
    set(&other, "r2", "name", "Bob");
    converged(&[&team, &alice]).await;
    guard("acknowledged", other.wait_acknowledged()).await;
    assert_eq!(server.door.offered.lock().unwrap().len(), 2, "one connection for both");
    assert_ne!(team.hashes(), other.hashes());
    for round in 0..3 {
        team.go_offline().await;
        assert_eq!(other.status(), Status::Offline);
        set(&other, "r2", "age", round);
        set(&alice, "r1", "age", round);
        set(&team, &format!("offline{round}"), "name", "x");
        other.go_online();
        converged(&[&team, &alice]).await;
        guard("acknowledged", other.wait_acknowledged()).await;
        team.cut();
        guard("live again", team.wait_status(live)).await;
    }
    // One leaves, the other goes on; the last one closes the connection.
    let store = guard("left", team.close()).await;
    assert_eq!(store.row_count("users"), 4);
    set(&other, "r3", "name", "Cid");
    guard("acknowledged", other.wait_acknowledged()).await;
    let store = guard("closed", other.close()).await;
    assert_eq!(store.row_count("users"), 2);
}

#[tokio::test]
async fn a_channel_that_is_refused_is_told_and_holds_nobody_up() {
    let server = TestServer::start().await;
    let [team, secret] = <[_; 2]>::try_from(channels(&server, "m", &["team", "secret"])).unwrap();
    set(&team, "r1", "name", "Ada");
    set(&secret, "r1", "name", "Eve");
    let refused = secret.wait_status(|status| *status == Status::NotOpened);
    guard("refused", refused).await;
    guard("acknowledged", team.wait_acknowledged()).await;
    assert_eq!((team.status(), secret.unacknowledged()), (Status::Live, 1));
}

#[tokio::test]
async fn a_server_that_does_not_multiplex_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let server = tokio::spawn(async move {
        use futures_util::StreamExt as _;
        let (stream, _) = listener.accept().await.unwrap();
        #[allow(clippy::result_large_err, reason = "the library's own type of callback")]
        let confirm = |_: &_, mut response: http::Response<()>| {
            let protocol = http::HeaderValue::from_static("tinybase");
            response.headers_mut().insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, confirm).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    let clock = Arc::new(SystemClock);
    let mut settings = ClientSettings::new(url, "a", clock, Arc::new(SystemEntropy));
    settings.backoff.initial = GUARD;
    settings.backoff.max = GUARD;
    let store = MergeableStore::new(ClientId::from_unique_id("a"));
    let stores = vec![(ChannelId::new("ch").unwrap(), store)];
    let client = SyncClient::connect_channels(settings, stores).unwrap().remove(0);
    let waiting = |status: &Status| *status == Status::Waiting(Lost::NotMultiplexed);
    guard("given up", client.wait_status(waiting)).await;
    guard("the connection is closed", server).await.unwrap();
}
