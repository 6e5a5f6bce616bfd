//! An upstream's response, made into the one that the client gets.

use axum::body::Body;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{Method, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::ForwardConfig;
use super::body::{NoBody, ResponseBody};
use super::failure::NoAnswer;
use super::headers::{self, BadResponse};
use super::request::Asked;
use super::tap::{End, Watch};
use super::tunnel::Tunnels;

/// Makes `response` ready for the client, and joins the two connections if both change protocol.
pub(super) fn pass_on(
    mut response: Response<Incoming>,
    asked: Asked,
    config: &ForwardConfig,
    tunnels: &Tunnels,
    watch: &mut Option<Watch>,
) -> Result<Response<Body>, NoAnswer> {
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = asked.upgrade else {
            return Err(NoAnswer::Invalid(BadResponse(
                "it changes to a protocol that was not asked for",
            )));
        };
        tunnels.open(client, hyper::upgrade::on(&mut response));
    }
    let received = response.version();
    let (mut parts, incoming) = response.into_parts();
    headers::prepare_response(status, &mut parts.headers).map_err(NoAnswer::Invalid)?;
    if asked.version == Version::HTTP_2 {
        parts.headers.remove(CONNECTION);
    }
    if let Some(name) = &config.via {
        headers::add_via(&mut parts.headers, received, name);
    }
    // The server beneath writes the version that the client's connection speaks.
    parts.version = Version::HTTP_11;
    if let Some(watch) = watch {
        watch.head(status, &parts.headers);
    }
    let gate = asked.opener.and_then(|opener| opener.answered(status));
    let body = if has_no_body(&asked.method, status) {
        if let Some(mut watch) = watch.take() {
            match status {
                StatusCode::SWITCHING_PROTOCOLS => watch.end(End::Upgraded),
                _ => watch.complete(),
            }
        }
        let tells_length = status == StatusCode::NOT_MODIFIED
            && asked.version != Version::HTTP_2
            && parts.headers.contains_key(CONTENT_LENGTH);
        Body::new(NoBody { seen_empty: !tells_length })
    } else {
        ResponseBody::wrap(incoming, watch.take(), gate)
    };
    Ok(Response::from_parts(parts, body))
}

/// Responses that end with their head, whatever it says (RFC 9112 §6.3).
fn has_no_body(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD
        || matches!(
            status,
            StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        )
}
