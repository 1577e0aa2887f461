//! The source of the API key for tokens, when something else rotates it.

use std::{
    fs::{self, File},
    future::Future,
    io::Read as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::{Error, Secret};

/// More is no key. As the file stores of `rixl-rotation` have it.
const MAX_FILE: usize = 64 * 1024;

/// The request to an [`ApiKeySource`].
///
/// The client makes it; its default is for tests of a source.
#[derive(Clone, Debug, Default)]
#[must_use]
#[non_exhaustive]
pub struct ApiKeyRequest<'a> {
    refused: Option<&'a Secret>,
}

impl<'a> ApiKeyRequest<'a> {
    /// The key that RIXL refused last, or whose token it refused.
    pub fn with_refused(mut self, key: &'a Secret) -> Self {
        self.refused = Some(key);
        self
    }

    /// The key that RIXL refused last, where it bought nothing since, or the one whose token was refused: a source that keeps
    /// what it read reads it anew.
    #[must_use]
    pub fn refused(&self) -> Option<&'a Secret> {
        self.refused
    }
}

/// The API key that is valid now, when it is known.
pub type ApiKeyFuture<'a> = Pin<Box<dyn Future<Output = Result<Arc<Secret>, Error>> + Send + 'a>>;

/// Provides the API key that tokens are obtained with, for a client that follows a key which something else rotates.
///
/// It keeps nothing itself, and need not report changes: the client compares.
///
/// 1. It is asked before each token exchange, after RIXL has refused a token or the key, and every ten seconds while
///    the client is in use. One request at a time in each runtime, for all callers, as of a
///    [`TokenSource`](crate::TokenSource); but [`Client::api_key_header`](crate::Client::api_key_header) asks each
///    time.
/// 2. A new key is exchanged once. Until that has succeeded, the token of the old one is used, as long as it has not
///    expired and is not refused: no call with such a token waits.
/// 3. A call whose token was refused with a 401, because it died with its key, is sent once more with a token of the new key.
/// 4. Between the moment when a rotation invalidates the old key and the moment when the source has the new one, the
///    old one is refused. For a minute from its first refusal that is a [transient failure](Error::transient), so calls
///    are retried under their [`RetryPolicy`](crate::RetryPolicy), and the source is asked each time. As long as it is
///    the same key, RIXL is asked less and less often, in the end once a minute.
///
/// ```
/// use std::sync::Arc;
/// use rixl_credentials::{ApiKeyFuture, ApiKeyRequest, ApiKeySource, Client, Error, Secret};
///
/// /// A variable that a library of configuration keeps up to date.
/// struct Setting(fn() -> Option<String>);
///
/// impl ApiKeySource for Setting {
///     fn api_key<'a>(&'a self, _: ApiKeyRequest<'a>) -> ApiKeyFuture<'a> {
///         Box::pin(async {
///             let key = (self.0)().ok_or_else(|| Error::no_token("the setting is empty").transient())?;
///             Ok(Arc::new(Secret::from(key)))
///         })
///     }
/// }
///
/// let client = Client::builder().api_key_source(Setting(|| Some("rxl_EXAMPLE".into()))).build()?;
/// # Ok::<(), Error>(())
/// ```
pub trait ApiKeySource: Send + Sync {
    /// The key to use now.
    ///
    /// # Errors
    ///
    /// [`Error::no_token`] with the cause, [`transient`](Error::transient) where the key may be there in a moment.
    ///
    /// # Cancellation
    ///
    /// As of [`TokenSource::token`](crate::TokenSource::token).
    fn api_key<'a>(&'a self, request: ApiKeyRequest<'a>) -> ApiKeyFuture<'a>;
}

/// The file that [`ClientBuilder::api_key_file`](crate::ClientBuilder::api_key_file) names.
pub(crate) struct ApiKeyFile(pub(crate) PathBuf);

impl ApiKeySource for ApiKeyFile {
    fn api_key<'a>(&'a self, _: ApiKeyRequest<'a>) -> ApiKeyFuture<'a> {
        Box::pin(async {
            let path = self.0.clone();
            spawn_blocking(move || read(&path)).await.map_err(|error| Error::no_token(error).transient())?.map(Arc::new)
        })
    }
}

/// The path is opened anew each time: links and the file may have been exchanged.
fn read(path: &Path) -> Result<Secret, Error> {
    let unusable = |reason: &str| Error::no_token(format!("the API key file {} {reason}", path.display()));
    let unreadable = |error| unusable(&format!("can't be read: {error}")).transient();
    // A pipe would make whoever opens it wait for a writer, and a device may have no end.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unusable("is not a regular file"));
    }
    // As large as it can get: what grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_FILE + 1));
    let file = File::open(path).map_err(unreadable)?;
    let length = file.take(MAX_FILE as u64 + 1).read_to_end(&mut text).map_err(unreadable)?;
    if length > MAX_FILE {
        return Err(unusable("is larger than 64 KiB"));
    }
    match std::str::from_utf8(&text).map(|text| text.trim_end_matches(['\r', '\n'])) {
        // Whoever writes it in place has emptied it first.
        Ok("") => Err(unusable("is empty").transient()),
        Ok(key) => Ok(Secret::from(key)),
        Err(_) => Err(unusable("is not UTF-8").transient()),
    }
}
