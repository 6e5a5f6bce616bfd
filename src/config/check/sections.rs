//! The sections about crossfade itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::key::Key;
use super::super::settings::{
    Admin, Cluster, Compare, Config, Durability, FlagSource, Flags, Identity, IdentityMode,
    Interlocks, KeySource, Legacy, Outbox, Server, Storage, Sync, SyncToken, Topology, Unleash,
};
use super::super::{BaseUrl, Database, SecretRef, raw};
use super::Checker;
use crate::gate::MismatchGate;
use crate::migration::Condition;
use crate::resource::Resource;
use crate::sync::PaceSettings;

/// Written out with six bytes for one, the most that JSON needs, such a cell fits into one frame.
const MAX_CELL_BYTES: u64 = 2 << 20;
/// A lower one would need millions of comparisons; a higher one would let anything pass.
const MISMATCH_RATES: std::ops::RangeInclusive<f64> = 0.000_01..=0.2;
const ANY_PORT: &str = "write an address and a port, as in \"127.0.0.1:8080\"";
const SECRET: &str = "write \"env:NAME\" or \"file:PATH\"";

impl Checker<'_> {
    pub(super) fn config(&mut self, raw: raw::Settings) -> Option<Config> {
        let server = self.server(raw.server.unwrap_or_default());
        let admin = self.admin(raw.admin.unwrap_or_default(), server.as_ref());
        let legacy = self.legacy(raw.legacy.unwrap_or_default());
        let storage = self.storage(raw.storage.unwrap_or_default());
        let identity = self.identity(raw.identity.unwrap_or_default(), server.as_ref());
        let flags = self.flags(raw.flags.unwrap_or_default());
        let interlocks = self.interlocks(raw.interlocks.unwrap_or_default());
        let sync = self.sync(raw.sync.unwrap_or_default(), identity.as_ref());
        let compare = self.compare(raw.compare.unwrap_or_default());
        let outbox = self.outbox(raw.outbox.unwrap_or_default());
        let backfill = self.backfill(raw.backfill.unwrap_or_default());
        let cluster = self.cluster(raw.cluster.unwrap_or_default());
        let resources = self.resources(raw.resource.unwrap_or_default(), server.as_ref());
        self.durability(&sync, resources.as_deref().unwrap_or_default());
        Some(Config {
            server: server?,
            admin: admin?,
            legacy: legacy?,
            storage: storage?,
            identity: identity?,
            flags: flags?,
            interlocks: interlocks?,
            sync,
            compare,
            outbox,
            backfill,
            cluster: cluster?,
            resources: resources?,
        })
    }

    fn server(&mut self, raw: raw::Server) -> Option<Server> {
        let key = Key::of("server");
        let listen = self.listen(&key, raw.listen);
        let sync_mount = self.mount(&key.field("sync_mount"), raw.sync_mount, "/sync");
        let own_mount = self.mount(&key.field("own_mount"), raw.own_mount, "/_crossfade");
        let max_headers =
            self.number(&key.field("max_headers"), raw.max_headers, 256, (16, 10_000));
        let max_headers = usize::try_from(max_headers).unwrap_or(usize::MAX);
        let (sync_mount, own_mount) = (sync_mount?, own_mount?);
        if is_under(&sync_mount, &own_mount) || is_under(&own_mount, &sync_mount) {
            let message =
                format!("overlaps with own_mount (`{own_mount}`): let neither be under the other");
            self.report(&key.field("sync_mount"), message);
            return None;
        }
        Some(Server { listen: listen?, sync_mount, own_mount, max_headers })
    }

    fn admin(&mut self, raw: raw::Admin, server: Option<&Server>) -> Option<Admin> {
        let key = Key::of("admin");
        let listen = self.listen(&key, raw.listen);
        let token = self.secret(&key.field("token"), raw.token);
        let listen = listen?;
        if listen.port() != 0 && server.is_some_and(|server| server.listen == listen) {
            self.report(
                &key.field("listen"),
                "is server.listen as well: give it a port of its own",
            );
        }
        Some(Admin { listen, token: token? })
    }

    fn legacy(&mut self, raw: raw::Legacy) -> Option<Legacy> {
        let key = Key::of("legacy");
        let url = self.base_url(&key.field("url"), raw.url);
        let service_token = self.secret(&key.field("service_token"), raw.service_token);
        let connect_timeout =
            self.millis(&key.field("connect_timeout_ms"), raw.connect_timeout_ms, 2_000);
        let response_timeout =
            self.millis(&key.field("response_timeout_ms"), raw.response_timeout_ms, 30_000);
        Some(Legacy { url: url?, connect_timeout, response_timeout, service_token: service_token? })
    }

    fn storage(&mut self, raw: raw::Storage) -> Option<Storage> {
        let key = Key::of("storage");
        let url = self.database(&key.field("url"), raw.url, "write \"file:crossfade.db\"");
        let token_key = key.field("auth_token");
        let auth_token = raw.auth_token.and_then(|token| self.secret(&token_key, Some(token)));
        let recordings_key = key.field("recordings");
        let recordings =
            self.database(&recordings_key, raw.recordings, "write \"file:recordings.db\"");
        let rollback_key = key.field("rollback_file");
        let rollback_file = match raw.rollback_file {
            Some(file) => Some(self.path(&rollback_key, &file)?),
            None => None,
        };
        let control = match (url?, auth_token) {
            (Database::Remote { url, .. }, auth_token) => Database::Remote { url, auth_token },
            (file, None) => file,
            (file, Some(_)) => {
                self.report(&token_key, "has no use: storage.url is a file; take it out");
                file
            }
        };
        match recordings? {
            Database::Remote { .. } => {
                self.report(&recordings_key, "must be a file of this process: write \"file:PATH\"");
                None
            }
            recordings if recordings == control => {
                self.report(&recordings_key, "is storage.url as well: give it a file of its own");
                None
            }
            Database::File(recordings) => Some(Storage { control, recordings, rollback_file }),
        }
    }

    fn identity(&mut self, raw: raw::Identity, server: Option<&Server>) -> Option<Identity> {
        let key = Key::of("identity");
        let token = raw.sync_token.unwrap_or_default();
        let token_key = key.field("sync_token");
        let ttl =
            self.number(&token_key.field("ttl_seconds"), token.ttl_seconds, 900, (30, 86_400));
        let signing_key_file = token
            .signing_key_file
            .and_then(|path| self.path(&token_key.field("signing_key_file"), &path));
        let mode_key = key.field("mode");
        let mode = self.require(&mode_key, raw.mode, "write \"clerk\" or \"insecure-dev\"")?;
        let keys = self.key_source(&key, mode, raw.jwt_key_file, raw.jwks_url);
        let authorized_parties = raw.authorized_parties.unwrap_or_default();
        for (place, party) in authorized_parties.iter().enumerate() {
            self.origin(&key.field("authorized_parties").index(place), party);
        }
        let mode = match mode {
            raw::IdentityMode::Clerk => {
                IdentityMode::Clerk { keys: keys?, authorized_parties, issuer: raw.issuer }
            }
            raw::IdentityMode::InsecureDev => {
                if server.is_some_and(|server| !server.listen.ip().is_loopback()) {
                    let message =
                        "needs a loopback address in server.listen, as in \"127.0.0.1:8080\"";
                    self.report(&mode_key, message);
                }
                IdentityMode::InsecureDev
            }
        };
        let ttl = Duration::from_secs(ttl);
        Some(Identity { mode, sync_token: SyncToken { signing_key_file, ttl } })
    }

    fn key_source(
        &mut self,
        key: &Key,
        mode: raw::IdentityMode,
        pem: Option<String>,
        jwks: Option<String>,
    ) -> Option<KeySource> {
        let (pem_key, jwks_key) = (key.field("jwt_key_file"), key.field("jwks_url"));
        if mode == raw::IdentityMode::InsecureDev {
            for (key, given) in [(&pem_key, pem.is_some()), (&jwks_key, jwks.is_some())] {
                if given {
                    self.report(key, "has no use with mode = \"insecure-dev\": take it out");
                }
            }
            return None;
        }
        match (pem, jwks) {
            (Some(pem), None) => self.path(&pem_key, &pem).map(KeySource::PemFile),
            (None, Some(jwks)) => {
                let url = self.base_url(&jwks_key, Some(jwks))?;
                if !url.is_https() && !url.is_loopback() {
                    self.report(&jwks_key, super::super::url::UrlProblem::Plain);
                }
                Some(KeySource::Jwks(url))
            }
            (None, None) => {
                self.report(&pem_key, "is missing: name the PEM file, or give jwks_url instead");
                None
            }
            (Some(_), Some(_)) => {
                self.report(&jwks_key, "is given beside jwt_key_file: take one of them out");
                None
            }
        }
    }

    fn flags(&mut self, raw: raw::Flags) -> Option<Flags> {
        let key = Key::of("flags");
        let prefix = raw.prefix.unwrap_or_else(|| "crossfade".to_owned());
        let sound = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(sound) {
            self.report(&key.field("prefix"), "must be 1 to 64 of A-Z a-z 0-9 - _ .");
        }
        let reload = self.millis(&key.field("reload_ms"), raw.reload_ms, 250);
        let source = match (raw.file, raw.unleash) {
            (Some(file), None) => {
                self.path(&key.field("file"), &file).map(|path| FlagSource::File { path, reload })
            }
            (None, Some(unleash)) => self.unleash(&key.field("unleash"), unleash),
            (None, None) => {
                self.report(
                    &key.field("file"),
                    "is missing: name a flag file, or add [flags.unleash]",
                );
                None
            }
            (Some(_), Some(_)) => {
                self.report(
                    &key.field("file"),
                    "is given beside [flags.unleash]: take one of them out",
                );
                None
            }
        };
        Some(Flags { source: source?, prefix })
    }

    fn unleash(&mut self, key: &Key, raw: raw::Unleash) -> Option<FlagSource> {
        let url = self.base_url(&key.field("url"), raw.url);
        let token = self.secret(&key.field("token"), raw.token);
        let poll = self.millis(&key.field("poll_ms"), raw.poll_ms, 1_000);
        let timeout = self.millis(&key.field("timeout_ms"), raw.timeout_ms, 2_000);
        let app_name = self.word(&key.field("app_name"), raw.app_name, "crossfade");
        let environment = self.word(&key.field("environment"), raw.environment, "development");
        let (url, token) = (url?, token?);
        Some(FlagSource::Unleash(Unleash { url, token, app_name, environment, poll, timeout }))
    }

    fn interlocks(&mut self, raw: raw::Interlocks) -> Option<Interlocks> {
        let key = Key::of("interlocks").field("max_mismatch_rate");
        let rate = raw.max_mismatch_rate.unwrap_or(0.01);
        let gate = MismatchGate::new(rate).filter(|_| MISMATCH_RATES.contains(&rate));
        if gate.is_none() {
            self.report(
                &key,
                "must be from 0.00001 to 0.2: the share of comparisons that may disagree",
            );
        }
        let waive = raw.waive.unwrap_or_default();
        if waive.contains(&Condition::WritePermissions) {
            let message = "lists `write-permissions`, which cannot be waived: add [resource.write]";
            self.report(&Key::of("interlocks").field("waive"), message);
        }
        Some(Interlocks { gate: gate?, waive })
    }

    fn cluster(&mut self, raw: raw::Cluster) -> Option<Cluster> {
        let key = Key::of("cluster");
        let advertise_key = key.field("advertise");
        let advertise = match raw.advertise {
            Some(url) => Some(self.accept(&advertise_key, BaseUrl::parse(&url))?),
            None => None,
        };
        let peers_key = key.field("peers");
        let peers = raw.peers.unwrap_or_default();
        let parsed = peers.iter().map(|url| self.accept(&peers_key, BaseUrl::parse(url)));
        let peers = parsed.collect::<Option<Vec<_>>>()?;
        Some(Cluster { advertise, peers })
    }

    fn sync(&mut self, raw: raw::Sync, identity: Option<&Identity>) -> Sync {
        let key = Key::of("sync");
        let topology = raw.topology.unwrap_or_default();
        let dev = |identity: &Identity| identity.mode == IdentityMode::InsecureDev;
        // An identity that could not be read is told already.
        if topology == Topology::Peer && !identity.is_none_or(dev) {
            let message = "needs identity.mode = \"insecure-dev\", as nothing relayed is checked; write \"star\"";
            self.report(&key.field("topology"), message);
        }
        let connections_key = key.field("max_connections");
        let max_connections =
            self.number(&connections_key, raw.max_connections, 16_384, (1, 1_000_000));
        let cell_key = key.field("max_cell_bytes");
        let max_cell_bytes =
            self.number(&cell_key, raw.max_cell_bytes, 1 << 20, (1024, MAX_CELL_BYTES));
        let idle_key = key.field("idle_unload_s");
        let idle_unload_s = self.number(&idle_key, raw.idle_unload_s, 300, (1, 24 * 60 * 60));
        let ping = self.millis(&key.field("ping_ms"), raw.ping_ms, 20_000);
        let silence_key = key.field("silence_ms");
        let silence = self.millis(&silence_key, raw.silence_ms, 60_000);
        if silence <= ping {
            self.report(
                &silence_key,
                "must be more than ping_ms, or no client could answer in time",
            );
        }
        let send_timeout = self.millis(&key.field("send_timeout_ms"), raw.send_timeout_ms, 30_000);
        let wait_key = key.field("broadcast_wait_ms");
        let wait_ms = self.number(&wait_key, raw.broadcast_wait_ms, 175, (0, 10_000));
        let per_s_key = key.field("broadcasts_per_s");
        let per_s = self.number(&per_s_key, raw.broadcasts_per_s, 5_000, (1, 10_000_000));
        Sync {
            pace: PaceSettings {
                broadcasts_per_s: u32::try_from(per_s).unwrap_or(u32::MAX),
                broadcast_wait: Duration::from_millis(wait_ms),
            },
            durability: raw.durability.unwrap_or_default(),
            idle_unload: Duration::from_secs(idle_unload_s),
            topology,
            max_connections: usize::try_from(max_connections).unwrap_or(usize::MAX),
            max_cell_bytes: usize::try_from(max_cell_bytes).unwrap_or(usize::MAX),
            ping,
            silence,
            send_timeout,
        }
    }

    /// Relaxed durability is for paths whose clients all have the same right to write: after a kill, whoever has
    /// an edit that was shown and not kept brings it again, and may not be allowed to.
    fn durability(&mut self, sync: &Sync, resources: &[Arc<Resource>]) {
        let by_role = resources.iter().find(|resource| resource.write.is_some());
        if let Some(resource) = by_role.filter(|_| sync.durability == Durability::Relaxed) {
            let message = format!(
                "needs clients that all may write the same, and resource[{}] has [resource.write]: write \"committed\"",
                resource.name
            );
            self.report(&Key::of("sync").field("durability"), message);
        }
    }

    fn compare(&mut self, raw: raw::Compare) -> Compare {
        let key = Key::of("compare");
        let max_concurrent =
            self.number(&key.field("max_concurrent"), raw.max_concurrent, 32, (1, 4096));
        let bytes_key = key.field("max_body_bytes");
        let max_body_bytes = self.number(&bytes_key, raw.max_body_bytes, 1 << 20, (1024, 1 << 28));
        let settle_key = key.field("settle_ms");
        let settle = raw.settle_ms.unwrap_or_else(|| vec![1_000, 3_000]);
        if settle.len() > 8 || settle.iter().any(|&ms| ms == 0 || ms > 600_000) {
            self.report(&settle_key, "must be at most 8 times, each from 1 to 600000");
        } else if !settle.is_sorted_by(|a, b| a < b) {
            self.report(&settle_key, "must ascend: each time counts from the mismatch");
        }
        let timeout = self.millis(&key.field("timeout_ms"), raw.timeout_ms, 5_000);
        let noise_sample = raw.noise_sample.unwrap_or(0.01);
        if !(0.0..=1.0).contains(&noise_sample) {
            let message = "must be from 0 to 1: it is a share of the compared reads";
            self.report(&key.field("noise_sample"), message);
        }
        let parity_sample = raw.parity_sample.unwrap_or(0.01);
        if !(0.0..=1.0).contains(&parity_sample) {
            let message = "must be from 0 to 1: it is a share of the sync tokens";
            self.report(&key.field("parity_sample"), message);
        }
        Compare {
            noise_sample,
            parity_sample,
            max_concurrent: usize::try_from(max_concurrent).unwrap_or(usize::MAX),
            max_body_bytes: usize::try_from(max_body_bytes).unwrap_or(usize::MAX),
            settle: settle.into_iter().map(Duration::from_millis).collect(),
            timeout,
        }
    }

    fn outbox(&mut self, raw: raw::Outbox) -> Outbox {
        let key = Key::of("outbox");
        let max_attempts =
            self.number(&key.field("max_attempts"), raw.max_attempts, 50, (1, 10_000));
        let initial_backoff =
            self.millis(&key.field("initial_backoff_ms"), raw.initial_backoff_ms, 200);
        let max_key = key.field("max_backoff_ms");
        let max_backoff = self.millis(&max_key, raw.max_backoff_ms, 30_000);
        if max_backoff < initial_backoff {
            self.report(&max_key, "is less than initial_backoff_ms");
        }
        let max_attempts = u32::try_from(max_attempts).unwrap_or(u32::MAX);
        Outbox { max_attempts, initial_backoff, max_backoff }
    }

    fn listen(&mut self, section: &Key, value: Option<String>) -> Option<SocketAddr> {
        let key = section.field("listen");
        let value = self.require(&key, value, ANY_PORT)?;
        let parsed = value.parse().map_err(|_| format!("is no address and port: {ANY_PORT}"));
        self.accept(&key, parsed)
    }

    /// A path under which crossfade answers itself.
    fn mount(&mut self, key: &Key, value: Option<String>, default: &str) -> Option<String> {
        let value = value.unwrap_or_else(|| default.to_owned());
        let parsed =
            crate::resource::PathPattern::parse(&value).ok().filter(|path| !path.takes_id());
        if parsed.is_none() {
            self.report(
                key,
                format!("must be a path without a slash at its end, as in \"{default}\""),
            );
            return None;
        }
        Some(value)
    }

    fn secret(&mut self, key: &Key, value: Option<String>) -> Option<SecretRef> {
        let value = self.require(key, value, SECRET)?;
        let parsed = SecretRef::parse(&value, self.base_dir);
        self.accept(key, parsed)
    }

    fn base_url(&mut self, key: &Key, value: Option<String>) -> Option<BaseUrl> {
        let value = self.require(key, value, "write it as in \"http://127.0.0.1:3000\"")?;
        self.accept(key, BaseUrl::parse(&value))
    }

    fn database(&mut self, key: &Key, value: Option<String>, remedy: &str) -> Option<Database> {
        let value = self.require(key, value, remedy)?;
        let parsed = Database::parse(&value, self.base_dir);
        self.accept(key, parsed)
    }

    fn path(&mut self, key: &Key, value: &str) -> Option<PathBuf> {
        if value.is_empty() {
            self.report(key, "is empty: name a file");
            return None;
        }
        Some(self.base_dir.join(value))
    }

    /// An origin, as a browser names it.
    fn origin(&mut self, key: &Key, value: &str) {
        let sound = BaseUrl::parse(value)
            .is_ok_and(|url| url.path_prefix().is_empty() && !value.ends_with('/'));
        if !sound {
            self.report(
                key,
                "is no origin: write scheme, host and port, as in \"https://app.example.com\"",
            );
        }
    }

    fn word(&mut self, key: &Key, value: Option<String>, default: &str) -> String {
        let value = value.unwrap_or_else(|| default.to_owned());
        if value.trim().is_empty() {
            self.report(key, "is empty");
        }
        value
    }
}

/// Whether a path is another one or under it.
pub(super) fn is_under(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
