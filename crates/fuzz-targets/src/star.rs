//! A server's star with honest clients and hostile ones.

use std::collections::VecDeque;
use std::sync::Arc;

use arbitrary::Unstructured;
use mergeable_store::{
    AsText as _, Cell, Close, ConnectionId, Edit, Effects, Limits, MergeableStore, Policy, Ruling,
    Star, Synchronizer, Target, Text,
};

use crate::arrange::{self, NOW, below};
use crate::hostile::{self, Heard};
use crate::model::Model;
use crate::rng::Rng;

const HONEST: usize = 2;
const HOSTILE: usize = 2;

/// Whatever the hostile clients send, and whenever anybody comes and goes: what the rules forbid is never stored, storage
/// kept from the effects alone equals the store, a tick leaves nothing overdue, and in the end the honest clients hold
/// what the server holds.
pub fn star(data: &[u8]) {
    let u = &mut Unstructured::new(data);
    let mut net = Net::new(below(u, 8));
    for _ in 0..48 {
        if u.is_empty() {
            break;
        }
        net.step(u);
    }
    net.settle();
    for at in 0..HONEST {
        if !net.honest[at].connected {
            net.connect(at);
        }
    }
    net.settle();
    // Who gave up waiting may be behind until somebody asks again.
    for client in &mut net.honest {
        let frames = client.sync.request_hashes(net.now, &mut net.rng);
        client.up.extend(frames);
    }
    net.settle();
    net.check();
}

/// Cell `b` is not for clients, nor value `b`, nor a text in cell `a`; nor an HLC of a container, as in crossfade itself. (Where
/// one is accepted and a client misses it, TinyBase's ladder does not bring it: it answers row by row, and rows are equal.)
struct Rules;

impl Policy for Rules {
    fn judge(&mut self, edit: &Edit<'_>) -> Ruling {
        let refused = match &edit.target {
            Target::Cell { cell, .. } => forbidden(cell, edit.new),
            Target::Value { value } => *value == "b",
            Target::Container(_) => true,
        };
        if refused { Ruling::Refuse("not yours".to_owned()) } else { Ruling::Accept }
    }
}

fn forbidden(cell: &Text, content: Option<&Cell>) -> bool {
    *cell == "b" || *cell == "a" && matches!(content, Some(Cell::String(_)))
}

struct Honest {
    sync: Synchronizer,
    id: ConnectionId,
    connected: bool,
    up: VecDeque<String>,
    down: VecDeque<Arc<str>>,
}

#[derive(Default)]
struct Hostile {
    connected: bool,
    heard: Heard,
}

struct Net {
    now: u64,
    rng: Rng,
    star: Star,
    honest: Vec<Honest>,
    hostile: [Hostile; HOSTILE],
    connections: usize,
    /// Kept from effects alone, as a server's database is.
    committed: MergeableStore,
    /// All bytes of frames that the star took: bounds what it may hold.
    taken: usize,
}

impl Net {
    /// `habits`: a bit each for sending in fragments, for broadcasts that wait, and for answers that are short.
    fn new(habits: usize) -> Self {
        let limits = Limits {
            max_ahead_ms: 60_000,
            ahead_close: Some(Close { code: 4005, reason: "clock-skew".into() }),
            fragment_bytes: (habits & 1 != 0).then_some(50),
            coalesce: habits & 2 != 0,
            answer_bytes: if habits & 4 != 0 { 100 } else { 1 << 20 },
            ..Limits::default()
        };
        let honest = (0..HONEST).map(|at| Honest {
            sync: Synchronizer::new(MergeableStore::new(arrange::client(at + 1))),
            id: ConnectionId::from(""),
            connected: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
        });
        Self {
            now: NOW,
            rng: Rng(7),
            star: Star::new(MergeableStore::new(arrange::client(0)), limits),
            honest: honest.collect(),
            hostile: Default::default(),
            connections: 0,
            committed: MergeableStore::new(arrange::client(0)),
            taken: 0,
        }
    }

    fn step(&mut self, u: &mut Unstructured<'_>) {
        let at = below(u, HONEST);
        match below(u, 24) {
            0 if self.honest[at].connected => self.cut(at),
            0 | 1 if !self.honest[at].connected => self.connect(at),
            2..=4 => self.edit(u, at),
            5 => drop(self.step_up(at)),
            6 => drop(self.step_down(at)),
            7 => self.settle(),
            8 => self.pass_time(u),
            9 => {
                let effects = self.star.drain(self.now, &self.honest[at].id.clone(), &mut self.rng);
                self.carry_out(effects);
            }
            10 => {
                let (id, content) = (arrange::id(u), arrange::thing(u).unwrap_or(Cell::Null));
                let write = self
                    .star
                    .write(self.now, &mut self.rng, |tx| tx.set_cell("t", &id, "b", content));
                self.carry_out(write.unwrap().1);
            }
            11 => self.hostile_comes_or_goes(at),
            12 => drop(self.send_waiting()),
            _ => self.attack(u, at),
        }
    }

    fn connect(&mut self, at: usize) {
        self.connections += 1;
        let client = &mut self.honest[at];
        client.id = ConnectionId::from(format!("honest{at}/{}", self.connections));
        client.connected = true;
        let frames = client.sync.connected(self.now, &mut self.rng);
        client.up.extend(frames);
        let effects = self.star.connect(self.now, client.id.clone(), &mut self.rng);
        self.carry_out(effects);
    }

    fn cut(&mut self, at: usize) {
        let client = &mut self.honest[at];
        client.connected = false;
        client.up.clear();
        client.down.clear();
        client.sync.disconnected();
        self.star.disconnect(&client.id);
    }

    /// Also what the server is going to refuse: an honest client may be out of date about the rules.
    fn edit(&mut self, u: &mut Unstructured<'_>, at: usize) {
        let (table, row, cell) = (arrange::id(u), arrange::id(u), arrange::id(u));
        let content = arrange::thing(u);
        let client = &mut self.honest[at];
        let ((), frames) = client
            .sync
            .edit(self.now, &mut self.rng, |tx| match (content, below(u, 4)) {
                (Some(content), 0) => tx.set_value(&cell, content),
                (Some(content), _) => tx.set_cell(&table, &row, &cell, content),
                (None, 0) => tx.del_table(&table),
                (None, _) => tx.del_row(&table, &row),
            })
            .unwrap();
        if client.connected {
            client.up.extend(frames);
        }
    }

    fn step_up(&mut self, at: usize) -> bool {
        let Some(frame) = self.honest[at].up.pop_front() else {
            return false;
        };
        let id = self.honest[at].id.clone();
        self.taken += frame.len();
        let effects =
            self.star.receive(self.now, &id, &frame, &mut Rules, &mut self.rng).expect("honest");
        self.carry_out(effects);
        true
    }

    fn step_down(&mut self, at: usize) -> bool {
        let client = &mut self.honest[at];
        let Some(frame) = client.down.pop_front() else {
            return false;
        };
        let effects = client.sync.receive(self.now, &frame, &mut self.rng).expect("from S");
        client.up.extend(effects.send);
        true
    }

    fn settle(&mut self) {
        let mut frames = 0;
        while (0..HONEST).any(|at| self.step_up(at) || self.step_down(at)) || self.send_waiting() {
            frames += 1;
            assert!(frames < 10_000, "the talk does not end");
        }
    }

    /// Sends what the star has put off; `false` if that was nothing.
    fn send_waiting(&mut self) -> bool {
        let flushed = self.star.flush(self.now, &mut self.rng);
        let lacking = self.star.backlogged().next().is_some();
        let sent = lacking || !flushed.is_empty();
        self.carry_out(flushed);
        if lacking {
            let backlog = self.star.send_backlog(self.now, &mut self.rng, |_| true);
            self.carry_out(backlog);
        }
        sent
    }

    fn pass_time(&mut self, u: &mut Unstructured<'_>) {
        self.now += [1, 100, 999, 1000][below(u, 4)];
        let effects = self.star.tick(self.now, &mut self.rng);
        assert!(self.star.next_deadline().is_none_or(|next| next > self.now));
        self.carry_out(effects);
        for client in self.honest.iter_mut().filter(|client| client.connected) {
            let effects = client.sync.tick(self.now, &mut self.rng);
            client.up.extend(effects.send);
        }
    }

    fn hostile_comes_or_goes(&mut self, at: usize) {
        let id = hostile_id(at);
        self.hostile[at].connected = !self.hostile[at].connected;
        if self.hostile[at].connected {
            let effects = self.star.connect(self.now, id, &mut self.rng);
            self.carry_out(effects);
        } else {
            self.star.disconnect(&id);
        }
    }

    fn attack(&mut self, u: &mut Unstructured<'_>, at: usize) {
        if !self.hostile[at].connected {
            self.hostile_comes_or_goes(at);
        }
        let own = self.star.store().hashes();
        let targets = ["", "S", "hostile1", "\u{FFFC}"];
        let frame = hostile::frame(u, &targets, &self.hostile[at].heard, own);
        self.taken += frame.len();
        let before = self.star.store().hashes();
        match self.star.receive(self.now, &hostile_id(at), &frame, &mut Rules, &mut self.rng) {
            Ok(effects) => self.carry_out(effects),
            Err(close) => {
                assert!(matches!(close.code, 1007 | 1013 | 4005), "{close}");
                assert_eq!(self.star.store().hashes(), before);
                self.hostile[at] = Hostile::default();
            }
        }
    }

    fn carry_out(&mut self, effects: Effects) {
        for change in &effects.changed {
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
            for client in self.honest.iter_mut().filter(|client| client.connected) {
                if outgoing.to.contains(&client.id) {
                    client.down.push_back(outgoing.frame.clone());
                }
            }
            for (at, hostile) in self.hostile.iter_mut().enumerate() {
                if hostile.connected && outgoing.to.contains(&hostile_id(at)) {
                    hostile.heard.hear(&outgoing.frame);
                }
            }
        }
    }

    fn check(&self) {
        let star = self.star.store();
        let model = Model::of(star);
        model.check(star, true);
        model.check(&self.committed, true);
        for client in &self.honest {
            let theirs = Model::of(client.sync.store());
            theirs.check(client.sync.store(), true);
            assert_eq!(theirs.without_nulls(), model.clone().without_nulls());
        }
        let connected = self.hostile.iter().filter(|hostile| hostile.connected).count();
        assert_eq!(self.star.connections().len(), HONEST + connected);
        // No stamp is written with less than its id, content and HLC, nor made without one that was sent or written.
        assert!(model.stamps() <= self.taken / 20 + 48);
        for (_, row, cell, stamp) in star.cell_stamps() {
            let own = cell == "b" && stamp.hlc.client() == Some(arrange::client(0));
            assert!(
                own || !forbidden(&cell.to_text(), stamp.thing.as_ref()),
                "{row} {cell} {stamp:?}"
            );
        }
    }
}

fn hostile_id(at: usize) -> ConnectionId {
    ConnectionId::from(["hostile0", "hostile1"][at])
}
