//! The file as it is written, before anything is checked but types and spelling.
//!
//! Format version 1; what each key means is told in `scenarios/README.md`.

use serde::Deserialize;
use toml::Table;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScenario {
    /// Checked on its own before the rest is read.
    #[serde(rename = "version")]
    pub(super) _version: i64,
    pub(super) name: String,
    pub(super) summary: String,
    pub(super) deadline_ms: Option<u64>,
    pub(super) settle_ms: Option<u64>,
    #[serde(default)]
    pub(super) legacy: RawLegacy,
    #[serde(default)]
    pub(super) crossfade: RawCrossfade,
    #[serde(default)]
    pub(super) actors: Vec<RawActor>,
    #[serde(default)]
    pub(super) steps: Vec<RawStep>,
    #[serde(default)]
    pub(super) expect: Vec<RawExpect>,
}

/// `[legacy]`: the built-in sample API.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLegacy {
    pub(super) rows: Option<usize>,
    pub(super) organisations: Option<usize>,
    pub(super) seed: Option<u64>,
}

/// `[crossfade]`: how the server stands before the first step.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCrossfade {
    pub(super) stage: Option<String>,
    pub(super) cohort: Option<u8>,
    pub(super) shadow: Option<u8>,
    pub(super) backfill: Option<bool>,
}

/// `[[actors]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawActor {
    pub(super) name: String,
    pub(super) kind: RawKind,
    pub(super) user: Option<String>,
    pub(super) org: Option<String>,
    pub(super) role: Option<String>,
}

/// Kinds of actors, those of later versions included so that they can be told from a slip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawKind {
    Native,
    Rest,
    Tinybase,
    Browser,
}

/// `[[steps]]`: exactly one key, the action.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawStep {
    Connect(RawConnect),
    Edit(RawEdit),
    DeleteRow(RawRow),
    GoOffline(RawWho),
    GoOnline(RawWho),
    Cut(RawWho),
    Rest(RawRest),
    Stage(RawStage),
    WaitUntil(RawWait),
}

/// Actions of later versions: named, so that they are refused as such and never passed over.
pub(super) const PLANNED_STEPS: [&str; 9] = [
    "kill_server",
    "restart_server",
    "kill_database",
    "expire_token",
    "skew_clock",
    "roll_back",
    "link",
    "fault",
    "click",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWho {
    pub(super) actor: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConnect {
    pub(super) actor: String,
    pub(super) path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEdit {
    pub(super) actor: String,
    pub(super) resource: Option<String>,
    pub(super) row: String,
    #[serde(default)]
    pub(super) cells: Table,
    #[serde(default)]
    pub(super) clear: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRow {
    pub(super) actor: String,
    pub(super) resource: Option<String>,
    pub(super) row: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRest {
    pub(super) actor: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Option<Table>,
    pub(super) expect_status: Option<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStage {
    pub(super) resource: Option<String>,
    pub(super) stage: String,
    pub(super) cohort: Option<u8>,
    pub(super) shadow: Option<u8>,
}

/// One condition; which keys go together is checked afterwards.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWait {
    pub(super) actor: Option<String>,
    pub(super) resource: Option<String>,
    pub(super) row: Option<String>,
    pub(super) cell: Option<String>,
    pub(super) value: Option<toml::Value>,
    pub(super) present: Option<bool>,
    pub(super) acknowledged: Option<bool>,
    pub(super) converged: Option<Vec<String>>,
    pub(super) outbox_empty: Option<bool>,
}

/// `[[expect]]`: exactly one key, the invariant.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawExpect {
    Converged(RawConverged),
    LegacyEqualsStore(RawResource),
    NoAcknowledgedWriteLost(RawNothing),
    OutboxEmpty(RawNothing),
    Rows(RawRows),
    Row(RawExpectRow),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNothing {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConverged {
    pub(super) actors: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawResource {
    pub(super) resource: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRows {
    pub(super) resource: Option<String>,
    pub(super) org: Option<String>,
    pub(super) count: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExpectRow {
    pub(super) resource: Option<String>,
    pub(super) org: Option<String>,
    pub(super) row: String,
    #[serde(default)]
    pub(super) cells: Table,
    pub(super) present: Option<bool>,
}
