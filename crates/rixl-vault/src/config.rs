//! Where the server is, the token for it, and the HTTP client with both.

#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::{
    collections::HashSet,
    env,
    ffi::OsString,
    fmt, fs,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{
    Method, RequestBuilder,
    header::{HeaderMap, HeaderValue},
};
use rixl_credentials::{
    AccessToken, Error, Secret, TokenFuture, TokenRequest, TokenSource,
    transport::{self, Network, Opaque, Proxy, TokenCache},
};
use url::Url;
use zeroize::Zeroizing;

use crate::client::{Failure, FailureKind};

/// A token is short: a longer file is the wrong one.
const MAX_TOKEN: usize = 64 * 1024;
const USER_AGENT: &str = concat!("rixl-vault/", env!("CARGO_PKG_VERSION"));
const NAMESPACE: &str = "x-vault-namespace";
pub(crate) const TOKEN: &str = "x-vault-token";

/// Where a HashiCorp Vault or OpenBao server is, and the token for it.
///
/// ```
/// use rixl_vault::VaultConfig;
///
/// let config =
///     VaultConfig::builder().address("https://vault.example:8200").token("hvs.EXAMPLE").namespace("team").build()?;
/// assert!(!format!("{config:?}").contains("EXAMPLE"));
/// # Ok::<(), rixl_vault::VaultConfigError>(())
/// ```
///
/// The token is fetched for each request, and once more after a 401 or 403: one that an agent has renewed in its file
/// is used from then on.
///
/// Deliberately absent: disabling certificate checks, `unix://` addresses, and renewing the token, which is up to an
/// agent, or a [`TokenSource`].
#[derive(Clone)]
pub struct VaultConfig {
    address: Url,
    headers: HeaderMap,
    http: reqwest::Client,
    token: Arc<TokenCache>,
    timeout: Duration,
    /// The mounts that were found to be of KV version 2.
    checked: Arc<Mutex<HashSet<String>>>,
    /// Up to which write the server had come after the last one of this process.
    index: Arc<Mutex<Option<HeaderValue>>>,
}

/// Why a [`VaultConfig`] can't be used. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct VaultConfigError(String);

/// Settings of a [`VaultConfig`]: address and token are required.
#[must_use]
pub struct VaultConfigBuilder {
    address: String,
    token: Token,
    namespace: Option<String>,
    ca_certificates: Option<Vec<u8>>,
    network: Network,
    user_agent: String,
    timeout: Duration,
}

enum Token {
    Fixed(Secret),
    File(PathBuf),
    Source(Arc<dyn TokenSource>),
}

impl fmt::Debug for VaultConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultConfig")
            .field("address", &self.address.as_str())
            .field("namespace", &self.headers.get(NAMESPACE))
            .finish_non_exhaustive()
    }
}

/// Without the address, which is not checked yet and could hold a password.
impl fmt::Debug for VaultConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultConfigBuilder")
            .field("namespace", &self.namespace)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl VaultConfig {
    /// Settings, to be completed and [built](VaultConfigBuilder::build).
    pub fn builder() -> VaultConfigBuilder {
        VaultConfigBuilder {
            address: String::new(),
            token: Token::Fixed(Secret::from("")),
            namespace: None,
            ca_certificates: None,
            network: Network::default(),
            user_agent: String::new(),
            timeout: Duration::from_secs(10),
        }
    }

    /// With the settings of [`VaultConfigBuilder::from_env`].
    ///
    /// ```no_run
    /// let config = rixl_vault::VaultConfig::from_env()?;
    /// # Ok::<(), rixl_vault::VaultConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`VaultConfigBuilder::from_env`] and [`VaultConfigBuilder::build`].
    pub fn from_env() -> Result<Self, VaultConfigError> {
        VaultConfigBuilder::from_env()?.build()
    }

    pub(crate) fn address(&self) -> &Url {
        &self.address
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url).headers(self.headers.clone())
    }

    /// The token to send now, after this one was refused.
    pub(crate) async fn token(&self, refused: Option<&Arc<Secret>>) -> Result<Arc<Secret>, Failure> {
        let Ok(token) = tokio::time::timeout(self.timeout, self.token.token(refused)).await else {
            return Err(Failure::new(FailureKind::NotSent, "no token for the server came in time").passing(None));
        };
        Ok(token?)
    }
}

impl VaultConfigBuilder {
    /// The settings that the official programs use. The first one that is set and not empty counts:
    ///
    /// | what | where |
    /// |---|---|
    /// | address | `BAO_ADDR`, `VAULT_ADDR` |
    /// | token | `BAO_TOKEN`, `VAULT_TOKEN` |
    /// | file of the token | `BAO_TOKEN_PATH`, `VAULT_TOKEN_PATH`, `.vault-token` in the home folder |
    /// | namespace | `BAO_NAMESPACE`, `VAULT_NAMESPACE` |
    /// | file of CA certificates | `BAO_CACERT`, `VAULT_CACERT` |
    /// | files of the client's certificate and private key | `BAO_CLIENT_CERT` and `BAO_CLIENT_KEY`, `VAULT_CLIENT_CERT` and `VAULT_CLIENT_KEY` |
    /// | proxy | `HTTPS_PROXY`, `ALL_PROXY`, but for the hosts in `NO_PROXY` |
    ///
    /// # Errors
    ///
    /// When there is no address or no token, a variable is not UTF-8, the token file is accessible to others, or a file
    /// of certificates or of the private key can't be read.
    pub fn from_env() -> Result<Self, VaultConfigError> {
        Self::from_variables(|name| env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, VaultConfigError> {
        let first = |names: [&'static str; 2]| -> Result<Option<String>, VaultConfigError> {
            let set = |name| variable(name).filter(|value| !value.is_empty()).map(|value| (name, value));
            let Some((name, value)) = names.into_iter().find_map(set) else { return Ok(None) };
            value.into_string().map(Some).map_err(|_| VaultConfigError(format!("{name} is not UTF-8")))
        };
        let address = first(["BAO_ADDR", "VAULT_ADDR"])?
            .ok_or_else(|| VaultConfigError("neither BAO_ADDR nor VAULT_ADDR is set".into()))?;
        let token = if let Some(token) = first(["BAO_TOKEN", "VAULT_TOKEN"])? {
            Token::Fixed(token.into())
        } else if let Some(path) = first(["BAO_TOKEN_PATH", "VAULT_TOKEN_PATH"])? {
            Token::File(path.into())
        } else {
            let path = variable("HOME").map(|home| PathBuf::from(home).join(".vault-token"));
            let path = path.filter(|path| path.exists()).ok_or_else(|| {
                let reason = "neither BAO_TOKEN, VAULT_TOKEN nor BAO_TOKEN_PATH is set, and there is no ~/.vault-token";
                VaultConfigError(reason.into())
            })?;
            Token::File(path)
        };
        let namespace = first(["BAO_NAMESPACE", "VAULT_NAMESPACE"])?;
        let read = |what: &str, names| match first(names)? {
            Some(path) => {
                let unreadable = |error| VaultConfigError(format!("the {what} in {path} can't be read: {error}"));
                fs::read(&path).map(Zeroizing::new).map(Some).map_err(unreadable)
            }
            None => Ok(None),
        };
        let ca_certificates = read("CA certificates", ["BAO_CACERT", "VAULT_CACERT"])?.map(|pem| pem.to_vec());
        let certificate = read("client certificate", ["BAO_CLIENT_CERT", "VAULT_CLIENT_CERT"])?;
        let key = read("private key of the client certificate", ["BAO_CLIENT_KEY", "VAULT_CLIENT_KEY"])?;
        let builder = Self { address, token, namespace, ca_certificates, ..VaultConfig::builder() };
        Ok(match (certificate, key) {
            (None, None) => builder,
            (certificate, key) => {
                let parts = [certificate.unwrap_or_default(), key.unwrap_or_default()];
                builder.client_identity(parts.each_ref().map(|part| part.as_slice()).join(&b'\n'))
            }
        })
    }

    /// The address of the server: `https`, or `http` on loopback.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// The token.
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Token::Fixed(token.into());
        self
    }

    /// The token file, which only its owner may be able to read. It is read for each request, so that an agent can
    /// renew it. If it is empty or can't be read, its last content is sent; if others can read it by then, or it
    /// belongs to another user, nothing is sent.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Token::File(path.into());
        self
    }

    /// A source of tokens for this server, such as a login. As with a client's source, there is a cache.
    ///
    /// ```
    /// use rixl_credentials::{AccessToken, Error, TokenFuture, TokenRequest, TokenSource};
    /// use rixl_vault::VaultConfig;
    ///
    /// struct Login;
    ///
    /// impl TokenSource for Login {
    ///     fn token<'a>(&'a self, _: TokenRequest<'a>) -> TokenFuture<'a> {
    ///         Box::pin(async {
    ///             let (token, expires_at) = log_in().await.map_err(Error::no_token)?;
    ///             Ok(AccessToken::new(token).with_expires_at(expires_at))
    ///         })
    ///     }
    /// }
    /// # async fn log_in() -> Result<(rixl_credentials::Secret, rixl_credentials::Timestamp), std::io::Error> {
    /// #     Ok(("hvs.EXAMPLE".into(), rixl_credentials::Timestamp::MAX))
    /// # }
    ///
    /// let config = VaultConfig::builder().address("https://vault.example:8200").token_source(Login).build()?;
    /// # Ok::<(), rixl_vault::VaultConfigError>(())
    /// ```
    pub fn token_source(mut self, source: impl TokenSource + 'static) -> Self {
        self.token = Token::Source(Arc::new(source));
        self
    }

    /// The namespace. Default: the root.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Trusts only the root certificates in this PEM text. Default: the system's.
    pub fn ca_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_certificates = Some(pem.into());
        self
    }

    /// Goes through this proxy: as [`ClientBuilder::proxy`](rixl_credentials::ClientBuilder::proxy).
    pub fn proxy(mut self, url: impl Into<Secret>) -> Self {
        self.network.proxy = Proxy::Url(Arc::new(url.into()));
        self
    }

    /// Uses no proxy, whatever the environment says.
    pub fn no_proxy(mut self) -> Self {
        self.network.proxy = Proxy::Off;
        self
    }

    /// Identifies the client to a server that asks for it: as
    /// [`ClientBuilder::client_identity`](rixl_credentials::ClientBuilder::client_identity).
    pub fn client_identity(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.network.client_identity = Some(pem.into().into());
        self
    }

    /// Connects to this address for this host name: as [`ClientBuilder::resolve`](rixl_credentials::ClientBuilder::resolve).
    pub fn resolve(mut self, host: impl Into<String>, address: SocketAddr) -> Self {
        self.network.addresses.push((host.into(), address));
        self
    }

    /// The application's product, such as `billing/1.4`. It precedes this library's own in the `user-agent` header.
    pub fn user_agent(mut self, product: impl Into<String>) -> Self {
        self.user_agent = product.into();
        self
    }

    /// The time-out of one request, from connecting to the last byte of the response. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Checks the settings. Nothing is sent.
    ///
    /// # Errors
    ///
    /// For an address that is neither `https` nor `http` on loopback, or has a user name, password, query or fragment;
    /// a token, namespace or user agent that can't be a header value; a token file that can't be read; a PEM text
    /// without a certificate, or without the private key of a client identity; an invalid proxy or name; a time-out of
    /// zero.
    pub fn build(self) -> Result<VaultConfig, VaultConfigError> {
        let address = transport::server_url(&self.address)
            .map_err(|error| VaultConfigError(format!("the address of Vault {error}")))?;
        let source: Arc<dyn TokenSource> = match self.token {
            Token::Fixed(token) => {
                token_header(&token)?;
                Arc::new(Fixed(token.into()))
            }
            Token::File(path) => {
                let (token, owner) = read_token(&path)?
                    .ok_or_else(|| VaultConfigError(format!("{} is empty or can't be read", path.display())))?;
                token_header(&token)?;
                Arc::new(TokenFile { path, owner, last: Mutex::new(token.into()) })
            }
            Token::Source(source) => source,
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &self.namespace {
            headers.insert(NAMESPACE, header("namespace", namespace)?);
        }
        if self.timeout.is_zero() {
            return Err(VaultConfigError("a time-out of zero would fail every request".into()));
        }
        let user_agent = format!("{} {USER_AGENT}", self.user_agent);
        let builder =
            transport::http_client(&address, user_agent.trim_start(), self.timeout, self.timeout, &self.network)
                .map_err(|error| VaultConfigError(error.to_string()))?;
        // A write that is sent twice would be refused by its own first copy.
        let builder = transport::never_resent(builder).timeout(self.timeout);
        // Without TLS there is only `http`.
        #[cfg(any(feature = "rustls", feature = "native-tls"))]
        let builder = match self.ca_certificates {
            Some(pem) => builder.tls_certs_only(
                transport::certificates(&pem)
                    .ok_or_else(|| VaultConfigError("the file of CA certificates has none in PEM form".into()))?,
            ),
            None => builder,
        };
        #[cfg(not(any(feature = "rustls", feature = "native-tls")))]
        if self.ca_certificates.is_some() {
            // To leave them away would trust others.
            let reason = "CA certificates need TLS, which this program was built without (features rustls, native-tls)";
            return Err(VaultConfigError(reason.into()));
        }
        let http = builder.build().map_err(|error| {
            VaultConfigError(format!("the HTTP client could not be built: {}", Opaque::from(error)))
        })?;
        let token = Arc::new(TokenCache::of(source, self.timeout));
        Ok(VaultConfig {
            address,
            headers,
            http,
            token,
            timeout: self.timeout,
            checked: Arc::default(),
            index: Arc::default(),
        })
    }
}

impl VaultConfig {
    /// What is known of mounts, shared by all stores with these settings: a fleet has one for each key.
    pub(crate) fn checked_mounts(&self) -> MutexGuard<'_, HashSet<String>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Option<HeaderValue>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address and the namespace, for people, and the same text for the same ones.
    pub(crate) fn server(&self) -> String {
        let address = self.address.as_str().trim_end_matches('/');
        let namespace = self.headers.get(NAMESPACE).and_then(|namespace| namespace.to_str().ok());
        match namespace.map(|namespace| namespace.trim_matches('/')).filter(|namespace| !namespace.is_empty()) {
            Some(namespace) => format!("{address}, namespace {namespace}"),
            None => address.to_owned(),
        }
    }
}

fn header(what: &str, text: &str) -> Result<HeaderValue, VaultConfigError> {
    let is_visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::from_str(text).ok().filter(|_| is_visible);
    value.ok_or_else(|| VaultConfigError(format!("the Vault {what} is empty, or is not visible ASCII")))
}

pub(crate) fn token_header(token: &Secret) -> Result<HeaderValue, VaultConfigError> {
    // A variable made from a file ends with the file's last newline.
    let mut token = header("token", token.expose_secret().trim())?;
    token.set_sensitive(true);
    Ok(token)
}

struct Fixed(Arc<Secret>);

impl TokenSource for Fixed {
    fn token<'a>(&'a self, _: TokenRequest<'a>) -> TokenFuture<'a> {
        Box::pin(async { Ok(AccessToken::new(Arc::clone(&self.0))) })
    }
}

struct TokenFile {
    path: PathBuf,
    /// Of the first file read. Anyone else who puts a file there would choose the token that secrets are sent with.
    owner: u32,
    last: Mutex<Arc<Secret>>,
}

impl TokenSource for TokenFile {
    fn token<'a>(&'a self, _: TokenRequest<'a>) -> TokenFuture<'a> {
        Box::pin(async {
            // It may be fixed, or be there in a moment: an agent that writes it anew sets its mode at last.
            let unusable = |error| Error::no_token(error).transient();
            let found = read_token(&self.path).map_err(unusable)?;
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((token, owner)) = found {
                if owner != self.owner {
                    let path = self.path.display();
                    let reason = format!("{path} belongs to another user than when it was read first");
                    return Err(unusable(VaultConfigError(reason)));
                }
                *last = token.into();
            }
            Ok(AccessToken::new(Arc::clone(&last)))
        })
    }
}

/// The token, and the file's owner; `None` if it is empty or can't be read.
fn read_token(path: &Path) -> Result<Option<(Secret, u32)>, VaultConfigError> {
    // A pipe would hold up whoever opens it.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(VaultConfigError(format!("{} is not a regular file", path.display())));
    }
    let Ok(file) = fs::File::open(path) else { return Ok(None) };
    let Ok(found) = file.metadata() else { return Ok(None) };
    // Of the open file. Who else can read it has the token, and may have read it already.
    #[cfg(unix)]
    if found.mode() & 0o077 != 0 {
        let (path, mode) = (path.display(), found.mode() & 0o777);
        let reason = format!("{path} can be read or written by others (mode {mode:03o}): `chmod 600 {path}`");
        return Err(VaultConfigError(reason));
    }
    // Allocated at its maximum size: a growing string leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_TOKEN + 1));
    // More is another file: its start is not sent anywhere.
    let is_read = file.take(MAX_TOKEN as u64 + 1).read_to_string(&mut text).is_ok_and(|length| length <= MAX_TOKEN);
    let token = Some(text.trim()).filter(|token| is_read && !token.is_empty());
    Ok(token.map(|token| (Secret::from(token), owner(&found))))
}

#[cfg(unix)]
fn owner(found: &fs::Metadata) -> u32 {
    found.uid()
}

#[cfg(not(unix))]
fn owner(_: &fs::Metadata) -> u32 {
    0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<VaultConfig, VaultConfigError> {
        VaultConfigBuilder::from_variables(|name| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value))
        })?
        .build()
    }

    async fn token_of(config: &VaultConfig) -> String {
        config.token(None).await.unwrap().expose_secret().to_owned()
    }

    #[tokio::test]
    async fn the_environment_is_read_as_the_official_programs_read_it() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".vault-token");
        fs::write(&file, "s.from-file\n").unwrap();
        let set_mode = |mode| fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        set_mode(0o600);
        let home = home.path().to_str().unwrap();
        let config = from(&[
            ("VAULT_ADDR", "https://vault.example:8200"),
            ("BAO_ADDR", "https://bao.example/prefix/"),
            ("BAO_TOKEN", ""),
            ("VAULT_TOKEN", "s.vault"),
            ("VAULT_NAMESPACE", "team"),
            ("HOME", home),
        ])
        .unwrap();
        assert_eq!(config.address.as_str(), "https://bao.example/prefix/");
        assert_eq!(token_of(&config).await, "s.vault");
        assert_eq!(config.headers[NAMESPACE].to_str().unwrap(), "team");
        let config = from(&[("VAULT_ADDR", "http://127.0.0.1:8200"), ("HOME", home)]).unwrap();
        assert_eq!(token_of(&config).await, "s.from-file");
        assert!(!config.headers.contains_key(NAMESPACE));
        let path = format!("{home}/.vault-token");
        let named = |name| from(&[("VAULT_ADDR", "http://127.0.0.1:8200"), (name, &path)]).unwrap();
        assert_eq!(token_of(&named("BAO_TOKEN_PATH")).await, "s.from-file");
        assert_eq!(token_of(&named("VAULT_TOKEN_PATH")).await, "s.from-file");

        for mode in [0o640, 0o604, 0o622] {
            set_mode(mode);
            let error = from(&[("VAULT_ADDR", "http://127.0.0.1:8200"), ("HOME", home)]).unwrap_err().to_string();
            assert!(error.contains("can be read or written by others") && error.contains("chmod 600"), "{error}");
        }
        set_mode(0o600);

        let reason = |variables: &[(&str, &str)]| from(variables).unwrap_err().to_string();
        assert_eq!(reason(&[]), "neither BAO_ADDR nor VAULT_ADDR is set");
        let without = reason(&[("VAULT_ADDR", "https://v.example"), ("HOME", "/nowhere")]);
        assert!(without.ends_with("and there is no ~/.vault-token"), "{without}");
        let without = reason(&[("VAULT_ADDR", "https://v.example"), ("BAO_TOKEN_PATH", "/nowhere/token")]);
        assert_eq!(without, "/nowhere/token is empty or can't be read");
        let with = |name, value| reason(&[("VAULT_ADDR", "https://v.example"), ("VAULT_TOKEN", "s"), (name, value)]);
        assert_eq!(with("BAO_NAMESPACE", "a b"), "the Vault namespace is empty, or is not visible ASCII");
        assert!(with("BAO_CACERT", "/nowhere/ca.pem").starts_with("the CA certificates in /nowhere/ca.pem"));
        assert_eq!(
            with("VAULT_CACERT", &format!("{home}/.vault-token")),
            "the file of CA certificates has none in PEM form"
        );
    }

    #[test]
    fn an_address_that_would_leak_is_refused_and_not_repeated() {
        let refused = [
            ("http://vault.example:8200", "the address of Vault must be https; http is for loopback only"),
            ("http://127.0.0.1.example", "the address of Vault must be https; http is for loopback only"),
            ("http://0.0.0.0:8200", "the address of Vault must be https; http is for loopback only"),
            ("unix:///run/vault.sock", "the address of Vault must begin with https://"),
            (
                "https://me:PASSWORD@v.example",
                "the address of Vault must not hold a user name, password, query or fragment",
            ),
            (
                "https://v.example/?PASSWORD",
                "the address of Vault must not hold a user name, password, query or fragment",
            ),
            ("PASSWORD", "the address of Vault is not a URL: relative URL without a base"),
        ];
        for (address, reason) in refused {
            assert_eq!(
                VaultConfig::builder().address(address).token("s").build().unwrap_err().to_string(),
                reason,
                "{address}"
            );
        }
        for address in ["http://localhost:1", "http://127.1.2.3", "http://[::1]:8200", "https://v.example"] {
            VaultConfig::builder().address(address).token("s").build().unwrap();
        }
        VaultConfig::builder().address("https://v.example").token("s\n").build().unwrap();
        assert_eq!(token_header(&"s.a\n".into()).unwrap(), "s.a");
        for token in ["", "\n", "with space", "with\nfeed", "é"] {
            let error = VaultConfig::builder().address("https://v.example").token(token).build().unwrap_err();
            assert_eq!(error.to_string(), "the Vault token is empty, or is not visible ASCII");
        }
        let builder = VaultConfig::builder().address("https://me:PASSWORD@v.example").token("PASSWORD");
        assert!(!format!("{builder:?}").contains("PASSWORD"));
    }

    #[cfg(feature = "rustls")]
    #[test]
    fn the_way_to_the_server_is_checked() {
        let config = || VaultConfig::builder().address("https://v.example").token("s");
        let refused = |builder: VaultConfigBuilder| {
            assert!(!format!("{builder:?}").contains("PASSWORD"));
            let said = builder.build().unwrap_err().to_string();
            assert!(!said.contains("PASSWORD"), "{said}");
            said
        };
        assert!(refused(config().proxy("http://me:PASSWORD@proxy/x")).starts_with("the proxy must be"));
        assert!(refused(config().client_identity("PASSWORD")).starts_with("a client identity must be"));
        assert!(refused(config().resolve("127.0.0.1", ([127, 0, 0, 1], 0).into())).starts_with("a name to resolve"));
        assert!(refused(config().user_agent("a\nPASSWORD")).starts_with("the HTTP client could not be built"));
        let config = config().proxy("http://me:PASSWORD@proxy").user_agent("billing/1.4").build().unwrap();
        assert!(!format!("{config:?}").contains("PASSWORD"));
    }

    #[cfg(feature = "rustls")]
    #[test]
    fn the_environment_names_a_certificate_of_the_client() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new([]).unwrap().self_signed(&key).unwrap();
        let (certificate, key) = (write("cert", certificate.pem()), write("key", key.serialize_pem()));
        let with = |variables: &[(&str, &str)]| {
            from(&[&[("VAULT_ADDR", "https://v.example"), ("VAULT_TOKEN", "s")], variables].concat()).map(drop)
        };
        for (name, key_name) in [("VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY"), ("BAO_CLIENT_CERT", "BAO_CLIENT_KEY")] {
            with(&[(name, &certificate), (key_name, &key)]).unwrap();
            for half in [(name, certificate.as_str()), (key_name, key.as_str())] {
                let said = with(&[half]).unwrap_err().to_string();
                assert!(said.starts_with("a client identity must be"), "{said}");
            }
            let said = with(&[(name, &certificate), (key_name, "/nowhere/key")]).unwrap_err().to_string();
            assert!(said.starts_with("the private key of the client certificate in /nowhere/key"), "{said}");
        }
    }

    /// Its start must not be sent anywhere.
    #[test]
    fn a_file_that_is_too_long_is_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (length, is_token) in [(MAX_TOKEN, true), (MAX_TOKEN + 1, false)] {
            fs::write(&path, "s".repeat(length)).unwrap();
            #[cfg(unix)]
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            assert_eq!(read_token(&path).unwrap().is_some(), is_token);
        }
    }
}
