//! The rollback switch: one atomic word per scope, stronger than the flags.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::migration::ResourceName;

/// What a switch is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Every resource.
    All,
    /// One resource.
    Resource(ResourceName),
}

impl fmt::Display for Scope {
    /// `*` or the resource's name: how the scope is written in databases and files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "*",
            Self::Resource(resource) => resource.as_str(),
        })
    }
}

impl From<&str> for Scope {
    fn from(text: &str) -> Self {
        if text == "*" { Self::All } else { Self::Resource(ResourceName::new(text)) }
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(String::deserialize(deserializer)?.as_str()))
    }
}

/// A rollback, as it was ordered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tripped {
    /// Grows with every change of any scope; the highest one known wins.
    pub epoch: u64,
    /// When, in milliseconds since the epoch of time.
    pub at_ms: u64,
    /// By whom.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Whether resources in `complete` go back too, although legacy's rows are stale.
    pub accept_stale: bool,
}

/// The end of a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lifted {
    /// The scope's new epoch.
    pub epoch: u64,
    /// By whom.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What it ended.
    pub was: Tripped,
}

/// One scope's switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum SwitchState {
    /// Flags and stages hold.
    Armed {
        /// The epoch of the last change; 0 if there was none.
        epoch: u64,
    },
    /// Legacy at once.
    Tripped(Tripped),
}

impl SwitchState {
    /// The epoch of the last change.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        match self {
            Self::Armed { epoch } | Self::Tripped(Tripped { epoch, .. }) => *epoch,
        }
    }

    /// The stronger of two: the higher epoch; on a tie tripped; between two trips of one epoch the one
    /// that sorts lower, so that everybody chooses the same.
    fn stronger(self, other: Self) -> Self {
        match self.epoch().cmp(&other.epoch()) {
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Equal => match (self, other) {
                (Self::Tripped(one), Self::Tripped(two)) => Self::Tripped(one.min(two)),
                (tripped @ Self::Tripped(_), _) | (_, tripped) => tripped,
            },
        }
    }
}

/// All scopes' switches: what is kept in the database and told to other processes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RollbackState(BTreeMap<Scope, SwitchState>);

impl RollbackState {
    /// What is known of one scope.
    #[must_use]
    pub fn get(&self, scope: &Scope) -> Option<&SwitchState> {
        self.0.get(scope)
    }

    /// What is known, by scope.
    pub fn iter(&self) -> impl Iterator<Item = (&Scope, &SwitchState)> {
        self.0.iter()
    }

    /// Adds what is known elsewhere. Commutative, associative, idempotent.
    pub fn merge(&mut self, scope: Scope, state: SwitchState) {
        let merged = match self.0.remove(&scope) {
            Some(known) => known.stronger(state),
            None => state,
        };
        self.0.insert(scope, merged);
    }

    /// The rollback that a resource is under: the one of all resources, else its own.
    #[must_use]
    pub fn over(&self, resource: &ResourceName) -> Option<(&Scope, &Tripped)> {
        let tripped = |entry: (&'_ Scope, &'_ SwitchState)| match entry {
            (_, SwitchState::Armed { .. }) => false,
            (Scope::All, SwitchState::Tripped(_)) => true,
            (Scope::Resource(name), SwitchState::Tripped(_)) => name == resource,
        };
        // `All` sorts first. There are as many entries as scopes ever tripped: a handful.
        self.0.iter().find(|entry| tripped(*entry)).and_then(|(scope, state)| match state {
            SwitchState::Tripped(tripped) => Some((scope, tripped)),
            SwitchState::Armed { .. } => None,
        })
    }

    fn next_epoch(&self) -> u64 {
        self.0.values().map(SwitchState::epoch).max().unwrap_or(0).saturating_add(1)
    }
}

impl FromIterator<(Scope, SwitchState)> for RollbackState {
    fn from_iter<I: IntoIterator<Item = (Scope, SwitchState)>>(entries: I) -> Self {
        let mut state = Self::default();
        for (scope, switch) in entries {
            state.merge(scope, switch);
        }
        state
    }
}

/// The switch in memory. Reading takes no lock; keeping it in the database is the caller's part, and
/// a database that cannot be written does not keep it from tripping.
#[derive(Debug)]
pub struct RollbackSwitch {
    state: ArcSwap<RollbackState>,
    changes: watch::Sender<u64>,
}

impl Default for RollbackSwitch {
    fn default() -> Self {
        Self::new(RollbackState::default())
    }
}

impl RollbackSwitch {
    /// A switch in a state that was kept.
    #[must_use]
    pub fn new(state: RollbackState) -> Self {
        Self { state: ArcSwap::from_pointee(state), changes: watch::channel(0).0 }
    }

    /// The state now, to be kept, told or asked.
    #[must_use]
    pub fn state(&self) -> Arc<RollbackState> {
        self.state.load_full()
    }

    /// The number of changes so far: who drains sockets waits for it.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The state now, for the length of one decision.
    pub(super) fn load(&self) -> arc_swap::Guard<Arc<RollbackState>> {
        self.state.load()
    }

    /// Sends a scope back to legacy. Tripping what is tripped gives it a new epoch, actor and reason.
    ///
    /// `accept_stale` sends resources in `complete` back too.
    pub fn trip(
        &self,
        scope: &Scope,
        actor: &str,
        reason: &str,
        at_ms: u64,
        accept_stale: bool,
    ) -> Tripped {
        let tripped = |epoch| Tripped {
            epoch,
            at_ms,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            accept_stale,
        };
        let before = self.change(|state| {
            let switch = SwitchState::Tripped(tripped(state.next_epoch()));
            state.0.insert(scope.clone(), switch);
        });
        tripped(before.next_epoch())
    }

    /// Ends a scope's rollback; `None` if it was not tripped. Never called by the program itself.
    ///
    /// While a flag document says that the kill switch is off, the next document trips `All` again:
    /// tell the operator to turn it on first.
    pub fn lift(&self, scope: &Scope, actor: &str, reason: &str) -> Option<Lifted> {
        let before = self.change(|state| {
            let epoch = state.next_epoch();
            if let Some(switch @ SwitchState::Tripped(_)) = state.0.get_mut(scope) {
                *switch = SwitchState::Armed { epoch };
            }
        });
        let SwitchState::Tripped(was) = before.get(scope)?.clone() else { return None };
        let epoch = before.next_epoch();
        Some(Lifted { epoch, actor: actor.to_owned(), reason: reason.to_owned(), was })
    }

    /// Adds what the database or another process knows; says whether anything changed.
    pub fn merge(&self, other: &RollbackState) -> bool {
        let mut changed = false;
        self.change(|state| {
            let before = state.clone();
            for (scope, switch) in &other.0 {
                state.merge(scope.clone(), switch.clone());
            }
            changed = *state != before;
        });
        changed
    }

    /// Changes the state as one step and gives the state before it.
    fn change(&self, mut change: impl FnMut(&mut RollbackState)) -> Arc<RollbackState> {
        let before = self.state.rcu(|state| {
            let mut next = RollbackState::clone(state);
            change(&mut next);
            next
        });
        self.changes.send_modify(|count| *count += 1);
        before
    }
}
