//! The `crossfade` binary.

fn main() -> std::process::ExitCode {
    crossfade::cli::run()
}
