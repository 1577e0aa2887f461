//! The settings of a client, and the builder that applies them.

use std::{
    env,
    ffi::OsString,
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use rixl_api::Call;

use crate::{
    ApiKeySource, Client, ClientTokenRequest, Error, ErrorKind, Operation, RetryPolicy, Secret, SharedToken,
    SystemTiming, Timing, TokenSource,
    api_key_source::ApiKeyFile,
    elsewhere::Elsewhere,
    grant::{self, Grant},
    sender::{self, Sender, Server, Traceparent},
    token_cache::{Bearer, Source, TokenCache},
    tokens,
    transport::{self, Network, Opaque, Proxy},
};

const BASE_URL: &str = "https://api.rixl.com";
const USER_AGENT: &str = concat!("rixl-credentials/", env!("CARGO_PKG_VERSION"));
/// Credentials are small; a page of 100 keys stays far below.
const MAX_BODY: usize = 1024 * 1024;

impl Client {
    /// Settings for a client; the defaults need only a token.
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
///     .attempt_timeout(Duration::from_secs(10))
///     .connect_timeout(Duration::from_secs(3))
///     .deadline(Duration::from_secs(60))
///     .user_agent("billing/1.4")
///     .build()?;
/// # Ok::<(), rixl_credentials::Error>(())
/// ```
#[must_use]
pub struct ClientBuilder {
    base_url: String,
    credential: Credential,
    attempt_timeout: Duration,
    connect_timeout: Duration,
    deadline: Option<Duration>,
    user_agent: String,
    max_body: usize,
    retry: RetryPolicy,
    timing: Arc<dyn Timing>,
    traceparent: Option<Traceparent>,
    network: Network,
    #[cfg(feature = "acknowledge")]
    acknowledgement: Option<crate::acknowledgement::Acknowledgement>,
}

enum Credential {
    None,
    Bearer(SharedToken),
    Grant(grant::Credential),
    Source(Arc<dyn TokenSource>),
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            base_url: BASE_URL.into(),
            credential: Credential::None,
            attempt_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            deadline: None,
            user_agent: String::new(),
            max_body: MAX_BODY,
            retry: RetryPolicy::default(),
            timing: Arc::new(SystemTiming::default()),
            traceparent: None,
            network: Network::default(),
            #[cfg(feature = "acknowledge")]
            acknowledgement: None,
        }
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the base URL, which may hold a password before `build` has checked it, nor the way there, which may for good.
        f.debug_struct("ClientBuilder")
            .field("attempt_timeout", &self.attempt_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("deadline", &self.deadline)
            .field("user_agent", &self.user_agent)
            .field("max_response_bytes", &self.max_body)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Settings from the environment: `RIXL_BASE_URL`, and the first of `RIXL_BEARER_TOKEN`, `RIXL_API_KEY`, which is exchanged
    /// for a token, and `RIXL_API_KEY_FILE`, an [`api_key_file`](Self::api_key_file). An empty variable counts as not set.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when no credential is set, or a variable is not UTF-8.
    pub fn from_env() -> Result<Self, Error> {
        let mut builder = Self::default();
        if let Some(url) = variable("RIXL_BASE_URL")? {
            builder = builder.base_url(url);
        }
        if let Some(token) = variable("RIXL_BEARER_TOKEN")? {
            return Ok(builder.bearer_token(token));
        }
        match (variable("RIXL_API_KEY")?, env::var_os("RIXL_API_KEY_FILE").filter(|path| !path.is_empty())) {
            (Some(key), _) => Ok(builder.api_key(key)),
            (None, Some(path)) => Ok(builder.api_key_file(path)),
            (None, None) => Err(configuration("none of RIXL_BEARER_TOKEN, RIXL_API_KEY and RIXL_API_KEY_FILE is set")),
        }
    }

    /// Where the API is: `https`, or `http` on loopback; a path is kept as a prefix. Default: `https://api.rixl.com`.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Sends this token, or the current one of a [`SharedToken`]. The last credential set counts.
    pub fn bearer_token(mut self, token: impl Into<SharedToken>) -> Self {
        self.credential = Credential::Bearer(token.into());
        self
    }

    /// Exchanges this API key for a token, and refreshes it before it expires. The last credential set counts.
    ///
    /// An exchange uses the second generation of routes, or the first if the server does not know the second. Do not
    /// rotate or delete this key with the client: it would lose its own access.
    pub fn api_key(mut self, key: impl Into<Secret>) -> Self {
        self.credential = Credential::Grant(grant::Credential::ApiKey(Arc::new(key.into())));
        self
    }

    /// Exchanges the API key in this file for tokens, and follows it when it is rotated. The last credential set counts.
    ///
    /// The file's content is compared, at the moments that [`ApiKeySource`] lists: it may be written in place, replaced
    /// by a rename, or reached by symlinks that are swapped, as in a Kubernetes volume. A file that is briefly missing,
    /// empty or half-written is a transient failure. Trailing line endings are not part of the key. What is not a
    /// regular file, or is larger than 64 KiB, is refused. Nothing is read yet.
    ///
    /// ```
    /// use rixl_credentials::Client;
    ///
    /// let client = Client::builder().api_key_file("/run/secrets/rixl-key").build()?;
    /// # Ok::<(), rixl_credentials::Error>(())
    /// ```
    pub fn api_key_file(self, path: impl Into<PathBuf>) -> Self {
        self.api_key_source(ApiKeyFile(path.into()))
    }

    /// Exchanges the API key that this source has, and follows it when it is rotated: see [`ApiKeySource`]. The last credential
    /// set counts.
    pub fn api_key_source(mut self, source: impl ApiKeySource + 'static) -> Self {
        self.credential = Credential::Grant(grant::Credential::Followed(Arc::new(source)));
        self
    }

    /// Writes the fingerprint of the API key in use to the file `name` in this folder, so that whoever rotates the key
    /// can see which one this client uses: the first 12 hexadecimal digits of its SHA-256, as in `rixl-rotation`.
    ///
    /// The file is replaced by a rename after each token exchange. If it can't be written, that is a warning in the
    /// trace, and fails no call; it is tried again for about a minute. Each process needs its own name: letters, digits and the like, without a leading dot.
    #[cfg(feature = "acknowledge")]
    pub fn acknowledge(mut self, folder: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        self.acknowledgement = Some(crate::acknowledgement::Acknowledgement::in_folder(folder.into(), name.into()));
        self
    }

    /// Writes it there instead of to a file: to a field of an entry in Vault, say, by `VaultStore` of `rixl-vault`. The last
    /// place set counts.
    #[cfg(feature = "acknowledge")]
    pub fn acknowledge_to(mut self, sink: impl crate::AcknowledgementSink + 'static) -> Self {
        self.acknowledgement = Some(crate::acknowledgement::Acknowledgement::new(Arc::new(sink)));
        self
    }

    /// Mints a client token with this client credential, and another before it expires. The last credential set counts.
    pub fn client_credential(mut self, request: ClientTokenRequest) -> Self {
        self.credential = Credential::Grant(grant::Credential::Client(request));
        self
    }

    /// Asks this source for tokens, through a cache: see [`TokenSource`]. The last credential set counts.
    pub fn token_source(mut self, source: impl TokenSource + 'static) -> Self {
        self.credential = Credential::Source(Arc::new(source));
        self
    }

    /// The time-out of one attempt, from connecting to the last byte of the response. Default: 30 s. A change is not
    /// sent in its second half, which is left for the response. [`deadline`](Self::deadline) bounds all attempts
    /// together, [`Client::with_attempt_timeout`] sets it for one call.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// The maximum duration of a call: getting a token, all attempts and all waits. Default: 2 minutes, or
    /// [`attempt_timeout`](Self::attempt_timeout) where that is longer, whatever the [`RetryPolicy`].
    /// [`Client::with_deadline`] sets it for one call.
    ///
    /// After it, no change is sent ([`Timeout`](ErrorKind::Timeout), nothing was changed). It also ends a read under
    /// way, but not a change that is being sent, which keeps the rest of its attempt: cut short, it might have
    /// happened. `Duration::MAX` means no deadline.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The time-out of opening a connection, TLS included; at most a third of [`attempt_timeout`](Self::attempt_timeout).
    /// Default: 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The application's product, such as `billing/1.4`: visible ASCII and spaces. It precedes this library's own
    /// product in the `user-agent` header, `rixl-credentials/` and its version. Default: none.
    pub fn user_agent(mut self, product: impl Into<String>) -> Self {
        self.user_agent = product.into();
        self
    }

    /// The maximum size of a response body. Default: 1 MiB. hyper bounds the head: 100 headers, about 400 kB.
    pub fn max_response_bytes(mut self, max: usize) -> Self {
        self.max_body = max;
        self
    }

    /// When a failed call is retried. Default: [`RetryPolicy::default`].
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// The clock, sleep and randomness of waits and expiries. Default: the system's. For tests.
    pub fn timing(mut self, timing: impl Timing + 'static) -> Self {
        self.timing = Arc::new(timing);
        self
    }

    /// Sends the result of this function as the header `traceparent` of [W3C Trace
    /// Context](https://www.w3.org/TR/trace-context/), so that the server's spans join the application's trace. It is
    /// called within the span of each attempt. Default: none. Nothing is sent if it returns `None` or an invalid value.
    ///
    /// ```
    /// use rixl_credentials::Client;
    ///
    /// # fn current_traceparent() -> Option<String> { None }
    /// // With OpenTelemetry: from the context of `tracing::Span::current()`, by its `TraceContextPropagator`.
    /// let client = Client::builder().bearer_token("eyJhbGciOi...").traceparent(current_traceparent).build()?;
    /// # Ok::<(), rixl_credentials::Error>(())
    /// ```
    pub fn traceparent(mut self, current: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.traceparent = Some(Arc::new(current));
        self
    }

    /// Goes through this proxy: `http://HOST:PORT`, or `https`, with or without a user name and password. It sees the
    /// host, not the calls. Default: `HTTPS_PROXY` or `ALL_PROXY`, except for the hosts in `NO_PROXY`; this setting
    /// overrides all three. For loopback no proxy is ever used.
    ///
    /// ```
    /// use rixl_credentials::Client;
    ///
    /// let client = Client::builder()
    ///     .bearer_token("eyJhbGciOi...")
    ///     .proxy("http://proxy.example:3128")
    ///     .build()?;
    /// # Ok::<(), rixl_credentials::Error>(())
    /// ```
    pub fn proxy(mut self, url: impl Into<Secret>) -> Self {
        self.network.proxy = Proxy::Url(Arc::new(url.into()));
        self
    }

    /// Uses no proxy, whatever the environment says.
    pub fn no_proxy(mut self) -> Self {
        self.network.proxy = Proxy::Off;
        self
    }

    /// Trusts the root certificates in this PEM text, in addition to the system's: those of a company's inspecting
    /// proxy, or of a test. It may be set several times. With the feature `rustls` on Linux, `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` are trusted without this setting.
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.network.root_certificates.push(pem.into());
        self
    }

    /// Identifies the client to a server that asks for it (mutual TLS): a PEM text with the certificate, its chain, and
    /// the private key. With `native-tls` the key must be in PKCS #8 form.
    pub fn client_identity(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.network.client_identity = Some(pem.into().into());
        self
    }

    /// Connects to this address for this host name, instead of resolving it. The certificate must still be for the host
    /// name, and the port is the URL's. No proxy is used if it is the base URL's host. It may be set for several names.
    pub fn resolve(mut self, host: impl Into<String>, address: SocketAddr) -> Self {
        self.network.addresses.push((host.into(), address));
        self
    }

    /// Builds the client. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for a base URL that is not `https` (or `http` on loopback), or holds a user name,
    /// password, query or fragment; a token or user agent that can't stand in a header; a time-out of zero; a proxy,
    /// certificate, identity or name that is none; or `https` in a build without TLS.
    pub fn build(self) -> Result<Client, Error> {
        let mut sender = self.sender()?;
        #[cfg(feature = "acknowledge")]
        if self.acknowledgement.as_ref().is_some_and(|acknowledgement| !acknowledgement.has_plain_name()) {
            return Err(configuration("the name of the acknowledgement is not a valid file name"));
        }
        #[cfg(feature = "acknowledge")]
        if self.acknowledgement.is_some()
            && !matches!(
                self.credential,
                Credential::Grant(grant::Credential::ApiKey(_) | grant::Credential::Followed(_))
            )
        {
            return Err(configuration("there is no API key to acknowledge"));
        }
        let patience = sender.deadline().max(sender::DEADLINE);
        let cached = |source| {
            let cache = TokenCache::new(source, Arc::clone(&self.timing), patience);
            Some(Bearer::Cached(Arc::new(cache)))
        };
        sender.bearer = match self.credential {
            Credential::None => None,
            Credential::Bearer(token) => {
                Call::new(Some(token.get().wire()), 0)
                    .map_err(|_| configuration("the bearer token is empty, or is not visible ASCII"))?;
                Some(Bearer::Shared(token))
            }
            Credential::Grant(grant::Credential::ApiKey(key)) if !tokens::is_api_key(&key) => {
                return Err(configuration("the API key does not look like one"));
            }
            Credential::Grant(credential) => {
                let grant = Grant::new(Arc::new(sender.clone()), credential);
                #[cfg(feature = "acknowledge")]
                let grant = grant.acknowledging(self.acknowledgement);
                cached(Source::Grant(Box::new(grant)))
            }
            Credential::Source(source) => cached(Source::Foreign(source)),
        };
        Ok(Client::new(Arc::new(sender)))
    }

    /// How calls are sent, without a source of tokens.
    pub(crate) fn sender(&self) -> Result<Sender, Error> {
        let base_url =
            transport::server_url(&self.base_url).map_err(|error| configuration(format!("the base URL {error}")))?;
        if self.attempt_timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(configuration("a time-out of zero would fail every call"));
        }
        let user_agent = match &*self.user_agent {
            "" => USER_AGENT.to_owned(),
            product => format!("{product} {USER_AGENT}"),
        };
        let http_client = || {
            let (timeout, connect_timeout) = (self.attempt_timeout, self.connect_timeout);
            transport::http_client(&base_url, &user_agent, timeout, connect_timeout, &self.network)
                .map_err(|error| configuration(error.to_string()))
        };
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| {
                let detail = "the HTTP client could not be built: a bad user agent or certificate, or TLS could not be set up, \
                              such as without ca-certificates";
                configuration(detail).with_source(Opaque::from(error))
            })
        };
        let elsewhere = Elsewhere {
            user_agent: user_agent.clone(),
            connect_timeout: self.connect_timeout,
            network: self.network.clone(),
        };
        Ok(Sender {
            elsewhere: Arc::new(elsewhere),
            server: Arc::new(Server {
                url: base_url.as_str().trim_end_matches('/').to_owned(),
                address: base_url.host_str().unwrap_or_default().to_owned(),
                port: base_url.port_or_known_default().unwrap_or_default(),
                pool_of: OnceLock::new(),
                usable: OnceLock::new(),
                dated: Mutex::default(),
            }),
            reads: build(http_client()?)?,
            changes: build(transport::never_resent(http_client()?))?,
            attempt_timeout: self.attempt_timeout,
            deadline: self.deadline,
            max_body: self.max_body,
            is_sealed: false,
            retry: self.retry.clone(),
            timing: Arc::clone(&self.timing),
            bearer: None,
            traceparent: self.traceparent.clone(),
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
