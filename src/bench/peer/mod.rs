//! `crossfade bench sync --peer` and `crossfade bench store --peer`: crossfade beside TinyBase's own Node code,
//! in one run, on the same machine.
//!
//! ```text
//! sync:  plan ─ servers (child processes) ─ load (this process) ─ figures ─ ratios ─ document
//! store: plan ─ workers (child processes) ─ the same jobs in turns ─ figures ─ ratios ─ document
//! ```
//!
//! What a figure is, and what is outside it: `docs/benchmarks.md`.

mod document;
mod node;
mod store;
mod sync;

pub use document::{Figure, GoalRatio, PeerDocument, Side};
pub use store::{StoreOptions, run as store, work as store_worker};
pub use sync::{SyncCase, SyncOptions, SyncSide, run as sync};
