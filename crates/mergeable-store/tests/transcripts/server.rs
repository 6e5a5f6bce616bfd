//! A server in peer topology, made of relays and channels, with sockets that only remember what they were sent.

use std::collections::{BTreeMap, HashMap};

use mergeable_store::{
    ChannelEvent, ChannelId, Channels, Close, ConnectionId, Effects, Limits, MergeableStore, Relay,
};

use crate::support::net::NOW;
use crate::support::{Rng, store};

/// How the server is made.
pub(crate) struct Setup {
    /// Whether it has stores of its own.
    pub(crate) persisted: bool,
    /// What they hold when their path is opened.
    pub(crate) saved: HashMap<String, String>,
    pub(crate) limits: Limits,
}

/// A socket, open or not.
pub(crate) struct Socket {
    pub(crate) id: ConnectionId,
    /// What it was sent, as on the wire.
    pub(crate) sent: Vec<String>,
    pub(crate) closed: Option<Close>,
    /// Its paths, and by which channel it has each; a single-store socket has one, without a channel.
    paths: BTreeMap<String, Option<ChannelId>>,
    channels: Option<Channels>,
}

pub(crate) struct Server {
    setup: Setup,
    rng: Rng,
    pub(crate) paths: BTreeMap<String, Relay>,
    /// In the order in which they were opened.
    pub(crate) sockets: Vec<(String, Socket)>,
    /// What stores held when their path was dropped.
    pub(crate) dropped: BTreeMap<String, String>,
}

impl Server {
    pub(crate) fn new(setup: Setup) -> Self {
        let (paths, sockets, dropped) = Default::default();
        Self { setup, rng: Rng(1), paths, sockets, dropped }
    }

    pub(crate) fn open(&mut self, name: &str, target: &str, protocol: &str, id: &str) {
        let path = target.trim_start_matches('/').split('?').next().unwrap();
        let multiplexed = protocol == "tinybase";
        let socket = Socket {
            id: id.into(),
            sent: Vec::new(),
            closed: None,
            paths: BTreeMap::new(),
            channels: multiplexed.then(|| Channels::new(path, 1000)),
        };
        self.sockets.push((name.to_owned(), socket));
        if !multiplexed {
            self.join(name, path.to_owned(), None);
        }
    }

    pub(crate) fn socket(&mut self, name: &str) -> &mut Socket {
        let found = self.sockets.iter_mut().rfind(|(known, _)| known == name);
        &mut found.unwrap_or_else(|| panic!("no socket {name}")).1
    }

    /// The client has closed the socket, or the server has.
    pub(crate) fn close(&mut self, name: &str) {
        for path in std::mem::take(&mut self.socket(name).paths).into_keys() {
            self.leave(name, &path);
        }
    }

    pub(crate) fn frame(&mut self, name: &str, frame: &str) {
        let socket = self.socket(name);
        if socket.closed.is_some() {
            return;
        }
        let Some(channels) = &mut socket.channels else {
            let path = socket.paths.keys().next().unwrap().clone();
            return self.deliver(name, &path, frame);
        };
        match channels.receive(NOW, frame) {
            Ok(None) => {}
            Ok(Some(ChannelEvent::Reply(reply))) => socket.sent.push(reply),
            Ok(Some(ChannelEvent::Subscribe { channel, path, reply })) => {
                socket.sent.push(reply);
                self.join(name, path, Some(channel));
            }
            Ok(Some(ChannelEvent::Unsubscribe(channel))) => {
                let path = socket.path_of(&channel);
                socket.paths.remove(&path);
                self.leave(name, &path);
                if let Some(channels) = &mut self.socket(name).channels {
                    channels.taken_down();
                }
            }
            Ok(Some(ChannelEvent::Data { channel, payload })) => {
                let path = socket.path_of(&channel);
                self.deliver(name, &path, payload);
            }
            Err(close) => self.end(name, close),
        }
    }

    /// Lets a second pass on a path, in which nobody answers its server.
    pub(crate) fn tick(&mut self, path: &str) {
        if let Some(relay) = self.paths.get_mut(path) {
            let effects = relay.tick(NOW + 1000, &mut self.rng);
            self.carry_out(path, effects);
        }
    }

    fn join(&mut self, name: &str, path: String, channel: Option<ChannelId>) {
        let setup = &self.setup;
        let relay = self.paths.entry(path.clone()).or_insert_with(|| {
            if !setup.persisted {
                return Relay::new(&setup.limits);
            }
            Relay::with_store(load(setup.saved.get(&path)), &setup.limits)
        });
        let found = self.sockets.iter_mut().rfind(|(known, _)| known == name);
        let socket = &mut found.unwrap().1;
        socket.paths.insert(path.clone(), channel);
        let effects = relay.connect(NOW, socket.id.clone(), &mut self.rng);
        self.carry_out(&path, effects);
    }

    fn leave(&mut self, name: &str, path: &str) {
        let id = self.socket(name).id.clone();
        let relay = self.paths.get_mut(path).unwrap();
        relay.disconnect(&id);
        if relay.connections().len() == 0 {
            let content = relay.store().map(MergeableStore::content);
            self.dropped.extend(content.map(|content| (path.to_owned(), content)));
            self.paths.remove(path);
        }
    }

    fn deliver(&mut self, name: &str, path: &str, frame: &str) {
        let id = self.socket(name).id.clone();
        let relay = self.paths.get_mut(path).unwrap();
        match relay.receive(NOW, &id, frame, &mut self.rng) {
            Ok(effects) => self.carry_out(path, effects),
            Err(close) => self.end(name, close),
        }
    }

    fn carry_out(&mut self, path: &str, effects: Effects) {
        for outgoing in &effects.send {
            for (_, socket) in &mut self.sockets {
                let Some(channel) = socket.paths.get(path) else { continue };
                if outgoing.to.contains(&socket.id) {
                    let frame = &outgoing.frame;
                    socket.sent.push(match channel {
                        Some(channel) => Channels::wrap(channel, frame).unwrap(),
                        None => frame.to_string(),
                    });
                }
            }
        }
        assert_eq!(effects.close, []);
    }

    fn end(&mut self, name: &str, close: Close) {
        self.socket(name).closed = Some(close);
        self.close(name);
    }
}

impl Socket {
    fn path_of(&self, channel: &ChannelId) -> String {
        let found = self.paths.iter().find(|(_, known)| known.as_ref() == Some(channel));
        found.unwrap().0.clone()
    }
}

pub(crate) fn load(saved: Option<&String>) -> MergeableStore {
    let mut store = store("server");
    if let Some(saved) = saved {
        store.load(NOW, saved).unwrap();
    }
    store
}
