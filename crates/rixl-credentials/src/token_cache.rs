//! The cache in front of every source of tokens: what [`TokenSource`] promises.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rixl_api::Call;
use tokio::sync::Mutex;

use crate::{
    AccessToken, Error, KeyId, Secret, SharedToken, SystemTiming, Timing, TokenRequest, TokenSource, grant::Grant,
    retry::share,
};

/// What the bearer tokens of a client are.
#[derive(Clone)]
pub(crate) enum Bearer {
    /// One that is at hand.
    Shared(SharedToken),
    Cached(Arc<TokenCache>),
}

impl Bearer {
    /// When it expires, where that is known and nobody renews it.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::Shared(token) => token.expires_at(),
            Self::Cached(_) => None,
        }
    }

    /// Whether they are bought with the API key of this id or secret, and so may end with it.
    pub(crate) fn is_bought_with(&self, key_id: &KeyId, secret: Option<&Secret>) -> bool {
        match self {
            Self::Cached(cache) => match &cache.source {
                Source::Grant(grant) => grant.is_api_key(key_id, secret),
                Source::Foreign(_) => false,
            },
            Self::Shared(_) => false,
        }
    }
}

pub(crate) enum Source {
    Grant(Box<Grant>),
    Foreign(Arc<dyn TokenSource>),
}

/// Asks its source once at a time, and keeps what says how long it lives.
pub struct TokenCache {
    source: Source,
    timing: Arc<dyn Timing>,
    kept: RwLock<Option<Kept>>,
    /// Held while the source is asked; within, what the last request came to.
    asking: Mutex<Option<Asked>>,
    /// How many requests were begun. Both are read before waiting for one.
    begun: AtomicU64,
    /// The number of the last request that ended; one that was abandoned does not.
    ended: AtomicU64,
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCache([redacted])")
    }
}

/// The number of a request, and what it came to.
type Asked = (u64, Result<Arc<Secret>, Error>);

struct Kept {
    token: Arc<Secret>,
    /// By [`Timing::elapsed`].
    fresh_until: Duration,
}

impl TokenCache {
    pub(crate) fn new(source: Source, timing: Arc<dyn Timing>) -> Self {
        Self {
            source,
            timing,
            kept: RwLock::default(),
            asking: Mutex::default(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// In front of a source of tokens for another server than RIXL's.
    pub fn of(source: impl TokenSource + 'static) -> Self {
        Self::new(Source::Foreign(Arc::new(source)), Arc::new(SystemTiming::default()))
    }

    /// The token to send now, after this one was refused. It may be the [same](is_same) again.
    ///
    /// # Errors
    ///
    /// As of the source.
    pub async fn token(&self, refused: Option<&Arc<Secret>>) -> Result<Arc<Secret>, Error> {
        if let Some(refused) = refused {
            self.forget(refused);
        }
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let (begun, ended) = (self.begun.load(Ordering::SeqCst), self.ended.load(Ordering::SeqCst));
        let mut asking = self.asking.lock().await;
        if let Some(refused) = refused {
            // Whoever asked meanwhile may not have known, and kept it again.
            self.forget(refused);
        }
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        match &*asking {
            // It ended while this caller waited: a thousand callers must not try a dead key a thousand times.
            Some((number, Err(failure))) if *number > ended => return Err(failure.share()),
            // It was begun while this caller waited, so this token is as new as one that is asked for now.
            Some((number, Ok(token))) if *number > begun && refused.is_none_or(|refused| !is_same(token, refused)) => {
                return Ok(Arc::clone(token));
            }
            _ => {}
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let result = self.ask(refused).await;
        self.ended.store(number, Ordering::SeqCst);
        *asking = Some((number, result.as_ref().map(Arc::clone).map_err(Error::share)));
        result
    }

    async fn ask(&self, refused: Option<&Arc<Secret>>) -> Result<Arc<Secret>, Error> {
        let (asked, now) = (self.timing.elapsed(), self.timing.now());
        let mut request = TokenRequest::default();
        if let Some(refused) = refused {
            request = request.with_refused(refused);
        }
        let AccessToken { secret, expires_at } = match &self.source {
            Source::Grant(grant) => grant.token(request).await?,
            Source::Foreign(source) => source.token(request).await?,
        };
        // One that can't be sent is never refused, and would be kept until it ends.
        if let Some(expires_at) = expires_at.filter(|_| Call::new(Some(secret.wire()), 0).is_ok()) {
            let lifetime = Duration::try_from(expires_at.duration_since(now)).unwrap_or_default();
            let fresh_for = share(lifetime, 0.75 + 0.15 * self.timing.chance());
            let kept = Kept { token: Arc::clone(&secret), fresh_until: asked.saturating_add(fresh_for) };
            *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        }
        Ok(secret)
    }

    fn fresh(&self) -> Option<Arc<Secret>> {
        let now = self.timing.elapsed();
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|kept| now < kept.fresh_until).map(|kept| Arc::clone(&kept.token))
    }

    /// An older one may be refused late, when a newer one is kept already.
    fn forget(&self, refused: &Arc<Secret>) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        kept.take_if(|kept| is_same(&kept.token, refused));
    }
}

/// Whether both are one token: a source that reads a file gives the same text in another place.
#[must_use]
pub fn is_same(one: &Arc<Secret>, other: &Arc<Secret>) -> bool {
    Arc::ptr_eq(one, other) || one.expose_secret() == other.expose_secret()
}
