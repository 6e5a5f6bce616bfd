//! The REST path, as crossfade itself uses it: comparisons, deliveries, re-reads, backfill.
//!
//! What users send is not made here: it is passed on byte for byte by `proxy::forward`.

mod client;

pub use client::{
    CallerHeaders, Credentials, LegacyClient, LegacyClientError, LegacyRequest, LegacySettings,
    LegacyTransport, ON_BEHALF_OF_HEADER, PURPOSE_HEADER, Purpose,
};
