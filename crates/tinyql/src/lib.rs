//! Queries over a mergeable store, kept up to date change by change.

mod ranked;

pub use ranked::{Keys, RankedIndex};
