//! Rows to begin with: invented, plausible, and the same for the same seed.

use chrono::{DateTime, SecondsFormat};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::user::{User, UserRole};

/// 2025-01-01T00:00:00Z: the seeded users were made in the year that began then.
const YEAR_START_MS: i64 = 1_735_689_600_000;
const YEAR_MS: i64 = 365 * 24 * 3_600_000;

/// Few enough that names repeat, so that ties in an order do come up. Some begin in lower case or
/// outside ASCII: where collations part ways.
const FIRST: [&str; 24] = [
    "Ada", "Bruno", "Chiara", "Dmitri", "Elif", "Farid", "Grete", "Hana", "Ines", "Jonas", "Kofi",
    "Lucía", "Mateo", "Noor", "Olu", "Petra", "Quentin", "Rosa", "Sven", "Tomás", "Uma", "Vera",
    "Zoë", "Åsa",
];
const LAST: [&str; 20] = [
    "Adeyemi",
    "Bauer",
    "Castro",
    "de Vries",
    "Eriksen",
    "Fischer",
    "Gómez",
    "Haddad",
    "Ito",
    "Jansen",
    "Kowalski",
    "Lindqvist",
    "Moreau",
    "Novák",
    "Okafor",
    "Pereira",
    "Rossi",
    "Silva",
    "van Dijk",
    "Yılmaz",
];
const DOMAINS: [&str; 4] = ["example.com", "example.org", "example.net", "mail.test"];

/// How many users over how many organisations, and the seed that decides what they are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// Same seed, same users.
    pub seed: u64,
    /// Users in all, dealt out to the organisations in turn.
    pub users: usize,
    /// Organisations: `org_1` to `org_n`, at least one.
    pub organisations: usize,
}

impl Seed {
    /// The id of the organisation with this number, counted from 0.
    #[must_use]
    pub fn organisation(number: usize) -> String {
        format!("org_{}", number + 1)
    }

    /// The users, in the order of their ids.
    #[must_use]
    pub fn users_list(&self) -> Vec<User> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        (0..self.users)
            .map(|number| {
                let org = Self::organisation(number % self.organisations.max(1));
                invent(&mut rng, number, org)
            })
            .collect()
    }
}

fn invent(rng: &mut StdRng, number: usize, org_id: String) -> User {
    let pick = |rng: &mut StdRng, from: &[&'static str]| from.choose(rng).copied().unwrap_or("X");
    let first = pick(rng, &FIRST);
    let last = pick(rng, &LAST);
    let domain = pick(rng, &DOMAINS);
    let made_ms = YEAR_START_MS + rng.random_range(0..YEAR_MS);
    let created_at = iso_ms(made_ms);
    User {
        id: format!("user_{:05}", number + 1),
        org_id,
        // The number makes it unique.
        email: format!("{}.{}.{}@{domain}", ascii(first), ascii(last), number + 1),
        name: format!("{first} {last}"),
        role: match rng.random_range(0..10) {
            0 => UserRole::Admin,
            1..=6 => UserRole::Member,
            _ => UserRole::Viewer,
        },
        age: rng.random_bool(0.9).then(|| rng.random_range(18..=79)),
        active: rng.random_bool(0.85),
        updated_at: created_at.clone(),
        created_at,
        version: 1,
    }
}

/// The letters of a name that an email address may have.
fn ascii(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase()
}

/// ISO 8601 in UTC with milliseconds; a time that no calendar has reads as 1970.
pub(super) fn iso_ms(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .unwrap_or(DateTime::UNIX_EPOCH)
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn one_seed_one_world() {
        let seed = Seed { seed: 7, users: 500, organisations: 3 };
        let users = seed.users_list();
        assert_eq!(users, seed.users_list());
        assert_ne!(users, Seed { seed: 8, ..seed }.users_list());
        assert_eq!(users.len(), 500);
        let distinct =
            |field: fn(&User) -> &str| users.iter().map(field).collect::<HashSet<_>>().len();
        assert_eq!(distinct(|user| &user.id), 500);
        assert_eq!(distinct(|user| &user.email), 500);
        assert_eq!(distinct(|user| &user.org_id), 3);
        // Ties, nulls and every role are there for queries to meet.
        assert!(distinct(|user| &user.name) < 500);
        assert!(users.iter().any(|user| user.age.is_none()));
        assert!(UserRole::ALL.iter().all(|role| users.iter().any(|user| user.role == *role)));
    }

    #[test]
    fn every_seeded_user_would_pass_validation() {
        for user in (Seed { seed: 1, users: 300, organisations: 0 }).users_list() {
            let body = serde_json::json!({"id": user.id, "email": user.email, "name": user.name,
                "role": user.role, "age": user.age, "active": user.active});
            super::super::user::read_new_user(body).unwrap();
        }
    }

    #[test]
    fn times_are_iso_with_milliseconds() {
        assert_eq!(iso_ms(YEAR_START_MS), "2025-01-01T00:00:00.000Z");
        assert_eq!(iso_ms(1_582_934_400_007), "2020-02-29T00:00:00.007Z");
        assert_eq!(iso_ms(i64::MAX), "1970-01-01T00:00:00.000Z");
    }
}
