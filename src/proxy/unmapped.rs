//! Writes to routes under a resource's prefix that no route maps (`POST /users/42/activate`, `POST /users/import`): legacy
//! does them, and what they did is read again.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body as HttpBody;
use http::{Request, Response};

use super::alias;
use super::exchange::{Edge, count_unmapped};
use super::forward::{Tap, Tapped};
use super::store_write;
use crate::migration::RowId;
use crate::resource::Resource;
use crate::sync::tail::UnmappedWrite;

impl Edge {
    /// Forwards such a write. `row` is what the path names as a row, which it need not be.
    pub(super) async fn unmapped_write(
        &self,
        request: Request<HttpBody>,
        peer: SocketAddr,
        resource: Arc<Resource>,
        row: Option<RowId>,
    ) -> Response<HttpBody> {
        count_unmapped("unmapped-write");
        let stage = self.parts().stages.decide(&resource.name).effective;
        if !stage.writes_both() {
            let tap = self.passed_by(&resource.name);
            return self.parts().forwarder.forward(request, peer, Some(tap)).await;
        }
        if !self.may_go_to_legacy(stage, &resource.name, row.as_ref()).await {
            return store_write::owed_first();
        }
        let row = match row {
            Some(row) => Some(alias::row_of(self.parts().reader.aliases(), &resource, row).await),
            None => None,
        };
        let (headers, query) = (request.headers(), request.uri().query());
        let path = self.writer_path(headers, query, &resource, stage).await;
        let intents = &self.parts().intents;
        let of_rows = intents.open(&resource.name, None, path.clone());
        let of_row = async {
            match &row {
                Some(row) => Some(intents.open(&resource.name, Some(row.clone()), path).await),
                None => None,
            }
        };
        // Beside each other: the request waits for both no longer than for one.
        let (of_rows, of_row) = tokio::join!(of_rows, of_row);
        let sent_ms = self.parts().clock.now_ms();
        let write = UnmappedWrite { resource, row: row.zip(of_row), of_rows, sent_ms };
        let tail = self.parts().tail.clone();
        let sink = move |tapped: Tapped| tail.unmapped(write, &tapped);
        let tap = Tap { request_limit: 0, response_limit: 0, sink: Box::new(sink) };
        self.parts().forwarder.forward(request, peer, Some(tap)).await
    }
}
