//! The client: where every operation is reached from.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    ApiKey, ApiKeyUpdate, ApiKeys, ClientCredentials, Error, KeyId, OrganizationId, RetryPolicy, Secret, Timing,
    Tokens, route::Generation, sender::Sender,
};

/// A client of the RIXL credentials API. Cheap to clone; share one.
///
/// ```
/// use rixl_credentials::{Client, KeyId};
/// # async fn example() -> Result<(), rixl_credentials::Error> {
/// let client = Client::builder().bearer_token("eyJhbGciOi...").build()?;
/// let issued = client.api_keys().rotate(&"XyZ9aB8cD1".parse()?).await?;
/// # Ok(())
/// # }
/// ```
///
/// What every call does and does not do:
///
/// 1. Input is checked before anything is sent.
/// 2. Whatever changes state is sent on HTTP/1.1, on a connection that no call used before: the layers below would send
///    it again on a stale one.
/// 3. It is repeated only if it did not happen, and reads are repeated, under the client's [`RetryPolicy`].
/// 4. Redirects are refused, for reads too. `http://` is refused except on loopback, and there no proxy is used.
/// 5. Responses are read up to a bound, 1 MiB unless set otherwise. Compression is not asked for.
/// 6. After a 401 a token that can be renewed is renewed, and the call is sent once more.
///
/// # Tracing
///
/// Each call is a `tracing` span `rixl.call`, and each of its attempts a span `rixl.attempt` within it. Fields carry
/// OpenTelemetry's names where it has them:
///
/// | field | in | what |
/// |---|---|---|
/// | `rixl.operation` | both | [`Operation::as_str`](crate::Operation::as_str) |
/// | `rixl.outcome` | both | `ok`, `not_applied`, `unknown`, `applied` |
/// | `rixl.duration_ms` | both | milliseconds |
/// | `rixl.attempts` | call | how many attempts were made |
/// | `http.request.resend_count` | attempt | 0 for the first |
/// | `http.request.method`, `url.template` | attempt | of the route, never the ids in it |
/// | `rixl.route_generation` | attempt | 1 or 2 |
/// | `http.response.status_code` | both | the status, when a response came |
/// | `rixl.request_id` | attempt | the server's id of the request |
/// | `error.type` | both | the [`ErrorKind`](crate::ErrorKind), when it failed |
///
/// Secrets, ids and bodies are in none of them.
#[derive(Clone, Debug)]
pub struct Client {
    sender: Sender,
}

impl Client {
    pub(crate) fn new(sender: Sender) -> Self {
        Self { sender }
    }

    /// The same client with another retry policy, for one call or for many. Buying tokens keeps the first policy.
    #[must_use]
    pub fn with_retry(&self, policy: RetryPolicy) -> Self {
        Self { sender: Sender { retry: policy, ..self.sender.clone() } }
    }

    /// When a failed call is repeated: [`ClientBuilder::retry`](crate::ClientBuilder::retry).
    pub fn retry_policy(&self) -> &RetryPolicy {
        &self.sender.retry
    }

    /// The API keys of the bearer token's own organization, by the first generation of routes.
    pub fn api_keys(&self) -> ApiKeys {
        ApiKeys::new(self.sender.clone(), None)
    }

    /// The tokens, by the first generation of routes.
    pub fn tokens(&self) -> Tokens {
        Tokens::new(self.sender.clone(), Generation::First)
    }

    /// The client credentials of the bearer token's own organization, by the first generation of routes.
    pub fn client_credentials(&self) -> ClientCredentials {
        ClientCredentials::new(self.sender.clone(), None)
    }

    /// The second generation of routes, for this organization.
    pub fn organization(&self, id: &OrganizationId) -> Organization {
        Organization { sender: self.sender.clone(), id: id.clone() }
    }

    /// Where calls go, without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.sender.base_url
    }

    /// The time-out of one attempt: [`ClientBuilder::timeout`](crate::ClientBuilder::timeout).
    pub fn timeout(&self) -> Duration {
        self.sender.timeout
    }

    /// The clock, the sleep and the chance that calls go by.
    pub fn timing(&self) -> &Arc<dyn Timing> {
        &self.sender.timing
    }

    /// When the bearer token expires, where that is known and nobody renews it: see
    /// [`TokenSource::expires_at`](crate::TokenSource::expires_at).
    pub fn token_expires_at(&self) -> Option<Timestamp> {
        self.sender.tokens.as_ref().and_then(|tokens| tokens.expires_at())
    }

    /// Whether the bearer tokens are bought with the key of this id or secret, so that they may end with it: see
    /// [`TokenSource::is_bought_with`](crate::TokenSource::is_bought_with).
    pub fn is_bought_with(&self, key_id: &KeyId, secret: Option<&Secret>) -> bool {
        self.sender.tokens.as_ref().is_some_and(|tokens| tokens.is_bought_with(key_id, secret))
    }
}

/// The second generation of routes, for one organization.
#[derive(Clone, Debug)]
pub struct Organization {
    sender: Sender,
    id: OrganizationId,
}

impl Organization {
    /// The organization's API keys.
    pub fn api_keys(&self) -> ApiKeys {
        ApiKeys::new(self.sender.clone(), Some(self.id.clone()))
    }

    /// Changes an API key's name, expiry or policies. Its secret stays.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a bad name, or when nothing is to be changed; else as for every
    /// change: look at [`Error::outcome`].
    pub async fn update_api_key(&self, id: &KeyId, update: ApiKeyUpdate) -> Result<ApiKey, Error> {
        self.api_keys().update(&self.id, id, update).await
    }

    /// The tokens, by the second generation of routes. They name no organization.
    pub fn tokens(&self) -> Tokens {
        Tokens::new(self.sender.clone(), Generation::Second)
    }

    /// The organization's client credentials.
    pub fn client_credentials(&self) -> ClientCredentials {
        ClientCredentials::new(self.sender.clone(), Some(self.id.clone()))
    }
}
