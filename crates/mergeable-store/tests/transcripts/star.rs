//! Talks with a single-store server that has a store, played to the star: it answers each request as that server did, and ends
//! with the same content.

use std::collections::HashMap;

use mergeable_store::{Effects, Json, Limits, Star};

use crate::reader::{GET_CONTENT_HASHES, RESPONSE, Reader, Told};
use crate::server::load;
use crate::support::net::{NOW, Rule};
use crate::support::{Known, Rng, vectors};

struct Player {
    star: Star,
    limits: Limits,
    saved: Option<String>,
    rng: Rng,
    /// By socket: client id.
    sockets: HashMap<String, String>,
    /// By direction and socket: recorded frames being put together.
    readers: HashMap<String, Reader>,
    own_reader: HashMap<String, Reader>,
    /// By client id: what the star asked and nobody has answered yet.
    asked: Vec<(String, Told)>,
    /// What the recorded server asked, by request id.
    recorded_requests: HashMap<String, Told>,
    /// Texts of answers by request id: the star's and the recorded ones.
    answers: HashMap<String, Vec<String>>,
    recorded_answers: HashMap<String, Vec<String>>,
}

impl Player {
    fn new(saved: Option<String>, limits: Limits) -> Self {
        Self {
            star: Star::new(load(saved.as_ref()), limits.clone()),
            limits,
            saved,
            rng: Rng(1),
            sockets: HashMap::new(),
            readers: HashMap::new(),
            own_reader: HashMap::new(),
            asked: Vec::new(),
            recorded_requests: HashMap::new(),
            answers: HashMap::new(),
            recorded_answers: HashMap::new(),
        }
    }

    fn play(&mut self, event: &Json) {
        match event.at("ev").str() {
            "open" => {
                let id = event.at("clientId").str();
                self.sockets.insert(event.at("socket").str().to_owned(), id.to_owned());
                let effects = self.star.connect(NOW, id.into(), &mut self.rng);
                self.note(&effects);
            }
            "close" => {
                self.star.disconnect(&self.sockets[event.at("socket").str()].as_str().into());
                if self.star.connections().len() == 0 {
                    // The recorded server drops a path with its last client and loads it anew, what was saved at first.
                    self.star = Star::new(load(self.saved.as_ref()), self.limits.clone());
                }
            }
            "frame" => {
                self.frame(event.at("socket").str(), event.at("dir").str(), event.at("data").str())
            }
            _ => {}
        }
    }

    fn frame(&mut self, socket: &str, direction: &str, frame: &str) {
        let reader = self.readers.entry(format!("{socket} {direction}")).or_default();
        let Some(told) = reader.read(frame) else {
            return;
        };
        let (address, _) = frame.split_once('\n').unwrap();
        match direction {
            "s2c" if address != "S" => {}
            "s2c" if told.number == RESPONSE => {
                self.recorded_answers.insert(told.id, told.pieces);
            }
            "s2c" => {
                self.recorded_requests.insert(told.id.clone(), told);
            }
            _ => self.up(&self.sockets[socket].clone(), address, told),
        }
    }

    /// A client speaks. Its answers go to the star's own request of the same content, under that request's id.
    fn up(&mut self, from: &str, address: &str, mut told: Told) {
        if told.number == RESPONSE {
            let Some(recorded) = self.recorded_requests.get(&told.id) else {
                return;
            };
            // The recorded server had given up on its own first question when the answer reached it, and pulled later, in
            // response to the client's hashes; the star would pull at once and need answers that nobody recorded.
            if recorded.number == GET_CONTENT_HASHES {
                return;
            }
            let same = |(client, asked): &(String, Told)| {
                client == from && asked.number == recorded.number && asked.body == recorded.body
            };
            let Some(at) = self.asked.iter().position(same) else {
                return;
            };
            told.id = self.asked.remove(at).1.id;
        }
        let frame =
            format!("{address}\n[\"{}\",{},{}]", told.id, told.number, told.body.stringify());
        let effects = self
            .star
            .receive(NOW, &from.into(), &frame, &mut Rule::allow_all(), &mut self.rng)
            .unwrap();
        self.note(&effects);
    }

    fn note(&mut self, effects: &Effects) {
        for outgoing in &effects.send {
            for id in self.star.connections().filter(|id| outgoing.to.contains(id)) {
                let reader = self.own_reader.entry(id.to_string()).or_default();
                let Some(told) = reader.read(&outgoing.frame) else {
                    continue;
                };
                if told.number == RESPONSE {
                    self.answers.insert(told.id, told.pieces);
                } else {
                    self.asked.push((id.to_string(), told));
                }
            }
        }
    }
}

#[test]
fn the_star_answers_recorded_clients_as_tinybase_does() {
    let file = vectors("transcripts.json");
    let (mut played, mut compared) = (0, 0);
    for scenario in file.at("scenarios").items() {
        let name = scenario.at("name").str();
        let events = scenario.at("events").items();
        let opens = events.iter().filter(|event| event.at("ev").str() == "open");
        let single = opens.clone().all(|event| event.at("protocol").str().is_empty());
        let Some(saved_at_the_end) = scenario.at("final").find("serverSaved") else {
            continue;
        };
        if !single {
            continue;
        }
        let saved = scenario.at("server").find("saved");
        let saved = saved.map(|saved| saved.entries()[0].1.str().to_owned());
        let fragment_bytes =
            scenario.at("server").find("fragmentSize").map(|size| size.uint() as usize);
        let mut player = Player::new(saved, Limits { fragment_bytes, ..Limits::default() });
        events.iter().for_each(|event| player.play(event));
        for (id, texts) in &player.recorded_answers {
            assert_eq!(player.answers.get(id), Some(texts), "{name}: answer to {id}");
            compared += 1;
        }
        let expected = Json::parse(saved_at_the_end.entries()[0].1.str()).unwrap();
        assert_eq!(Json::parse(&player.star.store().content()).unwrap(), expected, "{name}");
        played += 1;
    }
    println!(
        "star: {played} talks with a single-store server's store, {compared} answers compared"
    );
    assert!(played >= 4 && compared >= 15, "{played} talks, {compared} answers");
}
