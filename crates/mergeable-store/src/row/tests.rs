use proptest::prelude::*;

use super::*;
use crate::{ClientId, Text};

const NOW: u64 = 1_763_800_000_000;

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(Id, Stamped)>, Rule),
    /// Puts one stamp and takes it back.
    PutAndUndo(Id, Stamped),
    Revive(Id),
    Raise(Hlc),
}

fn any_thing() -> impl Strategy<Value = Option<Cell>> {
    let text = prop::sample::select(vec![0usize, 1, 22, 23, 200, 3000]);
    let text = text.prop_map(|length| Text::from("é".repeat(length).as_str()));
    prop_oneof![
        2 => Just(None),
        1 => Just(Some(Cell::Null)),
        1 => any::<bool>().prop_map(|bool| Some(bool.into())),
        1 => any::<i32>().prop_map(|number| Some(number.into())),
        1 => any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| Some(n.into())),
        1 => Just(Some(Cell::Number(-0.0))),
        1 => text.clone().prop_map(|text| Some(Cell::String(text))),
        1 => text.clone().prop_map(|text| Some(Cell::Json(text))),
        1 => text.prop_map(|text| Some(Cell::RawJson(text))),
    ]
}

fn any_hlc() -> impl Strategy<Value = Hlc> {
    let counters = prop_oneof![0u32..6, Just((1 << 24) - 1)];
    let hlc = (0u64..2, counters, 0usize..2).prop_map(|(time, counter, client)| {
        Hlc::new(NOW + time, counter, ClientId::from_unique_id(["a", "b"][client]))
    });
    prop_oneof![1 => Just(Hlc::EMPTY), 6 => hlc]
}

fn any_stamped() -> impl Strategy<Value = Stamped> {
    let believed = prop_oneof![4 => Just(None), 1 => any::<u32>().prop_map(Some)];
    (any_thing(), any_hlc(), believed).prop_map(|(thing, hlc, believed)| match believed {
        Some(hash) => StampRef::with_hash(thing.as_ref().map(Cell::view), hlc, hash).to_stamped(),
        None => Stamped { thing, hlc, believed: None },
    })
}

/// Stamps of different cells: mostly of few, sometimes of more than a packed row holds.
fn any_stamps() -> impl Strategy<Value = Vec<(Id, Stamped)>> {
    let few = prop::collection::vec((0u32..6, any_stamped()), 0..5);
    let many = prop::collection::vec((0u32..40, any_stamped()), 0..40);
    prop_oneof![9 => few, 1 => many].prop_map(|mut stamps| {
        let mut seen = std::collections::HashSet::new();
        stamps.retain(|(id, _)| seen.insert(*id));
        stamps
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let rule = prop_oneof![Just(Rule::Merge), Just(Rule::Replace)];
    prop_oneof![
        6 => (any_stamps(), rule).prop_map(|(stamps, rule)| Step::Write(stamps, rule)),
        2 => (0u32..8, any_stamped()).prop_map(|(id, stamped)| Step::PutAndUndo(id, stamped)),
        1 => (0u32..8).prop_map(Step::Revive),
        1 => any_hlc().prop_map(Step::Raise),
    ]
}

fn ids() -> Ids {
    let mut ids = Ids::default();
    (0..40).for_each(|number| {
        ids.intern(format!("cell {number}").as_bytes());
    });
    ids
}

/// What a step tells of what was there.
type Told = Vec<(usize, Option<Stamped>)>;

fn take(row: &mut Row, ids: &Ids, step: &Step) -> Told {
    let mut told = Told::new();
    match step {
        Step::Write(stamps, rule) => {
            let stamps: Vec<_> = stamps.iter().map(|(id, stamped)| (*id, stamped.view())).collect();
            row.write(ids, &stamps, *rule, &mut Vec::new(), &mut |place, old, _| {
                told.push((place, old.map(StampRef::to_stamped)));
            });
        }
        Step::PutAndUndo(id, stamped) => {
            let hash = row.hash();
            let old = row.put(ids, (*id, stamped.view()), Rule::Replace, &mut Vec::new());
            row.undo(*id, old.as_ref().map(Stamped::view), hash);
            // As a rollback does, so that the order is right again.
            if old.as_ref().is_some_and(|old| old.thing.is_some()) && stamped.thing.is_none() {
                row.revive(*id);
            }
            told.push((0, old));
        }
        Step::Revive(id) => {
            if row.get(*id).is_some_and(|stamp| stamp.thing.is_some()) {
                row.revive(*id);
            }
        }
        Step::Raise(hlc) => {
            row.raise(*hlc);
        }
    }
    told
}

#[derive(Debug, PartialEq)]
struct State {
    counts: [usize; 2],
    hash: u32,
    hlc: Hlc,
    all: Vec<(Id, Stamped)>,
    living: Vec<(Id, Cell)>,
}

fn state(row: &Row) -> State {
    State {
        counts: [row.len(), row.live() as usize],
        hash: row.hash(),
        hlc: row.hlc(),
        all: row.iter().map(|(id, stamp)| (id, stamp.to_stamped())).collect(),
        living: row.living().map(|(id, cell)| (id, cell.to_cell())).collect(),
    }
}

proptest! {
    #[test]
    fn packed_and_full_rows_behave_alike(steps in prop::collection::vec(any_step(), 0..30)) {
        let ids = ids();
        let (mut packed, mut full) = (Row::default(), Row::default());
        full.unpack();
        for step in &steps {
            prop_assert_eq!(take(&mut packed, &ids, step), take(&mut full, &ids, step));
            prop_assert_eq!(state(&packed), state(&full));
            let State { counts: [count, live], all, living, .. } = state(&packed);
            prop_assert_eq!((count, live), (all.len(), living.len()));
            for id in 0..40 {
                prop_assert_eq!(packed.get(id), full.get(id));
                let thing = packed.get(id).and_then(|stamp| stamp.thing);
                prop_assert_eq!((packed.thing(id), full.thing(id)), (thing, thing));
            }
            let believed = packed.iter().any(|(_, stamp)| stamp.believed.is_some());
            prop_assert!(believed || packed.computed_hash(&ids) == packed.hash());
            prop_assert!(count <= packed::MAX_CELLS || matches!(packed.cells, Cells::Full(_)));
        }
    }
}

#[test]
fn a_row_of_an_app_is_small() {
    let mut ids = Ids::default();
    let cells = ["User Number 4217", "user4217@example.com", "member", "x", "y", "z"];
    let stamps: Vec<_> = (0..)
        .zip(cells)
        .map(|(at, text)| {
            let (id, _) = ids.intern(text.as_bytes());
            let hlc = Hlc::new(NOW, at, ClientId::from_unique_id("a"));
            (id, Stamped { thing: Some(text.into()), hlc, believed: None })
        })
        .collect();
    let mut row = Row::default();
    take(&mut row, &ids, &Step::Write(stamps, Rule::Merge));
    let content: usize = cells.iter().map(|text| text.len()).sum();
    let Cells::Packed(packed) = &row.cells else { panic!("a small row is packed") };
    // Header, one HLC, and three bytes a cell: id, tag, length.
    assert_eq!(packed.len(), 2 + 12 + 3 * cells.len() + content);
    assert_eq!(size_of::<Row>(), 24);
}

#[test]
fn a_row_that_grows_is_unpacked_once_and_for_all() {
    let ids = ids();
    let mut row = Row::default();
    let put = |row: &mut Row, id: Id, thing: Cell| {
        let stamp = StampRef::new(Some(thing.view()), Hlc::EMPTY);
        row.put(&ids, (id, stamp), Rule::Replace, &mut Vec::new());
    };
    put(&mut row, 0, "x".repeat(MAX_BYTES - 20).into());
    assert!(matches!(row.cells, Cells::Packed(_)));
    put(&mut row, 1, "x".repeat(20).into());
    assert!(matches!(row.cells, Cells::Full(_)));
    put(&mut row, 0, Cell::Null);
    assert!(matches!(row.cells, Cells::Full(_)));
}
