//! Personal data and secrets, taken out before anything is stored.
//!
//! Deny by default: every string and number becomes a token of a keyed hash (HMAC-SHA-256, its
//! first 64 bits), so that two values can still be told apart or found equal. `null`, `true` and
//! `false` stay, as do values at paths that the resource's rules name as clear. Values under names
//! that mean a secret are dropped altogether.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::clock::Entropy;
use crate::compare::{Document, Json, Node};

/// What stands for a value that is not even kept as a token.
const DROPPED: &str = "<dropped>";

/// Turns values into tokens.
#[derive(Clone)]
pub struct Redactor {
    keyed: Hmac<Sha256>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// With a key of the caller's. Equal values have equal tokens under equal keys only.
    #[must_use]
    #[expect(clippy::missing_panics_doc, clippy::expect_used, reason = "HMAC takes any key length")]
    pub fn new(key: &[u8; 32]) -> Self {
        let keyed = <Hmac<Sha256> as KeyInit>::new_from_slice(key);
        Self { keyed: keyed.expect("HMAC takes keys of any length") }
    }

    /// With a random key that nobody knows: tokens of another process mean nothing here.
    #[must_use]
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Self::new(&key)
    }

    /// 64 bits in hex. `what` keeps apart values of different types with one spelling.
    fn hash(&self, what: &str, value: &str) -> String {
        let mut keyed = self.keyed.clone();
        keyed.update(what.as_bytes());
        keyed.update(&[0]);
        keyed.update(value.as_bytes());
        let mut hex = String::with_capacity(16);
        for byte in &keyed.finalize().into_bytes()[..8] {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }

    /// A string's token: `<string len=12 h=0123456789abcdef>`, its length in characters.
    #[must_use]
    pub fn string(&self, text: &str) -> String {
        format!("<string len={} h={}>", text.chars().count(), self.hash("string", text))
    }

    /// The token of a body that is not JSON, its length in bytes.
    #[must_use]
    pub fn bytes(&self, body: &[u8]) -> String {
        let hash = self.hash("text", &String::from_utf8_lossy(body));
        format!("<text bytes={} h={hash}>", body.len())
    }

    /// A number's token; `1` and `1.0` have the same.
    fn number(&self, number: &crate::compare::Number) -> String {
        format!("<number h={}>", self.hash("number", &number.to_string()))
    }

    /// An object key: field names stay, keys that look like data become tokens.
    #[must_use]
    pub fn key(&self, key: &str) -> String {
        if crate::compare::is_name(key) {
            key.to_owned()
        } else {
            format!("<key h={}>", self.hash("key", key))
        }
    }

    /// A JSON Pointer with keys that look like data as tokens; array positions stay.
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> String {
        let segment = |segment: &str| {
            // No digit at all is the empty text before the first slash.
            let is_position = segment.len() < 10 && segment.bytes().all(|b| b.is_ascii_digit());
            if is_position { segment.to_owned() } else { self.key(segment) }
        };
        pointer.split('/').map(segment).collect::<Vec<_>>().join("/")
    }

    /// A marked document ([`crate::compare::Rules::mark`]) with tokens for its values.
    #[must_use]
    pub fn document(&self, document: &Document) -> Value {
        self.node(document.root(), false)
    }

    /// The value of a scalar at a pointer, as [`Self::document`] would show it there.
    pub(super) fn leaf(&self, pointer: &str, node: &Node, clear: bool) -> Value {
        if pointer.split('/').any(names_secret) {
            return Value::from(DROPPED);
        }
        self.node(node, clear)
    }

    /// One marked node. `clear` says that a node above it may be kept in clear.
    fn node(&self, node: &Node, clear: bool) -> Value {
        let clear = clear || node.marks.is_clear();
        if node.marks.is_ignored() {
            return Value::from("<ignored>");
        }
        match &node.json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) if clear => Value::from(number.to_string()),
            Json::Number(number) => Value::from(self.number(number)),
            Json::String(text) if clear => Value::from(scrub(text)),
            Json::String(text) => Value::from(self.string(text)),
            Json::Array(items) => items.iter().map(|item| self.node(item, clear)).collect(),
            Json::Object(members) => {
                let member = |(key, node): &(Box<str>, Node)| {
                    let value = if names_secret(key) {
                        Value::from(DROPPED)
                    } else {
                        self.node(node, clear)
                    };
                    (self.key(key), value)
                };
                members.iter().map(member).collect()
            }
        }
    }

    /// A raw query string with tokens for its values; parameters that carry secrets are dropped.
    #[must_use]
    pub fn query(&self, query: &str) -> String {
        let parameter = |parameter: &str| match parameter.split_once('=') {
            Some((name, _)) if names_secret(name) || is_secret_parameter(name) => {
                format!("{}={DROPPED}", self.key(name))
            }
            Some((name, value)) => format!("{}={}", self.key(name), self.string(value)),
            None => self.key(parameter),
        };
        query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(parameter)
            .collect::<Vec<_>>()
            .join("&")
    }
}

/// Whether a field, header or parameter of this name holds a secret.
fn names_secret(name: &str) -> bool {
    const PARTS: [&str; 12] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "authorization",
        "cookie",
        "apikey",
        "api_key",
        "api-key",
        "__session",
        "__client",
    ];
    let name = name.to_ascii_lowercase();
    PARTS.iter().any(|part| name.contains(part))
}

/// Query parameters that carry secrets under short names.
fn is_secret_parameter(name: &str) -> bool {
    ["key", "code", "sig", "signature", "jwt", "auth", "state"]
        .iter()
        .any(|secret| name.eq_ignore_ascii_case(secret))
}

/// A text for people without what looks like a secret or an address: JWTs, what follows `Bearer`
/// or `Basic`, e-mail addresses, user information in URLs, and values of `name=value` pairs whose
/// name means a secret.
#[must_use]
pub fn scrub(text: &str) -> String {
    let mut after_scheme = false;
    let mut scrubbed = String::with_capacity(text.len());
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        let clean =
            if after_scheme && !word.is_empty() { DROPPED.to_owned() } else { word_of(word) };
        after_scheme = ["bearer", "basic"]
            .iter()
            .any(|scheme| word.trim_end_matches(':').to_ascii_lowercase().ends_with(scheme))
            || (after_scheme && word.is_empty());
        scrubbed.push_str(&clean);
        scrubbed.push_str(&piece[word.len()..]);
    }
    scrubbed
}

fn word_of(word: &str) -> String {
    let is_jwt = word
        .split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
        .any(|run| run.starts_with("eyJ") && run.matches('.').count() == 2);
    // An `@` is an address's, or ends the user information of a URL.
    if is_jwt || word.contains('@') {
        return DROPPED.to_owned();
    }
    let (start, sign) = match word.find(['=', ':']) {
        Some(at) => (&word[..at], &word[at..=at]),
        None => return word.to_owned(),
    };
    let name = start.rsplit(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c))).next();
    if name.is_some_and(names_secret) && word.len() > start.len() + 1 {
        return format!("{start}{sign}{DROPPED}");
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::compare::{RuleSettings, Rules};

    fn redacted(body: &Value, clear: &[&str]) -> Value {
        let clear = clear.iter().map(|path| (*path).to_owned()).collect();
        let rules = Rules::compile(&RuleSettings { clear, ..RuleSettings::default() }).unwrap();
        let mut document = Document::parse(body.to_string().as_bytes()).unwrap();
        rules.mark(&mut document);
        Redactor::new(&[7; 32]).document(&document)
    }

    #[test]
    fn values_become_tokens_and_equality_survives() {
        let out = redacted(
            &json!({"a": "Ada Lovelace", "b": "Ada Lovelace", "c": "x", "n": 1, "m": 1.0, "t": true, "z": null}),
            &[],
        );
        assert_eq!(out["a"], out["b"]);
        assert_ne!(out["a"], out["c"]);
        assert_eq!(out["n"], out["m"]);
        assert_eq!((&out["t"], &out["z"]), (&json!(true), &Value::Null));
        assert!(out["a"].as_str().unwrap().starts_with("<string len=12 h="));
        assert_eq!(out["a"].as_str().unwrap().len(), "<string len=12 h=>".len() + 16);
        let other_key = Redactor::new(&[8; 32]).string("Ada Lovelace");
        assert_ne!(out["a"], json!(other_key));
    }

    #[test]
    fn only_named_paths_stay_clear_and_secrets_never_do() {
        let body =
            json!({"data": [{"role": "admin", "age": 4, "password": "hunter2", "ada@x.test": 1}]});
        let out = redacted(&body, &["$.data[*].role", "$.data[*].password"]);
        assert_eq!(out["data"][0]["role"], json!("admin"));
        assert_eq!(out["data"][0]["password"], json!(DROPPED));
        assert!(!out.to_string().contains("ada@x.test"));
        let all = redacted(&body, &["$"]);
        assert_eq!(all["data"][0]["age"], json!("4"));
        assert_eq!(all["data"][0]["password"], json!(DROPPED));
    }

    #[test]
    fn queries_keep_names_only() {
        let redactor = Redactor::new(&[7; 32]);
        let out = redactor.query("role=admin&token=abc&key=k&flag&q=ada");
        assert!(out.starts_with("role=<string len=5 h="), "{out}");
        assert!(out.contains("&token=<dropped>&key=<dropped>&flag&q=<string len=3 h="), "{out}");
        assert_eq!(redactor.pointer("/data/3/user_2NxAbC9912/name").matches('<').count(), 1);
        assert_eq!(redactor.pointer(""), "");
    }

    #[test]
    fn texts_lose_what_looks_secret() {
        for (text, clean) in [
            ("rolled back: p99 over 2 s", "rolled back: p99 over 2 s"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer <dropped>"),
            ("by ada@example.test now", "by <dropped> now"),
            ("got eyJhbGciOi.eyJzdWIi.c2ln", "got <dropped>"),
            ("token=abc failed", "token=<dropped> failed"),
            ("http://u:p@host/ refused", "<dropped> refused"),
            ("http://127.0.0.1:3000/users refused", "http://127.0.0.1:3000/users refused"),
        ] {
            assert_eq!(scrub(text), clean);
        }
    }

    proptest! {
        #[test]
        fn no_string_of_a_body_comes_through(secret in "[a-z]{6,20}[A-Z][0-9]{6}", deep in any::<bool>()) {
            let body = if deep { json!([{"a": [secret]}]) } else { json!({(secret.clone()): secret}) };
            prop_assert!(!redacted(&body, &[]).to_string().contains(&secret));
        }

        #[test]
        fn scrubbing_any_text_never_panics(text in "\\PC{0,80}") {
            prop_assert!(scrub(&text).len() <= text.len() * DROPPED.len() + DROPPED.len());
        }
    }
}
