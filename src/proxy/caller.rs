//! Who asks, from a request's headers.

use http::HeaderMap;

use crate::identity::{Identity, SessionVerifier, VerifyError, insecure_dev, session_token};

/// Finds out who asks.
#[derive(Debug)]
pub enum Authenticator {
    /// By Clerk's session token.
    Clerk(SessionVerifier),
    /// By mere assertion, on loopback only.
    InsecureDev,
}

impl Authenticator {
    /// Who asks; `None` for everybody who is not signed in, however that shows. Legacy says 401 or 403
    /// as ever.
    pub async fn identify(&self, headers: &HeaderMap, query: Option<&str>) -> Option<Identity> {
        self.verify(headers, query).await.ok()
    }

    /// Who asks, or why nobody can be named.
    ///
    /// # Errors
    /// [`VerifyError`]; a request without a token is [`VerifyError::Malformed`].
    pub async fn verify(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Identity, VerifyError> {
        match self {
            Self::InsecureDev => insecure_dev(headers, query).ok_or(VerifyError::Malformed),
            Self::Clerk(verifier) => {
                let token = session_token(headers).ok_or(VerifyError::Malformed)?;
                verifier.verify(token).await
            }
        }
    }
}
