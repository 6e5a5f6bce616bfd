//! Stand-in.
use std::fmt;
/// t
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Text(String);
impl From<&str> for Text {
    fn from(s: &str) -> Self {
        Self(s.into())
    }
}
impl From<String> for Text {
    fn from(s: String) -> Self {
        Self(s)
    }
}
impl Text {
    /// t
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        Some(&self.0)
    }
}
/// t
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Cell {
    String(Text),
    Number(f64),
    Bool(bool),
    Null,
    Json(Text),
}
/// t
#[derive(Debug)]
pub struct CellError;
impl fmt::Display for CellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad")
    }
}
impl Cell {
    /// t
    pub fn from_json(v: &serde_json::Value) -> Result<Self, CellError> {
        use serde_json::Value;
        Ok(match v {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(n) => Self::Number(n.as_f64().ok_or(CellError)?),
            Value::String(s) => Self::String(s.as_str().into()),
            other => Self::Json(other.to_string().into()),
        })
    }
    /// t
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            #[allow(clippy::cast_possible_truncation)]
            Self::Number(n) if n.fract() == 0.0 && n.abs() < 9e15 => Value::from(*n as i64),
            Self::Number(n) => Value::from(*n),
            Self::String(s) => Value::String(s.0.clone()),
            Self::Json(t) => serde_json::from_str(&t.0).unwrap_or(Value::Null),
        }
    }
}
