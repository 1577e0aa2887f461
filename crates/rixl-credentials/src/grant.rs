//! Tokens that are bought: by an API key or a client credential.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    AccessToken, ClientTokenRequest, Error, ErrorKind, KeyId, Secret, TokenFuture, TokenPair, TokenRequest,
    TokenSource, Tokens, client_credentials::mint, route::Generation, sender::Sender,
};

/// What a token is bought with.
pub(crate) enum Credential {
    ApiKey(Secret),
    Client(ClientTokenRequest),
}

/// Buys tokens.
///
/// 1. A refresh token is tried once, whatever becomes of the attempt, and replaced together with the access token.
/// 2. A failed refresh falls back to a new exchange, at once unless the server asks for time (`Retry-After`). So does a
///    token that was refused: its refresh token may be as dead.
/// 3. Where the server does not know the second generation of routes, the first is used. A refresh stays in its generation,
///    a new exchange asks the second again: a 404 may have come in passing.
pub(crate) struct Grant {
    sender: Sender,
    credential: Credential,
    /// Of the last pair, and where it was bought.
    refresh: Mutex<Option<(Secret, Generation)>>,
}

struct Bought {
    access: Secret,
    refresh: Option<Secret>,
    lifetime: Option<Duration>,
}

/// RIXL publishes no lifetime; a token of unknown lifetime is kept this long.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60);

impl Grant {
    pub(crate) fn new(sender: Sender, credential: Credential) -> Self {
        Self { sender, credential, refresh: Mutex::default() }
    }

    /// Whether this is the API key of this id or secret.
    pub(crate) fn is_api_key(&self, key_id: &KeyId, is_its_secret: &dyn Fn(&Secret) -> bool) -> bool {
        let Credential::ApiKey(api_key) = &self.credential else { return false };
        // Whether a key string begins with the id of its key is not published; where it does, it tells.
        let rest = api_key.expose_secret().strip_prefix(key_id.as_str()).and_then(|rest| rest.strip_prefix('_'));
        rest.is_some() || is_its_secret(api_key)
    }

    async fn buy(&self, generation: Generation) -> Result<Bought, Error> {
        match &self.credential {
            Credential::ApiKey(key) => Tokens::new(self.sender.clone(), generation).exchange(key).await.map(Bought::of),
            Credential::Client(request) => {
                let token = mint(&self.sender, generation, request).await?;
                Ok(Bought { access: token.access_token, refresh: None, lifetime: token.expires_in })
            }
        }
    }

    /// What a refresh token gives, if it gives anything.
    async fn refreshed(&self, held: Option<(Secret, Generation)>) -> Result<Option<(Bought, Generation)>, Error> {
        let Some((refresh, generation)) = held else { return Ok(None) };
        match Tokens::new(self.sender.clone(), generation).refresh(&refresh).await {
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

    fn held(&self) -> MutexGuard<'_, Option<(Secret, Generation)>> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
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
            // Taken out first: a refresh token must not be tried twice, even if this future is dropped half-way.
            let held = self.held().take().filter(|_| request.refused().is_none());
            let (bought, generation) = match self.refreshed(held).await? {
                Some(refreshed) => refreshed,
                None => match self.buy(Generation::Second).await {
                    Err(error) if error.is_not_found() => (self.buy(Generation::First).await?, Generation::First),
                    bought => (bought?, Generation::Second),
                },
            };
            *self.held() = bought.refresh.map(|refresh| (refresh, generation));
            // The server tells a duration, by its own clock. To this machine's clock it is added here and taken off again
            // by the cache, so that it does not matter whether that one is right.
            let lifetime = bought.lifetime.unwrap_or(UNKNOWN_LIFETIME);
            let expires_at = self.sender.timing.now().checked_add(lifetime).unwrap_or(Timestamp::MAX);
            Ok(AccessToken::new(bought.access).with_expires_at(expires_at))
        })
    }
}
