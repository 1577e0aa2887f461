//! A `TokenSource` of one's own: an agent keeps a token fresh in a file, with the time when it expires, and the client reads
//! it again ahead of that, or when RIXL refuses it. `cargo run -p rixl-credentials --example token_source`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    error::Error as StdError,
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rixl_credentials::{AccessToken, Client, Error, PageRequest, Secret, TokenFuture, TokenRequest, TokenSource};
use rixl_sandbox::Sandbox;

/// Two lines: the token, and when it expires (RFC 3339).
struct TokenFile {
    path: PathBuf,
    reads: Arc<AtomicUsize>,
}

impl TokenFile {
    fn read(&self) -> Result<AccessToken, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let text = fs::read_to_string(&self.path).map_err(|error| match error.kind() {
            // The agent is about to write it: the call asks again, under its own retry policy.
            io::ErrorKind::NotFound => Error::no_token(error).with_retry_after(Duration::from_millis(100)),
            // Neither this nor any other cause may have a secret in it.
            _ => Error::no_token(error),
        })?;
        let (token, expires_at) =
            text.trim().split_once('\n').ok_or_else(|| Error::no_token("the file has one line"))?;
        Ok(AccessToken::new(Secret::from(token)).with_expires_at(expires_at.parse().map_err(Error::no_token)?))
    }
}

impl TokenSource for TokenFile {
    // No cache, no lock, no clock: the client has them for every source. Where a source must tell that its token was
    // refused, `request.refused()` says which.
    fn token<'a>(&'a self, _: TokenRequest<'a>) -> TokenFuture<'a> {
        // A source that waits for a network or a slow disk would do that here.
        Box::pin(async { self.read() })
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn StdError>> {
    let sandbox = Sandbox::start()?; // a RIXL gateway in memory; leave base_url away for the real one
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("token");
    let write = |token: &str| fs::write(&path, format!("{token}\n2127-01-15T10:30:00Z\n"));
    let reads = Arc::new(AtomicUsize::new(0));
    let source = TokenFile { path: path.clone(), reads: Arc::clone(&reads) };
    let client = Client::builder().base_url(sandbox.url()).token_source(source).build()?;
    let organization = sandbox.organization_id().parse()?;
    let list = async || client.organization(&organization).api_keys().list_page(PageRequest::default()).await;

    // The file has a token that RIXL refuses, and has no other when it is read again: the caller sees the refusal.
    write("a-token-that-was-revoked")?;
    assert!(list().await.is_err_and(|error| error.is_unauthorized()));
    assert_eq!(reads.load(Ordering::Relaxed), 2);

    // The agent has been at work. From here on the token is kept, and the file is left alone.
    write(sandbox.bearer_token())?;
    for _ in 0..10 {
        println!("{} keys", list().await?.items.len());
    }
    assert_eq!(reads.load(Ordering::Relaxed), 3);

    // Something is wrong with the file, and the error of the call says what.
    fs::write(&path, "a line")?;
    let client = Client::builder().base_url(sandbox.url()).token_source(TokenFile { path, reads }).build()?;
    let keys = client.organization(&organization).api_keys();
    let error = keys.list_page(PageRequest::default()).await.err().ok_or("there is no token")?;
    let cause = error.token_error().and_then(StdError::source).ok_or("there is a cause")?;
    assert_eq!(cause.to_string(), "the file has one line");
    Ok(())
}
