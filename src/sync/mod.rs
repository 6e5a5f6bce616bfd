//! The sync path: TinyBase clients on WebSocket, one task per path, and what is owed to legacy.
//!
//! ```text
//! socket ─ admit ─ path ─ judge ─ merge ─ commit ─ broadcast
//!                                          └─ outbox ─ legacy
//! ```
//!
//! A path is a star (each client's only peer is the server): no frame goes from client to client, and
//! nothing reaches anyone before it was judged, merged and committed.

mod aliases;
mod authority;
pub mod backfill;
mod caught_up;
pub mod client;
mod intents;
mod late;
mod legacy_list;
mod legacy_pace;
mod legacy_rows;
mod mapped;
pub mod mirror;
mod name;
pub mod outbox;
mod owed_mirrors;
mod path;
mod peer;
mod permission;
mod policy;
mod random;
mod rebuild;
pub mod reconcile;
mod refusals;
mod registry;
mod row_traffic;
pub mod server;
#[cfg(test)]
mod simulation;
mod store_write;
pub mod tail;
#[cfg(test)]
mod test_legacy;
#[cfg(test)]
mod test_server;
pub mod vectors;

pub use aliases::Aliases;
pub use authority::{Authority, LegacyDecides, SharedAuthority};
pub use caught_up::{CaughtUp, Missed, OpenMirror, PassingBy, Reconciled, Standing};
pub use intents::{IntentParts, Intents, OpenIntent};
pub use legacy_pace::LegacyPace;
pub use legacy_rows::{LegacyRowError, LegacyRows};
pub use mapped::MappedTables;
pub use name::PathName;
pub use owed_mirrors::{OwedMirrors, run as run_owed_mirrors};
pub use path::PaceSettings;
pub use path::{
    Applied, CloseReason, LegacyRow, Outcome, PathError, PathHandle, PathIndexes, PathReport,
    PathView, Prepared, Settled, Source, StoreDeed, StoreRefusal, StoreWrite, StoreWritten, Wrote,
};
pub use policy::Writer;
pub use random::StarRandom;
pub use rebuild::{RebuildError, Rebuilt};
pub use registry::{PathRegistry, RegistrySettings};
pub use row_traffic::RowTraffic;
pub use store_write::{Elsewhere, OwedWaits, RestWrite, StoreAnswer, StoreWriter};
