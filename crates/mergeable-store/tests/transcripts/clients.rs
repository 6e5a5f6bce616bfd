//! This crate's own clients, of both modes, at its own server in peer topology.

use std::collections::HashMap;

use mergeable_store::{
    ChannelId, ChannelsEffects, ChannelsError, Close, ContentHashes, Limits, MAX_CHANNELS,
    MultiplexedClient, Synchronizer, Unanswered,
};

use crate::server::{Server, Setup};
use crate::support::net::NOW;
use crate::support::{Rng, store};

enum Client {
    Single(Box<Synchronizer>),
    Multiplexed(MultiplexedClient),
}

struct World {
    server: Server,
    rng: Rng,
    /// By name; and how many frames of its latest socket it has read.
    clients: Vec<(String, Client, usize)>,
    connections: usize,
}

fn channel(name: &str) -> ChannelId {
    ChannelId::new(name).unwrap()
}

impl World {
    fn new(persisted: bool) -> Self {
        let limits = Limits { fragment_bytes: Some(64), ..Limits::default() };
        let server = Server::new(Setup { persisted, saved: HashMap::new(), limits });
        Self { server, rng: Rng(7), clients: Vec::new(), connections: 0 }
    }

    fn single(&mut self, name: &str) {
        let client =
            Client::Single(Box::new(Synchronizer::new(store(name)).with_fragment_bytes(50)));
        self.clients.push((name.to_owned(), client, 0));
    }

    fn multiplexed(&mut self, name: &str, channels: &[&str]) {
        let mut client = MultiplexedClient::new();
        for id in channels {
            let sync = Synchronizer::new(store(&format!("{name} {id}"))).with_fragment_bytes(50);
            assert_eq!(client.add(NOW, channel(id), sync, &mut self.rng), Ok(Vec::new()));
        }
        self.clients.push((name.to_owned(), Client::Multiplexed(client), 0));
    }

    fn connect(&mut self, name: &str, target: &str) {
        self.connections += 1;
        let id = format!("{name}/{}", self.connections);
        let (_, client, seen) = self.clients.iter_mut().find(|(known, ..)| known == name).unwrap();
        *seen = 0;
        let (protocol, frames) = match client {
            Client::Single(sync) => ("", sync.connected(NOW, &mut self.rng)),
            Client::Multiplexed(client) => ("tinybase", client.connected(NOW, &mut self.rng)),
        };
        self.server.open(name, target, protocol, &id);
        frames.iter().for_each(|frame| self.server.frame(name, frame));
        self.settle();
        self.pass_time();
    }

    /// Whoever has asked in vain, because nobody else was there, goes on.
    fn pass_time(&mut self) {
        let paths: Vec<String> = self.server.paths.keys().cloned().collect();
        paths.iter().for_each(|path| self.server.tick(path));
        for (name, client, _) in &mut self.clients {
            let frames = match client {
                Client::Single(sync) => sync.tick(NOW + 1000, &mut self.rng).send,
                Client::Multiplexed(client) => client.tick(NOW + 1000, &mut self.rng).send,
            };
            frames.iter().for_each(|frame| self.server.frame(name, frame));
        }
        self.settle();
    }

    fn cut(&mut self, name: &str) {
        self.server.close(name);
        match &mut self.client(name) {
            Client::Single(sync) => sync.disconnected(),
            Client::Multiplexed(client) => client.disconnected(),
        }
    }

    fn client(&mut self, name: &str) -> &mut Client {
        &mut self.clients.iter_mut().find(|(known, ..)| known == name).unwrap().1
    }

    fn edit(&mut self, name: &str, on: &str, row: &str, value: f64) {
        let mut rng = Rng(self.rng.next());
        let edit = |tx: &mut mergeable_store::Transaction<'_>| tx.set_cell("t", row, "c", value);
        let frames = match self.client(name) {
            Client::Single(sync) => sync.edit(NOW, &mut rng, edit).unwrap().1,
            Client::Multiplexed(client) => {
                client.on(&channel(on)).unwrap().edit(NOW, &mut rng, edit).unwrap().1
            }
        };
        frames.iter().for_each(|frame| self.server.frame(name, frame));
    }

    /// Carries frames until nobody has anything to say.
    fn settle(&mut self) {
        for turn in 0.. {
            assert!(turn < 10_000, "the talk does not end");
            let mut quiet = true;
            for (name, client, seen) in &mut self.clients {
                if !self.server.sockets.iter().any(|(known, _)| known == name) {
                    continue;
                }
                let new = self.server.socket(name).sent[*seen..].to_vec();
                *seen += new.len();
                quiet &= new.is_empty();
                for frame in new {
                    let replies = match client {
                        Client::Single(sync) => {
                            sync.receive(NOW, &frame, &mut self.rng).unwrap().send
                        }
                        Client::Multiplexed(client) => {
                            client.receive(NOW, &frame, &mut self.rng).unwrap().send
                        }
                    };
                    replies.iter().for_each(|frame| self.server.frame(name, frame));
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn hashes(&mut self, name: &str, on: &str) -> ContentHashes {
        match self.client(name) {
            Client::Single(sync) => sync.store().hashes(),
            Client::Multiplexed(client) => client.channel(&channel(on)).unwrap().store().hashes(),
        }
    }

    fn assert_equal(&mut self, ends: &[(&str, &str)]) {
        let (name, on) = ends[0];
        let first = self.hashes(name, on);
        assert_ne!(first, ContentHashes { tables: 0, values: 0 });
        for (name, on) in ends {
            assert_eq!(self.hashes(name, on), first, "{name} on {on}");
        }
    }
}

#[test]
fn clients_of_both_modes_meet_on_equal_paths_and_after_each_return() {
    for persisted in [false, true] {
        let mut world = World::new(persisted);
        world.multiplexed("a", &["x", "y/z"]);
        world.multiplexed("b", &["base/x"]);
        world.single("l");
        let ends = [("a", "x"), ("b", "base/x"), ("l", "")];
        for (name, on) in ends {
            world.edit(name, on, &format!("offline of {name}"), 1.0);
        }
        world.edit("a", "y/z", "elsewhere", 1.0);
        world.connect("a", "/base");
        world.connect("b", "/");
        world.connect("l", "/base/x");
        world.assert_equal(&ends);
        assert_ne!(world.hashes("a", "y/z"), world.hashes("a", "x"));
        for round in 0..30 {
            let (name, on) = ends[world.rng.below(3)];
            world.cut(name);
            for edit in 0..3 {
                let (other, on) = ends[world.rng.below(3)];
                world.edit(
                    other,
                    on,
                    &format!("r{}", world.rng.0 % 7),
                    f64::from(round * 3 + edit),
                );
            }
            world.edit(name, on, "own", f64::from(round));
            world.settle();
            world.connect(
                name,
                ["/base", "/", "/base/x"][ends.iter().position(|(n, _)| *n == name).unwrap()],
            );
            world.assert_equal(&ends);
        }
        if persisted {
            let server = world.server.paths["base/x"].store().unwrap().hashes();
            assert_eq!(server, world.hashes("a", "x"));
        }
    }
}

#[test]
fn a_channel_is_added_and_left_while_others_go_on() {
    let mut world = World::new(false);
    world.multiplexed("a", &["x"]);
    world.multiplexed("b", &["x", "y"]);
    world.connect("a", "/");
    world.connect("b", "/");
    let Client::Multiplexed(a) = world.client("a") else { panic!() };
    let again = a.add(NOW, channel("x"), Synchronizer::new(store("2")), &mut Rng(1));
    assert_eq!(again, Err(ChannelsError::Duplicate));
    let subscribe = a.add(NOW, channel("y"), Synchronizer::new(store("a y")), &mut Rng(1)).unwrap();
    subscribe.iter().for_each(|frame| world.server.frame("a", frame));
    world.settle();
    world.edit("b", "y", "r", 1.0);
    world.settle();
    world.assert_equal(&[("a", "y"), ("b", "y")]);

    // A frame that is on its way while the channel is left is passed over; one for no channel at all is not.
    world.edit("b", "y", "r", 2.0);
    let Client::Multiplexed(a) = world.client("a") else { panic!() };
    let (left, unsubscribe) = a.remove(&channel("y")).unwrap();
    assert_eq!(unsubscribe, ["S\n[null,-1,[2,\"y\"]]"]);
    assert!(a.remove(&channel("y")).is_none());
    unsubscribe.iter().for_each(|frame| world.server.frame("a", frame));
    world.settle();
    assert_ne!(left.store().hashes(), world.hashes("b", "y"));
    world.edit("b", "x", "r", 3.0);
    world.settle();
    world.assert_equal(&[("a", "x"), ("b", "x")]);
    let Client::Multiplexed(a) = world.client("a") else { panic!() };
    for frame in ["M\nnone\nS\n[null,1,\"\"]", "S\n[null,1,\"\"]", "", "M\nx"] {
        assert_eq!(a.clone().receive(NOW, frame, &mut Rng(1)), Err(Close::INVALID), "{frame}");
    }
}

#[test]
fn what_the_server_does_not_confirm_in_time_is_told_once() {
    let mut rng = Rng(1);
    let mut client = MultiplexedClient::new();
    for id in 0..MAX_CHANNELS {
        let sync = Synchronizer::new(store("s"));
        assert!(client.add(NOW, channel(&format!("c{id}")), sync, &mut rng).is_ok());
    }
    let more = client.add(NOW, channel("more"), Synchronizer::new(store("s")), &mut rng);
    assert_eq!(more, Err(ChannelsError::TooMany));
    for id in 1..MAX_CHANNELS {
        client.remove(&channel(&format!("c{id}")));
    }
    let hello = client.connected(NOW, &mut rng);
    assert_eq!(client.next_deadline(), Some(NOW + 1000));
    let told = client.clone().tick(NOW + 1000, &mut rng);
    assert_eq!(told, ChannelsEffects { unanswered: vec![Unanswered::Hello], ..Default::default() });

    let subscribe = client.receive(NOW, &hello[0], &mut rng).unwrap().send;
    assert_eq!(subscribe.len(), 1);
    let unanswered = vec![Unanswered::Subscribe(channel("c0"))];
    assert_eq!(client.tick(NOW + 1000, &mut rng).unanswered, unanswered);
    assert_eq!(client.tick(NOW + 2000, &mut rng), ChannelsEffects::default());
    assert_eq!(client.next_deadline(), None);
    // Too late: it counts as not confirmed until the next connection.
    assert_eq!(client.receive(NOW, &subscribe[0], &mut rng).unwrap(), ChannelsEffects::default());
}
