//! Where the bearer token of a call comes from.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::{
    ClientTokenRequest, Error, KeyId, Secret, client::Transport, client_credentials::mint, retry::share,
    route::Generation, tokens::Tokens,
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

/// What a token is bought with.
pub(crate) enum Grant {
    ApiKey(Secret),
    Client(ClientTokenRequest),
}

/// Buys a token, and another before it expires.
///
/// 1. One purchase runs at a time; the callers who wait for it share what it brought, a failure too.
/// 2. A refresh token is tried once, whatever becomes of the attempt, and replaced together with the access token.
/// 3. A failed refresh falls back to a new exchange.
/// 4. A token is renewed when three quarters to nine tenths of its life are over; chance decides, so that many processes
///    that started together do not come together again.
/// 5. Where the server does not know the first generation of routes, the second is used from then on.
pub(crate) struct BoughtToken {
    transport: Transport,
    grant: Grant,
    cached: RwLock<Option<CachedToken>>,
    purchases: Mutex<Purchases>,
    /// How many purchases have ended; read before waiting for one.
    ended: AtomicU64,
}

struct CachedToken {
    access: Arc<Secret>,
    /// By [`Timing::elapsed`].
    fresh_until: Duration,
}

#[derive(Default)]
struct Purchases {
    refresh: Option<Secret>,
    generation: Generation,
    /// The number of the last purchase if it failed, and why.
    failure: Option<(u64, Error)>,
}

struct Bought {
    access: Secret,
    refresh: Option<Secret>,
    lifetime: Option<Duration>,
}

/// RIXL publishes no lifetime; a token of unknown lifetime is kept this long.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60);

impl BoughtToken {
    pub(crate) fn new(transport: Transport, grant: Grant) -> Self {
        Self { transport, grant, cached: RwLock::default(), purchases: Mutex::default(), ended: AtomicU64::new(0) }
    }

    fn fresh(&self) -> Option<Arc<Secret>> {
        let now = self.transport.timing().elapsed();
        let cached = self.cached.read().unwrap_or_else(PoisonError::into_inner);
        cached.as_ref().filter(|cached| now < cached.fresh_until).map(|cached| Arc::clone(&cached.access))
    }

    async fn purchase(&self, purchases: &mut Purchases) -> Result<Arc<Secret>, Error> {
        let timing = self.transport.timing();
        let asked = timing.elapsed();
        // Taken out first: a refresh token must not be tried twice, even if this future is dropped half-way.
        let refresh = purchases.refresh.take();
        let mut bought = self.buy(purchases.generation, refresh).await;
        if purchases.generation == Generation::First && bought.as_ref().is_err_and(Error::is_not_found) {
            bought = self.buy(Generation::Second, None).await;
            if bought.is_ok() {
                purchases.generation = Generation::Second;
            }
        }
        let Bought { access, refresh, lifetime } = bought?;
        let fresh_for = share(lifetime.unwrap_or(UNKNOWN_LIFETIME), 0.75 + 0.15 * timing.chance());
        let access = Arc::new(access);
        let cached = CachedToken { access: Arc::clone(&access), fresh_until: asked.saturating_add(fresh_for) };
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Some(cached);
        purchases.refresh = refresh;
        Ok(access)
    }

    async fn buy(&self, generation: Generation, refresh: Option<Secret>) -> Result<Bought, Error> {
        match &self.grant {
            Grant::ApiKey(key) => {
                let tokens = Tokens::new(self.transport.clone(), generation);
                let refreshed = match refresh {
                    Some(refresh) => tokens.refresh(&refresh).await.ok(),
                    None => None,
                };
                let pair = match refreshed {
                    Some(pair) => pair,
                    None => tokens.exchange(key).await?,
                };
                Ok(Bought { access: pair.access_token, refresh: pair.refresh_token, lifetime: pair.expires_in })
            }
            Grant::Client(request) => {
                let token = mint(&self.transport, generation, request).await?;
                Ok(Bought { access: token.access_token, refresh: None, lifetime: token.expires_in })
            }
        }
    }
}

impl TokenSource for BoughtToken {
    fn token(&self) -> TokenFuture<'_> {
        Box::pin(async {
            if let Some(token) = self.fresh() {
                return Ok(token);
            }
            let seen = self.ended.load(Ordering::SeqCst);
            let mut purchases = self.purchases.lock().await;
            if let Some(token) = self.fresh() {
                return Ok(token);
            }
            // It ended while this caller waited: a thousand callers must not try a dead key a thousand times.
            if let Some((number, failure)) = &purchases.failure
                && *number > seen
            {
                return Err(failure.share());
            }
            let result = self.purchase(&mut purchases).await;
            let number = self.ended.fetch_add(1, Ordering::SeqCst) + 1;
            purchases.failure = result.as_ref().err().map(|error| (number, error.share()));
            result
        })
    }

    fn refused(&self, token: &Arc<Secret>) -> bool {
        let mut cached = self.cached.write().unwrap_or_else(PoisonError::into_inner);
        // An older one may be refused late, when a newer one is cached already.
        if cached.as_ref().is_some_and(|cached| Arc::ptr_eq(&cached.access, token)) {
            *cached = None;
        }
        true
    }

    fn is_bought_with(&self, key_id: &KeyId, secret: Option<&Secret>) -> bool {
        let Grant::ApiKey(api_key) = &self.grant else { return false };
        let api_key = api_key.expose_secret();
        // Whether a key string begins with the id of its key is not published; where it does, it tells.
        let rest = api_key.strip_prefix(key_id.as_str()).and_then(|rest| rest.strip_prefix('_'));
        rest.is_some() || secret.is_some_and(|secret| api_key == secret.expose_secret())
    }
}
