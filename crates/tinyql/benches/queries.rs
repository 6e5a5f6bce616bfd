//! First query, one edit's update by rows stored, and a sorted page.
//!
//! Outside the timed part: making the store, the edit itself, and dropping results.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use mergeable_store::{Cell, CellChange, ClientId, EditError, MergeableStore};
use tinyql::{
    Aggregate, Definition, Group, Join, Page, Queries, RankedIndex, Select, SortedTable, Source,
    Where,
};

const NOW: u64 = 1_763_800_000_000;
const SIZES: [u32; 3] = [1_000, 10_000, 100_000];

fn edit(store: &mut MergeableStore, row: u32, price: u32) -> Vec<CellChange> {
    let price = Cell::Number(f64::from(price));
    let edited = store.edit(NOW, |tx| tx.set_cell("pets", format!("p{row}"), "price", price));
    edited.map(|((), merged)| merged.cells).unwrap_or_default()
}

fn store(rows: u32) -> MergeableStore {
    let mut store = MergeableStore::new(ClientId::from_unique_id("bench"));
    let filled = store.edit(NOW, |tx| {
        for owner in 0..rows / 10 {
            let name = Cell::from(format!("owner {owner}").as_str());
            tx.set_cell("owners", format!("o{owner}"), "name", name)?;
        }
        for row in 0..rows {
            let scattered = row.wrapping_mul(2_654_435_761);
            let owner = format!("o{}", scattered % (rows / 10));
            let cells = [
                ("species", Cell::from(["dog", "cat", "fish"][row as usize % 3])),
                ("ownerId", Cell::from(owner.as_str())),
                ("price", Cell::Number(f64::from(scattered % 10_000))),
                ("sold", Cell::Bool(scattered & 8 == 0)),
            ];
            tx.set_row("pets", format!("p{row}"), cells)?;
        }
        Ok::<_, EditError>(())
    });
    assert!(filled.is_ok(), "the bench's rows can be stored");
    store
}

fn filtered() -> Definition {
    Definition::new(Source::table("pets"))
        .select(Select::cell("species"))
        .select(Select::cell("price"))
        .filter(Where::cell("sold", true))
}

fn joined() -> Definition {
    filtered()
        .join(Join::on(Source::table("owners"), "ownerId"))
        .select(Select::joined("owners", "name").named("owner"))
}

fn grouped() -> Definition {
    filtered().group(Group::new("price", Aggregate::Avg).named("mean"))
}

type Kind = (&'static str, fn() -> Definition);
const KINDS: [Kind; 3] = [("filtered", filtered), ("joined", joined), ("grouped", grouped)];

fn defined(store: &MergeableStore, definition: Definition) -> Queries {
    let mut queries = Queries::new();
    let defined = queries.set_definition(store, "q", definition);
    assert!(defined.is_ok(), "a query over a table has no circle");
    queries
}

fn first_query(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("first_query");
    let store = store(100_000);
    for (kind, definition) in KINDS {
        group.bench_function(BenchmarkId::new(kind, 100_000), |bencher| {
            bencher.iter_with_large_drop(|| defined(&store, definition()));
        });
    }
}

fn update(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("update_after_one_edit");
    for rows in SIZES {
        let mut store = store(rows);
        // Never the same price twice: an edit that changes nothing costs nothing.
        let mut at = 10_000_u32;
        for (kind, definition) in KINDS {
            let mut queries = defined(&store, definition());
            group.bench_function(BenchmarkId::new(kind, rows), |bencher| {
                bencher.iter_custom(|iterations| {
                    let mut taken = Duration::ZERO;
                    for _ in 0..iterations {
                        at = at.wrapping_add(1);
                        let changed = edit(&mut store, at.wrapping_mul(7919) % rows, at);
                        let apply = || black_box(queries.apply(&store, black_box(&changed)));
                        taken += timed(apply);
                    }
                    taken
                });
            });
        }
    }
}

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench reads the time")]
fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let started = std::time::Instant::now();
    let result = work();
    let taken = started.elapsed();
    drop(result);
    taken
}

fn sorted_page(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sorted_page_of_100_in_100000");
    let store = store(100_000);
    let page = Page { descending: false, offset: 50_000, limit: Some(100) };
    let kept = SortedTable::new(&store, "pets", Some("price"));
    group.bench_function("kept", |bencher| bencher.iter(|| kept.row_ids(black_box(page))));
    group.sample_size(10).bench_function("sorted_anew", |bencher| {
        bencher.iter(|| SortedTable::sort(&store, "pets", Some("price"), black_box(page)));
    });
}

fn ranked_index(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ranked_index_of_100000");
    let keys: Vec<u64> = (0..100_000_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    let index = RankedIndex::from_keys(keys.clone());
    let mut at = 0;
    group.bench_function("remove_and_insert", |bencher| {
        bencher.iter_batched_ref(
            || index.clone(),
            |index| {
                for _ in 0..1_000 {
                    at = (at + 7919) % keys.len();
                    index.remove(&keys[at]);
                    index.insert(keys[at]);
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("rank", |bencher| {
        bencher.iter(|| {
            at = (at + 7919) % keys.len();
            index.rank(&keys[at])
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = first_query, update, sorted_page, ranked_index
}
criterion_main!(benches);
