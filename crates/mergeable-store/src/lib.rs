//! TinyBase-compatible MergeableStore.
