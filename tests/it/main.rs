//! Integration tests: one binary, a module a topic.

#![allow(missing_docs, reason = "tests")]

mod proxy;
