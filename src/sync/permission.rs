//! What a writer's roles allow, asked of each edit of a resource that has `[resource.write]`.
//!
//! An edit is judged by what it does to its row as the store has it before the message: it makes the row, writes into
//! it or deletes it. A tombstone deletes its row if the message has one of a cell that a row cannot be without, and
//! that wins; then so do the row's other tombstones, which are refused with it: a row is not half deleted.

use mergeable_store::{Cell, CellRef, Edit, Hlc, Stamp};

use super::policy::Writer;
use crate::resource::{CellSpec, Resource, RolePermissions, WritePermissions};

#[cfg(test)]
mod tests;

/// Why no role of the writer allows an edit; the later, the less is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Denied {
    /// The role is not listed, or may do nothing.
    Write,
    /// It may not delete rows.
    Delete,
    /// It may not make rows.
    Create,
    /// It may not write this cell.
    Cell,
    /// The row is somebody else's, or would become so.
    Owner,
}

impl Denied {
    /// The word in logs and metrics.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Write => "role-may-not-write",
            Self::Delete => "role-may-not-delete",
            Self::Create => "role-may-not-create",
            Self::Cell => "role-may-not-write-cell",
            Self::Owner => "not-row-owner",
        }
    }
}

/// What an edit does to its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Create,
    Write,
    Delete,
}

/// An edit of a cell of a mapped row.
pub(super) struct RowEdit<'a> {
    pub(super) edit: &'a Edit<'a>,
    pub(super) resource: &'a Resource,
    pub(super) permissions: &'a WritePermissions,
    pub(super) row: &'a str,
    pub(super) spec: &'a CellSpec,
    /// Whether a cell may have a value, whoever writes it.
    pub(super) fits: &'a dyn Fn(&CellSpec, &Cell) -> bool,
}

impl RowEdit<'_> {
    /// Why the writer may not make this edit; of several roles the one that lacks least is told.
    pub(super) fn denied_to(&self, writer: &Writer) -> Option<Denied> {
        let actor = &writer.actor;
        let mut closest = Denied::Write;
        for role in self.permissions.of(actor.org_role.as_deref(), &writer.permissions) {
            // Without a denial, this role allows it.
            closest = closest.max(self.denied_to_role(role, &actor.user)?);
        }
        Some(closest)
    }

    fn denied_to_role(&self, role: &RolePermissions, user: &str) -> Option<Denied> {
        let denied = match self.deed() {
            _ if !role.any() => Some(Denied::Write),
            Deed::Create => (!role.create).then_some(Denied::Create),
            Deed::Delete => (!role.delete).then_some(Denied::Delete),
            Deed::Write => {
                let may = role.cells.has(&self.spec.id) || role.create && self.is_unfinished();
                (!may).then_some(Denied::Cell)
            }
        };
        denied.or_else(|| (role.own_rows && !self.is_own(user)).then_some(Denied::Owner))
    }

    fn deed(&self) -> Deed {
        match self.edit.new {
            None if self.deletes_row() => Deed::Delete,
            Some(_) if !self.has_row() => Deed::Create,
            _ => Deed::Write,
        }
    }

    fn has_row(&self) -> bool {
        self.edit.store.has_row(self.resource.table.as_str(), self.row)
    }

    /// Whether the message has a tombstone that deletes the row. One that is too old to win does not.
    fn deletes_row(&self) -> bool {
        let specs = self.resource.schema.cells().iter();
        let mut telling = specs.filter(|spec| self.resource.tells_deletion(spec));
        telling.any(|spec| self.winning(&spec.id).is_some_and(|stamp| stamp.thing.is_none()))
    }

    /// Whether the row is still being made, over several messages.
    fn is_unfinished(&self) -> bool {
        let mut written =
            self.resource.schema.cells().iter().filter(|s| s.required && !s.read_only);
        written.any(|spec| self.there(&spec.id).is_none())
    }

    /// Whether the row is the user's and stays so, or is made as such.
    fn is_own(&self, user: &str) -> bool {
        let Some(owner) = self.permissions.owner.as_deref() else { return false };
        let is_user = |cell: CellRef<'_>| matches!(cell, CellRef::String(text) if text.as_str() == Some(user));
        let stays = *self.spec.id != *owner
            || match self.edit.new {
                Some(new) => is_user(new.view()),
                None => self.deed() == Deed::Delete,
            };
        let is_own = match (self.there(owner), self.edit.new) {
            (Some(there), _) => is_user(there),
            (None, Some(_)) if !self.has_row() => {
                self.brought(owner).is_some_and(|new| is_user(new.view()))
            }
            (None, _) => false,
        };
        is_own && stays
    }

    fn there(&self, cell: &str) -> Option<CellRef<'_>> {
        self.edit.store.get_cell(self.resource.table.as_str(), self.row, cell)
    }

    /// What the message has for a cell, if it will be there.
    fn brought(&self, cell: &str) -> Option<&Cell> {
        let new = self.winning(cell)?.thing.as_ref()?;
        (self.fits)(self.resource.schema.cell(cell)?, new).then_some(new)
    }

    /// What the message has for a cell, if it is newer than what is there.
    fn winning(&self, cell: &str) -> Option<&Stamp> {
        let table = self.resource.table.as_str();
        let stamp = self.edit.changes.cell(table, self.row, cell)?;
        let there = self.edit.store.stamp(table, self.row, cell).map_or(Hlc::EMPTY, |(_, hlc)| hlc);
        (stamp.hlc > there).then_some(stamp)
    }
}
