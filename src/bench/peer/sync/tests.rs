//! Says nothing about time: only that everything is measured, on all sides.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::clock::SystemClock;

fn options() -> SyncOptions {
    SyncOptions {
        sides: Vec::new(),
        cases: Vec::new(),
        paths: 2,
        clients: 3,
        rate: 20.0,
        quick: true,
        progress: false,
        package: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join(PACKAGE)),
        crossfade: None,
        clock: Arc::new(SystemClock),
    }
}

#[tokio::test]
async fn options_out_of_bounds_are_refused_before_anything_starts() {
    let refused = [
        SyncOptions { paths: 0, ..options() },
        SyncOptions { clients: 1, ..options() },
        SyncOptions { paths: 1000, clients: 1000, ..options() },
        SyncOptions { rate: 0.5, ..options() },
        SyncOptions { rate: f64::NAN, ..options() },
        SyncOptions { package: Some("nowhere".into()), ..options() },
    ];
    for options in refused {
        let error = run(&options).await.unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}
