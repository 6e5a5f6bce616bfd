//! Rules as they are written in the configuration.

/// The settings of a resource's comparison (`[resource.compare]`). Paths are JSONPaths (RFC 9535).
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleSettings {
    /// Places whose differences are not counted.
    pub ignore: Vec<String>,
    /// Objects in which the store may show fields that legacy does not.
    pub allow_added: Vec<String>,
    /// Places where `null` is the same as no such field.
    pub null_eq_missing: Vec<String>,
    /// Places where `0` is the same as `false`, and `1` as `true`.
    pub sql_bool: Vec<String>,
    /// Places where the spelling counts: `1` is not `1.0`, and an instant has one spelling.
    pub strict: Vec<String>,
    /// Ids that each side makes for itself. Each list is one bijection: what is one id on one side is
    /// one id on the other, at all of its places.
    pub bind: Vec<Vec<String>>,
    /// How particular arrays are compared; all others by position. The last rule that fits wins.
    pub arrays: Vec<ArrayRuleSettings>,
    /// By how much particular numbers may differ; all others not at all.
    pub numbers: Vec<NumberRuleSettings>,
    /// How particular strings are read before they are compared; all others as they are.
    pub strings: Vec<StringRuleSettings>,
    /// Values that are times, and by how much they may differ.
    pub times: Vec<TimeRuleSettings>,
    /// Response headers that are compared; by default `content-type` alone.
    pub headers: Vec<String>,
    /// Places whose values samples may keep in clear; everywhere else they are kept as tokens.
    pub clear: Vec<String>,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self {
            ignore: Vec::new(),
            allow_added: Vec::new(),
            null_eq_missing: Vec::new(),
            sql_bool: Vec::new(),
            strict: Vec::new(),
            bind: Vec::new(),
            arrays: Vec::new(),
            numbers: Vec::new(),
            strings: Vec::new(),
            times: Vec::new(),
            headers: vec!["content-type".to_owned()],
            clear: Vec::new(),
        }
    }
}

/// How one array is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArrayRuleSettings {
    /// The array itself (`$.data`).
    pub path: String,
    /// Pairs the elements by this member. Not together with `as`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// With `by`: whether a different order of the paired elements is a difference (default: yes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered: Option<bool>,
    /// `position`, `set` (order and repetition do not count) or `multiset` (order does not count).
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub order: Option<ArrayOrder>,
}

/// How the elements of an array are paired when no member identifies them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArrayOrder {
    /// By position.
    Position,
    /// Order and repetition do not count.
    Set,
    /// Order does not count, repetition does.
    Multiset,
}

/// By how much numbers may differ: one of the three.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberRuleSettings {
    /// The numbers.
    pub path: String,
    /// At most by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abs: Option<f64>,
    /// At most by this share of the greater magnitude.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rel: Option<f64>,
    /// At most by so many binary floats (64 bits) from one to the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ulp: Option<u64>,
}

/// How strings are read before they are compared: the steps of `as`, then `mask`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StringRuleSettings {
    /// The strings.
    pub path: String,
    /// What is done to both sides, whatever the order here: NFC, trim, lower case, URL.
    #[serde(default, rename = "as", skip_serializing_if = "Vec::is_empty")]
    pub normalise: Vec<StringForm>,
    /// What matches one of these regular expressions does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mask: Vec<String>,
}

/// A spelling that does not count.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum StringForm {
    /// Composed or decomposed characters (Unicode NFC).
    Nfc,
    /// White space at both ends.
    Trim,
    /// Upper or lower case, in Unicode's simple sense.
    FoldCase,
    /// How a URL is written: case of scheme and host, default port, dot segments (WHATWG URL).
    Url,
}

/// Values that are times.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeRuleSettings {
    /// The times.
    pub path: String,
    /// By how many milliseconds they may differ; without it not at all.
    #[serde(default)]
    pub within_ms: u64,
    /// What a number there counts; strings are ISO times in any case.
    #[serde(default)]
    pub unit: TimeUnit,
}

/// What a number that is a time counts, from 1970 on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Nothing: only strings are times.
    #[default]
    Iso,
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
}
