//! The client: settings, and the one way every call is sent.

use std::{env, ffi::OsString, fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use rixl_api::{Call, ResponseValue};
use tracing::{Instrument as _, Span, field::Empty};
use url::{Host, Url};

use crate::{
    ApiKeys, ClientCredentials, ClientTokenRequest, Error, ErrorKind, KeyId, Operation, OrganizationId, Outcome,
    RetryPolicy, Secret, SharedToken, SystemTiming, Timing, TokenSource, Tokens,
    error::Opaque,
    response::Reply,
    route::Generation,
    token_source::{BoughtToken, Grant},
    tokens,
};

const BASE_URL: &str = "https://api.rixl.com";
const USER_AGENT: &str = concat!("rixl-credentials/", env!("CARGO_PKG_VERSION"));
/// Credentials are small; a page of 100 keys stays far below.
const MAX_BODY: usize = 1024 * 1024;

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
/// | `rixl.operation` | both | [`Operation::as_str`] |
/// | `rixl.outcome` | both | `ok`, `not_applied`, `unknown`, `applied` |
/// | `rixl.duration_ms` | both | milliseconds |
/// | `rixl.attempts` | call | how many attempts were made |
/// | `http.request.resend_count` | attempt | 0 for the first |
/// | `http.request.method`, `url.template` | attempt | of the route, never the ids in it |
/// | `rixl.route_generation` | attempt | 1 or 2 |
/// | `http.response.status_code` | both | the status, when a response came |
/// | `rixl.request_id` | attempt | the server's id of the request |
/// | `error.type` | both | the [`ErrorKind`], when it failed |
///
/// Secrets, ids and bodies are in none of them.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    tokens: Option<Shared>,
}

#[derive(Clone)]
struct Shared(Arc<dyn TokenSource>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource")
    }
}

impl Client {
    /// Settings for a client; the defaults need a token and nothing else.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A client with the settings of [`ClientBuilder::from_env`].
    ///
    /// ```no_run
    /// let client = rixl_credentials::Client::from_env()?;
    /// # Ok::<(), rixl_credentials::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] as [`ClientBuilder::from_env`] and [`ClientBuilder::build`].
    pub fn from_env() -> Result<Self, Error> {
        ClientBuilder::from_env()?.build()
    }

    /// The same client with another retry policy, for one call or for many. Buying tokens keeps the first policy.
    #[must_use]
    pub fn with_retry(&self, policy: RetryPolicy) -> Self {
        let mut client = self.clone();
        client.transport.retry = policy;
        client
    }

    /// The API keys of the bearer token's own organization, by the first generation of routes.
    pub fn api_keys(&self) -> ApiKeys {
        ApiKeys::new(self.clone(), None)
    }

    /// The tokens, by the first generation of routes.
    pub fn tokens(&self) -> Tokens {
        Tokens::new(self.transport.clone(), Generation::First)
    }

    /// The client credentials of the bearer token's own organization, by the first generation of routes.
    pub fn client_credentials(&self) -> ClientCredentials {
        ClientCredentials::new(self.clone(), None)
    }

    /// The second generation of routes, for this organization.
    pub fn organization(&self, id: &OrganizationId) -> Organization {
        Organization { client: self.clone(), id: id.clone() }
    }

    /// Sends one call with a token.
    pub(crate) async fn call<T, F, Fut>(&self, operation: Operation, send: F) -> Result<Reply<T>, Error>
    where
        F: Fn(rixl_api::Client) -> Fut,
        Fut: Future<Output = Result<ResponseValue<T>, rixl_api::Error<()>>>,
    {
        let Some(Shared(tokens)) = &self.tokens else {
            let error = Error::new(ErrorKind::Token, operation);
            return Err(error.with_detail("the client was built without a credential"));
        };
        self.transport.call(operation, Some(&**tokens), send).await
    }

    /// Where calls go, without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.transport.base_url
    }

    /// The time-out of one attempt: [`ClientBuilder::timeout`].
    pub fn timeout(&self) -> Duration {
        self.transport.timeout
    }

    /// The clock, the sleep and the chance that calls go by.
    pub fn timing(&self) -> &Arc<dyn Timing> {
        &self.transport.timing
    }

    /// When the bearer token expires, where that is known and nobody renews it: see [`TokenSource::expires_at`].
    pub fn token_expires_at(&self) -> Option<Timestamp> {
        self.tokens.as_ref().and_then(|Shared(tokens)| tokens.expires_at())
    }

    /// Whether the bearer tokens are bought with the key of this id or secret, so that they may end with it: see
    /// [`TokenSource::is_bought_with`].
    pub fn is_bought_with(&self, key_id: &KeyId, secret: Option<&Secret>) -> bool {
        self.tokens.as_ref().is_some_and(|Shared(tokens)| tokens.is_bought_with(key_id, secret))
    }

    /// This client, for a call whose response stays unparsed.
    pub(crate) fn sealed(&self) -> Self {
        let mut client = self.clone();
        client.transport.is_sealed = true;
        client
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Sends one call whose status is the whole result: whatever becomes of the body, it is a success.
    pub(crate) async fn call_for_effect<F, Fut>(&self, operation: Operation, send: F) -> Result<(), Error>
    where
        F: Fn(rixl_api::Client) -> Fut,
        Fut: Future<Output = Result<ResponseValue<()>, rixl_api::Error<()>>>,
    {
        match self.call(operation, send).await {
            Err(error) if error.outcome() == Outcome::Applied => Ok(()),
            result => result?.read(Ok),
        }
    }
}

/// The second generation of routes, for one organization.
#[derive(Clone, Debug)]
pub struct Organization {
    client: Client,
    id: OrganizationId,
}

impl Organization {
    pub(crate) fn parts(&self) -> (&Client, &OrganizationId) {
        (&self.client, &self.id)
    }

    /// The organization's API keys.
    pub fn api_keys(&self) -> ApiKeys {
        ApiKeys::new(self.client.clone(), Some(self.id.clone()))
    }

    /// The tokens, by the second generation of routes. They name no organization.
    pub fn tokens(&self) -> Tokens {
        Tokens::new(self.client.transport.clone(), Generation::Second)
    }

    /// The organization's client credentials.
    pub fn client_credentials(&self) -> ClientCredentials {
        ClientCredentials::new(self.client.clone(), Some(self.id.clone()))
    }
}

/// Settings of a [`Client`].
///
/// ```
/// use std::time::Duration;
/// use rixl_credentials::Client;
///
/// let client = Client::builder()
///     .base_url("https://api.rixl.com")
///     .bearer_token("eyJhbGciOi...")
///     .timeout(Duration::from_secs(10))
///     .connect_timeout(Duration::from_secs(3))
///     .user_agent("billing/1.4")
///     .build()?;
/// # Ok::<(), rixl_credentials::Error>(())
/// ```
#[must_use]
pub struct ClientBuilder {
    base_url: String,
    credential: Credential,
    timeout: Duration,
    connect_timeout: Duration,
    user_agent: String,
    max_body: usize,
    retry: RetryPolicy,
    timing: Arc<dyn Timing>,
}

enum Credential {
    None,
    Bearer(Secret),
    Grant(Grant),
    Source(Arc<dyn TokenSource>),
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            base_url: BASE_URL.into(),
            credential: Credential::None,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            user_agent: USER_AGENT.into(),
            max_body: MAX_BODY,
            retry: RetryPolicy::default(),
            timing: Arc::new(SystemTiming::default()),
        }
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the base URL: before `build` has checked it, it may hold a password.
        f.debug_struct("ClientBuilder")
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("user_agent", &self.user_agent)
            .field("max_response_bytes", &self.max_body)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Settings from the environment: `RIXL_BASE_URL`, and `RIXL_BEARER_TOKEN`, or else `RIXL_API_KEY`, which is
    /// exchanged for a token. An empty variable counts as not set.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when neither credential is set, or a variable is not UTF-8.
    pub fn from_env() -> Result<Self, Error> {
        let mut builder = Self::default();
        if let Some(url) = variable("RIXL_BASE_URL")? {
            builder = builder.base_url(url);
        }
        match (variable("RIXL_BEARER_TOKEN")?, variable("RIXL_API_KEY")?) {
            (Some(token), _) => Ok(builder.bearer_token(token)),
            (None, Some(key)) => Ok(builder.api_key(key)),
            (None, None) => Err(configuration("neither RIXL_BEARER_TOKEN nor RIXL_API_KEY is set")),
        }
    }

    /// Where the API is: `https`, or `http` on loopback; a path is kept as a prefix. Default: `https://api.rixl.com`.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Sends this token. The last of the credentials that are set counts.
    pub fn bearer_token(mut self, token: impl Into<Secret>) -> Self {
        self.credential = Credential::Bearer(token.into());
        self
    }

    /// Exchanges this API key for a token, and refreshes it before it expires. The last credential set counts.
    ///
    /// The exchange uses the first generation of routes, and the second where the server does not know the first. Do not
    /// rotate or delete this very key with the client: it would lose its own access with it.
    pub fn api_key(mut self, key: impl Into<Secret>) -> Self {
        self.credential = Credential::Grant(Grant::ApiKey(key.into()));
        self
    }

    /// Mints a client token with this client credential, and another before it expires. The last credential set counts.
    pub fn client_credential(mut self, request: ClientTokenRequest) -> Self {
        self.credential = Credential::Grant(Grant::Client(request));
        self
    }

    /// Asks this source for a token before each call. The last credential set counts.
    pub fn token_source(mut self, source: impl TokenSource + 'static) -> Self {
        self.credential = Credential::Source(Arc::new(source));
        self
    }

    /// The time-out of one attempt, from connecting to the last byte of the response. Default: 30 s. All attempts together
    /// are bounded by [`RetryPolicy::with_deadline`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The time-out of opening a connection, TLS included; at most half of [`timeout`](Self::timeout). Default: 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The `user-agent` header: visible ASCII and spaces. Default: `rixl-credentials/` and this library's version.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// The maximum size of a response body. Default: 1 MiB. hyper bounds the head: 100 headers, about 400 kB.
    pub fn max_response_bytes(mut self, max: usize) -> Self {
        self.max_body = max;
        self
    }

    /// When a failed call is repeated. Default: [`RetryPolicy::default`].
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Where waits and expiries take time and chance from. Default: the system. For tests.
    pub fn timing(mut self, timing: impl Timing + 'static) -> Self {
        self.timing = Arc::new(timing);
        self
    }

    /// Builds the client. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for a base URL that is not `https` (or `http` on loopback), or holds a user name,
    /// password, query or fragment; a token or user agent that can't stand in a header; a time-out of zero; or `https`
    /// in a build without TLS.
    pub fn build(self) -> Result<Client, Error> {
        let transport = Transport::new(&self)?;
        let source: Option<Arc<dyn TokenSource>> = match self.credential {
            Credential::None => None,
            Credential::Bearer(token) => {
                Call::new(Some(token.wire()), 0)
                    .map_err(|_| configuration("the bearer token is empty, or is not visible ASCII"))?;
                Some(Arc::new(SharedToken::new(token)))
            }
            Credential::Grant(Grant::ApiKey(key)) if !tokens::is_api_key(&key) => {
                return Err(configuration("the API key does not have the form of one"));
            }
            Credential::Grant(grant) => Some(Arc::new(BoughtToken::new(transport.clone(), grant))),
            Credential::Source(source) => Some(source),
        };
        Ok(Client { transport, tokens: source.map(Shared) })
    }
}

fn configuration(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, Operation::Configure).with_detail(detail)
}

fn variable(name: &str) -> Result<Option<String>, Error> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    OsString::into_string(value).map(Some).map_err(|_| configuration(format!("{name} is not UTF-8")))
}

/// How calls reach the server.
#[derive(Clone)]
pub(crate) struct Transport {
    base_url: Arc<str>,
    reads: reqwest::Client,
    changes: reqwest::Client,
    timeout: Duration,
    max_body: usize,
    is_sealed: bool,
    retry: RetryPolicy,
    timing: Arc<dyn Timing>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("base_url", &self.base_url)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

impl Transport {
    fn new(settings: &ClientBuilder) -> Result<Self, Error> {
        let base_url = checked_base_url(&settings.base_url)?;
        if settings.timeout.is_zero() || settings.connect_timeout.is_zero() {
            return Err(configuration("a time-out of zero would fail every call"));
        }
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| {
                let detail = "the HTTP client could not be built: a bad user agent, or TLS could not be set up";
                configuration(detail).with_source(Opaque(error.without_url()))
            })
        };
        Ok(Self {
            base_url: base_url.as_str().trim_end_matches('/').into(),
            reads: build(http_client(settings, &base_url))?,
            // Below us, an idle connection that turns out to be closed makes hyper send the request again, and HTTP/2
            // sends refused streams again: one call, several rotations.
            changes: build(http_client(settings, &base_url).pool_max_idle_per_host(0).http1_only())?,
            timeout: settings.timeout,
            max_body: settings.max_body,
            is_sealed: false,
            retry: settings.retry.clone(),
            timing: Arc::clone(&settings.timing),
        })
    }

    pub(crate) fn timing(&self) -> &dyn Timing {
        &*self.timing
    }

    /// Sends one call, and repeats it where the policy says and no harm can come of it.
    pub(crate) async fn call<T, F, Fut>(
        &self,
        operation: Operation,
        tokens: Option<&dyn TokenSource>,
        send: F,
    ) -> Result<Reply<T>, Error>
    where
        F: Fn(rixl_api::Client) -> Fut,
        Fut: Future<Output = Result<ResponseValue<T>, rixl_api::Error<()>>>,
    {
        let span = tracing::info_span!(
            "rixl.call",
            rixl.operation = operation.as_str(),
            rixl.attempts = Empty,
            rixl.outcome = Empty,
            rixl.duration_ms = Empty,
            http.response.status_code = Empty,
            error.type = Empty,
        );
        let started = self.timing.elapsed();
        // Pinned first: an instrumented future would be moved, and these are large.
        let attempts = pin!(self.attempts(operation, tokens, started, send));
        let mut result = attempts.instrument(span.clone()).await;
        record(&span, &result, || self.timing.elapsed().saturating_sub(started));
        if let Ok(reply) = &mut result {
            let [_, call] = &mut reply.spans;
            *call = span;
        }
        result
    }

    async fn attempts<T, F, Fut>(
        &self,
        operation: Operation,
        tokens: Option<&dyn TokenSource>,
        started: Duration,
        send: F,
    ) -> Result<Reply<T>, Error>
    where
        F: Fn(rixl_api::Client) -> Fut,
        Fut: Future<Output = Result<ResponseValue<T>, rixl_api::Error<()>>>,
    {
        let mut attempt = 1;
        let mut sent = 0;
        let mut is_renewed = false;
        loop {
            let token = match tokens {
                Some(tokens) => Some(self.token(operation, tokens, self.left(started)).await?),
                None => None,
            };
            let left = self.left(started);
            if left.is_zero() {
                let error = Error::new(ErrorKind::Timeout, operation);
                return Err(error.with_detail("the deadline passed before it could be sent"));
            }
            let result = self.attempt(operation, token.as_deref(), sent, left, &send).await;
            sent += 1;
            Span::current().record("rixl.attempts", sent);
            let error = match result {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            // A 401 was not carried out, so sending it again with another token is safe. Once: two tokens in a row that
            // are refused mean that the credential is.
            if let (Some(tokens), Some(token), false, true) = (tokens, &token, is_renewed, error.is_unauthorized())
                && tokens.refused(token)
            {
                is_renewed = true;
                continue;
            }
            let Some(delay) = self.retry.delay(attempt, &error, self.timing.chance()) else { return Err(error) };
            if delay >= self.left(started) {
                return Err(error);
            }
            self.timing.sleep(delay).await;
            attempt += 1;
        }
    }

    fn left(&self, started: Duration) -> Duration {
        self.retry.deadline.saturating_sub(self.timing.elapsed().saturating_sub(started))
    }

    /// Asks for the token. The source's own error may say "unknown" of its exchange; this call was not sent in any case.
    async fn token(
        &self,
        operation: Operation,
        tokens: &dyn TokenSource,
        left: Duration,
    ) -> Result<Arc<Secret>, Error> {
        let error = || Error::new(ErrorKind::Token, operation);
        match tokio::time::timeout(left, tokens.token()).await {
            Ok(token) => token.map_err(|cause| error().with_source(cause)),
            Err(_) => Err(error().with_detail("no bearer token came before the deadline")),
        }
    }

    /// Sends one attempt on a fresh low-level client, and reads what became of it.
    async fn attempt<T, F, Fut>(
        &self,
        operation: Operation,
        token: Option<&Secret>,
        resend_count: u32,
        left: Duration,
        send: &F,
    ) -> Result<Reply<T>, Error>
    where
        F: Fn(rixl_api::Client) -> Fut,
        Fut: Future<Output = Result<ResponseValue<T>, rixl_api::Error<()>>>,
    {
        let call = Call::new(token.map(Secret::wire), self.max_body).map_err(|_| {
            Error::new(ErrorKind::Token, operation).with_detail("the bearer token is empty, or is not visible ASCII")
        })?;
        // A change that was sent is given its whole time: to cut it short would make it one that may have happened.
        let call = call.with_timeout(if operation.changes_state() { self.timeout } else { self.timeout.min(left) });
        let call = if self.is_sealed { call.sealed() } else { call };
        let http = if operation.changes_state() { &self.changes } else { &self.reads };
        let low = rixl_api::Client::new_with_client(&self.base_url, http.clone(), call.clone());
        let span = tracing::info_span!(
            "rixl.attempt",
            rixl.operation = operation.as_str(),
            rixl.route_generation = Empty,
            rixl.request_id = Empty,
            rixl.outcome = Empty,
            rixl.duration_ms = Empty,
            http.request.method = Empty,
            http.request.resend_count = resend_count,
            http.response.status_code = Empty,
            url.template = Empty,
            error.type = Empty,
        );
        let started = self.timing.elapsed();
        let sending = pin!(send(low));
        let answered = sending.instrument(span.clone()).await;
        let response = call.take_response();
        let result = match answered {
            Ok(value) => {
                Ok(Reply { value: value.into_inner(), operation, response, spans: [span.clone(), Span::none()] })
            }
            Err(error) => Err(Error::from_call(operation, response, error, self.timing.now())),
        };
        record(&span, &result, || self.timing.elapsed().saturating_sub(started));
        result
    }
}

/// Records what is known when the response is there. It counts as a success only once it is parsed: see [`Reply::read`].
fn record<T>(span: &Span, result: &Result<Reply<T>, Error>, duration: impl Fn() -> Duration) {
    if span.is_disabled() {
        return;
    }
    span.record("rixl.duration_ms", u64::try_from(duration().as_millis()).unwrap_or(u64::MAX));
    let (status, request_id) = match result {
        Ok(reply) => (reply.status(), reply.request_id()),
        Err(error) => (error.status(), error.request_id().map(str::to_owned)),
    };
    if let Some(status) = status {
        span.record("http.response.status_code", status);
    }
    if let Some(request_id) = request_id {
        span.record("rixl.request_id", request_id);
    }
    if let Err(error) = result {
        record_outcome(span, Some(error));
    }
}

pub(crate) fn record_outcome(span: &Span, error: Option<&Error>) {
    if let Some(error) = error {
        span.record("error.type", tracing::field::debug(error.kind()));
    }
    let outcome = match error.map(Error::outcome) {
        None => "ok",
        Some(Outcome::NotApplied) => "not_applied",
        Some(Outcome::Unknown) => "unknown",
        Some(Outcome::Applied) => "applied",
    };
    span.record("rixl.outcome", outcome);
}

fn http_client(settings: &ClientBuilder, base_url: &Url) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        // A 307 would resend this call, token and all, to a host of the server's choosing.
        .redirect(reqwest::redirect::Policy::none())
        // reqwest itself resends what HTTP/2 refused.
        .retry(reqwest::retry::never())
        // Another crate of the build may turn compression on in reqwest: a small response could become a huge one.
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        // This would log every byte that is sent and received, at TRACE.
        .connection_verbose(false)
        // Below the time-out of the attempt, which alone can't tell that nothing was sent.
        .connect_timeout(settings.connect_timeout.min(settings.timeout / 2))
        .user_agent(&settings.user_agent);
    if base_url.scheme() == "http" {
        // Nothing is encrypted, so nobody is trusted; to load the system's certificates would take longer than all else.
        #[cfg(any(feature = "rustls", feature = "native-tls"))]
        let builder = builder.tls_certs_only([]);
        // A proxy from the environment would get the token in clear.
        return builder.no_proxy();
    }
    #[cfg(feature = "rustls")]
    let builder = builder.tls_backend_rustls();
    #[cfg(all(feature = "native-tls", not(feature = "rustls")))]
    let builder = builder.tls_backend_native();
    builder.https_only(true)
}

fn checked_base_url(text: &str) -> Result<Url, Error> {
    // The text is not repeated: it may hold a password.
    let url = Url::parse(text).map_err(|error| configuration(format!("the base URL is not a URL: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(configuration("the base URL must not hold a user name, password, query or fragment"));
    }
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" if cfg!(any(feature = "rustls", feature = "native-tls")) => Ok(url),
        "https" => Err(configuration(
            "the base URL is https, but this build has no TLS: turn on the feature rustls or native-tls",
        )),
        // The token and the new secret would cross the network in clear.
        "http" if !is_loopback => Err(configuration("the base URL must be https; http is for loopback only")),
        "http" => Ok(url),
        _ => Err(configuration("the base URL must begin with https://")),
    }
}
