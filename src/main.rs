//! crossfade binary
fn main() {}
