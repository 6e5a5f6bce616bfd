//! Keys of an index: bytes whose order is the rows' order.
//!
//! A key is one part for each cell of the index, then the row's id. Each part tells where it ends, so that the rows with
//! the same first parts are those whose keys begin with the same bytes.

use mergeable_store::{AsText, Text};

use crate::resource::order::Rank;
use crate::resource::{CellId, CellRef, Collation, Nulls};

/// A cell of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) cell: CellId,
    pub(super) descending: bool,
    pub(super) collation: Collation,
}

/// The first byte of a part: the order of kinds.
const NULL_FIRST: u8 = 0;
const NUMBER: u8 = 1;
const TEXT: u8 = 2;
const NULL_LAST: u8 = 3;

/// The end of a text, less than whatever can come in its place. A zero byte inside it is followed by [`ESCAPED`].
const END: [u8; 2] = [0, 0];
const ESCAPED: u8 = 0xFF;

impl Part {
    /// Adds the part for a cell to a key.
    pub(super) fn push(&self, key: &mut Vec<u8>, cell: Option<CellRef<'_>>, nulls: Nulls) {
        let start = key.len();
        match Rank::of(cell) {
            Rank::Null => key.push(match nulls {
                Nulls::First => NULL_FIRST,
                Nulls::Last => NULL_LAST,
            }),
            Rank::Number(number) => {
                key.push(NUMBER);
                // -0 equals 0.
                let bits = (number + 0.0).to_bits();
                let negative = bits >> 63 == 1;
                let ordered = if negative { !bits } else { bits | 1 << 63 };
                key.extend_from_slice(&ordered.to_be_bytes());
            }
            Rank::Text(text) => {
                key.push(TEXT);
                for &byte in text {
                    key.push(self.collation.fold(byte));
                    if byte == 0 {
                        key.push(ESCAPED);
                    }
                }
                key.extend_from_slice(&END);
            }
        }
        if self.descending {
            key[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }

    /// How long the part at the start of `key` is.
    fn len(&self, key: &[u8]) -> usize {
        let turn = |byte: u8| if self.descending { !byte } else { byte };
        match key.first().map(|first| turn(*first)) {
            Some(NUMBER) => 9,
            Some(TEXT) => {
                let mut at = 1;
                while let Some(pair) = key.get(at..at + 2) {
                    let ends = pair.iter().all(|byte| turn(*byte) == 0);
                    // An escaped zero is passed in one step, lest its second byte be taken for a first one.
                    at += if ends || turn(pair[0]) == 0 { 2 } else { 1 };
                    if ends {
                        break;
                    }
                }
                at
            }
            _ => 1,
        }
    }
}

/// How many bytes these parts take up at the start of a key.
pub(super) fn parts_len(parts: &[Part], key: &[u8]) -> usize {
    parts.iter().fold(0, |at, part| at + part.len(key.get(at..).unwrap_or_default()))
}

/// A row's id, as it stands at the end of a key.
#[derive(Debug, Clone, Copy)]
pub(in crate::resource) struct RowKey<'a>(pub(super) &'a [u8]);

impl crate::resource::OwnId for RowKey<'_> {
    fn row_id(&self) -> Option<crate::migration::RowId> {
        self.to_text().row_id()
    }
}

impl AsText for RowKey<'_> {
    fn wtf8(&self) -> &[u8] {
        self.0
    }

    fn to_text(&self) -> Text {
        let mut units = Vec::new();
        let mut rest = self.0;
        while !rest.is_empty() {
            let valid = match std::str::from_utf8(rest) {
                Ok(text) => text,
                Err(error) => std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default(),
            };
            units.extend(valid.encode_utf16());
            rest = &rest[valid.len()..];
            // What is not UTF-8 in a store's id is half a surrogate pair, in three bytes.
            if let [_, second, third, after @ ..] = rest {
                let unit = 0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F);
                units.push(unit);
                rest = after;
            } else {
                break;
            }
        }
        Text::from_utf16(&units)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resource::row::tests::any_cell;
    use crate::resource::{Cell, compare};

    fn any_part() -> impl Strategy<Value = Part> {
        (any::<bool>(), any::<bool>()).prop_map(|(descending, nocase)| Part {
            cell: "a".into(),
            descending,
            collation: if nocase { Collation::Nocase } else { Collation::Binary },
        })
    }

    fn any_value() -> impl Strategy<Value = Cell> {
        prop_oneof![
            3 => any_cell(),
            1 => "[\u{0}-\u{2}aB\u{FF}]{0,4}".prop_map(|text| Cell::from(text.as_str())),
            1 => any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Cell::Number),
            1 => Just(Cell::Number(-0.0)),
        ]
    }

    proptest! {
        #[test]
        fn bytes_compare_as_cells(
            part in any_part(), a in any_value(), b in any_value(), last: bool, tail: Vec<u8>,
        ) {
            let nulls = if last { Nulls::Last } else { Nulls::First };
            let key = |cell: &Cell| {
                let mut key = Vec::new();
                part.push(&mut key, Some(cell.view()), nulls);
                key
            };
            let cells = compare(Some(a.view()), Some(b.view()), part.collation, nulls);
            let cells = if part.descending { cells.reverse() } else { cells };
            prop_assert_eq!(key(&a).cmp(&key(&b)), cells);
            // A part ends where the next one begins, whatever that is.
            let mut longer = key(&a);
            longer.extend(tail);
            prop_assert_eq!(parts_len(std::slice::from_ref(&part), &longer), key(&a).len());
        }

        #[test]
        fn a_row_keys_text_is_the_id(units in prop::collection::vec(
            prop_oneof![any::<u16>(), 0xD7F0..0xE010_u16], 0..6,
        )) {
            let id = Text::from_utf16(&units);
            prop_assert_eq!(RowKey(id.as_wtf8()).to_text(), id);
        }
    }
}
