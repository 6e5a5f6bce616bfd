//! A native TinyBase client: a store that stays in step with a path over a WebSocket that comes and
//! goes.
//!
//! The handle reads and edits at once, connected or not. A task behind it connects, carries frames,
//! and connects again after a loss, with backoff and a fresh token each time. What was edited offline
//! goes out with the next connection, found by comparing hashes.
//!
//! ```text
//! SyncClient ─ state (engine + stores, behind a lock) ─ task ─ WebSocket
//! ```
//!
//! A connection carries one store ([`SyncClient::connect`]), or several, each on a channel with a handle of its own
//! ([`SyncClient::connect_channels`]).

mod engine;
mod proof;
mod settings;
mod socket;
mod state;
mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use mergeable_store::{
    CellChange, ChannelId, ChannelsError, ClientId, ContentHashes, MergeableStore, Synchronizer,
    Transaction,
};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use engine::{Engine, StoreKey};
pub use settings::{Backoff, ClientSettings, NoToken, TokenError, TokenFn, TokenSource};
pub use socket::{ConnectError, SharedTransport, Stream, TcpTransport, Transport};
use state::{Shared, Wanted};

/// Where a client stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Offline because its owner said so.
    Offline,
    /// Getting a token and a socket.
    Connecting,
    /// Connected; the first exchange is under way.
    Syncing,
    /// Edits go out and come in at once.
    Live,
    /// Connected, but the server has not confirmed this store's channel; the next connection asks again.
    NotOpened,
    /// Not connected, and waiting to try again.
    Waiting(Lost),
    /// Dropped.
    Stopped,
}

/// Why a connection is not there any more, or was never made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// It was not made.
    #[error(transparent)]
    NotConnected(#[from] ConnectError),
    /// The server closed it.
    #[error("the server closed the connection with code {code}: {reason}")]
    Closed {
        /// WebSocket close code; 1005 if there was none.
        code: u16,
        /// The server's text.
        reason: String,
    },
    /// The link broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Nothing came for too long.
    #[error("the connection was silent for too long")]
    Silent,
    /// The server sent what is no message.
    #[error("the server sent a frame that is no TinyBase message")]
    NotUnderstood,
    /// The server has not answered Hello: it does not multiplex.
    #[error("the server did not answer Hello in time: it does not multiplex")]
    NotMultiplexed,
    /// More waited to be sent than may wait.
    #[error("the connection was too slow for what waited to be sent")]
    TooSlow,
    /// [`SyncClient::cut`].
    #[error("the connection was cut on purpose")]
    Cut,
}

/// A change that others made, and when this client saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The change.
    pub change: CellChange,
    /// When it was in the store.
    pub at: Instant,
}

/// A store kept in step with a path of a sync server. Dropping it leaves its channel; the last one of a connection closes it.
pub struct SyncClient {
    shared: Arc<Shared>,
    key: StoreKey,
}

impl std::fmt::Debug for SyncClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let channel = self.key.as_ref().map(ChannelId::as_str);
        f.debug_struct("SyncClient")
            .field("channel", &channel)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Drop for SyncClient {
    fn drop(&mut self) {
        self.shared.leave(&self.key);
    }
}

impl SyncClient {
    /// Starts a client with an empty store; it connects in the background, for as long as it lives.
    ///
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn connect(settings: ClientSettings) -> Self {
        let store = MergeableStore::new(ClientId::from_unique_id(&settings.unique_id));
        Self::resume(settings, store)
    }

    /// As [`SyncClient::connect`], with a store that was kept.
    #[must_use]
    pub fn resume(settings: ClientSettings, store: MergeableStore) -> Self {
        let shared = Shared::new(&settings, Engine::single(store), &[None]);
        tokio::spawn(task::run(shared.clone(), settings));
        Self { shared, key: None }
    }

    /// Starts a connection that carries several stores, each on its channel: a handle for each, in their order. Going
    /// offline, coming back and cutting concern the connection, whichever handle does it.
    ///
    /// # Errors
    /// [`ChannelsError`] for a channel given twice, or too many of them.
    pub fn connect_channels(
        settings: ClientSettings,
        stores: Vec<(ChannelId, MergeableStore)>,
    ) -> Result<Vec<Self>, ChannelsError> {
        let keys: Vec<StoreKey> = stores.iter().map(|(id, _)| Some(id.clone())).collect();
        let mut random = crate::sync::StarRandom(settings.entropy.clone());
        let engine = Engine::multiplexed(stores, &mut random)?;
        let shared = Shared::new(&settings, engine, &keys);
        if !keys.is_empty() {
            tokio::spawn(task::run(shared.clone(), settings));
        }
        Ok(keys.into_iter().map(|key| Self { shared: shared.clone(), key }).collect())
    }

    /// Where it stands now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.lock().status(&self.key)
    }

    /// Writes to the store, and sends it if connected. The closure must not call the client.
    ///
    /// # Errors
    /// The closure's own; then nothing is written.
    pub fn edit<T, E>(
        &self,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.shared.edit(&self.key, edit)
    }

    /// Reads the store. The closure must not call the client.
    pub fn read<T>(&self, reader: impl FnOnce(&MergeableStore) -> T) -> T {
        self.shared.read(&self.key, reader)
    }

    /// The hashes of the store.
    #[must_use]
    pub fn hashes(&self) -> ContentHashes {
        self.read(MergeableStore::hashes)
    }

    /// The hashes that the server told last, in this connection.
    #[must_use]
    pub fn server_hashes(&self) -> Option<ContentHashes> {
        self.shared.lock().sync(&self.key).and_then(Synchronizer::last_peer_hashes)
    }

    /// Whether the own hashes equal those that the server told last. An edit makes it `false` until
    /// the server has told newer ones.
    #[must_use]
    pub fn caught_up(&self) -> bool {
        let state = self.shared.lock();
        state.sync(&self.key).is_some_and(|sync| sync.is_live() && sync.caught_up())
    }

    /// How many edits were made, whether the server has them or not.
    #[must_use]
    pub fn edits(&self) -> u64 {
        self.shared.proof(&self.key, |proof| proof.edits)
    }

    /// How many edits, the latest ones, the server is not known to have.
    #[must_use]
    pub fn unacknowledged(&self) -> u64 {
        self.shared.proof(&self.key, |proof| proof.edits - proof.acknowledged)
    }

    /// A number that changes with everything that changes here: store, status, what is known of the
    /// server. For waiting on several clients at once.
    #[must_use]
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.shared.watch()
    }

    /// Changes that others make from now on, in order. A receiver that falls behind by more than
    /// [`ClientSettings::changes_kept`] loses the oldest and is told how many.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Seen> {
        self.shared.changes(&self.key)
    }

    /// Goes offline and stays so: returns once the socket is closed.
    pub async fn go_offline(&self) {
        self.shared.want(Wanted::Offline);
        self.wait_status(|status| matches!(status, Status::Offline | Status::Stopped)).await;
    }

    /// Comes back; connecting goes on in the background.
    pub fn go_online(&self) {
        self.shared.want(Wanted::Online);
    }

    /// Drops the present connection without a word, as a lost link does; it is made again by itself.
    pub fn cut(&self) {
        self.shared.cut.notify_waiters();
    }

    /// Returns once the store meets the condition. Looks again after every change; the caller bounds
    /// the wait. The closure must not call the client.
    pub async fn wait_until(&self, mut holds: impl FnMut(&MergeableStore) -> bool) {
        self.wait(|| self.read(&mut holds)).await;
    }

    /// Returns once the status meets the condition.
    pub async fn wait_status(&self, mut holds: impl FnMut(&Status) -> bool) {
        self.wait(|| holds(&self.status())).await;
    }

    /// Returns once the server, asked after this call, has told hashes that equal the store's. Asks as
    /// often as it takes.
    pub async fn wait_caught_up(&self) {
        let proofs = || self.shared.proof(&self.key, |proof| proof.proofs);
        let before = proofs();
        let _demand = self.shared.demand_proof(&self.key);
        self.wait(|| proofs() > before && self.caught_up()).await;
    }

    /// Returns once the server is known to have every edit made before this call.
    pub async fn wait_acknowledged(&self) {
        let edits = self.edits();
        let _demand = self.shared.demand_proof(&self.key);
        let has = || self.shared.proof(&self.key, |proof| proof.acknowledged >= edits);
        self.wait(has).await;
    }

    async fn wait(&self, mut holds: impl FnMut() -> bool) {
        let mut version = self.shared.watch();
        loop {
            version.mark_unchanged();
            if holds() {
                return;
            }
            // The sender lives as long as `self`.
            if version.changed().await.is_err() {
                return;
            }
        }
    }

    /// Leaves, and gives the store back. The last one of a connection returns once that is closed.
    pub async fn close(self) -> MergeableStore {
        if self.shared.is_last() {
            self.shared.stop.cancel();
            self.wait(|| self.shared.lock().status(&self.key) == Status::Stopped).await;
        }
        self.read(MergeableStore::clone)
    }
}
