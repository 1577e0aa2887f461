//! The settings of a client, and what makes one of them.

use std::{env, ffi::OsString, fmt, sync::Arc, time::Duration};

use rixl_api::Call;

use crate::{
    Client, ClientTokenRequest, Error, ErrorKind, Operation, RetryPolicy, Secret, SharedToken, SystemTiming, Timing,
    TokenSource,
    bought_token::{BoughtToken, Grant},
    sender::Sender,
    tokens,
    transport::{self, Opaque},
};

const BASE_URL: &str = "https://api.rixl.com";
const USER_AGENT: &str = concat!("rixl-credentials/", env!("CARGO_PKG_VERSION"));
/// Credentials are small; a page of 100 keys stays far below.
const MAX_BODY: usize = 1024 * 1024;

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

    /// The time-out of one attempt, from connecting to the last byte of the response. Default: 30 s.
    /// [`RetryPolicy::with_deadline`] bounds all attempts together.
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
        let mut sender = self.sender()?;
        sender.tokens = match self.credential {
            Credential::None => None,
            Credential::Bearer(token) => {
                Call::new(Some(token.wire()), 0)
                    .map_err(|_| configuration("the bearer token is empty, or is not visible ASCII"))?;
                Some(Arc::new(SharedToken::new(token)))
            }
            Credential::Grant(Grant::ApiKey(key)) if !tokens::is_api_key(&key) => {
                return Err(configuration("the API key does not have the form of one"));
            }
            Credential::Grant(grant) => Some(Arc::new(BoughtToken::new(sender.clone(), grant))),
            Credential::Source(source) => Some(source),
        };
        Ok(Client::new(sender))
    }

    /// How calls are sent, without a source of tokens.
    fn sender(&self) -> Result<Sender, Error> {
        let base_url =
            transport::server_url(&self.base_url).map_err(|error| configuration(format!("the base URL {error}")))?;
        if self.timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(configuration("a time-out of zero would fail every call"));
        }
        let http_client = || transport::http_client(&base_url, &self.user_agent, self.timeout, self.connect_timeout);
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| {
                let detail = "the HTTP client could not be built: a bad user agent, or TLS could not be set up";
                configuration(detail).with_source(Opaque::from(error))
            })
        };
        Ok(Sender {
            base_url: base_url.as_str().trim_end_matches('/').into(),
            reads: build(http_client())?,
            changes: build(transport::never_resent(http_client()))?,
            timeout: self.timeout,
            max_body: self.max_body,
            is_sealed: false,
            retry: self.retry.clone(),
            timing: Arc::clone(&self.timing),
            tokens: None,
        })
    }
}

fn configuration(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, Operation::Configure).with_detail(detail)
}

fn variable(name: &str) -> Result<Option<String>, Error> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    OsString::into_string(value).map(Some).map_err(|_| configuration(format!("{name} is not UTF-8")))
}
