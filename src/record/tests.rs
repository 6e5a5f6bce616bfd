//! Recordings written and read back, on real files.

use std::path::Path;

use super::*;
use crate::compare::{ErrorSide, RuleHits, Signature, SignatureParts, StatusPair, Verdict};
use crate::migration::{Origin, ResourceName, RouteTemplate, Stage};

const MIDNIGHT: u64 = 1_795_392_000_000;

fn exchange(at_ms: u64, answered_by: Origin, status: u16, latency_us: u64) -> Exchange {
    Exchange {
        at_ms,
        resource: ResourceName::new("users"),
        route: RouteTemplate::new("GET /users"),
        kind: ExchangeKind::Read,
        stage: Stage::Live,
        answered_by,
        status,
        latency_us,
        fallback: None,
    }
}

fn compared(at_ms: u64, verdict: Verdict) -> Compared {
    Compared {
        at_ms,
        resource: ResourceName::new("users"),
        route: RouteTemplate::new("GET /users"),
        stage: Stage::Shadow,
        verdict,
        legacy_latency_us: Some(9_000),
        sync_latency_us: Some(1_000),
        signature: None,
        sample: None,
        rules: Vec::new(),
        unsafe_integers: 0,
    }
}

fn signature(id: &str) -> Signature {
    let parts = SignatureParts {
        resource: "users".to_owned(),
        route: "GET /users".to_owned(),
        verdict: "mismatch".to_owned(),
        statuses: StatusPair { legacy: Some(200), sync: Some(200) },
        shapes: Vec::new(),
        folded: None,
    };
    Signature { id: id.to_owned(), parts }
}

fn sample(mark: u64) -> Sample {
    let side = SampleSide { status: Some(200), body: None, no_body: Some("empty".to_owned()) };
    Sample {
        legacy: side.clone(),
        sync: side,
        differences: Vec::new(),
        more: mark,
        diff: String::new(),
    }
}

async fn open(path: &Path) -> Recorder {
    Recorder::open(path, &RecorderSettings::default()).await.unwrap()
}

async fn load(path: &Path, range: TimeRange) -> Recorded {
    Recording::open_read(path).await.unwrap().load(range).await.unwrap()
}

#[tokio::test]
async fn what_is_recorded_is_read_back_summed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recordings.db");
    let recorder = open(&path).await;
    for n in 0..100 {
        recorder.record(exchange(MIDNIGHT + n * 1_000, Origin::Legacy, 200, 10_000));
        recorder.record(compared(MIDNIGHT + n * 1_000, Verdict::Match));
    }
    recorder.flush().await.unwrap();
    let fallback = Some("not caught up".into());
    recorder.record(Exchange { fallback, ..exchange(MIDNIGHT, Origin::Legacy, 404, 20_000) });
    recorder.record(exchange(MIDNIGHT, Origin::Sync, 200, 500));
    recorder.record(compared(MIDNIGHT, Verdict::Lag(1_000)));
    let hits = RuleHits { rule: "$.at".to_owned(), located: 4, hidden: 2, covered: 4, values: 10 };
    recorder.record(Compared {
        rules: vec![hits],
        unsafe_integers: 3,
        sync_latency_us: None,
        ..compared(MIDNIGHT, Verdict::Error(ErrorSide::SyncOnly))
    });
    recorder.record(Note {
        at_ms: MIDNIGHT + 5,
        kind: NoteKind::Stage,
        text: "shadow → live, asked by ada@example.test".to_owned(),
    });
    recorder.record(Count { at_ms: MIDNIGHT, of: None, name: "unmapped".into(), by: 2 });
    recorder.close().await.unwrap();

    let all = load(&path, TimeRange::default()).await;
    assert_eq!((all.first_ms, all.last_ms), (Some(MIDNIGHT), Some(MIDNIGHT + 120_000)));
    let [legacy, sync] = all.answered.as_slice() else { panic!("{:?}", all.answered) };
    assert_eq!(
        (legacy.origin, legacy.requests, legacy.statuses),
        (Origin::Legacy, 101, [0, 100, 0, 1, 0])
    );
    assert_eq!((sync.origin, sync.requests), (Origin::Sync, 1));
    assert!(legacy.latencies.quantile_us(0.5).unwrap().abs_diff(10_000) <= 100);
    assert!(legacy.latencies.quantile_us(1.0).unwrap().abs_diff(20_000) <= 200);
    let lengths: Vec<_> = all.latencies.iter().map(|l| (l.measure, l.latencies.count())).collect();
    assert_eq!(
        lengths,
        [(Measure::Lag, 1), (Measure::PairedLegacy, 101), (Measure::PairedSync, 101)]
    );
    assert_eq!(all.compared.iter().map(|slot| slot.count).sum::<u64>(), 102);
    assert_eq!(all.fallbacks[0].reason, "not caught up");
    assert_eq!((all.rules[0].hidden, all.rules[0].covered, all.rules[0].values), (2, 4, 10));
    assert_eq!(all.notes[0].text, "shadow → live, asked by <dropped>");
    let counters: Vec<_> = all.counters.iter().map(|one| (one.name.as_str(), one.count)).collect();
    assert_eq!(counters, [("unmapped", 2), ("unsafe_integers", 3)]);

    let first = TimeRange { from_ms: None, to_ms: Some(MIDNIGHT + 60_000) };
    let first = load(&path, first).await;
    assert_eq!(first.compared.iter().map(|slot| slot.count).sum::<u64>(), 62);
    let text = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<Recorded>(&text).unwrap(), all);

    let verdicts = Recording::open_read(&path).await.unwrap().verdicts().await.unwrap();
    assert_eq!((verdicts[0].verdict, verdicts[0].count), (Verdict::Match, 100));
}

#[tokio::test]
async fn signatures_keep_their_first_samples_and_the_latest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recordings.db");
    // Two runs on one file: the second goes on where the first ended.
    for run in 0..2 {
        let recorder = open(&path).await;
        for n in 0..5 {
            let mark = run * 5 + n;
            recorder.record(Compared {
                signature: Some(signature("v1-a")),
                sample: Some(sample(mark)),
                ..compared(MIDNIGHT + mark * 60_000, Verdict::Mismatch)
            });
        }
        recorder.close().await.unwrap();
    }
    let recording = Recording::open_read(&path).await.unwrap();
    let signatures = recording.signatures().await.unwrap();
    assert_eq!(signatures[0].count, 10);
    assert_eq!(signatures[0].first_seen_ms, MIDNIGHT);
    assert_eq!(signatures[0].last_seen_ms, MIDNIGHT + 9 * 60_000);
    let marks: Vec<_> = signatures[0].samples.iter().map(|one| one.sample.more).collect();
    assert_eq!(marks, [0, 1, 2, 3, 9]);
    let late = TimeRange { from_ms: Some(MIDNIGHT + 8 * 60_000), to_ms: None };
    assert_eq!(recording.load(late).await.unwrap().signatures[0].count, 2);
}

#[tokio::test]
async fn samples_are_wanted_at_first_then_once_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = open(&folder.path().join("r.db")).await;
    let wanted = |at_ms| recorder.wants_sample(&signature("v1-a"), at_ms);
    assert_eq!([0, 1, 2, 3].map(wanted), [true; 4]);
    assert_eq!([4, 60_002, 60_003, 60_004].map(wanted), [false, false, true, false]);
    assert!(recorder.wants_sample(&signature("v1-b"), 5));
}

#[tokio::test]
async fn the_number_of_signatures_is_bounded_and_the_rest_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recordings.db");
    let recorder = open(&path).await;
    for n in 0..1_003 {
        let signature = Some(signature(&format!("v1-{n}")));
        recorder.record(Compared { signature, ..compared(MIDNIGHT, Verdict::Mismatch) });
    }
    recorder.close().await.unwrap();
    let all = load(&path, TimeRange::default()).await;
    assert_eq!(all.signatures.len(), 1_000);
    assert_eq!(
        (all.counters[0].name.as_str(), all.counters[0].count),
        ("signatures_over_bound", 3)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_bound_events_are_dropped_and_counted_and_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recordings.db");
    let settings = RecorderSettings { queue: 8, ..RecorderSettings::default() };
    let recorder = Recorder::open(&path, &settings).await.unwrap();
    let database = libsql::Builder::new_local(&path).build().await.unwrap();
    let blocker = database.connect().unwrap();
    blocker.execute_batch("begin exclusive;").await.unwrap();
    // The writer cannot commit, so the queue must fill up.
    let mut sent = 0_u64;
    while recorder.dropped() == 0 {
        recorder.record(exchange(MIDNIGHT, Origin::Legacy, 200, 1));
        sent += 1;
        tokio::task::yield_now().await;
    }
    blocker.execute_batch("commit;").await.unwrap();
    recorder.close().await.unwrap();
    let all = load(&path, TimeRange::default()).await;
    let dropped: u64 = all.counters.iter().map(|counter| counter.count).sum();
    assert!(dropped >= 1);
    assert_eq!(all.answered[0].requests + dropped, sent);
}

#[tokio::test]
async fn after_the_end_events_are_dropped_and_waiting_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = open(&folder.path().join("r.db")).await;
    recorder.close().await.unwrap();
    recorder.record(exchange(MIDNIGHT, Origin::Legacy, 200, 1));
    assert_eq!(recorder.dropped(), 1);
    assert!(matches!(recorder.flush().await, Err(RecordError::Thread { .. })));
}

#[tokio::test]
async fn files_that_are_not_ours_are_refused_and_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let settings = RecorderSettings::default();

    let newer = folder.path().join("newer.db");
    open(&newer).await.close().await.unwrap();
    let database = libsql::Builder::new_local(&newer).build().await.unwrap();
    database.connect().unwrap().execute_batch("pragma user_version = 3;").await.unwrap();
    drop(database);
    let before = std::fs::read(&newer).unwrap();
    let error = Recorder::open(&newer, &settings).await.unwrap_err();
    assert!(matches!(error, RecordError::Newer { found: 3, known: 2, .. }), "{error}");
    assert!(Recording::open_read(&newer).await.is_err());
    assert_eq!(std::fs::read(&newer).unwrap(), before);

    let other = folder.path().join("other.db");
    let database = libsql::Builder::new_local(&other).build().await.unwrap();
    database.connect().unwrap().execute_batch("create table users (id);").await.unwrap();
    drop(database);
    let before = std::fs::read(&other).unwrap();
    let error = Recorder::open(&other, &settings).await.unwrap_err();
    assert!(matches!(error, RecordError::NotARecording(_)), "{error}");
    assert_eq!(std::fs::read(&other).unwrap(), before);

    let text = folder.path().join("text.db");
    std::fs::write(
        &text,
        "this is no database, but a text that is long enough to be one".repeat(20),
    )
    .unwrap();
    assert!(matches!(Recorder::open(&text, &settings).await, Err(RecordError::Database { .. })));

    let missing = folder.path().join("missing.db");
    assert!(matches!(Recording::open_read(&missing).await, Err(RecordError::Missing(_))));
    assert!(!missing.exists());
    let nowhere = folder.path().join("no/such/folder/r.db");
    assert!(matches!(Recorder::open(&nowhere, &settings).await, Err(RecordError::Database { .. })));
}

#[tokio::test]
async fn a_recording_of_version_1_is_brought_to_the_present_one() {
    const BACK: &str = "alter table rule drop column covered; alter table rule drop column total;
        insert into rule values ('users', 'GET /users', '$.at', 3, 6, 1);
        pragma user_version = 1;";
    let folder = tempfile::tempdir().unwrap();
    for writes in [false, true] {
        let path = folder.path().join(format!("{writes}.db"));
        open(&path).await.close().await.unwrap();
        let database = libsql::Builder::new_local(&path).build().await.unwrap();
        database.connect().unwrap().execute_batch(BACK).await.unwrap();
        drop(database);
        if writes {
            let recorder = open(&path).await;
            let rule = "$.at".to_owned();
            let hits = RuleHits { rule, located: 2, hidden: 0, covered: 2, values: 9 };
            recorder.record(Compared { rules: vec![hits], ..compared(MIDNIGHT, Verdict::Match) });
            recorder.close().await.unwrap();
        }
        let all = load(&path, TimeRange::default()).await;
        let of_users = all.rules.iter().find(|rule| rule.resource == "users").unwrap();
        let expected = if writes { (4, 2) } else { (3, 0) };
        assert_eq!((of_users.compared, of_users.covered), expected);
    }
}

#[tokio::test]
async fn what_is_old_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recordings.db");
    let settings =
        RecorderSettings { keep: std::time::Duration::from_secs(3_600), ..Default::default() };
    let recorder = Recorder::open(&path, &settings).await.unwrap();
    let old = Compared {
        signature: Some(signature("v1-old")),
        sample: Some(sample(0)),
        ..compared(MIDNIGHT, Verdict::Mismatch)
    };
    recorder.record(old);
    recorder.flush().await.unwrap();
    recorder.record(compared(MIDNIGHT + 2 * 3_600_000, Verdict::Match));
    recorder.close().await.unwrap();
    let all = load(&path, TimeRange::default()).await;
    assert_eq!(all.compared.len(), 1);
    assert_eq!(all.first_ms, Some(MIDNIGHT + 2 * 3_600_000));
    assert!(all.signatures.is_empty());
}

#[tokio::test]
async fn the_size_follows_time_not_requests() {
    let folder = tempfile::tempdir().unwrap();
    let size = async |requests: u64| {
        let path = folder.path().join(format!("{requests}.db"));
        let recorder = open(&path).await;
        for n in 0..requests {
            recorder.record(exchange(MIDNIGHT, Origin::Legacy, 200, 100 + n % 1_000));
            if n % 1_000 == 0 {
                recorder.flush().await.unwrap();
            }
        }
        recorder.close().await.unwrap();
        std::fs::metadata(&path).unwrap().len()
    };
    assert_eq!(size(2_000).await, size(20_000).await);
}
