//! One request to another server than RIXL's, with a key: shows whether the key works there.

use std::time::Duration;

use reqwest::header::HeaderValue;

use crate::{
    Client, Secret,
    sender::Sender,
    transport::{self, InvalidUrl, Opaque},
};

/// What a request to another server is made with.
pub(crate) struct Elsewhere {
    pub(crate) user_agent: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) network: transport::Network,
}

/// Why a request with a key has no status. Neither the key nor the URL is repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The URL is not one that a key may be sent to.
    #[error("the URL {0}")]
    Url(#[from] InvalidUrl),
    /// There is no way to the server with the client's settings.
    #[error("{0}")]
    Network(#[from] transport::InvalidNetwork),
    /// The key can't stand in a header.
    #[error("the key is empty, or is not visible ASCII")]
    Key,
    /// No response arrived.
    #[error("{0}")]
    NoResponse(#[from] Opaque),
}

impl Client {
    /// Sends one `GET` with this key in the header `X-API-Key`, and gives the status of the response. No redirect is followed,
    /// the body is not read, nothing is sent twice, and no token goes there.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the URL is neither `https` nor on loopback, or no response arrived within the time of one attempt.
    #[doc(hidden)]
    pub async fn try_key(&self, url: &str, key: &Secret) -> Result<u16, KeyError> {
        let Sender { elsewhere, attempt_timeout, .. } = &*self.sender;
        let url = transport::page_url(url)?;
        let is_header =
            !key.expose_secret().is_empty() && key.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::from_str(key.expose_secret()).ok().filter(|_| is_header);
        let mut value = value.ok_or(KeyError::Key)?;
        value.set_sensitive(true);
        let Elsewhere { user_agent, connect_timeout, network } = &**elsewhere;
        let http = transport::http_client(&url, user_agent, *attempt_timeout, *connect_timeout, network)?;
        let http = transport::never_resent(http).build().map_err(Opaque::from)?;
        let request = http.get(url).header("x-api-key", value).timeout(*attempt_timeout);
        Ok(request.send().await.map_err(Opaque::from)?.status().as_u16())
    }
}
