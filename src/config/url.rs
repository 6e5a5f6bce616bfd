//! Addresses as configured: of servers, and of databases.

use std::fmt;
use std::path::{Path, PathBuf};

use super::SecretRef;

/// An `http` or `https` URL without credentials, query or fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(url::Url);

/// Why a text is no [`BaseUrl`]. The text is not told: it may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// Not a URL.
    #[error("is no URL: {0}; write it as in http://127.0.0.1:3000")]
    Syntax(String),
    /// Another scheme.
    #[error("has the scheme `{0}`: only {1} can be used")]
    Scheme(String, &'static str),
    /// A user or password.
    #[error("holds a user or password: take them out, secrets have keys of their own")]
    Credentials,
    /// A query or fragment.
    #[error("has a `?` or `#` part: take it out")]
    Query,
    /// Not encrypted, to another machine.
    #[error("is not encrypted and leaves this machine: use https")]
    Plain,
    /// A file without a path.
    #[error("`file:` is followed by a path")]
    NoPath,
}

impl BaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`UrlProblem`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, UrlProblem> {
        parse(text, &["http", "https"], "http and https").map(Self)
    }

    /// The URL, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// Whether it is encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Host and, where it is not the scheme's own, port.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.0.authority()
    }

    /// The path without a slash at its end: empty, or what comes before every request's own path.
    #[must_use]
    pub fn path_prefix(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }

    /// The whole URL.
    #[must_use]
    pub const fn url(&self) -> &url::Url {
        &self.0
    }

    /// Whether the host is this machine by a loopback address, or by the name `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where data is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A local file.
    File(PathBuf),
    /// A libSQL server.
    Remote {
        /// Its URL: `libsql`, `https` or `http`.
        url: String,
        /// What it asks for, if anything.
        auth_token: Option<SecretRef>,
    },
}

impl Database {
    /// Reads `file:PATH` (relative to `base_dir`) or a server's URL.
    pub(super) fn parse(text: &str, base_dir: &Path) -> Result<Self, UrlProblem> {
        match text.strip_prefix("file:") {
            Some(path) if path.trim_matches('/').is_empty() => Err(UrlProblem::NoPath),
            Some(path) if path.contains(['?', '#']) => Err(UrlProblem::Query),
            Some(path) => Ok(Self::File(base_dir.join(path))),
            None => {
                parse(text, &["libsql", "https", "http"], "file:, libsql, https and http")?;
                Ok(Self::Remote { url: text.to_owned(), auth_token: None })
            }
        }
    }
}

fn parse(text: &str, schemes: &[&str], named: &'static str) -> Result<url::Url, UrlProblem> {
    let url = url::Url::parse(text).map_err(|error| UrlProblem::Syntax(error.to_string()))?;
    if !schemes.contains(&url.scheme()) {
        return Err(UrlProblem::Scheme(url.scheme().to_owned(), named));
    }
    if !url.has_host() {
        return Err(UrlProblem::Syntax("it has no host".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlProblem::Credentials);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(UrlProblem::Query);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_http_without_anything_that_could_be_secret() {
        let url = BaseUrl::parse("http://LOCALHOST:3000/api/").unwrap();
        assert_eq!(url.as_str(), "http://localhost:3000/api");
        assert_eq!((url.authority(), url.path_prefix()), ("localhost:3000", "/api"));
        assert!(url.is_loopback() && !url.is_https());
        assert_eq!(BaseUrl::parse("https://h").unwrap().path_prefix(), "");
        assert_eq!(BaseUrl::parse("http://u:p@h"), Err(UrlProblem::Credentials));
        assert_eq!(BaseUrl::parse("http://u@h"), Err(UrlProblem::Credentials));
        assert_eq!(BaseUrl::parse("http://h/?a"), Err(UrlProblem::Query));
        assert_eq!(BaseUrl::parse("http://h#a"), Err(UrlProblem::Query));
        assert!(matches!(BaseUrl::parse("ftp://h"), Err(UrlProblem::Scheme(..))));
        assert!(matches!(BaseUrl::parse("127.0.0.1:3000"), Err(UrlProblem::Syntax(_))));
    }

    #[test]
    fn a_database_is_a_file_or_a_server() {
        let parse = |text| Database::parse(text, Path::new("/base"));
        assert_eq!(parse("file:a/b.db"), Ok(Database::File("/base/a/b.db".into())));
        assert_eq!(parse("file:/b.db"), Ok(Database::File("/b.db".into())));
        let remote = Database::Remote { url: "libsql://h.example".into(), auth_token: None };
        assert_eq!(parse("libsql://h.example"), Ok(remote));
        assert_eq!(parse("libsql://h?authToken=x"), Err(UrlProblem::Query));
        assert_eq!(parse("file:"), Err(UrlProblem::NoPath));
        assert_eq!(parse("file:a?mode=ro"), Err(UrlProblem::Query));
        assert!(matches!(parse("crossfade.db"), Err(UrlProblem::Syntax(_))));
    }
}
