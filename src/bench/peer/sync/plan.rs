//! How much is measured: everything has a bound in count and in time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::SyncOptions;
use super::crowd::Shape;
use super::server::SyncSide;
use crate::bench::{BenchError, usage};

/// Rows of a path under load.
const ROWS: u32 = 200;
const MAX_CONNECTIONS: usize = 20_000;
const MAX_RATE: f64 = 100_000.0;
/// Files that are open besides the connections.
const OTHER_FILES: usize = 200;

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) sides: Vec<SyncSide>,
    pub(super) shape: Shape,
    /// Edits a second at which processor time is compared.
    pub(super) rate: f64,
    /// How long one load lasts, and how often each side has its turn.
    pub(super) load: Duration,
    pub(super) rounds: usize,
    pub(super) warm_up: Duration,
    /// The search for the highest rate: how long a step lasts, where it begins, where it ends.
    pub(super) step: Duration,
    pub(super) first_rate: f64,
    pub(super) last_rate: f64,
    /// How often a rate is offered before it counts as not sustained.
    pub(super) tries: usize,
    /// Steps between the highest rate that was sustained and the lowest that was not.
    pub(super) refinements: usize,
    /// A rate is sustained if 99 % of edits are visible within this time, and no delivery is missing.
    pub(super) p99_limit: Duration,
    pub(super) idle: Shape,
    /// Rows of the stores that a new client gets whole, the smaller first.
    pub(super) first_sync_rows: [u32; 2],
    /// How long debts to legacy are waited for.
    pub(super) settle: Duration,
}

impl Plan {
    pub(super) fn of(options: &SyncOptions) -> Result<Self, BenchError> {
        let refuse = |text: String| Err(BenchError::Options(text));
        let (paths, clients) = (options.paths, options.clients);
        let connections = paths.saturating_mul(clients);
        if paths == 0 || clients < 2 || connections > MAX_CONNECTIONS {
            return refuse(format!(
                "--paths {paths} --clients {clients}: at least 1 and 2, and at most \
                 {MAX_CONNECTIONS} connections"
            ));
        }
        if !(options.rate >= 1.0 && options.rate <= MAX_RATE) {
            return refuse(format!("--rate {}: must be from 1 to {MAX_RATE}", options.rate));
        }
        let seconds = Duration::from_secs;
        let idle_clients = if options.quick { 10 } else { 100 };
        let plan = Self {
            sides: if options.sides.is_empty() {
                SyncSide::ALL.to_vec()
            } else {
                options.sides.clone()
            },
            shape: Shape { paths, clients, rows: ROWS },
            rate: options.rate,
            load: if options.quick { seconds(1) } else { seconds(5) },
            rounds: if options.quick { 1 } else { 3 },
            warm_up: if options.quick { Duration::from_millis(200) } else { seconds(2) },
            step: if options.quick { Duration::from_millis(500) } else { seconds(3) },
            first_rate: options.rate,
            last_rate: if options.quick { options.rate * 2.0 } else { MAX_RATE },
            tries: if options.quick { 1 } else { 3 },
            refinements: if options.quick { 0 } else { 3 },
            p99_limit: Duration::from_millis(250),
            idle: Shape { paths: 20, clients: idle_clients, rows: 0 },
            first_sync_rows: if options.quick { [100, 200] } else { [20_000, 100_000] },
            settle: if options.quick { seconds(10) } else { seconds(30) },
        };
        let needed = connections.max(plan.idle.paths * plan.idle.clients) + OTHER_FILES;
        if usage::open_files().is_some_and(|open| open < needed) {
            return refuse(format!(
                "{needed} files have to be open at once: raise the limit first (ulimit -n {needed})"
            ));
        }
        Ok(plan)
    }

    /// The sides that are TinyBase's.
    pub(super) fn peers(&self) -> Vec<SyncSide> {
        self.sides.iter().copied().filter(|side| side.is_node()).collect()
    }

    pub(super) fn setup(&self) -> BTreeMap<&'static str, Value> {
        let ms = |time: Duration| Value::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        [
            ("topology", "load generator and legacy API in one process, each server in another, loopback sockets".into()),
            ("paths", self.shape.paths.into()),
            ("clients_per_path", self.shape.clients.into()),
            ("rows_per_path", self.shape.rows.into()),
            ("relay", "one edit delivered to one other client of its path".into()),
            ("rate_edits_per_s", self.rate.into()),
            ("load_ms", ms(self.load)),
            ("rounds", self.rounds.into()),
            ("step_ms", ms(self.step)),
            ("p99_limit_ms", ms(self.p99_limit)),
            ("idle_connections", (self.idle.paths * self.idle.clients).into()),
        ]
        .into()
    }
}
