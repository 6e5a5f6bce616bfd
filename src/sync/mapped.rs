//! The tables that belong to resources.

use std::collections::HashMap;
use std::sync::Arc;

use mergeable_store::Text;

use crate::migration::ResourceName;
use crate::resource::Resource;

/// Resources by the table and by the name.
#[derive(Debug, Clone, Default)]
pub struct MappedTables {
    by_table: HashMap<Box<str>, Arc<Resource>>,
    by_name: HashMap<ResourceName, Arc<Resource>>,
}

impl MappedTables {
    /// Indexes the resources.
    #[must_use]
    pub fn new(resources: &[Arc<Resource>]) -> Self {
        let by_table = resources.iter().map(|r| (r.table.as_str().into(), r.clone())).collect();
        let by_name = resources.iter().map(|r| (r.name.clone(), r.clone())).collect();
        Self { by_table, by_name }
    }

    /// The resource whose rows this table holds.
    #[must_use]
    pub fn resource(&self, table: &Text) -> Option<&Arc<Resource>> {
        self.by_table.get(table.as_str()?)
    }

    /// The resource of this name.
    #[must_use]
    pub fn named(&self, name: &ResourceName) -> Option<&Arc<Resource>> {
        self.by_name.get(name)
    }

    /// All resources.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.by_name.values()
    }
}
