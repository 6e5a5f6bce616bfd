//! All recorded talks, in peer topology: what is relayed comes out as it did from TinyBase's server, frame by frame, and the
//! server's own store says and keeps the same.

use std::collections::HashMap;

use mergeable_store::{Json, Limits};

use crate::reader::{
    CONTENT_HASHES, GET_CONTENT_HASHES, RESPONSE, Reader, Told, is_control, unwrapped,
};
use crate::server::{Server, Setup};
use crate::support::{Known, vectors};

/// What the server's own store says to somebody: on which channel, and the message.
type Said = (Option<String>, Told);

struct Player {
    server: Server,
    multiplexed: HashMap<String, String>,
    /// By socket, direction and channel.
    readers: HashMap<String, Reader>,
    /// By socket: what TinyBase's store said to it, in order.
    recorded: HashMap<String, Vec<Said>>,
    /// By socket: what this one said, in order; and how many of its frames are read already.
    own: HashMap<String, Vec<Said>>,
    seen: HashMap<String, usize>,
    /// By socket and channel: fragments of an answer to the server's store, until it is whole.
    held: HashMap<String, Vec<String>>,
}

impl Player {
    fn new(scenario: &Json) -> Self {
        let server = scenario.at("server");
        let saved = server.find("saved").map(|saved| {
            let entries = saved.entries().into_iter();
            entries.map(|(path, content)| (path.to_string(), content.str().to_owned())).collect()
        });
        let fragment_bytes = server.find("fragmentSize").map(|size| size.uint() as usize);
        let setup = Setup {
            persisted: *server.at("persisted") == Json::Bool(true),
            saved: saved.unwrap_or_default(),
            limits: Limits { fragment_bytes, ..Limits::default() },
        };
        Self {
            server: Server::new(setup),
            multiplexed: HashMap::new(),
            readers: HashMap::new(),
            recorded: HashMap::new(),
            own: HashMap::new(),
            seen: HashMap::new(),
            held: HashMap::new(),
        }
    }

    fn play(&mut self, event: &Json) {
        let socket = event.find("socket").map(Known::str).unwrap_or_default();
        match event.at("ev").str() {
            "open" => {
                let (target, id) = (event.at("path").str(), event.at("clientId").str());
                let base = target.trim_start_matches('/').split('?').next().unwrap();
                self.multiplexed.insert(socket.to_owned(), base.to_owned());
                self.server.open(socket, target, event.at("protocol").str(), id);
            }
            "close" => self.server.close(socket),
            "frame" if event.at("dir").str() == "s2c" => self.down(socket, event.at("data").str()),
            "frame" => self.up(socket, event.at("data").str()),
            "note" => {}
            other => panic!("unknown event {other}"),
        }
        self.listen();
    }

    /// TinyBase's server has spoken.
    fn down(&mut self, socket: &str, frame: &str) {
        let (channel, inner) = unwrapped(frame);
        if is_control(frame) || !inner.starts_with("S\n") {
            return;
        }
        let reader = format!("{socket} down {channel:?}");
        let Some(told) = self.readers.entry(reader).or_default().read(inner) else {
            return;
        };
        let said = self.recorded.entry(socket.to_owned()).or_default();
        let channel = channel.map(str::to_owned);
        let first = !said.iter().any(|(on, told)| *on == channel && told.number == CONTENT_HASHES);
        let announced = told.number == CONTENT_HASHES;
        said.push((channel.clone(), told));
        // It announces its hashes once its own first question has timed out.
        if first && announced {
            let base = &self.multiplexed[socket];
            let path = match (&channel, base.as_str()) {
                (None, base) => base.to_owned(),
                (Some(channel), "") => channel.clone(),
                (Some(channel), base) => format!("{base}/{channel}"),
            };
            self.server.tick(&path);
        }
    }

    /// A client speaks. Its answers to TinyBase's store go to this one's request of the same content, under that one's id.
    fn up(&mut self, socket: &str, frame: &str) {
        let (channel, inner) = unwrapped(frame);
        if is_control(frame) || !inner.starts_with("S\n") {
            return self.server.frame(socket, frame);
        }
        let key = format!("{socket} up {channel:?}");
        self.held.entry(key.clone()).or_default().push(frame.to_owned());
        let Some(told) = self.readers.entry(key.clone()).or_default().read(inner) else {
            return;
        };
        let frames = self.held.remove(&key).unwrap();
        if told.number != RESPONSE {
            frames.iter().for_each(|frame| self.server.frame(socket, frame));
            return;
        }
        let channel = channel.map(str::to_owned);
        let asked = |said: &(Option<String>, Told), id: &str| {
            said.0 == channel && said.1.number != RESPONSE && said.1.id == id
        };
        let recorded = self.recorded.get(socket).into_iter().flatten();
        let Some((_, asked)) = recorded.into_iter().find(|said| asked(said, &told.id)) else {
            return;
        };
        // TinyBase's server had kept the answer to its first question waiting until it was too late, and pulled later, in
        // response to the client's hashes; this one would pull at once and need answers that nobody recorded.
        if asked.number == GET_CONTENT_HASHES {
            return;
        }
        let same = |said: &&Said| {
            said.0 == channel && said.1.number == asked.number && said.1.body == asked.body
        };
        let own: Vec<&Said> = self.own.get(socket).into_iter().flatten().filter(same).collect();
        // The latest: an earlier one of the same content has been answered, or given up.
        let Some((_, own)) = own.last() else { return };
        for frame in frames {
            self.server.frame(socket, &frame.replace(&told.id, &own.id));
        }
    }

    /// Reads what the server's store has said since.
    fn listen(&mut self) {
        for (name, socket) in &self.server.sockets {
            let seen = self.seen.entry(name.clone()).or_default();
            for frame in &socket.sent[*seen..] {
                let (channel, inner) = unwrapped(frame);
                if is_control(frame) || !inner.starts_with("S\n") {
                    continue;
                }
                let reader = format!("{name} own {channel:?}");
                if let Some(told) = self.readers.entry(reader).or_default().read(inner) {
                    let said = (channel.map(str::to_owned), told);
                    self.own.entry(name.clone()).or_default().push(said);
                }
            }
            *seen = socket.sent.len();
        }
    }
}

/// Frames of a recorded socket that are relayed or confirmed: all but those of the server's store.
fn relayed<'a>(frames: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    frames.filter(|frame| is_control(frame) || !unwrapped(frame).1.starts_with("S\n")).collect()
}

/// What a store said on a channel, for comparison whatever its random ids: announcements and requests by their content,
/// answers by the id that they answer and their text.
fn said(said: &[Said]) -> Vec<String> {
    let mut said: Vec<String> = said
        .iter()
        .map(|(channel, told)| match told.number {
            RESPONSE => format!("{channel:?} {} {:?}", told.id, told.pieces),
            number => format!("{channel:?} {number} {}", told.body.stringify()),
        })
        .collect();
    said.sort();
    said
}

#[test]
fn every_recorded_talk_is_relayed_as_tinybase_relays_it() {
    let file = vectors("transcripts.json");
    let scenarios = file.at("scenarios").items();
    let (mut frames, mut answers, mut stores, mut multiplexed) = (0, 0, 0, 0);
    for scenario in scenarios {
        let name = scenario.at("name").str();
        let events = scenario.at("events").items();
        let mut player = Player::new(scenario);
        events.iter().for_each(|event| player.play(event));
        multiplexed += usize::from(name.contains("multiplexed"));
        for (socket, end) in &player.server.sockets {
            let recorded = events.iter().filter(|event| {
                event.at("ev").str() == "frame"
                    && event.at("dir").str() == "s2c"
                    && event.at("socket").str() == socket
            });
            let recorded = relayed(recorded.map(|event| event.at("data").str()));
            let own = relayed(end.sent.iter().map(String::as_str));
            assert_eq!(own, recorded, "{name}: relayed to {socket}");
            frames += own.len();
            let empty = Vec::new();
            let own = said(player.own.get(socket).unwrap_or(&empty));
            let recorded = said(player.recorded.get(socket).unwrap_or(&empty));
            assert_eq!(own, recorded, "{name}: said to {socket} by the server's store");
            answers += own.len();
            assert_eq!(end.closed, None, "{name}: {socket}");
        }
        let saved = scenario.at("final").find("serverSaved").map(Known::entries);
        for (path, content) in saved.into_iter().flatten() {
            let path = path.to_string();
            let own = match player.server.paths.get(&path) {
                Some(relay) => relay.store().unwrap().content(),
                None => player.server.dropped[&path].clone(),
            };
            assert_eq!(Json::parse(&own), Json::parse(content.str()), "{name}: saved at {path}");
            stores += 1;
        }
    }
    println!(
        "peer: {} of {} talks ({multiplexed} multiplexed), {frames} frames relayed, {answers} of the server's store, \
         {stores} stores equal",
        scenarios.len(),
        scenarios.len(),
    );
    assert_eq!(scenarios.len(), 15);
    assert!(
        frames > 200 && answers > 50 && stores > 5 && multiplexed == 8,
        "{frames} {answers} {stores} {multiplexed}"
    );
}
