//! How values compare: SQLite's order, by which a legacy API on libSQL sorts and filters.

use std::cmp::Ordering;

use super::CellRef;

/// How strings compare in a sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub enum Collation {
    /// By the bytes of the UTF-8 text (SQLite's `BINARY`). JavaScript's `<` compares UTF-16 units, which is another
    /// order beyond U+FFFF.
    #[default]
    Binary,
    /// As `Binary`, with A-Z taken as a-z (SQLite's `NOCASE`).
    Nocase,
}

/// Where null stands in an ascending sort; a descending sort is the reverse of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub enum Nulls {
    /// Before every value (SQLite, MySQL).
    #[default]
    First,
    /// After every value (PostgreSQL).
    Last,
}

/// Compares two cells: null, then numbers and booleans by value (true is 1), then text. A missing cell is null.
#[must_use]
pub fn compare(
    a: Option<CellRef<'_>>,
    b: Option<CellRef<'_>>,
    collation: Collation,
    nulls: Nulls,
) -> Ordering {
    match (Rank::of(a), Rank::of(b)) {
        (Rank::Null, Rank::Null) => Ordering::Equal,
        (Rank::Null, _) => nulls.ordering(),
        (_, Rank::Null) => nulls.ordering().reverse(),
        (Rank::Number(a), Rank::Number(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (Rank::Number(_), Rank::Text(_)) => Ordering::Less,
        (Rank::Text(_), Rank::Number(_)) => Ordering::Greater,
        (Rank::Text(a), Rank::Text(b)) => collation.compare(a, b),
    }
}

impl Nulls {
    const fn ordering(self) -> Ordering {
        match self {
            Self::First => Ordering::Less,
            Self::Last => Ordering::Greater,
        }
    }
}

impl Collation {
    /// Compares two texts, given as UTF-8.
    #[must_use]
    pub fn compare(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Self::Binary => a.cmp(b),
            Self::Nocase => {
                let fold = |byte: &u8| self.fold(*byte);
                a.iter().map(fold).cmp(b.iter().map(fold))
            }
        }
    }

    /// A byte of a text as it is compared.
    pub(super) const fn fold(self, byte: u8) -> u8 {
        match self {
            Self::Binary => byte,
            Self::Nocase => byte.to_ascii_lowercase(),
        }
    }
}

/// A cell as it is compared.
pub(super) enum Rank<'a> {
    Null,
    Number(f64),
    /// UTF-8; WTF-8 if a browser sent half a surrogate pair, which no SQLite holds.
    Text(&'a [u8]),
}

impl<'a> Rank<'a> {
    pub(super) fn of(cell: Option<CellRef<'a>>) -> Self {
        match cell {
            None | Some(CellRef::Null) => Self::Null,
            Some(CellRef::Number(number)) => Self::Number(number),
            Some(CellRef::Bool(truth)) => Self::Number(f64::from(u8::from(truth))),
            Some(CellRef::String(text) | CellRef::Json(text) | CellRef::RawJson(text)) => {
                Self::Text(text.as_wtf8())
            }
        }
    }
}

/// Whether `text` contains `needle`, A-Z and a-z being equal (SQLite's `LIKE '%needle%'`, wildcards escaped).
#[must_use]
pub fn contains_nocase(text: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || text.windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Cell;
    use super::*;
    use crate::resource::row::tests::any_cell;

    fn text(text: &str) -> Cell {
        Cell::String(text.into())
    }

    fn order(a: &Cell, b: &Cell) -> Ordering {
        compare(Some(a.view()), Some(b.view()), Collation::Binary, Nulls::First)
    }

    #[test]
    fn strings_compare_by_utf8_bytes_not_by_utf16_units() {
        // U+FF5E is the unit FF5E; U+1F600 is the units D83D DE00: UTF-16 puts the emoji first, UTF-8 last.
        let (tilde, emoji) = ("\u{FF5E}", "\u{1F600}");
        assert_eq!(order(&text(tilde), &text(emoji)), Ordering::Less);
        assert!(tilde.encode_utf16().gt(emoji.encode_utf16()));
        assert_eq!(order(&text("Z"), &text("a")), Ordering::Less);
        assert_eq!(order(&text("a"), &text("ab")), Ordering::Less);
    }

    #[test]
    fn nocase_folds_ascii_only_and_to_lower_case() {
        let order = |a: &str, b: &str| Collation::Nocase.compare(a.as_bytes(), b.as_bytes());
        assert_eq!(order("ANNA", "anna"), Ordering::Equal);
        assert_eq!(order("Z", "a"), Ordering::Greater);
        assert_eq!(order("Ä", "ä"), Ordering::Less);
        // `_` (5F) stands between Z (5A) and a (61): before all letters once they are lower case.
        assert_eq!(order("_", "Z"), Ordering::Less);
    }

    #[test]
    fn types_compare_as_in_sqlite() {
        let ascending = [
            Cell::Null,
            Cell::Number(-1.0),
            Cell::Bool(false),
            Cell::Number(0.5),
            Cell::Bool(true),
            Cell::Number(10.0),
            text("10"),
            text("9"),
            Cell::Json("[1]".into()),
        ];
        for pair in ascending.windows(2) {
            assert_eq!(order(&pair[0], &pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(order(&Cell::Number(1.0), &Cell::Bool(true)), Ordering::Equal);
        assert_eq!(
            compare(None, Some(CellRef::Null), Collation::Binary, Nulls::Last),
            Ordering::Equal
        );
    }

    #[test]
    fn contains_knows_ascii_case_and_no_wildcards() {
        let contains_nocase =
            |text: &str, needle: &str| contains_nocase(text.as_bytes(), needle.as_bytes());
        assert!(contains_nocase("Ada Lovelace", "LOVE"));
        assert!(contains_nocase("x", ""));
        assert!(!contains_nocase("Äda", "äda"));
        assert!(!contains_nocase("a", "ab"));
        assert!(!contains_nocase("Ada", "a_a"));
        assert!(!contains_nocase("Ada", "%"));
    }

    proptest! {
        #[test]
        fn the_order_is_total(
            a in any_cell(), b in any_cell(), c in any_cell(), nocase: bool, last: bool,
        ) {
            let collation = if nocase { Collation::Nocase } else { Collation::Binary };
            let nulls = if last { Nulls::Last } else { Nulls::First };
            let order = |a: &Cell, b: &Cell| compare(Some(a.view()), Some(b.view()), collation, nulls);
            prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
            if order(&a, &b).is_le() && order(&b, &c).is_le() {
                prop_assert!(order(&a, &c).is_le());
            }
        }
    }
}
