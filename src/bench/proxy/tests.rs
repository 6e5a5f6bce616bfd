//! Says nothing about time. A whole run, which needs the binary, is in `tests/it/bench_proxy.rs`.

use super::*;
use crate::clock::SystemClock;

pub(super) fn options() -> ProxyOptions {
    ProxyOptions {
        pairs: 12,
        seconds: 5.0,
        rate: None,
        connections: 32,
        seed: 1,
        quick: false,
        progress: false,
        nginx: None,
        crossfade: None,
        clock: Arc::new(SystemClock),
    }
}

#[tokio::test]
async fn options_out_of_bounds_are_refused_before_anything_starts() {
    let refused = run(&ProxyOptions { pairs: 0, ..options() }).await.unwrap_err();
    assert!(matches!(refused, BenchError::Options(_)), "{refused}");
}

#[test]
fn a_list_follows_every_three_rows() {
    let requests = requests();
    assert_eq!(requests.len(), 66 * 4);
    let list = request(LIST);
    for (at, one) in requests.iter().enumerate() {
        assert_eq!(*one == list, at % 4 == 3, "{at}");
    }
}

#[test]
fn sides_are_told_apart() {
    let names: std::collections::BTreeSet<_> = Side::ALL.iter().map(|side| side.name()).collect();
    assert_eq!(names.len(), Side::ALL.len());
}
