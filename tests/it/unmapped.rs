//! Writes through crossfade to routes that it is not told of: what they did is read again.

use std::sync::{Mutex, MutexGuard};

use axum::response::Response;
use serde_json::{Value, json};

use crate::comparing::world::{World, answer, limited, page, row, section};

/// Rows of the API, and the requests for its list that it has had.
static ROWS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
static LISTS: Mutex<u64> = Mutex::new(0);

fn rows() -> MutexGuard<'static, Vec<(String, String)>> {
    ROWS.lock().unwrap()
}

fn api(method: &str, target: &str, _: &str) -> Response {
    let all = || rows().iter().map(|(id, name)| row(id, name)).collect::<Vec<_>>();
    match (method, target.split('?').next().unwrap()) {
        ("GET", "/users") => {
            *LISTS.lock().unwrap() += 1;
            answer(200, &page(&all()))
        }
        ("POST", "/users/import") => {
            rows().push(("u2".to_owned(), "Bob".to_owned()));
            answer(202, &json!({}))
        }
        ("POST", "/users/search") => answer(200, &page(&[])),
        ("POST", "/users/u1/archive") => {
            rows().retain(|(id, _)| id != "u1");
            answer(202, &json!({}))
        }
        ("GET", path) => {
            let id = path.strip_prefix("/users/").unwrap();
            let found = rows().iter().find(|(known, _)| known == id).cloned();
            found
                .map_or_else(|| answer(404, &json!({})), |(id, name)| answer(200, &row(&id, &name)))
        }
        _ => answer(405, &json!({})),
    }
}

async fn stored(world: &World) -> u64 {
    let paths: Value = serde_json::from_str(&world.admin("/sync").await).unwrap();
    paths["paths"][0]["rows"].as_u64().unwrap_or_default()
}

async fn until_stored(world: &World, rows: u64) {
    limited(async {
        while stored(world).await != rows {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_no_route_maps_is_followed_by_a_look_unless_it_is_harmless() {
    rows().push(("u1".to_owned(), "Ada".to_owned()));
    let world = World::start(api, |config| {
        let users = config["resource"][0].as_table_mut().unwrap();
        let harmless = vec!["POST /users/search"];
        section(users, "routes").insert("harmless".to_owned(), harmless.into());
    })
    .await;
    until_stored(&world, 1).await;
    let lists = *LISTS.lock().unwrap();
    let write = async |path: &str| {
        let answered = limited(world.request("POST", path).send()).await.unwrap();
        assert!(answered.status().is_success(), "{path}: {}", answered.status());
    };
    write("/users/search").await;
    // Not the row that it names was changed, but the list.
    write("/users/import").await;
    until_stored(&world, 2).await;
    let after_import = *LISTS.lock().unwrap();
    assert!(after_import > lists);
    // The row that it names is read again, and is gone.
    write("/users/u1/archive").await;
    until_stored(&world, 1).await;
    assert_eq!(*LISTS.lock().unwrap(), after_import, "no other row was asked for");
    let metrics = world.admin("/metrics").await;
    let asked = "crossfade_tail_asked_total{resource=\"users\"} 1";
    assert!(metrics.contains(asked), "{metrics}");
    world.stop().await;
}
