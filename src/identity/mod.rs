//! Who is asking: session tokens verified, sync tokens minted, deliveries signed.
//!
//! ```text
//! Clerk session JWT ─ SessionVerifier ─ Identity ─ SyncTokens ─ sync token ─ SyncClaims   (sockets)
//!                                           └────── OnBehalfOf ─ signed header            (deliveries)
//! Revocations ── which sync tokens do not count any more, and which sessions get none
//! ```
//!
//! No value of this module prints a token or a key: [`Secret`] shows `***`, and no error repeats what it refused.

mod claims;
mod dev;
mod issuer;
mod jwks;
mod jwt;
mod on_behalf_of;
mod request;
mod revocation;
mod secret;
mod session;
mod sync_token;

pub use claims::Identity;
pub use dev::insecure_dev;
pub use issuer::{Organisation, SessionSpec, TestIssuer, TokenVersion};
pub use jwks::{JwksSettings, KeySource};
pub use jwt::KeyError;
pub use on_behalf_of::{OnBehalfOf, OnBehalfOfClaims, OnBehalfOfError};
pub use request::{
    MULTIPLEXED, SubprotocolError, SyncOffer, session_token, sync_token_from_subprotocols,
};
pub use revocation::{
    Entry as RevocationEntry, FollowedToken, Grant, GrantedIn, NotMinted, Order as RevocationOrder,
    OrderError, RevocationState, Revocations, Standing as RevocationStanding, Subject,
};
pub use secret::{Secret, SecretError};
pub use session::{SessionSettings, SessionVerifier, VerifyError};
pub use sync_token::{SyncClaims, SyncToken, SyncTokenError, SyncTokens};
