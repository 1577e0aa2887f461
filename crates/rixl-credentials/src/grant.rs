//! Tokens that are bought: by an API key or a client credential.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    AccessToken, ApiKeyRequest, ApiKeySource, ClientTokenRequest, Error, ErrorKind, KeyId, Secret, TokenFuture,
    TokenPair, TokenRequest, TokenSource, Tokens, client_credentials::mint, route::Generation, sender::Sender,
    token_cache::is_same,
};

/// What a token is bought with.
pub(crate) enum Credential {
    ApiKey(Arc<Secret>),
    /// The API key that somebody else rotates.
    Followed(Arc<dyn ApiKeySource>),
    Client(ClientTokenRequest),
}

/// Buys tokens.
///
/// 1. A refresh token is tried once, whatever becomes of the attempt, and replaced together with the access token.
/// 2. A failed refresh falls back to a new exchange, at once unless the server asks for time (`Retry-After`). So does a
///    token that was refused: its refresh token may be as dead.
/// 3. Where the server does not know the second generation of routes, the first is used. A refresh stays in its generation,
///    a new exchange asks the second again: a 404 may have come in passing.
/// 4. A key that is followed is read before anything is bought. A refresh token of another key than that is left alone.
pub(crate) struct Grant {
    sender: Arc<Sender>,
    credential: Credential,
    held: Mutex<Held>,
    #[cfg(feature = "acknowledge")]
    acknowledgement: Option<crate::acknowledgement::Acknowledgement>,
}

#[derive(Default)]
struct Held {
    /// Of the last pair, and where it was bought.
    refresh: Option<(Secret, Generation)>,
    /// What that pair was bought with.
    key: Option<Arc<Secret>>,
    /// The key before that.
    before: Option<Arc<Secret>>,
    refused: Option<Refused>,
}

impl Held {
    /// What was used last, whether or not it bought anything.
    fn last_key(&self) -> Option<Arc<Secret>> {
        self.key.clone().or_else(|| self.refused.as_ref().map(|refused| Arc::clone(&refused.key)))
    }
}

/// A followed key that buys nothing: it was rotated away and its successor is on the way, or it is half-written.
struct Refused {
    key: Arc<Secret>,
    since: Duration,
    /// Until then RIXL is not asked again.
    until: Duration,
    error: Error,
}

impl Refused {
    fn error(&self, now: Duration) -> Error {
        let error = self.error.share();
        if now.saturating_sub(self.since) < UNDER_WAY { error.transient() } else { error }
    }
}

struct Bought {
    access: Secret,
    refresh: Option<Secret>,
    lifetime: Option<Duration>,
}

/// RIXL publishes no lifetime; a token of unknown lifetime is kept this long.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60);
/// How long a rotation may take from the end of the old key to the new one's arrival at the source.
const UNDER_WAY: Duration = Duration::from_secs(60);
/// The first and the longest wait before a key that was refused is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));

impl Grant {
    pub(crate) fn new(sender: Arc<Sender>, credential: Credential) -> Self {
        Self {
            sender,
            credential,
            held: Mutex::default(),
            #[cfg(feature = "acknowledge")]
            acknowledgement: None,
        }
    }

    #[cfg(feature = "acknowledge")]
    pub(crate) fn acknowledging(self, acknowledgement: Option<crate::acknowledgement::Acknowledgement>) -> Self {
        Self { acknowledgement, ..self }
    }

    /// Whether somebody else rotates the key.
    pub(crate) fn follows(&self) -> bool {
        matches!(self.credential, Credential::Followed(_))
    }

    /// Whether the source of the key has another one than the last token was bought with, which may have been refused.
    pub(crate) async fn has_new_key(&self, is_token_refused: bool) -> bool {
        let key = self.api_key_after(is_token_refused).await.ok().flatten();
        key.is_some_and(|key| self.is_new(&key) && !(is_token_refused && self.was_before(&key)))
    }

    /// Whether it is the key before the last one: a source that goes to and fro has no new one, and each of its tokens may be
    /// refused again.
    fn was_before(&self, key: &Arc<Secret>) -> bool {
        self.held().before.as_ref().is_some_and(|before| is_same(before, key))
    }

    fn is_new(&self, key: &Arc<Secret>) -> bool {
        self.held().key.as_ref().is_none_or(|before| !is_same(before, key))
    }

    /// The API key, as its source has it.
    pub(crate) async fn api_key(&self) -> Result<Option<Arc<Secret>>, Error> {
        self.api_key_after(false).await
    }

    /// The API key, as its source has it, which hears where the last one's token was refused.
    async fn api_key_after(&self, is_token_refused: bool) -> Result<Option<Arc<Secret>>, Error> {
        match &self.credential {
            Credential::ApiKey(key) => Ok(Some(Arc::clone(key))),
            Credential::Followed(source) => {
                let refused = {
                    let held = self.held();
                    let refused = held.refused.as_ref().map(|refused| Arc::clone(&refused.key));
                    refused.or_else(|| held.key.clone().filter(|_| is_token_refused))
                };
                let request = ApiKeyRequest::default();
                let request = match &refused {
                    Some(key) => request.with_refused(key),
                    None => request,
                };
                source.api_key(request).await.map(Some)
            }
            Credential::Client(_) => Ok(None),
        }
    }

    /// Whether this is the API key of this id or secret.
    pub(crate) fn is_api_key(&self, key_id: &KeyId, is_its_secret: &dyn Fn(&Secret) -> bool) -> bool {
        let api_key = match &self.credential {
            Credential::ApiKey(api_key) => Some(Arc::clone(api_key)),
            _ => self.held().last_key(),
        };
        let Some(api_key) = api_key else { return false };
        // Whether a key string begins with the id of its key is not published; where it does, it tells.
        let rest = api_key.expose_secret().strip_prefix(key_id.as_str()).and_then(|rest| rest.strip_prefix('_'));
        is_its_secret(&api_key) || rest.is_some()
    }

    /// Whether this is the client credential of this client id.
    pub(crate) fn is_client(&self, client_id: &str) -> bool {
        matches!(&self.credential, Credential::Client(request) if request.is_of(client_id))
    }

    async fn buy(&self, generation: Generation, key: Option<&Secret>) -> Result<Bought, Error> {
        match (&self.credential, key) {
            (Credential::Client(request), _) => {
                let token = mint(&self.sender, generation, request).await?;
                Ok(Bought { access: token.access_token, refresh: None, lifetime: token.expires_in })
            }
            (_, Some(key)) => Tokens::new(Arc::clone(&self.sender), generation).exchange(key).await.map(Bought::of),
            (_, None) => Err(Error::no_token("there is no API key")),
        }
    }

    async fn exchange(&self, key: Option<&Arc<Secret>>) -> Result<(Bought, Generation), Error> {
        let followed = key.filter(|_| self.follows());
        if let Some(key) = followed {
            let now = self.sender.timing.elapsed();
            let held = self.held();
            let refused = held.refused.as_ref().filter(|refused| is_same(&refused.key, key) && now < refused.until);
            if let Some(refused) = refused {
                return Err(refused.error(now));
            }
        }
        let secret = key.map(|key| &**key);
        let bought = match self.buy(Generation::Second, secret).await {
            Err(error) if error.is_not_found() => {
                self.buy(Generation::First, secret).await.map(|bought| (bought, Generation::First))
            }
            bought => bought.map(|bought| (bought, Generation::Second)),
        };
        bought.map_err(|error| match followed {
            // What has not the form of a key, or not that of any known one, may be half of one.
            Some(key)
                if error.is_authentication()
                    || matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Rejected) =>
            {
                self.refuse(key, error)
            }
            _ => error,
        })
    }

    fn refuse(&self, key: &Arc<Secret>, error: Error) -> Error {
        let now = self.sender.timing.elapsed();
        let mut held = self.held();
        let since =
            held.refused.as_ref().filter(|refused| is_same(&refused.key, key)).map_or(now, |refused| refused.since);
        let (first, longest) = PAUSES;
        let until = now.saturating_add(now.saturating_sub(since).clamp(first, longest));
        held.refused.insert(Refused { key: Arc::clone(key), since, until, error }).error(now)
    }

    /// What a refresh token gives, if it gives anything.
    async fn refreshed(&self, held: Option<(Secret, Generation)>) -> Result<Option<(Bought, Generation)>, Error> {
        let Some((refresh, generation)) = held else { return Ok(None) };
        match Tokens::new(Arc::clone(&self.sender), generation).refresh(&refresh).await {
            Ok(pair) => Ok(Some((Bought::of(pair), generation))),
            // The server asks to be left in peace, and an exchange would be no peace.
            Err(error)
                if matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Server)
                    && error.retry_after().is_some_and(|time| !time.is_zero()) =>
            {
                Err(error)
            }
            Err(_) => Ok(None),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bought {
    fn of(pair: TokenPair) -> Self {
        Self { access: pair.access_token, refresh: pair.refresh_token, lifetime: pair.expires_in }
    }
}

impl TokenSource for Grant {
    fn token<'a>(&'a self, request: TokenRequest<'a>) -> TokenFuture<'a> {
        Box::pin(async move {
            let key = self.api_key_after(request.refused().is_some()).await?;
            let is_of_new_key = key.as_ref().is_some_and(|key| self.is_new(key));
            let was_before = key.as_ref().is_some_and(|key| self.was_before(key));
            // Taken out first: a refresh token must not be tried twice, even if this future is dropped half-way.
            let held = self.held().refresh.take().filter(|_| request.refused().is_none() && !is_of_new_key);
            let (bought, generation) = match self.refreshed(held).await? {
                Some(refreshed) => refreshed,
                None => self.exchange(key.as_ref()).await?,
            };
            #[cfg(feature = "acknowledge")]
            if let (Some(acknowledgement), Some(key)) = (&self.acknowledgement, &key) {
                acknowledgement.write(key, &self.sender.timing);
            }
            let mut held = self.held();
            let before = if is_of_new_key { held.key.take() } else { held.before.take() };
            let is_of_new_key = is_of_new_key && !was_before;
            *held = Held { refresh: bought.refresh.map(|refresh| (refresh, generation)), key, before, refused: None };
            drop(held);
            // The server tells a duration, by its own clock. To this machine's clock it is added here and taken off again
            // by the cache, so that it does not matter whether that one is right.
            let lifetime = bought.lifetime.unwrap_or(UNKNOWN_LIFETIME);
            let expires_at = self.sender.timing.now().checked_add(lifetime).unwrap_or(Timestamp::MAX);
            Ok(AccessToken { is_of_new_key, ..AccessToken::new(bought.access).with_expires_at(expires_at) })
        })
    }
}
