//! The shape of the legacy API's answers: where the rows, the total and the paging are.

use serde_json::{Map, Value};

/// A JSON Pointer (RFC 6901) through object keys only; the empty one is the whole body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pointer(Vec<String>);

/// Why a text is no pointer that can be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerProblem {
    /// Not RFC 6901.
    #[error("`{0}` is no JSON Pointer: it is empty, or begins with `/`, as in `/data`")]
    Syntax(String),
    /// A segment that may be an index.
    #[error("`{0}` goes through an array: only object keys can be used")]
    Index(String),
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// [`PointerProblem`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PointerProblem> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let syntax = || PointerProblem::Syntax(text.to_owned());
        let rest = text.strip_prefix('/').ok_or_else(syntax)?;
        let mut keys = Vec::new();
        for key in rest.split('/') {
            if key.is_empty() || key.replace("~0", "").replace("~1", "").contains('~') {
                return Err(syntax());
            }
            if key == "-" || key.bytes().all(|b| b.is_ascii_digit()) {
                return Err(PointerProblem::Index(text.to_owned()));
            }
            keys.push(key.replace("~1", "/").replace("~0", "~"));
        }
        Ok(Self(keys))
    }

    /// Whether the place of one is inside the place of the other, or the same.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a == b)
    }

    /// What is there in `body`.
    #[must_use]
    pub fn get<'a>(&self, body: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(body, |value, key| value.as_object()?.get(key))
    }

    fn get_mut<'a>(&self, body: &'a mut Value) -> Option<&'a mut Value> {
        self.0.iter().try_fold(body, |value, key| value.as_object_mut()?.get_mut(key))
    }

    /// Puts `value` there, making the objects on the way.
    fn put(&self, body: &mut Value, value: Value) {
        let mut place = body;
        for key in &self.0 {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[key.as_str()];
        }
        *place = value;
    }
}

/// Where an answer holds what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// The array of rows in a list's answer.
    pub list: Pointer,
    /// The number of rows that match, before paging.
    pub total: Option<Pointer>,
    /// The number of rows asked for.
    pub limit: Option<Pointer>,
    /// The number of rows skipped.
    pub offset: Option<Pointer>,
    /// The row in an answer about one row.
    pub item: Pointer,
    /// The word for what is wrong, in an answer that refuses.
    pub error_code: Option<Pointer>,
    /// The same for people.
    pub error_message: Option<Pointer>,
}

impl Envelope {
    /// A list's answer.
    #[must_use]
    pub fn wrap_list(
        &self,
        rows: Vec<Value>,
        total: usize,
        limit: Option<usize>,
        offset: usize,
    ) -> Value {
        let mut body = Value::Null;
        self.list.put(&mut body, Value::Array(rows));
        let numbers =
            [(&self.total, Some(total)), (&self.limit, limit), (&self.offset, Some(offset))];
        for (pointer, number) in numbers {
            if let (Some(pointer), Some(number)) = (pointer, number) {
                pointer.put(&mut body, number.into());
            }
        }
        body
    }

    /// An answer about one row.
    #[must_use]
    pub fn wrap_item(&self, row: Value) -> Value {
        let mut body = Value::Null;
        self.item.put(&mut body, row);
        body
    }

    /// An answer that refuses; `None` if the shape of the API's own is not told.
    #[must_use]
    pub fn wrap_error(&self, code: &str, message: &str) -> Option<Value> {
        let mut body = Value::Null;
        for (pointer, text) in [(&self.error_code, code), (&self.error_message, message)] {
            if let Some(pointer) = pointer {
                pointer.put(&mut body, text.into());
            }
        }
        (!body.is_null()).then_some(body)
    }

    /// The rows in a list's answer, if it has the shape of one.
    #[must_use]
    pub fn rows<'a>(&self, body: &'a Value) -> Option<&'a [Value]> {
        self.list.get(body)?.as_array().map(Vec::as_slice)
    }

    /// The same, to be changed.
    pub fn rows_mut<'a>(&self, body: &'a mut Value) -> Option<&'a mut [Value]> {
        self.list.get_mut(body)?.as_array_mut().map(Vec::as_mut_slice)
    }

    /// The row in an answer about one row, to be changed.
    pub fn item_mut<'a>(&self, body: &'a mut Value) -> Option<&'a mut Value> {
        self.item.get_mut(body).filter(|row| row.is_object())
    }

    /// The total in a list's answer.
    #[must_use]
    pub fn total(&self, body: &Value) -> Option<u64> {
        self.total.as_ref()?.get(body)?.as_u64()
    }

    /// The row in an answer about one row, if there is an object.
    #[must_use]
    pub fn item<'a>(&self, body: &'a Value) -> Option<&'a Value> {
        self.item.get(body).filter(|row| row.is_object())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointer(text: &str) -> Pointer {
        Pointer::parse(text).unwrap()
    }

    #[test]
    fn pointers_build_what_they_read() {
        let envelope = Envelope {
            list: pointer("/result/data"),
            total: Some(pointer("/result/meta/total")),
            limit: Some(pointer("/result/meta/limit")),
            offset: Some(pointer("/a~1b")),
            item: pointer("/data"),
            error_code: Some(pointer("/error/code")),
            error_message: Some(pointer("/error/message")),
        };
        let body = envelope.wrap_list(vec![json!({"id": "1"})], 7, Some(1), 3);
        let meta = json!({"total": 7, "limit": 1});
        let result = json!({"data": [{"id": "1"}], "meta": meta});
        assert_eq!(body, json!({"result": result, "a/b": 3}));
        assert_eq!(envelope.rows(&body), Some(&[json!({"id": "1"})][..]));
        assert_eq!(envelope.total(&body), Some(7));
        let error = json!({"error": {"code": "not_found", "message": "no such user"}});
        assert_eq!(envelope.wrap_error("not_found", "no such user"), Some(error));
        assert_eq!(Envelope::default().wrap_error("not_found", ""), None);
        assert_eq!(envelope.item(&envelope.wrap_item(json!({"id": 1}))), Some(&json!({"id": 1})));
    }

    #[test]
    fn the_body_itself_can_be_the_array_or_the_row() {
        let envelope = Envelope::default();
        assert_eq!(envelope.wrap_list(vec![json!(1)], 1, None, 0), json!([1]));
        assert_eq!(envelope.wrap_item(json!({})), json!({}));
        assert_eq!(envelope.rows(&json!({"error": "x"})), None);
        assert_eq!(envelope.item(&json!([])), None);
    }

    #[test]
    fn a_pointer_is_checked() {
        for bad in ["data", "/", "/a//b", "/a~2", "/a~"] {
            assert_eq!(Pointer::parse(bad), Err(PointerProblem::Syntax(bad.into())));
        }
        for bad in ["/0", "/a/12", "/a/-"] {
            assert_eq!(Pointer::parse(bad), Err(PointerProblem::Index(bad.into())));
        }
        assert!(pointer("/a").overlaps(&pointer("/a/b")));
        assert!(pointer("").overlaps(&pointer("/b")));
        assert!(!pointer("/a/b").overlaps(&pointer("/a/c")));
    }
}
