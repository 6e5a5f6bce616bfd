//! Misbehaving on purpose, switched while the API runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;

/// How the API misbehaves under `/users`. The default is not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// A field, and the value that answers to GET show in its place in every user that has the
    /// field. Nothing stored changes.
    pub wrong_field: Option<(String, Value)>,
    /// Waited before each answer.
    pub delay: Duration,
    /// Answered to everything in place of doing it.
    pub status: Option<StatusCode>,
}

/// The switch for [`Faults`]; clones switch the same API.
#[derive(Debug, Clone, Default)]
pub struct FaultHandle(Arc<Mutex<Faults>>);

impl FaultHandle {
    /// Misbehaves like this from the next request on.
    pub fn set(&self, faults: Faults) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Behaves again.
    pub fn clear(&self) {
        self.set(Faults::default());
    }

    /// What is switched on.
    #[must_use]
    pub fn get(&self) -> Faults {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Puts the wrong value into a user, or into each user of a page.
pub(super) fn falsify(body: &mut Value, (field, value): &(String, Value)) {
    if let Some(Value::Array(rows)) = body.get_mut("data") {
        for row in rows {
            falsify(row, &(field.clone(), value.clone()));
        }
    } else if let Some(shown) = body.get_mut(field) {
        *shown = value.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn users_and_pages_are_falsified_where_they_have_the_field() {
        let wrong = ("name".to_owned(), json!("WRONG"));
        let mut page = json!({"data": [{"name": "a"}, {"id": 1}], "total": 2});
        falsify(&mut page, &wrong);
        assert_eq!(page, json!({"data": [{"name": "WRONG"}, {"id": 1}], "total": 2}));
        let mut user = json!({"id": "u", "name": "a"});
        falsify(&mut user, &wrong);
        assert_eq!(user, json!({"id": "u", "name": "WRONG"}));
        let mut text = json!("no object");
        falsify(&mut text, &wrong);
        assert_eq!(text, json!("no object"));
    }
}
