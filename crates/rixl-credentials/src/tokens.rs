//! Exchange of API keys for tokens, and refresh of tokens.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rixl_api::{
    types,
    wire::{Int64, Time},
};

use crate::{Error, ErrorKind, Operation, Secret, reply::Reply, route::Generation, sender::Sender};

/// The token operations. The credential is in the request body; no bearer token is sent.
#[derive(Clone, Debug)]
pub struct Tokens {
    sender: Arc<Sender>,
    generation: Generation,
}

/// An access token and the refresh token that follows it.
#[derive(Debug)]
#[non_exhaustive]
pub struct TokenPair {
    /// The bearer token.
    pub access_token: Secret,
    /// Exchanged for the next pair, once.
    pub refresh_token: Option<Secret>,
    /// How to present the access token; `Bearer` in all published examples.
    pub token_type: Option<String>,
    /// The access token's lifetime, counted from the response; where only `expires_at` is set, by the response's `Date`.
    pub expires_in: Option<Duration>,
    /// When the access token expires, by the server's clock.
    pub expires_at: Option<Timestamp>,
}

impl Tokens {
    pub(crate) fn new(sender: Arc<Sender>, generation: Generation) -> Self {
        Self { sender, generation }
    }

    /// Exchanges a live API key for a pair of tokens. This also shows whether the key is live: 200 or 401.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when the text does not have the format `<something>_<something>`, which RIXL
    /// publishes for API keys, or has white space in it; [`ErrorKind::Unauthorized`] when the key is not live; else as
    /// for [every call](Error#every-call).
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the exchange may still have happened; a pair that nobody holds expires.
    pub async fn exchange(&self, api_key: &Secret) -> Result<TokenPair, Error> {
        let operation = Operation::ExchangeApiKey;
        if !is_api_key(api_key) {
            return Err(Error::invalid(operation, "the text given does not look like an API key"));
        }
        let body = &types::ApiKeyExchange { api_key: api_key.wire().clone() };
        let send = |low: rixl_api::Client| async move {
            match self.generation {
                Generation::First => low.exchange_api_key(body).await,
                Generation::Second => low.exchange_api_key_v1(body).await,
            }
        };
        pair(self.sender.call_without_token(operation, send).await?)
    }

    /// Exchanges a refresh token for a new pair. Both tokens of the old pair become invalid.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when the text is empty or has white space in it; [`ErrorKind::Unauthorized`] when the token is unknown,
    /// expired or was used before; else as for [every change](Error#every-change). After
    /// [`Outcome::Unknown`](crate::Outcome::Unknown) the refresh token may be used up: exchange the API key again.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the refresh token may still be used up, and the new pair is lost: see
    /// [`Client`](crate::Client#cancellation).
    pub async fn refresh(&self, refresh_token: &Secret) -> Result<TokenPair, Error> {
        let operation = Operation::RefreshToken;
        if refresh_token.expose_secret().is_empty() || !is_clean(refresh_token.expose_secret()) {
            return Err(Error::invalid(operation, "the refresh token is empty, or has white space in it"));
        }
        let body = &types::TokenRefresh { refresh_token: refresh_token.wire().clone() };
        let send = |low: rixl_api::Client| async move {
            match self.generation {
                Generation::First => low.refresh_token(body).await,
                Generation::Second => low.refresh_token_v1(body).await,
            }
        };
        pair(self.sender.call_without_token(operation, send).await?)
    }
}

/// The published form, `^[^_]+_[^_].*$`, without what comes in from the file that it was read from.
pub(crate) fn is_api_key(text: &Secret) -> bool {
    let text = text.expose_secret();
    let has_form = text
        .split_once('_')
        .is_some_and(|(before, after)| !before.is_empty() && !after.is_empty() && !after.starts_with('_'));
    has_form && is_clean(text)
}

/// Whether it has no character that no credential has, such as the end of a line.
pub(crate) fn is_clean(text: &str) -> bool {
    !text.contains(|character: char| character.is_control() || character.is_whitespace())
}

fn pair(reply: Reply<types::TokenPair>) -> Result<TokenPair, Error> {
    let date = reply.date();
    reply.read(|response| {
        let expires_at = response.expires_at.and_then(Time::timestamp);
        Ok(TokenPair {
            access_token: Secret::from_wire(response.access_token).ok_or(ErrorKind::SecretMissing)?,
            refresh_token: Secret::from_wire(response.refresh_token),
            token_type: response.token_type,
            expires_in: lifetime(response.expires_in, expires_at, date),
            expires_at,
        })
    })
}

/// How long a token lives: as the server says, else until it expires, both moments by the server's clock.
///
/// One that is negative or zero is not set.
pub(crate) fn lifetime(seconds: Option<Int64>, until: Option<Timestamp>, date: Option<Timestamp>) -> Option<Duration> {
    let told = seconds.and_then(|number| u64::try_from(number.0).ok()).filter(|seconds| *seconds > 0);
    let told = told.map(Duration::from_secs);
    told.or_else(|| Duration::try_from(until?.duration_since(date?)).ok())
}
