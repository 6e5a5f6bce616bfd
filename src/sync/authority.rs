//! Who decides whether a write is acceptable: legacy up to `live`, the store from `rampdown` on (design rules 2 and 8).

use std::sync::Arc;

use crate::migration::ResourceName;

/// Says it of each resource, now.
pub trait Authority: Send + Sync + std::fmt::Debug {
    /// Whether the store decides, and makes what legacy made before. From memory: asked for each message.
    fn store_decides(&self, resource: &ResourceName) -> bool;
}

/// A shared one.
pub type SharedAuthority = Arc<dyn Authority>;

/// Legacy decides about everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct LegacyDecides;

impl Authority for LegacyDecides {
    fn store_decides(&self, _: &ResourceName) -> bool {
        false
    }
}

/// The store decides about everything.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StoreDecides;

impl Authority for StoreDecides {
    fn store_decides(&self, _: &ResourceName) -> bool {
        true
    }
}
