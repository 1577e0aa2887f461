//! The client, from which every operation is reached.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    AccessToken, ApiKey, ApiKeyUpdate, ApiKeys, ClientCredentials, Error, KeyId, OrganizationId, Policies, ProjectId,
    RetryPolicy, Secret, Timing, Tokens, Webhooks, headers, route::Generation, sender::Sender, token_cache::Bearer,
};

/// A client of the RIXL credentials API. Cheap to clone; share one.
///
/// ```
/// use rixl_credentials::Client;
/// # async fn example() -> Result<(), rixl_credentials::Error> {
/// let client = Client::builder().bearer_token("eyJhbGciOi...").build()?;
/// let keys = client.organization(&"OR98234j23".parse()?).api_keys();
/// let issued = keys.rotate(&"XyZ9aB8cD1".parse()?).await?;
/// # Ok(())
/// # }
/// ```
///
/// Rules for every call:
///
/// 1. Input is validated before anything is sent.
/// 2. Whatever changes state is sent on HTTP/1.1, on a connection that no call used before: the layers below would send
///    it again on a stale one.
/// 3. It is retried only if it did not happen; reads are retried too, both under the client's [`RetryPolicy`].
/// 4. Redirects are refused, for reads too. `http://` is refused except on loopback. On loopback no proxy is used.
/// 5. Responses are read up to a bound, 1 MiB unless set otherwise. Compression is not asked for.
/// 6. After a 401 a token that can be renewed is renewed, and the call is sent once more.
/// 7. What has arrived in time is used, however late the caller polls: after SIGSTOP, in a busy executor, behind a slow
///    consumer of a stream. Nothing is written after the time is up.
///
/// [`tried`](crate::tried) lists what all this was tested against.
///
/// # Cancellation
///
/// A call whose future is dropped before it completes, by `tokio::time::timeout` or `select!` or because its task is
/// aborted, is an [`Outcome::Unknown`](crate::Outcome::Unknown) without an error: a change that was under way may still
/// happen, and the secret in its response is lost. Only its spans say so (`rixl.outcome` is `unknown`, `error.type` is
/// `cancelled`). So bound a call with its own settings, which never cut short a change under way:
/// [`with_attempt_timeout`](Self::with_attempt_timeout) and [`with_deadline`](Self::with_deadline). If the caller must
/// not wait, make the call in a separate task. Reads can be dropped at any time.
///
/// # Runtimes
///
/// Calls are made in a Tokio runtime with timers and I/O (`enable_all`). Outside one, each fails with
/// [`Configuration`](crate::ErrorKind::Configuration), and nothing is sent; if panics abort, a runtime without timers
/// or I/O still ends the process. A program without `async` creates a single-threaded runtime and calls its `block_on`:
/// see the ten lines of the example `blocking`. `wasm32` is not supported: there a browser sends the requests, and may
/// follow redirects, resend them and reuse connections, so none of these promises could be kept.
///
/// A client can be used from several Tokio runtimes. Reads share connections in the first one that reads; in any other
/// each read opens its own, since a shared one would hang with a runtime that nobody drives, such as a `current_thread`
/// runtime outside `block_on`. So if there are several, give each its own client.
///
/// # Tracing
///
/// Each call is a `tracing` span `rixl.call`, and each of its attempts a span `rixl.attempt` within it, both at level
/// INFO with the target `rixl_credentials`. Attempts follow OpenTelemetry's conventions for HTTP clients, except for
/// `url.full`, which would show ids. These names are [stable](crate::stability):
///
/// | field | in | what |
/// |---|---|---|
/// | `otel.name` | both | of the call, its operation; of the attempt, method and template |
/// | `otel.kind` | both | `internal`, `client` |
/// | `otel.status_code` | both | `ERROR`, when it failed |
/// | `rixl.operation` | both | [`Operation::id`](crate::Operation::id) |
/// | `rixl.outcome` | both | `ok`, or [`Outcome::as_str`](crate::Outcome::as_str) |
/// | `rixl.duration_ms` | both | milliseconds |
/// | `rixl.attempts` | call | how many attempts were made |
/// | `http.request.resend_count` | attempt | from the second on |
/// | `http.request.method`, `url.template` | attempt | of the route, never the ids in it |
/// | `server.address`, `server.port` | attempt | of the base URL |
/// | `rixl.route_generation` | attempt | 1 or 2 |
/// | `http.response.status_code` | both | the status, when a response came |
/// | `rixl.request_id` | attempt | the server's id of the request |
/// | `error.type` | both | [`ErrorKind::as_str`](crate::ErrorKind::as_str), when it failed, or `cancelled` |
///
/// None of them contains secrets, ids or bodies. [`ClientBuilder::traceparent`](crate::ClientBuilder::traceparent)
/// makes the server's spans part of the application's trace.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) sender: Arc<Sender>,
}

impl Client {
    pub(crate) fn new(sender: Arc<Sender>) -> Self {
        Self { sender }
    }

    /// The same client with another retry policy, for one call or for many. Requests for tokens keep the first policy.
    #[must_use]
    pub fn with_retry(&self, policy: RetryPolicy) -> Self {
        Self { sender: Arc::new(Sender { retry: policy, ..Sender::clone(&self.sender) }) }
    }

    /// The same client with another time-out of one attempt: [`ClientBuilder::attempt_timeout`]. The connect time-out
    /// stays; if it is longer than this, a connection that does not open in time is a
    /// [`Timeout`](crate::ErrorKind::Timeout). Nothing was changed then either. With zero, every call fails, and
    /// nothing is sent.
    ///
    /// [`ClientBuilder::attempt_timeout`]: crate::ClientBuilder::attempt_timeout
    ///
    /// ```
    /// use std::time::Duration;
    /// # fn example(client: rixl_credentials::Client) {
    /// let patient = client.with_attempt_timeout(Duration::from_secs(60)).with_deadline(Duration::from_secs(300));
    /// # }
    /// ```
    #[must_use]
    pub fn with_attempt_timeout(&self, timeout: Duration) -> Self {
        Self { sender: Arc::new(Sender { attempt_timeout: timeout, ..Sender::clone(&self.sender) }) }
    }

    /// The same client with another bound of whole calls: [`ClientBuilder::deadline`](crate::ClientBuilder::deadline).
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { sender: Arc::new(Sender { deadline: Some(deadline), ..Sender::clone(&self.sender) }) }
    }

    /// When a failed call is repeated: [`ClientBuilder::retry`](crate::ClientBuilder::retry).
    #[doc(hidden)]
    pub fn retry_policy(&self) -> &RetryPolicy {
        &self.sender.retry
    }

    /// This organization's API keys, client credentials, webhook endpoints and policies.
    pub fn organization(&self, id: &OrganizationId) -> Organization {
        Organization { sender: Arc::clone(&self.sender), id: id.clone() }
    }

    /// The tokens that API keys are exchanged for. Their routes name no organization.
    pub fn tokens(&self) -> Tokens {
        Tokens::new(Arc::clone(&self.sender), Generation::Second)
    }

    /// The bearer token that calls are sent with, renewed as for them, and its expiry, if known: for routes that this
    /// client does not cover, such as RIXL's media.
    ///
    /// ```
    /// # async fn example(client: rixl_credentials::Client, http: reqwest::Client, url: &str) -> Result<(), Box<dyn std::error::Error>> {
    /// let token = client.bearer_token().await?;
    /// let mut response = http.get(url).bearer_auth(token.secret().expose_secret()).send().await?;
    /// if response.status() == 401 {
    ///     // It died with its key, which was rotated: there is another one.
    ///     let token = client.bearer_token_after(&token).await?;
    ///     response = http.get(url).bearer_auth(token.secret().expose_secret()).send().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Token`](crate::ErrorKind::Token) with the cause, when there is none; transient failures were
    /// retried under the client's [`RetryPolicy`]. [`ErrorKind::Configuration`](crate::ErrorKind::Configuration)
    /// [outside of a runtime](Self#runtimes).
    pub async fn bearer_token(&self) -> Result<AccessToken, Error> {
        let bearer = self.bearer()?;
        self.sender.obtain(|| bearer.token(None)).await
    }

    /// The bearer token after RIXL refused this one with a 401. It is the same one if there is no other.
    ///
    /// # Errors
    ///
    /// As of [`bearer_token`](Self::bearer_token).
    pub async fn bearer_token_after(&self, refused: &AccessToken) -> Result<AccessToken, Error> {
        let bearer = self.bearer()?;
        self.sender.obtain(|| bearer.token(Some(&refused.secret))).await
    }

    /// The current API key, from its source, which is asked each time: for routes that take it in the header
    /// `X-API-Key`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Token`](crate::ErrorKind::Token) when the client was built without an API key, or the source has
    /// none; otherwise as for [`bearer_token`](Self::bearer_token).
    pub async fn api_key_header(&self) -> Result<Arc<Secret>, Error> {
        let bearer = self.bearer()?;
        self.sender.obtain(|| bearer.api_key()).await
    }

    fn bearer(&self) -> Result<&Bearer, Error> {
        let bearer = self.sender.bearer.as_ref();
        bearer.ok_or_else(|| Error::no_token("the client was built without a credential"))
    }

    /// The first generation of routes, such as `POST /platform/api-keys/{keyId}/rotate`.
    pub fn first_generation(&self) -> FirstGeneration {
        FirstGeneration { sender: Arc::clone(&self.sender) }
    }

    /// Where calls go, without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.sender.server.url
    }

    /// The time-out of one attempt: [`ClientBuilder::attempt_timeout`](crate::ClientBuilder::attempt_timeout).
    #[doc(hidden)]
    pub fn attempt_timeout(&self) -> Duration {
        self.sender.attempt_timeout
    }

    /// The clock, the sleep and the chance that calls go by.
    #[doc(hidden)]
    pub fn timing(&self) -> &Arc<dyn Timing> {
        &self.sender.timing
    }

    /// How far the server's clock is ahead of this machine's, to about a second, by the `Date` of its last response.
    #[doc(hidden)]
    pub fn server_ahead(&self) -> Option<SignedDuration> {
        let dated = self.sender.server.dated.lock().unwrap_or_else(PoisonError::into_inner);
        let (date, at) = dated.as_ref()?;
        Some(headers::http_date(date.to_str().ok()?)?.duration_since(*at))
    }

    /// When the bearer token expires, where that is known and nobody renews it.
    #[doc(hidden)]
    pub fn token_expires_at(&self) -> Option<Timestamp> {
        self.sender.bearer.as_ref().and_then(Bearer::expires_at)
    }

    /// Whether the bearer tokens are bought with the key of this id, or with a secret that is one of its, so that they may end
    /// with it.
    #[doc(hidden)]
    pub fn is_bought_with(&self, key_id: &KeyId, is_its_secret: impl Fn(&Secret) -> bool) -> bool {
        self.sender.bearer.as_ref().is_some_and(|bearer| bearer.is_bought_with(key_id, &is_its_secret))
    }

    /// Whether the bearer tokens are minted with this client id, so that they end with its credential.
    #[doc(hidden)]
    pub fn is_minted_with(&self, client_id: &str) -> bool {
        self.sender.bearer.as_ref().is_some_and(|bearer| bearer.is_minted_with(client_id))
    }
}

/// One organization: the second generation of routes, the only one in RIXL's specifications since July 2026.
#[derive(Clone, Debug)]
pub struct Organization {
    sender: Arc<Sender>,
    id: OrganizationId,
}

impl Organization {
    /// The organization's API keys.
    pub fn api_keys(&self) -> ApiKeys {
        ApiKeys::new(Arc::clone(&self.sender), Some(self.id.clone()))
    }

    /// Changes an API key's name, expiry or policies. Its secret stays.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a bad name, or when nothing is to be changed; else as for
    /// [every change](Error#every-change).
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened: see [`Client`](crate::Client#cancellation).
    pub async fn update_api_key(&self, id: &KeyId, update: ApiKeyUpdate) -> Result<ApiKey, Error> {
        self.api_keys().update(&self.id, id, update).await
    }

    /// The organization's client credentials.
    pub fn client_credentials(&self) -> ClientCredentials {
        ClientCredentials::new(Arc::clone(&self.sender), Some(self.id.clone()))
    }

    /// The webhook endpoints of one of the organization's projects. Their routes name only the project.
    pub fn webhooks(&self, project: &ProjectId) -> Webhooks {
        Webhooks::new(Arc::clone(&self.sender), project.clone())
    }

    /// The organization's policies.
    pub fn policies(&self) -> Policies {
        Policies::new(Arc::clone(&self.sender), self.id.clone())
    }
}

/// The first generation of routes, `/platform/api-keys` and its like, where the organization is the bearer token's own.
/// RIXL does not publish whether it still serves it.
#[derive(Clone, Debug)]
pub struct FirstGeneration {
    sender: Arc<Sender>,
}

impl FirstGeneration {
    /// The API keys of the bearer token's organization.
    pub fn api_keys(&self) -> ApiKeys {
        ApiKeys::new(Arc::clone(&self.sender), None)
    }

    /// The tokens that API keys are exchanged for.
    pub fn tokens(&self) -> Tokens {
        Tokens::new(Arc::clone(&self.sender), Generation::First)
    }

    /// The client credentials of the bearer token's organization.
    pub fn client_credentials(&self) -> ClientCredentials {
        ClientCredentials::new(Arc::clone(&self.sender), None)
    }
}
