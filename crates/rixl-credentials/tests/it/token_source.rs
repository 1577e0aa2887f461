//! Tokens: where they come from, how often they are fetched, and that they stay fresh.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rixl_credentials::{Client, Error, ErrorKind, NewApiKey, Outcome, PageRequest, Secret, TokenFuture, TokenSource};
use rixl_sandbox::{Effect, Fault, Sandbox};
use serde_json::json;

use crate::{
    errors::assert_silent,
    mock::{Mock, key_id},
};

/// A client that holds nothing but an API key of this sandbox.
async fn with_api_key(sandbox: &Sandbox) -> Client {
    let owner = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build().unwrap();
    let key = NewApiKey::new("billing").with_project_id(sandbox.project_id().parse().unwrap());
    let issued = owner.api_keys().create(key).await.unwrap();
    Client::builder().base_url(sandbox.url()).api_key(issued.secret).build().unwrap()
}

fn count(sandbox: &Sandbox, operation: &str) -> usize {
    sandbox.requests().iter().filter(|request| request.operation_id == Some(operation)).count()
}

/// Lets every token answer claim that it lives this long.
fn claim_lifetime(sandbox: &Sandbox, seconds: u64) {
    for operation in ["exchangeApiKey", "refreshToken"] {
        let edit = Effect::edit_json(move |answer| answer["expires_in"] = json!(seconds));
        sandbox.inject(Fault::new(edit).on(operation).always()).unwrap();
    }
}

async fn list(client: &Client) -> Result<(), Error> {
    client.api_keys().list_page(PageRequest::first()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_one_exchange() {
    let sandbox = Sandbox::start().unwrap();
    let client = with_api_key(&sandbox).await;
    assert_eq!(count(&sandbox, "exchangeApiKey"), 0);
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { list(&client).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(count(&sandbox, "exchangeApiKey"), 1);
    assert_eq!(count(&sandbox, "refreshToken"), 0);
}

#[tokio::test]
async fn a_token_that_is_used_up_is_refreshed() {
    let sandbox = Sandbox::start().unwrap();
    claim_lifetime(&sandbox, 0);
    let client = with_api_key(&sandbox).await;
    for _ in 0..3 {
        list(&client).await.unwrap();
    }
    assert_eq!((count(&sandbox, "exchangeApiKey"), count(&sandbox, "refreshToken")), (1, 2));
}

#[tokio::test]
async fn a_refused_refresh_falls_back_to_an_exchange() {
    let sandbox = Sandbox::start().unwrap();
    claim_lifetime(&sandbox, 0);
    let client = with_api_key(&sandbox).await;
    list(&client).await.unwrap();
    // Past the refresh token's life, or used up by someone else: the sandbox refuses it.
    sandbox.clear_faults();
    let refused = Effect::Respond { status: 401, headers: Vec::new(), body: b"{}".into() };
    sandbox.inject(Fault::new(refused).on("refreshToken").before_commit()).unwrap();
    list(&client).await.unwrap();
    assert_eq!((count(&sandbox, "exchangeApiKey"), count(&sandbox, "refreshToken")), (2, 1));
    // The next token lives an hour: no more fetching.
    list(&client).await.unwrap();
    assert_eq!((count(&sandbox, "exchangeApiKey"), count(&sandbox, "refreshToken")), (2, 1));
}

#[tokio::test]
async fn a_dead_api_key_sends_nothing_but_its_exchange() {
    let sandbox = Sandbox::start().unwrap();
    let client = Client::builder().base_url(sandbox.url()).api_key("rxl_TESTSECRET").build().unwrap();
    let error = client.api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Token, Outcome::NotApplied));
    assert_silent(&error);
    let cause = std::error::Error::source(&error).unwrap().downcast_ref::<Error>().unwrap();
    assert!(cause.is_unauthorized());
    assert_eq!(cause.code(), Some("invalid_grant"));
    assert_eq!(count(&sandbox, "rotateApiKey"), 0);
    assert_eq!(sandbox.requests().len(), 1);
}

struct Numbered(Arc<AtomicUsize>);

impl TokenSource for Numbered {
    fn token(&self) -> TokenFuture<'_> {
        Box::pin(async {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                3 => Err(Error::no_token("the vault is sealed")),
                4 => Ok(Arc::new(Secret::from("TEST TOKEN"))),
                number => Ok(Arc::new(Secret::from(format!("TOKEN{number}")))),
            }
        })
    }
}

#[tokio::test]
async fn a_source_of_ones_own_is_asked_before_each_call() {
    let mock = Mock::answering(200, "{}").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let client = mock.builder().token_source(Numbered(Arc::clone(&asked))).build().unwrap();
    for _ in 0..3 {
        client.api_keys().delete(&key_id()).await.unwrap();
    }
    let tokens: Vec<_> = mock.sent().iter().map(|sent| sent.headers["authorization"].clone()).collect();
    assert_eq!(tokens, ["Bearer TOKEN0", "Bearer TOKEN1", "Bearer TOKEN2"]);

    let error = client.api_keys().delete(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Token, Outcome::NotApplied));
    assert_eq!(error.to_string(), "delete API key: no bearer token could be had; the call was not sent; see the cause");
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(std::error::Error::source(cause).unwrap().to_string(), "the vault is sealed");
    let error = client.api_keys().delete(&key_id()).await.unwrap_err();
    assert!(error.to_string().contains("not visible ASCII"), "{error}");
    assert_silent(&error);
    assert_eq!(mock.sent().len(), 3);

    // These need no token, so none is asked for.
    let _ = client.tokens().refresh(&Secret::from("TESTREFRESH")).await;
    assert_eq!(asked.load(Ordering::SeqCst), 5);
    assert!(!mock.sent()[3].headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_and_the_call_is_sent_once_more() {
    let sandbox = Sandbox::start().unwrap();
    let client = with_api_key(&sandbox).await;
    list(&client).await.unwrap();
    // The server's clock jumps; the token looks fresh here and is expired there.
    sandbox.advance(Duration::from_secs(4_000));
    let key = client.api_keys().list().next().await.unwrap().unwrap();
    assert_eq!((count(&sandbox, "exchangeApiKey"), count(&sandbox, "refreshToken")), (1, 1));
    sandbox.advance(Duration::from_secs(4_000));
    let _ = client.api_keys().rotate(&key.id).await.unwrap();
    assert_eq!(sandbox.rotations(key.id.as_str()), 1);
    assert_eq!((count(&sandbox, "rotateApiKey"), count(&sandbox, "refreshToken")), (2, 2));
}
