//! Where a setting stands in the file: `resource[users].routes.get`.

use std::fmt;

/// One step into the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    Index(usize),
}

/// The steps from the top of the file to a setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Key(pub(super) Vec<Step>);

impl Key {
    pub(super) fn of(name: &str) -> Self {
        Self::default().field(name)
    }

    pub(super) fn field(&self, name: &str) -> Self {
        self.with(Step::Name(name.to_owned()))
    }

    pub(super) fn index(&self, place: usize) -> Self {
        self.with(Step::Index(place))
    }

    fn with(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    pub(super) fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }

    /// The last step that is a name.
    pub(super) fn name(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            Step::Index(_) => None,
        })
    }

    /// Up to and with the last step that is a name: what can be taken out of the file without moving anything else.
    pub(super) fn named(&self) -> Self {
        let end = self.0.iter().rposition(|step| matches!(step, Step::Name(_)));
        Self(self.0[..end.map_or(0, |end| end + 1)].to_vec())
    }

    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Whether the value is a secret or holds one, so that it is never told.
    pub(super) fn is_secret(&self) -> bool {
        let secret = |step: &Step| matches!(step, Step::Name(name) if matches!(name.as_str(), "token" | "service_token" | "auth_token"));
        self.0.iter().any(secret)
    }

    pub(super) fn from_serde(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment;
        let steps = path.iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Name(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        Self(steps.collect())
    }

    /// The key for people; `label` names an element of an array, where it has a name.
    pub(super) fn display(&self, label: impl Fn(&Self) -> Option<String>) -> String {
        let mut text = String::new();
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Name(name) => {
                    if place > 0 {
                        text.push('.');
                    }
                    text.push_str(name);
                }
                Step::Index(index) => {
                    let label = label(&Self(self.0[..=place].to_vec()));
                    text.push_str(&format!("[{}]", label.unwrap_or_else(|| index.to_string())));
                }
            }
        }
        text
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display(|_| None))
    }
}
