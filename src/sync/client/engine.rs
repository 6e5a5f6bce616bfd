//! One store on a connection of its own, or several on the channels of one: the same to whoever holds them.

use mergeable_store::{
    ChannelId, ChannelsEffects, ChannelsError, ClientEffects, ClientId, Close, MergeableStore,
    Millis, MultiplexedClient, Random, Synchronizer, Transaction, Unanswered,
};

/// Which store of a connection: by its channel, or the only one.
pub(super) type StoreKey = Option<ChannelId>;

/// The stores of one connection.
pub(super) enum Engine {
    Single(Box<Synchronizer>),
    Multiplexed(Box<MultiplexedClient>),
}

/// What the engine wants done.
#[derive(Default)]
pub(super) struct Told {
    pub(super) send: Vec<String>,
    /// What happened to each store that anything happened to.
    pub(super) stores: Vec<(StoreKey, ClientEffects)>,
    pub(super) unanswered: Vec<Unanswered>,
}

impl Told {
    fn single(mut effects: ClientEffects) -> Self {
        let send = std::mem::take(&mut effects.send);
        Self { send, stores: vec![(None, effects)], unanswered: Vec::new() }
    }
}

impl From<ChannelsEffects> for Told {
    fn from(effects: ChannelsEffects) -> Self {
        let ChannelsEffects { send, channels, unanswered } = effects;
        let stores = channels.into_iter().map(|(id, effects)| (Some(id), effects)).collect();
        Self { send, stores, unanswered }
    }
}

impl Engine {
    pub(super) fn single(store: MergeableStore) -> Self {
        Self::Single(Box::new(Synchronizer::new(store)))
    }

    pub(super) fn multiplexed(
        stores: Vec<(ChannelId, MergeableStore)>,
        rng: &mut dyn Random,
    ) -> Result<Self, ChannelsError> {
        let mut client = MultiplexedClient::new();
        for (id, store) in stores {
            // Not connected, so that there is nothing to send yet and no time that matters.
            client.add(0, id, Synchronizer::new(store), rng)?;
        }
        Ok(Self::Multiplexed(Box::new(client)))
    }

    pub(super) fn is_multiplexed(&self) -> bool {
        matches!(self, Self::Multiplexed(_))
    }

    pub(super) fn sync(&self, key: &StoreKey) -> Option<&Synchronizer> {
        match (self, key) {
            (Self::Single(sync), None) => Some(sync),
            (Self::Multiplexed(client), Some(id)) => client.channel(id),
            _ => None,
        }
    }

    /// Reads a store; one that has left reads as empty.
    pub(super) fn read<T>(&self, key: &StoreKey, reader: impl FnOnce(&MergeableStore) -> T) -> T {
        match self.sync(key) {
            Some(sync) => reader(sync.store()),
            None => reader(&nowhere()),
        }
    }

    /// Writes to a store; what is written to one that has left goes nowhere.
    pub(super) fn edit<T, E>(
        &mut self,
        now: Millis,
        key: &StoreKey,
        rng: &mut dyn Random,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<(T, Vec<String>), E> {
        match (self, key) {
            (Self::Single(sync), None) => return sync.edit(now, rng, edit),
            (Self::Multiplexed(client), Some(id)) => {
                if let Some(mut channel) = client.on(id) {
                    return channel.edit(now, rng, edit);
                }
            }
            _ => {}
        }
        nowhere().transaction(now, edit).map(|(result, _)| (result, Vec::new()))
    }

    pub(super) fn connected(&mut self, now: Millis, rng: &mut dyn Random) -> Vec<String> {
        match self {
            Self::Single(sync) => sync.connected(now, rng),
            Self::Multiplexed(client) => client.connected(now, rng),
        }
    }

    pub(super) fn disconnected(&mut self) {
        match self {
            Self::Single(sync) => sync.disconnected(),
            Self::Multiplexed(client) => client.disconnected(),
        }
    }

    pub(super) fn receive(
        &mut self,
        now: Millis,
        frame: &str,
        rng: &mut dyn Random,
    ) -> Result<Told, Close> {
        match self {
            Self::Single(sync) => sync.receive(now, frame, rng).map(Told::single),
            Self::Multiplexed(client) => client.receive(now, frame, rng).map(Told::from),
        }
    }

    pub(super) fn tick(&mut self, now: Millis, rng: &mut dyn Random) -> Told {
        match self {
            Self::Single(sync) => Told::single(sync.tick(now, rng)),
            Self::Multiplexed(client) => client.tick(now, rng).into(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Millis> {
        match self {
            Self::Single(sync) => sync.next_deadline(),
            Self::Multiplexed(client) => client.next_deadline(),
        }
    }

    pub(super) fn request_hashes(
        &mut self,
        now: Millis,
        key: &StoreKey,
        rng: &mut dyn Random,
    ) -> Vec<String> {
        match (self, key) {
            (Self::Single(sync), None) => sync.request_hashes(now, rng),
            (Self::Multiplexed(client), Some(id)) => client
                .on(id)
                .map(|mut channel| channel.request_hashes(now, rng))
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Leaves a store's channel; the frames that say so. The only store of a connection goes with it.
    pub(super) fn leave(&mut self, key: &StoreKey) -> Vec<String> {
        match (self, key) {
            (Self::Multiplexed(client), Some(id)) => {
                client.remove(id).map(|(_, frames)| frames).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }
}

/// A store that nobody else sees.
fn nowhere() -> MergeableStore {
    MergeableStore::new(ClientId::from_unique_id(""))
}
