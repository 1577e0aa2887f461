//! Hardened HTTP and the cache of tokens, for the facade and the other crates of this project: plumbing, without any promise of stability.

use std::{fmt, time::Duration};

use url::{Host, Url};

pub use crate::token_cache::{TokenCache, is_same};

/// Keeps callers from depending on the HTTP library by way of a downcast. The URL is taken out: it holds ids or a path of
/// the user's, and may hold more.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct Opaque(reqwest::Error);

impl From<reqwest::Error> for Opaque {
    fn from(error: reqwest::Error) -> Self {
        Self(error.without_url())
    }
}

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a URL is refused. The text is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// It can't be parsed.
    #[error("is not a URL: {0}")]
    Malformed(#[from] url::ParseError),
    /// It holds more than a place.
    #[error("must not hold a user name, password, query or fragment")]
    Decorated,
    /// There is no TLS in this build.
    #[error("is https, but this build has no TLS: turn on the feature rustls or native-tls")]
    NoTls,
    /// Tokens and secrets would cross the network in clear.
    #[error("must be https; http is for loopback only")]
    Plain,
    /// It is another protocol.
    #[error("must begin with https://")]
    Scheme,
}

/// Parses the URL of a server: `https`, or `http` on loopback.
///
/// ```
/// use rixl_credentials::transport::server_url;
///
/// assert!(server_url("http://127.0.0.1:8080").is_ok());
/// assert_eq!(server_url("http://api.rixl.com").unwrap_err().to_string(), "must be https; http is for loopback only");
/// ```
///
/// # Errors
///
/// [`InvalidUrl`] for any other URL, and for one with a user name, password, query or fragment.
pub fn server_url(text: &str) -> Result<Url, InvalidUrl> {
    let url = Url::parse(text)?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(InvalidUrl::Decorated);
    }
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" if cfg!(any(feature = "rustls", feature = "native-tls")) => Ok(url),
        "https" => Err(InvalidUrl::NoTls),
        "http" if !is_loopback => Err(InvalidUrl::Plain),
        "http" => Ok(url),
        _ => Err(InvalidUrl::Scheme),
    }
}

/// The settings of an HTTP client for this server: it sends nothing twice, follows nothing, decompresses nothing and logs
/// nothing. The time-out of a whole request, from which that of connecting is derived, is for the caller to set.
///
/// ```
/// use std::time::Duration;
/// use rixl_credentials::transport::{http_client, server_url};
///
/// let second = Duration::from_secs(1);
/// let builder = http_client(&server_url("https://api.rixl.com")?, "example/1.0", second, second);
/// # Ok::<(), rixl_credentials::transport::InvalidUrl>(())
/// ```
pub fn http_client(
    server: &Url,
    user_agent: &str,
    timeout: Duration,
    connect_timeout: Duration,
) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        // A 307 would resend the request, token and secret and all, to a host of the server's choosing.
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
        // Below that of the whole request, which alone can't tell that nothing was sent.
        .connect_timeout(connect_timeout.min(timeout / 2))
        .user_agent(user_agent);
    if server.scheme() == "http" {
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

/// The same for requests that change something: HTTP/1.1, on a connection that no request used before.
///
/// Below us, an idle connection that turns out to be closed makes hyper send the request again, and HTTP/2 sends refused
/// streams again: one call, several rotations.
///
/// ```
/// let builder = rixl_credentials::transport::never_resent(reqwest::Client::builder());
/// ```
pub fn never_resent(builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
    builder.pool_max_idle_per_host(0).http1_only()
}
