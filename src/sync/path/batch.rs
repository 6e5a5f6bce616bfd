//! What a batch of commands wants to keep and to send: kept first, sent after.

use std::collections::HashMap;
use std::time::Duration;

use mergeable_store::{ConnectionId, Effects, Outgoing};

use tokio::time::Instant;

use super::owed::RowKey;
use super::records;
use super::sink::CloseReason;
use crate::migration::PathId;
use crate::resource::RowCells;
use crate::storage::{Op, StorageError, Transaction};

/// How long what nobody waits for may wait for a commit: the end of a delivery, which is made again if a kill takes it
/// back. So most of them need no commit of their own.
const UNHURRIED_MS: u64 = 25;

/// Something to do once the batch is durable, or once it is known not to be.
type AfterCommit = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// The work of some commands.
#[derive(Default)]
pub(super) struct Batch {
    ops: Transaction,
    sends: Vec<Outgoing>,
    pub(super) closes: Vec<(ConnectionId, CloseReason)>,
    after: Vec<AfterCommit>,
    /// Bases that this batch changes: storage does not have them yet.
    bases: HashMap<RowKey, Option<RowCells>>,
    owes: bool,
    /// Until when its commit may wait for what comes next, unless something in it is urgent.
    unhurried: Option<Instant>,
    urgent: bool,
}

impl Batch {
    /// Takes over what the star did: records to keep, frames to send.
    pub(super) fn take(&mut self, path: &PathId, effects: &mut Effects) {
        // Whoever reads the store shall see nothing that is not durable soon.
        self.urgent |= !effects.changed.is_empty() || !effects.changed_values.is_empty();
        for c in &effects.changed {
            let record = records::cell_record([&c.table, &c.row, &c.cell], c.new.as_ref(), c.hlc);
            self.ops.push(Op::PutCell(path.clone(), record));
        }
        for v in &effects.changed_values {
            let record = records::value_record(&v.value, v.new.as_ref(), v.hlc);
            self.ops.push(Op::PutValue(path.clone(), record));
        }
        for c in &effects.changed_containers {
            let record = records::container_record(&c.container, c.hlc);
            self.ops.push(Op::PutContainer(path.clone(), record));
        }
        self.sends.append(&mut effects.send);
        let drained = effects.drained.drain(..);
        self.closes.extend(drained.map(|client| (client, CloseReason::drained())));
        let too_large = effects.close.drain(..);
        self.closes.extend(too_large.map(|(client, close)| (client, close.into())));
    }

    /// Adds a durable change.
    pub(super) fn keep(&mut self, op: Op) {
        self.owes |= matches!(op, Op::Owe(_));
        self.ops.push(op);
    }

    /// Remembers a base that is changed in this batch.
    pub(super) fn set_base(&mut self, key: RowKey, base: Option<RowCells>) {
        self.bases.insert(key, base);
    }

    /// The base as this batch has it, if it changes it.
    pub(super) fn base(&self, key: &RowKey) -> Option<&Option<RowCells>> {
        self.bases.get(key)
    }

    /// Does something when the batch is durable, or is known not to be.
    pub(super) fn afterwards(
        &mut self,
        after: impl FnOnce(Result<(), StorageError>) + Send + 'static,
    ) {
        self.after.push(Box::new(after));
    }

    /// Changes to keep.
    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is nothing to keep, to send or to do.
    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
            && self.sends.is_empty()
            && self.closes.is_empty()
            && self.after.is_empty()
    }

    /// Notes that something is in it whose commit may wait a little. Those of all paths wait for the same moment, and
    /// become one.
    pub(super) fn may_wait(&mut self, now_ms: u64) {
        let wait = Duration::from_millis(UNHURRIED_MS - now_ms % UNHURRIED_MS);
        self.unhurried.get_or_insert_with(|| Instant::now() + wait);
    }

    /// Notes that something is in it whose commit may not wait.
    pub(super) fn set_urgent(&mut self) {
        self.urgent = true;
    }

    pub(super) fn is_urgent(&self) -> bool {
        self.urgent || !self.sends.is_empty() || !self.closes.is_empty()
    }

    /// Until when its commit may wait; `None` if it may not.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        self.unhurried.filter(|_| !self.is_urgent())
    }

    /// The frames, to be sent before what they tell is durable.
    pub(super) fn take_sends(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.sends)
    }

    /// Splits the batch into what is kept first, what leaves afterwards, and the bases that it changes.
    pub(super) fn split(self) -> (Transaction, Departures, HashMap<RowKey, Option<RowCells>>) {
        let Self { ops, sends, closes, after, bases, owes, .. } = self;
        (ops, Departures { sends, closes, after, owes }, bases)
    }
}

/// What leaves once the batch is durable.
pub(super) struct Departures {
    pub(super) sends: Vec<Outgoing>,
    pub(super) closes: Vec<(ConnectionId, CloseReason)>,
    pub(super) after: Vec<AfterCommit>,
    /// Whether it owes something to legacy.
    pub(super) owes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_may_wait_waits_for_a_moment_that_all_paths_share() {
        let now = Instant::now();
        let mut batch = Batch::default();
        assert_eq!(batch.waits_until(), None, "what is not said to wait does not");
        batch.may_wait(UNHURRIED_MS * 1_000 + 1);
        let until = now + Duration::from_millis(UNHURRIED_MS - 1);
        assert_eq!(batch.waits_until(), Some(until));
        // What comes later does not put it off.
        tokio::time::advance(Duration::from_millis(3)).await;
        batch.may_wait(UNHURRIED_MS * 1_000 + 4);
        assert_eq!(batch.waits_until(), Some(until));
        let mut other = Batch::default();
        other.may_wait(UNHURRIED_MS * 1_000 + 4);
        assert_eq!(other.waits_until(), Some(until));
    }

    #[tokio::test]
    async fn what_somebody_waits_for_or_can_read_takes_the_rest_along_at_once() {
        let lazy = || {
            let mut batch = Batch::default();
            batch.may_wait(1);
            batch.keep(Op::Settle(crate::storage::Seq(1)));
            assert!(batch.waits_until().is_some());
            batch
        };
        let mut told = lazy();
        told.set_urgent();
        assert_eq!(told.waits_until(), None);
        let mut closing = lazy();
        closing.closes.push(("client".into(), CloseReason::drained()));
        assert_eq!(closing.waits_until(), None);
        let mut changed = lazy();
        let change = mergeable_store::CellChange {
            table: "t".into(),
            row: "r".into(),
            cell: "c".into(),
            old: None,
            new: Some(1.into()),
            hlc: mergeable_store::Hlc::EMPTY,
            by: mergeable_store::Writer::Store,
        };
        let mut effects = Effects { changed: vec![change], ..Effects::default() };
        changed.take(&PathId::new("org/o_1").unwrap(), &mut effects);
        assert_eq!(changed.waits_until(), None);
    }
}
