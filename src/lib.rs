//! crossfade: carries a live product from a REST data layer to a local-first one.
//!
//! The library behind the `crossfade` binary. Data flows one way, and each folder is one step
//! (see `docs/architecture.md`):
//!
//! ```text
//! request ─ route ─ authenticate ─ decide ─┬─ legacy ──┐
//!                                          └─ store ───┴─ answer ─(after)─ compare ─ record ─ report
//! socket ─ authenticate ─ path ─ judge ─ merge ─ commit ─ broadcast ─ outbox ─ legacy
//! ```

pub mod bench;
pub mod cli;
pub mod clock;
pub mod compare;
pub mod config;
pub mod demo;
pub mod flags;
pub mod gate;
pub mod identity;
pub mod legacy;
pub mod migration;
pub mod proxy;
pub mod record;
pub mod report;
pub mod resource;
pub mod scenario;
pub mod serve;
pub mod storage;
pub mod sync;
pub mod telemetry;
