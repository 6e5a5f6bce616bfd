//! Response headers as far as they are compared.

use http::HeaderMap;

/// A header's values as they are compared; `None` if the answer has no such header.
///
/// `content-type` is read as a media type: case of type and parameter names and the order of
/// parameters do not count, nor does `charset=utf-8` on JSON, which has no such parameter
/// (RFC 8259 §11). Of `set-cookie` only the cookies' names count, of `cache-control` neither case nor
/// order of the directives. All others are compared as trimmed texts, several values in their order.
#[must_use]
pub fn comparable_header(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
        .collect();
    if values.is_empty() {
        return None;
    }
    match name {
        "content-type" => values.iter_mut().for_each(|value| *value = media_type(value)),
        "set-cookie" => {
            values.iter_mut().for_each(|value| *value = cookie_name(value));
            values.sort_unstable();
        }
        "cache-control" => values = directives(&values),
        _ => {}
    }
    Some(values.join(", "))
}

/// Whether a header says something about the one answer that carries it (when it was made, by whom), so that
/// comparing it tells nothing.
pub(super) fn is_volatile(name: &str) -> bool {
    matches!(name, "date" | "age" | "server" | "via" | "cf-ray" | "x-request-id")
}

fn directives(values: &[String]) -> Vec<String> {
    let directives = values.iter().flat_map(|value| value.split(','));
    let mut directives: Vec<_> =
        directives.map(|directive| directive.trim().to_ascii_lowercase()).collect();
    directives.sort_unstable();
    directives
}

/// Whether the answer calls its body JSON (`application/json`, or a `+json` suffix, RFC 6839).
pub(super) fn promises_json(headers: &HeaderMap) -> bool {
    comparable_header(headers, "content-type").is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default();
        is_json(essence)
    })
}

fn is_json(essence: &str) -> bool {
    essence.ends_with("/json") || essence.ends_with("+json")
}

fn media_type(value: &str) -> String {
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let mut parameters: Vec<String> = parts
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
            // Charset names are case-insensitive (RFC 2978 §2.3), boundaries and others are not.
            let value =
                if name == "charset" { value.to_ascii_lowercase() } else { value.to_owned() };
            format!("{name}={value}")
        })
        .filter(|parameter| !(is_json(&essence) && parameter == "charset=utf-8"))
        .collect();
    parameters.sort_unstable();
    parameters.insert(0, essence);
    parameters.join("; ")
}

fn cookie_name(value: &str) -> String {
    value.split(['=', ';']).next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(name: &'static str, values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        comparable_header(&headers, name)
    }

    #[test]
    fn content_types_are_compared_by_meaning() {
        let json = read("content-type", &["application/json"]);
        assert_eq!(read("content-type", &["Application/JSON; charset=UTF-8"]), json);
        assert_ne!(read("content-type", &["application/json; charset=latin1"]), json);
        assert_eq!(
            read("content-type", &["text/html;level=1; charset=utf-8"]),
            read("content-type", &["text/html; charset=\"UTF-8\"; level=1"]),
        );
        assert_ne!(
            read("content-type", &["text/html; charset=utf-8"]),
            read("content-type", &["text/html"])
        );
        assert_eq!(read("content-type", &[]), None);
    }

    #[test]
    fn of_cookies_only_the_names_are_read() {
        assert_eq!(read("set-cookie", &["b=secret; Path=/", "a=other"]).as_deref(), Some("a, b"));
    }

    #[test]
    fn cache_directives_have_no_order() {
        let one = read("cache-control", &["private, No-Cache"]);
        assert_eq!(one, read("cache-control", &["no-cache", "private"]));
        assert_ne!(one, read("cache-control", &["no-cache"]));
    }
}
