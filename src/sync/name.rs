//! What a generation of a path is called where clients see it.

use std::fmt;
use std::str::FromStr;

use crate::migration::{InvalidPath, PathId};
use crate::storage::Generation;

/// A generation of a path, as clients name it: `org/o_42` is the first, `org/o_42@2` the second. A
/// client keeps one local store for each name, so what it has of one never meets another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathName {
    /// The path: who may read it, and where its rows belong.
    pub path: PathId,
    /// Which of its stores.
    pub generation: Generation,
}

impl fmt::Display for PathName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.generation == Generation::FIRST {
            return self.path.fmt(f);
        }
        write!(f, "{}@{}", self.path, self.generation)
    }
}

impl FromStr for PathName {
    type Err = InvalidPath;

    /// Each name has one spelling: `@1`, and numbers with leading zeros, are none.
    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let Some((path, number)) = text.rsplit_once('@') else {
            return Ok(Self { path: PathId::new(text)?, generation: Generation::FIRST });
        };
        let parsed = number.parse().ok().and_then(Generation::new);
        let plain = |generation: &Generation| {
            *generation > Generation::FIRST && generation.to_string() == number
        };
        let generation = parsed.filter(plain);
        let generation = generation.ok_or_else(|| InvalidPath(text.chars().take(80).collect()))?;
        Ok(Self { path: PathId::new(path)?, generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        for (text, number) in [("org/o_42", 1), ("org/o_42@2", 2), ("a@4294967295", u32::MAX)] {
            let name: PathName = text.parse().unwrap();
            assert_eq!((name.generation.number(), name.to_string().as_str()), (number, text));
        }
        for bad in
            ["a@", "a@0", "a@1", "a@02", "a@+2", "@2", "a@2@2", "a@4294967296", "a@x", "a/@2"]
        {
            assert!(bad.parse::<PathName>().is_err(), "{bad}");
        }
    }
}
