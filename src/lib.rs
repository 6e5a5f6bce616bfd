//! crossfade
