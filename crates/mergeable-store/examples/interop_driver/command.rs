//! Reading commands.

use mergeable_store::{Changes, ChangesError, Json, JsonError, Text};

/// A command that cannot be carried out: the test and the driver disagree about their language.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverError {
    #[error("the command is {0}")]
    NotJson(#[from] JsonError),
    #[error("unknown: {0}")]
    Unknown(String),
    #[error("{0} is missing or of another type")]
    Field(&'static str),
    /// The store contradicts itself, whatever the other side says.
    #[error("the store contradicts itself: {0}")]
    Contradiction(String),
    #[error(transparent)]
    Changes(#[from] ChangesError),
}

/// Reading JSON whose shape is agreed upon.
pub(crate) trait Fields {
    fn field(&self, key: &'static str) -> Result<&Json, DriverError>;
    fn items(&self, what: &'static str) -> Result<&[Json], DriverError>;
    fn entries(&self, what: &'static str) -> Result<Vec<(&Text, &Json)>, DriverError>;
    fn text(&self, what: &'static str) -> Result<&Text, DriverError>;
    fn number(&self, what: &'static str) -> Result<f64, DriverError>;

    /// A whole number, zero or more.
    fn index(&self, key: &'static str) -> Result<usize, DriverError> {
        Ok(self.field(key)?.number(key)? as usize)
    }

    fn is_set(&self, key: &'static str) -> bool {
        matches!(self.field(key), Ok(Json::Bool(true)))
    }
}

impl Fields for Json {
    fn field(&self, key: &'static str) -> Result<&Json, DriverError> {
        match self {
            Json::Object(entries) => entries.get(key.as_bytes()),
            _ => None,
        }
        .ok_or(DriverError::Field(key))
    }

    fn items(&self, what: &'static str) -> Result<&[Json], DriverError> {
        match self {
            Json::Array(items) => Ok(items),
            _ => Err(DriverError::Field(what)),
        }
    }

    fn entries(&self, what: &'static str) -> Result<Vec<(&Text, &Json)>, DriverError> {
        match self {
            Json::Object(entries) => Ok(entries.iter().collect()),
            _ => Err(DriverError::Field(what)),
        }
    }

    fn text(&self, what: &'static str) -> Result<&Text, DriverError> {
        match self {
            Json::String(text) => Ok(text),
            _ => Err(DriverError::Field(what)),
        }
    }

    fn number(&self, what: &'static str) -> Result<f64, DriverError> {
        match self {
            Json::Number(number) => Ok(*number),
            _ => Err(DriverError::Field(what)),
        }
    }
}

/// A JSON string.
pub(crate) fn text(text: impl AsRef<str>) -> Json {
    Json::String(text.as_ref().into())
}

/// Changes as the JSON that travels.
pub(crate) fn changes(changes: &Changes) -> Result<Json, DriverError> {
    Ok(Json::parse(&changes.to_json())?)
}

/// Changes as a receiver reads them, in the order of JavaScript's objects.
pub(crate) fn as_received(changes: &Changes) -> Result<Changes, DriverError> {
    Ok(Changes::from_json(&changes.to_json())?)
}
