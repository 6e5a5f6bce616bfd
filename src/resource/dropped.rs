//! Fields that legacy sends and no cell is configured for: counted, and told once.

use std::collections::BTreeMap;

/// So many names are kept; fields beyond are only counted.
const MAX_NAMES: usize = 256;

/// How often each field was dropped.
#[derive(Debug, Clone, Default)]
pub struct DroppedFields {
    counts: BTreeMap<String, u64>,
    beyond: u64,
}

impl DroppedFields {
    /// Counts a row's dropped fields, and gives those that were not seen before.
    pub fn note<'f>(&mut self, fields: &'f [String]) -> Vec<&'f str> {
        let mut new = Vec::new();
        for field in fields {
            if let Some(count) = self.counts.get_mut(field) {
                *count += 1;
            } else if self.counts.len() < MAX_NAMES {
                self.counts.insert(field.clone(), 1);
                new.push(field.as_str());
            } else {
                self.beyond += 1;
            }
        }
        new
    }

    /// Each field with its count, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(field, count)| (field.as_str(), *count))
    }

    /// How many dropped fields had no room among the names.
    #[must_use]
    pub const fn beyond(&self) -> u64 {
        self.beyond
    }
}
