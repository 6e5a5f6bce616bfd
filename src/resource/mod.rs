//! (resource)
