//! A REST write in stage `rampdown`: the store's turn, and when it is legacy's after all.

use axum::body::Body as HttpBody;
use axum::response::IntoResponse;
use http::{Request, Response, StatusCode};

use super::exchange::{Edge, Mapped, is_conditional, row_of};
use super::problem::Problem;
use super::store_write::{self, Content, Turn};
use crate::migration::{Origin, ResourceName, RowId, Stage, WriteKind};
use crate::sync::Elsewhere;

impl Edge {
    /// Whether a write may go to legacy, which in `rampdown` has to have the store's writes of its row first.
    pub(super) async fn may_go_to_legacy(
        &self,
        stage: Stage,
        resource: &ResourceName,
        row: Option<&RowId>,
    ) -> bool {
        match row.filter(|_| stage == Stage::RampDown) {
            Some(row) => self.0.writer.owes_nothing(resource, row).await,
            None => true,
        }
    }

    /// The store's answer to a write; or the write again, with which nothing has happened, if legacy is to do it (fail open).
    pub(super) async fn write_store(
        &self,
        request: Request<HttpBody>,
        mapped: &Mapped,
        write: &WriteKind,
    ) -> Turn {
        let (request, why) = match self.turn(request, mapped, write).await {
            Turn::Legacy(request, why) => (request, why),
            Turn::Over(response) => {
                self.record(mapped, Origin::Sync, response.status(), None);
                return Turn::Over(response);
            }
        };
        metrics::counter!("crossfade_write_fallback_total", "reason" => why).increment(1);
        if self.may_go_to_legacy(mapped.stage, &mapped.resource.name, row_of(write)).await {
            return Turn::Legacy(request, why);
        }
        let response = store_write::owed_first();
        self.record(mapped, Origin::Sync, response.status(), Some(why));
        Turn::Over(response)
    }

    async fn turn(&self, request: Request<HttpBody>, mapped: &Mapped, write: &WriteKind) -> Turn {
        let (resource, max_bytes) = (&mapped.resource, self.0.max_body_bytes);
        // Stopped and continued, or cut off from the database: a rollback may have been thrown meanwhile.
        if !self.0.stages.is_current() {
            return Turn::Legacy(request, "rollback-not-looked-at");
        }
        if is_conditional(request.headers()) {
            return Turn::Legacy(request, "conditional");
        }
        if let Some(why) = store_write::unfit(&request, write, max_bytes) {
            return Turn::Legacy(request, why);
        }
        let query = request.uri().query();
        let identity = self.0.authenticator.identify(request.headers(), query).await;
        let Some(identity) = identity else { return Turn::Legacy(request, "not-signed-in") };
        let Some(path) = store_write::path_of(resource, &identity) else {
            return Turn::Legacy(request, "no-path");
        };
        let (head, body) = request.into_parts();
        let Ok(body) = axum::body::to_bytes(body, max_bytes).await else {
            return Turn::Over(incomplete());
        };
        let fields = match store_write::content(write, &body) {
            Content::Fields(fields) => fields,
            Content::Unreadable(why) => return Turn::Over(store_write::unreadable(resource, &why)),
        };
        let who = (&identity, path);
        let asked = store_write::rest_write(resource, write.clone(), fields, who, &head.headers);
        match self.0.writer.write(asked).await {
            Ok(answer) => Turn::Over(store_write::response(resource, answer)),
            Err(Elsewhere(why)) => {
                Turn::Legacy(Request::from_parts(head, HttpBody::from(body)), why)
            }
        }
    }
}

fn incomplete() -> Response<HttpBody> {
    let title = "The body did not come whole";
    Problem::new(StatusCode::BAD_REQUEST, "request-incomplete", title).into_response()
}
