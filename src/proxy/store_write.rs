//! A REST write that the store answers, in the legacy API's own shape (stage `rampdown`).

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use serde_json::{Map, Value};

use super::exchange::ORIGIN_HEADER;
use super::problem::Problem;
use super::store_read::claim_of;
use crate::identity::Identity;
use crate::migration::{PathId, RowId, WriteKind};
use crate::resource::{Resource, RowCells};
use crate::storage::Actor;
use crate::sync::{RestWrite, StoreAnswer, StoreRefusal, Writer};

/// The longest key that names a request.
const MAX_KEY_BYTES: usize = 255;

/// What became of the store's turn.
pub(super) enum Turn {
    /// The request is answered.
    Over(Response<HttpBody>),
    /// Nothing has happened, and legacy is to do it: the word is one of a small fixed set.
    Legacy(Request<HttpBody>, &'static str),
}

/// A body that was read, or why it is not for the store.
pub(super) enum Content {
    /// The fields of a JSON object; none for a delete.
    Fields(Map<String, Value>),
    /// No JSON, or no object.
    Unreadable(Unreadable),
}

/// What is wrong with a body.
pub(super) enum Unreadable {
    Syntax,
    NoObject,
}

/// Why a request is not for the store whatever its body holds.
pub(super) fn unfit(
    request: &Request<HttpBody>,
    write: &WriteKind,
    max_body_bytes: usize,
) -> Option<&'static str> {
    let headers = request.headers();
    if is_cross_origin(request) {
        // Only legacy knows which origins it allows.
        return Some("cors");
    }
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        return Some("query");
    }
    if headers.get(KEY).is_some_and(|key| key.is_empty() || key.len() > MAX_KEY_BYTES) {
        return Some("key");
    }
    if matches!(write, WriteKind::Delete(_)) {
        return (!request.body().is_end_stream()).then_some("body");
    }
    if !is_json(headers) {
        return Some("media-type");
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Some("coded");
    }
    match request.body().size_hint().exact() {
        None => Some("length"),
        Some(length) if length > max_body_bytes as u64 => Some("body-too-long"),
        Some(_) => None,
    }
}

/// Whether a browser asks from a page of another origin. A page of the same one sends its origin with every write.
fn is_cross_origin(request: &Request<HttpBody>) -> bool {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return false };
    let own = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let own = own.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    // Who ends TLS before crossfade is its own matter: the scheme does not count.
    origin.is_none_or(|(_, authority)| !own.is_some_and(|own| own.eq_ignore_ascii_case(authority)))
}

/// Whether the body is said to be JSON (RFC 6839), in UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(one), None) = (types.next(), types.next()) else { return false };
    let Ok(text) = one.to_str() else { return false };
    let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    let json = essence
        .strip_prefix("application/")
        .is_some_and(|kind| kind == "json" || kind.ends_with("+json"));
    json && parts
        .all(|parameter| matches!(parameter.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\""))
}

const KEY: &str = "idempotency-key";

/// Reads a body.
pub(super) fn content(write: &WriteKind, body: &[u8]) -> Content {
    if matches!(write, WriteKind::Delete(_)) {
        return Content::Fields(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Content::Fields(fields),
        Ok(_) => Content::Unreadable(Unreadable::NoObject),
        Err(_) => Content::Unreadable(Unreadable::Syntax),
    }
}

/// The path that a session may open.
pub(super) fn path_of(resource: &Resource, identity: &Identity) -> Option<PathId> {
    resource.path.from_claims(|claim| claim_of(identity, claim)).ok()
}

/// The write that a request asks for.
pub(super) fn rest_write(
    resource: &Arc<Resource>,
    kind: WriteKind,
    fields: Map<String, Value>,
    (identity, path): (&Identity, PathId),
    headers: &HeaderMap,
) -> RestWrite {
    let actor = Actor {
        user: identity.user.as_str().to_owned(),
        org_id: identity.org_id.clone(),
        org_role: identity.org_role.clone(),
    };
    let permissions = identity.permissions.clone();
    let writer = Arc::new(Writer { permissions, ..Writer::new(actor) });
    let key = headers.get(KEY).map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
    RestWrite { resource: resource.clone(), kind, fields, path, writer, key }
}

/// The answer in legacy's shape.
pub(super) fn response(resource: &Resource, answer: StoreAnswer) -> Response<HttpBody> {
    let mut response = match answer {
        StoreAnswer::Created(row, now) => created(resource, &row, &now),
        StoreAnswer::Repeated(row, now) => {
            let mut response = created(resource, &row, &now);
            response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
            response
        }
        StoreAnswer::Updated(now) => row_response(resource, StatusCode::OK, &now),
        StoreAnswer::Deleted => status(StatusCode::NO_CONTENT),
        StoreAnswer::Refused(refusal) => refused(resource, &refusal),
        StoreAnswer::Invalid(text) => invalid(resource, &text),
        StoreAnswer::NotKept(text) => {
            let title = "The write could not be kept";
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store-write", title)
                .detail(text)
                .remedy("look whether it was done, and send it again")
                .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
                .into_response();
        }
    };
    response.headers_mut().insert(ORIGIN_HEADER, HeaderValue::from_static("sync"));
    response
}

/// The answer to a body that cannot be read.
pub(super) fn unreadable(resource: &Resource, why: &Unreadable) -> Response<HttpBody> {
    let mut response = match why {
        Unreadable::Syntax => {
            error(resource, StatusCode::BAD_REQUEST, "bad_json", "the body is not JSON")
        }
        Unreadable::NoObject => invalid(resource, "the body must be a JSON object"),
    };
    response.headers_mut().insert(ORIGIN_HEADER, HeaderValue::from_static("sync"));
    response
}

/// The answer to a write that has to go to legacy, which is still owed an earlier one of its row.
pub(super) fn owed_first() -> Response<HttpBody> {
    let title = "An earlier write of this row is still on its way to the API";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "row-owed", title)
        .detail("this one can be done by the API alone, and must not overtake it")
        .remedy("send it again in a moment; `crossfade outbox list` tells what is owed")
        .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        .into_response()
}

fn created(resource: &Resource, row: &RowId, now: &RowCells) -> Response<HttpBody> {
    let mut response = row_response(resource, StatusCode::CREATED, now);
    let location = resource.routes.get.path.with_id(row);
    if let Some(location) = location.and_then(|path| HeaderValue::from_str(&path).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn row_response(resource: &Resource, status: StatusCode, now: &RowCells) -> Response<HttpBody> {
    // Ids are never legacy's to make where the store answers writes: the row has its own in its cell.
    json(status, &resource.answer_get(now, &resource.row_id(now)))
}

fn refused(resource: &Resource, refusal: &StoreRefusal) -> Response<HttpBody> {
    match refusal {
        StoreRefusal::Denied(reason) => {
            error(resource, StatusCode::FORBIDDEN, "forbidden", &format!("not allowed: {reason}"))
        }
        StoreRefusal::Taken(cell) => {
            let (code, text) = (format!("{cell}_taken"), format!("another row has this {cell}"));
            error(resource, StatusCode::CONFLICT, &code, &text)
        }
        StoreRefusal::NoSuchRow => {
            error(resource, StatusCode::NOT_FOUND, "not_found", "there is no such row")
        }
        StoreRefusal::Unfit(cell) => {
            invalid(resource, &format!("`{cell}` does not fit, or is too long"))
        }
    }
}

fn invalid(resource: &Resource, text: &str) -> Response<HttpBody> {
    error(resource, StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", text)
}

/// A refusal in legacy's shape, where that is told; as a problem otherwise.
fn error(resource: &Resource, status: StatusCode, code: &str, text: &str) -> Response<HttpBody> {
    match resource.envelope.wrap_error(code, text) {
        Some(body) => json(status, &body),
        None => Problem::new(status, "store-refused", "The write is refused")
            .detail(format!("{code}: {text}"))
            .into_response(),
    }
}

fn json(status: StatusCode, body: &Value) -> Response<HttpBody> {
    let mut response = Response::new(HttpBody::from(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn status(status: StatusCode) -> Response<HttpBody> {
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(
        headers: &[(&'static str, &'static str)],
        uri: &str,
        body: &'static str,
    ) -> Request<HttpBody> {
        let mut request = Request::new(HttpBody::from(body));
        *request.uri_mut() = uri.parse().unwrap();
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("app.test"));
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    type Headers = &'static [(&'static str, &'static str)];

    const JSON: (&str, &str) = ("content-type", "application/json; charset=UTF-8");

    #[test]
    fn what_only_legacy_can_read_is_not_for_the_store() {
        let why =
            |headers: &[_], uri, body| unfit(&request(headers, uri, body), &WriteKind::Create, 16);
        assert_eq!(why(&[JSON], "/users", "{}"), None);
        assert_eq!(why(&[JSON, ("origin", "https://App.test")], "/users", "{}"), None);
        assert_eq!(why(&[JSON, ("idempotency-key", "k")], "/users", "{}"), None);
        let table: [(Headers, &str, &str, &str); 9] = [
            (&[JSON, ("origin", "https://other.test")], "/users", "{}", "cors"),
            (&[JSON, ("origin", "null")], "/users", "{}", "cors"),
            (&[JSON], "/users?notify=1", "{}", "query"),
            (&[JSON, ("idempotency-key", "")], "/users", "{}", "key"),
            (&[], "/users", "{}", "media-type"),
            (&[("content-type", "text/plain")], "/users", "{}", "media-type"),
            (&[("content-type", "application/json; charset=latin1")], "/users", "{}", "media-type"),
            (&[JSON, ("content-encoding", "gzip")], "/users", "{}", "coded"),
            (&[JSON], "/users", "{\"name\": \"Adelaide\"}", "body-too-long"),
        ];
        for (headers, uri, body, expected) in table {
            assert_eq!(why(headers, uri, body), Some(expected));
        }
        let delete = WriteKind::Delete(RowId::new("u1"));
        assert_eq!(unfit(&request(&[], "/users/u1", ""), &delete, 16), None);
        assert_eq!(unfit(&request(&[], "/users/u1", "x"), &delete, 16), Some("body"));
    }

    fn users(text: impl Fn(String) -> String) -> Resource {
        let text = text(include_str!("../../docs/crossfade.example.toml").to_owned());
        let config =
            crate::config::Config::parse(&text, std::path::Path::new("."), "test").unwrap();
        (*config.resources[0]).clone()
    }

    async fn told(response: Response<HttpBody>) -> (u16, Value) {
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn refusals_have_the_shape_that_legacy_gives_them() {
        let users = users(|text| text.replace("#error_", "error_"));
        let refused = |refusal| response(&users, StoreAnswer::Refused(refusal));
        let error =
            |code: &str, text: &str| serde_json::json!({"error": {"code": code, "message": text}});
        let taken = told(refused(StoreRefusal::Taken("email".into()))).await;
        assert_eq!(taken, (409, error("email_taken", "another row has this email")));
        let missing = told(refused(StoreRefusal::NoSuchRow)).await;
        assert_eq!(missing, (404, error("not_found", "there is no such row")));
        let denied = told(refused(StoreRefusal::Denied("not-row-owner"))).await;
        assert_eq!(denied, (403, error("forbidden", "not allowed: not-row-owner")));
        let invalid =
            told(response(&users, StoreAnswer::Invalid("`age` is null".to_owned()))).await;
        assert_eq!(invalid, (422, error("validation_failed", "`age` is null")));
        let Content::Unreadable(why) = content(&WriteKind::Create, b"{") else { panic!("is read") };
        assert_eq!(
            told(unreadable(&users, &why)).await,
            (400, error("bad_json", "the body is not JSON"))
        );
    }

    #[tokio::test]
    async fn without_a_shape_of_its_own_a_refusal_is_a_problem() {
        let users = users(|text| text);
        let (status, body) =
            told(response(&users, StoreAnswer::Refused(StoreRefusal::NoSuchRow))).await;
        assert_eq!((status, &body["detail"]), (404, &"not_found: there is no such row".into()));
        let kept = response(&users, StoreAnswer::NotKept("the disk is full".to_owned()));
        assert_eq!(kept.headers()[header::RETRY_AFTER], "1");
        assert_eq!(told(kept).await.0, 503);
    }

    #[tokio::test]
    async fn a_new_row_is_answered_with_its_place() {
        let users = users(|text| text);
        let now: RowCells = [("id", crate::resource::Cell::from("u 1"))].into_iter().collect();
        let made = response(&users, StoreAnswer::Created(RowId::new("u 1"), now));
        assert_eq!(made.headers()[header::LOCATION], "/users/u%201");
        assert_eq!(made.headers()[ORIGIN_HEADER], "sync");
        let (status, body) = told(made).await;
        assert_eq!((status, &body["id"]), (201, &"u 1".into()));
        assert_eq!(response(&users, StoreAnswer::Deleted).status(), 204);
    }
}
