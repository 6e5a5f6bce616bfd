//! Two observations become one comparison.

use http::StatusCode;

use super::diff::{self, Found};
use super::headers::{comparable_header, promises_json};
use super::location::{Location, Trail};
use super::rules::Marked;
use super::{
    Difference, Document, ErrorSide, JsonType, Kind, Pointer, Reason, RuleHits, Rules, Shape,
    Unreadable, Verdict,
};
use crate::migration::{Answer, Body, Failure, Observation, Origin};

/// What both sides did with one read.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The existing API.
    pub legacy: Observation,
    /// The store.
    pub sync: Observation,
}

/// Both statuses; none where there was no answer.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct StatusPair {
    /// Legacy's status.
    pub legacy: Option<u16>,
    /// The store's status.
    pub sync: Option<u16>,
}

impl std::fmt::Display for StatusPair {
    /// `200/404`; a dash where there was no answer.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |status: Option<u16>| status.map_or("–".to_owned(), |code| code.to_string());
        write!(f, "{}/{}", text(self.legacy), text(self.sync))
    }
}

/// Two answers, judged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Comparison {
    /// The finding.
    pub verdict: Verdict,
    /// Both statuses.
    pub statuses: StatusPair,
    /// Where the answers differ, 256 places at most.
    pub differences: Vec<Difference>,
    /// How many more there are.
    pub more: u64,
    /// What each rule did, in the order of the settings; then what was equal without one, though it is
    /// written differently ([`EQUAL_INSTANTS`]), if there was any.
    pub rules: Vec<RuleHits>,
    /// Where one side wrote an integer beyond ±(2^53 − 1), which JavaScript cannot hold exactly;
    /// 16 places at most, by legacy's positions.
    pub unsafe_integers: Vec<Pointer>,
}

impl Comparison {
    /// Leaves out the differences that do not count, and judges by those that are left.
    pub(super) fn keep_only(&mut self, counts: impl Fn(&Difference) -> bool) {
        let before = self.differences.len();
        self.differences.retain(counts);
        // One that the statuses decided has no difference but theirs: it is kept, or nothing is left.
        if self.differences.len() < before {
            self.verdict = verdict_of(&self.differences);
        }
    }

    fn bare(verdict: Verdict, statuses: StatusPair) -> Self {
        Self {
            verdict,
            statuses,
            differences: Vec::new(),
            more: 0,
            rules: Vec::new(),
            unsafe_integers: Vec::new(),
        }
    }
}

/// Compares two answers to one read.
///
/// Statuses first: a side that could not be reached or says 500 and above is an `error`; 401 on
/// one side only is the token's doing; refused (403, 404, 410) by one side and answered by the
/// other is `overshare` or `undershare`. Two refusals with one status agree if their error codes
/// do; their messages do not count. Otherwise chosen headers and the bodies are compared. Rows
/// that only the store lists are an `overshare`, rows that only legacy lists an `undershare`; both
/// at once, as when a page is cut differently, are a `mismatch`.
#[must_use]
pub fn compare(legacy: &Observation, sync: &Observation, rules: &Rules) -> Comparison {
    let statuses = StatusPair { legacy: status(legacy), sync: status(sync) };
    match (&legacy.outcome, &sync.outcome) {
        (Ok(l), Ok(s)) => answers(l, s, statuses, rules),
        (l, s) => {
            Comparison::bare(without_answer(l.as_ref().err(), s.as_ref().err(), statuses), statuses)
        }
    }
}

fn status(observation: &Observation) -> Option<u16> {
    observation.outcome.as_ref().ok().map(|answer| answer.status.as_u16())
}

/// At least one side has no answer.
fn without_answer(
    legacy: Option<&Failure>,
    sync: Option<&Failure>,
    statuses: StatusPair,
) -> Verdict {
    let failures = [legacy, sync];
    let any = |wanted: fn(&Failure) -> bool| failures.into_iter().flatten().any(wanted);
    if any(|failure| *failure == Failure::Shed) {
        Verdict::Shed
    } else if matches!(legacy, Some(Failure::Timeout(_))) {
        Verdict::Timeout(Origin::Legacy)
    } else if matches!(sync, Some(Failure::Timeout(_))) {
        Verdict::Timeout(Origin::Sync)
    } else if any(|failure| matches!(failure, Failure::Unavailable(_))) {
        Verdict::Incomparable(Reason::Unavailable)
    } else {
        let failed = |status: Option<u16>| status.is_none_or(|code| code >= 500);
        match (legacy, sync, failed(statuses.legacy), failed(statuses.sync)) {
            (Some(_), Some(_), ..) => Verdict::Error(ErrorSide::BothSame),
            (_, _, true, true) => Verdict::Error(ErrorSide::BothDifferent),
            (_, _, true, false) => Verdict::Error(ErrorSide::LegacyOnly),
            _ => Verdict::Error(ErrorSide::SyncOnly),
        }
    }
}

fn answers(legacy: &Answer, sync: &Answer, statuses: StatusPair, rules: &Rules) -> Comparison {
    if let Some(verdict) = verdict_of_statuses(legacy.status, sync.status) {
        let mut comparison = Comparison::bare(verdict, statuses);
        if verdict.wants_settling() {
            comparison.differences.push(status_difference());
        }
        return comparison;
    }
    let mut differences = Vec::new();
    if legacy.status != sync.status {
        differences.push(status_difference());
    }
    let refused = legacy.status.is_client_error();
    if !refused {
        differences.extend(rules.headers().filter_map(|name| header(legacy, sync, name)));
    }
    let (mut found, marked, reason) = match bodies(legacy, sync, rules, refused) {
        Ok((found, marked)) => (found, marked, None),
        Err(reason) => (Found::default(), None, Some(reason)),
    };
    differences.append(&mut found.differences);
    let verdict = match reason {
        Some(reason) if differences.is_empty() => Verdict::Incomparable(reason),
        _ => verdict_of(&differences),
    };
    let hits = marked.map(|sides| hits(rules, &found, &sides)).unwrap_or_default();
    Comparison {
        verdict,
        statuses,
        differences,
        more: found.more,
        rules: hits,
        unsafe_integers: found.unsafe_integers,
    }
}

/// Stands, beside the names of rules, for instants that are equal in two spellings.
pub const EQUAL_INSTANTS: &str = "equal instants";

/// What each rule did.
fn hits(rules: &Rules, found: &Found, [l, s]: &[Marked; 2]) -> Vec<RuleHits> {
    let sum = |of: fn(&Marked) -> &[u64], place: usize| -> u64 {
        [l, s].into_iter().filter_map(|side| of(side).get(place)).sum()
    };
    let configured = rules.accounts().map(|(place, name)| RuleHits {
        rule: name.to_owned(),
        located: sum(|side| &side.located, place),
        hidden: found.hidden.get(place).copied().unwrap_or(0),
        covered: sum(|side| &side.covered, place),
        values: l.values + s.values,
    });
    let respelled = (found.respelled > 0).then(|| RuleHits {
        rule: EQUAL_INSTANTS.to_owned(),
        located: 2 * found.respelled,
        hidden: found.respelled,
        ..RuleHits::default()
    });
    configured.chain(respelled).collect()
}

/// What the statuses alone decide, if they do.
fn verdict_of_statuses(legacy: StatusCode, sync: StatusCode) -> Option<Verdict> {
    let hides = |status: StatusCode| matches!(status.as_u16(), 403 | 404 | 410);
    let unauthorized = |status| status == StatusCode::UNAUTHORIZED;
    match (legacy.as_u16() >= 500, sync.as_u16() >= 500) {
        (true, true) if legacy == sync => Some(Verdict::Error(ErrorSide::BothSame)),
        (true, true) => Some(Verdict::Error(ErrorSide::BothDifferent)),
        (true, false) => Some(Verdict::Error(ErrorSide::LegacyOnly)),
        (false, true) => Some(Verdict::Error(ErrorSide::SyncOnly)),
        _ if unauthorized(legacy) != unauthorized(sync) => {
            Some(Verdict::Incomparable(Reason::Token))
        }
        _ if hides(legacy) && sync.is_success() => Some(Verdict::Overshare),
        _ if legacy.is_success() && hides(sync) => Some(Verdict::Undershare),
        // Unequal statuses make all else incomparable, unless both mean success.
        _ if legacy != sync && !(legacy.is_success() && sync.is_success()) => {
            Some(Verdict::Mismatch)
        }
        _ => None,
    }
}

fn verdict_of(differences: &[Difference]) -> Verdict {
    if differences.is_empty() {
        return Verdict::Match;
    }
    let rows = |kind| differences.iter().any(|one| one.shape.kind == kind && one.shape.is_row());
    match (rows(Kind::Added), rows(Kind::Missing)) {
        (true, false) => Verdict::Overshare,
        (false, true) => Verdict::Undershare,
        _ => Verdict::Mismatch,
    }
}

fn status_difference() -> Difference {
    let types = (JsonType::Number, JsonType::Number);
    plain_difference(Location::Status, Kind::Value, types)
}

fn header(legacy: &Answer, sync: &Answer, name: &str) -> Option<Difference> {
    let (l, s) = (comparable_header(&legacy.headers, name), comparable_header(&sync.headers, name));
    let kind = match (&l, &s) {
        (l, s) if l == s => return None,
        (Some(_), None) => Kind::Missing,
        (None, Some(_)) => Kind::Added,
        _ => Kind::Value,
    };
    let found = |side: Option<String>| side.map_or(JsonType::Absent, |_| JsonType::String);
    Some(plain_difference(Location::Header(name.to_owned()), kind, (found(l), found(s))))
}

fn plain_difference(at: Location, kind: Kind, (legacy, sync): (JsonType, JsonType)) -> Difference {
    let shape = Shape { path: at.to_string(), kind, legacy, sync };
    Difference {
        legacy_at: (kind != Kind::Added).then(|| at.clone()),
        sync_at: (kind != Kind::Missing).then_some(at),
        again: shape.path.clone(),
        shape,
        alike: false,
    }
}

/// The bodies' differences, and what the rules found in both if both were compared whole.
fn bodies(
    legacy: &Answer,
    sync: &Answer,
    rules: &Rules,
    refused: bool,
) -> Result<(Found, Option<[Marked; 2]>), Reason> {
    let (l, s) = (whole(&legacy.body)?, whole(&sync.body)?);
    let at_root = |kind, types| {
        let difference = plain_difference(Location::Body(Trail::ROOT.legacy()), kind, types);
        let differences = vec![difference];
        Ok((Found { differences, ..Found::default() }, None))
    };
    let (mut l, mut s) = match (read(l)?, read(s)?) {
        (Readable::Json(l), Readable::Json(s)) => (l, s),
        _ if refused || legacy.body == sync.body => return Ok((Found::default(), None)),
        (Readable::Text, Readable::Text) => {
            if promises_json(&legacy.headers) || promises_json(&sync.headers) {
                return Err(Reason::NotJson);
            }
            return at_root(Kind::Value, (JsonType::Text, JsonType::Text));
        }
        (Readable::Empty, Readable::Empty) => return Ok((Found::default(), None)),
        (l, Readable::Empty) => return at_root(Kind::Missing, (l.json_type(), JsonType::Absent)),
        (Readable::Empty, s) => return at_root(Kind::Added, (JsonType::Absent, s.json_type())),
        (l, s) => return at_root(Kind::Type, (l.json_type(), s.json_type())),
    };
    if refused {
        return Ok((error_codes(&l, &s, rules), None));
    }
    let marked = [rules.locate(&mut l), rules.locate(&mut s)];
    Ok((diff::documents(&l, &s, rules), Some(marked)))
}

/// Where APIs put the code of an error: RFC 9457's `type`, and the common homes of `code`.
const ERROR_CODES: [&str; 4] = ["/code", "/error/code", "/errors/0/code", "/type"];

/// Two refusals: only their error codes are compared.
fn error_codes(legacy: &Document, sync: &Document, rules: &Rules) -> Found {
    let mut found = diff::documents(legacy, sync, rules);
    let is_code = |place: &Option<Location>| {
        place.as_ref().is_some_and(|at| ERROR_CODES.contains(&at.to_string().as_str()))
    };
    found.differences.retain(|one| is_code(&one.legacy_at) || is_code(&one.sync_at));
    found.more = 0;
    found
}

enum Readable {
    Empty,
    Json(Document),
    Text,
}

impl Readable {
    const fn json_type(&self) -> JsonType {
        match self {
            Self::Empty => JsonType::Absent,
            Self::Json(document) => JsonType::of(&document.root.json),
            Self::Text => JsonType::Text,
        }
    }
}

fn whole(body: &Body) -> Result<&[u8], Reason> {
    match body {
        Body::Whole(bytes) => Ok(bytes),
        Body::Truncated => Err(Reason::Truncated),
        Body::Encoded(_) => Err(Reason::Encoded),
    }
}

fn read(body: &[u8]) -> Result<Readable, Reason> {
    if body.trim_ascii().is_empty() {
        return Ok(Readable::Empty);
    }
    match Document::parse(body) {
        Ok(document) => Ok(Readable::Json(document)),
        Err(Unreadable::NotJson) => Ok(Readable::Text),
        Err(unreadable) => Err(unreadable.into()),
    }
}
