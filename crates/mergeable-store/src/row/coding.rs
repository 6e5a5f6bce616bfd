//! Cells as bytes: number of the id, tag, then as the tag says a believed hash, the HLC and the content.
//!
//! An HLC that continues the one before takes no room, as in a row written at once; a hash is computed when it is needed.
//! Nothing of this leaves the process.

use super::StampRef;
use crate::hlc::HLC_BYTES;
use crate::ids::Id;
use crate::{CellRef, Hlc, TextRef};

const KIND: u8 = 0b1111;
const TOMBSTONE: u8 = 0;
const NULL: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
/// A whole number of at most 32 bits.
const INTEGER: u8 = 4;
const NUMBER: u8 = 5;
const STRING: u8 = 6;
const JSON: u8 = 7;
const RAW_JSON: u8 = 8;

const HLC_FORM: u8 = 0b11 << 4;
const HLC_EMPTY: u8 = 0 << 4;
const HLC_WHOLE: u8 = 1 << 4;
/// The next counter of the latest HLC before, at the same time and by the same client.
const HLC_NEXT: u8 = 2 << 4;
/// Another counter, which follows, of the latest HLC before.
const HLC_COUNTER: u8 = 3 << 4;

/// An HLC's counter has 24 bits.
const COUNTER_BYTES: usize = 3;

const BELIEVED: u8 = 1 << 6;

/// Writes cells, one after the other.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    previous: Hlc,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        out.clear();
        Self { out, previous: Hlc::EMPTY }
    }

    pub(super) fn push(&mut self, id: Id, stamp: &StampRef<'_>) {
        push_varint(self.out, id.into());
        let form = self.form(stamp.hlc);
        let believed = if stamp.believed.is_some() { BELIEVED } else { 0 };
        self.out.push(kind(stamp.thing) | form | believed);
        if let Some(hash) = stamp.believed {
            self.out.extend_from_slice(&hash.to_be_bytes());
        }
        match form {
            HLC_WHOLE => self.out.extend_from_slice(&stamp.hlc.to_bytes()),
            HLC_COUNTER => {
                self.out.extend_from_slice(&stamp.hlc.counter().to_be_bytes()[4 - COUNTER_BYTES..])
            }
            _ => {}
        }
        if !stamp.hlc.is_empty() {
            self.previous = stamp.hlc;
        }
        match stamp.thing {
            Some(CellRef::Number(number)) => match integer(number) {
                Some(integer) => push_varint(self.out, zigzag(integer)),
                None => self.out.extend_from_slice(&number.to_bits().to_be_bytes()),
            },
            Some(CellRef::String(text) | CellRef::Json(text) | CellRef::RawJson(text)) => {
                push_varint(self.out, text.as_wtf8().len() as u64);
                self.out.extend_from_slice(text.as_wtf8());
            }
            Some(CellRef::Bool(_) | CellRef::Null) | None => {}
        }
    }

    fn form(&self, hlc: Hlc) -> u8 {
        if hlc.is_empty() {
            HLC_EMPTY
        } else if self.previous.is_empty() || self.previous.with_counter(hlc.counter()) != hlc {
            HLC_WHOLE
        } else if hlc == next(self.previous) {
            HLC_NEXT
        } else {
            HLC_COUNTER
        }
    }
}

fn next(hlc: Hlc) -> Hlc {
    hlc.with_counter(hlc.counter().wrapping_add(1))
}

fn kind(thing: Option<CellRef<'_>>) -> u8 {
    match thing {
        None => TOMBSTONE,
        Some(CellRef::Null) => NULL,
        Some(CellRef::Bool(false)) => FALSE,
        Some(CellRef::Bool(true)) => TRUE,
        Some(CellRef::Number(number)) if integer(number).is_some() => INTEGER,
        Some(CellRef::Number(_)) => NUMBER,
        Some(CellRef::String(_)) => STRING,
        Some(CellRef::Json(_)) => JSON,
        Some(CellRef::RawJson(_)) => RAW_JSON,
    }
}

/// The whole number that this is exactly, which -0 is not.
fn integer(number: f64) -> Option<i32> {
    let integer = number as i32;
    (f64::from(integer).to_bits() == number.to_bits()).then_some(integer)
}

fn zigzag(integer: i32) -> u64 {
    u64::from((integer << 1 ^ integer >> 31) as u32)
}

fn unzigzag(number: u64) -> i32 {
    let number = number as u32;
    (number >> 1) as i32 ^ -((number & 1) as i32)
}

fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The cells of a packed row.
pub(super) struct Cells<'a> {
    rest: Reader<'a>,
    previous: Hlc,
    left: usize,
}

impl<'a> Cells<'a> {
    pub(super) fn new(bytes: &'a [u8], count: usize) -> Self {
        Self { rest: Reader(bytes), previous: Hlc::EMPTY, left: count }
    }

    /// The content of the cell of this id, which is still to come.
    pub(super) fn thing(mut self, wanted: Id) -> Option<CellRef<'a>> {
        for _ in 0..self.left {
            let id = self.rest.varint() as Id;
            let tag = self.rest.byte();
            let believed = if tag & BELIEVED == 0 { 0 } else { size_of::<u32>() };
            let hlc = match tag & HLC_FORM {
                HLC_WHOLE => HLC_BYTES,
                HLC_COUNTER => COUNTER_BYTES,
                _ => 0,
            };
            self.rest.bytes(believed + hlc);
            if id == wanted {
                return self.rest.thing(tag);
            }
            self.rest.pass_thing(tag);
        }
        None
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = (Id, StampRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let id = self.rest.varint() as Id;
        let tag = self.rest.byte();
        let believed = (tag & BELIEVED != 0).then(|| u32::from_be_bytes(self.rest.array()));
        let hlc = match tag & HLC_FORM {
            HLC_WHOLE => self.rest.hlc(),
            HLC_NEXT => next(self.previous),
            HLC_COUNTER => {
                let [high, middle, low] = self.rest.array();
                self.previous.with_counter(u32::from_be_bytes([0, high, middle, low]))
            }
            _ => Hlc::EMPTY,
        };
        if !hlc.is_empty() {
            self.previous = hlc;
        }
        let thing = self.rest.thing(tag);
        Some((id, StampRef { thing, hlc, believed }))
    }
}

/// Reads what [`Writer`] wrote.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What was not read yet.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(count).unwrap_or_default();
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).try_into().unwrap_or([0; N])
    }

    pub(super) fn byte(&mut self) -> u8 {
        match self.0 {
            [byte, rest @ ..] => {
                self.0 = rest;
                *byte
            }
            [] => 0,
        }
    }

    fn varint(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 || shift >= 56 {
                return number;
            }
            shift += 7;
        }
    }

    pub(super) fn hlc(&mut self) -> Hlc {
        Hlc::from_bytes(self.array())
    }

    /// The content that a tag stands before; `None` for a tombstone.
    fn thing(&mut self, tag: u8) -> Option<CellRef<'a>> {
        match tag & KIND {
            NULL => Some(CellRef::Null),
            FALSE => Some(CellRef::Bool(false)),
            TRUE => Some(CellRef::Bool(true)),
            INTEGER => Some(CellRef::Number(unzigzag(self.varint()).into())),
            NUMBER => Some(CellRef::Number(f64::from_be_bytes(self.array()))),
            STRING => Some(CellRef::String(self.text())),
            JSON => Some(CellRef::Json(self.text())),
            RAW_JSON => Some(CellRef::RawJson(self.text())),
            _ => None,
        }
    }

    /// Goes past what [`Reader::thing`] would read.
    fn pass_thing(&mut self, tag: u8) {
        match tag & KIND {
            INTEGER => {
                self.varint();
            }
            NUMBER => {
                self.bytes(size_of::<f64>());
            }
            STRING | JSON | RAW_JSON => {
                self.text();
            }
            _ => {}
        }
    }

    fn text(&mut self) -> TextRef<'a> {
        let length = self.varint() as usize;
        TextRef::from_wtf8(self.bytes(length))
    }
}
