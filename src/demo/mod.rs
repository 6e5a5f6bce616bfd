//! (demo)

pub mod legacy_api;
