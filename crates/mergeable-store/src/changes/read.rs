//! Changes straight out of JSON text, in one pass and without a tree of JSON in between.
//!
//! Only what every store writes is read here. Whatever else comes (a key twice, a mistake) is left to the reader of JSON
//! values ([`super::tree`]), which decides what is accepted and what the error is.

use super::{Changes, ChangesError, RowChanges, Stamp, StampForm, TableChanges};
use crate::cell::{JSON_MARK, UNDEFINED};
use crate::json::{Json, Reader};
use crate::map::Map;
use crate::{Cell, Hlc, Text, TextRef};

/// The number of a ContentDiff message.
const CONTENT_DIFF: f64 = 3.0;

impl Changes {
    /// Reads changes from text.
    pub(super) fn parse(text: &str, form: StampForm) -> Result<Self, ChangesError> {
        let mut fast = Fast { reader: Reader::new(text.as_bytes()), form };
        match fast.changes(0).filter(|_| fast.is_done()) {
            Some(changes) => Ok(changes),
            None => Self::read(&Json::parse(text)?, form),
        }
    }
}

/// The request id and changes of a ContentDiff message, if the text is one in the usual form.
pub(crate) fn read_content_diff(remainder: &str) -> Option<(Option<Text>, Changes)> {
    let mut fast = Fast { reader: Reader::new(remainder.as_bytes()), form: StampForm::Wire };
    fast.expect(b'[')?;
    let request = match fast.peek()? {
        b'"' => Some(fast.text().filter(|text| text.as_wtf8() != UNDEFINED)?),
        _ => (fast.reader.value(1).ok()? == Json::Null).then_some(None)?,
    };
    fast.expect(b',')?;
    if fast.number()? != CONTENT_DIFF {
        return None;
    }
    fast.expect(b',')?;
    let changes = fast.changes(1)?;
    fast.expect(b']')?;
    fast.is_done().then_some((request, changes))
}

/// A reader that gives up at anything unusual.
struct Fast<'a> {
    reader: Reader<'a>,
    form: StampForm,
}

impl Fast<'_> {
    fn is_done(&mut self) -> bool {
        self.reader.space();
        self.reader.is_done()
    }

    fn peek(&mut self) -> Option<u8> {
        self.reader.space();
        self.reader.peek()
    }

    fn take(&mut self, byte: u8) -> bool {
        self.reader.space();
        self.reader.take(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }

    fn number(&mut self) -> Option<f64> {
        matches!(self.peek()?, b'-' | b'0'..=b'9').then_some(())?;
        self.reader.number().ok()
    }

    fn text(&mut self) -> Option<Text> {
        (self.peek()? == b'"').then_some(())?;
        self.reader.string().ok().map(|wtf8| Text::from_wtf8(&wtf8))
    }

    /// `[tables,values,1]`
    fn changes(&mut self, depth: usize) -> Option<Changes> {
        let mut changes = Changes::new();
        self.expect(b'[')?;
        self.tables(&mut changes, depth + 1)?;
        self.expect(b',')?;
        (changes.values, changes.values_hlc) = self.things(depth + 1, 0)?;
        self.expect(b',')?;
        (self.number()? == 1.0).then_some(())?;
        self.expect(b']')?;
        Some(changes)
    }

    fn tables(&mut self, changes: &mut Changes, depth: usize) -> Option<()> {
        (changes.tables, changes.tables_hlc) = self.container(0, |fast| {
            let mut cells = 0;
            let (rows, hlc) = fast.container(0, |fast| {
                let (row, hlc) = fast.things(depth + 4, cells)?;
                cells = row.len();
                Some(RowChanges { cells: row, hlc })
            })?;
            Some(TableChanges { rows, hlc })
        })?;
        Some(())
    }

    /// A row's cells, or all values; of about so many.
    fn things(&mut self, depth: usize, capacity: usize) -> Option<(Map<Stamp>, Hlc)> {
        self.container(capacity, |fast| {
            fast.expect(b'[')?;
            let thing = fast.thing(depth + 3)?;
            Some(Stamp { thing, hlc: fast.end_of_stamp()? })
        })
    }

    /// `[{id:entry,...},hlc]`
    fn container<V>(
        &mut self,
        capacity: usize,
        mut entry: impl FnMut(&mut Self) -> Option<V>,
    ) -> Option<(Map<V>, Hlc)> {
        self.expect(b'[')?;
        self.expect(b'{')?;
        let mut map = Map::with_capacity(capacity);
        if !self.take(b'}') {
            loop {
                let id = self.text()?;
                self.expect(b':')?;
                map.insert_new(id, entry(self)?).ok()?;
                if self.take(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        map.sort_js();
        Some((map, self.end_of_stamp()?))
    }

    /// What follows the thing of a stamp: an HLC, unless it is empty; a hash, where one is allowed.
    fn end_of_stamp(&mut self) -> Option<Hlc> {
        if self.take(b']') {
            return Some(Hlc::EMPTY);
        }
        self.expect(b',')?;
        (self.peek()? == b'"').then_some(())?;
        let hlc = Hlc::from_text(TextRef::from_wtf8(&self.reader.string().ok()?)).ok()?;
        if self.form == StampForm::Loose && self.take(b',') {
            self.number()?.is_finite().then_some(())?;
        }
        self.expect(b']')?;
        Some(hlc)
    }

    fn thing(&mut self, depth: usize) -> Option<Option<Cell>> {
        Some(Some(match self.peek()? {
            b'"' => {
                let wtf8 = self.reader.string().ok()?;
                if *wtf8 == *UNDEFINED {
                    return Some(None);
                }
                match wtf8.strip_prefix(JSON_MARK) {
                    Some(json) => Cell::Json(Text::from_wtf8(json)),
                    None => Cell::String(Text::from_wtf8(&wtf8)),
                }
            }
            b'-' | b'0'..=b'9' => {
                let number = self.reader.number().ok()?;
                number.is_finite().then_some(Cell::Number(number))?
            }
            _ => return Cell::from_wire(&self.reader.value(depth).ok()?).ok(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces of changes, most of which fit together.
    const PARTS: &[&str] = &[
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        " ",
        "\"t\"",
        "\"r\":",
        "\"c\":[1]",
        "\"10\":[{}]",
        "[{}]",
        "[{},\"\"]",
        "[[{}],[{}],1]",
        "\"Oeef1N-----m22wq\"",
        "\"\u{FFFC}\"",
        "\"\u{FFFD}[]\"",
        "\"\\ud800\"",
        "1e400",
        "-0",
        "5",
        "[[1]]",
        "{\"a\":1,\"a\":2}",
        "null",
        "true",
        "[{\"c\":[\"x\",\"Oeef1N-----m22wq\"]}]",
        "3",
        "0",
    ];

    fn stamp() -> impl Strategy<Value = String> {
        let thing = prop::sample::select(vec![
            "1",
            "-0.5",
            "\"x\"",
            "null",
            "[1,{\"b\":2,\"1\":3}]",
            "\"\u{FFFC}\"",
            "\"\u{FFFD}{}\"",
            "\"\\u00e9\\n\"",
            "1e999",
            "{\"a\":1,\"a\":2}",
        ]);
        let tail = prop::sample::select(vec![
            "",
            ",\"\"",
            ",\"Oeef1N-----m22wq\"",
            ",\"Oeef1N-----m22wq\",7",
            ",1",
            ",\"bad\"",
        ]);
        (thing, tail).prop_map(|(thing, tail)| format!("[{thing}{tail}]"))
    }

    fn object(inside: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        let id = prop::sample::select(vec!["a", "b", "2", "10", "", "\\u0061", "\u{1F600}"]);
        let tail = prop::sample::select(vec![
            "",
            "",
            "",
            ",\"\"",
            ",\"Oeef1N-----m22wq\"",
            ",\"Oeef1N-----m22wq\",0",
        ]);
        (prop::collection::vec((id, inside), 0..4), tail).prop_map(|(entries, tail)| {
            let entries: Vec<String> =
                entries.iter().map(|(id, value)| format!("\"{id}\" :{value}")).collect();
            format!("[{{{}}}{tail}]", entries.join(" ,"))
        })
    }

    fn changes() -> impl Strategy<Value = String> {
        let end = prop::sample::select(vec!["", ",1", ",1", ",1 ", ",2", ",1,1"]);
        (object(object(object(stamp()))), object(stamp()), end)
            .prop_map(|(tables, values, end)| format!("[{tables},{values}{end}]"))
    }

    fn by_tree(text: &str, form: StampForm) -> Result<Changes, ChangesError> {
        Changes::read(&Json::parse(text)?, form)
    }

    fn same(text: &str) {
        for form in [StampForm::Wire, StampForm::Loose] {
            let (one, other) = (Changes::parse(text, form), by_tree(text, form));
            if let (Ok(one), Ok(other)) = (&one, &other) {
                // Key order too: it decides which write comes first.
                assert_eq!(one.to_json(), other.to_json());
            }
            assert_eq!(one, other);
        }
    }

    proptest! {
        #[test]
        fn text_is_read_as_by_way_of_a_tree(text in changes()) {
            same(&text);
        }

        #[test]
        fn broken_text_is_refused_as_by_way_of_a_tree(parts in prop::collection::vec(prop::sample::select(PARTS), 0..16)) {
            same(&parts.concat());
        }
    }

    #[test]
    fn what_stores_write_is_read_without_a_tree() {
        let text = "[\"abcdefghijk\",3,[[{\"t\":[{\"r\":[{\"c\":[[[]],\"Oeef1N-----m22wq\"]}]}]}],[{}],1]]";
        let (request, changes) = read_content_diff(text).unwrap();
        assert_eq!((request, changes.cells().count()), (Some("abcdefghijk".into()), 1));
        assert!(read_content_diff(&text.replace(",3,", ",4,")).is_none());
        assert_eq!(read_content_diff("[null,3,[[{}],[{}],1]]").unwrap().0, None);
        let deep = |levels: usize| {
            let cell = "[".repeat(levels) + &"]".repeat(levels);
            format!("[[{{\"t\":[{{\"r\":[{{\"c\":[{cell}]}}]}}]}}],[{{\"v\":[{cell}]}}],1]")
        };
        (crate::MAX_DEPTH - 12..crate::MAX_DEPTH + 2).for_each(|levels| same(&deep(levels)));
    }
}
