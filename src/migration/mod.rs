//! The words of a migration: stages, origins, operations, plans and what each side answered.
//!
//! This module depends on no other: every step of the data flow speaks it.

mod condition;
mod id;
mod observation;
mod operation;
mod plan;
mod stage;

pub use condition::Condition;
pub use id::{InvalidPath, PathId, ResourceName, RowId, SessionId, UserId};
pub use observation::{Answer, Body, Failure, Observation};
pub use operation::{Operation, OperationKind, RouteTemplate, WriteKind};
pub use plan::{Plan, ReadPlan, WritePlan};
pub use stage::{Stage, UnknownStage};

/// Which data layer did something.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The existing REST API.
    Legacy,
    /// The synchronized store.
    Sync,
}

impl Origin {
    /// The lower-case word used in headers, metrics, JSON and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Sync => "sync",
        }
    }

    /// The other side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Legacy => Self::Sync,
            Self::Sync => Self::Legacy,
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
