//! Logs, on standard error: for people on a terminal, as JSON in a pipe.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is told where `RUST_LOG` says nothing: `info` of crossfade and warnings of all else.
pub const USUAL: &str = "warn,crossfade=info";

/// Sets up logging. `RUST_LOG` says what is told, `otherwise` does where it is not set.
pub fn init(otherwise: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(otherwise));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let set = if std::io::stderr().is_terminal() {
        registry.with(layer.compact()).try_init()
    } else {
        registry.with(layer.json()).try_init()
    };
    // Whoever set up logging before keeps it: a library's user, or a test.
    drop(set);
}
