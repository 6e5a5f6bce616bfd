//! Clients that come back with the former generation of a path: what they made meanwhile is taken, and they
//! are closed.
//!
//! Such a client has cells that were deleted, and whose tombstones its path no longer has. So it is drained against
//! the former generation, which still has them: what wins there is an edit that nobody knew, and only that
//! is brought to the path, by the client's own name and as one more edit of its user.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use mergeable_store::{Changes, ClientId, ConnectionId, Effects, Limits, Star, Writer as By};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::name::PathName;
use super::path::{
    CloseReason, MAX_AHEAD_MS, PathContext, PathError, PathHandle, client_channel, load,
};
use super::policy::Judge;
use super::random::StarRandom;
use super::server::Admitted;
use super::vectors::Vectors;

/// How long a client may take, the loading of the former generation included.
const LIMIT: Duration = Duration::from_secs(20);
/// Former generations in memory at once; each is a whole store. The next client waits.
const AT_ONCE: usize = 2;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// A client that is drained against the former generation.
pub(super) struct Late<'a> {
    pub(super) context: &'a PathContext,
    pub(super) name: &'a PathName,
    pub(super) client: ConnectionId,
    pub(super) admitted: &'a Admitted,
    /// The path by now.
    pub(super) current: &'a PathHandle,
}

/// Why a client was not drained; what it has is safe with it.
struct NotDrained;

impl Late<'_> {
    /// Takes what the client has that nobody knew. Gives how its connection is to be closed.
    pub(super) async fn take(&self, socket: &mut WebSocket) -> CloseReason {
        match tokio::time::timeout(LIMIT, self.drain(socket)).await {
            Ok(Ok(())) => CloseReason::rebuilt(),
            Ok(Err(NotDrained)) | Err(_) => {
                metrics::counter!("crossfade_sync_not_drained_total").increment(1);
                CloseReason::not_drained()
            }
        }
    }

    async fn drain(&self, socket: &mut WebSocket) -> Result<(), NotDrained> {
        let _turn = TURNS.acquire().await.map_err(|_| NotDrained)?;
        let PathContext { storage, unique_id, .. } = self.context;
        let (path, generation) = (&self.name.path, Some(self.name.generation));
        let id = ClientId::from_unique_id(unique_id);
        let store = load(&**storage, path, generation, id, |_| {}).await.map_err(|error| {
            tracing::error!(%path, %error, "the former generation cannot be loaded");
            NotDrained
        })?;
        let limits = Limits {
            max_ahead_ms: MAX_AHEAD_MS,
            ahead_close: Some(CloseReason::clock_skew().into()),
            ..Limits::default()
        };
        let mut star = Star::new(store, limits);
        let random = || StarRandom(self.context.entropy.clone());
        let connected = star.connect(self.now(), self.client.clone(), &mut random());
        self.carry_out(&connected, socket).await?;
        let mut effects = star.drain(self.now(), &self.client, &mut random());
        loop {
            self.carry_out(&effects, socket).await?;
            if effects.drained.contains(&self.client) {
                return Ok(());
            }
            if star.backlogged().next().is_some() {
                // What the client lacks, a bit at a time: the socket sets the pace.
                effects = star.send_backlog(self.now(), &mut random(), |_| true);
                continue;
            }
            effects = tokio::select! {
                () = until(star.next_deadline().map(|at| at.saturating_sub(self.now()))) => {
                    star.tick(self.now(), &mut random())
                }
                received = socket.recv() => {
                    let text = match received {
                        Some(Ok(Message::Text(text))) => text.to_string(),
                        Some(Ok(Message::Binary(bytes))) => {
                            String::from_utf8_lossy(&bytes).into_owned()
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(NotDrained),
                    };
                    self.receive(&mut star, &text)?
                }
            };
        }
    }

    fn receive(&self, star: &mut Star, text: &str) -> Result<Effects, NotDrained> {
        let (tables, writer) = (&self.context.tables, &self.admitted.writer);
        let (path, vectors) = (&self.name.path, &mut Vectors::default());
        let mut judge = Judge { path, tables, writer, vectors, refused: Vec::new() };
        let mut random = StarRandom(self.context.entropy.clone());
        star.receive(self.now(), &self.client, text, &mut judge, &mut random)
            .map_err(|_| NotDrained)
    }

    /// Brings what won to the path, then answers: what the client is told of is durable.
    async fn carry_out(&self, effects: &Effects, socket: &mut WebSocket) -> Result<(), NotDrained> {
        let mut changes = Changes::new();
        for c in effects.changed.iter().filter(|c| matches!(c.by, By::Connection(_))) {
            changes.set_cell(&c.table, &c.row, &c.cell, c.new.clone(), c.hlc);
        }
        if !changes.is_empty() {
            self.bring(&changes).await.map_err(|error| {
                tracing::warn!(path = %self.name.path, %error, "late edits are not taken");
                NotDrained
            })?;
        }
        for outgoing in &effects.send {
            let frame = Message::Text((&*outgoing.frame).into());
            socket.send(frame).await.map_err(|_| NotDrained)?;
        }
        Ok(())
    }

    /// As a connection of its own, which says this one thing.
    async fn bring(&self, changes: &Changes) -> Result<(), PathError> {
        metrics::counter!("crossfade_sync_late_edits_total")
            .increment(changes.cells().count() as u64);
        let (sink, _source) = client_channel();
        let (client, writer) = (self.client.clone(), self.admitted.writer.clone());
        self.current.connect(client.clone(), writer, sink, false).await?;
        // A ContentDiff; its transaction id is nobody's.
        let frame = format!("S\n[\"late-client\",3,{}]", changes.to_json());
        let sent = async {
            self.current.frame(client.clone(), &frame).await?;
            self.current.settled().await
        };
        let outcome = sent.await;
        self.current.disconnect(client).await?;
        outcome
    }

    fn now(&self) -> u64 {
        self.context.clock.now_ms()
    }
}

async fn until(wait_ms: Option<u64>) {
    match wait_ms {
        Some(wait) => tokio::time::sleep_until(Instant::now() + Duration::from_millis(wait)).await,
        None => std::future::pending().await,
    }
}
