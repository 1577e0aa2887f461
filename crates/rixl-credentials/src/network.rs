//! Network settings: a proxy, certificates, addresses.

use std::{fmt, net::SocketAddr, sync::Arc};

#[cfg(any(feature = "rustls", feature = "native-tls"))]
use reqwest::{Certificate, Identity};
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::{Secret, transport::is_loopback};

/// The way to a server. None of it lets a request be sent twice, or in clear.
#[derive(Clone, Default)]
pub struct Network {
    /// Which proxy is used, but for loopback.
    pub proxy: Proxy,
    /// PEM texts of certificates that are trusted besides the system's.
    pub root_certificates: Vec<Vec<u8>>,
    /// The PEM text of a certificate and its private key.
    pub client_identity: Option<Zeroizing<Vec<u8>>>,
    /// Names, and where they lead.
    pub addresses: Vec<(String, SocketAddr)>,
}

/// Which proxy is used.
#[derive(Clone, Debug, Default)]
pub enum Proxy {
    /// That of the environment.
    #[default]
    Environment,
    /// None.
    Off,
    /// This one. Its URL may hold a password.
    Url(Arc<Secret>),
}

/// Why the way to a server can't be taken. No setting is repeated: it may hold a password or a private key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidNetwork {
    /// The URL is of something else, or holds more than a proxy needs.
    #[error("the proxy must be http://HOST:PORT or https://HOST:PORT, with or without a user name and password")]
    Proxy,
    /// There is none in the PEM text.
    #[error("a root certificate must be one or more certificates in PEM form")]
    RootCertificate,
    /// One of the two is missing, or can't be read.
    #[error("a client identity must be a certificate and its private key, one after the other, in PEM form")]
    ClientIdentity,
    /// There is no TLS in this build.
    #[error("certificates need TLS, which this build does not have: turn on the feature rustls or native-tls")]
    NoTls,
    /// Nobody asks where it leads.
    #[error("a name to resolve must be a host name, not an address")]
    Name,
    /// Tokens and secrets would cross the network in clear.
    #[error("localhost must resolve to a loopback address")]
    Localhost,
}

/// Without the settings: there is a private key among them.
impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

impl Network {
    /// Adds these settings to those of a client for this server.
    pub(crate) fn apply(
        &self,
        server: &Url,
        mut builder: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, InvalidNetwork> {
        let proxy = match &self.proxy {
            Proxy::Url(url) => Some(proxy(url.expose_secret())?),
            Proxy::Environment | Proxy::Off => None,
        };
        builder = match proxy {
            // A proxy would get what is in clear, and loopback is not the proxy's.
            _ if is_loopback(server) => builder.no_proxy(),
            Some(proxy) => builder.proxy(proxy),
            None if matches!(self.proxy, Proxy::Off) => builder.no_proxy(),
            None => builder,
        };
        for (name, address) in &self.addresses {
            let Ok(Host::Domain(name)) = Host::parse(name) else { return Err(InvalidNetwork::Name) };
            // `http` to it is allowed by its name.
            if name == "localhost" && !address.ip().is_loopback() {
                return Err(InvalidNetwork::Localhost);
            }
            // A proxy would ask for the address itself.
            if server.host_str() == Some(&*name) {
                builder = builder.no_proxy();
            }
            // Another port than 0 would count where the URL names none.
            builder = builder.resolve(&name, SocketAddr::new(address.ip(), 0));
        }
        self.apply_certificates(server, builder)
    }

    #[cfg(any(feature = "rustls", feature = "native-tls"))]
    fn apply_certificates(
        &self,
        server: &Url,
        mut builder: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, InvalidNetwork> {
        let is_encrypted = server.scheme() != "http";
        for pem in &self.root_certificates {
            let certificates = certificates(pem).ok_or(InvalidNetwork::RootCertificate)?;
            if is_encrypted {
                builder = builder.tls_certs_merge(certificates);
            }
        }
        if let Some(pem) = &self.client_identity {
            builder = builder.identity(identity(pem).ok_or(InvalidNetwork::ClientIdentity)?);
        }
        Ok(builder)
    }

    #[cfg(not(any(feature = "rustls", feature = "native-tls")))]
    fn apply_certificates(
        &self,
        _: &Url,
        builder: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, InvalidNetwork> {
        let is_asked_for = !self.root_certificates.is_empty() || self.client_identity.is_some();
        if is_asked_for { Err(InvalidNetwork::NoTls) } else { Ok(builder) }
    }
}

fn proxy(text: &str) -> Result<reqwest::Proxy, InvalidNetwork> {
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let proxy = url.and_then(|url| reqwest::Proxy::all(url).ok());
    proxy.ok_or(InvalidNetwork::Proxy)
}

/// The certificates in a PEM text; `None` where there is none.
#[cfg(any(feature = "rustls", feature = "native-tls"))]
#[must_use]
pub fn certificates(pem: &[u8]) -> Option<Vec<Certificate>> {
    Certificate::from_pem_bundle(pem).ok().filter(|certificates| !certificates.is_empty())
}

#[cfg(feature = "rustls")]
fn identity(pem: &[u8]) -> Option<Identity> {
    Identity::from_pem(pem).ok()
}

/// The key apart: the layer below takes the two as two texts, and only PKCS #8.
#[cfg(all(feature = "native-tls", not(feature = "rustls")))]
fn identity(pem: &[u8]) -> Option<Identity> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, key) = text.split_at_checked(text.find("-----BEGIN PRIVATE KEY-----")?)?;
    Identity::from_pkcs8_pem(pem, key.as_bytes()).ok()
}
