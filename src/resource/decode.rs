//! Percent-decoding that refuses what is not well encoded, where libraries let it through.

use percent_encoding::percent_decode_str;

/// The text, percent-decoded; `None` if a `%` lacks its two digits, or the bytes are no UTF-8.
pub(super) fn percent(text: &str) -> Option<String> {
    let well_encoded = text.split('%').skip(1).all(|rest| {
        matches!(rest.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
    });
    if !well_encoded {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// As [`percent`], with `+` for a space, as HTML forms and `URLSearchParams` write it.
pub(super) fn form(text: &str) -> Option<String> {
    percent(&text.replace('+', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_well_encoded_is_decoded() {
        assert_eq!(percent("a%20%C3%A4+"), Some("a ä+".into()));
        assert_eq!(form("a+b%2B"), Some("a b+".into()));
        for bad in ["%", "%2", "%zz", "a%2", "%C3", "%ff", "%%41"] {
            assert_eq!(percent(bad), None, "{bad}");
        }
    }
}
