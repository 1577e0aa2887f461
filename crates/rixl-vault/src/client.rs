//! The parts of the HTTP API that the store and the journal need: KV version 2.

use std::{error::Error as StdError, io, iter::successors, time::Duration};

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{Method, RequestBuilder, header::HeaderValue};
use rixl_credentials::{
    Error, Secret,
    transport::{Opaque, is_same},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use url::Url;
use zeroize::Zeroizing;

use crate::config::{TOKEN, VaultConfig, token_header};

/// Max bytes read of a response. Raft storage accepts no larger entry either.
pub(crate) const MAX_BODY: usize = MIB;
/// Of a list, which is of no entry: the names of a million lines of the history.
const MAX_LIST: usize = 64 * MIB;
const MIB: usize = 1024 * 1024;
/// Tells which writes the node that responds must know of, and what one does that does not.
const INDEX: &str = "x-vault-index";
const IF_BEHIND: &str = "x-vault-inconsistent";

/// Reads the body, but not more than `max`: an endless one would fill the memory.
async fn bounded_body(mut response: reqwest::Response, max: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let promised = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(MAX_BODY);
    // Of its final size from the start: growing would leave copies of the secret behind.
    let mut body = Zeroizing::new(Vec::with_capacity(promised.min(max)));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > max => {
                let reason = format!("the server's response is larger than {} MiB", max / MIB);
                return Err(Failure::new(FailureKind::Unknown, reason));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => {
                let failure = Failure::new(FailureKind::Unknown, "the server's response was cut off");
                return Err(failure.passing(None).with_source(Opaque::from(error)));
            }
        }
    }
}

/// The segments of a path, if none of them can lead elsewhere.
pub(crate) fn segments(path: &str) -> Result<Vec<String>, &'static str> {
    let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    for segment in &segments {
        if segment.is_empty() {
            return Err("a segment of the path is empty");
        }
        // It would leave the folder that the token's policy and the user mean.
        if segment == "." || segment == ".." {
            return Err("a segment of the path is . or ..");
        }
        if segment.chars().any(char::is_control) {
            return Err("the path has a control character in it");
        }
    }
    Ok(segments)
}

/// Whether a connection can't succeed later either: the server's certificate is wrong, or its name is unknown.
fn is_permanent(error: &reqwest::Error) -> bool {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkDown,
        NetworkUnreachable, TimedOut,
    };
    let is_passing = |cause: &(dyn StdError + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|cause| {
            matches!(
                cause.kind(),
                AddrNotAvailable
                    | ConnectionAborted
                    | ConnectionRefused
                    | ConnectionReset
                    | HostUnreachable
                    | NetworkDown
                    | NetworkUnreachable
                    | TimedOut
            )
        })
    };
    let mut causes = successors(error.source(), |cause: &&(dyn StdError + 'static)| (*cause).source());
    error.is_builder() || (error.is_connect() && !error.is_timeout() && !causes.any(is_passing))
}

fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// Seconds, or a date, which is counted from the server's own.
fn retry_after(text: &str, date: Option<Timestamp>) -> Option<Duration> {
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Duration::try_from(http_date(text)?.duration_since(date?)).ok(),
    }
}

/// Sends one request with this token.
async fn respond(request: RequestBuilder, token: &Secret, max: usize) -> Result<Response, Failure> {
    let token = token_header(token).map_err(|error| Failure::new(FailureKind::NotSent, error.to_string()))?;
    let response = request.header(TOKEN, token).send().await.map_err(|error| {
        let failure = if error.is_connect() || error.is_builder() {
            Failure::new(FailureKind::NotSent, "no connection to the server could be opened")
        } else {
            Failure::new(FailureKind::Unknown, "the server did not respond")
        };
        let failure = if is_permanent(&error) { failure } else { failure.passing(None) };
        failure.with_source(Opaque::from(error))
    })?;
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let date = header("date").and_then(http_date);
    let retry_after = header("retry-after").and_then(|text| retry_after(text, date));
    let index = response.headers().get(INDEX).cloned();
    Ok(Response { status, date, retry_after, index, body: bounded_body(response, max).await })
}

struct Response {
    status: u16,
    date: Option<Timestamp>,
    retry_after: Option<Duration>,
    /// Of the last write that it knows of.
    index: Option<HeaderValue>,
    body: Result<Zeroizing<Vec<u8>>, Failure>,
}

impl Response {
    /// The body of a success.
    fn success(self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        if (200..=299).contains(&self.status) { self.body } else { Err(self.refusal()) }
    }

    /// The server's own error messages, unchanged: to search for known words, never to be shown, since a gateway could
    /// quote the request in them. `None` when they are not in Vault's format.
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
                "the server responded with a redirect, which is not followed; standby nodes do so: set the address to \
                 the active node, or let standby nodes forward requests",
            ),
            400 if says("check-and-set parameter did not match") => (Mismatch, "the version has changed"),
            401 | 403 if says("preflight capability check") => {
                (Refused, "there is no mount there that the token may use")
            }
            401 | 403 => (Refused, "the server refused the token, or its policies do not allow this"),
            404 if says("no handler for route") => (Refused, "nothing is mounted there"),
            404 if says("namespace not found") => (Refused, "there is no such namespace"),
            404 => (Refused, "the server has no such route; check the address"),
            408 | 460 | 499 => (Unknown, "the whole response did not arrive in time"),
            413 => (Refused, "the server does not accept a request of this size"),
            412 => (Refused, "the node that responded lags behind"),
            429 => (Refused, "too many requests were sent"),
            472 | 473 => (Refused, "the node that responded is a standby, and does not do this"),
            500 if says("value being too large") => {
                (Refused, "the server's storage does not accept an entry of this size")
            }
            503 if says("is sealed") => (Unknown, "the server is sealed; unseal it"),
            400..=499 => (Refused, "the server refused the request"),
            _ => (Unknown, "the server, or a gateway before it, failed"),
        };
        let failure = Failure::new(kind, format!("{reason} (HTTP {})", self.status));
        // What the storage can't hold now it can't hold later.
        let is_passing =
            matches!(self.status, 408 | 412 | 429 | 460 | 472 | 473 | 499) || (self.status >= 500 && kind == Unknown);
        if is_passing { failure.passing(self.retry_after) } else { failure }
    }
}

/// Why a request failed, without a secret and without the server's words.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) reason: String,
    pub(crate) source: Option<Box<dyn StdError + Send + Sync>>,
    /// Whether the same request may succeed a little later.
    pub(crate) is_passing: bool,
    /// When it may, according to the server.
    pub(crate) retry_after: Option<Duration>,
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
        Self { kind, reason: reason.into(), source: None, is_passing: false, retry_after: None }
    }

    fn with_source(mut self, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(error.into());
        self
    }

    pub(crate) fn passing(mut self, retry_after: Option<Duration>) -> Self {
        self.is_passing = true;
        self.retry_after = retry_after;
        self
    }

    fn unreadable() -> Self {
        Self::new(FailureKind::Unknown, "the response is not from Vault; check the address")
    }
}

/// There is no token.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = Self::new(FailureKind::NotSent, "no token for the server could be obtained");
        let failure = if error.is_authentication() { failure } else { failure.passing(error.retry_after()) };
        failure.with_source(error)
    }
}

/// A mount of the KV secrets engine, version 2.
#[derive(Clone)]
pub(crate) struct Kv {
    config: VaultConfig,
    mount: String,
}

/// The current version of an entry.
pub(crate) struct Found {
    /// 0: there is no entry.
    pub(crate) version: u64,
    pub(crate) created: Option<Timestamp>,
    /// What the server's clock says.
    pub(crate) date: Option<Timestamp>,
    /// Whether the server will delete this version automatically, or has done so.
    pub(crate) is_to_be_deleted: bool,
    body: Zeroizing<Vec<u8>>,
}

/// The result of a write.
pub(crate) struct Written {
    pub(crate) version: u64,
    /// What the server's clock says.
    pub(crate) date: Option<Timestamp>,
    /// Whether the mount is configured to delete it after a time.
    pub(crate) is_to_be_deleted: bool,
}

/// How long a token is valid.
#[derive(Deserialize)]
pub(crate) struct TokenLife {
    ttl: i64,
    expire_time: Option<String>,
    /// How many more requests it may make; 0 for any number.
    #[serde(default)]
    pub(crate) num_uses: u64,
}

impl TokenLife {
    /// `None`: it never expires.
    pub(crate) fn left(&self) -> Option<Duration> {
        let never_expires = self.ttl == 0 && self.expire_time.is_none();
        (!never_expires).then(|| Duration::from_secs(u64::try_from(self.ttl).unwrap_or_default()))
    }
}

/// The envelope of every response of Vault.
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
        fields.map(Some).map_err(|_| Failure::new(FailureKind::Unknown, "its fields do not have the expected form"))
    }
}

impl Kv {
    pub(crate) fn new(config: VaultConfig, mount: String) -> Self {
        Self { config, mount }
    }

    pub(crate) fn config(&self) -> &VaultConfig {
        &self.config
    }

    pub(crate) fn mount(&self) -> &str {
        &self.mount
    }

    fn url<'a>(&self, route: &[&'a str], path: impl IntoIterator<Item = &'a String>) -> Url {
        let mut url = self.config.address().clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(route).extend(path);
        }
        url
    }

    /// Sends one request; once more if its token was refused and there is another by then. A response is `Ok` whatever
    /// its status.
    ///
    /// What this process reads is not older than what it wrote last, whichever node responds: a standby that lags passes the
    /// request on.
    async fn send(&self, method: Method, url: Url, body: Option<Vec<u8>>, max: usize) -> Result<Response, Failure> {
        let is_write = method != Method::GET;
        let request = self.config.request(method, url);
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body),
            None => request,
        };
        let index = self.config.index().clone();
        let from = |request: RequestBuilder| match &index {
            Some(index) => request.header(INDEX, index).header(IF_BEHIND, "forward-active-node"),
            None => request,
        };
        let again = request.try_clone();
        let token = self.config.token(None).await?;
        let response = respond(from(request), &token, max).await?;
        if is_write && response.index.is_some() {
            self.config.index().clone_from(&response.index);
        }
        let Some(again) = again.filter(|_| matches!(response.status, 401 | 403 | 412)) else { return Ok(response) };
        if response.status == 412 {
            // A standby that may not pass it on tells what it knows.
            return if is_write || index.is_none() { Ok(response) } else { respond(again, &token, max).await };
        }
        // It does not tell a refused token from a policy that forbids this. Nothing was done in either case.
        match self.config.token(Some(&token)).await {
            Ok(newer) if !is_same(&newer, &token) => respond(from(again), &newer, max).await,
            // Whether there is another token is not known yet.
            Err(failure) if failure.is_passing => Err(failure),
            _ => Ok(response),
        }
    }

    /// Reads what a token may well be forbidden to read: a refusal does not mean that the token is bad, so it is not
    /// renewed for that.
    async fn peek(&self, url: Url) -> Result<Response, Failure> {
        let token = self.config.token(None).await?;
        respond(self.config.request(Method::GET, url), &token, MAX_BODY).await
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
        if self.config.checked_mounts().contains(&self.mount) {
            return Ok(());
        }
        let url = self.url(&["sys", "internal", "ui", "mounts", &self.mount], path);
        let body = self.send(Method::GET, url, None, MAX_BODY).await?.success()?;
        let mount: Mount = parse(&body)?;
        let version = mount.options.and_then(|options| options.version);
        let reason = if mount.r#type != "kv" && mount.r#type != "generic" {
            "what is mounted there is not the KV secrets engine"
        } else if version.as_deref() != Some("2") {
            "what is mounted there is KV version 1, which has no check-and-set; version 2 is needed"
        } else if mount.path.trim_end_matches('/') != self.mount {
            "the mount there has a slash in its name, which is not supported"
        } else {
            self.config.checked_mounts().insert(self.mount.clone());
            return Ok(());
        };
        Err(Failure::new(FailureKind::Refused, reason))
    }

    /// The current version.
    pub(crate) async fn read(&self, path: &[String]) -> Result<Found, Failure> {
        self.read_at(self.url(&[&self.mount, "data"], path)).await
    }

    /// An earlier version, if the server still has it.
    pub(crate) async fn read_version(&self, path: &[String], version: u64) -> Result<Found, Failure> {
        let mut url = self.url(&[&self.mount, "data"], path);
        url.set_query(Some(&format!("version={version}")));
        self.read_at(url).await
    }

    /// Whether the entry or mount is configured to delete what is written now; `None` if the token may read neither.
    pub(crate) async fn deletes_by_itself(&self, path: &[String]) -> Result<Option<bool>, Failure> {
        #[derive(Deserialize)]
        struct Settings {
            #[serde(default)]
            delete_version_after: String,
        }
        let urls = [self.url(&[&self.mount, "config"], []), self.url(&[&self.mount, "metadata"], path)];
        let mut deletes = None;
        for url in urls {
            let response = self.peek(url).await?;
            // Not all tokens may ask, and the entry may not be there yet.
            if !matches!(response.status, 403..=405) {
                let time = parse::<Settings>(&response.success()?)?.delete_version_after;
                let is_set = !time.starts_with('-') && time.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
                deletes = Some(deletes == Some(true) || is_set);
            }
        }
        Ok(deletes)
    }

    async fn read_at(&self, url: Url) -> Result<Found, Failure> {
        let response = self.send(Method::GET, url, None, MAX_BODY).await?;
        let (status, date) = (response.status, response.date);
        let is_absent = status == 404 && response.errors().is_some_and(|errors| errors.is_empty());
        if is_absent {
            let is_to_be_deleted = false;
            return Ok(Found { version: 0, created: None, date, is_to_be_deleted, body: Zeroizing::default() });
        }
        let refusal = response.refusal();
        // A version that was deleted or destroyed is a 404 with its metadata.
        let body = if status == 404 { response.body? } else { response.success()? };
        let found = serde_json::from_slice::<Envelope<Versioned<'_>>>(&body);
        match found.map(|found| found.data.metadata) {
            Ok(Metadata { version, created_time, deletion_time }) if version > 0 => {
                let is_to_be_deleted = !deletion_time.is_empty();
                Ok(Found { version, created: created_time.parse().ok(), date, is_to_be_deleted, body })
            }
            _ if status == 404 => Err(refusal),
            _ => Err(Failure::unreadable()),
        }
    }

    /// Writes a new version if the current one is `expected`. [`FailureKind::Mismatch`] when it is not.
    pub(crate) async fn write(
        &self,
        path: &[String],
        fields: &(impl Serialize + Sync),
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
            .map_err(|_| Failure::new(FailureKind::NotSent, "the request could not be serialized"))?;
        let response = self.send(Method::POST, self.url(&[&self.mount, "data"], path), Some(body), MAX_BODY).await?;
        let date = response.date;
        let Metadata { version, deletion_time, .. } = parse(&response.success()?)?;
        Ok(Written { version, date, is_to_be_deleted: !deletion_time.is_empty() })
    }

    /// The names in a folder; those of folders end with a slash.
    pub(crate) async fn list(&self, path: &[String]) -> Result<Vec<String>, Failure> {
        #[derive(Deserialize)]
        struct Keys {
            keys: Vec<String>,
        }
        let mut url = self.url(&[&self.mount, "metadata"], path);
        url.set_query(Some("list=true"));
        let response = self.send(Method::GET, url, None, MAX_LIST).await?;
        if response.status == 404 && response.errors().is_some_and(|errors| errors.is_empty()) {
            return Ok(Vec::new());
        }
        parse::<Keys>(&response.success()?).map(|keys| keys.keys)
    }

    /// Removes an entry with all its versions. A missing entry is not a failure.
    pub(crate) async fn destroy(&self, path: &[String]) -> Result<(), Failure> {
        let url = self.url(&[&self.mount, "metadata"], path);
        let response = self.send(Method::DELETE, url, None, MAX_BODY).await?;
        if (200..=299).contains(&response.status) { Ok(()) } else { Err(response.refusal()) }
    }

    /// `None`: the token may not look itself up.
    pub(crate) async fn token_life(&self) -> Result<Option<TokenLife>, Failure> {
        let url = self.url(&["auth", "token", "lookup-self"], []);
        let response = self.peek(url).await?;
        if response.status == 403 {
            return Ok(None);
        }
        parse(&response.success()?).map(Some)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_path_stays_where_it_is() {
        let config = VaultConfig::builder().address("http://localhost:1/prefix/").token("s").build().unwrap();
        let kv = Kv::new(config, "kv".into());
        let url = |path| kv.url(&["kv", "data"], &segments(path).unwrap()).to_string();
        assert_eq!(url("a/b"), "http://localhost:1/prefix/v1/kv/data/a/b");
        assert_eq!(url("a b/é#?x%2e%2e\\"), "http://localhost:1/prefix/v1/kv/data/a%20b/%C3%A9%23%3Fx%252e%252e%5C");
        for path in ["", "/a", "a/", "a//b", "a/../b", "..", "a/./b", "a\nb"] {
            assert!(segments(path).is_err(), "{path:?}");
        }
    }
}
