//! A star and its clients with frames carried between them by hand, in any order that sockets allow.

use std::collections::VecDeque;
use std::sync::Arc;

use mergeable_store::{
    ConnectionId, Edit, Effects, Hlc, Limits, MergeableStore, Policy, Ruling, Star, Synchronizer,
};

use super::{Rng, store};

/// Hears of an edit that loses, and of the HLC that it lost to.
type Lost = Box<dyn FnMut(&Edit<'_>, Hlc)>;

/// A rule for edits, as a closure, and who hears of those that lose.
pub(crate) struct Rule {
    judge: Box<dyn FnMut(&Edit<'_>) -> Ruling>,
    pub(crate) lost: Lost,
}

impl Rule {
    pub(crate) fn allow_all() -> Self {
        Self::new(|_| Ruling::Accept)
    }

    /// Refuses writes to cells of this id.
    pub(crate) fn forbid_cell(id: &'static str) -> Self {
        Self::new(move |edit| match &edit.target {
            mergeable_store::Target::Cell { cell, .. } if *cell == id => {
                Ruling::Refuse(format!("{id} is not yours"))
            }
            _ => Ruling::Accept,
        })
    }

    pub(crate) fn new(judge: impl FnMut(&Edit<'_>) -> Ruling + 'static) -> Self {
        Self { judge: Box::new(judge), lost: Box::new(|_, _| {}) }
    }
}

impl Policy for Rule {
    fn judge(&mut self, edit: &Edit<'_>) -> Ruling {
        (self.judge)(edit)
    }

    fn lost(&mut self, edit: &Edit<'_>, there: Hlc) {
        (self.lost)(edit, there);
    }
}

/// A client and its connection, each direction a queue.
pub(crate) struct Client {
    pub(crate) sync: Synchronizer,
    pub(crate) id: ConnectionId,
    pub(crate) connected: bool,
    pub(crate) up: VecDeque<String>,
    pub(crate) down: VecDeque<Arc<str>>,
    connections: usize,
}

pub(crate) struct Net {
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) star: Star,
    pub(crate) clients: Vec<Client>,
    pub(crate) rule: Rule,
    /// A store kept from what effects list alone, as a server's database is.
    pub(crate) committed: MergeableStore,
    /// All effects, added up; their frames are on their way.
    pub(crate) seen: Effects,
}

pub(crate) const NOW: u64 = 1_763_800_000_000;

impl Net {
    pub(crate) fn new(clients: usize, limits: Limits, seed: u64) -> Self {
        let clients = (0..clients).map(|number| Client {
            sync: Synchronizer::new(store(&format!("client{number}"))),
            id: ConnectionId::from(""),
            connected: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            connections: 0,
        });
        Self {
            now: NOW,
            rng: Rng(seed),
            star: Star::new(store("server"), limits),
            clients: clients.collect(),
            rule: Rule::allow_all(),
            committed: store("database"),
            seen: Effects::default(),
        }
    }

    pub(crate) fn connect(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.connections += 1;
        client.id = ConnectionId::from(format!("client{at}/{}", client.connections));
        client.connected = true;
        let frames = client.sync.connected(self.now, &mut self.rng);
        client.up.extend(frames);
        let effects = self.star.connect(self.now, client.id.clone(), &mut self.rng);
        self.carry_out(effects);
    }

    /// The socket is cut; what was under way is lost.
    pub(crate) fn cut(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.connected = false;
        client.up.clear();
        client.down.clear();
        client.sync.disconnected();
        self.star.disconnect(&client.id);
    }

    pub(crate) fn edit(
        &mut self,
        at: usize,
        table: &str,
        row: &str,
        cell: &str,
        content: Option<f64>,
    ) {
        let client = &mut self.clients[at];
        let edit = |tx: &mut mergeable_store::Transaction<'_>| match content {
            Some(number) => tx.set_cell(table, row, cell, number),
            None => tx.del_cell(table, row, cell),
        };
        let ((), frames) = client.sync.edit(self.now, &mut self.rng, edit).unwrap();
        client.up.extend(frames);
    }

    pub(crate) fn write(&mut self, table: &str, row: &str, cell: &str, content: f64) {
        let write =
            self.star.write(self.now, &mut self.rng, |tx| tx.set_cell(table, row, cell, content));
        self.carry_out(write.unwrap().1);
    }

    /// Ends a batch; false if there was nothing to broadcast.
    pub(crate) fn flush(&mut self) -> bool {
        let effects = self.star.flush(self.now, &mut self.rng);
        let sent = !effects.send.is_empty();
        self.carry_out(effects);
        sent
    }

    /// Sends a bit of what a client lacks; false if there is none.
    pub(crate) fn send_backlog(&mut self) -> bool {
        let effects = self.star.send_backlog(self.now, &mut self.rng, |_| true);
        let sent = !effects.send.is_empty();
        self.carry_out(effects);
        sent
    }

    pub(crate) fn drain(&mut self, at: usize) {
        let effects = self.star.drain(self.now, &self.clients[at].id, &mut self.rng);
        self.carry_out(effects);
    }

    /// Delivers the oldest frame that a client sent; false if there is none.
    pub(crate) fn step_up(&mut self, at: usize) -> bool {
        let client = &mut self.clients[at];
        let Some(frame) = client.up.pop_front() else {
            return false;
        };
        let id = client.id.clone();
        let effects =
            self.star.receive(self.now, &id, &frame, &mut self.rule, &mut self.rng).unwrap();
        self.carry_out(effects);
        true
    }

    /// Delivers the oldest frame for a client; false if there is none.
    pub(crate) fn step_down(&mut self, at: usize) -> bool {
        let client = &mut self.clients[at];
        let Some(frame) = client.down.pop_front() else {
            return false;
        };
        let effects = client.sync.receive(self.now, &frame, &mut self.rng).unwrap();
        client.up.extend(effects.send);
        true
    }

    /// Delivers everything until nobody has anything to say, without time passing.
    pub(crate) fn settle(&mut self) {
        let mut frames = 0;
        while (0..self.clients.len()).any(|at| self.step_up(at) || self.step_down(at))
            || self.flush()
            || self.send_backlog()
        {
            frames += 1;
            assert!(frames < 100_000, "the talk does not end");
        }
    }

    /// Lets time pass to the next deadline, if there is one.
    pub(crate) fn pass_time(&mut self) -> bool {
        let clients = self.clients.iter().filter_map(|client| client.sync.next_deadline());
        let Some(next) = clients.chain(self.star.next_deadline()).min() else {
            return false;
        };
        self.now = self.now.max(next);
        let effects = self.star.tick(self.now, &mut self.rng);
        self.carry_out(effects);
        for client in &mut self.clients {
            let effects = client.sync.tick(self.now, &mut self.rng);
            if client.connected {
                client.up.extend(effects.send);
            }
        }
        true
    }

    /// A client holds what the star holds.
    pub(crate) fn assert_converged_with(&self, at: usize) {
        let (client, star) = (&self.clients[at], self.star.store());
        let store = client.sync.store();
        assert_eq!(store.hashes(), star.hashes(), "{}", client.id);
        assert_eq!(store.to_changes(), star.to_changes(), "{}", client.id);
        assert_eq!(store.computed_hashes(), store.hashes());
    }

    /// Every client holds what the star holds, and what was committed is the same.
    pub(crate) fn assert_converged(&self) {
        let star = self.star.store();
        (0..self.clients.len()).for_each(|at| self.assert_converged_with(at));
        assert_eq!(self.committed.hashes(), star.hashes());
        assert_eq!(self.committed.to_changes(), star.to_changes());
    }

    pub(crate) fn carry_out(&mut self, mut effects: Effects) {
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
        for outgoing in &effects.send {
            for client in self.clients.iter_mut().filter(|client| client.connected) {
                if outgoing.to.contains(&client.id) {
                    client.down.push_back(outgoing.frame.clone());
                }
            }
        }
        self.seen.send.append(&mut effects.send);
        self.seen.changed.append(&mut effects.changed);
        self.seen.changed_values.append(&mut effects.changed_values);
        self.seen.changed_containers.append(&mut effects.changed_containers);
        self.seen.refused.append(&mut effects.refused);
        self.seen.drained.append(&mut effects.drained);
        self.seen.timed_out.append(&mut effects.timed_out);
        self.seen.close.append(&mut effects.close);
    }
}
