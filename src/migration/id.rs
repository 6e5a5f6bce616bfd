//! Names and ids, each a type of its own.

use std::fmt;
use std::sync::Arc;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

macro_rules! free_name {
    ($name:ident) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from).map(Self::new)
            }
        }

        impl $name {
            /// Takes any text as the name.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }
        }
    };
}

name_type!(
    /// A migrated entity, as named in the configuration (`users`).
    ResourceName
);
free_name!(ResourceName);
name_type!(
    /// A row's id: the legacy API's id and the TinyBase row id.
    RowId
);
free_name!(RowId);
name_type!(
    /// A signed-in user's id (`sub` of the verified session).
    UserId
);
free_name!(UserId);
name_type!(
    /// A session at the identity provider (`sid` of its tokens).
    SessionId
);
free_name!(SessionId);
name_type!(
    /// One synchronized store: TinyBase's path, a Durable Object's name (`org/o_42`).
    ///
    /// Slash-separated segments of `[A-Za-z0-9._~-]`, none of them `.` or `..`, at most 1,024 bytes:
    /// so one path has exactly one spelling in a URL, and no spelling reaches another path.
    PathId
);

/// A text that cannot name a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot name a path: use segments of A-Z a-z 0-9 . _ ~ - between single slashes, no `.` or `..` segment, 1,024 bytes at most"
)]
pub struct InvalidPath(pub String);

impl<'de> serde::Deserialize<'de> for PathId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

impl PathId {
    /// Checks a path's spelling.
    ///
    /// # Errors
    /// [`InvalidPath`] if a segment is empty, is `.` or `..`, or has another character.
    pub fn new(text: &str) -> Result<Self, InvalidPath> {
        let sound = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
        };
        if text.len() <= 1024 && text.split('/').all(sound) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidPath(text.chars().take(80).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for good in ["org/o_42", "a", "a/b/c~d.e-f", "..."] {
            assert_eq!(PathId::new(good).map(|p| p.as_str().to_owned()), Ok(good.to_owned()));
        }
        for bad in ["", "/", "a/", "/a", "a//b", "a/../b", ".", "a/%62", "a b", "é", "a?b", "a\\b"]
        {
            assert!(PathId::new(bad).is_err(), "{bad:?}");
        }
        assert!(PathId::new(&"a".repeat(1025)).is_err());
    }
}
