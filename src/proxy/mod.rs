//! The HTTP edge: what comes in from callers, and the legacy path it is forwarded to.

mod alias;
mod caller;
mod exchange;
pub mod forward;
pub mod problem;
pub mod server;
mod shadow;
mod store_read;

pub use caller::Authenticator;
pub(crate) use exchange::marked;
pub use exchange::{Edge, EdgeParts, ORIGIN_HEADER};
pub use shadow::{LegacyRead, Shadow, ShadowJob, ShadowParts, ShadowSettings};
pub use store_read::{NoStoreAnswer, ReadFor, ReadQuestion, StoreReader, claim_of};
