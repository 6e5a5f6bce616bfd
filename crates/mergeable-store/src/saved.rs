//! The saved form: the JSON text of all content with stamps and hashes, as TinyBase's persisters write it.

use indexmap::IndexMap;

use crate::cell::write_thing;
use crate::changes::{ChangesError, StampForm, read_hlc};
use crate::content::{Child, Content, Group};
use crate::entries::Entries;
use crate::ids::{Id, Ids};
use crate::json::{self, Json, js_rank};
use crate::row::{Row, Rule, StampRef};
use crate::{
    Cell, Changes, ClientId, EditError, Hlc, MergeError, MergeableStore, Millis, Text, TextRef,
};

/// Why saved text was not loaded. Nothing of it was taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// Not in one of the three saved forms.
    #[error("not saved store content: {0}")]
    Form(#[from] ChangesError),
    /// A stamp from the future, or a cell that cannot be stored.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Plain content that cannot be stored.
    #[error(transparent)]
    Edit(#[from] EditError),
}

impl MergeableStore {
    /// All content with stamps and hashes, character for character what TinyBase saves.
    #[must_use]
    pub fn content(&self) -> String {
        let (tables, mut out) = (&self.content.tables, vec![b'[']);
        write_container(
            tables.entries.iter(),
            (tables.hlc, tables.hash),
            &mut out,
            |table, out| {
                let rows = table.entries.iter();
                write_container(rows, (table.hlc, table.hash), out, |row, out| {
                    self.write_row(row, out);
                });
            },
        );
        out.push(b',');
        self.write_row(&self.content.values, &mut out);
        out.push(b']');
        json::into_string(out)
    }

    /// A store of saved content, which may have any of the three forms of [`MergeableStore::load`].
    ///
    /// # Errors
    /// As [`MergeableStore::load`].
    pub fn from_content(client: ClientId, now: Millis, text: &str) -> Result<Self, LoadError> {
        let mut store = Self::new(client);
        store.load(now, text)?;
        Ok(store)
    }

    /// Loads saved text. Content with hashes replaces everything, and its hashes are believed; mergeable changes (third element 1)
    /// are merged; plain `[tables, values]` replace the live content and get new stamps.
    ///
    /// # Errors
    /// Text of another form, and stamps more than five minutes ahead.
    pub fn load(&mut self, now: Millis, text: &str) -> Result<(), LoadError> {
        let json = Json::parse(text).map_err(ChangesError::from)?;
        let Json::Array(parts) = &json else {
            return Err(ChangesError::Shape("an array of tables and values").into());
        };
        match parts.as_slice() {
            [Json::Array(_), _, _] => {
                let changes = Changes::read(&json, StampForm::Loose)?;
                self.merge(now, &changes)?;
                Ok(())
            }
            [tables @ Json::Array(_), values] => self.load_content(now, tables, values),
            [Json::Object(tables), Json::Object(values)] => self.load_plain(now, tables, values),
            _ => Err(ChangesError::Shape("two elements, or three with a third of 1").into()),
        }
    }

    fn load_content(&mut self, now: Millis, tables: &Json, values: &Json) -> Result<(), LoadError> {
        let (mut ids, mut highest) = (self.ids.clone(), Hlc::EMPTY);
        let mut reader = Reader { ids: &mut ids, now, highest: &mut highest };
        let content = Content {
            tables: reader.group(tables, &mut |reader, table| {
                reader.group(table, &mut |reader, row| reader.row(row))
            })?,
            values: reader.row(values)?,
        };
        self.ids = ids;
        self.content = content;
        self.clock.seen(now, highest);
        Ok(())
    }

    fn load_plain(
        &mut self,
        now: Millis,
        tables: &IndexMap<Text, Json>,
        values: &IndexMap<Text, Json>,
    ) -> Result<(), LoadError> {
        let mut plain = IndexMap::new();
        for (table, rows) in tables {
            let mut plain_rows = IndexMap::new();
            for (row, cells) in object(rows)? {
                plain_rows.insert(row, plain_things(object(cells)?)?);
            }
            plain.insert(table, plain_rows);
        }
        let values = plain_things(values)?;
        self.transaction(now, |tx| {
            let others =
                tx.store().table_ids().into_iter().filter(|table| !plain.contains_key(table));
            let others: Vec<Text> = others.collect();
            for (table, rows) in plain {
                tx.set_table(table, rows)?;
            }
            others.iter().try_for_each(|table| tx.del_table(table))?;
            if values.is_empty() { tx.del_values() } else { tx.set_values(values) }
        })?;
        Ok(())
    }

    fn write_row(&self, row: &Row, out: &mut Vec<u8>) {
        let cells = row.iter().map(|(id, stamp)| (self.ids.text(id), stamp));
        write_container(cells, (row.hlc(), row.hash()), out, |stamp, out| {
            out.push(b'[');
            write_thing(stamp.thing, out);
            write_tail(stamp.hlc, stamp.hash(), out);
        });
    }
}

fn write_container<'a, V>(
    entries: impl Iterator<Item = (TextRef<'a>, V)>,
    (hlc, hash): (Hlc, u32),
    out: &mut Vec<u8>,
    write: impl Fn(V, &mut Vec<u8>),
) {
    out.push(b'[');
    let mut entries: Vec<(TextRef<'a>, V)> = entries.collect();
    if !entries.is_sorted_by_key(|(id, _)| js_rank(id)) {
        entries.sort_by_cached_key(|(id, _)| js_rank(id));
    }
    json::write_object(entries.into_iter(), out, write);
    write_tail(hlc, hash, out);
}

fn write_tail(hlc: Hlc, hash: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    hlc.write(out);
    out.extend_from_slice(b"\",");
    json::write_number(hash.into(), out);
    out.push(b']');
}

fn object(value: &Json) -> Result<&IndexMap<Text, Json>, ChangesError> {
    match value {
        Json::Object(entries) => Ok(entries),
        _ => Err(ChangesError::Shape("an object")),
    }
}

/// Plain content holds objects either encoded or as they are; a store's own writes encode them.
fn plain_things(entries: &IndexMap<Text, Json>) -> Result<IndexMap<&Text, Cell>, ChangesError> {
    entries
        .iter()
        .map(|(id, value)| match Cell::from_wire(value)? {
            Some(Cell::RawJson(text)) => Ok((id, Cell::Json(text))),
            Some(cell) => Ok((id, cell)),
            None => Err(ChangesError::Shape("content, not U+FFFC")),
        })
        .collect()
}

/// Reads content whose stamps all have three elements, and takes their hashes as they are.
struct Reader<'a> {
    ids: &'a mut Ids,
    now: Millis,
    highest: &'a mut Hlc,
}

impl Reader<'_> {
    fn stamp<'j>(&mut self, value: &'j Json) -> Result<(&'j Json, Hlc, u32), LoadError> {
        let Json::Array(parts) = value else {
            return Err(ChangesError::Shape("a stamp, which is an array").into());
        };
        let [thing, hlc, Json::Number(hash)] = parts.as_slice() else {
            return Err(ChangesError::Shape("a stamp of a thing, an HLC and a hash").into());
        };
        let hlc = read_hlc(hlc)?;
        if !hash.is_finite() {
            return Err(ChangesError::Shape("a finite hash").into());
        }
        if hlc.is_too_far_ahead(self.now) {
            return Err(MergeError::TooFarAhead { hlc, now: self.now }.into());
        }
        *self.highest = hlc.max(*self.highest);
        Ok((thing, hlc, to_uint32(*hash)))
    }

    fn group<V: Child>(
        &mut self,
        value: &Json,
        read: &mut dyn FnMut(&mut Self, &Json) -> Result<V, LoadError>,
    ) -> Result<Group<V>, LoadError> {
        let (thing, hlc, hash) = self.stamp(value)?;
        let (mut entries, mut live) = (Entries::default(), 0);
        for (id, value) in object(thing)? {
            let child = read(self, value)?;
            live += u32::from(child.live() > 0);
            let (at, _) = entries.entry(id.as_wtf8());
            *entries.get_mut(at) = child;
        }
        Ok(Group { entries, hlc, hash, live })
    }

    fn row(&mut self, value: &Json) -> Result<Row, LoadError> {
        let (thing, hlc, hash) = self.stamp(value)?;
        let mut cells = Vec::new();
        for (id, value) in object(thing)? {
            let (thing, hlc, hash) = self.stamp(value)?;
            let thing = Cell::from_wire(thing).map_err(ChangesError::from)?;
            cells.push((self.ids.intern(id.as_wtf8()).0, thing, hlc, hash));
        }
        let stamps: Vec<(Id, StampRef<'_>)> = cells
            .iter()
            .map(|(id, thing, hlc, hash)| {
                (*id, StampRef::with_hash(thing.as_ref().map(Cell::view), *hlc, *hash))
            })
            .collect();
        let mut row = Row::default();
        row.write(self.ids, &stamps, Rule::Replace, &mut Vec::new(), &mut |_, _, _| {});
        row.raise(hlc);
        row.believe(hash);
        Ok(row)
    }
}

/// JavaScript's `number >>> 0`.
fn to_uint32(number: f64) -> u32 {
    number.trunc().rem_euclid(4_294_967_296.0) as u32
}
