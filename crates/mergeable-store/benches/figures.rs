//! The store's figures at their full size, printed once: bytes of resident memory per row, and CPU time to parse, merge,
//! open and save 600,000 cells. `merge.rs` times the same paths with more care, in small.
//!
//! CPU time is the process's own (`/proc`), so that a busy machine does not count; hence Linux only.

#![allow(missing_docs, reason = "a benchmark has no interface")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run has to stop")]
#![allow(clippy::print_stdout, reason = "printing is its purpose")]
#![allow(clippy::disallowed_methods, reason = "it measures the process that it runs in")]

mod data;

use mergeable_store::{Cell, Changes, ClientId, Frame, Hlc, MergeableStore, Payload};

use data::{CELLS_PER_ROW, NOW, store, users, users_from};

const ROWS: u32 = 100_000;
/// A Linux clock tick, in which `/proc` counts.
const TICK_MS: u64 = 10;
const PAGE_BYTES: u64 = 4096;

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * PAGE_BYTES
}

fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (11..=12).map(|field| after_name[field].parse::<u64>().unwrap()).sum::<u64>() * TICK_MS
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let before = cpu_ms();
    let result = work();
    println!("{:>8} ms  {what}", cpu_ms() - before);
    result
}

/// Fills a store in small steps, so that what is left is the store's own.
fn memory(rows: u32) {
    const STEP: u32 = 1000;
    let before = resident_bytes();
    let mut store = MergeableStore::new(ClientId::from_unique_id("server"));
    for from in (0..rows).step_by(STEP as usize) {
        store.merge(NOW, &users_from(from, STEP)).unwrap();
    }
    let bytes = resident_bytes() - before;
    println!(
        "{:>8} bytes per row of {CELLS_PER_ROW} cells, at {rows} rows",
        bytes / u64::from(rows)
    );
    drop(store);
}

fn main() {
    memory(ROWS);
    memory(10 * ROWS);
    let cells = ROWS * CELLS_PER_ROW;
    println!("CPU time for {cells} cells:");
    let changes = users(ROWS);
    let frame = format!("\n[\"abcdefghijk\",3,{}]", changes.to_json());
    println!("{:>8} MB of JSON", frame.len() / 1_000_000);
    for _ in 0..3 {
        let text =
            timed("parse the changes", || Changes::from_json(&frame[18..frame.len() - 1]).unwrap());
        let mut merging = MergeableStore::new(ClientId::from_unique_id("server"));
        let merged = timed("merge them into an empty store", || merging.merge(NOW, &text).unwrap());
        assert_eq!(merged.cells.len(), cells as usize);
        timed("merge them again, which changes nothing", || merging.merge(NOW, &text).unwrap());
        drop(merged);
        let content = timed("write the saved form", || merging.content());
        timed("read the saved form", || {
            MergeableStore::from_content(ClientId::from_unique_id("server"), NOW, &content).unwrap()
        });
    }
    let stamps: Vec<_> = store(&changes)
        .cell_stamps()
        .map(|(table, row, cell, stamp)| {
            (table.to_string(), row.to_string(), cell.to_string(), stamp)
        })
        .collect();
    timed("load them cell by cell, as from a database", || {
        let mut store = MergeableStore::new(ClientId::from_unique_id("server"));
        for (table, row, cell, stamp) in stamps {
            store.load_cell(table, row, cell, stamp.thing, stamp.hlc);
        }
        store
    });
    // The largest frame that a socket takes.
    let part = format!("\n[\"abcdefghijk\",3,{}]", users(ROWS / 2).to_json());
    let frame = timed("parse a frame of half as many", || Frame::parse(&part).unwrap());
    assert!(matches!(frame.payload, Payload::Message(_)));
    for rows in [1_000, 10_000, 100_000, 1_000_000] {
        const EDITS: u32 = 200_000;
        let mut store = store(&users(rows));
        let before = cpu_ms();
        for edit in 0..EDITS {
            let row = format!("user_{:08}", edit.wrapping_mul(7919) % rows);
            let name = Cell::from(format!("Name {edit}"));
            let mut changes = Changes::new();
            let hlc = Hlc::new(NOW + 1, edit, ClientId::from_unique_id("writer"));
            changes.set_cell("users", row, "name", Some(name), hlc);
            store.merge(NOW, &changes).unwrap();
        }
        let each_ns = (cpu_ms() - before) * 1_000_000 / u64::from(EDITS);
        println!("{each_ns:>8} ns  to merge one edit into {rows} rows");
    }
}
