//! A user, and what a request may say about one.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The role that a user has in the product. It is a field like any other: what a caller may do is
/// told by the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserRole {
    /// Runs the organisation.
    Admin,
    /// Works in it.
    Member,
    /// Looks on.
    Viewer,
}

impl UserRole {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Member, Self::Viewer];

    /// The word in JSON, in queries and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }

    /// The role that `word` names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// A row of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// 1 to 64 of `A-Z a-z 0-9 . _ ~ -`.
    pub id: String,
    /// The organisation that sees this user.
    pub org_id: String,
    /// Unique over all organisations.
    pub email: String,
    /// 1 to 200 characters (code points).
    pub name: String,
    /// The role in the product.
    pub role: UserRole,
    /// In years, 0 to 200, if known.
    pub age: Option<u8>,
    /// Whether the user may sign in.
    pub active: bool,
    /// ISO 8601 in UTC, with milliseconds.
    pub created_at: String,
    /// As `created_at`, of the last change.
    pub updated_at: String,
    /// 1 when made, one more with each change.
    pub version: u64,
}

/// A parameter or a field that is not valid; the text names it and says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Invalid(pub(super) String);

/// The body of a POST.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewUser {
    #[serde(default, deserialize_with = "given")]
    pub(super) id: Option<Id>,
    #[serde(default, deserialize_with = "given")]
    pub(super) org_id: Option<String>,
    pub(super) email: Email,
    pub(super) name: Name,
    #[serde(default = "member")]
    pub(super) role: UserRole,
    #[serde(default)]
    pub(super) age: Option<Age>,
    #[serde(default = "yes")]
    pub(super) active: bool,
}

/// The body of a PATCH: at least one field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChange {
    #[serde(default, deserialize_with = "given")]
    pub(super) email: Option<Email>,
    #[serde(default, deserialize_with = "given")]
    pub(super) name: Option<Name>,
    #[serde(default, deserialize_with = "given")]
    pub(super) role: Option<UserRole>,
    /// The inner `None` is JSON's null: the age becomes unknown.
    #[serde(default, deserialize_with = "given")]
    pub(super) age: Option<Option<Age>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) active: Option<bool>,
}

/// A field that may be absent but, once given, is no null (unless `T` says so).
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

const fn member() -> UserRole {
    UserRole::Member
}

const fn yes() -> bool {
    true
}

/// Reads a body that has been parsed as JSON.
pub(super) fn read_new_user(body: Value) -> Result<NewUser, Invalid> {
    serde_path_to_error::deserialize(body).map_err(|error| invalid(&error))
}

/// Reads a body that has been parsed as JSON.
pub(super) fn read_change(body: Value) -> Result<UserChange, Invalid> {
    let change: UserChange =
        serde_path_to_error::deserialize(body).map_err(|error| invalid(&error))?;
    if change == UserChange::default() {
        return Err(Invalid("change at least one field".to_owned()));
    }
    Ok(change)
}

fn invalid(error: &serde_path_to_error::Error<serde_json::Error>) -> Invalid {
    match error.path().to_string().as_str() {
        "." => Invalid(error.inner().to_string()),
        path => Invalid(format!("{path}: {}", error.inner())),
    }
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:path, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(super) struct $name(pub(super) String);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                if $check(&text) { Ok(Self(text)) } else { Err(D::Error::custom($rule)) }
            }
        }
    };
}

checked_text!(
    /// An id that can stand in a URL as it is, and is no route of its own.
    Id, is_id, "use 1 to 64 of A-Z a-z 0-9 . _ ~ -, not `me`, `.` or `..`"
);
checked_text!(
    /// A name.
    Name, is_name, "use 1 to 200 characters, none of them NUL"
);
checked_text!(
    /// An email address.
    Email, is_email, "must be an email address"
);

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
        && !matches!(text, "me" | "." | "..")
}

/// SQLite ends a text at NUL in LIKE, so a NUL would make a row that filters cannot see.
fn is_name(text: &str) -> bool {
    (1..=200).contains(&text.chars().count()) && !text.contains('\0')
}

/// The usual unquoted form: what sign-up forms accept, not all that RFC 5321 would.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let local_ok = |b: u8| b.is_ascii_alphanumeric() || b"_'+-.".contains(&b);
    let labels: Vec<_> = domain.split('.').collect();
    let label_ok = |label: &&str| {
        label.starts_with(|c: char| c.is_ascii_alphanumeric())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let top_ok = |top: &&str| top.len() >= 2 && top.bytes().all(|b| b.is_ascii_alphabetic());
    text.len() <= 254
        && !local.is_empty()
        && local.bytes().all(local_ok)
        && !local.starts_with('.')
        && !local.ends_with(['.', '\''])
        && !local.contains("..")
        && labels.len() >= 2
        && labels.iter().all(label_ok)
        && labels.last().is_some_and(top_ok)
}

/// An age in years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Age(pub(super) u8);

impl<'de> Deserialize<'de> for Age {
    /// `30.0` is the whole number 30, as it is to a JavaScript API.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(from)?;
        number
            .as_f64()
            .and_then(|years| (0..=200_u8).find(|whole| f64::from(*whole) == years))
            .map(Self)
            .ok_or_else(|| D::Error::custom("must be a whole number from 0 to 200"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bodies_are_strict() {
        let good = json!({"email": "a@example.com", "name": "A"});
        let user = read_new_user(good.clone()).unwrap();
        assert_eq!((user.role, user.age, user.active), (UserRole::Member, None, true));
        for (field, value) in [
            ("email", json!("a@example")),
            ("email", json!(null)),
            ("name", json!("")),
            ("name", json!("a\u{0}b")),
            ("name", json!("x".repeat(201))),
            ("role", json!("owner")),
            ("age", json!(1.5)),
            ("age", json!(201)),
            ("age", json!(-1)),
            ("age", json!("30")),
            ("active", json!("true")),
            ("id", json!("a/b")),
            ("id", json!("me")),
            ("id", json!(null)),
            ("version", json!(3)),
        ] {
            let mut body = good.clone();
            body[field] = value.clone();
            let error = read_new_user(body).unwrap_err().to_string();
            assert!(error.contains(field), "{field} = {value}: {error}");
        }
        let mut emoji = good.clone();
        emoji["name"] = json!("😀".repeat(200));
        assert!(read_new_user(emoji).is_ok(), "characters are counted, not bytes or UTF-16 units");
        assert!(read_new_user(json!([])).is_err());
        assert!(read_new_user(json!({"name": "A"})).is_err());
    }

    #[test]
    fn a_change_tells_null_from_absent() {
        assert_eq!(read_change(json!({"age": null})).unwrap().age, Some(None));
        assert_eq!(read_change(json!({"age": 30.0})).unwrap().age, Some(Some(Age(30))));
        assert_eq!(read_change(json!({"name": "B"})).unwrap().age, None);
        assert!(read_change(json!({})).is_err());
        assert!(read_change(json!({"name": null})).is_err());
        assert!(read_change(json!({"orgId": "o"})).is_err());
    }

    #[test]
    fn email_addresses() {
        for good in ["a@example.com", "a.b+c@x-y.example.org", "o'neil.x@example.test"] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "",
            "@example.com",
            "a@",
            "a@b",
            "a@b.c",
            ".a@example.com",
            "a..b@example.com",
            "a@-x.com",
            "a b@example.com",
            "a@b@example.com",
            "a@example.c0m",
            "ä@example.com",
        ] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
