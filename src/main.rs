//! The `crossfade` binary.

/// A proxied request allocates a hundred times, and frees on another thread what it allocated on one: with the system's allocator,
/// that is a fifth of the time that it takes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    crossfade::cli::run()
}
