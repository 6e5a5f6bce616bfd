//! A body read as a JSON value, with what the rules say about each of its nodes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::location::segments;
use super::marks::Marks;
use super::{Number, Reason};

/// How deep arrays and objects may nest: as deep as `serde_json` reads by itself.
const MAX_DEPTH: usize = 128;

/// A JSON body.
#[derive(Debug, Clone)]
pub struct Document {
    pub(super) root: Node,
}

/// A value and what the rules say about it.
#[derive(Debug, Clone)]
pub struct Node {
    /// The value.
    pub json: Json,
    /// What the rules say.
    pub marks: Marks,
}

/// A JSON value: object members sorted by key, each key once.
#[derive(Debug, Clone)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, by decimal value.
    Number(Number),
    /// A string.
    String(Box<str>),
    /// An array.
    Array(Vec<Node>),
    /// An object, its members sorted by key.
    Object(Vec<(Box<str>, Node)>),
}

/// Why a body cannot be read as a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not JSON (RFC 8259), or not UTF-8.
    #[error("the body is not JSON")]
    NotJson,
    /// An object names a key twice.
    #[error("the body has an object that names a key twice")]
    DuplicateKey,
    /// It is nested too deeply.
    #[error("the body is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

impl From<Unreadable> for Reason {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::NotJson => Self::NotJson,
            Unreadable::DuplicateKey => Self::DuplicateKey,
            Unreadable::TooDeep => Self::TooDeep,
        }
    }
}

impl Document {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Unreadable`] if it is not JSON, names a key twice, or nests deeper than 128 levels.
    pub fn parse(body: &[u8]) -> Result<Self, Unreadable> {
        let raw: &RawValue = serde_json::from_slice(body).map_err(|_| Unreadable::NotJson)?;
        Ok(Self { root: node(raw, 0)? })
    }

    /// The whole value.
    #[must_use]
    pub const fn root(&self) -> &Node {
        &self.root
    }

    /// The node that a JSON Pointer names, if there is one.
    #[must_use]
    pub fn at(&self, pointer: &str) -> Option<&Node> {
        segments(pointer).try_fold(&self.root, |node, segment| node.child(&segment))
    }

    /// The node that a JSON Pointer names, and whether a rule lets its value be kept in clear.
    #[must_use]
    pub fn clear_at(&self, pointer: &str) -> Option<(&Node, bool)> {
        let start = (&self.root, self.root.marks.is_clear());
        segments(pointer).try_fold(start, |(node, clear), segment| {
            node.child(&segment).map(|child| (child, clear || child.marks.is_clear()))
        })
    }
}

impl Node {
    fn child(&self, segment: &str) -> Option<&Self> {
        match &self.json {
            Json::Object(members) => find(members, segment).map(|at| &members[at].1),
            Json::Array(items) => segment.parse::<usize>().ok().and_then(|at| items.get(at)),
            _ => None,
        }
    }

    pub(super) fn child_mut(&mut self, segment: &str) -> Option<&mut Self> {
        match &mut self.json {
            Json::Object(members) => find(members, segment).map(|at| &mut members[at].1),
            Json::Array(items) => segment.parse::<usize>().ok().and_then(|at| items.get_mut(at)),
            _ => None,
        }
    }

    /// The same as a `serde_json` value, for JSONPath; numbers that it cannot hold become texts.
    pub(super) fn to_value(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => {
                let text = number.to_string();
                serde_json::from_str(&text).unwrap_or(Value::String(text))
            }
            Json::String(text) => Value::String(text.to_string()),
            Json::Array(items) => items.iter().map(Self::to_value).collect(),
            Json::Object(members) => {
                members.iter().map(|(key, node)| (key.to_string(), node.to_value())).collect()
            }
        }
    }
}

fn find(members: &[(Box<str>, Node)], key: &str) -> Option<usize> {
    members.binary_search_by(|(name, _)| (**name).cmp(key)).ok()
}

/// Reads one value. Containers are read one level at a time, so that the text of each number and
/// each repeated key is seen, and the depth is counted here.
fn node(raw: &RawValue, depth: usize) -> Result<Node, Unreadable> {
    if depth > MAX_DEPTH {
        return Err(Unreadable::TooDeep);
    }
    let text = raw.get().trim_ascii();
    let json = match text.as_bytes().first() {
        Some(b'{') => object(text, depth)?,
        Some(b'[') => {
            let items: Vec<&RawValue> = read(text)?;
            let items = items.into_iter().map(|item| node(item, depth + 1));
            Json::Array(items.collect::<Result<_, _>>()?)
        }
        Some(b'"') => Json::String(read::<Cow<'_, str>>(text)?.into()),
        Some(b't') => Json::Bool(true),
        Some(b'f') => Json::Bool(false),
        Some(b'n') => Json::Null,
        _ => Json::Number(Number::parse(text)),
    };
    Ok(Node { json, marks: Marks::default() })
}

fn object(text: &str, depth: usize) -> Result<Json, Unreadable> {
    let Members(raw) = read(text)?;
    let mut members = Vec::with_capacity(raw.len());
    for (key, value) in raw {
        members.push((key, node(value, depth + 1)?));
    }
    members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(Unreadable::DuplicateKey);
    }
    Ok(Json::Object(members))
}

fn read<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, Unreadable> {
    serde_json::from_str(text).map_err(|_| Unreadable::NotJson)
}

/// An object's members as written, repeated keys included.
struct Members<'a>(Vec<(Box<str>, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_values_and_finds_them_by_pointer() {
        let body = br#" { "b" : [1, {"x": "\u00e9"}], "a": null, "": true } "#;
        let document = Document::parse(body).unwrap();
        assert!(matches!(document.at("/a").unwrap().json, Json::Null));
        assert!(matches!(document.at("/").unwrap().json, Json::Bool(true)));
        assert!(matches!(&document.at("/b/1/x").unwrap().json, Json::String(x) if &**x == "é"));
        assert!(document.at("/b/2").is_none() && document.at("/a/x").is_none());
    }

    #[test]
    fn says_why_it_cannot_be_read() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for (body, why) in [
            (r#"{"a":1,"b":2,"a":1}"#.to_owned(), Unreadable::DuplicateKey),
            (r#"{"a":1,"\u0061":1}"#.to_owned(), Unreadable::DuplicateKey),
            ("{".to_owned(), Unreadable::NotJson),
            (String::new(), Unreadable::NotJson),
            ("<html>".to_owned(), Unreadable::NotJson),
            ("1 2".to_owned(), Unreadable::NotJson),
            ("NaN".to_owned(), Unreadable::NotJson),
            (nested(200), Unreadable::TooDeep),
            (nested(200_000), Unreadable::TooDeep),
        ] {
            assert_eq!(Document::parse(body.as_bytes()).unwrap_err(), why);
        }
        assert!(Document::parse(nested(128).as_bytes()).is_ok());
        assert_eq!(Document::parse(b"\"\xff\"").unwrap_err(), Unreadable::NotJson);
    }

    proptest! {
        #[test]
        fn reads_what_serde_json_reads(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let ours = Document::parse(&body).is_ok();
            prop_assert_eq!(ours, serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        }
    }
}
