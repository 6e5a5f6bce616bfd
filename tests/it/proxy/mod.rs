//! The proxy, compared with direct access: what is sent is spoken byte by byte over TCP, where a
//! library would hide the odd parts.

mod expect;
mod failures;
mod framing;
mod harness;
mod http2;
mod streams;
mod taps;
mod transparent;
mod upgrade;
