//! Clients that come back with the former generation of a path: what they made meanwhile is taken, and they
//! are closed.
//!
//! Such a client has cells that were deleted, and whose tombstones its path no longer has. So it is drained against
//! the former generation, which still has them: what wins there is an edit that nobody knew, and only that
//! is brought to the path, by the client's own name and as one more edit of its user.

use std::sync::Arc;
use std::time::Duration;

use mergeable_store::{Changes, ClientId, ConnectionId, Effects, Limits, Star, Writer as By};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::authority::LegacyDecides;
use super::name::PathName;
use super::path::{
    ClientSink, CloseReason, MAX_AHEAD_MS, Outbound, PathContext, PathError, PathHandle,
    PathIndexes, client_channel, load,
};
use super::policy::{Judge, Writer};
use super::random::StarRandom;
use super::vectors::Vectors;

/// How long a client may take, the loading of the former generation included.
const LIMIT: Duration = Duration::from_secs(20);
/// Former generations in memory at once; each is a whole store. The next client waits.
const AT_ONCE: usize = 2;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Frames that may wait for a drain; the connection is not read meanwhile.
const QUEUE: usize = 64;
/// More bytes than these waiting for the client: what it lacks waits.
const ENOUGH_WAITING: usize = 1 << 20;
/// How often it is looked whether the client has taken what waits.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A path under the name of a generation that is over.
#[derive(Debug)]
pub(super) struct LatePath {
    context: PathContext,
    name: PathName,
    current: PathHandle,
    /// To the drain under way, once connected.
    frames: Option<mpsc::Sender<String>>,
}

impl LatePath {
    /// `current` is the path by now.
    pub(super) fn new(context: PathContext, name: PathName, current: PathHandle) -> Self {
        Self { context, name, current, frames: None }
    }

    /// Takes up a connection: of the generation before, it is drained; of an older one, closed.
    pub(super) fn connect(
        &mut self,
        client: ConnectionId,
        writer: Arc<Writer>,
        sink: ClientSink,
        is_former: bool,
    ) {
        metrics::counter!("crossfade_sync_other_generation_total").increment(1);
        if !is_former {
            return sink.close(CloseReason::rebuilt());
        }
        let (frames, received) = mpsc::channel(QUEUE);
        let (context, name) = (self.context.clone(), self.name.clone());
        let late = Late { context, name, client, writer, current: self.current.clone() };
        tokio::spawn(async move {
            let reason = late.take(received, &sink).await;
            sink.close(reason);
        });
        self.frames = Some(frames);
    }

    /// A frame from the client; what comes after the end is not looked at.
    pub(super) async fn frame(&self, text: String) {
        if let Some(frames) = &self.frames {
            // A drain that has ended has said so to the client.
            let _ = frames.send(text).await;
        }
    }
}

/// A client that is drained against the former generation.
struct Late {
    context: PathContext,
    name: PathName,
    client: ConnectionId,
    writer: Arc<Writer>,
    /// The path by now.
    current: PathHandle,
}

/// A client was not drained, and how its connection is to be closed; what it has is safe with it.
struct NotDrained(CloseReason);

impl Default for NotDrained {
    fn default() -> Self {
        Self(CloseReason::not_drained())
    }
}

impl Late {
    /// Takes what the client has that nobody knew. Gives how its connection is to be closed.
    async fn take(&self, received: mpsc::Receiver<String>, sink: &ClientSink) -> CloseReason {
        match tokio::time::timeout(LIMIT, self.drain(received, sink)).await {
            Ok(Ok(())) => CloseReason::rebuilt(),
            outcome => {
                metrics::counter!("crossfade_sync_not_drained_total").increment(1);
                let NotDrained(reason) = outcome.ok().and_then(Result::err).unwrap_or_default();
                reason
            }
        }
    }

    async fn drain(
        &self,
        mut received: mpsc::Receiver<String>,
        sink: &ClientSink,
    ) -> Result<(), NotDrained> {
        let _turn = TURNS.acquire().await.map_err(|_| NotDrained::default())?;
        let PathContext { storage, unique_id, .. } = &self.context;
        let (path, generation) = (&self.name.path, Some(self.name.generation));
        let id = ClientId::from_unique_id(unique_id);
        let store = load(&**storage, path, generation, id, |_| {}).await.map_err(|error| {
            tracing::error!(%path, %error, "the former generation cannot be loaded");
            NotDrained::default()
        })?;
        let limits = Limits {
            max_ahead_ms: MAX_AHEAD_MS,
            ahead_close: Some(CloseReason::clock_skew().into()),
            ..Limits::default()
        };
        let mut star = Star::new(store, limits);
        let random = || StarRandom(self.context.entropy.clone());
        let connected = star.connect(self.now(), self.client.clone(), &mut random());
        self.carry_out(&connected, sink).await?;
        let mut effects = star.drain(self.now(), &self.client, &mut random());
        loop {
            self.carry_out(&effects, sink).await?;
            if effects.drained.contains(&self.client) {
                return Ok(());
            }
            if star.backlogged().next().is_some() {
                // What the client lacks, a bit at a time: the client sets the pace.
                while sink.waiting_bytes() > ENOUGH_WAITING {
                    if received.is_closed() {
                        return Err(NotDrained::default());
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                effects = star.send_backlog(self.now(), &mut random(), |_| true);
                continue;
            }
            effects = tokio::select! {
                () = until(star.next_deadline().map(|at| at.saturating_sub(self.now()))) => {
                    star.tick(self.now(), &mut random())
                }
                frame = received.recv() => {
                    self.receive(&mut star, &frame.ok_or_else(NotDrained::default)?)?
                }
            };
        }
    }

    fn receive(&self, star: &mut Star, text: &str) -> Result<Effects, NotDrained> {
        let (tables, writer) = (&self.context.tables, &self.writer);
        let (path, vectors) = (&self.name.path, &mut Vectors::default());
        let (user, now, refusals) = (&writer.actor.user, self.now(), &self.context.refusals);
        let (refused, allowance) = (Vec::new(), refusals.allowance(user, now));
        let max_cell_bytes = self.context.max_cell_bytes;
        // Whether a value is there twice by now, the former store does not know; legacy does, when it is delivered.
        let (indexes, authority) = (&PathIndexes::default(), &LegacyDecides);
        let mut judge = Judge {
            path,
            tables,
            writer,
            vectors,
            refused,
            allowance,
            max_cell_bytes,
            indexes,
            authority,
        };
        let mut random = StarRandom(self.context.entropy.clone());
        let received = star.receive(now, &self.client, text, &mut judge, &mut random);
        let allowance = judge.allowance;
        let effects = received.map_err(|close| {
            refusals.closed(user, now, allowance);
            NotDrained(close.into())
        })?;
        refusals.spend(user, now, effects.refused.len());
        Ok(effects)
    }

    /// Brings what won to the path, then answers: what the client is told of is durable.
    async fn carry_out(&self, effects: &Effects, sink: &ClientSink) -> Result<(), NotDrained> {
        let mut changes = Changes::new();
        for c in effects.changed.iter().filter(|c| matches!(c.by, By::Connection(_))) {
            changes.set_cell(&c.table, &c.row, &c.cell, c.new.clone(), c.hlc);
        }
        if !changes.is_empty() {
            self.bring(&changes).await?;
        }
        for outgoing in &effects.send {
            sink.send([(&*outgoing.frame).into()]);
        }
        Ok(())
    }

    /// As a connection of its own, which says this one thing. If the path closes that, it did not take it: the client's
    /// connection is closed for the same reason.
    async fn bring(&self, changes: &Changes) -> Result<(), NotDrained> {
        let (sink, mut source) = client_channel();
        self.say(changes, sink).await.map_err(|error| {
            tracing::warn!(path = %self.name.path, %error, "late edits are not taken");
            NotDrained::default()
        })?;
        // That it was let go of without another reason is the end that was asked for.
        let reason = loop {
            if let Outbound::Close(reason) = source.next().await {
                break reason;
            }
        };
        if reason != CloseReason::not_kept() {
            return Err(NotDrained(reason));
        }
        metrics::counter!("crossfade_sync_late_edits_total")
            .increment(changes.cells().count() as u64);
        Ok(())
    }

    async fn say(&self, changes: &Changes, sink: ClientSink) -> Result<(), PathError> {
        let (client, writer) = (self.client.clone(), self.writer.clone());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Actor, Generation};
    use crate::sync::path::tests::world::{World, now, read, user};
    use crate::sync::refusals::Allowance;

    async fn late(world: &World, user: &str) -> Late {
        let current = world.path().await;
        let actor = Actor { user: user.to_owned(), org_id: Some("org_1".into()), org_role: None };
        Late {
            context: world.registry.context().clone(),
            name: PathName { path: current.path().clone(), generation: Generation::FIRST },
            client: ConnectionId::from(user),
            writer: Arc::new(Writer::new(actor)),
            current,
        }
    }

    /// Whoever is suspended in between is told so: an answer that says "taken" would lose the edit.
    #[tokio::test]
    async fn what_the_path_does_not_take_is_not_said_to_be_taken() {
        let world = World::new();
        world.apply(Some(user("Ada", 1.0)), read()).await;
        let begun = now();
        // Each edit is newer than the one before.
        let changes = |name: &str, after_ms: u64| {
            let mut changes = Changes::new();
            let client = ClientId::from_unique_id(name);
            let hlc = mergeable_store::Hlc::new(begun + after_ms, 0, client);
            changes.set_cell("users", "u1", "name", Some(name.into()), hlc);
            changes
        };
        let ann = late(&world, "ann").await;
        assert!(ann.bring(&changes("by ann", 1)).await.is_ok());
        assert_eq!(world.cell("name").await, Some("by ann".into()));
        let bob = late(&world, "bob").await;
        bob.context.refusals.closed("bob", now(), Allowance::Exceeded);
        let Err(NotDrained(reason)) = bob.bring(&changes("by bob", 2)).await else {
            panic!("said to be taken")
        };
        assert_eq!(reason, CloseReason::too_many_refused());
        assert_eq!(world.cell("name").await, Some("by ann".into()));
        assert!(ann.bring(&changes("by ann again", 3)).await.is_ok());
    }
}
