//! The sources of a call's bearer token.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::{Error, Secret};

/// The request to a [`TokenSource`].
///
/// The client makes it; its default is for tests of a source.
#[derive(Clone, Debug, Default)]
#[must_use]
#[non_exhaustive]
pub struct TokenRequest<'a> {
    refused: Option<&'a Secret>,
}

impl<'a> TokenRequest<'a> {
    /// The token that RIXL refused with a 401, if that is why the source is asked.
    pub fn with_refused(mut self, token: &'a Secret) -> Self {
        self.refused = Some(token);
        self
    }

    /// The token that RIXL refused with a 401, if that is why the source is asked: give another one, if there is one.
    /// The call, which was not carried out, is then sent once more.
    #[must_use]
    pub fn refused(&self) -> Option<&'a Secret> {
        self.refused
    }
}

/// A bearer token, and when it expires. Clones share it.
///
/// ```
/// use rixl_credentials::{AccessToken, Secret};
///
/// let token = AccessToken::new(Secret::from("eyJhbGciOi...")).with_expires_at("2027-01-15T10:30:00Z".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub struct AccessToken {
    pub(crate) secret: Arc<Secret>,
    pub(crate) expires_at: Option<Timestamp>,
    /// Of another key than the token before: that this one was refused says nothing of its successor.
    pub(crate) is_of_new_key: bool,
}

impl AccessToken {
    /// A token of unknown expiry. It is not kept: the source is asked again before the next attempt of a call.
    pub fn new(secret: impl Into<Arc<Secret>>) -> Self {
        Self { secret: secret.into(), expires_at: None, is_of_new_key: false }
    }

    /// The token expires at this time, by this machine's clock. It is used until then, or until RIXL refuses it, and renewed
    /// meanwhile, from three quarters to nine tenths of the time on.
    pub fn with_expires_at(mut self, time: Timestamp) -> Self {
        self.expires_at = Some(time);
        self
    }

    /// The token.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// When it expires, where that is known.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
}

/// The token of one call, when it is known.
pub type TokenFuture<'a> = Pin<Box<dyn Future<Output = Result<AccessToken, Error>> + Send + 'a>>;

/// Provides bearer tokens for the calls of a client.
///
/// It keeps nothing itself: the client has one cache in front of every source.
///
/// 1. The source is asked once at a time in each Tokio runtime, by a task of its own: the calls that wait meanwhile
///    share its result, including a failure, and a call that is dropped or not polled does not hold up the others. A
///    request that nobody has driven for as long as a source may take is given up, and the source is asked again. In a
///    runtime that nobody drives, nothing completes.
/// 2. A token with an expiry is kept, and the source is asked again after three quarters to nine tenths of its
///    lifetime, at random, so that processes that started together do not renew together. No call waits for that, or
///    fails because of it, until the token expires.
/// 3. A token of unknown expiry is not kept, so that a replaced one is not sent.
/// 4. After a 401 the source is asked with [`TokenRequest::refused`], and if it gives another token, the call is sent
///    once more. If it does not, the refused one stays for the next call. If the other one is refused too, the next
///    request waits a second, and with each further refusal longer, up to a minute.
/// 5. A [transient failure](Error::transient) is retried under the call's [`RetryPolicy`](crate::RetryPolicy). Until
///    the [time that it asks for](Error::with_retry_after) is over, an hour at most, nobody asks.
/// 6. A token that can't be a header value is a failure.
///
/// Tokens are sent only to the client's base URL. `examples/token_source.rs` in the repository is a complete one.
///
/// ```
/// use rixl_credentials::{AccessToken, Client, Error, Secret, TokenFuture, TokenRequest, TokenSource};
///
/// /// Reads the token from a file that something else keeps fresh.
/// struct TokenFile(std::path::PathBuf);
///
/// impl TokenSource for TokenFile {
///     fn token<'a>(&'a self, _: TokenRequest<'a>) -> TokenFuture<'a> {
///         Box::pin(async {
///             let text = std::fs::read_to_string(&self.0).map_err(Error::no_token)?;
///             Ok(AccessToken::new(Secret::from(text.trim())))
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
    /// [`Error::no_token`] with the cause. The call is then not sent; the caller finds it in [`Error::token_error`].
    ///
    /// # Cancellation
    ///
    /// The future goes on when the call that waits for it is dropped. It is dropped after two minutes, or after the
    /// client's [`deadline`](crate::ClientBuilder::deadline) where that is longer, and with its runtime.
    fn token<'a>(&'a self, request: TokenRequest<'a>) -> TokenFuture<'a>;
}

/// A bearer token that can be replaced while calls are under way. Clones share it.
///
/// ```
/// use rixl_credentials::{Client, SharedToken};
///
/// let token = SharedToken::from("eyJhbGciOi...");
/// let client = Client::builder().bearer_token(token.clone()).build()?;
/// // Later, from anywhere: every attempt from now on sends the new one.
/// token.replace("eyJuZXciOi...");
/// # Ok::<(), rixl_credentials::Error>(())
/// ```
#[derive(Clone)]
pub struct SharedToken(Arc<RwLock<Arc<Secret>>>);

impl SharedToken {
    /// Every attempt from now on sends this token.
    pub fn replace(&self, token: impl Into<Secret>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(token.into());
    }

    pub(crate) fn get(&self) -> Arc<Secret> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        jwt_expiry(self.get().expose_secret())
    }
}

impl From<Secret> for SharedToken {
    fn from(token: Secret) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(token))))
    }
}

impl From<String> for SharedToken {
    fn from(token: String) -> Self {
        Secret::from(token).into()
    }
}

/// Copies the text; the original stays in memory as it was.
impl From<&str> for SharedToken {
    fn from(token: &str) -> Self {
        Secret::from(token).into()
    }
}

impl fmt::Debug for SharedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedToken([redacted])")
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
