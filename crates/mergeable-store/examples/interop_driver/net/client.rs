//! Native clients: this crate's own synchronizers, each at the end of two queues.

use std::collections::VecDeque;

use mergeable_store::{ChannelId, Json, Millis, MultiplexedClient, Synchronizer};

use super::{Rng, Turn};
use crate::command::{DriverError, Fields, text};
use crate::edit::{Stop, carry_out, new_store};
use crate::store::state_of;

enum Kind {
    Single(Box<Synchronizer>),
    Multiplexed(MultiplexedClient),
}

pub(crate) struct Native {
    kind: Kind,
    /// The URL path.
    pub(crate) path: String,
    skew_ms: i64,
    connections: usize,
    /// Of the connection that there is.
    pub(crate) key: Option<String>,
    pub(crate) up: VecDeque<String>,
    pub(crate) down: VecDeque<String>,
}

impl Native {
    /// `{uniqueId, skewMs, fragmentBytes, path, channels}`; without channels it has a single store.
    pub(crate) fn open(setup: &Json) -> Result<Self, DriverError> {
        let fragment_bytes = Some(setup.index("fragmentBytes")?).filter(|bytes| *bytes > 0);
        let unique_id = setup.field("uniqueId")?.text("uniqueId")?;
        let synchronizer = || {
            let sync = Synchronizer::new(new_store(unique_id));
            match fragment_bytes {
                Some(bytes) => sync.with_fragment_bytes(bytes),
                None => sync,
            }
        };
        let channels = setup.field("channels")?.items("channels")?;
        let kind = if channels.is_empty() {
            Kind::Single(Box::new(synchronizer()))
        } else {
            let mut client = MultiplexedClient::new();
            for channel in channels {
                let added = client.add(0, channel_id(channel)?, synchronizer(), &mut Rng(0));
                added.map_err(|error| DriverError::Unknown(error.to_string()))?;
            }
            Kind::Multiplexed(client)
        };
        Ok(Self {
            kind,
            path: setup.field("path")?.text("path")?.to_string(),
            skew_ms: setup.field("skewMs")?.number("skewMs")? as i64,
            connections: 0,
            key: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
        })
    }

    pub(crate) fn multiplexed(&self) -> bool {
        matches!(self.kind, Kind::Multiplexed(_))
    }

    /// A key that no connection has had yet.
    pub(crate) fn next_key(&mut self, number: usize) -> String {
        self.connections += 1;
        format!("native{number}/{}==", self.connections)
    }

    pub(crate) fn connect(&mut self, turn: &mut Turn<'_>, key: String) {
        self.cut();
        self.key = Some(key);
        let now = self.now(turn);
        let frames = match &mut self.kind {
            Kind::Single(sync) => sync.connected(now, turn.rng),
            Kind::Multiplexed(client) => client.connected(now, turn.rng),
        };
        self.up.extend(frames);
    }

    pub(crate) fn cut(&mut self) {
        self.key = None;
        self.up.clear();
        self.down.clear();
        match &mut self.kind {
            Kind::Single(sync) => sync.disconnected(),
            Kind::Multiplexed(client) => client.disconnected(),
        }
    }

    pub(crate) fn edit(
        &mut self,
        turn: &mut Turn<'_>,
        channel: &str,
        ops: &[Json],
        roll_back: bool,
    ) -> Result<(), DriverError> {
        let now = self.now(turn);
        let written = match &mut self.kind {
            Kind::Single(sync) => {
                Some(sync.edit(now, turn.rng, |tx| carry_out(tx, ops, roll_back)))
            }
            Kind::Multiplexed(client) => {
                let id = channel_id(&text(channel))?;
                let channel = client.on(&id);
                channel.map(|mut on| on.edit(now, turn.rng, |tx| carry_out(tx, ops, roll_back)))
            }
        };
        match written.ok_or(DriverError::Field("channel"))? {
            Ok(((), frames)) => self.up.extend(frames),
            Err(Stop::Driver(error)) => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    /// Frames that now arrive at the server.
    pub(crate) fn take_up(&mut self, frames: usize) -> Vec<String> {
        self.up.drain(..frames.min(self.up.len())).collect()
    }

    /// So many frames now arrive here.
    pub(crate) fn take_down(
        &mut self,
        turn: &mut Turn<'_>,
        frames: usize,
    ) -> Result<(), DriverError> {
        let now = self.now(turn);
        for frame in self.down.drain(..frames.min(self.down.len())).collect::<Vec<_>>() {
            let sent = match &mut self.kind {
                Kind::Single(sync) => {
                    sync.receive(now, &frame, turn.rng).map(|effects| effects.send)
                }
                Kind::Multiplexed(client) => {
                    client.receive(now, &frame, turn.rng).map(|effects| effects.send)
                }
            };
            let sent = sent.map_err(|close| {
                DriverError::Contradiction(format!("a native client says {close} to {frame}"))
            })?;
            self.up.extend(sent);
        }
        Ok(())
    }

    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) {
        let now = self.now(turn);
        let frames = match &mut self.kind {
            Kind::Single(sync) => sync.tick(now, turn.rng).send,
            Kind::Multiplexed(client) => client.tick(now, turn.rng).send,
        };
        if self.key.is_some() {
            self.up.extend(frames);
        }
    }

    /// When [`Native::tick`] has something to do, in true time.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let deadline = match &self.kind {
            Kind::Single(sync) => sync.next_deadline(),
            Kind::Multiplexed(client) => client.next_deadline(),
        };
        deadline.map(|at| at.saturating_add_signed(-self.skew_ms))
    }

    /// Channel to what its store holds; the single store's channel is empty.
    pub(crate) fn state(&self) -> Json {
        Json::Object(match &self.kind {
            Kind::Single(sync) => [("".into(), state_of(sync.store()))].into(),
            Kind::Multiplexed(client) => {
                let channels = client.channels();
                channels
                    .map(|(id, sync)| (id.to_string().as_str().into(), state_of(sync.store())))
                    .collect()
            }
        })
    }

    fn now(&self, turn: &Turn<'_>) -> Millis {
        turn.now.saturating_add_signed(self.skew_ms)
    }
}

fn channel_id(channel: &Json) -> Result<ChannelId, DriverError> {
    let channel = channel.text("channel")?.to_string();
    ChannelId::new(&channel).map_err(|error| DriverError::Unknown(format!("{channel}: {error}")))
}
