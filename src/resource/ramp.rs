//! What a resource has to tell before the store may answer its writes (stages `rampdown` and later).

use std::fmt;

use super::{CellId, CellSpec, CreateMode, Resource};
use crate::migration::Condition;

/// Something that is not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// Who may write what: legacy was the judge until now.
    WritePermissions,
    /// How a cell that legacy makes is made.
    Generated(CellId),
    /// A way for a row that the store made to keep its id in legacy.
    CreateMode,
    /// Where a cell's values are unique: a store sees the rows of one path.
    Unique(CellId),
}

impl Lack {
    /// The condition of the step to `rampdown` that it leaves open.
    #[must_use]
    pub const fn condition(&self) -> Condition {
        match self {
            Self::WritePermissions => Condition::WritePermissions,
            Self::Generated(_) | Self::CreateMode => Condition::Generated,
            Self::Unique(_) => Condition::Unique,
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WritePermissions => {
                f.write_str("add [resource.write]: without it only legacy knows who may write")
            }
            Self::Generated(cell) => {
                write!(f, "cells.{cell} is read_only: say with `generated` how it is made")
            }
            Self::CreateMode => f.write_str(
                "create must be \"client-id\": a row that the store makes keeps its id in legacy",
            ),
            Self::Unique(cell) => write!(
                f,
                "cells.{cell} is unique over all paths, and a store sees one: if it is unique among the rows of a path, write unique_within = \"path\""
            ),
        }
    }
}

impl Resource {
    /// Whether the store sees to it that no two rows have the same in this cell; of the id, the table does.
    #[must_use]
    pub fn is_unique(&self, spec: &CellSpec) -> bool {
        spec.unique && spec.id != self.id
    }

    /// What is not told yet, in the order of the configuration.
    #[must_use]
    pub fn lacks_for_rampdown(&self) -> Vec<Lack> {
        let mut lacks = Vec::new();
        if self.write.is_none() {
            lacks.push(Lack::WritePermissions);
        }
        if self.create != CreateMode::ClientId && self.routes.create.is_some() {
            lacks.push(Lack::CreateMode);
        }
        for spec in self.schema.cells() {
            if spec.read_only && spec.generated.is_none() {
                lacks.push(Lack::Generated(spec.id.clone()));
            }
            if self.is_unique(spec) && !spec.unique_in_path && !self.path.is_one_path() {
                lacks.push(Lack::Unique(spec.id.clone()));
            }
        }
        lacks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn users(edit: impl Fn(String) -> String) -> Vec<Lack> {
        let text = edit(include_str!("../../docs/crossfade.example.toml").to_owned());
        let config = Config::parse(&text, std::path::Path::new("."), "test").unwrap();
        config.resources[0].lacks_for_rampdown()
    }

    #[test]
    fn everything_that_lacks_is_told_with_its_remedy() {
        let lacks = users(|text| {
            text.replace("#unique = true", "unique = true")
                .replace("create = \"client-id\"", "create = \"key\"")
        });
        let read_only =
            ["createdAt", "updatedAt", "version"].map(|cell| Lack::Generated(cell.into()));
        let first = [Lack::WritePermissions, Lack::CreateMode, Lack::Unique("email".into())];
        assert_eq!(lacks, first.into_iter().chain(read_only).collect::<Vec<_>>());
        let told: Vec<String> = lacks.iter().map(ToString::to_string).collect();
        assert!(told[2].contains("unique_within = \"path\"") && told[3].contains("`generated`"));
    }

    #[test]
    fn what_tells_all_of_it_lacks_nothing() {
        let lacks = users(|text| {
            let text = text.replace("#generated", "generated").replace("#unique", "unique");
            format!("{text}\n[resource.write.roles.admin]\ncells = [\"*\"]\n")
        });
        assert_eq!(lacks, []);
    }
}
