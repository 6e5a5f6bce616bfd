//! What a row is made of: its cells, its id, its version.

use std::collections::{BTreeMap, BTreeSet};

use crate::migration::ResourceName;
use crate::resource::{
    Cell, CellId, CellSpec, CellType, Envelope, Generated, Generator, Pointer, Schema, TimeSpelling,
};

use super::super::key::Key;
use super::super::raw;
use super::Checker;

/// The cells of a resource: those that could be compiled, and the names of all.
pub(super) struct Cells<'a> {
    pub(super) schema: &'a Schema,
    pub(super) declared: &'a BTreeSet<String>,
}

impl Checker<'_> {
    pub(super) fn schema(
        &mut self,
        key: &Key,
        raw: BTreeMap<String, raw::Cell>,
    ) -> (Schema, BTreeSet<String>) {
        let declared: BTreeSet<String> = raw.keys().cloned().collect();
        if raw.is_empty() {
            self.report(key, "is missing: add a [resource.cells.<name>] for each field");
        }
        let mut cells: Vec<_> = raw.into_iter().collect();
        cells.sort_by_key(|(name, _)| self.source.position(&key.field(name)));
        let cells: Vec<_> = cells
            .into_iter()
            .filter_map(|(name, raw)| self.cell(&key.field(&name), name, raw))
            .collect();
        (Schema::new(cells), declared)
    }

    fn cell(&mut self, key: &Key, name: String, raw: raw::Cell) -> Option<CellSpec> {
        if name.is_empty() || name.len() > 128 || name == "__proto__" {
            self.report(key, "is no cell's name: 1 to 128 bytes, and not `__proto__`");
        }
        let remedy = "write \"string\", \"number\", \"boolean\" or \"json\"";
        let kind = self.require(&key.field("type"), raw.r#type, remedy)?;
        let allowed = raw.r#enum.unwrap_or_default();
        let enum_key = key.field("enum");
        if !allowed.is_empty() && kind != CellType::String {
            self.report(&enum_key, format!("lists strings, and the type is {kind}"));
        }
        let distinct: BTreeSet<_> = allowed.iter().collect();
        if distinct.len() < allowed.len() {
            self.report(&enum_key, "lists a string twice");
        }
        let nullable = raw.nullable.unwrap_or_default();
        let unique = raw.unique.unwrap_or_default();
        if unique && matches!(kind, CellType::Json | CellType::Boolean) {
            self.report(&key.field("unique"), format!("cannot be had with type {kind}"));
        }
        let unique_in_path = raw.unique_within == Some(raw::UniqueWithin::Path);
        if raw.unique_within.is_some() && !unique {
            self.report(&key.field("unique_within"), "has no use without unique = true");
        }
        let generated = self.generator(key, kind, raw.generated, raw.prefix, raw.spelling);
        let mut spec = CellSpec {
            id: name.into(),
            kind,
            required: raw.required.unwrap_or_default(),
            nullable,
            read_only: raw.read_only.unwrap_or_default(),
            unique,
            unique_in_path,
            generated,
            default: None,
            allowed,
            references: raw.references.map(ResourceName::new),
        };
        if let Some(default) = raw.default {
            spec.default = self.default_of(&key.field("default"), &spec, &default);
        }
        Some(spec)
    }

    /// What makes a cell's values, and how it is spelled.
    fn generator(
        &mut self,
        key: &Key,
        kind: CellType,
        generated: Option<Generated>,
        prefix: Option<String>,
        spelling: Option<TimeSpelling>,
    ) -> Option<Generator> {
        if prefix.is_some() && !generated.is_some_and(Generated::is_id) {
            let message =
                "has no use: it stands before ids with generated = \"uuid\" or \"uuid-hex\"";
            self.report(&key.field("prefix"), message);
        }
        if spelling.is_some() && !generated.is_some_and(Generated::is_time) {
            let message =
                "has no use: it is of times with generated = \"created-at\" or \"updated-at\"";
            self.report(&key.field("spelling"), message);
        }
        let generated = generated?;
        let usual = if kind == CellType::Number { TimeSpelling::Ms } else { TimeSpelling::Iso };
        let spelling = spelling.unwrap_or(usual);
        let needs = match generated {
            Generated::Uuid | Generated::UuidHex => CellType::String,
            Generated::Version => CellType::Number,
            _ if spelling.is_number() => CellType::Number,
            _ => CellType::String,
        };
        if kind != needs {
            let message =
                format!("`{}` makes a {needs}, and the type is {kind}", generated.as_str());
            self.report(&key.field("generated"), message);
        }
        Some(Generator { kind: generated, prefix: prefix.unwrap_or_default(), spelling })
    }

    fn default_of(
        &mut self,
        key: &Key,
        spec: &CellSpec,
        value: &serde_json::Value,
    ) -> Option<Cell> {
        if spec.read_only || spec.generated.is_some() {
            self.report(key, "has no use in a cell that is read_only or generated");
            return None;
        }
        self.accept(key, spec.read(value))
    }

    /// The cell of that name, or a problem; `None` also for a cell with problems of its own.
    pub(super) fn known<'s>(
        &mut self,
        key: &Key,
        name: &str,
        cells: &Cells<'s>,
    ) -> Option<&'s CellSpec> {
        if !cells.declared.contains(name) {
            let declared: Vec<_> = cells.declared.iter().map(String::as_str).collect();
            self.report(
                key,
                format!("there is no cell `{name}`; the cells are {}", declared.join(", ")),
            );
        }
        cells.schema.cell(name)
    }

    pub(super) fn id(
        &mut self,
        key: &Key,
        value: Option<String>,
        cells: &Cells<'_>,
    ) -> Option<CellId> {
        let name = self.require(key, value, "name the cell that holds the row's id")?;
        let spec = self.known(key, &name, cells)?;
        if !matches!(spec.kind, CellType::String | CellType::Number)
            || !spec.required
            || spec.nullable
        {
            let message = format!(
                "cells.{name} must be a string or number with required = true, not nullable"
            );
            self.report(key, message);
            return None;
        }
        Some(spec.id.clone())
    }

    /// The outer `None` is a problem, the inner one no version column.
    pub(super) fn version(
        &mut self,
        key: &Key,
        value: Option<String>,
        cells: &Cells<'_>,
    ) -> Option<Option<CellId>> {
        let Some(name) = value else { return Some(None) };
        let spec = self.known(key, &name, cells)?;
        if !matches!(spec.kind, CellType::String | CellType::Number) {
            self.report(
                key,
                format!("cells.{name} must be a number, or a string that holds an ISO time"),
            );
            return None;
        }
        Some(Some(spec.id.clone()))
    }

    pub(super) fn path_cell(&mut self, key: &Key, name: &str, cells: &Cells<'_>) {
        let Some(spec) = self.known(key, name, cells) else { return };
        if !matches!(spec.kind, CellType::String | CellType::Number)
            || !spec.required
            || spec.nullable
        {
            let message = format!(
                "cells.{name} must be a string or number with required = true, not nullable: it says where the row lives"
            );
            self.report(key, message);
        }
    }

    pub(super) fn envelope(
        &mut self,
        key: &Key,
        raw: raw::Envelope,
        paged: bool,
    ) -> Option<Envelope> {
        let mut pointer = |name: &str, text: Option<String>| match text {
            None => Some(None),
            Some(text) => self.accept(&key.field(name), Pointer::parse(&text)).map(Some),
        };
        let list = pointer("list", raw.list);
        let total = pointer("total", raw.total);
        let limit = pointer("limit", raw.limit);
        let offset = pointer("offset", raw.offset);
        let item = pointer("item", raw.item);
        let error_code = pointer("error_code", raw.error_code);
        let error_message = pointer("error_message", raw.error_message);
        let envelope = Envelope {
            list: list?.unwrap_or_default(),
            total: total?,
            limit: limit?,
            offset: offset?,
            item: item?.unwrap_or_default(),
            error_code: error_code?,
            error_message: error_message?,
        };
        if let (Some(code), Some(message)) = (&envelope.error_code, &envelope.error_message)
            && code.overlaps(message)
        {
            let message = "overlaps with error_code: they need places of their own";
            self.report(&key.field("error_message"), message);
        }
        let parts = [
            ("list", Some(&envelope.list)),
            ("total", envelope.total.as_ref()),
            ("limit", envelope.limit.as_ref()),
            ("offset", envelope.offset.as_ref()),
        ];
        for (place, (name, pointer)) in parts.iter().enumerate() {
            for (other_name, other) in &parts[..place] {
                if let (Some(pointer), Some(other)) = (pointer, other)
                    && pointer.overlaps(other)
                {
                    self.report(
                        &key.field(name),
                        format!("overlaps with {other_name}: they need places of their own"),
                    );
                }
            }
            if matches!(*name, "limit" | "offset") && pointer.is_some() && !paged {
                self.report(&key.field(name), "has no use without [resource.query.page]");
            }
        }
        Some(envelope)
    }
}
