//! Recorded talks between real TinyBase clients and TinyBase's own servers, played to this crate's.
//!
//! `clients`: the crate's own clients of both modes, live. `star`: talks with a server's store, in which the star is the clients' only peer. `peer`: all talks, relayed, with and without
//! a store, multiplexed or not. `raw`: single frames, good and bad, and how they are answered.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected has to fail, and says how much it has played"
)]

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod peer;
mod raw;
mod reader;
mod server;
mod star;
