//! (flags)
