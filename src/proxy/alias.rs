//! Requests about a row that has another id in legacy than in the store: whichever of both they name, legacy is asked under
//! its own, and everything else knows the row by the store's.

use std::time::Duration;

use axum::body::Body as HttpBody;
use http::{Request, Uri};

use crate::migration::{Operation, OperationKind, RowId, WriteKind};
use crate::resource::{Resource, Route};
use crate::sync::Aliases;

/// How long a request waits for its ids to be looked up: a database that is slow must not make legacy slow. Then it goes as it
/// came.
const LOOK_UP: Duration = Duration::from_millis(5);

/// The operation under the store's id, and the request under legacy's.
pub(super) async fn under_its_ids(
    aliases: &Aliases,
    request: &mut Request<HttpBody>,
    resource: &Resource,
    mut operation: Operation,
) -> Operation {
    let Some((named, route)) = named(resource, &mut operation.kind) else { return operation };
    let Some((row, legacy_id)) = look_up(aliases, resource, named).await else { return operation };
    if let Some(id) = legacy_id.filter(|id| *id != *named)
        && let Some(path) = route.path.with_id(&id)
    {
        retarget(request, &path);
    }
    *named = row;
    operation
}

/// The row that a write to a route that is not mapped names, under the store's id.
pub(super) async fn row_of(aliases: &Aliases, resource: &Resource, named: RowId) -> RowId {
    match look_up(aliases, resource, &named).await {
        Some((row, _)) => row,
        None => named,
    }
}

/// The row that an operation names, and its route.
fn named<'a>(
    resource: &'a Resource,
    kind: &'a mut OperationKind,
) -> Option<(&'a mut RowId, &'a Route)> {
    if !resource.legacy_makes_ids() {
        return None;
    }
    let routes = &resource.routes;
    match kind {
        OperationKind::Get { row, .. } => Some((row, &routes.get)),
        OperationKind::Write(WriteKind::Update(row)) => Some((row, routes.update.as_ref()?)),
        OperationKind::Write(WriteKind::Delete(row)) => Some((row, routes.delete.as_ref()?)),
        OperationKind::Write(WriteKind::Create) | OperationKind::List { .. } => None,
    }
}

/// The row's id in the store, and the one that it has in legacy if that is another.
async fn look_up(
    aliases: &Aliases,
    resource: &Resource,
    named: &RowId,
) -> Option<(RowId, Option<RowId>)> {
    let looking = async {
        let row = aliases.row_of(resource, named).await?;
        let legacy_id = aliases.legacy_id(resource, &row).await?;
        Ok::<_, crate::storage::StorageError>((row, legacy_id))
    };
    match tokio::time::timeout(LOOK_UP, looking).await {
        Ok(Ok(ids)) => Some(ids),
        Ok(Err(_)) | Err(_) => {
            metrics::counter!("crossfade_aliases_not_looked_up_total").increment(1);
            None
        }
    }
}

/// The same request to another path; its query stays.
fn retarget(request: &mut Request<HttpBody>, path: &str) {
    let target = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = request.uri().clone().into_parts();
    let Ok(target) = target.parse() else { return };
    parts.path_and_query = Some(target);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_all_but_its_path() {
        for (uri, wanted) in [
            ("/users/a", "/users/7"),
            ("/users/a?x=1&y=%20", "/users/7?x=1&y=%20"),
            ("http://api.test/users/a?x=1", "http://api.test/users/7?x=1"),
        ] {
            let mut request = Request::builder().uri(uri).body(HttpBody::empty()).unwrap();
            retarget(&mut request, "/users/7");
            assert_eq!(request.uri().to_string(), wanted);
        }
    }
}
