//! Who may write what: asked of every edit that would win, answered by the caller.

use crate::{Cell, Changes, Close, ConnectionId, Container, Hlc, MergeableStore, Millis, Text};

/// What an edit is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A cell.
    Cell {
        /// Table id.
        table: Text,
        /// Row id.
        row: Text,
        /// Cell id.
        cell: Text,
    },
    /// A value.
    Value {
        /// Value id.
        value: Text,
    },
    /// The HLC of a container, which only old clients set. Refused, it is dropped; there is nothing to restamp.
    Container(Container),
}

/// An edit by a client that would win the merge, before anything of its message is merged.
#[derive(Clone, Debug)]
pub struct Edit<'a> {
    /// Who brought it.
    pub writer: &'a ConnectionId,
    /// What it writes.
    pub target: Target,
    /// What is there now; `None` for nothing or a tombstone.
    pub old: Option<&'a Cell>,
    /// What it would be; `None` deletes.
    pub new: Option<&'a Cell>,
    /// The edit's stamp.
    pub hlc: Hlc,
    /// The server's clock.
    pub now: Millis,
    /// The store before the message.
    pub store: &'a MergeableStore,
    /// All of the message, for rules about whole rows.
    pub changes: &'a Changes,
}

/// The answer to an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Merge it.
    Accept,
    /// Do not merge it; what was there gets a newer stamp, so that the writer goes back to it. The
    /// reason is for the record.
    Refuse(String),
    /// Merge nothing of the message, and close its connection like this; nothing more of it is
    /// judged. A refusal leaves a stamp behind for ever, and this leaves nothing.
    Close(Close),
}

/// Judges edits.
pub trait Policy {
    /// Whether an edit is merged.
    fn judge(&mut self, edit: &Edit<'_>) -> Ruling;

    /// An edit that loses the merge, because its cell or value has a newer stamp, `there`. Most often it is
    /// nothing new: a client that comes back brings what it had. For the record; nothing depends on it.
    fn lost(&mut self, edit: &Edit<'_>, there: Hlc) {
        let _ = (edit, there);
    }

    /// An edit that is refused whatever the policy says: its stamp is there already, with another
    /// content. What is there is restamped, unless the connection is to be closed like this, which
    /// leaves the whole message unmerged.
    fn same_stamp(&mut self, edit: &Edit<'_>) -> Option<Close> {
        let _ = edit;
        None
    }
}

/// An edit that was not merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Who brought it.
    pub writer: ConnectionId,
    /// What it tried to write.
    pub target: Target,
    /// What it tried to write there; `None`: to delete.
    pub refused: Option<Cell>,
    /// What stays; `None`: nothing.
    pub kept: Option<Cell>,
    /// The refused stamp.
    pub hlc: Hlc,
    /// Why.
    pub reason: String,
}

/// The reason for refusing another content under a stamp that is already there: two writers share a client id, or one
/// of them forges; neither content would ever replace the other.
pub(super) const EQUAL_HLC: &str = "another content has this stamp already";

/// A message's changes, sorted out.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) accepted: Changes,
    pub(super) refused: Vec<Refusal>,
}

/// Judges all of a message, unless the policy has its connection closed. What would lose the merge
/// anyway is left out; so are containers without content or HLC, which no TinyBase client sends and
/// whose hash is not stable.
pub(super) fn judge(
    store: &MergeableStore,
    now: Millis,
    writer: &ConnectionId,
    changes: &Changes,
    policy: &mut dyn Policy,
) -> Result<Judged, Close> {
    let mut judge = Judge { store, now, writer, changes, policy, judged: Judged::default() };
    judge.containers()?;
    for (table, row, cell, stamp) in changes.cells() {
        let there = store.stamp(table, row, cell);
        let target = Target::Cell { table: table.clone(), row: row.clone(), cell: cell.clone() };
        if judge.wins(target, there, stamp.thing.as_ref(), stamp.hlc)? {
            judge.judged.accepted.set_cell(table, row, cell, stamp.thing.clone(), stamp.hlc);
        }
    }
    for (value, stamp) in changes.values() {
        let there = store.value_stamp(value);
        if judge.wins(
            Target::Value { value: value.clone() },
            there,
            stamp.thing.as_ref(),
            stamp.hlc,
        )? {
            judge.judged.accepted.set_value(value, stamp.thing.clone(), stamp.hlc);
        }
    }
    Ok(judge.judged)
}

struct Judge<'a> {
    store: &'a MergeableStore,
    now: Millis,
    writer: &'a ConnectionId,
    changes: &'a Changes,
    policy: &'a mut dyn Policy,
    judged: Judged,
}

impl Judge<'_> {
    fn containers(&mut self) -> Result<(), Close> {
        let changes = self.changes;
        for (container, hlc) in changes.containers() {
            if hlc <= self.store.container_hlc(&container) {
                continue;
            }
            if self.accepts(Target::Container(container.clone()), None, None, hlc)? {
                self.judged.accepted.set_container(&container, hlc);
            }
        }
        Ok(())
    }

    /// Whether a stamp is to be merged.
    fn wins(
        &mut self,
        target: Target,
        there: Option<(Option<Cell>, Hlc)>,
        new: Option<&Cell>,
        hlc: Hlc,
    ) -> Result<bool, Close> {
        let (old, there) = there.unwrap_or((None, Hlc::EMPTY));
        if there.is_empty() || hlc > there {
            return self.accepts(target, old.as_ref(), new, hlc);
        }
        let Self { store, now, writer, changes, .. } = *self;
        let old = old.as_ref();
        let edit = Edit { writer, target, old, new, hlc, now, store, changes };
        if hlc < there {
            self.policy.lost(&edit, there);
        } else if old != new {
            if let Some(close) = self.policy.same_stamp(&edit) {
                return Err(close);
            }
            let target = edit.target;
            self.refuse(target, old, new, hlc, EQUAL_HLC.to_owned());
        }
        Ok(false)
    }

    fn accepts(
        &mut self,
        target: Target,
        old: Option<&Cell>,
        new: Option<&Cell>,
        hlc: Hlc,
    ) -> Result<bool, Close> {
        let Self { store, now, writer, changes, .. } = *self;
        let edit = Edit { writer, target, old, new, hlc, now, store, changes };
        match self.policy.judge(&edit) {
            Ruling::Accept => Ok(true),
            Ruling::Refuse(reason) => {
                let target = edit.target;
                self.refuse(target, old, new, hlc, reason);
                Ok(false)
            }
            Ruling::Close(close) => Err(close),
        }
    }

    fn refuse(
        &mut self,
        target: Target,
        old: Option<&Cell>,
        new: Option<&Cell>,
        hlc: Hlc,
        reason: String,
    ) {
        let (refused, kept, writer) = (new.cloned(), old.cloned(), self.writer.clone());
        self.judged.refused.push(Refusal { writer, target, refused, kept, hlc, reason });
    }
}
