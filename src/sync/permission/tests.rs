//! Roles against a star, edit by edit; and clients that send whatever they like.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mergeable_store::{
    Cell, Changes, ClientId, ConnectionId, Effects, Hlc, Limits, MergeableStore, Star,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::clock::SystemEntropy;
use crate::config::Config;
use crate::migration::PathId;
use crate::resource::Resource;
use crate::storage::Actor;
use crate::sync::authority::LegacyDecides;
use crate::sync::mapped::MappedTables;
use crate::sync::path::PathIndexes;
use crate::sync::policy::{Judge, Writer};
use crate::sync::random::StarRandom;
use crate::sync::refusals::Allowance;
use crate::sync::vectors::Vectors;

const EXAMPLE: &str = include_str!("../../../docs/crossfade.example.toml");
/// `email` stands for the owner's id: any string that a client may write does.
const ROLES: &str = r#"
[resource.write]
owner = "email"
[resource.write.roles]
admin = { cells = ["*"], create = true, delete = true }
editor = { cells = ["age", "name"] }
maker = { create = true }
janitor = { delete = true }
member = { cells = ["*"], create = true, delete = true, own_rows = true }
viewer = {}
"#;
const NOW: u64 = 1_800_000_000_000;
const ME: &str = "me";
const NOBODYS: [Option<&str>; 4] = [None, Some("org:viewer"), Some("org:other"), Some("")];

fn users() -> Arc<Resource> {
    let config = Config::parse(&format!("{EXAMPLE}{ROLES}"), Path::new(""), "example");
    config.unwrap_or_else(|e| panic!("{e}")).resources[0].clone()
}

fn random() -> StarRandom {
    StarRandom(Arc::new(SystemEntropy))
}

/// A store with a row of the user's (`mine`), one of somebody else's (`other`), and a deleted one (`gone`).
struct World {
    star: Star,
    users: Arc<Resource>,
    tables: MappedTables,
    client: ConnectionId,
    now: u64,
}

impl World {
    fn new() -> Self {
        let users = users();
        let tables = MappedTables::new(std::slice::from_ref(&users));
        let store = MergeableStore::new(ClientId::from_unique_id("server"));
        let mut world = Self {
            star: Star::new(store, Limits::default()),
            users,
            tables,
            client: "client".into(),
            now: NOW,
        };
        let written = world.star.write(NOW - 1_000, &mut random(), |tx| {
            for (id, owner) in [("mine", ME), ("other", "ada"), ("gone", ME)] {
                for (cell, value) in row(id, owner) {
                    tx.set_cell("users", id, cell, value)?;
                }
            }
            tx.del_row("users", "gone")
        });
        drop(written.unwrap());
        let (client, now) = (world.client.clone(), world.now);
        drop(world.star.connect(now, client, &mut random()));
        world
    }

    fn receive(&mut self, role: Option<&str>, frame: &str) -> Effects {
        let path = PathId::new("org/org_1").unwrap();
        let actor = Actor {
            user: ME.to_owned(),
            org_id: Some("org_1".to_owned()),
            org_role: role.map(str::to_owned),
        };
        let writer = Arc::new(Writer::new(actor));
        let mut judge = Judge {
            path: &path,
            tables: &self.tables,
            writer: &writer,
            vectors: &mut Vectors::default(),
            refused: Vec::new(),
            allowance: Allowance::Left(1_000),
            max_cell_bytes: 1 << 20,
            indexes: &PathIndexes::default(),
            authority: &LegacyDecides,
        };
        let received = self.star.receive(self.now, &self.client, frame, &mut judge, &mut random());
        let effects = received.unwrap_or_default();
        self.complete_deletions();
        effects
    }

    /// As a path does: a row without its required cells is deleted whole.
    fn complete_deletions(&mut self) {
        let (users, store) = (&self.users, self.star.store());
        let is_cleared = |row: &str| {
            let mut required = users.schema.cells().iter().filter(|spec| spec.required);
            required.any(|spec| matches!(store.stamp("users", row, &*spec.id), Some((None, _))))
        };
        let rows = store.row_ids("users");
        let incomplete: Vec<_> =
            rows.iter().filter(|row| row.as_str().is_some_and(is_cleared)).cloned().collect();
        let written = self.star.write(self.now, &mut random(), |tx| {
            incomplete.iter().try_for_each(|row| tx.del_row("users", row))
        });
        drop(written.unwrap());
    }

    /// A message with these cells of one row; why which of them were refused.
    fn say(
        &mut self,
        role: &str,
        row: &str,
        cells: &[(&str, Option<Cell>)],
    ) -> BTreeMap<String, String> {
        self.now += 1_000;
        let mut changes = Changes::new();
        let client = ClientId::from_unique_id("client");
        for (n, (cell, value)) in cells.iter().enumerate() {
            let hlc = Hlc::new(self.now, u32::try_from(n).unwrap(), client);
            changes.set_cell("users", row, *cell, value.clone(), hlc);
        }
        let effects = self.receive(Some(role), &content_diff(&changes));
        let why = effects.refused.into_iter().map(|refusal| match refusal.target {
            mergeable_store::Target::Cell { cell, .. } => (cell.to_string(), refusal.reason),
            other => panic!("{other:?}"),
        });
        why.collect()
    }

    fn cell(&self, row: &str, cell: &str) -> Option<Cell> {
        self.star.store().get_cell("users", row, cell).map(|cell| cell.to_cell())
    }

    fn has(&self, row: &str) -> bool {
        self.star.store().has_row("users", row)
    }

    /// All that is there, by row and cell, of all tables; and the ids of values.
    fn content(&self) -> BTreeMap<[String; 3], String> {
        let store = self.star.store();
        let mut content = BTreeMap::new();
        for table in store.table_ids() {
            for row in store.row_ids(&table) {
                for cell in store.cell_ids(&table, &row) {
                    let value = format!("{:?}", store.get_cell(&table, &row, &cell));
                    content.insert([&table, &row, &cell].map(ToString::to_string), value);
                }
            }
        }
        for value in store.value_ids() {
            content.insert([String::new(), String::new(), value.to_string()], String::new());
        }
        content
    }
}

fn row(id: &str, owner: &str) -> Vec<(&'static str, Cell)> {
    vec![
        ("id", id.into()),
        ("orgId", "org_1".into()),
        ("email", owner.into()),
        ("name", "Ada".into()),
        ("role", "member".into()),
        ("age", Cell::Number(36.0)),
        ("active", true.into()),
        ("createdAt", "2026-01-01T00:00:00.000Z".into()),
        ("version", Cell::Number(1.0)),
    ]
}

/// What a client sends of a new row: not the cells that the API makes.
fn new_row(id: &str, owner: &str) -> Vec<(&'static str, Option<Cell>)> {
    row(id, owner).into_iter().take(7).map(|(cell, value)| (cell, Some(value))).collect()
}

fn deletion() -> Vec<(&'static str, Option<Cell>)> {
    row("", "").into_iter().map(|(cell, _)| (cell, None)).collect()
}

fn content_diff(changes: &Changes) -> String {
    format!("\n[\"abcdefghijk\",3,{}]", changes.to_json())
}

/// All cells were refused for this reason.
fn assert_all(refused: &BTreeMap<String, String>, cells: usize, reason: &str) {
    assert_eq!(refused.len(), cells, "{refused:?}");
    assert!(refused.values().all(|one| one == reason), "{refused:?}");
}

#[test]
fn a_role_writes_the_cells_that_it_may_and_no_other() {
    let mut world = World::new();
    let both = [("age", Some(Cell::Number(40.0))), ("role", Some("admin".into()))];
    let refused = world.say("org:editor", "other", &both);
    assert_eq!(refused, [("role".into(), "role-may-not-write-cell".into())].into());
    assert_eq!(world.cell("other", "age"), Some(Cell::Number(40.0)));
    assert_eq!(world.cell("other", "role"), Some("member".into()));
    // Clearing a cell that a row can be without is writing it.
    assert!(world.say("org:editor", "other", &[("age", None)]).is_empty());
    assert_eq!(world.cell("other", "age"), None);
    assert_all(&world.say("org:maker", "other", &both), 2, "role-may-not-write-cell");
    assert_all(&world.say("org:viewer", "other", &both), 2, "role-may-not-write");
    assert_all(&world.say("org:unheard-of", "other", &both), 2, "role-may-not-write");
    assert!(world.say("org:admin", "other", &both).is_empty());
}

#[test]
fn a_row_is_made_whole_or_not_at_all() {
    let mut world = World::new();
    for role in ["org:editor", "org:janitor"] {
        assert_all(&world.say(role, "never", &new_row("never", "x")), 7, "role-may-not-create");
        assert!(!world.has("never"));
    }
    // Whoever makes a row chooses all of it, and may do so in several messages.
    let cells = new_row("new", "x");
    assert!(world.say("org:maker", "new", &cells[..3]).is_empty());
    assert!(world.say("org:maker", "new", &cells[3..]).is_empty());
    assert_eq!(world.cell("new", "role"), Some("member".into()));
    let rename = [("name", Some("B".into()))];
    assert_all(&world.say("org:maker", "new", &rename), 1, "role-may-not-write-cell");
    // A row that was deleted is not there.
    assert_all(&world.say("org:editor", "gone", &rename), 1, "role-may-not-create");
    assert!(!world.has("gone"));
}

#[test]
fn a_row_is_deleted_whole_or_not_at_all() {
    let mut world = World::new();
    let before = world.content();
    for role in ["org:editor", "org:maker"] {
        assert_all(&world.say(role, "other", &deletion()), 9, "role-may-not-delete");
    }
    // One required cell deletes a row as well. One that no client writes does not: a row that is replaced loses it.
    let two = [("name", None), ("age", None)];
    assert_all(&world.say("org:editor", "other", &two), 2, "role-may-not-delete");
    let replaced = [("version", None)];
    assert_all(&world.say("org:editor", "other", &replaced), 1, "role-may-not-write-cell");
    assert_all(&world.say("org:janitor", "other", &replaced), 1, "role-may-not-write-cell");
    assert_eq!(world.content(), before);
    assert!(world.say("org:janitor", "other", &deletion()).is_empty());
    assert!(!world.has("other"));
    // With the deletion goes what was written beside it.
    let written = [("name", None), ("age", Some(Cell::Number(1.0)))];
    let refused = world.say("org:janitor", "mine", &written);
    assert_eq!(refused, [("age".into(), "role-may-not-write-cell".into())].into());
    assert!(!world.has("mine"));
}

/// Who may delete rows may not clear cells under the pretext of a deletion that will not happen.
#[test]
fn a_deletion_that_is_too_old_is_none() {
    let mut world = World::new();
    let mut changes = Changes::new();
    let client = ClientId::from_unique_id("client");
    changes.set_cell("users", "other", "name", None, Hlc::new(NOW - 500_000, 0, client));
    changes.set_cell("users", "other", "age", None, Hlc::new(NOW + 500, 0, client));
    let effects = world.receive(Some("org:janitor"), &content_diff(&changes));
    let reasons: Vec<_> = effects.refused.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["role-may-not-write-cell"]);
    assert_eq!(world.cell("other", "age"), Some(Cell::Number(36.0)));
}

#[test]
fn a_tombstone_on_a_tombstone_takes_the_right_to_delete() {
    let mut world = World::new();
    assert_all(&world.say("org:editor", "gone", &deletion()), 9, "role-may-not-delete");
    // Whose row it was is not known any more.
    assert_all(&world.say("org:member", "gone", &deletion()), 9, "not-row-owner");
    assert!(world.say("org:janitor", "gone", &deletion()).is_empty());
}

#[test]
fn own_rows_are_written_deleted_and_made_and_no_others() {
    let mut world = World::new();
    let rename = [("name", Some("B".into()))];
    assert!(world.say("org:member", "mine", &rename).is_empty());
    assert_all(&world.say("org:member", "other", &rename), 1, "not-row-owner");
    // Neither by taking it over in the same message, nor by giving one's own away.
    let taken = [("email", Some(ME.into())), ("name", Some("C".into()))];
    assert_all(&world.say("org:member", "other", &taken), 2, "not-row-owner");
    let given = [("email", Some("ada".into()))];
    assert_all(&world.say("org:member", "mine", &given), 1, "not-row-owner");
    assert_all(&world.say("org:member", "other", &deletion()), 9, "not-row-owner");
    assert!(world.say("org:member", "mine", &deletion()).is_empty());
    assert!(!world.has("mine") && world.has("other"));

    assert_all(&world.say("org:member", "new", &new_row("new", "ada")), 7, "not-row-owner");
    let ownerless: Vec<_> =
        new_row("new", ME).into_iter().filter(|(cell, _)| *cell != "email").collect();
    assert_all(&world.say("org:member", "new", &ownerless), 6, "not-row-owner");
    assert!(world.say("org:member", "new", &new_row("new", ME)).is_empty());
    assert_eq!(world.cell("new", "email"), Some(ME.into()));
}

/// An owner that is sent and will not be there makes nobody an owner.
#[test]
fn an_owner_counts_if_the_row_gets_it() {
    let mut world = World::new();
    let mut changes = Changes::new();
    let client = ClientId::from_unique_id("client");
    let (late, early) = (Hlc::new(NOW + 500, 0, client), Hlc::new(NOW - 500_000, 0, client));
    // Earlier than the tombstone of the deleted row.
    changes.set_cell("users", "gone", "email", Some(ME.into()), early);
    changes.set_cell("users", "gone", "name", Some("B".into()), late);
    let effects = world.receive(Some("org:member"), &content_diff(&changes));
    assert_eq!(effects.refused.len(), 1);
    assert!(!world.has("gone"));

    // Of a type that no string's cell may have: refused by the schema.
    let mut cells = new_row("new", ME);
    cells[2].1 = Some(Cell::Number(1.0));
    let refused = world.say("org:member", "new", &cells);
    assert_eq!(refused.len(), 7, "{refused:?}");
    assert!(!world.has("new"));
}

/// A cell of a message: where, what, and how many milliseconds from now.
type Sent = ((&'static str, &'static str, &'static str), Option<Cell>, i64);

fn sent() -> impl Strategy<Value = Sent> {
    let tables = prop_oneof![9 => Just("users"), 1 => Just("other"), 1 => Just("")];
    let rows = prop::sample::select(vec!["mine", "other", "gone", "new", ""]);
    let cells = prop::sample::select(vec![
        "id",
        "orgId",
        "email",
        "name",
        "role",
        "age",
        "active",
        "createdAt",
        "version",
        "x",
    ]);
    let value = prop_oneof![
        2 => Just(None::<Cell>),
        3 => prop::sample::select(vec![ME, "ada", "org_1", "mine", "other", "new", "admin", ""])
            .prop_map(|text| Some(Cell::from(text))),
        1 => (0..3_i32).prop_map(|n| Some(Cell::Number(f64::from(n)))),
        1 => any::<bool>().prop_map(|flag| Some(Cell::Bool(flag))),
        1 => Just(Some(Cell::Null)),
    ];
    let at = prop_oneof![4 => 0_i64..1_000, 1 => -3_000_i64..0];
    ((tables, rows, cells), value, at)
}

/// A message: cells, whether whole rows are deleted or made beside them, values and containers; and whether it is sent
/// unasked or as the answer to what the server asks.
#[derive(Debug, Clone)]
struct Message {
    cells: Vec<Sent>,
    whole: Option<(&'static str, bool)>,
    value: bool,
    container: bool,
    answer: bool,
}

fn message() -> impl Strategy<Value = Message> {
    let whole = prop::option::of((
        prop::sample::select(vec!["mine", "other", "gone", "new"]),
        any::<bool>(),
    ));
    let rarely = || prop::bool::weighted(0.1);
    let cells = prop::collection::vec(sent(), 0..12);
    (cells, whole, rarely(), rarely(), any::<bool>()).prop_map(
        |(cells, whole, value, container, answer)| Message {
            cells,
            whole,
            value,
            container,
            answer,
        },
    )
}

impl Message {
    fn changes(&self, now: u64) -> Changes {
        let client = ClientId::from_unique_id("client");
        let mut changes = Changes::new();
        if let Some((row, deleted)) = self.whole {
            let cells = if deleted { deletion() } else { new_row(row, ME) };
            for (cell, value) in cells {
                changes.set_cell("users", row, cell, value, Hlc::new(now, 0, client));
            }
        }
        for (n, ((table, row, cell), value, at)) in self.cells.iter().enumerate() {
            let hlc = Hlc::new(now.saturating_add_signed(*at), u32::try_from(n).unwrap(), client);
            changes.set_cell(*table, *row, *cell, value.clone(), hlc);
        }
        let hlc = Hlc::new(now + 1, 0, client);
        if self.value {
            changes.set_value("v", Some("x".into()), hlc);
        }
        if self.container {
            let row = mergeable_store::Container::Row("users".into(), "mine".into());
            changes.set_container(&row, hlc);
        }
        changes
    }

    /// Sends it, in answer to whatever the server asks until it asks no more.
    fn send(&self, world: &mut World, role: Option<&str>) {
        world.now += 2_000;
        let changes = self.changes(world.now);
        if !self.answer {
            drop(world.receive(role, &content_diff(&changes)));
            return;
        }
        let stamps: Value = serde_json::from_str(&changes.to_json()).unwrap();
        let client = world.client.clone();
        // A client that comes is asked what it has.
        let mut frames = world.star.connect(world.now, client, &mut random()).send;
        for _ in 0..8 {
            let Some(reply) = frames.drain(..).find_map(|out| answer(&out.frame, &stamps)) else {
                return;
            };
            frames = world.receive(role, &reply).send;
        }
    }
}

/// The forged answer to a request of the server's.
fn answer(frame: &str, stamps: &Value) -> Option<String> {
    let (_, message) = frame.split_once('\n')?;
    let message: Value = serde_json::from_str(message).ok()?;
    let body = match message[1].as_u64()? {
        // Hashes that nobody has, so that the server asks on.
        1 => serde_json::json!([1, 1]),
        4 | 5 => serde_json::json!([stamps[0], {}]),
        6 => stamps[0].clone(),
        7 => stamps[1].clone(),
        _ => return None,
    };
    Some(format!("\n{}", serde_json::json!([message[0], 0, body])))
}

/// Without what the predicate names.
fn without(
    content: &BTreeMap<[String; 3], String>,
    left_out: impl Fn(&[String; 3]) -> bool,
) -> BTreeMap<[String; 3], String> {
    content.iter().filter(|(at, _)| !left_out(at)).map(|(at, v)| (at.clone(), v.clone())).collect()
}

proptest! {
    #[test]
    fn a_role_without_rights_changes_nothing_whatever_it_sends(
        messages in prop::collection::vec(message(), 1..6),
        role in prop::sample::select(NOBODYS.to_vec()),
    ) {
        let mut world = World::new();
        let before = world.content();
        for message in &messages {
            message.send(&mut world, role);
            prop_assert_eq!(&world.content(), &before);
        }
    }

    #[test]
    fn a_role_with_a_few_cells_changes_those_of_rows_that_are_there(
        messages in prop::collection::vec(message(), 1..6),
    ) {
        let mut world = World::new();
        let few = |at: &[String; 3]| ["name", "age"].contains(&at[2].as_str());
        let before = without(&world.content(), few);
        for message in &messages {
            message.send(&mut world, Some("org:editor"));
            prop_assert_eq!(&without(&world.content(), few), &before);
        }
        prop_assert!(!world.has("gone") && !world.has("new"));
        prop_assert!(world.cell("mine", "name").is_some(), "a required cell is not cleared");
    }

    #[test]
    fn a_role_with_own_rows_leaves_those_of_others_as_they_are(
        messages in prop::collection::vec(message(), 1..6),
    ) {
        let mut world = World::new();
        let not_others = |at: &[String; 3]| at[1] != "other";
        let before = without(&world.content(), not_others);
        for message in &messages {
            message.send(&mut world, Some("org:member"));
            prop_assert_eq!(&without(&world.content(), not_others), &before);
            for row in ["mine", "gone", "new"] {
                let owner = world.cell(row, "email");
                prop_assert!(!world.has(row) || owner == Some(ME.into()), "{} {:?}", row, owner);
            }
        }
    }

    #[test]
    fn a_role_that_may_all_may_what_it_may_without_permissions(
        messages in prop::collection::vec(message(), 1..6),
    ) {
        let (mut with, mut free) = (World::new(), World::new());
        let mut users = (*free.users).clone();
        users.write = None;
        free.tables = MappedTables::new(&[Arc::new(users)]);
        for message in &messages {
            message.send(&mut with, Some("org:admin"));
            message.send(&mut free, Some("org:admin"));
            prop_assert_eq!(with.content(), free.content());
        }
    }
}
