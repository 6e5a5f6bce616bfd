//! Integration tests: one binary, a module a topic.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may")]

mod attacks;
mod bench_proxy;
mod bench_rollback;
mod comparing;
mod demo;
mod flags;
mod flags_unleash;
mod identity;
mod identity_jwks;
mod identity_tokens;
mod proxy;
mod unmapped;
