//! Tokens: where they come from, how often they are fetched, and that they stay fresh.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rixl_credentials::{
    AccessToken, Client, ClientBuilder, ClientTokenRequest, Error, ErrorKind, NewApiKey, NewClientCredential,
    Operation, Outcome, PageRequest, RetryPolicy, Secret, SharedToken, Timing as _, TokenFuture, TokenRequest,
    TokenSource,
};
use rixl_sandbox::{Effect, Fault, Sandbox};
use rixl_testing::wait_for_async;

use crate::{
    errors::assert_silent,
    mock::{Mock, key_id},
    timing::Fake,
};

fn count(sandbox: &Sandbox, operation: &str) -> usize {
    sandbox.requests().iter().filter(|request| request.operation_id == Some(operation)).count()
}

/// The renewal of a token that is still good is nobody's to wait for.
async fn until(sandbox: &Sandbox, operation: &str, expected: usize) {
    wait_for_async(operation, async || match count(sandbox, operation) {
        seen if seen == expected => Ok(()),
        seen => Err(seen),
    })
    .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn list(client: &Client) -> Result<(), Error> {
    client.first_generation().api_keys().list_page(PageRequest::default()).await.map(drop)
}

#[tokio::test]
async fn a_token_that_is_used_up_is_refreshed() {
    let sandbox = Sandbox::start().unwrap();
    let (client, timing) = with_timing(&sandbox, 0.0).await;
    for _ in 0..3 {
        list(&client).await.unwrap();
        timing.advance(Duration::from_secs(4_000));
    }
    assert_eq!((count(&sandbox, "exchangeApiKeyV1"), count(&sandbox, "refreshTokenV1")), (1, 2));
}

#[tokio::test]
async fn a_refused_refresh_falls_back_to_an_exchange() {
    let sandbox = Sandbox::start().unwrap();
    let (client, timing) = with_timing(&sandbox, 0.0).await;
    list(&client).await.unwrap();
    timing.advance(Duration::from_secs(4_000));
    // Past the refresh token's life, or used up by someone else: the sandbox refuses it.
    let refused = Effect::Respond { status: 401, headers: Vec::new(), body: b"{}".into() };
    sandbox.inject(Fault::new(refused).on("refreshTokenV1").before_commit()).unwrap();
    list(&client).await.unwrap();
    assert_eq!((count(&sandbox, "exchangeApiKeyV1"), count(&sandbox, "refreshTokenV1")), (2, 1));
    // The next token lives an hour: no more fetching.
    list(&client).await.unwrap();
    assert_eq!((count(&sandbox, "exchangeApiKeyV1"), count(&sandbox, "refreshTokenV1")), (2, 1));
}

#[tokio::test]
async fn a_dead_api_key_sends_nothing_but_its_exchange() {
    let sandbox = Sandbox::start().unwrap();
    let client = Client::builder().base_url(sandbox.url()).api_key("rxl_TESTSECRET").build().unwrap();
    let error = client.first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Token, Outcome::NotApplied));
    assert_silent(&error);
    let cause = error.token_error().unwrap();
    assert_eq!((cause.kind(), cause.operation()), (ErrorKind::Unauthorized, Operation::ExchangeApiKey));
    // Asked of the call itself, the failure says the same.
    let request_id = &*sandbox.requests()[0].request_id;
    for error in [&error, cause] {
        assert!(error.is_unauthorized() && error.message().is_some());
        assert_eq!((error.status(), error.code()), (Some(401), Some("invalid_grant")));
        assert_eq!(error.request_id(), Some(request_id));
    }
    assert!(error.to_string().ends_with("no bearer token could be obtained; the call was not sent; see the cause"));
    assert_eq!(count(&sandbox, "rotateApiKey"), 0);
    assert_eq!(sandbox.requests().len(), 1);
}

struct Numbered(Arc<AtomicUsize>);

impl TokenSource for Numbered {
    fn token<'a>(&'a self, _: TokenRequest<'a>) -> TokenFuture<'a> {
        Box::pin(async {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                3 => Err(Error::no_token("the vault is sealed")),
                4 => Ok(AccessToken::new(Secret::from("TEST TOKEN"))),
                number => Ok(AccessToken::new(Secret::from(format!("TOKEN{number}")))),
            }
        })
    }
}

#[tokio::test]
async fn a_token_of_unknown_expiry_is_asked_for_before_each_call() {
    let mock = Mock::responding(200, "{}").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let client = mock.builder().token_source(Numbered(Arc::clone(&asked))).build().unwrap();
    for _ in 0..3 {
        client.first_generation().api_keys().delete(&key_id()).await.unwrap();
    }
    let tokens: Vec<_> = mock.sent().iter().map(|sent| sent.headers["authorization"].clone()).collect();
    assert_eq!(tokens, ["Bearer TOKEN0", "Bearer TOKEN1", "Bearer TOKEN2"]);

    let error = client.first_generation().api_keys().delete(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Token, Outcome::NotApplied));
    assert_eq!(
        error.to_string(),
        "delete API key: no bearer token could be obtained; the call was not sent; see the cause"
    );
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(std::error::Error::source(cause).unwrap().to_string(), "the vault is sealed");
    let error = client.first_generation().api_keys().delete(&key_id()).await.unwrap_err();
    let cause = std::error::Error::source(error.token_error().unwrap()).unwrap();
    assert_eq!(cause.to_string(), "the token is empty, or is not visible ASCII");
    assert_silent(&error);
    assert_eq!(mock.sent().len(), 3);

    // These need no token, so none is asked for.
    let _ = client.tokens().refresh(&Secret::from("TESTREFRESH")).await;
    assert_eq!(asked.load(Ordering::SeqCst), 5);
    assert!(!mock.sent()[3].headers.contains_key("authorization"));
}

/// Gives these, one after the other and the last one for ever; each request waits for the gate.
#[derive(Clone)]
struct Script(Arc<Scripted>);

struct Scripted {
    steps: Mutex<VecDeque<Step>>,
    gate: tokio::sync::Semaphore,
    /// Which token each request said was refused.
    asked: Mutex<Vec<Option<String>>>,
}

#[derive(Clone)]
enum Step {
    Token(&'static str),
    /// With this expiry, by the clock of the tests.
    Until(&'static str, Fake, u64),
    Fail,
    Passing,
    RetryAfter(u64),
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self(Arc::new(Scripted {
            steps: Mutex::new(steps.into_iter().collect()),
            gate: tokio::sync::Semaphore::new(1_000),
            asked: Mutex::default(),
        }))
    }

    fn closed(self) -> Self {
        self.0.gate.forget_permits(1_000);
        self
    }

    fn asked(&self) -> Vec<Option<String>> {
        self.0.asked.lock().unwrap().clone()
    }
}

impl TokenSource for Script {
    fn token<'a>(&'a self, request: TokenRequest<'a>) -> TokenFuture<'a> {
        self.0.asked.lock().unwrap().push(request.refused().map(|token| token.expose_secret().to_owned()));
        Box::pin(async {
            let _open = self.0.gate.acquire().await.unwrap();
            let step = {
                let mut steps = self.0.steps.lock().unwrap();
                if steps.len() > 1 { steps.pop_front().unwrap() } else { steps[0].clone() }
            };
            match step {
                Step::Token(token) => Ok(AccessToken::new(Secret::from(token))),
                Step::Until(token, clock, seconds) => {
                    let expires_at = clock.now() + Duration::from_secs(seconds);
                    Ok(AccessToken::new(Secret::from(token)).with_expires_at(expires_at))
                }
                Step::Fail => Err(Error::no_token("the vault is sealed")),
                Step::Passing => Err(Error::no_token("the vault is sealed").transient()),
                Step::RetryAfter(seconds) => {
                    let busy = Error::no_token("the vault is busy");
                    Err(busy.with_retry_after(Duration::from_secs(seconds)))
                }
            }
        })
    }
}

fn authorizations(mock: &Mock) -> Vec<String> {
    mock.sent().iter().map(|sent| sent.headers["authorization"].clone()).collect()
}

#[tokio::test]
async fn a_source_that_says_when_its_token_expires_is_asked_ahead_of_that() {
    for (chance, renewed_at) in [(0.0, 750), (1.0, 900)] {
        let mock = Mock::responding(200, "{}").await;
        let timing = Fake::with_chance(chance);
        let script =
            Script::new([Step::Until("TESTONE", timing.clone(), 1_000), Step::Until("TESTTWO", timing.clone(), 1_000)]);
        let client = mock.builder().token_source(script.clone()).timing(timing.clone()).build().unwrap();
        let delete = async || client.first_generation().api_keys().delete(&key_id()).await.unwrap();
        delete().await;
        timing.advance(Duration::from_secs(renewed_at - 1));
        delete().await;
        assert_eq!(script.asked().len(), 1, "{chance}");
        timing.advance(Duration::from_secs(2));
        // It is used while it is renewed.
        delete().await;
        wait_for_async("renewal", async || if script.asked().len() == 2 { Ok(()) } else { Err(()) }).await;
        delete().await;
        assert_eq!(script.asked(), [None, None], "{chance}");
        let [one, two] = ["Bearer TESTONE", "Bearer TESTTWO"];
        assert_eq!(authorizations(&mock), [one, one, one, two]);
        // Nobody but the source knows more of it.
        assert_eq!(client.token_expires_at(), None);
    }
}

/// What can't stand in a header is never sent, so no server ever refuses it: kept, it would shut the client out until it expires.
#[tokio::test]
async fn a_token_that_can_not_be_sent_is_not_kept() {
    let mock = Mock::responding(200, "{}").await;
    let timing = Fake::with_chance(0.0);
    let script =
        Script::new([Step::Until("TEST\nONE", timing.clone(), 1_000), Step::Until("TESTTWO", timing.clone(), 1_000)]);
    let client = mock.builder().token_source(script.clone()).timing(timing).build().unwrap();
    let error = client.first_generation().api_keys().delete(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Token, Outcome::NotApplied));
    client.first_generation().api_keys().delete(&key_id()).await.unwrap();
    assert_eq!(authorizations(&mock), ["Bearer TESTTWO"]);
}

/// Runs as many calls as the mock is to see, all waiting for one source, which then goes on.
async fn a_hundred_callers(script: Script, client: &Client) -> Vec<Result<(), Error>> {
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.first_generation().api_keys().delete(&key_id()).await })
        })
        .collect();
    // One thread: each of them is polled before this goes on, and waits.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(script.asked().len(), 1);
    script.0.gate.add_permits(1_000);
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.unwrap());
    }
    results
}

#[tokio::test]
async fn callers_who_wait_share_what_a_source_gives_and_why_it_fails() {
    let timing = Fake::with_chance(0.0);
    // Whether it is kept, has expired when it comes, or is of unknown expiry: they take what was bought while they waited.
    for (step, is_ok) in [
        (Step::Until("TESTONE", timing.clone(), 1_000), true),
        (Step::Until("TESTONE", timing.clone(), 0), true),
        (Step::Token("TESTONE"), true),
        (Step::Fail, false),
    ] {
        let mock = Mock::responding(200, "{}").await;
        let script = Script::new([step]).closed();
        let client = mock.builder().token_source(script.clone()).timing(timing.clone()).build().unwrap();
        for result in a_hundred_callers(script.clone(), &client).await {
            assert_eq!(result.is_ok(), is_ok);
            if let Err(error) = result {
                let cause = error.token_error().unwrap();
                assert_eq!((error.kind(), cause.operation()), (ErrorKind::Token, Operation::ObtainToken));
                assert_eq!(std::error::Error::source(cause).unwrap().to_string(), "the vault is sealed");
            }
        }
        assert_eq!(script.asked().len(), 1);
        assert_eq!(mock.sent().len(), if is_ok { 100 } else { 0 });
    }
}

#[tokio::test]
async fn a_passing_failure_of_a_source_is_tried_again_and_no_other() {
    let mock = Mock::responding(200, "{}").await;
    let run = async |steps: &[Step], attempts| {
        let timing = Fake::with_chance(1.0);
        let script = Script::new(steps.to_vec());
        let policy = RetryPolicy::default().with_attempts(attempts);
        let builder = mock.builder().token_source(script.clone()).timing(timing.clone()).retry(policy);
        let result = builder.build().unwrap().first_generation().api_keys().delete(&key_id()).await;
        (result, script.asked().len(), timing.waits())
    };
    let seconds = |waits: &[Duration]| waits.iter().map(Duration::as_secs_f64).collect::<Vec<_>>();
    let (result, asked, waits) =
        run(&[Step::Passing, Step::RetryAfter(7), Step::Passing, Step::Token("TESTONE")], 5).await;
    result.unwrap();
    // The policy's own waits, on top of what the source asks for.
    assert_eq!((asked, seconds(&waits)), (4, vec![0.5, 8.0, 2.0]));
    assert_eq!(mock.sent().len(), 1);

    let (result, asked, waits) = run(&[Step::RetryAfter(7)], 3).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Token, Outcome::NotApplied));
    assert_eq!((error.retry_after(), error.is_authentication()), (Some(Duration::from_secs(7)), false));
    assert_eq!((asked, seconds(&waits)), (3, vec![7.5, 8.0]));
    for (step, attempts) in [(Step::Fail, 5), (Step::Passing, 1), (Step::RetryAfter(31), 5)] {
        let (result, asked, waits) = run(&[step], attempts).await;
        assert_eq!((result.unwrap_err().kind(), asked, waits.len()), (ErrorKind::Token, 1, 0));
    }
    assert_eq!(mock.sent().len(), 1);
}

#[tokio::test]
async fn a_source_hears_what_was_refused_and_only_another_token_is_sent() {
    let timing = Fake::with_chance(0.0);
    let kept = |token| Step::Until(token, timing.clone(), 1_000);
    for (steps, sent) in [
        (vec![Step::Token("TESTONE"), Step::Token("TESTTWO")], 2),
        (vec![kept("TESTONE"), kept("TESTTWO")], 2),
        (vec![Step::Token("TESTONE")], 1),
        (vec![kept("TESTONE")], 1),
        // It has another one, but not at once.
        (vec![kept("TESTONE"), Step::Passing, kept("TESTTWO")], 2),
    ] {
        let mock = Mock::responding(401, "{}").await;
        let script = Script::new(steps.clone());
        let builder = mock.builder().token_source(script.clone()).timing(timing.clone());
        let client = builder.retry(RetryPolicy::default()).build().unwrap();
        let error = client.first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unauthorized, Outcome::NotApplied));
        let tokens = ["Bearer TESTONE", "Bearer TESTTWO"];
        assert_eq!(authorizations(&mock), tokens[..sent]);
        let refused = script.asked().split_off(1);
        assert_eq!(refused, vec![Some("TESTONE".to_owned()); steps.len().max(2) - 1]);
        // What was refused is asked for again.
        let asked = script.asked().len();
        let _ = client.first_generation().api_keys().rotate(&key_id()).await;
        assert!(script.asked().len() > asked || sent == 2);
    }
}

/// Once something was sent, its response is the error, and whatever kept the call from being sent again is the cause.
#[tokio::test]
async fn a_call_that_was_sent_never_says_that_it_was_not() {
    let timing = Fake::with_chance(0.0);
    let stale = || Step::Until("TESTONE", timing.clone(), 0);
    for (status, steps, kind) in [
        (401, vec![Step::Token("TESTONE"), Step::Fail], ErrorKind::Unauthorized),
        (401, vec![Step::Token("TESTONE"), Step::Passing], ErrorKind::Unauthorized),
        (429, vec![Step::Token("TESTONE"), Step::Fail], ErrorKind::RateLimited),
        (429, vec![stale(), Step::Fail], ErrorKind::RateLimited),
    ] {
        let mock = Mock::with(status, &[("x-request-id", "req-1")], "{}").await;
        let builder = mock.builder().token_source(Script::new(steps)).timing(timing.clone());
        let client = builder.retry(RetryPolicy::default()).build().unwrap();
        let error = client.first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (kind, Outcome::NotApplied));
        assert_eq!((error.status(), error.request_id(), mock.sent().len()), (Some(status), Some("req-1"), 1));
        let cause = error.token_error().unwrap();
        assert_eq!(std::error::Error::source(cause).unwrap().to_string(), "the vault is sealed");
        assert!(!error.to_string().contains("not sent"), "{error}");
        assert_silent(&error);
    }
    // Nor when the time is up before it can be sent again.
    let mock = Mock::responding(401, "{}").await;
    let slow = crate::retry::Slow(timing.clone(), Duration::from_secs(70));
    let error = mock
        .builder()
        .token_source(slow)
        .timing(timing)
        .build()
        .unwrap()
        .first_generation()
        .api_keys()
        .rotate(&key_id())
        .await;
    let error = error.unwrap_err();
    assert_eq!((error.kind(), error.status(), mock.sent().len()), (ErrorKind::Unauthorized, Some(401), 1));
    assert!(error.token_error().is_none());
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_and_the_call_is_sent_once_more() {
    let sandbox = Sandbox::start().unwrap();
    let (client, timing) = with_timing(&sandbox, 0.0).await;
    list(&client).await.unwrap();
    // The server's clock jumps; the token looks fresh here and is expired there.
    sandbox.advance(Duration::from_secs(4_000));
    let key = client.first_generation().api_keys().list().next().await.unwrap().unwrap();
    assert_eq!((count(&sandbox, "exchangeApiKeyV1"), count(&sandbox, "refreshTokenV1")), (2, 0));
    sandbox.advance(Duration::from_secs(4_000));
    timing.advance(Duration::from_secs(100));
    let _ = client.first_generation().api_keys().rotate(&key.id).await.unwrap();
    assert_eq!(sandbox.rotations(key.id.as_str()), 1);
    assert_eq!((count(&sandbox, "rotateApiKey"), count(&sandbox, "exchangeApiKeyV1")), (2, 3));
}

/// A client that holds nothing but an API key of this sandbox, and whose time is moved by hand.
async fn with_timing(sandbox: &Sandbox, chance: f64) -> (Client, Fake) {
    let (builder, timing) = with_key(sandbox, chance).await;
    (builder.build().unwrap(), timing)
}

async fn with_key(sandbox: &Sandbox, chance: f64) -> (ClientBuilder, Fake) {
    let owner = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build().unwrap();
    let key = NewApiKey::new("billing").with_project_id(sandbox.project_id().parse().unwrap());
    let issued = owner.first_generation().api_keys().create(key).await.unwrap();
    let timing = Fake::with_chance(chance);
    (Client::builder().base_url(sandbox.url()).api_key(issued.secret).timing(timing.clone()), timing)
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires_at_a_moment_that_chance_decides() {
    for (chance, renewed_at) in [(0.0, 2_700), (0.5, 2_970), (1.0, 3_240)] {
        let sandbox = Sandbox::start().unwrap();
        let (client, timing) = with_timing(&sandbox, chance).await;
        list(&client).await.unwrap();
        timing.advance(Duration::from_secs(renewed_at - 1));
        list(&client).await.unwrap();
        assert_eq!(count(&sandbox, "refreshTokenV1"), 0, "{chance}");
        timing.advance(Duration::from_secs(2));
        list(&client).await.unwrap();
        until(&sandbox, "refreshTokenV1", 1).await;
        assert_eq!(count(&sandbox, "exchangeApiKeyV1"), 1, "{chance}");
    }
}

#[tokio::test]
async fn a_lifetime_is_told_by_the_servers_own_clock() {
    // This machine's clock is wrong by decades; only the server's two moments count.
    let sandbox = Sandbox::start().unwrap();
    sandbox
        .inject(
            Fault::new(Effect::edit_json(|response| drop(response.as_object_mut().unwrap().remove("expires_in"))))
                .always(),
        )
        .unwrap();
    let (client, timing) = with_timing(&sandbox, 0.0).await;
    list(&client).await.unwrap();
    timing.advance(Duration::from_secs(2_600));
    list(&client).await.unwrap();
    assert_eq!(count(&sandbox, "refreshTokenV1"), 0);
    timing.advance(Duration::from_secs(200));
    list(&client).await.unwrap();
    until(&sandbox, "refreshTokenV1", 1).await;
}

#[tokio::test]
async fn a_token_of_unknown_lifetime_is_not_kept_long() {
    let sandbox = Sandbox::start().unwrap();
    let forget = |response: &mut serde_json::Value| {
        let response = response.as_object_mut().unwrap();
        response.remove("expires_in");
        response.remove("expires_at");
    };
    sandbox.inject(Fault::new(Effect::edit_json(forget)).always()).unwrap();
    let (client, timing) = with_timing(&sandbox, 1.0).await;
    list(&client).await.unwrap();
    timing.advance(Duration::from_secs(50));
    list(&client).await.unwrap();
    assert_eq!(count(&sandbox, "refreshTokenV1"), 0);
    timing.advance(Duration::from_secs(5));
    list(&client).await.unwrap();
    until(&sandbox, "refreshTokenV1", 1).await;
}

#[tokio::test]
async fn a_token_that_stays_refused_is_renewed_once_only() {
    let sandbox = Sandbox::start().unwrap();
    let (client, timing) = with_timing(&sandbox, 0.0).await;
    let refused = Effect::Respond { status: 401, headers: Vec::new(), body: b"{}".into() };
    sandbox.inject(Fault::new(refused).on("rotateApiKey").before_commit().always()).unwrap();
    let error = client.first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unauthorized, Outcome::NotApplied));
    assert_eq!((count(&sandbox, "rotateApiKey"), count(&sandbox, "exchangeApiKeyV1")), (2, 2));
    assert_eq!(timing.waits(), [Duration::ZERO; 0]);
}

#[tokio::test]
async fn callers_who_wait_for_a_purchase_share_its_failure() {
    let sandbox = Sandbox::start().unwrap();
    // Held back until all callers wait for it.
    sandbox.inject(Fault::new(Effect::DelayHead(Duration::from_millis(300))).on("exchangeApiKeyV1")).unwrap();
    let client = Client::builder().base_url(sandbox.url()).api_key("rxl_TESTSECRET").build().unwrap();
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { list(&client).await })
        })
        .collect();
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        let cause = error.token_error().unwrap();
        assert_eq!(
            (error.kind(), cause.kind(), cause.code()),
            (ErrorKind::Token, ErrorKind::Unauthorized, Some("invalid_grant"))
        );
        assert!(error.is_authentication());
        assert_silent(&error);
    }
    assert_eq!(sandbox.requests().len(), 1);
    // Whoever comes later tries anew.
    list(&client).await.unwrap_err();
    assert_eq!(sandbox.requests().len(), 2);
}

#[tokio::test]
async fn where_the_second_generation_is_unknown_the_first_is_used() {
    let sandbox = Sandbox::start().unwrap();
    let gone = || Effect::Respond { status: 404, headers: Vec::new(), body: b"{}".into() };
    for operation in ["exchangeApiKeyV1", "refreshTokenV1", "mintClientTokenV1"] {
        sandbox.inject(Fault::new(gone()).on(operation).before_commit().always()).unwrap();
    }
    let (client, timing) = with_timing(&sandbox, 0.0).await;
    for _ in 0..3 {
        list(&client).await.unwrap();
        timing.advance(Duration::from_secs(4_000));
    }
    assert_eq!((count(&sandbox, "exchangeApiKeyV1"), count(&sandbox, "exchangeApiKey")), (1, 1));
    assert_eq!((count(&sandbox, "refreshTokenV1"), count(&sandbox, "refreshToken")), (0, 2));
}

#[tokio::test]
async fn a_fixed_token_that_is_refused_is_not_sent_again() {
    let mock = Mock::responding(401, "{}").await;
    assert!(mock.client().first_generation().api_keys().rotate(&key_id()).await.unwrap_err().is_unauthorized());
    assert_eq!(mock.sent().len(), 1);
}

#[tokio::test]
async fn a_purchase_that_is_abandoned_leaves_nothing_half_done() {
    let sandbox = Sandbox::start().unwrap();
    let (builder, timing) = with_key(&sandbox, 0.0).await;
    let client = builder.attempt_timeout(Duration::from_secs(1)).build().unwrap();
    list(&client).await.unwrap();
    timing.advance(Duration::from_secs(3_600));
    // The refresh was carried out, but its response never comes, and the caller goes away.
    sandbox.inject(Fault::new(Effect::Stall).on("refreshTokenV1")).unwrap();
    let call = tokio::spawn({
        let client = client.clone();
        async move { list(&client).await }
    });
    wait_for_async("refresh", async || match count(&sandbox, "refreshTokenV1") {
        0 => Err(()),
        _ => Ok(()),
    })
    .await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    list(&client).await.unwrap();
    // The used-up refresh token is not tried again.
    assert_eq!((count(&sandbox, "refreshTokenV1"), count(&sandbox, "exchangeApiKeyV1")), (1, 2));
}

#[tokio::test]
async fn client_tokens_are_minted_and_minted_again() {
    let sandbox = Sandbox::start().unwrap();
    let owner = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build().unwrap();
    let issued = owner.first_generation().client_credentials().create(NewClientCredential::new("web")).await.unwrap();
    let request = ClientTokenRequest::new(issued.credential.client_id.unwrap(), issued.client_secret, "user-17")
        .with_ttl(Duration::from_secs(600));
    let timing = Fake::with_chance(0.0);
    let client = Client::builder().base_url(sandbox.url()).client_credential(request).timing(timing.clone());
    let client = client.build().unwrap();
    // What a client token may do is not published; the sandbox lets it do none of this. It is sent, though.
    assert!(list(&client).await.unwrap_err().is_unauthorized());
    assert_eq!((count(&sandbox, "mintClientTokenV1"), count(&sandbox, "listApiKeys")), (2, 2));
    // Once a call, and not at once where the one before was refused too.
    let _ = list(&client).await;
    assert_eq!((count(&sandbox, "mintClientTokenV1"), count(&sandbox, "listApiKeys")), (2, 3));
    timing.advance(Duration::from_secs(1));
    let _ = list(&client).await;
    assert_eq!((count(&sandbox, "mintClientTokenV1"), count(&sandbox, "listApiKeys")), (3, 5));
}

#[tokio::test]
async fn a_shared_token_can_be_swapped_while_calls_run() {
    let mock = Mock::responding(401, "{}").await;
    let token = SharedToken::from("TESTOLD");
    assert!(!format!("{token:?}").contains("TEST"));
    let client = mock.builder().bearer_token(token.clone()).build().unwrap();
    let _ = client.first_generation().api_keys().delete(&key_id()).await;
    token.replace("TESTNEW");
    let _ = client.first_generation().api_keys().delete(&key_id()).await;
    let sent: Vec<_> = mock.sent().iter().map(|sent| sent.headers["authorization"].clone()).collect();
    assert_eq!(sent, ["Bearer TESTOLD", "Bearer TESTNEW"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_share_one_purchase_each_time() {
    let sandbox = Sandbox::start().unwrap();
    let (client, timing) = with_timing(&sandbox, 0.0).await;
    for round in 0..3 {
        let calls: Vec<_> = (0..1_000)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { list(&client).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!((count(&sandbox, "exchangeApiKeyV1"), count(&sandbox, "refreshTokenV1")), (1, round));
        timing.advance(Duration::from_secs(4_000));
    }
}

#[test]
fn a_jwt_tells_when_it_expires_and_nothing_else_does() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let client = |token: String| offline().bearer_token(token).build().unwrap();
    let jwt = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
    let expiry = client(jwt(r#"{"sub":"x","exp":1768473000}"#)).token_expires_at().unwrap();
    assert_eq!(expiry.to_string(), "2026-01-15T10:30:00Z");
    assert!(client(jwt(r#"{"exp":1768473000.5}"#)).token_expires_at().is_some());
    for token in [
        "opaque".into(),
        "a.b.c".into(),
        jwt("{}"),
        jwt(r#"{"exp":"soon"}"#),
        jwt(r#"{"exp":1e300}"#),
        jwt("[]"),
        "e30..c2ln".into(),
    ] {
        assert_eq!(client(token).token_expires_at(), None);
    }
    // What is bought is renewed.
    assert_eq!(offline().api_key("rxl_TESTSECRET").build().unwrap().token_expires_at(), None);
}

#[test]
fn a_client_knows_the_key_that_its_tokens_are_bought_with() {
    let key_id = "XyZ9aB8cD1".parse().unwrap();
    let bought = |key: &str| offline().api_key(key).build().unwrap();
    let (same, other) = (Secret::from("rxl_TESTSECRET"), Secret::from("rxl_TESTOTHER"));
    assert!(bought("rxl_TESTSECRET").is_bought_with(&key_id, |secret| secret.expose_secret() == same.expose_secret()));
    assert!(
        !bought("rxl_TESTSECRET").is_bought_with(&key_id, |secret| secret.expose_secret() == other.expose_secret())
    );
    assert!(!bought("rxl_TESTSECRET").is_bought_with(&key_id, |_| false));
    assert!(bought("XyZ9aB8cD1_TESTSECRET").is_bought_with(&key_id, |_| false));
    assert!(!bought("XyZ9aB8cD12_TESTSECRET").is_bought_with(&key_id, |_| false));
    let bearer = offline().bearer_token("rxl_TESTSECRET").build().unwrap();
    assert!(!bearer.is_bought_with(&key_id, |secret| secret.expose_secret() == same.expose_secret()));
}

#[test]
fn a_client_knows_the_client_credential_that_its_tokens_are_minted_with() {
    let request = ClientTokenRequest::new("XyZ9aB8cD1", Secret::from("rxl_sk_TESTSECRET"), "user-17");
    let minted = offline().client_credential(request).build().unwrap();
    assert!(minted.is_minted_with("XyZ9aB8cD1") && !minted.is_minted_with("XyZ9aB8cD2"));
    let bought = offline().api_key("XyZ9aB8cD1_TESTSECRET").build().unwrap();
    let bearer = offline().bearer_token("XyZ9aB8cD1").build().unwrap();
    assert!(!bought.is_minted_with("XyZ9aB8cD1") && !bearer.is_minted_with("XyZ9aB8cD1"));
}

/// Built without TLS too.
fn offline() -> rixl_credentials::ClientBuilder {
    Client::builder().base_url("http://127.0.0.1:1")
}
