//! A client's end of a multiplexed connection: several stores, each on a channel of its own.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::{ClientEffects, Synchronizer, TIMEOUT_MS};
use crate::channels::{Control, MAX_CHANNELS, control_frame};
use crate::hlc::random_id;
use crate::{ChannelId, Close, MAX_FRAME_BYTES, Millis, Random, Transaction};

/// Length of a control message's request id.
const REQUEST_LENGTH: usize = 16;
/// Channels left in one connection whose late frames are still passed over.
const MAX_LEFT: usize = 10 * MAX_CHANNELS;

/// What the owner of a [`MultiplexedClient`] has to carry out or may want to know.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "frames have to be sent"]
pub struct ChannelsEffects {
    /// Frames, in order.
    pub send: Vec<String>,
    /// What happened on each channel; their own frames are in `send`.
    pub channels: Vec<(ChannelId, ClientEffects)>,
    /// What the server did not confirm in time.
    pub unanswered: Vec<Unanswered>,
}

/// A control message that was not confirmed in time (`tinybase:4`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The server does not multiplex: the connection is of no use.
    Hello,
    /// This channel is not opened, because the server refuses it or is slow; the next connection asks again.
    Subscribe(ChannelId),
}

/// Why a channel was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelsError {
    /// It is there already (`tinybase:7`).
    #[error("the channel is there already: a connection has each channel once")]
    Duplicate,
    /// There are [`MAX_CHANNELS`] already (`tinybase:15:channels`).
    #[error("a connection has at most 100 channels: open another one")]
    TooMany,
}

/// A control message under way.
#[derive(Clone, Debug)]
struct Asked {
    request: String,
    deadline: Millis,
}

#[derive(Clone, Debug)]
enum Connection {
    Offline,
    /// Hello is under way; once it is overdue, without a deadline.
    Greeting(Option<Asked>),
    Open,
}

#[derive(Clone, Debug)]
enum Subscription {
    /// Not asked for in this connection, or not confirmed in time.
    None,
    Asked(Asked),
    Confirmed,
}

#[derive(Clone, Debug)]
struct Channel {
    sync: Synchronizer,
    subscription: Subscription,
}

/// Several stores kept in step over one connection that comes and goes.
///
/// Each connection begins with Hello; once it is confirmed, every channel is subscribed, and each begins to synchronize
/// when the server has confirmed it. Edits made before are found by comparing hashes, so nothing is queued.
#[derive(Clone, Debug)]
pub struct MultiplexedClient {
    connection: Connection,
    channels: IndexMap<ChannelId, Channel>,
    /// Channels left in this connection.
    left: BTreeSet<ChannelId>,
}

impl Default for MultiplexedClient {
    fn default() -> Self {
        Self::new()
    }
}

impl MultiplexedClient {
    /// A client without channels, not connected.
    #[must_use]
    pub fn new() -> Self {
        Self { connection: Connection::Offline, channels: IndexMap::new(), left: BTreeSet::new() }
    }

    /// The stores and their channels.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = (&ChannelId, &Synchronizer)> {
        self.channels.iter().map(|(id, channel)| (id, &channel.sync))
    }

    /// The store of a channel.
    #[must_use]
    pub fn channel(&self, id: &ChannelId) -> Option<&Synchronizer> {
        self.channels.get(id).map(|channel| &channel.sync)
    }

    /// Adds a store on a channel; subscribes to it at once where there is a connection.
    ///
    /// # Errors
    /// [`ChannelsError`], with nothing changed.
    pub fn add(
        &mut self,
        now: Millis,
        id: ChannelId,
        sync: Synchronizer,
        rng: &mut dyn Random,
    ) -> Result<Vec<String>, ChannelsError> {
        if self.channels.contains_key(&id) {
            return Err(ChannelsError::Duplicate);
        }
        if self.channels.len() >= MAX_CHANNELS {
            return Err(ChannelsError::TooMany);
        }
        self.left.remove(&id);
        let channel = Channel { sync, subscription: Subscription::None };
        self.channels.insert(id.clone(), channel);
        let is_open = matches!(self.connection, Connection::Open);
        Ok(if is_open { self.subscribe(now, &id, rng).into_iter().collect() } else { Vec::new() })
    }

    /// Takes a store off its channel: the store, and the frames that say so. Without channels left the owner closes the
    /// connection.
    pub fn remove(&mut self, id: &ChannelId) -> Option<(Synchronizer, Vec<String>)> {
        let Channel { mut sync, subscription } = self.channels.shift_remove(id)?;
        sync.disconnected();
        let asked = !matches!(subscription, Subscription::None);
        if asked && self.left.len() < MAX_LEFT {
            self.left.insert(id.clone());
        }
        let frames = asked.then(|| control_frame(None, Some(id)));
        Some((sync, frames.into_iter().collect()))
    }

    /// A channel, to write to its store and to ask on it; `None` if there is no such channel.
    pub fn on(&mut self, id: &ChannelId) -> Option<OnChannel<'_>> {
        let (_, id, channel) = self.channels.get_full_mut(id)?;
        Some(OnChannel { id, sync: &mut channel.sync })
    }

    /// A connection with the subprotocol `tinybase` is there: says Hello.
    #[must_use = "frames have to be sent"]
    pub fn connected(&mut self, now: Millis, rng: &mut dyn Random) -> Vec<String> {
        self.disconnected();
        let asked = Asked::new(now, rng);
        let frame = control_frame(Some(&asked.request), None);
        self.connection = Connection::Greeting(Some(asked));
        vec![frame]
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.connection = Connection::Offline;
        self.left.clear();
        for channel in self.channels.values_mut() {
            channel.subscription = Subscription::None;
            channel.sync.disconnected();
        }
    }

    /// A frame has arrived; ignored while not connected.
    ///
    /// # Errors
    /// How the connection has to be closed, after a frame that is none of ours.
    pub fn receive(
        &mut self,
        now: Millis,
        frame: &str,
        rng: &mut dyn Random,
    ) -> Result<ChannelsEffects, Close> {
        if matches!(self.connection, Connection::Offline) {
            return Ok(ChannelsEffects::default());
        }
        if frame.len() > MAX_FRAME_BYTES {
            return Err(Close::TOO_LARGE);
        }
        let (from, remainder) = frame.split_once('\n').ok_or(Close::INVALID)?;
        match from {
            "S" => self.control(now, remainder, rng),
            "M" => self.data(now, remainder, rng),
            _ => Err(Close::INVALID),
        }
    }

    /// Time has passed: goes on without answers that are overdue.
    pub fn tick(&mut self, now: Millis, rng: &mut dyn Random) -> ChannelsEffects {
        let mut effects = ChannelsEffects::default();
        if let Connection::Greeting(asked) = &mut self.connection
            && asked.take_if(|asked| asked.deadline <= now).is_some()
        {
            effects.unanswered.push(Unanswered::Hello);
        }
        for (id, channel) in &mut self.channels {
            if matches!(&channel.subscription, Subscription::Asked(asked) if asked.deadline <= now)
            {
                channel.subscription = Subscription::None;
                effects.unanswered.push(Unanswered::Subscribe(id.clone()));
            }
            if channel.sync.next_deadline().is_some_and(|deadline| deadline <= now) {
                let told = channel.sync.tick(now, rng);
                effects.add(id, told);
            }
        }
        effects
    }

    /// When [`MultiplexedClient::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        let hello = match &self.connection {
            Connection::Greeting(asked) => asked.as_ref().map(|asked| asked.deadline),
            Connection::Offline | Connection::Open => None,
        };
        let channels = self.channels.values().flat_map(|channel| {
            let subscribe = match &channel.subscription {
                Subscription::Asked(asked) => Some(asked.deadline),
                Subscription::None | Subscription::Confirmed => None,
            };
            [subscribe, channel.sync.next_deadline()]
        });
        channels.chain([hello]).flatten().min()
    }

    fn subscribe(&mut self, now: Millis, id: &ChannelId, rng: &mut dyn Random) -> Option<String> {
        let channel = self.channels.get_mut(id)?;
        let asked = Asked::new(now, rng);
        let frame = control_frame(Some(&asked.request), Some(id));
        channel.subscription = Subscription::Asked(asked);
        Some(frame)
    }

    /// A control message is the echo of the own one, or of none that is awaited any more.
    fn control(
        &mut self,
        now: Millis,
        remainder: &str,
        rng: &mut dyn Random,
    ) -> Result<ChannelsEffects, Close> {
        let mut effects = ChannelsEffects::default();
        let frame = match Control::parse(remainder).ok_or(Close::INVALID)? {
            Control::Hello { reply } | Control::Subscribe { reply, .. } => reply,
            Control::Unsubscribe { .. } => return Ok(effects),
        };
        if let Connection::Greeting(Some(asked)) = &self.connection
            && frame == control_frame(Some(&asked.request), None)
        {
            self.connection = Connection::Open;
            let ids: Vec<ChannelId> = self.channels.keys().cloned().collect();
            effects.send.extend(ids.iter().filter_map(|id| self.subscribe(now, id, rng)));
            return Ok(effects);
        }
        let confirmed =
            self.channels.iter_mut().find(|(id, channel)| match &channel.subscription {
                Subscription::Asked(asked) => {
                    frame == control_frame(Some(&asked.request), Some(id))
                }
                Subscription::None | Subscription::Confirmed => false,
            });
        if let Some((id, channel)) = confirmed {
            channel.subscription = Subscription::Confirmed;
            effects.send = wrap_all(id, channel.sync.connected(now, rng));
        }
        Ok(effects)
    }

    /// A frame on a channel that was left meanwhile was on its way already.
    fn data(
        &mut self,
        now: Millis,
        remainder: &str,
        rng: &mut dyn Random,
    ) -> Result<ChannelsEffects, Close> {
        let (name, payload) = remainder.split_once('\n').ok_or(Close::INVALID)?;
        let mut effects = ChannelsEffects::default();
        let id = ChannelId::new(name).map_err(|_| Close::INVALID)?;
        match self.channels.get_mut(&id) {
            Some(channel) => {
                let told = channel.sync.receive(now, payload, rng)?;
                effects.add(&id, told);
            }
            None if self.left.contains(&id) => {}
            None => return Err(Close::INVALID),
        }
        Ok(effects)
    }
}

/// A channel of a [`MultiplexedClient`].
#[derive(Debug)]
pub struct OnChannel<'a> {
    id: &'a ChannelId,
    sync: &'a mut Synchronizer,
}

impl OnChannel<'_> {
    /// Writes to the store; the frames to send, none while it is not live.
    ///
    /// # Errors
    /// The closure's own; then nothing is written.
    pub fn edit<T, E>(
        &mut self,
        now: Millis,
        rng: &mut dyn Random,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<(T, Vec<String>), E> {
        let (result, frames) = self.sync.edit(now, rng, edit)?;
        Ok((result, wrap_all(self.id, frames)))
    }

    /// Asks `S` for its hashes anew; nothing while the store is not live.
    #[must_use = "frames have to be sent"]
    pub fn request_hashes(&mut self, now: Millis, rng: &mut dyn Random) -> Vec<String> {
        wrap_all(self.id, self.sync.request_hashes(now, rng))
    }
}

impl Asked {
    fn new(now: Millis, rng: &mut dyn Random) -> Self {
        Self { request: random_id(REQUEST_LENGTH, rng), deadline: now + TIMEOUT_MS }
    }
}

impl ChannelsEffects {
    fn add(&mut self, id: &ChannelId, mut told: ClientEffects) {
        self.send.extend(wrap_all(id, std::mem::take(&mut told.send)));
        if told != ClientEffects::default() {
            self.channels.push((id.clone(), told));
        }
    }
}

/// A frame that is too large is closed by the server, as on a connection of its own.
fn wrap_all(id: &ChannelId, frames: Vec<String>) -> Vec<String> {
    frames.iter().map(|frame| format!("M\n{id}\n{frame}")).collect()
}
