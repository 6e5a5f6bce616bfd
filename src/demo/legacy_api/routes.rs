//! Routes to answers.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::answer::ApiError;
use super::faults::{FaultHandle, falsify};
use super::identity::{Authenticator, Identity, WriteAction};
use super::query::UserQuery;
use super::seed::iso_ms;
use super::table::UsersTable;
use super::user::{self, Invalid, NewUser, User};
use crate::clock::{SharedClock, SharedEntropy};

const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the handlers share.
pub(super) struct Api {
    pub(super) table: UsersTable,
    pub(super) authenticator: Authenticator,
    pub(super) faults: FaultHandle,
    pub(super) clock: SharedClock,
    pub(super) entropy: SharedEntropy,
}

type Shared = State<Arc<Api>>;
type RowPath = Result<Path<String>, PathRejection>;

/// The whole API, without a socket.
pub(super) fn router(api: Arc<Api>) -> Router {
    // `/users/me` is fixed text and so goes before `/users/{id}`. Nobody has the id `me`: a change of
    // it finds no such user, as any other id that is not there.
    let users = Router::new()
        .route("/users", get(list).post(create))
        .route("/users/me", get(me).patch(update).delete(remove))
        .route("/users/{id}", get(one).patch(update).delete(remove))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .route_layer(middleware::from_fn_with_state(api.clone(), guard));
    Router::new()
        .route("/healthz", get(healthz))
        .merge(users)
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .with_state(api)
}

async fn no_route() -> ApiError {
    ApiError::NotFound("no such route")
}

/// Faults first, then identity: what a broken API does comes before what a sound one would.
async fn guard(State(api): Shared, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let faults = api.faults.get();
    if !faults.delay.is_zero() {
        tokio::time::sleep(faults.delay).await;
    }
    if let Some(status) = faults.status {
        return Err(ApiError::Fault(status));
    }
    let identity = api.authenticator.identify(request.headers()).await?;
    request.extensions_mut().insert(identity);
    Ok(next.run(request).await)
}

async fn healthz(State(api): Shared) -> Result<Response, ApiError> {
    api.table.ping().await?;
    Ok(Json(json!({"status": "ok"})).into_response())
}

async fn list(
    State(api): Shared,
    Extension(identity): Extension<Identity>,
    pairs: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(pairs) = pairs.map_err(|error| Invalid(error.body_text()))?;
    let query = UserQuery::parse(&pairs)?;
    let (limit, offset) = (query.limit, query.offset);
    let page = api.table.list(identity.read_scope(), query).await?;
    let body = json!({"data": page.users, "total": page.total, "limit": limit, "offset": offset});
    Ok(read_answer(&api, body))
}

async fn me(Extension(identity): Extension<Identity>) -> Result<Response, ApiError> {
    match identity {
        Identity::User(caller) => {
            let body = json!({"userId": caller.user, "orgId": caller.org, "role": caller.role});
            Ok(Json(body).into_response())
        }
        Identity::Service => {
            Err(ApiError::Forbidden("the service credential is nobody".to_owned()))
        }
    }
}

async fn one(
    State(api): Shared,
    Extension(identity): Extension<Identity>,
    id: RowPath,
) -> Result<Response, ApiError> {
    let user = api.table.get(identity.read_scope(), row_id(id)?).await?.ok_or(NO_USER)?;
    Ok(read_answer(&api, json!(user)))
}

async fn create(
    State(api): Shared,
    Extension(identity): Extension<Identity>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let fields = user::read_new_user(read_json(&headers, body)?)?;
    let org = identity.write_org(WriteAction::Create)?;
    if fields.org_id.as_ref().is_some_and(|given| *given != org) {
        return Err(ApiError::Forbidden(
            "a user is created in the caller's own organisation".to_owned(),
        ));
    }
    let user = new_user(&api, fields, org);
    api.table.insert(user.clone()).await?;
    let location = [(header::LOCATION, format!("/users/{}", user.id))];
    Ok((StatusCode::CREATED, location, Json(user)).into_response())
}

async fn update(
    State(api): Shared,
    Extension(identity): Extension<Identity>,
    id: RowPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let change = user::read_change(read_json(&headers, body)?)?;
    let org = identity.write_org(WriteAction::Update)?;
    let user = api.table.update(org, row_id(id)?, change, now(&api)).await?.ok_or(NO_USER)?;
    Ok(Json(user).into_response())
}

async fn remove(
    State(api): Shared,
    Extension(identity): Extension<Identity>,
    id: RowPath,
) -> Result<StatusCode, ApiError> {
    let org = identity.write_org(WriteAction::Delete)?;
    if api.table.delete(org, row_id(id)?).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(NO_USER)
    }
}

const NO_USER: ApiError = ApiError::NotFound("no such user");

type Body = Result<axum::body::Bytes, axum::extract::rejection::BytesRejection>;

/// An id that cannot be decoded is nobody's.
fn row_id(path: RowPath) -> Result<String, ApiError> {
    path.map(|Path(id)| id).map_err(|_| NO_USER)
}

fn read_json(headers: &HeaderMap, body: Body) -> Result<Value, ApiError> {
    let bytes = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::BodyTooLarge(MAX_BODY_BYTES),
        _ => ApiError::BadJson,
    })?;
    if !is_json(headers) {
        return Err(Invalid("send the body as application/json".to_owned()).into());
    }
    serde_json::from_slice(&bytes).map_err(|_| ApiError::BadJson)
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    media_type.is_some_and(|media_type| {
        media_type == "application/json"
            || (media_type.starts_with("application/") && media_type.ends_with("+json"))
    })
}

fn read_answer(api: &Api, mut body: Value) -> Response {
    if let Some(wrong) = &api.faults.get().wrong_field {
        falsify(&mut body, wrong);
    }
    Json(body).into_response()
}

fn new_user(api: &Api, fields: NewUser, org_id: String) -> User {
    let at = now(api);
    User {
        id: fields.id.map_or_else(|| random_id(api), |id| id.0),
        org_id,
        email: fields.email.0,
        name: fields.name.0,
        role: fields.role,
        age: fields.age.map(|age| age.0),
        active: fields.active,
        created_at: at.clone(),
        updated_at: at,
        version: 1,
    }
}

fn random_id(api: &Api) -> String {
    format!("user_{:016x}{:016x}", api.entropy.next_u64(), api.entropy.next_u64())
}

fn now(api: &Api) -> String {
    iso_ms(i64::try_from(api.clock.now_ms()).unwrap_or(i64::MAX))
}
