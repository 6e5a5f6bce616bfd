//! A relay between clients of which none can be trusted.

use arbitrary::Unstructured;
use mergeable_store::{Cell, Close, ConnectionId, Effects, Limits, MergeableStore, Relay, Writer};

use crate::arrange::{self, NOW, below};
use crate::hostile::{self, Heard};
use crate::model::Model;
use crate::rng::Rng;
use crate::wire::{self, Groups, Read};

const IDS: [&str; 3] = ["a", "b", "c"];

/// Every valid message reaches exactly those it is addressed to, unchanged and in its pieces; what is not valid closes its
/// sender and reaches nobody; and what the server's own store holds is what the effects told.
pub fn relay(data: &[u8]) {
    let u = &mut Unstructured::new(data);
    let mut net = Net::new(below(u, 2) == 0);
    for _ in 0..48 {
        if u.is_empty() {
            break;
        }
        net.step(u);
    }
    net.check();
}

#[derive(Default)]
struct Client {
    connected: bool,
    groups: Groups,
    heard: Heard,
}

struct Net {
    now: u64,
    rng: Rng,
    relay: Relay,
    clients: [Client; 3],
    /// Kept from effects alone, as a server's database is.
    committed: MergeableStore,
}

impl Net {
    fn new(with_store: bool) -> Self {
        let limits = Limits::default();
        let store = MergeableStore::new(arrange::client(0));
        Self {
            now: NOW,
            rng: Rng(7),
            committed: store.clone(),
            relay: if with_store { Relay::with_store(store, &limits) } else { Relay::new(&limits) },
            clients: Default::default(),
        }
    }

    fn step(&mut self, u: &mut Unstructured<'_>) {
        let at = below(u, IDS.len());
        match below(u, 12) {
            0 => self.come_or_go(at),
            1 => {
                self.now += [1, 100, 999, 1000][below(u, 4)];
                let effects = self.relay.tick(self.now, &mut self.rng);
                assert!(self.relay.next_deadline().is_none_or(|next| next > self.now));
                self.carry_out(&effects, &Writer::Store);
            }
            2 => {
                let (id, content) = (arrange::id(u), arrange::thing(u).unwrap_or(Cell::Null));
                let written = self
                    .relay
                    .write(self.now, &mut self.rng, |tx| tx.set_cell("t", &id, "c", content));
                if let Ok(Some(((), effects))) = written {
                    self.carry_out(&effects, &Writer::Store);
                }
            }
            _ => self.send(u, at),
        }
    }

    fn come_or_go(&mut self, at: usize) {
        let id = ConnectionId::from(IDS[at]);
        let connected = !self.clients[at].connected;
        self.clients[at] = Client { connected, ..Client::default() };
        if connected {
            let effects = self.relay.connect(self.now, id, &mut self.rng);
            self.carry_out(&effects, &Writer::Store);
        } else {
            self.relay.disconnect(&id);
        }
    }

    fn send(&mut self, u: &mut Unstructured<'_>, at: usize) {
        if !self.clients[at].connected {
            self.come_or_go(at);
        }
        let own = self.relay.store().map(MergeableStore::hashes).unwrap_or_default();
        let targets = ["", "S", "a", "b", "d"];
        let frame = hostile::frame(u, &targets, &self.clients[at].heard, own);
        let expected = self.expected(at, &frame);
        let id = ConnectionId::from(IDS[at]);
        let before = self.relay.store().map(MergeableStore::hashes);
        match (self.relay.receive(self.now, &id, &frame, &mut self.rng), expected) {
            (Ok(effects), Ok(expected)) => {
                let there = |other: &&str| {
                    IDS.iter()
                        .position(|id| id == other)
                        .is_some_and(|at| self.clients[at].connected)
                };
                let connected: Vec<&str> = IDS.iter().copied().filter(there).collect();
                assert_eq!(passed_on(&effects, IDS[at], &connected), expected, "{frame:?}");
                self.carry_out(&effects, &Writer::Connection(id));
            }
            (Err(close), Err(expected)) => {
                assert_eq!(close, expected, "{frame:?}");
                assert_eq!(self.relay.store().map(MergeableStore::hashes), before);
                self.clients[at] = Client::default();
            }
            (got, expected) => panic!("{frame:?}: {got:?}, not {expected:?}"),
        }
    }

    /// Who gets what of a frame.
    fn expected(&mut self, at: usize, frame: &str) -> Result<Vec<(Vec<String>, String)>, Close> {
        let remainders = match wire::read(frame) {
            Read::Close(close) => return Err(close),
            Read::Message => {
                frame.split_once('\n').map(|(_, rest)| rest.to_owned()).into_iter().collect()
            }
            Read::Fragment(piece) => {
                match self.clients[at].groups.take(self.now, frame, &piece)? {
                    Some(whole) => whole.remainders,
                    None => return Ok(Vec::new()),
                }
            }
        };
        let to = frame.split('\n').next().unwrap_or_default();
        let there = |other: &usize| self.clients[*other].connected;
        let to: Vec<String> = (0..IDS.len())
            .filter(there)
            .filter(|other| if to.is_empty() { *other != at } else { IDS[*other] == to })
            .map(|other| IDS[other].to_owned())
            .collect();
        if to.is_empty() {
            return Ok(Vec::new());
        }
        let frames = remainders.into_iter().map(|rest| format!("{}\n{rest}", IDS[at]));
        Ok(frames.map(|frame| (to.clone(), frame)).collect())
    }

    fn carry_out(&mut self, effects: &Effects, by: &Writer) {
        for change in &effects.changed {
            assert_eq!(&change.by, by);
            let thing = change.new.clone();
            self.committed.load_cell(&change.table, &change.row, &change.cell, thing, change.hlc);
        }
        for change in &effects.changed_values {
            self.committed.load_value(&change.value, change.new.clone(), change.hlc);
        }
        for change in &effects.changed_containers {
            self.committed.load_container(&change.container, change.hlc);
        }
        assert!(effects.close.is_empty(), "nothing here is too large to send");
        for outgoing in &effects.send {
            for (at, client) in self.clients.iter_mut().enumerate() {
                if client.connected && outgoing.to.contains(&ConnectionId::from(IDS[at])) {
                    client.heard.hear(&outgoing.frame);
                }
            }
        }
    }

    fn check(&self) {
        let connected = self.clients.iter().filter(|client| client.connected).count();
        assert_eq!(self.relay.connections().len(), connected);
        if let Some(store) = self.relay.store() {
            let model = Model::of(store);
            model.check(store, false);
            model.check(&self.committed, true);
        }
    }
}

/// What effects pass on in the name of a client.
fn passed_on(effects: &Effects, from: &str, connected: &[&str]) -> Vec<(Vec<String>, String)> {
    let sent =
        effects.send.iter().filter(|outgoing| outgoing.frame.split('\n').next() == Some(from));
    sent.map(|outgoing| {
        let to = IDS.iter().filter(|id| connected.contains(*id));
        let to = to.filter(|id| outgoing.to.contains(&ConnectionId::from(**id)));
        (to.map(|id| (*id).to_owned()).collect(), outgoing.frame.to_string())
    })
    .collect()
}
