//! What legacy's answer to a delivery means (design §5, "Outbox").

use http::StatusCode;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Create,
    Update,
    Delete,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Taken; the answer has the row, or none for a delete.
    Taken,
    /// Legacy has no such row any more.
    Gone,
    /// Refused for what it says: the edit is taken back.
    Refused,
    /// In conflict with what legacy has: looked at again before it is refused.
    Conflict,
    /// The credential is not accepted: all deliveries wait.
    NotAllowedIn,
    /// Not now.
    Later,
}

/// Classifies an answer.
pub(super) fn classify(asked: Asked, status: StatusCode) -> Meaning {
    match status.as_u16() {
        200..=299 => Meaning::Taken,
        404 | 410 if asked != Asked::Create => Meaning::Gone,
        401 | 407 => Meaning::NotAllowedIn,
        409 | 412 => Meaning::Conflict,
        408 | 425 | 429 | 500..=599 => Meaning::Later,
        400 | 403 | 404 | 405..=499 => Meaning::Refused,
        // 1xx never gets here; a redirect means that the base URL is not the API's own.
        _ => Meaning::Later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_meaning() {
        let table = [
            (Asked::Create, 201, Meaning::Taken),
            (Asked::Delete, 204, Meaning::Taken),
            (Asked::Delete, 404, Meaning::Gone),
            (Asked::Update, 404, Meaning::Gone),
            (Asked::Create, 404, Meaning::Refused),
            (Asked::Update, 400, Meaning::Refused),
            (Asked::Update, 403, Meaning::Refused),
            (Asked::Create, 422, Meaning::Refused),
            (Asked::Update, 401, Meaning::NotAllowedIn),
            (Asked::Update, 407, Meaning::NotAllowedIn),
            (Asked::Create, 409, Meaning::Conflict),
            (Asked::Update, 412, Meaning::Conflict),
            (Asked::Update, 302, Meaning::Later),
        ];
        for (asked, status, meaning) in table {
            assert_eq!(classify(asked, StatusCode::from_u16(status).unwrap()), meaning, "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(classify(Asked::Update, status), Meaning::Later, "{status}");
        }
    }
}
