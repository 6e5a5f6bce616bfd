//! The validated settings. Whoever holds one of these need not check it again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::gate::MismatchGate;
use crate::migration::Condition;
use crate::resource::Resource;
use crate::sync::PaceSettings;

use super::{BaseUrl, Database, SecretRef};

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The proxy's listener.
    pub server: Server,
    /// The admin API's listener.
    pub admin: Admin,
    /// The existing API.
    pub legacy: Legacy,
    /// Where data is kept.
    pub storage: Storage,
    /// Who signs users in.
    pub identity: Identity,
    /// Where flags come from.
    pub flags: Flags,
    /// What a step to a later stage must meet.
    pub interlocks: Interlocks,
    /// The sync path.
    pub sync: Sync,
    /// How reads are compared.
    pub compare: Compare,
    /// How owed writes are delivered.
    pub outbox: Outbox,
    /// How fast legacy is read in bulk.
    pub backfill: Backfill,
    /// Other processes on the same database.
    pub cluster: Cluster,
    /// The migrated entities; their names, tables and routes are distinct.
    pub resources: Vec<Arc<Resource>>,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it listens; port 0 is any free port.
    pub listen: SocketAddr,
    /// WebSockets of sync clients come in under this path. Default `/sync`.
    pub sync_mount: String,
    /// crossfade's own endpoints are under this path. Default `/_crossfade`.
    pub own_mount: String,
    /// Headers that a request or an answer may have, 16 to 10,000. Default 256.
    pub max_headers: usize,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; port 0 is any free port.
    pub listen: SocketAddr,
    /// What callers must show.
    pub token: SecretRef,
}

/// `[legacy]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legacy {
    /// Where it is.
    pub url: BaseUrl,
    /// Until a connection stands. Default 2 s.
    pub connect_timeout: Duration,
    /// Until the response's headers are there. Default 30 s.
    pub response_timeout: Duration,
    /// What deliveries show, and the key that signs on whose behalf they are made.
    pub service_token: SecretRef,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Control and store data.
    pub control: Database,
    /// Recordings: a file of their own per process.
    pub recordings: PathBuf,
    /// A file that rolls everything back by being there. Default: beside a local database, with `.rollback` behind its name.
    pub rollback_file: Option<PathBuf>,
}

/// `[identity]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// How sessions are verified.
    pub mode: IdentityMode,
    /// The tokens that crossfade gives to sync clients.
    pub sync_token: SyncToken,
}

/// How sessions are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityMode {
    /// Clerk session tokens.
    Clerk {
        /// The keys that sign them.
        keys: KeySource,
        /// Values of `azp` that are accepted; empty accepts any.
        authorized_parties: Vec<String>,
        /// The only `iss` that is accepted; `None` accepts any.
        issuer: Option<String>,
    },
    /// Whatever the request says of itself. The listener is on a loopback address.
    InsecureDev,
}

/// Where the identity provider's public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// One key in a file: SPKI PEM.
    PemFile(PathBuf),
    /// A JWK set, by https or on this machine.
    Jwks(BaseUrl),
}

/// `[identity.sync_token]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncToken {
    /// The key that signs: PKCS#8 PEM, ES256. `None`: one is made and kept in the control database.
    pub signing_key_file: Option<PathBuf>,
    /// How long a token is good. Default 900 s.
    pub ttl: Duration,
}

/// `[flags]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// Where toggles come from.
    pub source: FlagSource,
    /// What toggles' names begin with, before the first dot. Default `crossfade`.
    pub prefix: String,
}

/// Where toggles come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagSource {
    /// A file in Unleash's client-features JSON.
    File {
        /// The file.
        path: PathBuf,
        /// How often it is looked at for a change. Default 250 ms.
        reload: Duration,
    },
    /// An Unleash server.
    Unleash(Unleash),
}

/// `[flags.unleash]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unleash {
    /// The API, with its path (`/api`).
    pub url: BaseUrl,
    /// A backend token.
    pub token: SecretRef,
    /// The name that the server shows. Default `crossfade`.
    pub app_name: String,
    /// The environment whose strategies hold. Default `development`.
    pub environment: String,
    /// How often toggles are fetched. Default 1 s.
    pub poll: Duration,
    /// Until a fetch is given up. Default 2 s.
    pub timeout: Duration,
}

/// `[cluster]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// How other processes reach this one's users' listener. With it, a process that finds its database held by another one
    /// follows that one; without it, it does not start.
    pub advertise: Option<BaseUrl>,
    /// The admin APIs of all processes: a rollback calls each of them.
    pub peers: Vec<BaseUrl>,
}

/// `[interlocks]`
#[derive(Debug, Clone, PartialEq)]
pub struct Interlocks {
    /// The gate before `live`. Default: 1 % of comparisons may disagree.
    pub gate: MismatchGate,
    /// Conditions that are passed over. Default none.
    pub waive: BTreeSet<Condition>,
}

/// `[sync]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sync {
    /// When an edit is shown to others.
    pub durability: Durability,
    /// A path that nobody has used for so long is dropped from memory. Default 300 s.
    pub idle_unload: Duration,
    /// Who a client's peers are, on paths that no resource maps.
    pub topology: Topology,
    /// Sockets open at once; one more is refused. Default 16,384.
    pub max_connections: usize,
    /// When what a path has for all of its clients leaves. Default: at once up to 5,000 sends a second, after
    /// at most 175 ms beyond.
    pub pace: PaceSettings,
    /// A longer cell is refused of a client, in bytes of its text. Default 1 MiB.
    pub max_cell_bytes: usize,
    /// A socket that was silent for so long is pinged. Default 20 s.
    pub ping: Duration,
    /// A socket that was silent for so long is taken for dead; longer than `ping`. Default 60 s.
    pub silence: Duration,
    /// A socket that does not take a frame within this is closed. Default 30 s.
    pub send_timeout: Duration,
}

/// Who a client's peers are, on paths that no resource maps. A mapped path is always a star.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// The server alone. Paths that no resource maps are refused.
    #[default]
    Star,
    /// Each other: frames are relayed verbatim, by whoever asks. In mode `insecure-dev` only.
    Peer,
}

/// When an edit is shown to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// After its commit: what others were shown survives a kill.
    #[default]
    Committed,
    /// Before its commit, which follows at once: a kill may take back what others were shown.
    Relaxed,
}

/// `[compare]`
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// Comparisons under way at once; one more is shed. Default 32.
    pub max_concurrent: usize,
    /// A longer body is not compared. Default 1 MiB.
    pub max_body_bytes: usize,
    /// When both sides are read again after a mismatch, from the mismatch on; ascending. Default 1 s, 3 s.
    pub settle: Vec<Duration>,
    /// Until one read for a comparison is given up. Default 5 s.
    pub timeout: Duration,
    /// The share of compared reads that legacy is asked again, to measure its noise, 0 to 1. Default 0.01.
    pub noise_sample: f64,
    /// The share of sync tokens after which it is compared which rows both sides show their user, 0 to 1. Default 0.01.
    pub parity_sample: f64,
}

/// `[backfill]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    /// Requests a second that backfills, reconciles and tails may make together. Default 100.
    pub requests_per_s: NonZeroU32,
}

/// `[outbox]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbox {
    /// After so many an entry is a dead letter. Default 50.
    pub max_attempts: u32,
    /// Before the second attempt. Default 200 ms.
    pub initial_backoff: Duration,
    /// The longest wait between two attempts. Default 30 s.
    pub max_backoff: Duration,
}
