//! The query surface of the list: filters, order, page.

use super::user::{Invalid, UserRole};

const DEFAULT_LIMIT: u64 = 20;
const MAX_LIMIT: u64 = 100;
/// JavaScript's greatest safe integer, the bound that the Node API has.
const MAX_OFFSET: u64 = 9_007_199_254_740_991;
const MAX_AGE: u64 = 1000;

/// A key that lists can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SortKey {
    Name,
    Email,
    Age,
    Role,
    CreatedAt,
    UpdatedAt,
}

impl SortKey {
    const ALL: [(&'static str, Self); 6] = [
        ("name", Self::Name),
        ("email", Self::Email),
        ("age", Self::Age),
        ("role", Self::Role),
        ("createdAt", Self::CreatedAt),
        ("updatedAt", Self::UpdatedAt),
    ];

    /// The column.
    pub(super) const fn column(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Email => "email",
            Self::Age => "age",
            Self::Role => "role",
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
        }
    }
}

/// One term of `sort`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SortTerm {
    pub(super) key: SortKey,
    pub(super) descending: bool,
}

/// What a list was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserQuery {
    pub(super) org: Option<String>,
    pub(super) role: Option<UserRole>,
    pub(super) roles: Option<Vec<UserRole>>,
    pub(super) active: Option<bool>,
    pub(super) min_age: Option<u64>,
    pub(super) max_age: Option<u64>,
    pub(super) name_part: Option<String>,
    pub(super) sort: Vec<SortTerm>,
    pub(super) limit: u64,
    pub(super) offset: u64,
}

impl UserQuery {
    /// Reads the parameters. One that is not known is ignored; a bad or repeated one that is known
    /// is refused, never adjusted.
    pub(super) fn parse(pairs: &[(String, String)]) -> Result<Self, Invalid> {
        Ok(Self {
            org: one(pairs, "orgId", |text| Ok(text.to_owned()))?,
            role: one(pairs, "role", role)?,
            roles: one(pairs, "roles", |text| text.split(',').map(role).collect())?,
            active: one(pairs, "active", boolean)?,
            min_age: one(pairs, "minAge", |text| whole(text, 0, MAX_AGE))?,
            max_age: one(pairs, "maxAge", |text| whole(text, 0, MAX_AGE))?,
            name_part: one(pairs, "q", name_part)?,
            sort: one(pairs, "sort", sort)?.unwrap_or_default(),
            limit: one(pairs, "limit", |text| whole(text, 1, MAX_LIMIT))?.unwrap_or(DEFAULT_LIMIT),
            offset: one(pairs, "offset", |text| whole(text, 0, MAX_OFFSET))?.unwrap_or(0),
        })
    }
}

fn one<T>(
    pairs: &[(String, String)],
    name: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Invalid> {
    let mut values = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Invalid(format!("{name}: give it once"))),
        (Some(value), None) => {
            read(value).map(Some).map_err(|rule| Invalid(format!("{name}: {rule}")))
        }
    }
}

fn role(word: &str) -> Result<UserRole, String> {
    UserRole::from_word(word).ok_or_else(|| "use admin, member or viewer".to_owned())
}

fn boolean(word: &str) -> Result<bool, String> {
    match word {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("use true or false".to_owned()),
    }
}

fn whole(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let digits = (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| digits && (min..=max).contains(number))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

fn name_part(text: &str) -> Result<String, String> {
    if text.chars().count() <= 200 && !text.contains('\0') {
        Ok(text.to_owned())
    } else {
        Err("use at most 200 characters, none of them NUL".to_owned())
    }
}

fn sort(text: &str) -> Result<Vec<SortTerm>, String> {
    let term = |word: &str| {
        let (name, descending) = word.strip_prefix('-').map_or((word, false), |name| (name, true));
        let key = SortKey::ALL.iter().find(|(known, _)| *known == name)?.1;
        Some(SortTerm { key, descending })
    };
    text.split(',')
        .map(term)
        .collect::<Option<Vec<_>>>()
        .filter(|terms| terms.len() <= SortKey::ALL.len())
        .ok_or_else(|| "sort by up to 6 of name, email, age, role, createdAt, updatedAt".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<UserQuery, Invalid> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        UserQuery::parse(&pairs)
    }

    #[test]
    fn nothing_asked_is_the_first_twenty() {
        let query = parse(&[("unknown", "x")]).unwrap();
        assert_eq!((query.limit, query.offset, query.sort.len()), (20, 0, 0));
    }

    #[test]
    fn everything_asked() {
        let query = parse(&[
            ("roles", "admin,viewer"),
            ("active", "false"),
            ("minAge", "18"),
            ("q", "a b"),
            ("sort", "-age,name"),
            ("limit", "100"),
            ("offset", "40"),
        ])
        .unwrap();
        assert_eq!(query.roles, Some(vec![UserRole::Admin, UserRole::Viewer]));
        assert_eq!((query.active, query.min_age), (Some(false), Some(18)));
        assert_eq!(
            query.sort,
            [
                SortTerm { key: SortKey::Age, descending: true },
                SortTerm { key: SortKey::Name, descending: false }
            ]
        );
        assert_eq!((query.limit, query.offset), (100, 40));
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        for (name, value) in [
            ("role", "owner"),
            ("roles", ""),
            ("roles", "admin,"),
            ("active", "1"),
            ("minAge", "-1"),
            ("maxAge", "1001"),
            ("maxAge", "+1"),
            ("sort", ""),
            ("sort", "id"),
            ("sort", "--age"),
            ("sort", "age,age,age,age,age,age,age"),
            ("limit", "0"),
            ("limit", "101"),
            ("limit", "1e1"),
            ("offset", "9999999999999999"),
            ("q", "a\0"),
        ] {
            let error = parse(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: ")), "{name}={value}: {error}");
        }
        assert!(parse(&[("role", "admin"), ("role", "admin")]).is_err());
    }
}
