//! Tokens that are bought: by an API key or a client credential, and renewed before they expire.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Mutex;

use crate::{
    ClientTokenRequest, Error, KeyId, Secret, TokenFuture, TokenSource, Tokens, client_credentials::mint, retry::share,
    route::Generation, sender::Sender,
};

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
    sender: Sender,
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
    pub(crate) fn new(sender: Sender, grant: Grant) -> Self {
        Self { sender, grant, cached: RwLock::default(), purchases: Mutex::default(), ended: AtomicU64::new(0) }
    }

    fn fresh(&self) -> Option<Arc<Secret>> {
        let now = self.sender.timing.elapsed();
        let cached = self.cached.read().unwrap_or_else(PoisonError::into_inner);
        cached.as_ref().filter(|cached| now < cached.fresh_until).map(|cached| Arc::clone(&cached.access))
    }

    async fn purchase(&self, purchases: &mut Purchases) -> Result<Arc<Secret>, Error> {
        let timing = &self.sender.timing;
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
                let tokens = Tokens::new(self.sender.clone(), generation);
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
                let token = mint(&self.sender, generation, request).await?;
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
