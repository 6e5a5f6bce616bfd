//! Whatever the order, whatever is lost on the way: equal content and equal hashes in the end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected has to fail"
)]

mod support;

use std::collections::VecDeque;

use mergeable_store::{
    Cell, Changes, ClientId, Container, Frame, Hlc, Json, Limits, MergeableStore,
};
use proptest::prelude::*;
use support::net::{NOW, Net, Rule};
use support::{Rng, store};

const IDS: [&str; 5] = ["a", "b", "10", "", "😀"];

/// Content that follows from its stamp, so that one stamp never has two contents.
fn thing(hlc: Hlc) -> Option<Cell> {
    match hlc.counter() % 7 {
        0 => None,
        1 => Some(Cell::Null),
        2 => Some(Cell::from(hlc.counter().is_multiple_of(2))),
        3 => Some(Cell::from(hlc.to_string())),
        4 => Some(Cell::Json("{\"a\":[1]}".into())),
        5 => Some(Cell::RawJson("[1]".into())),
        _ => Some(Cell::from(f64::from(hlc.counter()) / 3.0)),
    }
}

fn any_hlc() -> impl Strategy<Value = Hlc> {
    (0u64..4, 0u32..14, 0usize..3).prop_map(|(time, counter, client)| {
        Hlc::new(NOW + time, counter, ClientId::from_unique_id(IDS[client]))
    })
}

fn any_changes() -> impl Strategy<Value = Changes> {
    let id = 0usize..IDS.len();
    let cells = prop::collection::vec((id.clone(), id.clone(), id.clone(), any_hlc()), 0..12);
    let values = prop::collection::vec((id.clone(), any_hlc()), 0..4);
    let containers = prop::collection::vec((0usize..4, any_hlc()), 0..2);
    (cells, values, containers).prop_map(|(cells, values, containers)| {
        let mut changes = Changes::new();
        for (table, row, cell, hlc) in cells {
            changes.set_cell(IDS[table], IDS[row], IDS[cell], thing(hlc), hlc);
        }
        for (value, hlc) in values {
            changes.set_value(IDS[value], thing(hlc), hlc);
        }
        let rows: Vec<_> =
            changes.cells().map(|(table, row, _, _)| (table.clone(), row.clone())).collect();
        for (level, hlc) in containers {
            let container = match (level, rows.first()) {
                (0, _) => Container::Tables,
                (1, _) => Container::Values,
                (2, Some((table, _))) => Container::Table(table.clone()),
                (_, Some((table, row))) => Container::Row(table.clone(), row.clone()),
                _ => continue,
            };
            changes.set_container(&container, hlc);
        }
        changes
    })
}

fn merged(all: &[&Changes]) -> MergeableStore {
    let mut store = store("merging");
    for changes in all {
        store.merge(NOW, changes).unwrap();
    }
    store
}

fn assert_same(one: &MergeableStore, other: &MergeableStore) {
    assert_eq!(one.hashes(), other.hashes());
    assert_eq!(one.to_changes(), other.to_changes());
    assert_eq!(one.computed_hashes(), one.hashes());
}

proptest! {
    #[test]
    fn merging_is_commutative(a in any_changes(), b in any_changes()) {
        assert_same(&merged(&[&a, &b]), &merged(&[&b, &a]));
    }

    #[test]
    fn merging_is_associative(a in any_changes(), b in any_changes(), c in any_changes()) {
        let right = merged(&[&b, &c]).to_changes();
        let left = merged(&[&a, &b]).to_changes();
        assert_same(&merged(&[&a, &right]), &merged(&[&left, &c]));
    }

    #[test]
    fn merging_is_idempotent(a in any_changes(), b in any_changes()) {
        let mut store = merged(&[&a, &b]);
        let before = store.clone();
        let again = store.merge(NOW, &a).unwrap();
        assert!(again.is_empty(), "{again:?}");
        assert_same(&before, &store);
    }

    #[test]
    fn what_merging_reports_is_what_changed(a in any_changes(), b in any_changes()) {
        let mut store = merged(&[&a]);
        let mut copy = store.clone();
        let merged = store.merge(NOW, &b).unwrap();
        copy.merge(NOW, &merged.to_changes()).unwrap();
        assert_same(&copy, &store);
    }

    #[test]
    fn changes_survive_the_wire(a in any_changes()) {
        assert_eq!(Changes::from_json(&a.to_json()).unwrap(), a);
    }

    #[test]
    fn a_store_survives_saving_and_per_cell_storage(a in any_changes(), b in any_changes()) {
        let mut store = merged(&[&a, &b]);
        let mut saved = MergeableStore::from_content(store.client(), NOW, &store.content()).unwrap();
        assert_same(&saved, &store);
        let mut rebuilt = MergeableStore::new(store.client());
        for (table, row, cell, stamp) in store.cell_stamps() {
            rebuilt.load_cell(table, row, cell, stamp.thing, stamp.hlc);
        }
        for (value, stamp) in store.value_stamps() {
            rebuilt.load_value(value, stamp.thing, stamp.hlc);
        }
        for (container, hlc) in store.container_stamps() {
            rebuilt.load_container(&container, hlc);
        }
        assert_same(&rebuilt, &store);
        // What each writes next is newer than all it holds.
        let next = store.next_hlc(NOW - 10);
        prop_assert_eq!(saved.next_hlc(NOW - 10), next);
        prop_assert!(rebuilt.next_hlc(NOW - 10) >= store.to_changes().cells().map(|(.., stamp)| stamp.hlc).max().unwrap_or_default());
    }

    #[test]
    fn a_rollback_leaves_no_trace_but_the_clock(a in any_changes(), seed in any::<u64>()) {
        let mut store = merged(&[&a]);
        let before = store.clone();
        let mut rng = Rng(seed);
        let result: Result<((), Changes), &str> = store.transaction(NOW, |tx| {
            for _ in 0..20 {
                let (table, row, cell) = (IDS[rng.below(5)], IDS[rng.below(5)], IDS[rng.below(5)]);
                match rng.below(6) {
                    0 => tx.del_row(table, row),
                    1 => tx.del_table(table),
                    2 => tx.set_value(cell, rng.below(3) as f64),
                    3 => tx.del_values(),
                    4 => tx.set_row(table, row, [(cell, 1.0)]),
                    _ => tx.set_cell(table, row, cell, rng.below(3) as f64),
                }
                .map_err(|_| "refused")?;
            }
            Err("wanted")
        });
        assert_eq!(result, Err("wanted"));
        assert_same(&store, &before);
        assert_eq!(counts(&store), counts(&before));
    }

    #[test]
    fn transactions_keep_hashes_and_counts_right(seed in any::<u64>()) {
        let (mut store, mut rng) = (store("writer"), Rng(seed));
        for _ in 0..30 {
            let (table, row, cell) = (IDS[rng.below(5)], IDS[rng.below(5)], IDS[rng.below(5)]);
            store.transaction(NOW, |tx| match rng.below(4) {
                0 => tx.del_row(table, row),
                1 => tx.del_cell(table, row, cell),
                _ => tx.set_cell(table, row, cell, rng.below(3) as f64),
            }).unwrap();
        }
        assert_eq!(store.computed_hashes(), store.hashes());
        for table in store.table_ids() {
            assert_eq!(store.row_count(&table), store.row_ids(&table).len());
            assert!(store.row_ids(&table).iter().all(|row| store.has_row(&table, row)));
        }
    }

    #[test]
    fn reading_arbitrary_text_never_fails_otherwise_than_by_an_error(text in any::<String>()) {
        let _ = (Json::parse(&text), Frame::parse(&text), Changes::from_json(&text), text.parse::<Hlc>());
        let _ = (store("any").load(NOW, &text), Cell::from_encoded(&text));
    }

    #[test]
    fn reading_almost_valid_frames_never_fails_otherwise_than_by_an_error(
        parts in prop::collection::vec(prop::sample::select(FRAME_PARTS), 0..24),
    ) {
        let frame: String = parts.concat();
        let mut net = Net::new(1, Limits::default(), 1);
        net.connect(0);
        let id = net.clients[0].id.clone();
        let _ = net.star.receive(NOW, &id, &frame, &mut Rule::allow_all(), &mut net.rng);
        let _ = net.clients[0].sync.receive(NOW, &frame, &mut net.rng);
    }

    #[test]
    fn json_reads_what_it_writes(text in any::<String>(), units in prop::collection::vec(any::<u16>(), 0..8)) {
        for text in [mergeable_store::Text::from(text.as_str()), mergeable_store::Text::from_utf16(&units)] {
            let json = Json::String(text);
            prop_assert_eq!(Json::parse(&json.stringify()).unwrap(), json);
        }
    }
}

const FRAME_PARTS: &[&str] = &[
    "\n",
    "S\n",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "\"abcdefghijk\"",
    "null",
    "0",
    "1",
    "2",
    "3",
    "4",
    "7",
    "1e400",
    "-0",
    "\"t\"",
    "[{}]",
    "[{\"t\":[{\"r\":[{\"c\":[1,\"Oeef1N-----m22wq\"]}]}]}]",
    "\\ud800",
    "\u{FFFC}",
    "\u{FFFD}{",
    "[[{}],[{}],1]",
    "1234567890123456\n0\n2\n",
    "99999999999999999999",
    "\u{0}",
];

fn counts(store: &MergeableStore) -> Vec<(String, usize, usize)> {
    let mut counts: Vec<_> = IDS
        .iter()
        .map(|table| ((*table).to_owned(), store.row_count(table), store.row_ids(table).len()))
        .collect();
    counts.push((String::from("values"), store.value_ids().len(), store.table_ids().len()));
    counts
}

/// One random schedule over a star: writes online and offline, cuts that lose what is under way, refusals, time passing.
fn schedule(seed: u64, steps: usize, limits: Limits) {
    let clients = 3;
    let mut net = Net::new(clients, limits, seed);
    let mut rng = Rng(seed ^ 0xABCD);
    if rng.one_in(3) {
        net.rule = Rule::forbid_cell("b");
    }
    let mut late = false;
    for _ in 0..steps {
        net.now += rng.below(3) as u64;
        let at = rng.below(clients);
        if rng.one_in(8) {
            net.flush();
        }
        if rng.one_in(8) {
            net.send_backlog();
        }
        let (table, row, cell) = (IDS[rng.below(2)], IDS[rng.below(3)], IDS[rng.below(3)]);
        match rng.below(20) {
            0 if net.clients[at].connected => net.cut(at),
            0 | 1 if !net.clients[at].connected => net.connect(at),
            2 => net.write(table, row, cell, rng.below(9) as f64),
            3..=5 => {
                let content = (!rng.one_in(3)).then(|| rng.below(9) as f64);
                net.edit(at, table, row, cell, content);
            }
            6 if rng.one_in(4) => late |= net.pass_time(),
            7..=12 => drop(net.step_up(at)),
            _ => drop(net.step_down(at)),
        }
    }
    net.settle();
    for at in 0..clients {
        if !net.clients[at].connected {
            net.connect(at);
        }
    }
    net.settle();
    if late {
        // Who gave up waiting may be behind until somebody asks again.
        for client in &mut net.clients {
            let frames = client.sync.request_hashes(net.now, &mut net.rng);
            client.up.extend(frames);
        }
        net.settle();
    }
    net.assert_converged();
    assert!(net.clients.iter().all(|client| client.sync.is_live()));
}

#[test]
fn random_schedules_converge() {
    for seed in 0..300 {
        schedule(seed, 150, Limits::default());
    }
}

#[test]
fn random_schedules_converge_in_fragments() {
    for seed in 1000..1050 {
        schedule(seed, 120, Limits { fragment_bytes: Some(60), ..Limits::default() });
    }
}

#[test]
fn random_schedules_converge_with_broadcasts_in_batches() {
    for seed in 2000..2200 {
        schedule(seed, 150, Limits { coalesce: true, ..Limits::default() });
    }
}

#[test]
fn random_schedules_converge_with_answers_that_have_no_room() {
    for seed in 3000..3200 {
        let answer_bytes = [1, 60, 200][seed as usize % 3];
        schedule(seed, 150, Limits { answer_bytes, coalesce: seed % 2 == 0, ..Limits::default() });
    }
}

/// Every client drained at an arbitrary moment has handed over everything it had.
#[test]
fn draining_at_any_moment_loses_nothing() {
    for seed in 0..100 {
        let mut net = Net::new(2, Limits::default(), seed);
        let mut rng = Rng(seed);
        let mut queue: VecDeque<usize> = (0..rng.below(60)).collect();
        net.edit(0, "t", "offline", "c", Some(1.0));
        net.connect(0);
        net.connect(1);
        while queue.pop_front().is_some() {
            let at = rng.below(2);
            match rng.below(4) {
                0 => net.edit(at, "t", IDS[rng.below(3)], "c", Some(rng.below(9) as f64)),
                1 => drop(net.step_up(at)),
                _ => drop(net.step_down(at)),
            }
        }
        (0..2).for_each(|at| net.drain(at));
        let mut rounds = 0;
        net.settle();
        while net.seen.drained.len() < 2 && net.pass_time() {
            net.settle();
            rounds += 1;
            assert!(rounds < 50, "seed {seed}: the drain does not end");
        }
        net.assert_converged();
    }
}
