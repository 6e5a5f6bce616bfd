//! Bytes to changes: few ids, few stamps, so that edits meet.

use arbitrary::Unstructured;
use mergeable_store::{Cell, Changes, ClientId, Container, Hlc, MAX_AHEAD_MS, Text};

/// The time that every target starts at.
pub(crate) const NOW: u64 = 1_763_800_000_000;

/// Whether what a stamp says follows from the stamp.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// As between honest stores: one stamp, one content. Then merging in any order gives the same.
    OfStamp,
    /// Anything under any stamp: forged.
    Any,
}

/// A number below `bound`; 0 once the bytes are used up.
pub(crate) fn below(u: &mut Unstructured<'_>, bound: usize) -> usize {
    usize::from(u.arbitrary::<u8>().unwrap_or_default()) % bound
}

/// Up to 255 bytes.
pub(crate) fn bytes<'a>(u: &mut Unstructured<'a>) -> &'a [u8] {
    let length = below(u, 256).min(u.len());
    u.bytes(length).unwrap_or_default()
}

/// An id: one of a few, among them those that JavaScript treats in a way of its own.
pub(crate) fn id(u: &mut Unstructured<'_>) -> Text {
    match below(u, 9) {
        0 => "a".into(),
        1 => "b".into(),
        2 => "".into(),
        3 => "10".into(),
        4 => "2".into(),
        5 => "__proto__".into(),
        6 => "😀\"\\".into(),
        7 => Text::from_utf16(&[0xD83D]),
        // Enough to go beyond the length at which a list of entries gets an index.
        _ => format!("r{}", below(u, 40)).into(),
    }
}

/// An HLC: none, one of a few near `NOW`, or up to and beyond the limit ahead. Store 0 makes its own, unless forged.
pub(crate) fn hlc(u: &mut Unstructured<'_>, contents: Contents) -> Hlc {
    let choice = below(u, 32);
    let time = match choice {
        0 => return Hlc::EMPTY,
        1 => NOW + MAX_AHEAD_MS,
        2 => NOW + MAX_AHEAD_MS + 1,
        3 => 0,
        _ => NOW + (choice as u64 % 4),
    };
    let counter = match below(u, 16) {
        15 => (1 << 24) - 1,
        counter => counter as u32,
    };
    let writer = match contents {
        Contents::OfStamp => 1 + below(u, 3),
        Contents::Any => below(u, 4),
    };
    Hlc::new(time, counter, client(writer))
}

/// The client id of the `number`th store.
pub(crate) fn client(number: usize) -> ClientId {
    ClientId::from_unique_id(&format!("client{number}"))
}

/// Any cell; `None`: deleted.
pub(crate) fn thing(u: &mut Unstructured<'_>) -> Option<Cell> {
    thing_of(u.arbitrary::<u32>().unwrap_or_default())
}

fn thing_of(number: u32) -> Option<Cell> {
    let of = number / 9;
    Some(match number % 9 {
        0 => return None,
        1 => Cell::Null,
        2 => Cell::Bool(of.is_multiple_of(2)),
        3 => Cell::String(Text::from_utf16(&[of as u16, 0x61])),
        4 => Cell::Json(format!("{{\"a\":[{of}]}}").into()),
        5 => Cell::Json("not JSON".into()),
        6 => Cell::RawJson(format!("[{of}]").into()),
        7 => Cell::Number(f64::from_bits(u64::from(of) << 32).clamp(-1e300, 1e300)),
        _ => Cell::Number(f64::from(of) / 3.0),
    })
    .filter(is_storable)
}

fn is_storable(cell: &Cell) -> bool {
    match cell {
        Cell::Number(number) => number.is_finite(),
        Cell::String(text) => {
            let units = text.to_utf16();
            units[0] != 0xFFFD && units != [0xFFFC]
        }
        _ => true,
    }
}

fn content(u: &mut Unstructured<'_>, contents: Contents, hlc: Hlc) -> Option<Cell> {
    match contents {
        Contents::Any => thing(u),
        Contents::OfStamp => thing_of(mergeable_store::hash_text(hlc.to_string())),
    }
}

/// Changes of up to a dozen stamps.
pub(crate) fn changes(u: &mut Unstructured<'_>, contents: Contents) -> Changes {
    let mut changes = Changes::new();
    for _ in 0..below(u, 12) {
        match below(u, 16) {
            0 => {
                let container = container(u);
                changes.set_container(&container, hlc(u, contents));
            }
            1..=3 => {
                let (id, hlc) = (id(u), hlc(u, contents));
                let thing = content(u, contents, hlc);
                changes.set_value(id, thing, hlc);
            }
            _ => {
                let (table, row, cell, hlc) = (id(u), id(u), id(u), hlc(u, contents));
                let thing = content(u, contents, hlc);
                changes.set_cell(table, row, cell, thing, hlc);
            }
        }
    }
    changes
}

fn container(u: &mut Unstructured<'_>) -> Container {
    match below(u, 4) {
        0 => Container::Tables,
        1 => Container::Values,
        2 => Container::Table(id(u)),
        _ => Container::Row(id(u), id(u)),
    }
}
