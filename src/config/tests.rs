//! The example parses, the reference is complete, and every mistake is told with its place and remedy.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::resource::{CellId, RoleClaim, RolePermissions, RouteTable, WritableCells};

const EXAMPLE: &str = include_str!("../../docs/crossfade.example.toml");
const REFERENCE: &str = include_str!("../../docs/config.md");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/cf"), "crossfade.toml")
}

/// The example with its optional settings set.
fn full_example() -> String {
    let uncomment = |line: &'static str| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            setting
        }
        _ => line,
    };
    EXAMPLE.lines().map(uncomment).collect::<Vec<_>>().join("\n")
}

/// The example with `from`, which must be in it, replaced.
fn edited(from: &str, to: &str) -> String {
    assert_eq!(EXAMPLE.matches(from).count(), 1, "{from:?} must be in the example once");
    EXAMPLE.replace(from, to)
}

/// The problems of the example with `from` replaced.
fn problems(from: &str, to: &str) -> Vec<Problem> {
    parse(&edited(from, to)).unwrap_err().problems().to_vec()
}

/// The only problem of the example with `from` replaced, as people see it.
fn problem(from: &str, to: &str) -> String {
    let problems = problems(from, to);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].to_string()
}

#[test]
fn the_example_is_a_configuration_with_the_documented_defaults() {
    let config = parse(EXAMPLE).unwrap();
    assert_eq!(config.server.sync_mount, "/sync");
    assert_eq!(config.legacy.url.as_str(), "http://127.0.0.1:3000");
    assert_eq!(config.legacy.connect_timeout, Duration::from_secs(2));
    assert_eq!(config.storage.control, Database::File("/etc/cf/crossfade.db".into()));
    assert_eq!(config.admin.token, SecretRef::Env("CROSSFADE_ADMIN_TOKEN".into()));
    assert_eq!(config.compare.settle, [Duration::from_secs(1), Duration::from_secs(3)]);
    assert_eq!(config.identity.sync_token.ttl, Duration::from_secs(900));
    let FlagSource::File { path, reload } = &config.flags.source else { panic!("a file") };
    assert_eq!(
        (path.as_path(), *reload),
        (Path::new("/etc/cf/flags.json"), Duration::from_millis(250))
    );
    let users = &config.resources[0];
    assert_eq!(users.schema.cells().len(), 10);
    let order: Vec<_> = users.schema.cells().iter().map(|cell| &*cell.id).take(3).collect();
    assert_eq!(order, ["id", "orgId", "name"], "the order of the file, not of the alphabet");
    assert_eq!(users.version, Some(CellId::from("version")));
    assert!(RouteTable::new(&config.resources).is_ok());
}

#[test]
fn optional_settings_of_the_example_are_valid_too() {
    // Of each pair of alternatives one is taken out again.
    let text = full_example()
        .replace("jwt_key_file = \"clerk.pem\"\n", "")
        .replace("file = \"flags.json\"\n", "")
        .replace("auth_token = \"env:CROSSFADE_STORAGE_TOKEN\"\n", "");
    let config = parse(&text).unwrap_or_else(|error| panic!("{error}"));
    assert!(matches!(config.flags.source, FlagSource::Unleash(_)));
    assert_eq!(config.resources[0].compare.arrays.len(), 2);
    assert_eq!(config.resources[0].routes.exclude.len(), 1);
}

#[test]
fn the_reference_lists_exactly_the_keys_that_are_read() {
    let raw: raw::Settings = toml::from_str(&full_example()).unwrap();
    let mut read = BTreeSet::new();
    keys(&serde_json::to_value(raw).unwrap(), "", &mut read);
    let mut told = BTreeSet::new();
    let mut section = String::new();
    for line in REFERENCE.lines() {
        if let Some(title) = line.strip_prefix("## `") {
            section = title.replace(['[', ']', '`'], "");
        } else if let Some(row) = line.strip_prefix("| `") {
            told.insert(format!("{section}.{}", row.split('`').next().unwrap()));
        }
    }
    assert_eq!(told, read);
}

/// All keys of the serialized settings; a key that the example does not set is null, and fails.
fn keys(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    let Value::Object(object) = value else { panic!("{at} is no table") };
    for (name, value) in object {
        let key = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        let free = matches!(key.as_str(), "resource.claims" | "resource.row");
        match value {
            // Only the keys of cells, of rules and of roles differ from one to the other.
            Value::Null => {
                let varies = ["resource.cells.", "resource.compare.", "resource.write.roles."];
                assert!(varies.iter().any(|at_| at.starts_with(at_)), "the example lacks {key}");
            }
            Value::Object(cells) if key == "resource.cells" => {
                cells.values().for_each(|cell| keys(cell, "resource.cells.<name>", found));
            }
            Value::Object(roles) if key == "resource.write.roles" => {
                roles.values().for_each(|role| keys(role, "resource.write.roles.<role>", found));
            }
            Value::Object(_) if !free => keys(value, &key, found),
            Value::Array(elements) if elements.iter().any(Value::is_object) => {
                if key != "resource" {
                    found.insert(key.clone());
                }
                elements.iter().for_each(|element| keys(element, &key, found));
            }
            _ => {
                found.insert(key);
            }
        }
    }
}

/// The default that the reference gives for a key, if it gives a value.
fn documented_default(key: &str) -> Option<&'static str> {
    let (section, name) = key.rsplit_once('.').unwrap();
    let heading =
        |line: &str| line.strip_prefix("## `").map(|title| title.replace(['[', ']', '`'], ""));
    let start = REFERENCE.lines().position(|line| heading(line).as_deref() == Some(section))?;
    let mut rows = REFERENCE.lines().skip(start + 1).take_while(|line| heading(line).is_none());
    let row = rows.find(|line| line.starts_with(&format!("| `{name}` |")))?;
    row.split(" | ").nth(2)?.strip_prefix('`')?.strip_suffix('`')
}

#[test]
fn defaults_are_as_documented() {
    let (mut section, mut checked) = (String::new(), 0);
    let base = format!("{:?}", parse(EXAMPLE).unwrap());
    for (place, line) in EXAMPLE.lines().enumerate() {
        let setting = line.strip_prefix('#').unwrap_or(line);
        if let Some(header) = setting.strip_prefix('[').filter(|_| setting.ends_with(']')) {
            section = header.replace(['[', ']'], "");
        }
        let Some((name, value)) = setting.split_once(" = ").filter(|_| setting != line) else {
            continue;
        };
        let key = format!("{section}.{name}");
        // The alternative to the flag file cannot be set beside it, nor permissions without roles, and a tail is not
        // the same as none: they have tests of their own.
        let apart =
            ["flags.unleash", "resource.write", "resource.tail"].contains(&section.as_str());
        let Some(default) = documented_default(&key).filter(|_| !apart) else { continue };
        if default != value {
            continue;
        }
        let edited = EXAMPLE.lines().enumerate().map(|(at, line)| {
            if at == place || line == format!("#[{section}]") { &line[1..] } else { line }
        });
        let config =
            parse(&edited.collect::<Vec<_>>().join("\n")).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(format!("{config:?}"), base, "{key}");
        checked += 1;
    }
    assert!(checked >= 18, "{checked}");
}

#[test]
fn an_unleash_server_has_its_documented_defaults() {
    let unleash = "[flags.unleash]\nurl = \"http://127.0.0.1:4242/api\"\ntoken = \"env:T\"";
    let config = parse(&edited("[flags]\nfile = \"flags.json\"", unleash)).unwrap();
    let FlagSource::Unleash(unleash) = config.flags.source else { panic!("a server") };
    let text =
        |name: &str| documented_default(&format!("flags.unleash.{name}")).unwrap().to_owned();
    assert_eq!(format!("{:?}", unleash.app_name), text("app_name"));
    assert_eq!(format!("{:?}", unleash.environment), text("environment"));
    assert_eq!(unleash.poll.as_millis().to_string(), text("poll_ms"));
    assert_eq!(unleash.timeout.as_millis().to_string(), text("timeout_ms"));
}

#[test]
fn wrong_types_are_told_in_words_of_toml() {
    let cases = [
        (
            "[sync]",
            "[sync]\ndurability = \"fast\"",
            "sync.durability = \"fast\": unknown variant `fast`, expected `committed` or `relaxed`",
        ),
        (
            "#ttl_seconds = 900",
            "[identity.sync_token]\nttl_seconds = -1",
            "ttl_seconds = -1: invalid value: integer `-1`, expected a whole number",
        ),
        ("#exclude = [\"/users/me\"]", "exclude = \"/users/me\"", "expected a list"),
        (
            "# A complete",
            "outbox = 3\n# A complete",
            "outbox = 3: invalid type: integer `3`, expected a table",
        ),
        (
            "claims = { org = \"org_id\" }",
            "claims = { org = \"org\" }",
            "resource[users].claims.org = \"org\": unknown variant `org`, expected one of `org_id`, `org_slug`, `user_id`",
        ),
    ];
    for (from, to, expected) in cases {
        let text = edited(from, to)
            .replace("[outbox]\n", if to.starts_with("outbox") { "" } else { "[outbox]\n" });
        let error = parse(&text).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected:?} is not in {error}");
        assert_eq!(error.problems().len(), 1, "{error}");
    }
}

#[test]
fn an_unknown_key_is_told_with_its_neighbour() {
    assert_eq!(
        problem(
            "[server]\nlisten = \"127.0.0.1:8080\"",
            "[server]\nlisten = \"127.0.0.1:8080\"\nsync_muont = \"/s\""
        ),
        "crossfade.toml:8:1: server.sync_muont: unknown key `sync_muont`; did you mean `sync_mount`?"
    );
    let far = problem("param = \"sort\"", "param = \"sort\"\ncolour = 1");
    assert!(
        far.contains(
            "resource[users].query.sort.colour: unknown key `colour`; the keys here are param, keys"
        ),
        "{far}"
    );
    let section = problem("[sync]", "[sinc]");
    assert!(section.contains(": sinc: unknown key `sinc`; did you mean `sync`?"), "{section}");
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = edited(
        "url = \"http://127.0.0.1:3000\"",
        "ulr = \"http://127.0.0.1:3000\"\nconnect_timeout_ms = \"2s\"",
    )
    .replace("op = \"ge\"", "op = \"gte\"")
    .replace("listen = \"127.0.0.1:8081\"\n", "")
    .replace("get = \"GET /users/{id}\"", "get = \"GET /users\"");
    let error = parse(&text).unwrap_err();
    let keys: Vec<_> = error.problems().iter().map(|problem| problem.key.as_str()).collect();
    let expected = [
        "admin.listen",
        "legacy.ulr",
        "legacy.connect_timeout_ms",
        "resource[users].routes.get",
        "resource[users].query.filters[3].op",
    ];
    assert_eq!(keys, expected, "{error}");
    assert!(error.to_string().starts_with("5 problems in the configuration:\n"));
    assert!(
        error.to_string().contains(
            "legacy.connect_timeout_ms = \"2s\": invalid type: string \"2s\", expected a whole number, not negative"
        ),
        "{error}"
    );
    assert!(error.to_string().contains("unknown variant `gte`, expected one of"), "{error}");
}

#[test]
fn text_that_is_no_toml_is_placed() {
    let error = parse("[server]\nlisten = \n").unwrap_err();
    assert_eq!(error.problems()[0].place.map(|(line, _)| line), Some(2), "{error}");
    let secret = parse("[admin]\ntoken = \"hunter2\n").unwrap_err();
    assert!(!secret.to_string().contains("hunter2"), "{secret}");
}

#[test]
fn secrets_are_in_no_message() {
    let cases = [
        ("token = \"env:CROSSFADE_ADMIN_TOKEN\"", "token = [\"hunter2\"]"),
        ("token = \"env:CROSSFADE_ADMIN_TOKEN\"", "tokn = \"hunter2\""),
        ("\"env:CROSSFADE_SERVICE_TOKEN\"", "{ value = \"hunter2\" }"),
        ("\"env:CROSSFADE_SERVICE_TOKEN\"", "\"env:hunter2!\""),
        ("\"http://127.0.0.1:3000\"", "\"http://u:hunter2@127.0.0.1:3000\""),
        ("\"http://127.0.0.1:3000\"", "\"http://127.0.0.1:3000/?key=hunter2\""),
        ("\"file:crossfade.db\"", "\"libsql://h.example?authToken=hunter2\""),
        (
            "recordings = \"file:recordings.db\"",
            "auth_token = \"hunter2\"\nrecordings = \"file:r.db\"",
        ),
    ];
    for (from, to) in cases {
        let error = parse(&edited(from, to)).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let config = parse(&edited("\"env:CROSSFADE_SERVICE_TOKEN\"", "\"hunter2\"")).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn what_is_missing_is_told_at_its_section() {
    let error = parse("").unwrap_err();
    let keys: Vec<_> = error.problems().iter().map(|problem| problem.key.as_str()).collect();
    let expected = [
        "server.listen",
        "admin.listen",
        "admin.token",
        "legacy.url",
        "legacy.service_token",
        "storage.url",
        "storage.recordings",
        "identity.mode",
        "flags.file",
        "resource",
    ];
    assert_eq!(keys, expected);
    let placed = problem("jwt_key_file = \"clerk.pem\"\n", "");
    assert!(
        placed.contains("toml:29:2: identity.jwt_key_file: is missing: name the PEM file"),
        "{placed}"
    );
}

#[test]
fn each_mistake_has_its_message() {
    let cases = [
        (
            "\"127.0.0.1:8080\"",
            "\"localhost:8080\"",
            "server.listen = \"localhost:8080\": is no address and port",
        ),
        ("\"127.0.0.1:8081\"", "\"127.0.0.1:8080\"", "is server.listen as well"),
        ("#sync_mount = \"/sync\"", "sync_mount = \"/_crossfade/sync\"", "overlaps with own_mount"),
        ("#sync_mount = \"/sync\"", "sync_mount = \"/sync/\"", "without a slash at its end"),
        ("#own_mount = \"/_crossfade\"", "own_mount = \"/\"", "without a slash at its end"),
        (
            "\"http://127.0.0.1:3000\"",
            "\"ftp://127.0.0.1\"",
            "legacy.url = \"ftp://127.0.0.1\": has the scheme `ftp`",
        ),
        (
            "#connect_timeout_ms = 2000",
            "connect_timeout_ms = 0",
            "connect_timeout_ms = 0: must be from 1 to",
        ),
        ("\"file:recordings.db\"", "\"file:crossfade.db\"", "is storage.url as well"),
        ("\"file:recordings.db\"", "\"http://127.0.0.1:1\"", "must be a file of this process"),
        (
            "jwt_key_file = \"clerk.pem\"",
            "jwks_url = \"http://h.example/jwks\"",
            "not encrypted and leaves this machine",
        ),
        (
            "mode = \"clerk\"",
            "mode = \"insecure-dev\"",
            "jwt_key_file = \"clerk.pem\": has no use with",
        ),
        (
            "#authorized_parties = [\"http://localhost:3000\"]",
            "authorized_parties = [\"localhost:3000\"]",
            "identity.authorized_parties[0] = \"localhost:3000\": is no origin",
        ),
        ("#prefix = \"crossfade\"", "prefix = \"a b\"", "flags.prefix = \"a b\": must be 1 to 64"),
        ("file = \"flags.json\"", "", "flags.file: is missing"),
        ("#settle_ms = [1000, 3000]", "settle_ms = [3000, 1000]", "must ascend"),
        ("#settle_ms = [1000, 3000]", "settle_ms = [0]", "each from 1 to 600000"),
        (
            "#noise_sample = 0.01",
            "noise_sample = 1.5",
            "compare.noise_sample = 1.5: must be from 0 to 1",
        ),
        ("#noise_sample = 0.01", "noise_sample = nan", "must be from 0 to 1"),
        (
            "#parity_sample = 0.01",
            "parity_sample = -0.5",
            "compare.parity_sample = -0.5: must be from 0 to 1",
        ),
        ("#max_backoff_ms = 30000", "max_backoff_ms = 100", "less than initial_backoff_ms"),
        ("name = \"users\"", "name = \"Users\"", "must be 1 to 64 of a-z"),
        ("table = \"users\"", "table = \"a b\"", "must be 1 to 64 of A-Z"),
        (
            "\nid = \"id\"",
            "\nid = \"uid\"",
            "resource[users].id = \"uid\": there is no cell `uid`; the cells are active, age",
        ),
        ("\nid = \"id\"", "\nid = \"age\"", "must be a string or number with required = true"),
        ("version = \"version\"", "version = \"active\"", "a string that holds an ISO time"),
        ("create = \"client-id\"", "create = \"probe\"", "needs a cell with `unique = true`"),
        (
            "claims = { org = \"org_id\" }\n",
            "",
            "placeholder `{org}` has no claim: add `org = \"org_id\"`",
        ),
        (
            "row = { org = \"orgId\" }\n",
            "",
            "placeholder `{org}` has no field: add `org = \"<cell>\"`",
        ),
        (
            "row = { org = \"orgId\" }",
            "row = { org = \"orgid\" }",
            "resource[users].row.org = \"orgid\": there is no cell `orgid`",
        ),
        ("row = { org = \"orgId\" }", "row = { org = \"age\" }", "it says where the row lives"),
        ("path = \"org/{org}\"", "path = \"org/x{org}\"", "a placeholder fills a whole segment"),
        ("\"POST /users\"", "\"POST /users/{id}\"", "this route must not have `{id}`"),
        ("\"POST /users\"", "\"GET /people\"", "must be POST, PUT, PATCH or DELETE"),
        ("\"GET /users\"", "\"POST /people\"", "must be a GET"),
        (
            "\"PATCH /users/{id}\"",
            "\"DELETE /users/{id}\"",
            "resource[users].routes.delete = \"DELETE /users/{id}\": `DELETE /users/{id}` is taken by resource[users].routes.update",
        ),
        ("\"GET /users/{id}\"", "\"GET /sync/{id}\"", "is under server.sync_mount"),
        ("#exclude = [\"/users/me\"]", "exclude = [\"/users\"]", "is mapped as `GET /users`"),
        (
            "#exclude = [\"/users/me\"]",
            "exclude = [\"/users/{id}\"]",
            "must be a path without `{id}`",
        ),
        ("total = \"/total\"", "total = \"/data/total\"", "overlaps with list"),
        ("list = \"/data\"", "list = \"data\"", "is no JSON Pointer"),
        (
            "enum = [\"admin\", \"member\", \"viewer\"]",
            "enum = [\"a\", \"a\"]",
            "lists a string twice",
        ),
        (
            "type = \"boolean\"",
            "type = \"boolean\"\nenum = [\"a\"]",
            "lists strings, and the type is boolean",
        ),
        (
            "{ param = \"q\", cell = \"name\"",
            "{ param = \"role\", cell = \"name\"",
            "the query parameter `role` is mapped by resource[users].query.filters[0].param already",
        ),
        (
            "{ param = \"q\", cell = \"name\"",
            "{ param = \"q\", cell = \"age\"",
            "cells.age is a number, which has no `contains`",
        ),
        (
            "{ param = \"q\", cell = \"name\"",
            "{ param = \"q\", cell = \"nam\"",
            "there is no cell `nam`",
        ),
        ("default = \"id\"", "default = \"-nam\"", "there is no cell `nam`"),
        ("default = \"id\"", "default = \"id,id\"", "`id` is no cell, or is named twice"),
        ("tie_breaker = \"id\"", "tie_breaker = \"name\"", "must tell any two rows apart"),
        (
            "param = \"sort\"",
            "param = \"limit\"",
            "the query parameter `limit` is mapped by resource[users].query.sort.param already",
        ),
        ("#default_limit = 20", "default_limit = 200", "is over max_limit (100)"),
        (
            "{ eq = [\"role\"], sort = \"name\" }",
            "{ eq = [\"name\"] }",
            "no filter asks cells.name with the op eq or in",
        ),
        (
            "{ eq = [\"role\"], sort = \"name\" }",
            "{ eq = [\"role\"], sort = \"name,role\" }",
            "cells.role is in `eq` too, and so the same in all rows",
        ),
        ("{ eq = [\"role\"], sort = \"name\" }", "{ sort = \"name\" }", "is there already"),
        ("{ eq = [\"role\"], sort = \"name\" }", "{ sort = \"nam\" }", "there is no cell `nam`"),
        (
            "[resource.query.page]\nlimit = \"limit\"\noffset = \"offset\"",
            "",
            "has no use without [resource.query.page]",
        ),
        (
            "#ignore = [\"$.data[*].updatedAt\"]",
            "ignore = [\"data\"]",
            "resource[users].compare.ignore[0] = \"data\": is no JSONPath",
        ),
        ("#headers = [\"content-type\"]", "headers = [\"a b\"]", "is no header's name"),
        (
            "#headers = [\"content-type\"]",
            "headers = [\"Age\"]",
            "compare.headers[0] = \"Age\": `age` differs between any two answers",
        ),
        (
            "#clear = [\"$.data[*].role\"]",
            "arrays = [{ path = \"$.data\", by = \"id\", as = \"set\" }]",
            "resource[users].compare.arrays[0]: needs either `by`",
        ),
        (
            "#clear = [\"$.data[*].role\"]",
            "numbers = [{ path = \"$..n\", rel = 2 }]",
            "resource[users].compare.numbers[0].rel = 2: must be over 0 and under 1",
        ),
        (
            "#clear = [\"$.data[*].role\"]",
            "numbers = [{ abs = 0.1 }]",
            "resource[users].compare.numbers[0].path: is missing: write it as in",
        ),
        (
            "#clear = [\"$.data[*].role\"]",
            "strings = [{ path = \"$..n\", mask = [\"(\"] }]",
            "resource[users].compare.strings[0].mask[0] = \"(\": is no regular expression",
        ),
        (
            "#clear = [\"$.data[*].role\"]",
            "strings = [{ path = \"$..n\", as = [\"lower\"] }]",
            "unknown variant `lower`, expected one of `nfc`, `trim`, `fold_case`, `url`",
        ),
        (
            "#clear = [\"$.data[*].role\"]",
            "times = [{ path = \"$..n\", within_ms = 100000000 }]",
            "times[0].within_ms = 100000000: must be at most 86400000",
        ),
        (
            "#clear = [\"$.data[*].role\"]",
            "bind = [[\"$.id\", \"id\"]]",
            "resource[users].compare.bind[0][1] = \"id\": is no JSONPath",
        ),
    ];
    for (from, to, expected) in cases {
        let problems = problems(from, to);
        let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
        assert!(
            lines.iter().any(|line| line.contains(expected)),
            "{expected:?} is not in {lines:#?}"
        );
        assert!(lines.len() <= 2, "one mistake, one or two messages: {lines:#?}");
    }
}

#[test]
fn insecure_identity_needs_loopback() {
    let text = edited("mode = \"clerk\"\njwt_key_file = \"clerk.pem\"", "mode = \"insecure-dev\"");
    assert!(parse(&text).is_ok());
    let error = parse(&text.replace("127.0.0.1:8080", "0.0.0.0:8080")).unwrap_err();
    assert!(error.to_string().contains("needs a loopback address in server.listen"), "{error}");
}

#[test]
fn resources_do_not_get_into_each_others_way() {
    let (_, resource) = EXAMPLE.split_once("[[resource]]").unwrap();
    let twice = |edit: &dyn Fn(String) -> String| {
        format!("{EXAMPLE}\n[[resource]]{}", edit(resource.to_owned()))
    };
    let error = parse(&twice(&|same| same)).unwrap_err();
    let count = |what: &str| error.to_string().matches(what).count();
    assert_eq!(count("is taken by"), 7, "{error}");
    let other =
        |text: String| text.replace("\"users\"", "\"people\"").replace(" /users", " /people");
    assert!(parse(&twice(&other)).is_ok());
    let error = parse(&twice(&|text| other(text).replace("org_id", "user_id"))).unwrap_err();
    assert!(error.to_string().contains("filled from another claim"), "{error}");
}

#[test]
fn a_probe_is_a_unique_cell_that_can_be_asked_for() {
    let text = edited("create = \"client-id\"", "create = \"probe\"")
        .replace("#unique = true", "unique = true")
        .replace("filters = [", "filters = [{ param = \"email\", cell = \"email\", op = \"eq\" },");
    let config = parse(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        config.resources[0].probe().map(|(param, cell)| (param, &*cell.id)),
        Some(("email", "email"))
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Path::new("/nonexistent/crossfade.toml")).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/crossfade.toml cannot be read"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("crossfade.toml");
    std::fs::write(&file, EXAMPLE).unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.storage.recordings, dir.path().join("recordings.db"));
}

proptest::proptest! {
    #[test]
    fn no_edit_of_a_file_breaks_the_check(
        at in 0..EXAMPLE.len(), length in 0_usize..40, text in "[a-z0-9\"\\[\\]{}=,.#/ \n-]{0,12}",
    ) {
        let full = full_example();
        let start = full.floor_char_boundary(at);
        let end = full.floor_char_boundary((start + length).min(full.len()));
        let edited = format!("{}{text}{}", &full[..start], &full[end..]);
        if let Err(error) = parse(&edited) {
            proptest::prop_assert!(!error.problems().is_empty());
            proptest::prop_assert!(error.problems().iter().all(|problem| !problem.message.is_empty()));
        }
    }
}

#[test]
fn peers_are_for_insecure_identity_on_loopback_alone() {
    let told = problem("#topology = \"star\"", "topology = \"peer\"");
    assert!(
        told.contains("sync.topology = \"peer\": needs identity.mode = \"insecure-dev\""),
        "{told}"
    );
    let text = edited("#topology = \"star\"", "topology = \"peer\"")
        .replace("mode = \"clerk\"\njwt_key_file = \"clerk.pem\"", "mode = \"insecure-dev\"");
    assert_eq!(parse(&text).unwrap().sync.topology, Topology::Peer);
    let elsewhere = text.replace("listen = \"127.0.0.1:8080\"", "listen = \"0.0.0.0:8080\"");
    assert_ne!(elsewhere, text);
    assert!(parse(&elsewhere).unwrap_err().to_string().contains("loopback"));
    assert_eq!(parse(EXAMPLE).unwrap().sync.topology, Topology::Star);
}

#[test]
fn a_socket_is_pinged_before_it_is_taken_for_dead() {
    let told = problem("#silence_ms = 60000", "silence_ms = 20000");
    assert!(told.contains("sync.silence_ms = 20000: must be more than ping_ms"), "{told}");
}

#[test]
fn a_cell_is_no_longer_than_a_frame_can_carry() {
    let told = problem("#max_cell_bytes = 1048576", "max_cell_bytes = 2097153");
    assert!(told.contains("sync.max_cell_bytes = 2097153: must be from 1024 to 2097152"), "{told}");
    let text = edited("#max_cell_bytes = 1048576", "max_cell_bytes = 2097152");
    assert_eq!(parse(&text).unwrap().sync.max_cell_bytes, 2 << 20);
}

/// The example with permissions.
fn with_write(write: &str) -> Result<Config, ConfigError> {
    parse(&format!("{EXAMPLE}\n[resource.write]\n{write}"))
}

#[test]
fn who_may_write_what_is_told_by_role() {
    assert_eq!(parse(EXAMPLE).unwrap().resources[0].write, None, "whoever may open the path");
    let config = with_write(
        "owner = \"id\"\n[resource.write.roles]\nadmin = { cells = [\"*\"], create = true }\n\
         member = { cells = [\"name\"], delete = true, own_rows = true }\nviewer = {}",
    );
    let write = config.unwrap_or_else(|e| panic!("{e}")).resources[0].write.clone().unwrap();
    assert_eq!(write.claim, RoleClaim::OrgRole);
    assert_eq!(format!("{:?}", "org_role"), documented_default("resource.write.claim").unwrap());
    assert_eq!(write.owner.as_deref(), Some("id"));
    let all =
        RolePermissions { cells: WritableCells::All, create: true, delete: false, own_rows: false };
    assert_eq!(write.roles["admin"], all);
    let name = WritableCells::Only(["name".to_owned()].into());
    let own = RolePermissions { cells: name, create: false, delete: true, own_rows: true };
    assert_eq!(write.roles["member"], own);
    assert!(!write.roles["viewer"].any());
    let by_permission =
        with_write("claim = \"org_permissions\"\nroles.\"users:edit\".cells = [\"*\"]").unwrap();
    assert_eq!(by_permission.resources[0].write.as_ref().unwrap().claim, RoleClaim::OrgPermissions);
}

#[test]
fn each_mistake_in_permissions_has_its_message() {
    let cases = [
        ("", "resource[users].write.roles: is missing: add a [resource.write.roles.<role>]"),
        ("roles = {}", "resource[users].write.roles: is missing"),
        (
            "claim = \"role\"\nroles.a.create = true",
            "resource[users].write.claim = \"role\": unknown variant `role`, expected `org_role` or `org_permissions`",
        ),
        (
            "roles.a.ceate = true",
            "resource[users].write.roles.a.ceate: unknown key `ceate`; did you mean `create`?",
        ),
        ("role.a.create = true", "write.role: unknown key `role`; did you mean `roles`?"),
        ("roles.a.cells = \"name\"", "write.roles.a.cells = \"name\": invalid type"),
        (
            "roles.a.cells = [\"name\", \"nam\"]",
            "resource[users].write.roles.a.cells[1] = \"nam\": there is no cell `nam`",
        ),
        (
            "roles.a.cells = [\"version\"]",
            "write.roles.a.cells[0] = \"version\": cells.version is read_only",
        ),
        (
            "roles.a.cells = [\"*\", \"name\"]",
            "write.roles.a.cells = [\"*\", \"name\"]: `*` stands for all cells: write it alone",
        ),
        ("roles.\"org:a\".create = true", "write.roles.org:a: write it without `org:`: `a`"),
        (
            "roles.a = { delete = true, own_rows = true }",
            "resource[users].write.owner: is missing: name the cell that holds the user's id",
        ),
        (
            "owner = \"id\"\nroles.a.delete = true",
            "write.owner = \"id\": has no use: no role has own_rows",
        ),
        (
            "owner = \"ow\"\nroles.a = { delete = true, own_rows = true }",
            "write.owner = \"ow\": there is no cell `ow`",
        ),
        (
            "owner = \"age\"\nroles.a = { delete = true, own_rows = true }",
            "write.owner = \"age\": cells.age must be a string",
        ),
        (
            "owner = \"createdAt\"\nroles.a = { create = true, own_rows = true }",
            "write.owner = \"createdAt\": cells.createdAt is read_only",
        ),
    ];
    for (write, expected) in cases {
        let error = with_write(write).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected:?} is not in {error}");
        assert_eq!(error.problems().len(), 1, "{error}");
    }
}

#[test]
fn what_differs_by_role_is_not_shown_before_it_is_kept() {
    let relaxed = edited("#durability = \"committed\"", "durability = \"relaxed\"");
    assert_eq!(parse(&relaxed).unwrap().sync.durability, Durability::Relaxed);
    let error = parse(&format!("{relaxed}\n[resource.write.roles.a]\ncreate = true")).unwrap_err();
    assert_eq!(error.problems().len(), 1, "{error}");
    let told = "sync.durability = \"relaxed\": needs clients that all may write the same, and resource[users]";
    assert!(error.to_string().contains(told), "{error}");
}

#[test]
fn what_the_store_is_to_make_must_fit_its_cell() {
    let told = [
        (
            "#generated = \"version\"",
            "generated = \"uuid\"",
            "`uuid` makes a string, and the type is number",
        ),
        (
            "#generated = \"updated-at\"",
            "generated = \"version\"",
            "`version` makes a number, and the type is string",
        ),
        (
            "#generated = \"created-at\"\n#spelling = \"iso\"",
            "generated = \"created-at\"\nspelling = \"ms\"",
            "makes a number",
        ),
        ("#spelling = \"iso\"", "spelling = \"iso\"", "has no use"),
        ("#prefix = \"\"", "prefix = \"user_\"", "has no use"),
        (
            "#unique_within = \"path\"",
            "unique_within = \"path\"",
            "has no use without unique = true",
        ),
        ("#default = \"member\"", "default = \"boss\"", "its `enum` does not list"),
        ("#default = true", "default = \"yes\"", "configured as boolean"),
        (
            "#error_code = \"/error/code\"\n#error_message = \"/error/message\"",
            "error_code = \"/error\"\nerror_message = \"/error/message\"",
            "overlaps with error_code",
        ),
    ];
    for (from, to, expected) in told {
        let problem = problem(from, to);
        assert!(problem.contains(expected), "{to}: {problem}");
    }
    let read_only = problem("#generated = \"updated-at\"", "default = \"now\"");
    assert!(read_only.contains("has no use in a cell that is read_only"), "{read_only}");
}

#[test]
fn who_may_write_cannot_be_waived() {
    let problem = problem("#waive = []", "waive = [\"write-permissions\"]");
    assert!(problem.contains("cannot be waived: add [resource.write]"), "{problem}");
    let text = edited("#waive = []", "waive = [\"owed-age\", \"cohort\"]");
    assert_eq!(parse(&text).unwrap().interlocks.waive.len(), 2);
}
