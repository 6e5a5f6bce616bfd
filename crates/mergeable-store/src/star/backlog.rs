//! What a client lacks and an answer had no room for: sent bit by bit, between other work.
//!
//! A TinyBase client takes ContentDiffs as soon as it synchronizes, but some versions ignore them while they load. So the
//! backlog of a client that has just connected waits until it tells its hashes, which ends loading, or a request's timeout.
//! At the end the client is told the server's hashes, and is asked for its own: whoever lacks something by then pulls again.

use std::collections::VecDeque;

use super::peer::Peer;
use super::{Call, Effects, Recipients, Star};
use crate::message::Say;
use crate::{ConnectionId, Millis, Random, Text, pull};

/// Bytes of text sent at a time, about.
const SLICE_BYTES: usize = 128 << 10;
/// Rows that all backlogs of a star may name. A client that has no room is told the hashes again after a while, and gets
/// another answer's worth then.
const MAX_ROWS: usize = 4_000_000;

/// Rows to be sent to a client, all of each.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    tables: VecDeque<(Text, VecDeque<Text>)>,
    rows: usize,
}

impl Backlog {
    fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn extend(&mut self, table: &Text, rows: impl IntoIterator<Item = Text>) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return;
        }
        if self.tables.back().is_none_or(|(last, _)| last != table) {
            self.tables.push_back((table.clone(), VecDeque::new()));
        }
        if let Some((_, last)) = self.tables.back_mut() {
            let before = last.len();
            last.extend(rows);
            self.rows += last.len() - before;
        }
    }

    /// The next rows of one table, at most so many.
    pub(super) fn next(&mut self, most: usize) -> Option<(Text, Vec<Text>)> {
        let (table, rows) = self.tables.front_mut()?;
        let taken: Vec<Text> = rows.drain(..most.min(rows.len())).collect();
        let table = table.clone();
        self.rows -= taken.len();
        if rows.is_empty() {
            self.tables.pop_front();
        }
        Some((table, taken))
    }
}

impl Backlog {
    /// Undoes [`Backlog::next`].
    pub(super) fn put_back(&mut self, table: &Text, rows: Vec<Text>) {
        self.rows += rows.len();
        if self.tables.front().is_none_or(|(first, _)| first != table) {
            self.tables.push_front((table.clone(), VecDeque::new()));
        }
        if let Some((_, first)) = self.tables.front_mut() {
            rows.into_iter().rev().for_each(|row| first.push_front(row));
        }
    }
}

impl Star {
    /// Takes over what an answer had no room for.
    pub(super) fn leave(
        &mut self,
        call: &mut Call<'_>,
        id: &ConnectionId,
        left: Backlog,
        anew: bool,
    ) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let (live, state) = (peer.live, peer.state());
        if anew {
            self.backlog_rows -= std::mem::take(&mut state.backlog).rows;
            state.behind = false;
        }
        if left.is_empty() {
            return;
        }
        state.behind = true;
        if self.backlog_rows + left.rows <= MAX_ROWS {
            self.backlog_rows += left.rows;
            for (table, rows) in left.tables {
                state.backlog.extend(&table, rows);
            }
        }
        if live && !state.backlog.is_empty() {
            self.queue_backlog(id);
        } else {
            state.push_at = Some(call.now + self.limits.request_timeout_ms);
        }
    }

    /// The client takes ContentDiffs from now on.
    pub(super) fn release(&mut self, id: &ConnectionId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.live = true;
        if peer.is_behind() {
            peer.state().push_at = None;
            self.queue_backlog(id);
        }
    }

    fn queue_backlog(&mut self, id: &ConnectionId) {
        if !self.backlogged.contains(id) {
            self.backlogged.push_back(id.clone());
        }
    }

    /// Connections that are being sent what they lack, the next first.
    pub fn backlogged(&self) -> impl Iterator<Item = &ConnectionId> {
        self.backlogged.iter()
    }

    /// Sends the next of what a client lacks to the first connection that is `ready` for it; nothing if none is. Each call is
    /// a little work, to be done between other calls while [`Star::backlogged`] names somebody.
    pub fn send_backlog(
        &mut self,
        now: Millis,
        rng: &mut dyn Random,
        ready: impl Fn(&ConnectionId) -> bool,
    ) -> Effects {
        let mut call = Call { now, rng, effects: Effects::default() };
        let Some(at) = self.backlogged.iter().position(ready) else { return call.effects };
        let Some(id) = self.backlogged.remove(at) else { return call.effects };
        let Some(state) = self.peers.get_mut(&id).map(Peer::state) else { return call.effects };
        let before = state.backlog.rows;
        let changes = state.backlog.take(&self.store, SLICE_BYTES);
        let left = state.backlog.rows;
        self.backlog_rows -= before - left;
        if !changes.is_empty() {
            self.send_diff(&mut call, &Recipients::One(id.clone()), &changes);
        }
        if left > 0 {
            self.backlogged.push_back(id);
            return call.effects;
        }
        self.caught_up(&mut call, &id);
        self.finish(call, &id)
    }

    /// All is sent that an earlier look found lacking: time for another look, from both sides.
    fn caught_up(&mut self, call: &mut Call<'_>, id: &ConnectionId) {
        let Some(state) = self.peers.get_mut(id).map(Peer::state) else { return };
        (state.behind, state.push_at) = (false, None);
        let heard = state.again.take().is_some() || state.draining;
        self.send_unsent(call);
        let transaction = pull::transaction_id(call.rng);
        let hashes = Say::ContentHashes(self.store.hashes()).remainder(Some(&transaction));
        self.send(call, id, hashes);
        if heard {
            self.ask(call, id);
        }
    }
}
