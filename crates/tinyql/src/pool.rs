//! Ids of rows that have none of their own: TinyBase's pool.

use std::collections::VecDeque;

use mergeable_store::Text;

/// Freed ids beyond this many are forgotten, as TinyBase does.
const MOST: usize = 1000;

/// Gives "0", "1", ..., but freed ids first, the longest free first.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdPool {
    free: VecDeque<Text>,
    next: u64,
}

impl IdPool {
    pub(crate) fn take(&mut self) -> Text {
        self.free.pop_front().unwrap_or_else(|| {
            self.next += 1;
            (self.next - 1).to_string().into()
        })
    }

    /// Frees an id, if it is one that could have come from here.
    pub(crate) fn release(&mut self, id: &Text) {
        let digits = !id.is_empty() && id.as_wtf8().iter().all(u8::is_ascii_digit);
        if digits && self.free.len() < MOST {
            self.free.push_back(id.clone());
        }
    }
}
