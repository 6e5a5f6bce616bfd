//! The HTTP edge: what comes in from callers, and the legacy path it is forwarded to.

mod alias;
mod background;
mod caller;
mod exchange;
pub mod forward;
mod meters;
mod parity;
pub mod problem;
mod ramp;
pub mod server;
mod shadow;
mod store_read;
mod store_write;
mod unmapped;

pub use background::Background;
pub use caller::Authenticator;
pub(crate) use exchange::marked;
pub use exchange::{Edge, EdgeParts, ORIGIN_HEADER};
pub use parity::{Parity, ParityParts, ParitySettings};
pub use shadow::{LegacyRead, Shadow, ShadowJob, ShadowParts, ShadowSettings};
pub use store_read::{NoStoreAnswer, ReadFor, ReadQuestion, StoreReader, claim_of};
