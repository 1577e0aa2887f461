//! Where the bearer token of a call comes from.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::Mutex;

use crate::{
    ClientTokenRequest, Error, Secret, client::Transport, client_credentials::mint, retry::Timing, route::Generation,
    tokens::Tokens,
};

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
}

/// What a token is bought with.
pub(crate) enum Grant {
    ApiKey(Secret),
    Client(ClientTokenRequest),
}

/// Buys a token, and another before it expires.
///
/// 1. One purchase runs at a time; the other callers wait for it and use what it brought.
/// 2. A refresh token is tried once, whatever becomes of the attempt, and replaced together with the access token.
/// 3. A failed refresh falls back to a new exchange.
/// 4. A token is renewed when three quarters to nine tenths of its life are over; chance decides, so that many processes
///    that started together do not come together again.
pub(crate) struct BoughtToken {
    transport: Transport,
    grant: Grant,
    held: Mutex<Option<Held>>,
    /// The newest token that RIXL refused.
    refused: RwLock<Option<Arc<Secret>>>,
}

struct Held {
    access: Arc<Secret>,
    refresh: Option<Secret>,
    /// By [`Timing::elapsed`].
    fresh_until: Duration,
}

/// RIXL publishes no lifetime; a token of unknown lifetime is kept this long.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60);

impl BoughtToken {
    pub(crate) fn new(transport: Transport, grant: Grant) -> Self {
        Self { transport, grant, held: Mutex::new(None), refused: RwLock::new(None) }
    }

    async fn buy(&self, refresh: Option<Secret>) -> Result<Held, Error> {
        let timing: &dyn Timing = self.transport.timing();
        let asked = timing.elapsed();
        let (access, refresh, lifetime) = match &self.grant {
            Grant::ApiKey(key) => {
                let tokens = Tokens::new(self.transport.clone(), Generation::First);
                let refreshed = match refresh {
                    Some(refresh) => tokens.refresh(&refresh).await.ok(),
                    None => None,
                };
                let pair = match refreshed {
                    Some(pair) => pair,
                    None => tokens.exchange(key).await?,
                };
                (pair.access_token, pair.refresh_token, pair.expires_in)
            }
            Grant::Client(request) => {
                let token = mint(&self.transport, Generation::First, request).await?;
                (token.access_token, None, token.expires_in)
            }
        };
        let share = 0.75 + 0.15 * timing.chance().clamp(0.0, 1.0);
        let fresh_for = lifetime.unwrap_or(UNKNOWN_LIFETIME).mul_f64(share);
        Ok(Held { access: Arc::new(access), refresh, fresh_until: asked.saturating_add(fresh_for) })
    }

    fn was_refused(&self, token: &Arc<Secret>) -> bool {
        let refused = self.refused.read().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().is_some_and(|refused| Arc::ptr_eq(refused, token))
    }
}

impl TokenSource for BoughtToken {
    fn token(&self) -> TokenFuture<'_> {
        Box::pin(async {
            let mut held = self.held.lock().await;
            let now = self.transport.timing().elapsed();
            if let Some(held) = held.as_ref()
                && now < held.fresh_until
                && !self.was_refused(&held.access)
            {
                return Ok(Arc::clone(&held.access));
            }
            // Taken out first: a refresh token must not be tried twice, even if this future is dropped half-way.
            let refresh = held.take().and_then(|held| held.refresh);
            let bought = held.insert(self.buy(refresh).await?);
            Ok(Arc::clone(&bought.access))
        })
    }

    fn refused(&self, token: &Arc<Secret>) -> bool {
        *self.refused.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(token));
        true
    }
}
