//! Tokens that are bought: by an API key or a client credential.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::{
    AccessToken, ClientTokenRequest, Error, KeyId, Secret, TokenFuture, TokenRequest, TokenSource, Tokens,
    client_credentials::mint, route::Generation, sender::Sender,
};

/// What a token is bought with.
pub(crate) enum Credential {
    ApiKey(Secret),
    Client(ClientTokenRequest),
}

/// Buys tokens.
///
/// 1. A refresh token is tried once, whatever becomes of the attempt, and replaced together with the access token.
/// 2. A failed refresh falls back to a new exchange.
/// 3. Where the server does not know the first generation of routes, the second is used from then on.
pub(crate) struct Grant {
    sender: Sender,
    credential: Credential,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    refresh: Option<Secret>,
    generation: Generation,
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
        Self { sender, credential, progress: Mutex::default() }
    }

    /// Whether this is the API key of this id or secret.
    pub(crate) fn is_api_key(&self, key_id: &KeyId, secret: Option<&Secret>) -> bool {
        let Credential::ApiKey(api_key) = &self.credential else { return false };
        let api_key = api_key.expose_secret();
        // Whether a key string begins with the id of its key is not published; where it does, it tells.
        let rest = api_key.strip_prefix(key_id.as_str()).and_then(|rest| rest.strip_prefix('_'));
        rest.is_some() || secret.is_some_and(|secret| api_key == secret.expose_secret())
    }

    async fn buy(&self, generation: Generation, refresh: Option<Secret>) -> Result<Bought, Error> {
        match &self.credential {
            Credential::ApiKey(key) => {
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
            Credential::Client(request) => {
                let token = mint(&self.sender, generation, request).await?;
                Ok(Bought { access: token.access_token, refresh: None, lifetime: token.expires_in })
            }
        }
    }
}

impl TokenSource for Grant {
    fn token<'a>(&'a self, _: TokenRequest<'a>) -> TokenFuture<'a> {
        Box::pin(async {
            let now = self.sender.timing.now();
            let mut progress = self.progress.lock().await;
            // Taken out first: a refresh token must not be tried twice, even if this future is dropped half-way.
            let refresh = progress.refresh.take();
            let mut bought = self.buy(progress.generation, refresh).await;
            if progress.generation == Generation::First && bought.as_ref().is_err_and(Error::is_not_found) {
                bought = self.buy(Generation::Second, None).await;
                if bought.is_ok() {
                    progress.generation = Generation::Second;
                }
            }
            let Bought { access, refresh, lifetime } = bought?;
            progress.refresh = refresh;
            // The server tells a duration, by its own clock. To this machine's clock it is added here and taken off again
            // by the cache, so that it does not matter whether that one is right.
            let expires_at = now.checked_add(lifetime.unwrap_or(UNKNOWN_LIFETIME)).unwrap_or(Timestamp::MAX);
            Ok(AccessToken::new(access).with_expires_at(expires_at))
        })
    }
}
