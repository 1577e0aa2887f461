//! Where the bearer token of a call comes from.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::{Error, KeyId, Secret};

/// The token of one call, when it is known.
pub type TokenFuture<'a> = Pin<Box<dyn Future<Output = Result<Arc<Secret>, Error>> + Send + 'a>>;

/// Gives the bearer token for each call.
///
/// It is asked before every attempt of a call that needs a token, so it should keep the token for as long as it lives. A
/// token is sent to the client's base URL alone.
///
/// ```
/// use std::sync::Arc;
/// use rixl_credentials::{Client, Error, Secret, TokenFuture, TokenSource};
///
/// /// Reads the token from a file that something else keeps fresh.
/// struct TokenFile(std::path::PathBuf);
///
/// impl TokenSource for TokenFile {
///     fn token(&self) -> TokenFuture<'_> {
///         Box::pin(async move {
///             let text = std::fs::read_to_string(&self.0).map_err(Error::no_token)?;
///             Ok(Arc::new(Secret::from(text.trim())))
///         })
///     }
/// }
///
/// let client = Client::builder().token_source(TokenFile("/run/secrets/rixl-token".into())).build()?;
/// # Ok::<(), Error>(())
/// ```
pub trait TokenSource: Send + Sync {
    /// The token to send now.
    ///
    /// # Errors
    ///
    /// [`Error::no_token`] with the cause. The call is then not sent.
    fn token(&self) -> TokenFuture<'_>;

    /// Hears that RIXL refused this token (401). Says whether another can be had: then the call, which was not carried
    /// out, is sent once more. Sources that can't renew their token keep the default, `false`.
    fn refused(&self, token: &Arc<Secret>) -> bool {
        let _ = token;
        false
    }

    /// When the token expires, where that is known and the source does not renew it. The default knows nothing.
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }

    /// Whether the tokens are bought with the API key of this id or secret, and so may end when it is rotated or
    /// deleted. The default buys none.
    fn is_bought_with(&self, key_id: &KeyId, secret: Option<&Secret>) -> bool {
        let _ = (key_id, secret);
        false
    }
}

/// A token that can be exchanged for another while calls are under way. Clones share it.
///
/// ```
/// use rixl_credentials::{Client, SharedToken};
///
/// let token = SharedToken::new("eyJhbGciOi...");
/// let client = Client::builder().token_source(token.clone()).build()?;
/// // Later, from anywhere: every attempt from now on sends the new one.
/// token.replace("eyJuZXciOi...");
/// # Ok::<(), rixl_credentials::Error>(())
/// ```
#[derive(Clone)]
pub struct SharedToken(Arc<RwLock<Arc<Secret>>>);

impl SharedToken {
    /// Starts with this token.
    pub fn new(token: impl Into<Secret>) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(token.into()))))
    }

    /// Every attempt from now on sends this token.
    pub fn replace(&self, token: impl Into<Secret>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(token.into());
    }
}

impl fmt::Debug for SharedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedToken([redacted])")
    }
}

impl TokenSource for SharedToken {
    fn token(&self) -> TokenFuture<'_> {
        Box::pin(async { Ok(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))) })
    }

    /// Another one can be had if it was replaced since this one was sent.
    fn refused(&self, token: &Arc<Secret>) -> bool {
        !Arc::ptr_eq(token, &self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn expires_at(&self) -> Option<Timestamp> {
        jwt_expiry(self.0.read().unwrap_or_else(PoisonError::into_inner).expose_secret())
    }
}

/// The `exp` claim of a JWT (RFC 7519, seconds since 1970), unverified; `None` when the text is no JWT or has none.
fn jwt_expiry(token: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    let seconds = SignedDuration::try_from_secs_f64(exp).ok()?;
    Timestamp::UNIX_EPOCH.checked_add(seconds).ok()
}
