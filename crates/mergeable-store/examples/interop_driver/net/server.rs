//! The server's end: its paths, each a star or a relay, and its sockets.

use std::collections::BTreeMap;

use mergeable_store::{
    ChannelEvent, ChannelId, Channels, Close, ConnectionId, Edit, Effects, Json, Limits, Millis,
    Policy, Recipients, Relay, Ruling, Star,
};

use super::{Delivery, Turn};
use crate::command::{DriverError, Fields};
use crate::edit::{Stop, carry_out, new_store};
use crate::store::state_of;

struct AllowAll;

impl Policy for AllowAll {
    fn judge(&mut self, _: &Edit<'_>) -> Ruling {
        Ruling::Accept
    }
}

enum Path {
    Star(Box<Star>),
    Relay(Relay),
}

#[derive(Clone, Copy)]
enum Topology {
    Star,
    /// Every client is every other's peer; whether the server has a store too.
    Peer {
        stored: bool,
    },
}

/// A socket: its paths, and by which channel it has each; a single-store socket has one, without a channel.
struct Socket {
    paths: BTreeMap<String, Option<ChannelId>>,
    channels: Option<Channels>,
}

pub(crate) struct Server {
    topology: Topology,
    limits: Limits,
    skew_ms: i64,
    paths: BTreeMap<String, Path>,
    sockets: BTreeMap<String, Socket>,
    pub(crate) deliveries: Vec<Delivery>,
}

impl Server {
    pub(crate) fn open(setup: &Json) -> Result<Self, DriverError> {
        let topology = match &*setup.field("topology")?.text("topology")?.to_string_lossy() {
            "star" => Topology::Star,
            "peer" => Topology::Peer { stored: setup.is_set("stored") },
            other => return Err(DriverError::Unknown(other.to_owned())),
        };
        let fragment_bytes = Some(setup.index("fragmentBytes")?).filter(|bytes| *bytes > 0);
        Ok(Self {
            topology,
            limits: Limits { fragment_bytes, ..Limits::default() },
            skew_ms: setup.field("skewMs")?.number("skewMs")? as i64,
            paths: BTreeMap::new(),
            sockets: BTreeMap::new(),
            deliveries: Vec::new(),
        })
    }

    pub(crate) fn connect(&mut self, turn: &mut Turn<'_>, key: &str, path: &str, channels: bool) {
        let channels = channels.then(|| Channels::new(path, self.limits.fragment_timeout_ms));
        let single = channels.is_none();
        let socket = Socket { paths: BTreeMap::new(), channels };
        self.sockets.insert(key.to_owned(), socket);
        if single {
            self.join(turn, key, path.to_owned(), None);
        }
    }

    pub(crate) fn disconnect(&mut self, key: &str) {
        if let Some(socket) = self.sockets.remove(key) {
            for path in socket.paths.keys() {
                self.leave(key, path);
            }
        }
    }

    pub(crate) fn receive(&mut self, turn: &mut Turn<'_>, key: &str, frame: &str) {
        let now = self.now(turn);
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let Some(channels) = &mut socket.channels else {
            if let Some(path) = socket.paths.keys().next().cloned() {
                self.take(turn, key, &path, frame);
            }
            return;
        };
        match channels.receive(now, frame) {
            Ok(None) => {}
            Ok(Some(ChannelEvent::Reply(reply))) => self.send(key, reply),
            Ok(Some(ChannelEvent::Subscribe { channel, path, reply })) => {
                self.send(key, reply);
                self.join(turn, key, path, Some(channel));
            }
            Ok(Some(ChannelEvent::Unsubscribe(channel))) => {
                channels.taken_down();
                if let Some(path) = socket.path_of(&channel) {
                    socket.paths.remove(&path);
                    self.leave(key, &path);
                }
            }
            Ok(Some(ChannelEvent::Data { channel, payload })) => {
                if let Some(path) = socket.path_of(&channel) {
                    self.take(turn, key, &path, payload);
                }
            }
            Err(close) => self.close(key, close),
        }
    }

    /// The server itself writes, if it has a store.
    pub(crate) fn write(
        &mut self,
        turn: &mut Turn<'_>,
        path: &str,
        ops: &[Json],
    ) -> Result<(), DriverError> {
        let now = self.now(turn);
        self.ensure(path);
        let written = match self.paths.get_mut(path) {
            Some(Path::Star(star)) => {
                star.write(now, turn.rng, |tx| carry_out(tx, ops, false)).map(Some)
            }
            Some(Path::Relay(relay)) => relay.write(now, turn.rng, |tx| carry_out(tx, ops, false)),
            None => Ok(None),
        };
        match written {
            Ok(Some(((), effects))) => self.carry_out(path, effects),
            Err(Stop::Driver(error)) => return Err(error),
            Ok(None) | Err(_) => {}
        }
        Ok(())
    }

    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) {
        let now = self.now(turn);
        let names: Vec<String> = self.paths.keys().cloned().collect();
        for name in names {
            let effects = match self.paths.get_mut(&name) {
                Some(Path::Star(star)) => star.tick(now, turn.rng),
                Some(Path::Relay(relay)) => relay.tick(now, turn.rng),
                None => continue,
            };
            self.carry_out(&name, effects);
        }
    }

    /// When [`Server::tick`] has something to do, in true time.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let deadlines = self.paths.values().filter_map(|path| match path {
            Path::Star(star) => star.next_deadline(),
            Path::Relay(relay) => relay.next_deadline(),
        });
        deadlines.min().map(|at| at.saturating_add_signed(-self.skew_ms))
    }

    /// Path to what its store holds.
    pub(crate) fn state(&self) -> Json {
        let paths = self.paths.iter().filter_map(|(name, path)| {
            let store = match path {
                Path::Star(star) => Some(star.store()),
                Path::Relay(relay) => relay.store(),
            };
            Some((name.as_str().into(), state_of(store?)))
        });
        Json::Object(paths.collect())
    }

    fn now(&self, turn: &Turn<'_>) -> Millis {
        turn.now.saturating_add_signed(self.skew_ms)
    }

    fn ensure(&mut self, path: &str) {
        let (topology, limits) = (self.topology, &self.limits);
        let store = || new_store(&"server".into());
        self.paths.entry(path.to_owned()).or_insert_with(|| match topology {
            Topology::Star => Path::Star(Box::new(Star::new(store(), limits.clone()))),
            Topology::Peer { stored: true } => Path::Relay(Relay::with_store(store(), limits)),
            Topology::Peer { stored: false } => Path::Relay(Relay::new(limits)),
        });
    }

    fn join(&mut self, turn: &mut Turn<'_>, key: &str, path: String, channel: Option<ChannelId>) {
        let now = self.now(turn);
        self.ensure(&path);
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.paths.insert(path.clone(), channel);
        }
        let id = ConnectionId::from(key);
        let effects = match self.paths.get_mut(&path) {
            Some(Path::Star(star)) => star.connect(now, id, turn.rng),
            Some(Path::Relay(relay)) => relay.connect(now, id, turn.rng),
            None => return,
        };
        self.carry_out(&path, effects);
    }

    fn leave(&mut self, key: &str, path: &str) {
        let id = ConnectionId::from(key);
        match self.paths.get_mut(path) {
            Some(Path::Star(star)) => star.disconnect(&id),
            Some(Path::Relay(relay)) => relay.disconnect(&id),
            None => {}
        }
    }

    fn take(&mut self, turn: &mut Turn<'_>, key: &str, path: &str, frame: &str) {
        let (now, id) = (self.now(turn), ConnectionId::from(key));
        let taken = match self.paths.get_mut(path) {
            Some(Path::Star(star)) => star.receive(now, &id, frame, &mut AllowAll, turn.rng),
            Some(Path::Relay(relay)) => relay.receive(now, &id, frame, turn.rng),
            None => return,
        };
        match taken {
            Ok(effects) => self.carry_out(path, effects),
            Err(close) => self.close(key, close),
        }
    }

    fn recipients(&self, path: &str, to: &Recipients) -> Vec<ConnectionId> {
        let connected: Vec<ConnectionId> = match self.paths.get(path) {
            Some(Path::Star(star)) => star.connections().cloned().collect(),
            Some(Path::Relay(relay)) => relay.connections().cloned().collect(),
            None => Vec::new(),
        };
        connected.into_iter().filter(|id| to.contains(id)).collect()
    }

    fn carry_out(&mut self, path: &str, effects: Effects) {
        for outgoing in &effects.send {
            for id in &self.recipients(path, &outgoing.to) {
                let channel = match self.sockets.get(id.as_str()) {
                    Some(socket) => socket.paths.get(path),
                    None => continue,
                };
                let frame = match channel {
                    Some(Some(channel)) => Channels::wrap(channel, &outgoing.frame),
                    Some(None) => Ok(outgoing.frame.to_string()),
                    None => continue,
                };
                match frame {
                    Ok(frame) => self.send(id.as_str(), frame),
                    Err(close) => self.close(id.as_str(), close),
                }
            }
        }
        for (id, close) in effects.close {
            self.close(id.as_str(), close);
        }
    }

    fn send(&mut self, key: &str, frame: String) {
        self.deliveries.push(Delivery::Frame(key.to_owned(), frame));
    }

    fn close(&mut self, key: &str, close: Close) {
        self.disconnect(key);
        let reason = close.reason.into_owned();
        self.deliveries.push(Delivery::Closed(key.to_owned(), close.code, reason));
    }
}

impl Socket {
    fn path_of(&self, channel: &ChannelId) -> Option<String> {
        let mut paths = self.paths.iter();
        paths.find(|(_, known)| known.as_ref() == Some(channel)).map(|(path, _)| path.clone())
    }
}
