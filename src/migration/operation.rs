//! What a request asks for, once its route is known.

use std::sync::Arc;

use super::{ResourceName, RowId};

/// A route as configured (`GET /users/{id}`): bounded in number, so it can label metrics and signatures.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct RouteTemplate(Arc<str>);

impl RouteTemplate {
    /// Takes the configured text of a route.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The configured text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RouteTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A request to a mapped route of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The resource whose route matched.
    pub resource: ResourceName,
    /// The route that matched.
    pub route: RouteTemplate,
    /// What it does.
    pub kind: OperationKind,
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationKind {
    /// Reads a list; the text is the raw query string, without `?`.
    List {
        /// Raw query string, possibly empty.
        query: String,
    },
    /// Reads one row.
    Get {
        /// The row's id, percent-decoded.
        row: RowId,
        /// Raw query string, possibly empty.
        query: String,
    },
    /// Writes.
    Write(WriteKind),
}

/// Which write an operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteKind {
    /// Makes a row.
    Create,
    /// Changes a row.
    Update(RowId),
    /// Removes a row.
    Delete(RowId),
}
