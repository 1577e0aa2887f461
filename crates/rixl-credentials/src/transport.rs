//! Hardened HTTP and the cache of tokens, for the facade and the other crates of this project: plumbing, without any promise of stability.

use std::{
    borrow::Cow,
    error::Error as StdError,
    io,
    iter::successors,
    net::{Ipv4Addr, UdpSocket},
    panic,
    time::Duration,
};

use url::{Host, Url};

#[cfg(any(feature = "rustls", feature = "native-tls"))]
pub use crate::network::certificates;
pub use crate::{
    elsewhere::KeyError,
    network::{InvalidNetwork, Network, Proxy},
    token_cache::{TokenCache, is_same},
};

/// Why a request came to nothing, in words of our own: those of the layers below can hold the server's, such as the debug
/// data of an HTTP/2 GOAWAY, and the URL, with ids or a path of the user's in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Opaque(Cow<'static, str>);

/// What the layers below say of a failure, and what is said of it here.
const REASONS: [(&str, &str); 26] = [
    ("dns error", "the name of the server could not be resolved"),
    ("UnknownIssuer", "the server's certificate has an unknown issuer"),
    ("unable to get local issuer", "the server's certificate has an unknown issuer"),
    ("self-signed certificate", "the server's certificate has an unknown issuer"),
    ("not valid for name", "the server's certificate is for another name"),
    ("NotValidForName", "the server's certificate is for another name"),
    ("ostname mismatch", "the server's certificate is for another name"),
    ("certificate expired", "the server's certificate has expired"),
    ("certificate has expired", "the server's certificate has expired"),
    ("not valid yet", "the server's certificate is not valid yet"),
    ("invalid peer certificate", "the server's certificate is not valid"),
    ("certificate verify failed", "the server's certificate is not valid"),
    ("received fatal alert", "the server refused the TLS connection"),
    ("InvalidContentType", "the server does not speak TLS"),
    ("wrong version number", "the server does not speak TLS"),
    ("close_notify", "the TLS connection was cut off"),
    ("tunnel", "the proxy refused the connection"),
    ("roxy authorization required", "the proxy asks for credentials"),
    ("connection closed before message completed", "the connection was closed before a response arrived"),
    ("message head is too large", "the head of the response is too large"),
    ("invalid HTTP", "the response is not HTTP"),
    ("invalid content-length", "the length of the response is not valid"),
    ("refused stream", "the server refused the HTTP/2 stream"),
    ("stream error", "the server ended the HTTP/2 stream"),
    ("connection error received", "the server ended the HTTP/2 connection"),
    ("unexpected end of", "the response was cut off"),
];

impl From<reqwest::Error> for Opaque {
    fn from(error: reqwest::Error) -> Self {
        let causes = || successors(error.source(), |cause: &&(dyn StdError + 'static)| (*cause).source());
        let system = causes().find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
        if let Some(code) = system {
            return Self(io::Error::from_raw_os_error(code).to_string().into());
        }
        // Only chosen by the words of others, never made of them.
        let said = causes().fold(String::new(), |said, cause| said + &cause.to_string() + "\n");
        let reason = REASONS.iter().find(|(theirs, _)| said.contains(theirs));
        Self(reason.map_or_else(|| Self::kind(&error), |(_, ours)| ours).into())
    }
}

impl Opaque {
    fn kind(error: &reqwest::Error) -> &'static str {
        if error.is_builder() {
            "the request could not be built"
        } else if error.is_timeout() {
            "time ran out"
        } else if error.is_connect() {
            "the connection could not be opened"
        } else if error.is_body() || error.is_decode() {
            "the response was cut off"
        } else {
            "the connection broke"
        }
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
    /// It holds more than a page.
    #[error("must not hold a user name, password or fragment")]
    Personal,
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
    if is_personal(&url) || url.query().is_some() {
        return Err(InvalidUrl::Decorated);
    }
    safe(url)
}

/// Parses the URL of a page, which may hold a query: `https`, or `http` on loopback.
///
/// ```
/// use rixl_credentials::transport::page_url;
///
/// assert!(page_url("https://api.rixl.com/images?limit=1").is_ok());
/// assert!(page_url("http://api.rixl.com/images").is_err());
/// ```
///
/// # Errors
///
/// [`InvalidUrl`] for any other URL, and for one with a user name, password or fragment.
pub fn page_url(text: &str) -> Result<Url, InvalidUrl> {
    let url = Url::parse(text)?;
    if is_personal(&url) { Err(InvalidUrl::Personal) } else { safe(url) }
}

fn is_personal(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some() || url.fragment().is_some()
}

/// Where nobody on the way sees what is sent.
fn safe(url: Url) -> Result<Url, InvalidUrl> {
    match url.scheme() {
        "https" if cfg!(any(feature = "rustls", feature = "native-tls")) => Ok(url),
        "https" => Err(InvalidUrl::NoTls),
        "http" if !is_loopback(&url) => Err(InvalidUrl::Plain),
        "http" => Ok(url),
        _ => Err(InvalidUrl::Scheme),
    }
}

/// Whether the Tokio runtime here has timers and I/O. It can't be asked: what is missing makes Tokio panic.
pub(crate) fn has_drivers() -> bool {
    let try_both = || {
        drop(tokio::time::sleep(Duration::ZERO));
        // Where there are no sockets, connecting will say so.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        socket.is_ok_and(|socket| tokio::net::UdpSocket::from_std(socket).is_ok())
    };
    panic::catch_unwind(try_both).is_ok()
}

pub(crate) fn is_loopback(server: &Url) -> bool {
    match server.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The settings of an HTTP client for this server: it sends nothing twice, follows nothing, decompresses nothing and logs
/// nothing. The time-out of a whole request, from which that of connecting is derived, is for the caller to set.
///
/// ```
/// use std::time::Duration;
/// use rixl_credentials::transport::{Network, http_client, server_url};
///
/// let second = Duration::from_secs(1);
/// let server = server_url("https://api.rixl.com")?;
/// let builder = http_client(&server, "example/1.0", second, second, &Network::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`InvalidNetwork`] for settings of the way there that can't be used.
pub fn http_client(
    server: &Url,
    user_agent: &str,
    timeout: Duration,
    connect_timeout: Duration,
    network: &Network,
) -> Result<reqwest::ClientBuilder, InvalidNetwork> {
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
        // Below the time to send, which alone can't tell that there was no connection.
        .connect_timeout(connect_timeout.min(timeout / 3))
        .user_agent(user_agent);
    let builder = network.apply(server, builder)?;
    // For `http` too: the default of a build with both would not take the identity that was read for the other.
    #[cfg(feature = "rustls")]
    let builder = builder.tls_backend_rustls();
    #[cfg(all(feature = "native-tls", not(feature = "rustls")))]
    let builder = builder.tls_backend_native();
    if server.scheme() == "http" {
        // Nothing is encrypted, so nobody is trusted; to load the system's certificates would take longer than all else.
        #[cfg(any(feature = "rustls", feature = "native-tls"))]
        let builder = builder.tls_certs_only([]);
        return Ok(builder);
    }
    Ok(builder.https_only(true))
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
