//! A `TokenSource` of one's own: the token is in a file that another program keeps fresh, and is read again when RIXL
//! refuses it. `cargo run -p rixl-credentials --example token_file`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    error::Error as StdError,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rixl_credentials::{Client, Error, PageRequest, Secret, TokenFuture, TokenSource};
use rixl_sandbox::Sandbox;

/// Reads the file when it must, not for every call.
struct TokenFile {
    path: PathBuf,
    last: Mutex<Option<Arc<Secret>>>,
}

impl TokenFile {
    fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), last: Mutex::new(None) }
    }

    fn read(&self) -> io::Result<Secret> {
        // The error names no content, so it may be printed.
        Ok(Secret::from(fs::read_to_string(&self.path)?.trim()))
    }
}

impl TokenSource for TokenFile {
    fn token(&self) -> TokenFuture<'_> {
        Box::pin(async {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(token) = &*last {
                return Ok(Arc::clone(token));
            }
            let token = Arc::new(self.read().map_err(Error::no_token)?);
            *last = Some(Arc::clone(&token));
            Ok(token)
        })
    }

    /// The call is sent once more if the file has another token by now.
    fn refused(&self, token: &Arc<Secret>) -> bool {
        let has_another = self.read().is_ok_and(|now| now.expose_secret() != token.expose_secret());
        if has_another {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        has_another
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn StdError>> {
    let sandbox = Sandbox::start()?; // a RIXL gateway in memory; leave base_url away for the real one
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("token");
    fs::write(&path, "a-token-that-has-ended")?;
    let client = Client::builder().base_url(sandbox.url()).token_source(TokenFile::new(&path)).build()?;

    // Nothing else is in the file: the refusal is the caller's to see.
    let refused = client.api_keys().list_page(PageRequest::first()).await;
    assert!(refused.is_err_and(|error| error.is_unauthorized()));

    // The other program has been at work. This call is refused, reads the file, and is sent once more.
    fs::write(&path, sandbox.bearer_token())?;
    let page = client.api_keys().list_page(PageRequest::first()).await?;
    println!("{} keys", page.items.len());
    Ok(())
}
