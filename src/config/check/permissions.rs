//! Who may write what through sync.

use std::collections::BTreeMap;

use crate::resource::{CellType, ORG_PREFIX, RolePermissions, WritableCells, WritePermissions};

use super::super::key::Key;
use super::super::raw;
use super::Checker;
use super::rows::Cells;

impl Checker<'_> {
    /// The outer `None` is a problem, the inner one no `[resource.write]`.
    pub(super) fn write(
        &mut self,
        key: &Key,
        raw: Option<raw::Write>,
        cells: &Cells<'_>,
    ) -> Option<Option<WritePermissions>> {
        let Some(raw) = raw else { return Some(None) };
        let raw_roles = raw.roles.unwrap_or_default();
        if raw_roles.is_empty() {
            self.report(&key.field("roles"), "is missing: add a [resource.write.roles.<role>] for each role that may write; without [resource.write] every role may");
        }
        let roles_key = key.field("roles");
        let roles: BTreeMap<_, _> = raw_roles
            .into_iter()
            .map(|(name, role)| {
                let role = self.role(&roles_key.field(&name), &name, role, cells);
                (name, role)
            })
            .collect();
        let owner_key = key.field("owner");
        if let Some(owner) = &raw.owner {
            self.owner(&owner_key, owner, &roles, cells);
        } else if roles.values().any(|role| role.own_rows) {
            self.report(
                &owner_key,
                "is missing: name the cell that holds the user's id, or take out own_rows",
            );
        }
        Some(Some(WritePermissions {
            claim: raw.claim.unwrap_or_default(),
            owner: raw.owner,
            roles,
        }))
    }

    fn role(
        &mut self,
        key: &Key,
        name: &str,
        raw: raw::Role,
        cells: &Cells<'_>,
    ) -> RolePermissions {
        if let Some(rest) = name.strip_prefix(ORG_PREFIX) {
            self.report(key, format!("write it without `{ORG_PREFIX}`: `{rest}`"));
        }
        let names = raw.cells.unwrap_or_default();
        let all = names.iter().any(|name| name == WritableCells::ALL);
        for (place, name) in names.iter().enumerate().filter(|_| !all) {
            let key = key.field("cells").index(place);
            if self.known(&key, name, cells).is_some_and(|spec| spec.read_only) {
                self.report(&key, format!("cells.{name} is read_only: no client may write it"));
            }
        }
        if all && names.len() > 1 {
            let message = format!("`{}` stands for all cells: write it alone", WritableCells::ALL);
            self.report(&key.field("cells"), message);
        }
        RolePermissions {
            cells: if all {
                WritableCells::All
            } else {
                WritableCells::Only(names.into_iter().collect())
            },
            create: raw.create.unwrap_or_default(),
            delete: raw.delete.unwrap_or_default(),
            own_rows: raw.own_rows.unwrap_or_default(),
        }
    }

    fn owner(
        &mut self,
        key: &Key,
        name: &str,
        roles: &BTreeMap<String, RolePermissions>,
        cells: &Cells<'_>,
    ) {
        if !roles.values().any(|role| role.own_rows) {
            self.report(key, "has no use: no role has own_rows");
        }
        let Some(spec) = self.known(key, name, cells) else { return };
        if spec.kind != CellType::String {
            self.report(key, format!("cells.{name} must be a string: it holds a user's id"));
        }
        if spec.read_only && roles.values().any(|role| role.own_rows && role.create) {
            self.report(key, format!("cells.{name} is read_only, so that nobody can make a row of their own: take out create beside own_rows"));
        }
    }
}
