//! The settings as they are written, before anything is checked but types and spelling.
//!
//! Every key is optional here: what is missing is told by the validation, together with everything else that is wrong.
//! What each key means is told in `docs/config.md`, by whose tables a test checks these types.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::{ArrayOrder, StringForm, TimeUnit};
use crate::migration::Condition;
use crate::resource::{
    CellType, ClaimName, Collation, CreateMode, Generated, Nulls, Op, RoleClaim, TimeSpelling,
};

/// Declares raw settings: each field an optional key, nothing else allowed.
macro_rules! raw {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Default, serde::Deserialize)]
        #[cfg_attr(test, derive(serde::Serialize))]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct $name {
            $(pub(super) $field: Option<$kind>,)*
        }
    )*};
}

raw! {
    /// The whole file.
    Settings {
        server: Server,
        admin: Admin,
        legacy: Legacy,
        storage: Storage,
        identity: Identity,
        flags: Flags,
        interlocks: Interlocks,
        sync: Sync,
        compare: Compare,
        outbox: Outbox,
        backfill: Backfill,
        cluster: Cluster,
        resource: Vec<Resource>,
    }
    Server {
        listen: String,
        sync_mount: String,
        max_headers: u64,
        own_mount: String,
    }
    Admin {
        listen: String,
        token: String,
    }
    Legacy {
        url: String,
        connect_timeout_ms: u64,
        response_timeout_ms: u64,
        service_token: String,
    }
    Storage {
        url: String,
        auth_token: String,
        recordings: String,
        rollback_file: String,
    }
    Identity {
        mode: IdentityMode,
        jwt_key_file: String,
        jwks_url: String,
        authorized_parties: Vec<String>,
        issuer: String,
        sync_token: SyncToken,
    }
    SyncToken {
        signing_key_file: String,
        ttl_seconds: u64,
    }
    Flags {
        file: String,
        prefix: String,
        reload_ms: u64,
        unleash: Unleash,
    }
    Unleash {
        url: String,
        token: String,
        app_name: String,
        environment: String,
        poll_ms: u64,
        timeout_ms: u64,
    }
    Interlocks {
        max_mismatch_rate: f64,
        waive: BTreeSet<Condition>,
    }
    Sync {
        durability: super::Durability,
        idle_unload_s: u64,
        topology: super::Topology,
        max_connections: u64,
        broadcasts_per_s: u64,
        broadcast_wait_ms: u64,
        max_cell_bytes: u64,
        ping_ms: u64,
        silence_ms: u64,
        send_timeout_ms: u64,
    }
    Compare {
        max_concurrent: u64,
        max_body_bytes: u64,
        settle_ms: Vec<u64>,
        timeout_ms: u64,
        noise_sample: f64,
        parity_sample: f64,
    }
    Outbox {
        max_attempts: u64,
        initial_backoff_ms: u64,
        max_backoff_ms: u64,
    }
    Backfill {
        requests_per_s: u64,
    }
    Cluster {
        advertise: String,
        peers: Vec<String>,
    }
    /// One `[[resource]]`.
    Resource {
        name: String,
        table: String,
        id: String,
        version: String,
        create: CreateMode,
        path: String,
        claims: BTreeMap<String, ClaimName>,
        row: BTreeMap<String, String>,
        routes: Routes,
        envelope: Envelope,
        cells: BTreeMap<String, Cell>,
        query: Query,
        compare: CompareRules,
        write: Write,
        tail: Tail,
    }
    Routes {
        list: String,
        get: String,
        create: String,
        update: String,
        delete: String,
        exclude: Vec<String>,
        harmless: Vec<String>,
    }
    Envelope {
        list: String,
        total: String,
        limit: String,
        offset: String,
        item: String,
        error_code: String,
        error_message: String,
    }
    Cell {
        r#type: CellType,
        required: bool,
        nullable: bool,
        read_only: bool,
        unique: bool,
        unique_within: UniqueWithin,
        r#enum: Vec<String>,
        generated: Generated,
        prefix: String,
        spelling: TimeSpelling,
        default: serde_json::Value,
        references: String,
    }
    /// `[resource.write]`.
    Write {
        claim: RoleClaim,
        owner: String,
        roles: BTreeMap<String, Role>,
    }
    /// `[resource.write.roles.<role>]`.
    Role {
        cells: Vec<String>,
        create: bool,
        delete: bool,
        own_rows: bool,
    }
    /// `[resource.tail]`.
    Tail {
        by: String,
        poll_ms: u64,
        overlap: u64,
        sweep_s: u64,
        max_gone: f64,
    }
    Query {
        filters: Vec<Filter>,
        sort: Sort,
        page: Page,
        indexes: Vec<Index>,
    }
    Index {
        eq: Vec<String>,
        sort: String,
    }
    Filter {
        param: String,
        cell: String,
        op: Op,
    }
    Sort {
        param: String,
        keys: Vec<String>,
        default: String,
        tie_breaker: String,
        collation: Collation,
        nulls: Nulls,
    }
    Page {
        limit: String,
        offset: String,
        default_limit: u64,
        max_limit: u64,
    }
    /// `[resource.compare]`.
    CompareRules {
        ignore: Vec<String>,
        allow_added: Vec<String>,
        null_eq_missing: Vec<String>,
        sql_bool: Vec<String>,
        strict: Vec<String>,
        bind: Vec<Vec<String>>,
        arrays: Vec<ArrayRule>,
        numbers: Vec<NumberRule>,
        strings: Vec<StringRule>,
        times: Vec<TimeRule>,
        headers: Vec<String>,
        clear: Vec<String>,
    }
    ArrayRule {
        path: String,
        by: String,
        ordered: bool,
        r#as: ArrayOrder,
    }
    NumberRule {
        path: String,
        abs: f64,
        rel: f64,
        ulp: u64,
    }
    StringRule {
        path: String,
        r#as: Vec<StringForm>,
        mask: Vec<String>,
    }
    TimeRule {
        path: String,
        within_ms: u64,
        unit: TimeUnit,
    }
}

/// Among which rows a cell is unique.
#[derive(Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub(super) enum UniqueWithin {
    Path,
    All,
}

/// Who signs users in.
#[derive(Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "kebab-case")]
pub(super) enum IdentityMode {
    Clerk,
    InsecureDev,
}
