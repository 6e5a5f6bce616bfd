//! The store's hot paths: merging, hashing a cell, reading a frame, and answering a client that comes back.
//!
//! Timed is the call alone; stores and frames are made beforehand. `changes` counts cells, so criterion prints cells per second.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run has to stop")]

mod data;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use data::{CELLS_PER_ROW, NOW, hlc, store, users};
use mergeable_store::{
    Cell, Changes, ClientId, ConnectionId, Edit, Frame, Limits, MergeableStore, Policy, Random,
    Ruling, Star, hash_stamp,
};

struct AllowAll;

impl Policy for AllowAll {
    fn judge(&mut self, _: &Edit<'_>) -> Ruling {
        Ruling::Accept
    }
}

/// Ids need not be unpredictable here.
struct Counter(u8);

impl Random for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

/// A ContentDiff as a client sends it after one keystroke.
fn edit_frame(counter: u32) -> String {
    let mut changes = Changes::new();
    changes.set_cell("users", "user_00000042", "name", Some("Someone Else".into()), hlc(counter));
    format!("\n[\"abcdefghijk\",3,{}]", changes.to_json())
}

fn merge(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge");
    for rows in [100, 10_000] {
        let changes = users(rows);
        group.throughput(Throughput::Elements((rows * CELLS_PER_ROW).into()));
        group.bench_function(format!("{rows} rows into an empty store"), |bencher| {
            let empty = || MergeableStore::new(ClientId::from_unique_id("server"));
            bencher.iter_batched(
                empty,
                |mut store| store.merge(NOW, &changes).unwrap(),
                BatchSize::LargeInput,
            );
        });
        let full = store(&changes);
        group.bench_function(format!("{rows} rows that are there already"), |bencher| {
            bencher.iter_batched_ref(
                || full.clone(),
                |store| store.merge(NOW, &changes).unwrap(),
                BatchSize::LargeInput,
            );
        });
    }
    // One edit must cost the same whatever the store holds.
    group.throughput(Throughput::Elements(1));
    for rows in [1_000, 10_000, 100_000, 1_000_000] {
        let mut star = Star::new(store(&users(rows)), Limits::default());
        let (mut rng, mut counter) = (Counter(0), rows * CELLS_PER_ROW);
        let ids = ["writer", "reader"].map(ConnectionId::from);
        for id in &ids {
            let _greeting = star.connect(NOW, id.clone(), &mut rng);
        }
        group.bench_function(format!("one edit through a star of {rows} rows"), |bencher| {
            let frame = || {
                counter += 1;
                edit_frame(counter)
            };
            bencher.iter_batched(
                frame,
                |frame| star.receive(NOW, &ids[0], &frame, &mut AllowAll, &mut rng).unwrap(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn hash(c: &mut Criterion) {
    let mut group = c.benchmark_group("hash");
    let cells = [
        ("short string", Cell::from("member")),
        ("long string", Cell::from("x".repeat(1000))),
        ("number", Cell::from(1.0 / 3.0)),
        ("object", Cell::Json("{\"a\":[1,2,3],\"b\":\"c\"}".into())),
    ];
    for (name, cell) in &cells {
        group.throughput(Throughput::Bytes(cell.encoded().len() as u64 + 17));
        group.bench_function(*name, |bencher| bencher.iter(|| hash_stamp(Some(cell), hlc(1))));
    }
    group.finish();
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    let (one, many) = (edit_frame(1), format!("\n[\"abcdefghijk\",3,{}]", users(1000).to_json()));
    for (name, frame) in [("one cell", &one), ("6000 cells", &many)] {
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| Frame::parse(frame).unwrap()));
    }
    group.finish();
}

/// What a client that was away asks: three levels of hashes, then one cell of one row.
fn ladder(c: &mut Criterion) {
    let mut group = c.benchmark_group("ladder");
    group.sample_size(20);
    for rows in [100, 10_000] {
        let asker = store(&users(rows));
        let mut answerer = asker.clone();
        let edit = answerer
            .transaction(NOW, |tx| tx.set_cell("users", "user_00000042", "name", "Someone Else"));
        edit.unwrap();
        group.bench_function(format!("one cell of {rows} rows"), |bencher| {
            bencher.iter(|| {
                let (_, tables) = answerer.table_diff(&asker.table_hashes());
                let (_, rows) = answerer.row_diff(&asker.row_hashes(&tables));
                answerer.cell_diff(&asker.cell_hashes(&rows))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, merge, hash, frames, ladder);
criterion_main!(benches);
