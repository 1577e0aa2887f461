//! The HTTP API of HashiCorp Vault and OpenBao, as far as the store and the journal need it: KV version 2.

use std::{
    env,
    error::Error as StdError,
    ffi::OsString,
    fmt, fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{
    Method, Response,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use rixl_credentials::{
    Secret,
    transport::{self, Opaque},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use url::Url;
use zeroize::Zeroizing;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read. Raft storage takes no larger entry either.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

/// Where a HashiCorp Vault or OpenBao server is, and the token for it.
///
/// ```
/// use rixl_credentials::Secret;
/// use rixl_vault::VaultConfig;
///
/// let config = VaultConfig::new("https://vault.example:8200", Secret::from("hvs.EXAMPLE"))?.with_namespace("team")?;
/// assert!(!format!("{config:?}").contains("EXAMPLE"));
/// # Ok::<(), rixl_vault::VaultConfigError>(())
/// ```
///
/// Deliberately absent: switching off the check of certificates, client certificates, `unix://` addresses, and renewing
/// the token, which is the business of an agent.
#[derive(Clone)]
pub struct VaultConfig {
    address: Url,
    token: HeaderValue,
    namespace: Option<HeaderValue>,
    certificates: Option<Vec<reqwest::Certificate>>,
    timeout: Duration,
    http: reqwest::Client,
}

/// Why a [`VaultConfig`] can't be used. Nothing was sent.
#[derive(Debug)]
pub struct VaultConfigError(String);

impl VaultConfigError {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for VaultConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for VaultConfigError {}

impl fmt::Debug for VaultConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultConfig")
            .field("address", &self.address.as_str())
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl VaultConfig {
    /// A server at this address, `https` or `http` on loopback, with this token.
    ///
    /// # Errors
    ///
    /// For another address, one with a user name, password, query or fragment, or a token that can't stand in a header.
    pub fn new(address: &str, token: Secret) -> Result<Self, VaultConfigError> {
        let address = transport::server_url(address)
            .map_err(|error| VaultConfigError::new(format!("the address of Vault {error}")))?;
        let mut token = header(token.expose_secret())
            .ok_or_else(|| VaultConfigError::new("the Vault token is empty, or is not visible ASCII"))?;
        token.set_sensitive(true);
        let http = http_client(&address, None, TIMEOUT)?;
        Ok(Self { address, token, namespace: None, certificates: None, timeout: TIMEOUT, http })
    }

    /// Uses this namespace.
    ///
    /// # Errors
    ///
    /// For a namespace that is empty or not visible ASCII.
    pub fn with_namespace(mut self, namespace: &str) -> Result<Self, VaultConfigError> {
        let value = header(namespace)
            .ok_or_else(|| VaultConfigError::new("the Vault namespace is empty, or is not visible ASCII"))?;
        self.namespace = Some(value);
        Ok(self)
    }

    /// Trusts the certificates in this PEM text to have signed the server's, and no others.
    ///
    /// # Errors
    ///
    /// For a text that is not PEM or has no certificate in it.
    pub fn with_ca_certificates(mut self, pem: &[u8]) -> Result<Self, VaultConfigError> {
        let certificates = reqwest::Certificate::from_pem_bundle(pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(VaultConfigError::new("the file of CA certificates has none in PEM form"));
        }
        self.certificates = Some(certificates);
        self.rebuilt()
    }

    /// The longest that one request may take, from connecting to the last byte of the answer. Default: 10 s.
    ///
    /// # Errors
    ///
    /// For a time-out of zero, which would fail every request.
    pub fn with_timeout(mut self, timeout: Duration) -> Result<Self, VaultConfigError> {
        if timeout.is_zero() {
            return Err(VaultConfigError::new("a time-out of zero would fail every request"));
        }
        self.timeout = timeout;
        self.rebuilt()
    }

    fn rebuilt(mut self) -> Result<Self, VaultConfigError> {
        self.http = http_client(&self.address, self.certificates.clone(), self.timeout)?;
        Ok(self)
    }

    /// The settings that the official programs use. The first that is set and not empty counts:
    ///
    /// | what | where |
    /// |---|---|
    /// | address | `BAO_ADDR`, `VAULT_ADDR` |
    /// | token | `BAO_TOKEN`, `VAULT_TOKEN`, the file `.vault-token` in the home folder |
    /// | namespace | `BAO_NAMESPACE`, `VAULT_NAMESPACE` |
    /// | file of CA certificates | `BAO_CACERT`, `VAULT_CACERT` |
    ///
    /// ```no_run
    /// let config = rixl_vault::VaultConfig::from_env()?;
    /// # Ok::<(), rixl_vault::VaultConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When there is no address or no token, or one of them can't be used.
    pub fn from_env() -> Result<Self, VaultConfigError> {
        Self::from_variables(|name| env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, VaultConfigError> {
        let first = |names: [&'static str; 2]| -> Result<Option<String>, VaultConfigError> {
            let set = |name| variable(name).filter(|value| !value.is_empty()).map(|value| (name, value));
            let Some((name, value)) = names.into_iter().find_map(set) else { return Ok(None) };
            value.into_string().map(Some).map_err(|_| VaultConfigError::new(format!("{name} is not UTF-8")))
        };
        let address = first(["BAO_ADDR", "VAULT_ADDR"])?
            .ok_or_else(|| VaultConfigError::new("neither BAO_ADDR nor VAULT_ADDR is set"))?;
        let token = match first(["BAO_TOKEN", "VAULT_TOKEN"])? {
            Some(token) => Some(Secret::from(token)),
            None => variable("HOME").and_then(|home| token_file(&PathBuf::from(home).join(".vault-token"))),
        };
        let token = token.ok_or_else(|| {
            VaultConfigError::new("neither BAO_TOKEN nor VAULT_TOKEN is set, and ~/.vault-token can't be read")
        })?;
        let mut config = Self::new(&address, token)?;
        if let Some(namespace) = first(["BAO_NAMESPACE", "VAULT_NAMESPACE"])? {
            config = config.with_namespace(&namespace)?;
        }
        if let Some(path) = first(["BAO_CACERT", "VAULT_CACERT"])? {
            let pem = fs::read(&path).map_err(|error| {
                VaultConfigError::new(format!("the CA certificates in {path} can't be read: {error}"))
            })?;
            config = config.with_ca_certificates(&pem)?;
        }
        Ok(config)
    }

    /// Sends one request. An answer is one whatever its status.
    async fn send(&self, method: Method, url: Url, body: Option<Vec<u8>>) -> Result<Answer, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("x-vault-token"), self.token.clone());
        headers.insert(HeaderName::from_static("x-vault-request"), HeaderValue::from_static("true"));
        if let Some(namespace) = &self.namespace {
            headers.insert(HeaderName::from_static("x-vault-namespace"), namespace.clone());
        }
        let request = self.http.request(method, url).headers(headers);
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body),
            None => request,
        };
        let response = request.send().await.map_err(|error| {
            if error.is_connect() || error.is_builder() {
                Failure::new(FailureKind::NotSent, "no connection to the server could be opened").with_source(error)
            } else {
                Failure::new(FailureKind::Unknown, "the server gave no answer").with_source(error)
            }
        })?;
        let status = response.status().as_u16();
        let date = response.headers().get("date").and_then(|value| value.to_str().ok());
        let date = date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
        Ok(Answer { status, date, body: bounded_body(response).await })
    }
}

/// Reads the body, but not more than [`MAX_BODY`]: an endless one would fill the memory.
async fn bounded_body(mut response: Response) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let promised = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(MAX_BODY);
    // Of its final size from the start: growing would leave copies of the secret behind.
    let mut body = Zeroizing::new(Vec::with_capacity(promised.min(MAX_BODY)));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => {
                return Err(Failure::new(FailureKind::Unknown, "the server's answer is longer than 1 MiB"));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => {
                return Err(Failure::new(FailureKind::Unknown, "the server's answer broke off").with_source(error));
            }
        }
    }
}

fn http_client(
    address: &Url,
    certificates: Option<Vec<reqwest::Certificate>>,
    timeout: Duration,
) -> Result<reqwest::Client, VaultConfigError> {
    let user_agent = concat!("rixl-vault/", env!("CARGO_PKG_VERSION"));
    let builder = transport::http_client(address, user_agent, timeout, timeout);
    // A write that is sent twice would be refused by its own first copy.
    let mut builder = transport::never_resent(builder).timeout(timeout);
    if let Some(certificates) = certificates {
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|error| VaultConfigError::new(format!("the HTTP client could not be built: {error}")))
}

fn header(text: &str) -> Option<HeaderValue> {
    let is_visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    HeaderValue::from_str(text).ok().filter(|_| is_visible)
}

fn token_file(path: &std::path::Path) -> Option<Secret> {
    let text = Zeroizing::new(fs::read_to_string(path).ok()?);
    Some(text.trim()).filter(|token| !token.is_empty()).map(Secret::from)
}

/// The parts of a path, between slashes, if nothing in them could lead elsewhere.
pub(crate) fn segments(path: &str) -> Result<Vec<String>, &'static str> {
    let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    for segment in &segments {
        if segment.is_empty() {
            return Err("a part of the path is empty");
        }
        // It would leave the folder that the token's policy and the user mean.
        if segment == "." || segment == ".." {
            return Err("a part of the path is . or ..");
        }
        if segment.chars().any(char::is_control) {
            return Err("the path has a control character in it");
        }
    }
    Ok(segments)
}

struct Answer {
    status: u16,
    date: Option<Timestamp>,
    body: Result<Zeroizing<Vec<u8>>, Failure>,
}

impl Answer {
    /// The body of a success.
    fn success(self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        if (200..=299).contains(&self.status) { self.body } else { Err(self.refusal()) }
    }

    /// What the server's own errors say, as they are: to look for known words in, never to be shown, since a gateway
    /// could quote the request in it. `None` when they don't have Vault's form.
    fn errors(&self) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<String>,
        }
        let body = self.body.as_ref().ok()?;
        serde_json::from_slice::<Errors>(body).ok().map(|errors| errors.errors)
    }

    fn refusal(&self) -> Failure {
        use FailureKind::{Mismatch, Refused, Unknown};
        let errors = self.errors().unwrap_or_default();
        let says = |words: &str| errors.iter().any(|error| error.contains(words));
        let (kind, reason) = match self.status {
            300..=399 => (
                Unknown,
                "the server answered with a redirect, which is not followed; a standby node does so: set the address to \
                 the active node, or let standby nodes forward requests",
            ),
            400 if says("check-and-set parameter did not match") => (Mismatch, "the version is another by now"),
            401 | 403 if says("preflight capability check") => {
                (Refused, "there is no mount there that the token may use")
            }
            401 | 403 => (Refused, "the server refused the token, or its policies do not allow this"),
            404 if says("no handler for route") => (Refused, "nothing is mounted there"),
            404 if says("namespace not found") => (Refused, "there is no such namespace"),
            404 => (Refused, "the server has no such route; check the address"),
            408 | 460 | 499 => (Unknown, "no whole answer came in time"),
            413 => (Refused, "the server takes no request of this size"),
            429 => (Refused, "there were too many requests"),
            500 if says("value being too large") => (Refused, "the server's storage takes no entry of this size"),
            503 if says("is sealed") => (Unknown, "the server is sealed; unseal it"),
            400..=499 => (Refused, "the server refused the request"),
            _ => (Unknown, "the server, or a gateway before it, failed"),
        };
        Failure::new(kind, format!("{reason} (HTTP {})", self.status))
    }
}

/// Why a request failed, without a secret and without the server's words.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) reason: String,
    pub(crate) source: Option<Opaque>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FailureKind {
    /// Nothing was sent.
    NotSent,
    /// The server refused it. Nothing was done.
    Refused,
    /// Check-and-set refused it. Nothing was done.
    Mismatch,
    /// It may have been done.
    Unknown,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), source: None }
    }

    fn with_source(mut self, error: reqwest::Error) -> Self {
        self.source = Some(error.into());
        self
    }

    fn unreadable() -> Self {
        Self::new(FailureKind::Unknown, "the answer is not one of Vault's; check the address")
    }
}

/// A mount of the KV secrets engine, version 2.
#[derive(Clone)]
pub(crate) struct Kv {
    config: VaultConfig,
    mount: String,
    is_checked: Arc<AtomicBool>,
}

/// The current version of an entry.
pub(crate) struct Found {
    /// 0: there is no entry.
    pub(crate) version: u64,
    pub(crate) created: Option<Timestamp>,
    /// What the server's clock says.
    pub(crate) date: Option<Timestamp>,
    body: Zeroizing<Vec<u8>>,
}

/// What a write made.
pub(crate) struct Written {
    pub(crate) version: u64,
    /// Whether the mount is set to delete it after a time.
    pub(crate) is_to_be_deleted: bool,
}

/// How long a token is good for.
#[derive(Deserialize)]
pub(crate) struct TokenLife {
    ttl: i64,
    expire_time: Option<String>,
    /// How many more requests it may make; 0 for any number.
    #[serde(default)]
    pub(crate) num_uses: u64,
}

impl TokenLife {
    /// `None`: for ever.
    pub(crate) fn left(&self) -> Option<Duration> {
        let is_endless = self.ttl == 0 && self.expire_time.is_none();
        (!is_endless).then(|| Duration::from_secs(u64::try_from(self.ttl).unwrap_or_default()))
    }
}

/// The envelope of every answer of Vault.
#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
struct Versioned<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    #[serde(default)]
    created_time: String,
    #[serde(default)]
    deletion_time: String,
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    // Not serde's words: they quote the value.
    serde_json::from_slice::<Envelope<T>>(body).map(|envelope| envelope.data).map_err(|_| Failure::unreadable())
}

impl Found {
    /// The fields; `None` when there is no entry, or its current version was deleted or destroyed.
    pub(crate) fn fields<'a, T: Deserialize<'a>>(&'a self) -> Result<Option<T>, Failure> {
        if self.version == 0 {
            return Ok(None);
        }
        let found: Envelope<Versioned<'_>> = serde_json::from_slice(&self.body).map_err(|_| Failure::unreadable())?;
        let Some(fields) = found.data.data else { return Ok(None) };
        let fields = serde_json::from_str(fields.get());
        fields.map(Some).map_err(|_| Failure::new(FailureKind::Unknown, "its fields are not what they should be"))
    }
}

impl Kv {
    pub(crate) fn new(config: VaultConfig, mount: String) -> Self {
        Self { config, mount, is_checked: Arc::default() }
    }

    pub(crate) fn config(&self) -> &VaultConfig {
        &self.config
    }

    pub(crate) fn mount(&self) -> &str {
        &self.mount
    }

    fn url<'a>(&self, route: &[&'a str], path: impl IntoIterator<Item = &'a String>) -> Url {
        let mut url = self.config.address.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(route).extend(path);
        }
        url
    }

    /// Refuses a mount that is not KV version 2. Version 1 has no check-and-set: it would write whatever it is sent.
    pub(crate) async fn check(&self, path: &[String]) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Mount {
            path: String,
            r#type: String,
            options: Option<Options>,
        }
        #[derive(Deserialize)]
        struct Options {
            version: Option<String>,
        }
        if self.is_checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let url = self.url(&["sys", "internal", "ui", "mounts", &self.mount], path);
        let body = self.config.send(Method::GET, url, None).await?.success()?;
        let mount: Mount = parse(&body)?;
        let version = mount.options.and_then(|options| options.version);
        let reason = if mount.r#type != "kv" && mount.r#type != "generic" {
            "what is mounted there is not the KV secrets engine"
        } else if version.as_deref() != Some("2") {
            "what is mounted there is KV version 1, which has no check-and-set; version 2 is needed"
        } else if mount.path.trim_end_matches('/') != self.mount {
            "the mount there has a slash in its name, which is not supported"
        } else {
            self.is_checked.store(true, Ordering::Relaxed);
            return Ok(());
        };
        Err(Failure::new(FailureKind::Refused, reason))
    }

    pub(crate) async fn read(&self, path: &[String]) -> Result<Found, Failure> {
        let answer = self.config.send(Method::GET, self.url(&[&self.mount, "data"], path), None).await?;
        let (status, date) = (answer.status, answer.date);
        let is_absent = status == 404 && answer.errors().is_some_and(|errors| errors.is_empty());
        if is_absent {
            return Ok(Found { version: 0, created: None, date, body: Zeroizing::default() });
        }
        let refusal = answer.refusal();
        // A version that was deleted or destroyed is a 404 with its metadata.
        let body = if status == 404 { answer.body? } else { answer.success()? };
        let found = serde_json::from_slice::<Envelope<Versioned<'_>>>(&body);
        match found.map(|found| found.data.metadata) {
            Ok(Metadata { version, created_time, .. }) if version > 0 => {
                Ok(Found { version, created: created_time.parse().ok(), date, body })
            }
            _ if status == 404 => Err(refusal),
            _ => Err(Failure::unreadable()),
        }
    }

    /// Writes a new version if the current one is `expected`. [`FailureKind::Mismatch`] when it is not.
    pub(crate) async fn write(
        &self,
        path: &[String],
        fields: &impl Serialize,
        expected: u64,
    ) -> Result<Written, Failure> {
        #[derive(Serialize)]
        struct Write<'a, T> {
            options: Options,
            data: &'a T,
        }
        #[derive(Serialize)]
        struct Options {
            cas: u64,
        }
        let body = serde_json::to_vec(&Write { options: Options { cas: expected }, data: fields })
            .map_err(|_| Failure::new(FailureKind::NotSent, "the request could not be put together"))?;
        let answer = self.config.send(Method::POST, self.url(&[&self.mount, "data"], path), Some(body)).await?;
        let Metadata { version, deletion_time, .. } = parse(&answer.success()?)?;
        Ok(Written { version, is_to_be_deleted: !deletion_time.is_empty() })
    }

    /// The names in a folder; those of folders end with a slash.
    pub(crate) async fn list(&self, path: &[String]) -> Result<Vec<String>, Failure> {
        #[derive(Deserialize)]
        struct Keys {
            keys: Vec<String>,
        }
        let mut url = self.url(&[&self.mount, "metadata"], path);
        url.set_query(Some("list=true"));
        let answer = self.config.send(Method::GET, url, None).await?;
        if answer.status == 404 && answer.errors().is_some_and(|errors| errors.is_empty()) {
            return Ok(Vec::new());
        }
        parse::<Keys>(&answer.success()?).map(|keys| keys.keys)
    }

    /// Removes an entry with all its versions. That it is not there is no failure.
    pub(crate) async fn destroy(&self, path: &[String]) -> Result<(), Failure> {
        let url = self.url(&[&self.mount, "metadata"], path);
        let answer = self.config.send(Method::DELETE, url, None).await?;
        if (200..=299).contains(&answer.status) { Ok(()) } else { Err(answer.refusal()) }
    }

    /// `None`: the token may not look at itself.
    pub(crate) async fn token_life(&self) -> Result<Option<TokenLife>, Failure> {
        let url = self.url(&["auth", "token", "lookup-self"], []);
        let answer = self.config.send(Method::GET, url, None).await?;
        if answer.status == 403 {
            return Ok(None);
        }
        parse(&answer.success()?).map(Some)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<VaultConfig, VaultConfigError> {
        VaultConfig::from_variables(|name| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_environment_is_read_as_the_official_programs_read_it() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(".vault-token"), "s.from-file\n").unwrap();
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
        assert_eq!(config.token.to_str().unwrap(), "s.vault");
        assert_eq!(config.namespace.unwrap().to_str().unwrap(), "team");
        let config = from(&[("VAULT_ADDR", "http://127.0.0.1:8200"), ("HOME", home)]).unwrap();
        assert_eq!(config.token.to_str().unwrap(), "s.from-file");
        assert!(config.namespace.is_none());

        let reason = |variables: &[(&str, &str)]| from(variables).unwrap_err().to_string();
        assert_eq!(reason(&[]), "neither BAO_ADDR nor VAULT_ADDR is set");
        assert!(reason(&[("VAULT_ADDR", "https://v.example")]).starts_with("neither BAO_TOKEN nor VAULT_TOKEN is set"));
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
            assert_eq!(VaultConfig::new(address, Secret::from("s")).unwrap_err().to_string(), reason, "{address}");
        }
        for address in ["http://localhost:1", "http://127.1.2.3", "http://[::1]:8200", "https://v.example"] {
            VaultConfig::new(address, Secret::from("s")).unwrap();
        }
        for token in ["", "with space", "with\nfeed", "é"] {
            let error = VaultConfig::new("https://v.example", Secret::from(token)).unwrap_err();
            assert_eq!(error.to_string(), "the Vault token is empty, or is not visible ASCII");
        }
    }

    #[test]
    fn a_path_stays_where_it_is() {
        let config = VaultConfig::new("http://localhost:1/prefix/", Secret::from("s")).unwrap();
        let kv = Kv::new(config, "kv".into());
        let url = |path| kv.url(&["kv", "data"], &segments(path).unwrap()).to_string();
        assert_eq!(url("a/b"), "http://localhost:1/prefix/v1/kv/data/a/b");
        assert_eq!(url("a b/é#?x%2e%2e\\"), "http://localhost:1/prefix/v1/kv/data/a%20b/%C3%A9%23%3Fx%252e%252e%5C");
        for path in ["", "/a", "a/", "a//b", "a/../b", "..", "a/./b", "a\nb"] {
            assert!(segments(path).is_err(), "{path:?}");
        }
    }
}
