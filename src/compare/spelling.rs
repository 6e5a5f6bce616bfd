//! How strings are read before they are compared.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use regex::Regex;

use super::rules::StringForm;

/// Stands for what is masked. No text of JSON's has it by itself but on purpose.
const MASKED: &str = "\u{fffc}";

/// Spellings that do not count.
#[derive(Debug, Clone)]
pub(super) struct TextRule {
    /// Sorted: a URL is trimmed before it is read.
    forms: Vec<StringForm>,
    masks: Vec<Regex>,
}

impl TextRule {
    pub(super) fn new(forms: &[StringForm], masks: Vec<Regex>) -> Self {
        let mut forms = forms.to_vec();
        forms.sort_unstable();
        Self { forms, masks }
    }

    /// The text as it is compared.
    pub(super) fn read<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut read = Cow::Borrowed(text);
        for form in &self.forms {
            read = Cow::Owned(match form {
                StringForm::Nfc => {
                    ComposingNormalizerBorrowed::new_nfc().normalize(&read).into_owned()
                }
                StringForm::Trim => read.trim().to_owned(),
                StringForm::FoldCase => read.to_lowercase(),
                // What is no URL stays as it is.
                StringForm::Url => {
                    url::Url::parse(&read).map_or_else(|_| read.to_string(), String::from)
                }
            });
        }
        for mask in &self.masks {
            read = Cow::Owned(mask.replace_all(&read, MASKED).into_owned());
        }
        read
    }
}

/// What sort of text a string is. A value that changes its class is never noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextClass {
    Empty,
    Uuid,
    Time,
    Digits,
    Other,
}

impl TextClass {
    pub(super) fn of(text: &str) -> Self {
        if text.is_empty() {
            Self::Empty
        } else if is_uuid(text) {
            Self::Uuid
        } else if super::times::instant(text).is_some() {
            Self::Time
        } else if text.bytes().all(|b| b.is_ascii_digit()) {
            Self::Digits
        } else {
            Self::Other
        }
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(forms: &[StringForm], masks: &[&str], text: &str) -> String {
        let masks = masks.iter().map(|mask| Regex::new(mask).unwrap()).collect();
        TextRule::new(forms, masks).read(text).into_owned()
    }

    #[test]
    fn each_form_takes_out_one_spelling() {
        assert_eq!(read(&[StringForm::Nfc], &[], "e\u{301}"), "é");
        assert_eq!(read(&[StringForm::Trim], &[], " a b\n"), "a b");
        assert_eq!(read(&[StringForm::FoldCase], &[], "ÄB"), "äb");
        let url = "HTTP://Example.Test:80/a/../b?q=A";
        assert_eq!(read(&[StringForm::Url], &[], url), "http://example.test/b?q=A");
        assert_eq!(read(&[StringForm::Url], &[], "no url"), "no url");
        // In whatever order they are named.
        let (url, trim) = (StringForm::Url, StringForm::Trim);
        assert_eq!(read(&[url, trim], &[], " http://a.test "), "http://a.test/");
    }

    #[test]
    fn masks_take_out_what_they_match() {
        let mask = &["[0-9]+", "x{2}"];
        assert_eq!(read(&[], mask, "a12bxx"), read(&[], mask, "a7bxx"));
        assert_ne!(read(&[], mask, "a12b"), read(&[], mask, "ab"));
    }

    #[test]
    fn texts_have_classes() {
        for (text, class) in [
            ("", TextClass::Empty),
            ("6a0c1a3e-4f5b-4c6d-8e7f-0123456789ab", TextClass::Uuid),
            ("2026-01-31T08:00:00Z", TextClass::Time),
            ("2026-01-31 08:00:00", TextClass::Time),
            ("0042", TextClass::Digits),
            ("Ada", TextClass::Other),
        ] {
            assert_eq!(TextClass::of(text), class, "{text}");
        }
    }
}
