//! What the tests share: reading the vectors, and a source of randomness that gives the same every time.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod net;

use std::path::PathBuf;

use mergeable_store::{
    Cell, ClientId, ContentHashes, EditError, Json, MergeableStore, Random, Text, Transaction,
};

/// A repeatable source of randomness (SplitMix64).
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

impl Random for Rng {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = (self.next() >> 32) as u8;
        }
    }
}

pub(crate) fn store(unique_id: &str) -> MergeableStore {
    MergeableStore::new(ClientId::from_unique_id(unique_id))
}

#[allow(clippy::disallowed_methods, reason = "vectors are files; only the tests read them")]
/// A vector file; from the folder that `CROSSFADE_VECTORS` names, if it is set.
pub(crate) fn vectors(file: &str) -> Json {
    let folder = std::env::var_os("CROSSFADE_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors")),
        PathBuf::from,
    );
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Json::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Reading JSON whose shape is known.
pub(crate) trait Known {
    fn find(&self, key: &str) -> Option<&Json>;
    fn at(&self, key: &str) -> &Json;
    fn items(&self) -> &[Json];
    fn entries(&self) -> Vec<(&Text, &Json)>;
    fn text(&self) -> &Text;
    fn str(&self) -> &str;
    fn number(&self) -> f64;
    fn uint(&self) -> u64;
    fn hashes(&self) -> ContentHashes;
}

impl Known for Json {
    fn find(&self, key: &str) -> Option<&Json> {
        let Json::Object(entries) = self else { panic!("not an object: {self:?}") };
        entries.get(key.as_bytes())
    }

    fn at(&self, key: &str) -> &Json {
        self.find(key).unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }

    fn items(&self) -> &[Json] {
        let Json::Array(items) = self else { panic!("not an array: {self:?}") };
        items
    }

    fn entries(&self) -> Vec<(&Text, &Json)> {
        let Json::Object(entries) = self else { panic!("not an object: {self:?}") };
        entries.iter().collect()
    }

    fn text(&self) -> &Text {
        let Json::String(text) = self else { panic!("not a string: {self:?}") };
        text
    }

    fn str(&self) -> &str {
        self.text().as_str().expect("UTF-8")
    }

    fn number(&self) -> f64 {
        let Json::Number(number) = self else { panic!("not a number: {self:?}") };
        *number
    }

    fn uint(&self) -> u64 {
        self.number() as u64
    }

    fn hashes(&self) -> ContentHashes {
        let [tables, values] = self.items() else { panic!("not two hashes: {self:?}") };
        ContentHashes { tables: tables.uint() as u32, values: values.uint() as u32 }
    }
}

/// A text given as itself (`key`) or as UTF-16 units (`utf16`).
pub(crate) fn text_of(item: &Json, key: &str) -> Text {
    match item.find("utf16") {
        Some(units) => Text::from_utf16(
            &units.items().iter().map(|unit| unit.uint() as u16).collect::<Vec<_>>(),
        ),
        None => item.at(key).text().clone(),
    }
}

/// The cell that a JavaScript value becomes when it is set through the Store API.
pub(crate) fn cell(value: &Json) -> Cell {
    match value {
        Json::Null => Cell::Null,
        Json::Bool(bool) => Cell::Bool(*bool),
        Json::Number(number) => Cell::Number(*number),
        Json::String(text) => Cell::String(text.clone()),
        Json::Array(_) | Json::Object(_) => Cell::Json(value.stringify().into()),
    }
}

/// The same for a stamp's thing, where U+FFFC means none and U+FFFD marks an encoded object.
pub(crate) fn thing(value: &Json) -> Option<Cell> {
    match value {
        Json::String(text) if *text == "\u{FFFC}" => None,
        Json::String(text) => {
            Some(Cell::from_encoded(&Json::String(text.clone()).stringify()).unwrap())
        }
        value => Some(cell(value)),
    }
}

fn cells(row: &Json) -> Vec<(&Text, Cell)> {
    row.entries().into_iter().map(|(id, value)| (id, cell(value))).collect()
}

/// Carries out one Store method of the vectors, `[method, args...]`.
pub(crate) fn carry_out(tx: &mut Transaction<'_>, op: &Json) -> Result<(), EditError> {
    let op = op.items();
    let (method, args) = (op[0].str(), &op[1..]);
    let id = |at: usize| args[at].text();
    match method {
        "setCell" => tx.set_cell(id(0), id(1), id(2), cell(&args[3])),
        "setRow" => tx.set_row(id(0), id(1), cells(&args[2])),
        "setPartialRow" => tx.set_partial_row(id(0), id(1), cells(&args[2])),
        "setTable" => tx.set_table(
            id(0),
            args[1].entries().into_iter().map(|(row, value)| (row, cells(value))),
        ),
        "delCell" => tx.del_cell(id(0), id(1), id(2)),
        "delRow" => tx.del_row(id(0), id(1)),
        "delTable" => tx.del_table(id(0)),
        "delTables" => tx.del_tables(),
        "setValue" => tx.set_value(id(0), cell(&args[1])),
        "setValues" => tx.set_values(cells(&args[0])),
        "setPartialValues" => tx.set_partial_values(cells(&args[0])),
        "delValue" => tx.del_value(id(0)),
        "delValues" => tx.del_values(),
        "transaction" => args[0].items().iter().try_for_each(|op| carry_out(tx, op)),
        _ => panic!("unknown method {method}"),
    }
}

/// Carries out one op of the vectors as its own transaction: the ContentDiff that it causes, if any.
pub(crate) fn run(store: &mut MergeableStore, now: u64, op: &Json) -> Option<Json> {
    #[derive(Debug)]
    enum Stop {
        Wanted,
        Edit(#[allow(dead_code, reason = "shown by Debug")] EditError),
    }
    let result = store.transaction(now, |tx| {
        if op.items()[0].str() == "rollback" {
            let ops = op.items()[1].items();
            ops.iter().try_for_each(|op| carry_out(tx, op)).map_err(Stop::Edit)?;
            return Err(Stop::Wanted);
        }
        carry_out(tx, op).map_err(Stop::Edit)
    });
    match result {
        Ok(((), changes)) if changes.is_empty() => None,
        Ok(((), changes)) => Some(Json::parse(&changes.to_json()).unwrap()),
        Err(Stop::Wanted) => None,
        Err(error) => panic!("{error:?} in {}", op.stringify()),
    }
}
