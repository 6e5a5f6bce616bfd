//! Where a difference is: JSON Pointers (RFC 6901), and the same with array indices erased.

use std::fmt;

/// A JSON Pointer (RFC 6901); the empty text is the whole body.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize)]
pub struct Pointer(String);

impl Pointer {
    /// The pointer's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of an answer that can differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// The HTTP status.
    Status,
    /// A response header, by its lower-case name.
    Header(String),
    /// A place in the body.
    Body(Pointer),
}

impl fmt::Display for Location {
    /// `status`, `header:content-type`, or the pointer itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("status"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Body(pointer) => pointer.fmt(f),
        }
    }
}

impl serde::Serialize for Location {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One step down, as both sides took it: keys agree, positions in arrays may not. Elements that were
/// paired by a key of their own carry its hash.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index { legacy: usize, sync: usize, element: Option<u64> },
}

/// The way down to a node, kept on the call stack and written out only when something differs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trail<'a> {
    parent: Option<&'a Trail<'a>>,
    step: Option<Step<'a>>,
}

impl<'a> Trail<'a> {
    pub(super) const ROOT: Trail<'static> = Trail { parent: None, step: None };

    pub(super) const fn key(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), step: Some(Step::Key(key)) }
    }

    pub(super) const fn index(&'a self, legacy: usize, sync: usize) -> Self {
        Self { parent: Some(self), step: Some(Step::Index { legacy, sync, element: None }) }
    }

    pub(super) const fn element(&'a self, legacy: usize, sync: usize, element: u64) -> Self {
        let step = Step::Index { legacy, sync, element: Some(element) };
        Self { parent: Some(self), step: Some(step) }
    }

    fn write(&self, text: &mut String, step: &mut impl FnMut(&mut String, Step<'_>)) {
        if let Some(parent) = self.parent {
            parent.write(text, step);
        }
        if let Some(taken) = self.step {
            text.push('/');
            step(text, taken);
        }
    }

    pub(super) fn legacy(&self) -> Pointer {
        let mut text = String::new();
        self.write(&mut text, &mut |text, step| match step {
            Step::Key(key) => escape_into(key, text),
            Step::Index { legacy, .. } => text.push_str(&legacy.to_string()),
        });
        Pointer(text)
    }

    pub(super) fn sync(&self) -> Pointer {
        let mut text = String::new();
        self.write(&mut text, &mut |text, step| match step {
            Step::Key(key) => escape_into(key, text),
            Step::Index { sync, .. } => text.push_str(&sync.to_string()),
        });
        Pointer(text)
    }

    /// The place as it is found again at another time: elements by their key where they have one, whose
    /// position may have changed; any element of an array otherwise.
    pub(super) fn again(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, &mut |text, step| match step {
            Step::Key(key) => escape_into(key, text),
            Step::Index { element: Some(element), .. } => text.push_str(&element.to_string()),
            Step::Index { element: None, .. } => text.push('*'),
        });
        text
    }

    /// Indices become `*`; keys that look like data rather than names become `{key}`, so that a
    /// map keyed by id makes one shape, and no id or address gets into it.
    pub(super) fn erased(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, &mut |text, step| match step {
            Step::Key(key) if is_name(key) => escape_into(key, text),
            Step::Key(_) => text.push_str("{key}"),
            Step::Index { .. } => text.push('*'),
        });
        text
    }
}

fn escape_into(key: &str, text: &mut String) {
    for c in key.chars() {
        match c {
            '~' => text.push_str("~0"),
            '/' => text.push_str("~1"),
            c => text.push(c),
        }
    }
}

/// The segments of a pointer, unescaped.
pub(super) fn segments(pointer: &str) -> impl Iterator<Item = String> + '_ {
    pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~"))
}

/// Whether an object key reads as a field's name: ASCII letters, digits, `_`, `-`, `$` or `.`,
/// starting with a letter, `_` or `$`, at most 64 bytes, at most three digits. Ids, addresses and
/// dates used as keys do not pass.
pub(crate) fn is_name(key: &str) -> bool {
    let starts = key.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$'));
    let sound = key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-$.".contains(&b));
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    starts && sound && key.len() <= 64 && digits <= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_is_written_for_each_side_and_erased() {
        let root = Trail::ROOT;
        let data = root.key("data");
        let row = data.index(3, 7);
        let odd = row.key("a/b~c");
        assert_eq!(odd.legacy().as_str(), "/data/3/a~1b~0c");
        assert_eq!(odd.sync().as_str(), "/data/7/a~1b~0c");
        assert_eq!(row.key("name").erased(), "/data/*/name");
        assert_eq!(row.key("name").again(), "/data/*/name");
        let keyed = data.element(3, 7, 99);
        assert_eq!(keyed.key("name").again(), "/data/99/name");
        assert_eq!(keyed.key("name").erased(), "/data/*/name");
        assert_eq!(segments("/data/3/a~1b~0c").collect::<Vec<_>>(), ["data", "3", "a/b~c"]);
        assert_eq!(segments("").count(), 0);
    }

    #[test]
    fn keys_that_are_data_are_erased() {
        for name in ["name", "created_at", "$ref", "x-id", "line2", "_links", "v1.2"] {
            assert!(is_name(name), "{name}");
        }
        for data in ["", "ada@example.test", "user_2NxAbC9912", "2026-11-23", "17", "à", "a b"] {
            assert!(!is_name(data), "{data}");
        }
        assert_eq!(Trail::ROOT.key("ada@example.test").erased(), "/{key}");
    }
}
