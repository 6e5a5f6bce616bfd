//! Lists by a path's indexes, as its store changes.

use super::*;
use crate::resource::{ListQuery, store_rows};

/// What an index answers; it is what a pass over the rows answers.
async fn list(world: &World, question: &str) -> String {
    let users = world.users.clone();
    let query = ListQuery::parse(question, &users.query, &users.schema).unwrap();
    let read = move |path: PathView<'_>| {
        let indexes = path.indexes.of(&users.name).unwrap();
        let indexed = indexes.answer(&users, path.store, &query).map(|answer| answer.to_string());
        let scanned = users.answer_list(store_rows(path.store, &users.table), &query);
        (indexed, scanned.to_string())
    };
    let (indexed, scanned) = world.path().await.view(read).await.unwrap();
    assert_eq!(indexed.as_ref(), Some(&scanned));
    scanned
}

#[tokio::test]
async fn indexes_follow_mirrors_edits_and_deletions_and_are_made_at_load() {
    let world = World::new();
    world.apply(Some(user("Ann", 1.0)), read()).await;
    assert!(list(&world, "sort=name").await.contains("Ann"));

    let mut alice = world.client("alice").await;
    alice.set("name", "Zoe").await;
    let mut bob = world.client("bob").await;
    bob.sees("name", Some("Zoe")).await;
    assert!(list(&world, "role=member&sort=-name").await.contains("Zoe"));
    assert!(!list(&world, "sort=name").await.contains("Ann"));

    let loaded = World::on(world.storage.clone());
    assert!(list(&loaded, "role=member&sort=name").await.contains("Zoe"));

    // Delete wins: without a required cell nothing is left of the row.
    let edit = alice.engine.edit(now(), &mut random(), |tx| tx.del_cell("users", "u1", "email"));
    alice.send(edit.unwrap().1).await;
    bob.sees("name", None).await;
    assert!(!list(&world, "sort=name").await.contains("Zoe"));
}
