//! Who may write what of a resource through sync, by role.

use std::collections::{BTreeMap, BTreeSet};

/// What Clerk puts before roles and permissions of an organisation.
pub const ORG_PREFIX: &str = "org:";

/// The claim of a verified session that names its roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "snake_case")]
pub enum RoleClaim {
    /// The role in the active organisation: one at most.
    #[default]
    OrgRole,
    /// The permissions in the active organisation, each taken for a role. Who has several may do what any
    /// of them allows.
    OrgPermissions,
}

/// Which role may write what. A role that is not listed may write nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritePermissions {
    /// What names a session's roles.
    pub claim: RoleClaim,
    /// The cell that holds the id of the user whose row it is. There is one if a role has `own_rows`.
    pub owner: Option<String>,
    /// What each role may do, by its name without [`ORG_PREFIX`].
    pub roles: BTreeMap<String, RolePermissions>,
}

/// What a role may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolePermissions {
    /// The cells that it may write in a row that is there.
    pub cells: WritableCells,
    /// Whether it may make rows, with whatever cells.
    pub create: bool,
    /// Whether it may delete rows.
    pub delete: bool,
    /// Whether all of this is for rows alone whose owner the user is, and stays.
    pub own_rows: bool,
}

/// Cells that a role may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WritableCells {
    /// All.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl WritePermissions {
    /// What a session may do, one item for each of its roles that is listed. An edit is allowed if one
    /// of them allows it.
    pub fn of<'a>(
        &'a self,
        org_role: Option<&'a str>,
        org_permissions: &'a [String],
    ) -> impl Iterator<Item = &'a RolePermissions> {
        let (role, permissions) = match self.claim {
            RoleClaim::OrgRole => (org_role, &[] as &[String]),
            RoleClaim::OrgPermissions => (None, org_permissions),
        };
        let names = role.into_iter().chain(permissions.iter().map(String::as_str));
        names.filter_map(|name| self.roles.get(name.strip_prefix(ORG_PREFIX).unwrap_or(name)))
    }
}

impl RolePermissions {
    /// Whether it may do anything at all.
    #[must_use]
    pub fn any(&self) -> bool {
        self.create || self.delete || self.cells != WritableCells::Only(BTreeSet::new())
    }
}

impl WritableCells {
    /// Stands for all cells in the configuration.
    pub const ALL: &str = "*";

    /// Whether the cell is one of them.
    #[must_use]
    pub fn has(&self, cell: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(cells) => cells.contains(cell),
        }
    }

    /// Their names, as in the configuration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let (all, only) = match self {
            Self::All => (Some(Self::ALL), None),
            Self::Only(cells) => (None, Some(cells)),
        };
        all.into_iter().chain(only.into_iter().flatten().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(create: bool) -> RolePermissions {
        let cells = WritableCells::Only(BTreeSet::new());
        RolePermissions { cells, create, delete: false, own_rows: false }
    }

    fn permissions(claim: RoleClaim) -> WritePermissions {
        let roles = [("admin", true), ("users:edit", true), ("viewer", false)];
        let roles = roles.map(|(name, create)| (name.to_owned(), role(create)));
        WritePermissions { claim, owner: None, roles: roles.into() }
    }

    #[test]
    fn a_role_is_named_by_the_chosen_claim_alone() {
        let edit = ["org:users:edit".to_owned(), "org:other:edit".to_owned()];
        let by_role = permissions(RoleClaim::OrgRole);
        let count = |role, permissions| by_role.of(role, permissions).count();
        assert_eq!(count(Some("org:admin"), &[]), 1);
        assert_eq!(count(Some("admin"), &[]), 1, "as insecure-dev and older tokens have it");
        assert_eq!(count(Some("org:users:edit"), &edit), 1, "a role of that very name");
        assert_eq!(count(None, &edit), 0);
        assert_eq!(count(Some("org:org:admin"), &[]), 0);
        assert_eq!(count(Some("Admin"), &[]), 0);
        let by_permission = permissions(RoleClaim::OrgPermissions);
        assert_eq!(by_permission.of(Some("org:admin"), &edit).count(), 1);
        assert_eq!(by_permission.of(Some("org:admin"), &[]).count(), 0);
    }

    #[test]
    fn a_role_that_lists_nothing_may_nothing() {
        assert!(role(true).any() && !role(false).any());
        assert!(RolePermissions { cells: WritableCells::All, ..role(false) }.any());
        let one = WritableCells::Only(["name".to_owned()].into());
        assert!(one.has("name") && !one.has("age") && WritableCells::All.has("age"));
        assert_eq!(one.names().collect::<Vec<_>>(), ["name"]);
        assert_eq!(WritableCells::All.names().collect::<Vec<_>>(), ["*"]);
    }
}
