//! The cells of a row are the store's own.

pub use mergeable_store::{Cell, Text};
