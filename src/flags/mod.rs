//! Which stage a resource is in, who is in its cohort, and the switch that overrules both.
//!
//! ```text
//! file ────┐
//! Unleash ─┼─ Toggles ─ Evaluation ─┐
//! fixed ───┘                        ├─ StageDecider ─ EffectiveStage
//!                  RollbackSwitch ──┘
//! ```
//!
//! A provider only feeds documents (Unleash's client-features JSON) into the one engine of [`Toggles`], so a
//! user falls in the same bucket under each. A decision is taken from memory: no I/O, no lock.

mod decide;
mod document;
mod engine;
mod evaluation;
mod file;
mod fixed;
mod reach;
mod rollback;
mod unleash;

pub use decide::{
    EffectiveStage, Grant, Interlock, NoInterlock, Reason, StageChange, StageDecider,
};
pub use engine::{Application, FlagsStatus, ProviderKind, Subject, Toggles};
pub use evaluation::{Evaluation, StageRequest, UnknownVariant};
pub use file::{FileError, FileSettings};
pub use fixed::FixedToggles;
pub use reach::Reach;
pub use rollback::{Lifted, RollbackState, RollbackSwitch, Scope, SwitchState, Tripped};
pub use unleash::{UnleashError, UnleashSettings};
