//! What people write and ask for.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Map, Value, json};

use crate::demo::cast::Person;

const NAMES: [&str; 12] = [
    "Amara", "Björn", "Carla", "Deniz", "Emre", "Freya", "Goran", "Hilde", "Ivo", "Jana", "Kaito",
    "Leïla",
];
const ROLES: [&str; 3] = ["admin", "member", "viewer"];
/// Rows that everybody likes to change, so that people do meet.
const POPULAR: usize = 8;
/// Lists reach this many rows into their order.
const DEEPEST: usize = 60;

/// A row of one's own organisation that was there before; now and then one that others choose too.
pub(super) fn choose<'a>(rng: &mut StdRng, rows: &'a [String]) -> Option<&'a String> {
    let few = rng.random_bool(0.15);
    if few { rows.get(..POPULAR.min(rows.len()))?.choose(rng) } else { rows.choose(rng) }
}

/// A name that nobody has yet: `number` counts the writer's writes.
fn name(rng: &mut StdRng, person: &Person, number: u32) -> String {
    let first = NAMES.choose(rng).copied().unwrap_or("Noor");
    format!("{first} {}.{number}", person.user)
}

/// A whole new row, but for what the API fills in itself.
pub(super) fn new_row(
    rng: &mut StdRng,
    person: &Person,
    number: u32,
) -> (String, Map<String, Value>) {
    let id = format!("{}_{number}", person.user);
    let cells = json!({
        "id": id,
        "orgId": person.org,
        "name": name(rng, person, number),
        "email": format!("{id}@example.com"),
        "role": ROLES.choose(rng).copied().unwrap_or("member"),
        "age": rng.random_range(18..80),
        "active": rng.random_bool(0.8),
    });
    (id, fields(cells))
}

/// A change of one cell or two.
pub(super) fn change(rng: &mut StdRng, person: &Person, number: u32) -> Map<String, Value> {
    fields(match rng.random_range(0..10) {
        0..4 => json!({ "name": name(rng, person, number) }),
        4..6 => json!({ "age": rng.random_range(18..80) }),
        6..8 => json!({ "role": ROLES.choose(rng).copied().unwrap_or("member") }),
        8 => json!({ "active": rng.random_bool(0.5) }),
        _ => json!({ "name": name(rng, person, number), "age": rng.random_range(18..80) }),
    })
}

fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The query of a list: filters, orders and pages as an app's table asks for them.
pub(super) fn list_query(rng: &mut StdRng) -> String {
    let offset = rng.random_range(0..DEEPEST);
    match rng.random_range(0..8) {
        0 => String::new(),
        1 => format!("?sort=name&limit=25&offset={offset}"),
        2 => format!("?role={}&sort=-age,name", ROLES.choose(rng).copied().unwrap_or("admin")),
        3 => format!("?roles=admin,viewer&sort=-createdAt&limit=10&offset={}", offset / 4),
        4 => "?active=true&sort=email&limit=50".to_owned(),
        5 => {
            let age = rng.random_range(18..60);
            format!("?minAge={age}&maxAge={}&sort=age", age + 15)
        }
        6 => format!(
            "?q={}&sort=-name",
            ["an", "er", "de", "os"].choose(rng).copied().unwrap_or("a")
        ),
        _ => format!("?limit=100&offset={offset}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::cast::by_rest;
    use rand::SeedableRng as _;

    #[test]
    fn the_same_seed_chooses_alike_and_names_are_never_used_twice() {
        let person = &by_rest(1)[0];
        let write = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let rows: Vec<_> = (0..50).map(|n| new_row(&mut rng, person, n)).collect();
            let queries: Vec<_> = (0..50).map(|_| list_query(&mut rng)).collect();
            (rows, queries)
        };
        assert_eq!(write(1), write(1));
        assert_ne!(write(1), write(2));
        let names: std::collections::HashSet<_> =
            write(1).0.into_iter().map(|(_, cells)| cells["name"].to_string()).collect();
        assert_eq!(names.len(), 50);
    }
}
