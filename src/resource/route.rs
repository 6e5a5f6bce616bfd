//! A resource's REST routes as configured: parsing them, and building URLs from them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::migration::{RouteTemplate, RowId};

/// What one segment of a URL may hold unescaped: RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A path of a route, with at most one `{id}` segment (`/users/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    text: String,
    takes_id: bool,
}

/// A configured route (`GET /users/{id}`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The request method.
    pub method: http::Method,
    /// The path that it matches.
    pub path: PathPattern,
    /// The route as configured, spaces made one.
    pub template: RouteTemplate,
}

/// A resource's routes. What is `None` is not mapped and passes through to legacy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    /// Reads a list; without `{id}`.
    pub list: Route,
    /// Reads one row; with `{id}`.
    pub get: Route,
    /// Makes a row; without `{id}`.
    pub create: Option<Route>,
    /// Changes a row; with `{id}`.
    pub update: Option<Route>,
    /// Removes a row; with `{id}`.
    pub delete: Option<Route>,
    /// Paths that look like a row's and are none (`/users/me`): never matched.
    pub exclude: Vec<PathPattern>,
    /// Requests that look like writes and change no row (`POST /users/search`).
    pub harmless: Vec<Route>,
}

/// Why a route's text is no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteProblem {
    /// Not of the form `METHOD /path`.
    #[error("a route is a method and a path, as in `GET /users/{{id}}`")]
    Form,
    /// Not a method.
    #[error("`{0}` is no method: write it in upper case, as in `GET`")]
    Method(String),
    /// A path that does not begin with a slash, ends with one, or has an empty segment or a query.
    #[error(
        "`{0}` is no path of a route: segments between single slashes, no slash at the end, no `?` or `%`"
    )]
    Path(String),
    /// A placeholder other than `{id}`.
    #[error(
        "`{0}` is no segment of a route: the only placeholder is `{{id}}`, once, and it fills a segment"
    )]
    Placeholder(String),
    /// `{id}` where none belongs, or none where one does.
    #[error("this route must {} `{{id}}`", if *.needed { "have" } else { "not have" })]
    Id {
        /// Whether the route is one about a single row.
        needed: bool,
    },
}

impl PathPattern {
    /// Checks a path.
    ///
    /// # Errors
    /// [`RouteProblem`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, RouteProblem> {
        let rest = text.strip_prefix('/').ok_or_else(|| RouteProblem::Path(text.to_owned()))?;
        let mut takes_id = false;
        for segment in rest.split('/') {
            if segment == "{id}" && !takes_id {
                takes_id = true;
            } else if segment.contains(['{', '}']) {
                return Err(RouteProblem::Placeholder(segment.to_owned()));
            } else if !is_literal(segment) {
                return Err(RouteProblem::Path(text.to_owned()));
            }
        }
        Ok(Self { text: text.to_owned(), takes_id })
    }

    /// The path as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the path has `{id}`.
    #[must_use]
    pub const fn takes_id(&self) -> bool {
        self.takes_id
    }

    /// What stands before `{id}`, without the slash; the whole path if there is none.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.text.split_once("/{id}").map_or(self.text.as_str(), |(prefix, _)| prefix)
    }

    /// Whether a request's path is one of these.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let fits = |(pattern, segment): (&str, &str)| {
            pattern == segment || (pattern == "{id}" && !segment.is_empty())
        };
        self.text.split('/').count() == path.split('/').count()
            && self.text.split('/').zip(path.split('/')).all(fits)
    }

    /// The path of one row: `id` percent-encoded as one segment.
    ///
    /// `None` for the empty id, `.` and `..`: whoever reads such a URL takes the segment away, encoded or not,
    /// and would reach another resource.
    #[must_use]
    pub fn with_id(&self, id: &RowId) -> Option<String> {
        if matches!(id.as_str(), "" | "." | "..") {
            return None;
        }
        Some(self.text.replacen("{id}", &utf8_percent_encode(id.as_str(), SEGMENT).to_string(), 1))
    }
}

/// A segment that has one spelling: RFC 3986's pchar without percent-encoding.
fn is_literal(segment: &str) -> bool {
    let pchar = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b);
    !matches!(segment, "" | "." | "..") && segment.bytes().all(pchar)
}

impl Route {
    /// Parses `METHOD /path`; `about_one_row` says whether the path must have `{id}` or must not.
    ///
    /// # Errors
    /// [`RouteProblem`] says what is wrong with it.
    pub fn parse(text: &str, about_one_row: bool) -> Result<Self, RouteProblem> {
        let mut words = text.split_ascii_whitespace();
        let (Some(method), Some(path), None) = (words.next(), words.next(), words.next()) else {
            return Err(RouteProblem::Form);
        };
        if !method.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(RouteProblem::Method(method.to_owned()));
        }
        let path = PathPattern::parse(path)?;
        if path.takes_id != about_one_row {
            return Err(RouteProblem::Id { needed: about_one_row });
        }
        let template = RouteTemplate::new(format!("{method} {}", path.text));
        let method = method.parse().map_err(|_| RouteProblem::Method(method.to_owned()))?;
        Ok(Self { method, path, template })
    }
}

impl Routes {
    /// All mapped routes.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        let writes = [&self.create, &self.update, &self.delete];
        [&self.list, &self.get].into_iter().chain(writes.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_a_method_and_a_path() {
        let route = Route::parse("GET  /users/{id}/card", true).unwrap();
        assert_eq!(route.template.as_str(), "GET /users/{id}/card");
        assert_eq!(route.path.prefix(), "/users");
        assert_eq!(Route::parse("PATCH /users/{id}", true).unwrap().path.prefix(), "/users");
        assert_eq!(Route::parse("GET /a/users", false).unwrap().path.prefix(), "/a/users");
    }

    #[test]
    fn what_is_no_route_is_refused_with_its_reason() {
        let refused = |text: &str, one_row| Route::parse(text, one_row).unwrap_err();
        assert_eq!(refused("/users", false), RouteProblem::Form);
        assert_eq!(refused("GET /users x", false), RouteProblem::Form);
        assert_eq!(refused("get /users", false), RouteProblem::Method("get".into()));
        assert_eq!(refused("GET /users", true), RouteProblem::Id { needed: true });
        assert_eq!(refused("POST /users/{id}", false), RouteProblem::Id { needed: false });
        for path in ["users", "/", "/users/", "/a//b", "/a?b", "/a%20b", "/a/../b", "/ä"] {
            let problem = refused(&format!("GET {path}"), false);
            assert_eq!(problem, RouteProblem::Path(path.into()));
        }
        for (path, segment) in
            [("/u/{user}", "{user}"), ("/u/{id}/{id}", "{id}"), ("/u/x{id}", "x{id}")]
        {
            let problem = refused(&format!("GET {path}"), true);
            assert_eq!(problem, RouteProblem::Placeholder(segment.into()));
        }
    }

    #[test]
    fn a_path_matches_segment_by_segment() {
        let path = PathPattern::parse("/users/{id}/check").unwrap();
        for (text, matches) in [
            ("/users/1/check", true),
            ("/users//check", false),
            ("/users/1", false),
            ("/users/1/check/", false),
            ("/users/1/checks", false),
        ] {
            assert_eq!(path.matches(text), matches, "{text}");
        }
    }

    #[test]
    fn an_id_is_one_segment_whatever_it_holds() {
        let path = Route::parse("GET /users/{id}", true).unwrap().path;
        let url = |id: &str| path.with_id(&RowId::new(id));
        assert_eq!(url("u_1").as_deref(), Some("/users/u_1"));
        assert_eq!(url("a/b?c#d%20 ä").as_deref(), Some("/users/a%2Fb%3Fc%23d%2520%20%C3%A4"));
        assert_eq!(url("{id}").as_deref(), Some("/users/%7Bid%7D"));
        for id in ["", ".", ".."] {
            assert_eq!(url(id), None, "{id}");
        }
    }
}
