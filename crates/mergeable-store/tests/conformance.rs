//! The vectors recorded from TinyBase 10.0.1, whole. See `vectors/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected has to fail"
)]

mod support;

use mergeable_store::{
    Cell, CellHashes, Changes, ClientId, Clock, Frame, Hlc, Json, MergeableStore, Payload,
    RowHashes, TableHashes, Text, hash_in_parent, hash_stamp, hash_text,
};
use support::{Known, cell, run, store, text_of, thing, vectors};

fn parsed(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn content(store: &MergeableStore) -> Json {
    parsed(&store.content())
}

fn hlc(text: &Json) -> Hlc {
    text.str().parse().unwrap()
}

#[test]
fn hashes() {
    let file = vectors("hashes.json");
    for item in [file.at("getHash"), file.at("getHashLoneSurrogates")]
        .iter()
        .flat_map(|section| section.items())
    {
        assert_eq!(u64::from(hash_text(text_of(item, "s"))), item.at("hash").uint(), "{item:?}");
    }
    for item in file.at("stampHash").items() {
        assert_stamp_hash(item, thing(item.at("value")));
    }
    for item in file.at("stampHashLoneSurrogates").items() {
        assert_stamp_hash(item, Some(Cell::String(text_of(item, "value"))));
    }
    for item in file.at("stampHashEncodedJson").items() {
        let encoded = cell(item.at("value"));
        assert_eq!(parsed(&encoded.encoded()), *item.at("stored"));
        assert_stamp_hash(item, Some(encoded));
    }
    for item in file.at("inParent").items() {
        let result = hash_in_parent(item.at("id").text(), item.at("hash").uint() as u32);
        assert_eq!(u64::from(result), item.at("result").uint(), "{item:?}");
    }
    for (section, zero) in [("rowOrValues", true), ("tableOrTables", false)] {
        for item in file.at(section).items() {
            let folded = item.at("children").entries().into_iter().fold(0, |hash, (id, child)| {
                let own = if zero { hash_in_parent(id, 0) } else { 0 };
                hash ^ hash_in_parent(id, child.uint() as u32) ^ own
            });
            assert_eq!(u64::from(folded), item.at("hash").uint(), "{section} {item:?}");
        }
    }
}

fn assert_stamp_hash(item: &Json, thing: Option<Cell>) {
    let stamp = hlc(item.at("hlc"));
    let text = thing.as_ref().map_or_else(|| "null".to_owned(), Cell::encoded);
    assert_eq!(format!("{text}:{stamp}"), item.at("text").str());
    assert_eq!(u64::from(hash_stamp(thing.as_ref(), stamp)), item.at("hash").uint(), "{item:?}");
}

#[test]
fn hlcs() {
    let file = vectors("hlc.json");
    for item in file.at("clientIds").items() {
        assert_eq!(
            ClientId::from_unique_id(item.at("uniqueId").str()).to_string(),
            item.at("clientId").str()
        );
    }
    for item in file.at("encode").items() {
        let client = ClientId::from_unique_id(item.at("uniqueId").str());
        let made = Hlc::new(item.at("time").uint(), item.at("counter").uint() as u32, client);
        assert_eq!(made.to_string(), item.at("hlc").str());
        assert_decoded(item);
    }
    file.at("decode").items().iter().for_each(assert_decoded);
    for sequence in file.at("sequences").items() {
        let mut clock = Clock::new(ClientId::from_unique_id(sequence.at("uniqueId").str()));
        assert_eq!(clock.client().to_string(), sequence.at("clientId").str());
        for step in sequence.at("steps").items() {
            let now = step.at("now").uint();
            match step.at("op").str() {
                "next" => assert_eq!(clock.next(now).to_string(), step.at("hlc").str(), "{step:?}"),
                "seen" => {
                    if let Ok(hlc) = step.at("hlc").str().parse() {
                        clock.seen(now, hlc);
                    }
                }
                op => panic!("unknown op {op}"),
            }
            let (time, counter) = clock.state();
            assert_eq!(
                (time as f64, counter as f64),
                (step.at("time").number(), step.at("counter").number()),
                "{step:?}"
            );
        }
    }
    for order in file.at("order").items() {
        let sorted: Vec<Hlc> = order.items().iter().map(hlc).collect();
        assert!(sorted.is_sorted());
    }
}

fn assert_decoded(item: &Json) {
    let (decoded, hlc) = (item.at("decoded").items(), hlc(item.at("hlc")));
    assert_eq!(hlc.time_ms(), decoded[0].uint());
    assert_eq!(u64::from(hlc.counter()), decoded[1].uint());
    assert_eq!(hlc.client().unwrap().to_string(), decoded[2].str());
}

#[test]
fn json_cells() {
    let file = vectors("json-cells.json");
    for item in file.at("cases").items() {
        let content = match (item.find("bits"), item.find("utf16")) {
            (Some(bits), _) => {
                Cell::Number(f64::from_bits(u64::from_str_radix(bits.str(), 16).unwrap()))
            }
            (None, Some(_)) => Cell::String(text_of(item, "value")),
            (None, None) => cell(item.at("value")),
        };
        assert_eq!(*item.at("accepted"), Json::Bool(true));
        let stamp = hlc(item.at("hlc"));
        let encoded = content.encoded();
        if let Some(stored) = item.find("stored") {
            assert_eq!(parsed(&encoded), *stored, "{item:?}");
        }
        assert_eq!(format!("{encoded}:{stamp}"), item.at("hashText").str());
        assert_eq!(
            u64::from(hash_stamp(Some(&content), stamp)),
            item.at("hash").uint(),
            "{item:?}"
        );
        assert_eq!(format!("[{encoded},\"{stamp}\"]"), item.at("wire").str());
        let mut store = store("any");
        store.transaction(1, |tx| tx.set_cell("t", "r", "c", content.clone())).unwrap();
        assert_eq!(Cell::from_encoded(&encoded).unwrap(), content);
    }
    for item in file.at("fromWire").items() {
        assert_from_wire(item);
    }
    for item in file.at("reserved").items() {
        let result =
            store("any").transaction(1, |tx| tx.set_cell("t", "r", "c", text_of(item, "")));
        assert_eq!(Json::Bool(result.is_ok()), *item.at("acceptedBySetCell"), "{item:?}");
    }
}

fn assert_from_wire(item: &Json) {
    let frame = format!("\n[\"abcdefghijk\",3,{}]", item.at("body").str());
    let accepted =
        Frame::parse(&frame).is_ok_and(|frame| matches!(frame.payload, Payload::Message(_)));
    assert_eq!(Json::Bool(accepted), *item.at("accepted"), "{item:?}");
    let changes = Changes::from_json(item.at("body").str());
    assert_eq!(changes.is_ok(), accepted);
    let Ok(changes) = changes else { return };
    let mut store = store("any");
    store.merge(1_763_800_000_000, &changes).unwrap();
    assert_eq!(store.hashes(), item.at("storeHashes").hashes(), "{item:?}");
    let (there, stamp) = store.stamp("t", "r", "c").unwrap();
    assert_eq!(u64::from(hash_stamp(there.as_ref(), stamp)), item.at("hash").uint());
    let resent = store.cell_diff(
        &[(Text::from("t"), RowHashes::from_iter([(Text::from("r"), TableHashes::new())]))]
            .into_iter()
            .collect(),
    );
    let resent = resent.to_json();
    let expected =
        format!("[[{{\"t\":[{{\"r\":[{{\"c\":{}}}]}}]}}],[{{}}],1]", item.at("resent").str());
    assert_eq!(resent, expected);
}

#[test]
fn merges_of_scenarios() {
    let file = vectors("merges.json");
    for scenario in file.at("scenarios").items() {
        let name = scenario.at("name").str();
        let described = scenario.at("stores").items();
        let mut stores: Vec<_> =
            described.iter().map(|item| store(item.at("uniqueId").str())).collect();
        let steps = scenario.at("steps").items();
        for (number, step) in steps.iter().enumerate() {
            let at = step.at("store").uint() as usize;
            let now = (step.at("now").number() + described[at].at("skew").number()) as u64;
            if let Some(op) = step.find("op") {
                let diff = run(&mut stores[at], now, op);
                assert_eq!(diff.as_ref(), step.find("diff"), "{name} step {number}");
            } else if let Some(from) = step.find("applyDiffOfStep") {
                let diff = steps[from.uint() as usize].at("diff");
                let changes = Changes::from_json(&diff.stringify()).unwrap();
                let _ = stores[at].merge(now, &changes);
            } else if let Some(from) = step.find("mergeFrom") {
                let changes = stores[from.uint() as usize].to_changes();
                let _ = stores[at].merge(now, &changes);
            } else {
                let text = stores[step.at("setContentFrom").uint() as usize].content();
                let _ = stores[at].load(now, &text);
            }
            assert_eq!(stores[at].hashes(), step.at("hashes").hashes(), "{name} step {number}");
            if let Some(expected) = step.find("content") {
                assert_eq!(content(&stores[at]), *expected, "{name} step {number}");
            }
        }
        let end = scenario.at("final");
        for store in &stores {
            assert_eq!(store.hashes(), end.at("hashes").hashes(), "{name}");
            assert_eq!(store.computed_hashes(), store.hashes(), "{name}");
            assert_eq!(content(store), *end.at("content"), "{name}");
            assert_live(store, end);
        }
    }
}

/// The live content is what TinyBase's `getTables` and `getValues` give.
fn assert_live(store: &MergeableStore, expected: &Json) {
    let live = |things: Vec<(Text, Cell)>| {
        Json::Object(things.into_iter().map(|(id, thing)| (id, decoded(&thing))).collect())
    };
    let tables = store.table_ids().into_iter().map(|table| {
        let rows = store.row_ids(&table).into_iter().map(|row| {
            let cells = live(store.row(&table, &row).collect());
            (row, cells)
        });
        let rows = Json::Object(rows.collect());
        (table, rows)
    });
    assert_eq!(Json::Object(tables.collect()), *expected.at("tables"));
    let values = store
        .value_ids()
        .into_iter()
        .map(|value| (value.clone(), store.get_value(&value).unwrap().to_cell()));
    assert_eq!(live(values.collect()), *expected.at("values"));
}

fn decoded(cell: &Cell) -> Json {
    match cell {
        Cell::Json(text) | Cell::RawJson(text) => parsed(&text.to_string_lossy()),
        cell => parsed(&cell.encoded()),
    }
}

#[test]
fn merges_by_hand() {
    for case in vectors("merges.json").at("handmade").items() {
        let (name, now) = (case.at("name").str(), case.at("now").uint());
        let mut store = store(case.at("uniqueId").str());
        for apply in case.at("applies").items() {
            if let Ok(changes) = Changes::from_json(&apply.at("body").stringify()) {
                let _ = store.merge(now, &changes);
            }
            assert_eq!(store.hashes(), apply.at("hashes").hashes(), "{name}");
            assert_eq!(content(&store), *apply.at("content"), "{name}");
        }
        assert_eq!(store.next_hlc(now).to_string(), case.at("nextHlcAfter").str(), "{name}");
    }
}

/// A table's, row's or cell's hashes as the ladder carries them.
fn map<V>(value: &Json, read: impl Fn(&Json) -> V) -> indexmap::IndexMap<Text, V> {
    value.entries().into_iter().map(|(id, value)| (id.clone(), read(value))).collect()
}

fn hash(value: &Json) -> u32 {
    value.uint() as u32
}

fn table_hashes(value: &Json) -> TableHashes {
    map(value, hash)
}

fn row_hashes(value: &Json) -> RowHashes {
    map(value, table_hashes)
}

fn cell_hashes(value: &Json) -> CellHashes {
    map(value, row_hashes)
}

/// Changes of which only the tables stamp, or only the values stamp, is given.
fn tables(stamp: &Json) -> Changes {
    Changes::from_json(&format!("[{},[{{}}],1]", stamp.stringify())).unwrap()
}

fn values(stamp: &Json) -> Changes {
    Changes::from_json(&format!("[[{{}}],{},1]", stamp.stringify())).unwrap()
}

#[test]
fn diffs() {
    for (number, pair) in vectors("diffs.json").at("pairs").items().iter().enumerate() {
        let now = pair.at("now").uint();
        let load = |key: &str| {
            MergeableStore::from_content(
                ClientId::from_unique_id(key),
                now,
                &pair.at(key).stringify(),
            )
        };
        let (mut asker, answerer) = (load("asker").unwrap(), load("answerer").unwrap());
        assert_eq!(asker.hashes(), pair.at("askerHashes").hashes());
        assert_eq!(answerer.hashes(), pair.at("answererHashes").hashes());

        assert_eq!(asker.table_hashes(), table_hashes(pair.at("tableHashes")), "pair {number}");
        let (new_tables, differing_tables) = answerer.table_diff(&asker.table_hashes());
        let expected = pair.at("tableDiff").items();
        assert_eq!(
            (&new_tables, &differing_tables),
            (&tables(&expected[0]), &table_hashes(&expected[1]))
        );

        let asked_rows = asker.row_hashes(&differing_tables);
        assert_eq!(asked_rows, row_hashes(pair.at("rowHashes")), "pair {number}");
        let (new_rows, differing_rows) = answerer.row_diff(&asked_rows);
        let expected = pair.at("rowDiff").items();
        assert_eq!(
            (&new_rows, &differing_rows),
            (&tables(&expected[0]), &row_hashes(&expected[1])),
            "pair {number}"
        );

        let asked_cells = asker.cell_hashes(&differing_rows);
        assert_eq!(asked_cells, cell_hashes(pair.at("cellHashes")), "pair {number}");
        let new_cells = answerer.cell_diff(&asked_cells);
        assert_eq!(new_cells, tables(pair.at("cellDiff")), "pair {number}");

        assert_eq!(asker.value_hashes(), table_hashes(pair.at("valueHashes")));
        let new_values = answerer.value_diff(&asker.value_hashes());
        assert_eq!(new_values, values(pair.at("valueDiff")), "pair {number}");

        for changes in [new_tables, new_rows, new_cells, new_values] {
            asker.merge(now, &changes).unwrap();
        }
        assert_eq!(content(&asker), *pair.at("askerAfter"), "pair {number}");
        assert_eq!(asker.hashes(), pair.at("askerHashesAfter").hashes());
    }
}

#[test]
fn saves() {
    for case in vectors("persisted.json").at("saves").items() {
        let mut store = store(case.at("uniqueId").str());
        let mut now = case.at("startNow").uint();
        for op in case.at("ops").items() {
            now += 3;
            run(&mut store, now, op);
        }
        assert_eq!(store.content(), case.at("saved").str());
        assert_live(&store, case);
        let loaded = MergeableStore::from_content(store.client(), now, &store.content()).unwrap();
        assert_eq!(loaded.content(), store.content());
    }
}

#[test]
fn loads() {
    for case in vectors("persisted.json").at("loads").items() {
        let mut store = store("loader");
        let result = store.load(1_763_800_000_000, case.at("text").str());
        // What TinyBase reports as an error is one here; so is what it ignores silently.
        assert!(*case.at("error") == Json::Null || result.is_err(), "{case:?}");
        assert_eq!(content(&store), *case.at("content"), "{case:?} {result:?}");
    }
}
