//! The HTTP edge: what comes in from callers, and the legacy path it is forwarded to.

pub mod forward;
pub mod problem;
pub mod server;
