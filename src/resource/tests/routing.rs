//! Requests find their operations, and nothing else does.

use http::Method;

use super::*;
use crate::migration::{OperationKind, RowId, WriteKind};
use crate::resource::{RouteTable, Routed};

fn table() -> RouteTable {
    let users = resource(&[
        ("#exclude = [\"/users/me\"]", "exclude = [\"/users/me\"]"),
        (
            "#harmless = [\"POST /users/search\"]",
            "harmless = [\"POST /users/search\", \"PUT /users/{id}/seen\"]",
        ),
    ]);
    let edits = [("\"users\"", "\"notes\""), (" /users", " /users/archive/notes")];
    RouteTable::new(&[users, resource(&edits)]).unwrap()
}

/// What a request is, in a word or two.
fn routed(method: &Method, path: &str) -> String {
    match table().match_request(method, path, "a=%20") {
        Routed::Mapped { resource, operation } => {
            assert_eq!(resource.name, operation.resource);
            let what = match operation.kind {
                OperationKind::List { query } => format!("list ?{query}"),
                OperationKind::Get { row, query } => format!("get {row} ?{query}"),
                OperationKind::Write(WriteKind::Create) => "create".to_owned(),
                OperationKind::Write(WriteKind::Update(row)) => format!("update {row}"),
                OperationKind::Write(WriteKind::Delete(row)) => format!("delete {row}"),
            };
            format!("{} {what}", resource.name)
        }
        Routed::Head { resource, route } => format!("{} head of {route}", resource.name),
        Routed::MethodUnmapped { resource } => format!("{} method", resource.name),
        Routed::UnmappedWriteUnder { resource, row } => {
            format!("{} write {}", resource.name, row.as_ref().map_or("?", RowId::as_str))
        }
        Routed::Unmapped => "unmapped".to_owned(),
    }
}

#[test]
fn mapped_routes_are_operations() {
    let cases = [
        (Method::GET, "/users", "users list ?a=%20"),
        (Method::GET, "/users/u_1", "users get u_1 ?a=%20"),
        (Method::GET, "/users/a%20b%C3%A4", "users get a bä ?a=%20"),
        (Method::GET, "/users/a+b", "users get a+b ?a=%20"),
        (Method::POST, "/users", "users create"),
        (Method::PATCH, "/users/u_1", "users update u_1"),
        (Method::DELETE, "/users/u_1", "users delete u_1"),
        (Method::GET, "/users/archive", "users get archive ?a=%20"),
        (Method::GET, "/users/archive/notes", "notes list ?a=%20"),
        (Method::GET, "/users/archive/notes/7", "notes get 7 ?a=%20"),
    ];
    for (method, path, expected) in cases {
        assert_eq!(routed(&method, path), expected, "{method} {path}");
    }
}

#[test]
fn what_is_not_mapped_passes_through() {
    let cases = [
        (Method::GET, "/", "unmapped"),
        (Method::GET, "/users/", "unmapped"),
        (Method::GET, "//users", "unmapped"),
        (Method::GET, "/Users", "unmapped"),
        (Method::GET, "/%75sers", "unmapped"),
        (Method::GET, "/users/u_1/", "unmapped"),
        (Method::GET, "/users/u_1/cars", "unmapped"),
        (Method::GET, "/users/a%2Fb", "unmapped"),
        (Method::GET, "/users/%ff", "unmapped"),
        (Method::GET, "/users/%zz", "unmapped"),
        (Method::GET, "/users/%", "unmapped"),
        (Method::GET, "/users/..", "unmapped"),
        (Method::GET, "/users/%2e%2e", "unmapped"),
        (Method::GET, "/users/me", "unmapped"),
        (Method::HEAD, "/users/me", "unmapped"),
        (Method::HEAD, "/users", "users head of GET /users"),
        (Method::HEAD, "/users/u_1", "users head of GET /users/{id}"),
        (Method::OPTIONS, "/users", "users method"),
        (Method::OPTIONS, "/people", "unmapped"),
        (Method::POST, "/people", "unmapped"),
        (Method::POST, "/users2", "unmapped"),
    ];
    for (method, path, expected) in cases {
        assert_eq!(routed(&method, path), expected, "{method} {path}");
    }
}

#[test]
fn unmapped_writes_under_a_resource_are_told_with_their_row() {
    let cases = [
        (Method::PUT, "/users/u_1", "users write u_1"),
        (Method::POST, "/users/u_1/activate", "users write u_1"),
        (Method::POST, "/users/a%20b/activate", "users write a b"),
        (Method::POST, "/users/", "users write ?"),
        (Method::PUT, "/users", "users write ?"),
        (Method::PATCH, "/users/me", "users write ?"),
        (Method::POST, "/users/me/avatar", "users write ?"),
        (Method::PATCH, "/users/a%2Fb", "users write ?"),
        (Method::PATCH, "/%75sers/u_1", "users write ?"),
        (Method::from_bytes(b"MERGE").unwrap(), "/users/u_1", "users write u_1"),
        (Method::PUT, "/users/archive/notes/7", "notes write 7"),
        (Method::POST, "/users/search", "unmapped"),
        (Method::PUT, "/users/u_1/seen", "unmapped"),
        (Method::POST, "/users/u_1/seen", "users write u_1"),
        (Method::PATCH, "/users/search", "users update search"),
    ];
    for (method, path, expected) in cases {
        assert_eq!(routed(&method, path), expected, "{method} {path}");
    }
}

#[test]
fn two_resources_cannot_have_one_route() {
    let clashes =
        RouteTable::new(&[users(), resource(&[("\"users\"", "\"people\"")])]).unwrap_err();
    assert_eq!(clashes.len(), 5);
    assert_eq!(clashes[0].to_string(), "`GET /users` of `people` is already a route of `users`");
}

#[test]
fn a_rows_url_leads_back_to_the_row() {
    let users = users();
    for id in ["u_1", "a b", "a/b", "%41", "ä?#", "+", "..."] {
        let path = users.routes.get.path.with_id(&RowId::new(id)).unwrap();
        let expected =
            if id.contains('/') { "unmapped".into() } else { format!("users get {id} ?a=%20") };
        assert_eq!(routed(&Method::GET, &path), expected);
    }
}
