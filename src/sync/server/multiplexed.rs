//! A socket of several paths, each on a channel of its own. To a path, a channel is a connection like any other.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::extract::ws::Utf8Bytes;
use futures_util::stream::{self, SelectAll, Stream, StreamExt as _};
use mergeable_store::{ChannelEvent, ChannelId, Channels, ConnectionId, Limits};

use super::admission::{NotAdmitted, Session};
use super::paths::{NotOpened, Path, Paths};
use super::single::take;
use super::socket::{Incoming, SendFailed, Socket};
use crate::clock::SharedClock;
use crate::sync::path::{ClientSource, CloseReason, Outbound, client_channel_sharing};
use crate::sync::policy::Writer;

/// Which subscription something comes from: a channel that is left and subscribed again is another one.
type Subscription = u64;
/// What paths have for the socket, each with its subscription; the last thing of each is a close.
type Source = Pin<Box<dyn Stream<Item = (Subscription, Outbound)> + Send>>;

/// An open channel.
struct Channel {
    subscription: Subscription,
    path: Path,
    /// Bytes given to the path since it was last known to have worked on all of them.
    unprocessed: usize,
    /// Its path has nothing more to take from the client; the socket closes once that is so for all.
    drained: bool,
}

/// The server's side of a multiplexed socket.
pub(super) struct Multiplexed {
    pub(super) paths: Paths,
    pub(super) clock: SharedClock,
    pub(super) client: ConnectionId,
    pub(super) session: Result<Session, NotAdmitted>,
    channels: Channels,
    open: HashMap<ChannelId, Channel>,
    /// By subscription: the channel, as long as it is open.
    names: HashMap<Subscription, ChannelId>,
    sources: SelectAll<Source>,
    /// What waits to be sent, on all channels together.
    waiting_bytes: Arc<AtomicUsize>,
    subscriptions: Subscription,
}

/// How a socket ends: with what it is to be closed, if it is still there.
struct Ended(Option<CloseReason>);

impl From<SendFailed> for Ended {
    fn from(_: SendFailed) -> Self {
        Self(None)
    }
}

impl From<mergeable_store::Close> for Ended {
    fn from(close: mergeable_store::Close) -> Self {
        metrics::counter!("crossfade_sync_bad_frames_total").increment(1);
        Self(Some(close.into()))
    }
}

impl Multiplexed {
    pub(super) fn new(
        paths: Paths,
        clock: SharedClock,
        client: ConnectionId,
        base: &str,
        session: Result<Session, NotAdmitted>,
    ) -> Self {
        Self {
            paths,
            clock,
            client,
            session,
            channels: Channels::new(base, Limits::default().fragment_timeout_ms),
            open: HashMap::new(),
            names: HashMap::new(),
            sources: SelectAll::new(),
            waiting_bytes: Arc::default(),
            subscriptions: 0,
        }
    }

    /// Moves frames between the socket and its paths until it ends.
    pub(super) async fn run(mut self, mut socket: Socket) {
        let Ended(reason) = self.carry(&mut socket).await;
        for channel in self.open.values() {
            channel.path.disconnect(&self.client).await;
        }
        if let Some(reason) = reason {
            socket.close(reason).await;
        }
    }

    async fn carry(&mut self, socket: &mut Socket) -> Ended {
        loop {
            let done = tokio::select! {
                incoming = socket.next() => match incoming {
                    Incoming::Frame(frame) => self.receive(socket, &frame).await,
                    Incoming::Expired => Err(Ended(Some(CloseReason::token_expired()))),
                    Incoming::Revoked => Err(Ended(Some(CloseReason::revoked()))),
                    Incoming::Ended(reason) => Err(Ended(reason)),
                },
                Some((subscription, outbound)) = self.sources.next() => {
                    self.send(socket, subscription, outbound).await
                }
            };
            if let Err(ended) = done {
                return ended;
            }
        }
    }

    async fn receive(&mut self, socket: &mut Socket, frame: &Utf8Bytes) -> Result<(), Ended> {
        match self.channels.receive(self.clock.now_ms(), frame)? {
            None => {}
            Some(ChannelEvent::Reply(reply)) => answer(socket, reply).await?,
            Some(ChannelEvent::Subscribe { channel, path, reply }) => {
                self.subscribe(socket, channel, &path, reply).await?;
            }
            Some(ChannelEvent::Unsubscribe(channel)) => {
                if let Some(left) = self.open.remove(&channel) {
                    self.names.remove(&left.subscription);
                    left.path.disconnect(&self.client).await;
                }
                self.channels.taken_down();
                self.close_if_drained()?;
            }
            Some(ChannelEvent::Data { channel, payload }) => {
                let gone = Ended(Some(CloseReason::not_kept()));
                let Some(channel) = self.open.get_mut(&channel) else { return Err(gone) };
                let payload = Utf8Bytes::from(payload);
                let taken = take(&self.client, &channel.path, &payload, &mut channel.unprocessed);
                taken.await.map_err(|_| gone)?;
            }
        }
        Ok(())
    }

    /// Opens a channel, if the session may; otherwise it is not confirmed, and its client gives up by itself while the other
    /// channels go on. It is confirmed before the path is loaded, as TinyBase does.
    async fn subscribe(
        &mut self,
        socket: &mut Socket,
        channel: ChannelId,
        path: &str,
        reply: String,
    ) -> Result<(), Ended> {
        let allowed = match self.paths.allow(path, &self.session) {
            Ok(allowed) => allowed,
            Err(error) => {
                super::note_refusal(&error);
                tracing::info!(reason = error.kind(), "channel not opened");
                self.channels.refuse(&channel);
                return Ok(());
            }
        };
        answer(socket, reply).await?;
        let loaded = Box::pin(self.paths.load(allowed)).await;
        let mut path = loaded.map_err(|error: NotOpened| {
            super::note_refusal(&error);
            Ended(Some(CloseReason::not_kept()))
        })?;
        let (sink, source) = client_channel_sharing(Some(self.waiting_bytes.clone()));
        let writer = self.writer();
        path.connect(&self.client, &writer, sink, &*self.paths.admission)
            .await
            .map_err(|_| Ended(Some(CloseReason::not_kept())))?;
        self.subscriptions += 1;
        let subscription = self.subscriptions;
        self.sources.push(source_of(subscription, source));
        self.names.insert(subscription, channel.clone());
        let opened = Channel { subscription, path, unprocessed: 0, drained: false };
        self.open.insert(channel, opened);
        Ok(())
    }

    fn writer(&self) -> Arc<Writer> {
        match &self.session {
            Ok(session) => session.writer.clone(),
            // Only peers can be open to it, who ask for no writer.
            Err(_) => Arc::new(Writer::nobody()),
        }
    }

    async fn send(
        &mut self,
        socket: &mut Socket,
        subscription: Subscription,
        outbound: Outbound,
    ) -> Result<(), Ended> {
        // What a path still had for a channel that was left meanwhile is not for the client any more.
        let Some(name) = self.names.get(&subscription) else { return Ok(()) };
        match outbound {
            Outbound::Frames(frames) => {
                for frame in frames {
                    let wrapped = Channels::wrap(name, &frame).map_err(|close| {
                        metrics::counter!("crossfade_sync_slow_clients_total").increment(1);
                        Ended(Some(close.into()))
                    })?;
                    socket.feed(wrapped.into()).await?;
                }
                Ok(socket.flush().await?)
            }
            Outbound::Close(reason) if reason == CloseReason::drained() => {
                if let Some(channel) = self.open.get_mut(name) {
                    channel.drained = true;
                }
                self.close_if_drained()
            }
            Outbound::Close(reason) => Err(Ended(Some(reason))),
        }
    }

    /// Closes the socket once every path that drains has taken what the client had.
    fn close_if_drained(&self) -> Result<(), Ended> {
        let mut drains = self.open.values().filter(|channel| channel.path.drains()).peekable();
        let any = drains.peek().is_some();
        if any && drains.all(|channel| channel.drained) {
            return Err(Ended(Some(CloseReason::drained())));
        }
        Ok(())
    }
}

async fn answer(socket: &mut Socket, frame: String) -> Result<(), SendFailed> {
    socket.feed(frame.into()).await?;
    socket.flush().await
}

/// Everything that comes for a subscription, to its end.
fn source_of(subscription: Subscription, source: ClientSource) -> Source {
    Box::pin(stream::unfold(Some(source), move |source| async move {
        let mut source = source?;
        let outbound = source.next().await;
        let over = matches!(outbound, Outbound::Close(_));
        Some(((subscription, outbound), (!over).then_some(source)))
    }))
}
