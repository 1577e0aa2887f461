//! Where the bearer token of a call comes from.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::{Error, Secret, TokenPair, tokens::Tokens};

/// The token of one call, when it is known.
pub type TokenFuture<'a> = Pin<Box<dyn Future<Output = Result<Arc<Secret>, Error>> + Send + 'a>>;

/// Gives the bearer token for each call.
///
/// It is asked before every call that needs a token, so it should keep the token for as long as it lives. A token is
/// sent to the client's base URL alone.
///
/// ```
/// use std::sync::Arc;
/// use rixl_credentials::{Client, Error, Secret, TokenFuture, TokenSource};
///
/// /// Reads the token from a file that something else keeps fresh.
/// struct TokenFile(std::path::PathBuf);
///
/// impl TokenSource for TokenFile {
///     fn token(&self) -> TokenFuture<'_> {
///         Box::pin(async move {
///             let text = std::fs::read_to_string(&self.0).map_err(Error::no_token)?;
///             Ok(Arc::new(Secret::from(text.trim())))
///         })
///     }
/// }
///
/// let client = Client::builder().token_source(TokenFile("/run/secrets/rixl-token".into())).build()?;
/// # Ok::<(), Error>(())
/// ```
pub trait TokenSource: Send + Sync {
    /// The token to send now.
    ///
    /// # Errors
    ///
    /// [`Error::no_token`] with the cause. The call is then not sent.
    fn token(&self) -> TokenFuture<'_>;
}

/// One token, as long as the client lives.
pub(crate) struct FixedToken(pub(crate) Arc<Secret>);

impl TokenSource for FixedToken {
    fn token(&self) -> TokenFuture<'_> {
        Box::pin(async { Ok(Arc::clone(&self.0)) })
    }
}

/// Exchanges an API key for a token, and refreshes the pair before it expires.
///
/// One exchange or refresh runs at a time; the other callers wait for it and use what it brought. A refused refresh
/// falls back to a new exchange.
pub(crate) struct ExchangedToken {
    tokens: Tokens,
    api_key: Secret,
    held: Mutex<Option<Held>>,
}

struct Held {
    access: Arc<Secret>,
    refresh: Option<Secret>,
    fresh_until: Instant,
}

/// RIXL publishes no lifetime; a token of unknown lifetime is kept this long.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60);

impl ExchangedToken {
    pub(crate) fn new(tokens: Tokens, api_key: Secret) -> Self {
        Self { tokens, api_key, held: Mutex::new(None) }
    }

    async fn fetch(&self, refresh: Option<Secret>) -> Result<TokenPair, Error> {
        if let Some(refresh) = refresh
            && let Ok(pair) = self.tokens.refresh(&refresh).await
        {
            return Ok(pair);
        }
        self.tokens.exchange(&self.api_key).await
    }
}

impl TokenSource for ExchangedToken {
    fn token(&self) -> TokenFuture<'_> {
        Box::pin(async {
            let mut held = self.held.lock().await;
            if let Some(held) = held.as_ref().filter(|held| Instant::now() < held.fresh_until) {
                return Ok(Arc::clone(&held.access));
            }
            // Taken out first: a refresh token is not to be tried twice, whatever becomes of this attempt.
            let refresh = held.take().and_then(|held| held.refresh);
            let asked = Instant::now();
            let pair = self.fetch(refresh).await?;
            // A tenth early, so that a token does not expire on its way.
            let fresh_for = pair.expires_in.unwrap_or(UNKNOWN_LIFETIME).mul_f64(0.9);
            let access = Arc::new(pair.access_token);
            let fresh_until = asked.checked_add(fresh_for).unwrap_or(asked);
            *held = Some(Held { access: Arc::clone(&access), refresh: pair.refresh_token, fresh_until });
            Ok(access)
        })
    }
}
