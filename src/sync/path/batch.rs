//! What a batch of commands wants to keep and to send: kept first, sent after.

use std::collections::HashMap;

use mergeable_store::{ConnectionId, Effects, Outgoing};

use super::owed::RowKey;
use super::records;
use super::sink::CloseReason;
use crate::migration::PathId;
use crate::resource::RowCells;
use crate::storage::{Op, StorageError, Transaction};

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
}

impl Batch {
    /// Takes over what the star did: records to keep, frames to send.
    pub(super) fn take(&mut self, path: &PathId, effects: &mut Effects) {
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

    /// The frames, to be sent before what they tell is durable.
    pub(super) fn take_sends(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.sends)
    }

    /// Splits the batch into what is kept first, what leaves afterwards, and the bases that it changes.
    pub(super) fn split(self) -> (Transaction, Departures, HashMap<RowKey, Option<RowCells>>) {
        let Self { ops, sends, closes, after, bases, owes } = self;
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
