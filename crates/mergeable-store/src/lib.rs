//! TinyBase's MergeableStore and its synchronizer, wire-compatible with TinyBase 10: the same stamps, hashes, merge results
//! and messages.
//!
//! Nothing here does I/O, waits, reads a clock or makes random numbers of its own. The caller passes the time (`now`, in
//! milliseconds since 1970), a source of randomness, and the frames that arrived; and gets back the frames to send and what
//! changed, to store it. So the same code runs in production and under simulated time.
//!
//! - [`MergeableStore`]: tables and values with stamps and hashes; transactions, merging, loading and saving.
//! - [`Synchronizer`]: a client's end of a connection, as TinyBase's `createWsSynchronizer`; [`MultiplexedClient`]: several
//!   on the channels of one connection.
//! - [`Star`]: the server's end of all connections of a path; each client's only peer.
//! - [`Relay`]: the same as TinyBase's own server has it; clients are each other's peers.
//! - [`Channels`]: the server's end of a multiplexed connection, which carries several paths.
//!
//! ```
//! use std::collections::VecDeque;
//! use mergeable_store::*;
//!
//! struct Lcg(u64); // A caller's randomness; a server takes it from the system.
//! impl Random for Lcg {
//!     fn fill(&mut self, bytes: &mut [u8]) {
//!         for byte in bytes {
//!             self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
//!             *byte = (self.0 >> 56) as u8;
//!         }
//!     }
//! }
//! struct AllowAll;
//! impl Policy for AllowAll {
//!     fn judge(&mut self, _: &Edit<'_>) -> Ruling { Ruling::Accept }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (now, rng) = (1_763_800_000_000, &mut Lcg(7));
//! let store = |id: &str| MergeableStore::new(ClientId::from_unique_id(id));
//! let mut star = Star::new(store("server"), Limits::default());
//! let ids = [ConnectionId::from("alice"), ConnectionId::from("bob")];
//! let mut clients = [Synchronizer::new(store("alice")), Synchronizer::new(store("bob"))];
//!
//! // Alice writes before she is connected; then both connect.
//! clients[0].edit(now, rng, |tx| tx.set_cell("pets", "fido", "species", "dog"))?;
//! let mut up: VecDeque<(usize, String)> = VecDeque::new();
//! for at in 0..2 {
//!     star.connect(now, ids[at].clone(), rng);
//!     up.extend(clients[at].connected(now, rng).into_iter().map(|frame| (at, frame)));
//! }
//! // Carry frames both ways until nobody has anything to say.
//! while let Some((from, frame)) = up.pop_front() {
//!     let effects = star.receive(now, &ids[from], &frame, &mut AllowAll, rng)?;
//!     // A server commits `effects.changed` to its storage here, before it sends.
//!     for outgoing in effects.send {
//!         for at in 0..2 {
//!             if outgoing.to.contains(&ids[at]) {
//!                 let replies = clients[at].receive(now, &outgoing.frame, rng)?;
//!                 up.extend(replies.send.into_iter().map(|frame| (at, frame)));
//!             }
//!         }
//!     }
//! }
//! let dog = Cell::from("dog");
//! assert_eq!(clients[1].store().get_cell("pets", "fido", "species"), Some(dog.view()));
//! assert_eq!(clients[1].store().hashes(), star.store().hashes());
//! # Ok(())
//! # }
//! ```

mod cell;
mod changes;
mod channels;
mod client;
mod content;
mod diff;
mod entries;
mod fragment;
mod hash;
mod hlc;
mod ids;
mod json;
mod listeners;
mod load;
mod map;
mod merge;
mod message;
mod order;
mod pull;
mod read;
mod relay;
mod row;
mod saved;
mod schema;
mod star;
mod store;
mod text;
mod transaction;

pub use cell::{Cell, CellError, CellRef, hash_stamp};
pub use changes::{Changes, ChangesError, Container, Stamp};
pub use channels::{
    ChannelEvent, ChannelId, Channels, InvalidChannelId, MAX_CHANNEL_ID_BYTES, MAX_CHANNELS,
    MAX_CHANNELS_WITH_LEFT,
};
pub use client::{
    ChannelsEffects, ChannelsError, ClientEffects, MAX_PEERS, MultiplexedClient, OnChannel,
    Synchronizer, Unanswered,
};
pub use diff::{CellHashes, RowHashes, TableHashes, ValueHashes};
pub use fragment::{MAX_FRAGMENTS, MAX_GROUPS, MAX_RETAINED_BYTES};
pub use hash::{ContentHashes, hash_in_parent, hash_text};
pub use hlc::{ClientId, Clock, Hlc, HlcError, MAX_AHEAD_MS};
pub use json::{Json, JsonError, MAX_DEPTH};
pub use listeners::{IdChange, Notifications, OldAndNew};
pub use merge::{
    CellChange, ConnectionId, ContainerChange, MergeError, Merged, ValueChange, Writer,
};
pub use message::{Close, Frame, MAX_FRAME_BYTES, Message, Payload};
pub use read::{CellName, RowRef, TableRef};
pub use relay::Relay;
pub use saved::LoadError;
pub use schema::{Allowed, CellSchema, CellType, SchemaError, TablesSchema, ValuesSchema};
pub use star::{
    Edit, Effects, Inbound, Limits, Outgoing, Policy, Recipients, Refusal, Ruling, Star, Target,
};
pub use store::MergeableStore;
pub use text::{AsText, Text, TextRef};
pub use transaction::{EditError, InvalidCell, InvalidValue, Transaction};

/// Milliseconds since 1970, as JavaScript's `Date.now()`.
pub type Millis = u64;

/// Where random ids come from.
pub trait Random {
    /// Fills `bytes` with random bytes.
    fn fill(&mut self, bytes: &mut [u8]);
}
