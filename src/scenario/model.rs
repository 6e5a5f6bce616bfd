//! A scenario that was checked: whoever holds one need not check it again.

use std::path::PathBuf;
use std::time::Duration;

use mergeable_store::Cell;
use serde_json::Value;

use crate::migration::{PathId, Stage};

/// Actors, steps and what must hold at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The file it was read from.
    pub file: PathBuf,
    /// A short name.
    pub name: String,
    /// What it shows, in a sentence or two.
    pub summary: String,
    /// How long a step, or all invariants together, may take before they count as hanging.
    pub deadline: Duration,
    /// How long after the last step an invariant may begin to hold: deliveries are under way then.
    pub settle: Duration,
    /// What the legacy API begins with.
    pub legacy: LegacyStart,
    /// How crossfade stands before the first step.
    pub start: Start,
    /// Who acts.
    pub actors: Vec<Actor>,
    /// What they do, in order.
    pub steps: Vec<Step>,
    /// What must hold afterwards.
    pub expect: Vec<Expectation>,
}

/// The rows of the built-in sample API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegacyStart {
    /// Rows in all.
    pub rows: usize,
    /// Organisations that they are dealt out to: `org_1`, `org_2`, …
    pub organisations: usize,
    /// Decides what the rows are like.
    pub seed: u64,
}

/// How crossfade stands before the first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The resource's stage, cohort and share of compared reads.
    pub stage: StageChange,
    /// Whether legacy's rows are copied into the store first.
    pub backfill: bool,
}

/// A resource's flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageChange {
    /// The stage asked for.
    pub stage: Stage,
    /// Users whose reads come from the store, in percent; `None` leaves it.
    pub cohort: Option<u8>,
    /// Reads that are compared, in percent; `None` leaves it.
    pub shadow: Option<u8>,
}

/// Which actor: its place in [`Scenario::actors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActorId(pub(super) usize);

/// Somebody who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Its name in the file.
    pub name: String,
    /// What it is.
    pub kind: ActorKind,
    /// The user it is signed in as.
    pub user: String,
    /// The organisation.
    pub org: String,
    /// The role in it.
    pub role: String,
}

/// What an actor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// A native TinyBase client on a real socket.
    Native,
    /// An HTTP client of the REST API.
    Rest,
}

/// A step, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its line in the file, from 1.
    pub line: usize,
    /// What happens.
    pub action: Action,
}

/// A row of the resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowRef {
    /// The resource, as configured.
    pub resource: String,
    /// The row's id.
    pub row: String,
}

/// What happens in a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A native client starts, and has finished its first exchange.
    Connect {
        /// Who.
        actor: ActorId,
        /// Which path; that of its organisation by default.
        path: PathId,
    },
    /// A native client writes cells, connected or not.
    Edit {
        /// Who.
        actor: ActorId,
        /// Which row.
        row: RowRef,
        /// New cells; `None` takes a cell away.
        cells: Vec<(String, Option<Cell>)>,
    },
    /// A native client deletes a row.
    DeleteRow {
        /// Who.
        actor: ActorId,
        /// Which row.
        row: RowRef,
    },
    /// A native client closes its socket and stays away.
    GoOffline(ActorId),
    /// It comes back.
    GoOnline(ActorId),
    /// Its connection is dropped without a word; it comes back by itself.
    Cut(ActorId),
    /// A REST request through crossfade.
    Rest {
        /// Who.
        actor: ActorId,
        /// The method.
        method: http::Method,
        /// Path and query.
        path: String,
        /// A JSON body.
        body: Option<Value>,
        /// The status that must come back; any 2xx without it.
        expect_status: Option<u16>,
    },
    /// The flags ask for another stage, and it is in effect.
    Stage {
        /// The resource.
        resource: String,
        /// What is asked for.
        change: StageChange,
    },
    /// Nothing further happens until this holds.
    WaitUntil(Condition),
}

/// What a step may wait for.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// A cell has this value in a client's store.
    Cell {
        /// Whose store.
        actor: ActorId,
        /// Which row.
        row: RowRef,
        /// Which cell.
        cell: String,
        /// The value.
        value: Cell,
    },
    /// A row is, or is not, in a client's store.
    Row {
        /// Whose store.
        actor: ActorId,
        /// Which row.
        row: RowRef,
        /// Whether it is there.
        present: bool,
    },
    /// The server has told that it has all of a client's edits.
    Acknowledged(ActorId),
    /// These clients' content and hashes equal each other's and the server's.
    Converged(Vec<ActorId>),
    /// Nothing is owed to legacy.
    OutboxEmpty,
}

/// An invariant, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// Its line in the file, from 1.
    pub line: usize,
    /// What must hold.
    pub invariant: Invariant,
}

/// What must hold at the end.
#[derive(Debug, Clone, PartialEq)]
pub enum Invariant {
    /// These clients, and one that connects anew for each of their paths, have equal content and
    /// hashes, equal to the server's.
    Converged(Vec<ActorId>),
    /// Legacy's rows equal the store's, in every path that a client was connected to.
    LegacyEqualsStore(String),
    /// What was acknowledged is there, or was overwritten by a later write.
    NoAcknowledgedWriteLost,
    /// Nothing is owed to legacy, and nothing was given up.
    OutboxEmpty,
    /// The store has so many rows.
    Rows {
        /// Of which resource.
        resource: String,
        /// In which organisation's path.
        org: String,
        /// How many.
        count: usize,
    },
    /// A row is as told, in the store and in legacy.
    Row {
        /// Which row.
        row: RowRef,
        /// In which organisation's path.
        org: String,
        /// Cells that it must have, among others.
        cells: Vec<(String, Cell)>,
        /// Whether it is there at all.
        present: bool,
    },
}

impl Scenario {
    pub(super) fn actor(&self, id: ActorId) -> &Actor {
        // Ids are made by the check, from the list's own places.
        &self.actors[id.0]
    }

    fn names(&self, ids: &[ActorId]) -> String {
        ids.iter().map(|id| self.actor(*id).name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// A step, for people. Names cells, never their values.
    #[must_use]
    pub fn describe(&self, action: &Action) -> String {
        let name = |id: &ActorId| self.actor(*id).name.as_str();
        match action {
            Action::Connect { actor, path } => format!("{} connects to {path}", name(actor)),
            Action::Edit { actor, row, cells } => {
                let cells: Vec<_> = cells.iter().map(|(id, _)| id.as_str()).collect();
                format!("{} edits {row}: {}", name(actor), cells.join(", "))
            }
            Action::DeleteRow { actor, row } => format!("{} deletes {row}", name(actor)),
            Action::GoOffline(actor) => format!("{} goes offline", name(actor)),
            Action::GoOnline(actor) => format!("{} comes back", name(actor)),
            Action::Cut(actor) => format!("{}'s connection is cut", name(actor)),
            Action::Rest { actor, method, path, .. } => {
                let path = path.split('?').next().unwrap_or_default();
                format!("{} sends {method} {path}", name(actor))
            }
            Action::Stage { resource, change } => format!("{resource} moves to {}", change.stage),
            Action::WaitUntil(condition) => format!("wait until {}", self.describe_wait(condition)),
        }
    }

    fn describe_wait(&self, condition: &Condition) -> String {
        let name = |id: &ActorId| self.actor(*id).name.as_str();
        match condition {
            Condition::Cell { actor, row, cell, .. } => {
                format!("{} sees the {cell} of {row}", name(actor))
            }
            Condition::Row { actor, row, present: true } => format!("{} sees {row}", name(actor)),
            Condition::Row { actor, row, present: false } => {
                format!("{} no longer sees {row}", name(actor))
            }
            Condition::Acknowledged(actor) => format!("{}'s edits are acknowledged", name(actor)),
            Condition::Converged(actors) => format!("{} have converged", self.names(actors)),
            Condition::OutboxEmpty => "nothing is owed".to_owned(),
        }
    }

    /// An invariant, for people.
    #[must_use]
    pub fn describe_invariant(&self, invariant: &Invariant) -> String {
        match invariant {
            Invariant::Converged(actors) => {
                format!("{} and the server have converged", self.names(actors))
            }
            Invariant::LegacyEqualsStore(resource) => {
                format!("legacy's {resource} equal the store's")
            }
            Invariant::NoAcknowledgedWriteLost => "no acknowledged write is lost".to_owned(),
            Invariant::OutboxEmpty => "nothing is owed to legacy".to_owned(),
            Invariant::Rows { resource, org, count } => {
                format!("{org} has {count} {resource}")
            }
            Invariant::Row { row, present: true, .. } => {
                format!("{row} is as expected, in the store and in legacy")
            }
            Invariant::Row { row, present: false, .. } => {
                format!("{row} is gone, from the store and from legacy")
            }
        }
    }
}

impl std::fmt::Display for RowRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.resource, self.row)
    }
}
