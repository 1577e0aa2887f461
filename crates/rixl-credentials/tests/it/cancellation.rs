//! Every call that changes something is dropped at each of its awaits, and its span says what is true then.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use rixl_credentials::{
    AccessToken, ApiKeyUpdate, Client, ClientTokenRequest, EndpointId, Error, NewApiKey, NewClientCredential,
    NewWebhookEndpoint, Operation, PageRequest, RetryPolicy, Secret, Sleep, Timestamp, Timing, TokenFuture,
    TokenRequest, TokenSource, WebhookEndpointUpdate, Webhooks,
};
use serde_json::json;

use crate::{
    mock::{TOKEN, key_id, organization_id},
    raw::{Raw, respond},
    timing::Fake,
    tracing_spans::{Record, Recorder},
};

/// Ready when it is polled for the second time.
struct Once(bool);

impl Future for Once {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A token that takes a moment.
struct Slow;

impl TokenSource for Slow {
    fn token<'a>(&'a self, _: TokenRequest<'a>) -> TokenFuture<'a> {
        Box::pin(async {
            Once(false).await;
            Ok(AccessToken::new(Secret::from(TOKEN)))
        })
    }
}

/// Waits take a moment too.
struct Paused(Fake);

impl Timing for Paused {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        Box::pin(async move {
            Once(false).await;
            self.0.sleep(duration).await;
        })
    }

    fn chance(&self) -> f64 {
        self.0.chance()
    }
}

/// Polls this so many times, and then drops it.
async fn polled<T>(times: usize, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    let mut left = times;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match call.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn webhooks(client: &Client) -> Webhooks {
    client.organization(&organization_id()).webhooks(&"Bq4y3QB38S".parse().unwrap())
}

fn endpoint() -> NewWebhookEndpoint {
    NewWebhookEndpoint::new("https://example.com/hook", ["image.ready"])
}

fn endpoint_id() -> EndpointId {
    "E1ndp0intX".parse().unwrap()
}

type Call = fn(Client) -> BoxFuture<'static, Result<(), Error>>;

/// Every operation that changes something, unparsed too.
fn changes() -> Vec<(Operation, Call)> {
    fn new_key() -> NewApiKey {
        NewApiKey::new("billing").with_project_id("Bq4y3QB38S".parse().unwrap())
    }
    fn mint() -> ClientTokenRequest {
        ClientTokenRequest::new("a", "rxl_sk_TESTSECRET", "b")
    }
    vec![
        (Operation::CreateApiKey, |c| {
            async move { c.first_generation().api_keys().create(new_key()).await.map(drop) }.boxed()
        }),
        (Operation::CreateApiKey, |c| {
            async move { c.first_generation().api_keys().create_raw(new_key()).await.map(drop) }.boxed()
        }),
        (Operation::UpdateApiKey, |c| {
            let update = ApiKeyUpdate::default().with_name("new");
            async move { c.organization(&organization_id()).update_api_key(&key_id(), update).await.map(drop) }.boxed()
        }),
        (Operation::DeleteApiKey, |c| async move { c.first_generation().api_keys().delete(&key_id()).await }.boxed()),
        (Operation::RotateApiKey, |c| {
            async move { c.first_generation().api_keys().rotate(&key_id()).await.map(drop) }.boxed()
        }),
        (Operation::RotateApiKey, |c| {
            async move { c.first_generation().api_keys().rotate_raw(&key_id()).await.map(drop) }.boxed()
        }),
        (Operation::ExchangeApiKey, |c| {
            async move { c.first_generation().tokens().exchange(&"rxl_TESTSECRET".into()).await.map(drop) }.boxed()
        }),
        (Operation::RefreshToken, |c| {
            async move { c.first_generation().tokens().refresh(&"TESTREFRESH".into()).await.map(drop) }.boxed()
        }),
        (Operation::CreateClientCredential, |c| {
            async move { c.first_generation().client_credentials().create(NewClientCredential::new("web")).await.map(drop) }.boxed()
        }),
        (Operation::CreateClientCredential, |c| {
            async move {
                c.first_generation().client_credentials().create_raw(NewClientCredential::new("web")).await.map(drop)
            }
            .boxed()
        }),
        (Operation::RevokeClientCredential, |c| {
            async move { c.first_generation().client_credentials().revoke(&"Z9Y8X7W6V5".parse().unwrap()).await }
                .boxed()
        }),
        (Operation::MintClientToken, |c| {
            async move { c.first_generation().client_credentials().mint(&mint()).await.map(drop) }.boxed()
        }),
        (Operation::CreateWebhookEndpoint, |c| async move { webhooks(&c).create(endpoint()).await.map(drop) }.boxed()),
        (Operation::CreateWebhookEndpoint, |c| {
            async move { webhooks(&c).create_raw(endpoint()).await.map(drop) }.boxed()
        }),
        (Operation::UpdateWebhookEndpoint, |c| {
            let update = WebhookEndpointUpdate::default().with_enabled(false);
            async move { webhooks(&c).update(&endpoint_id(), update).await.map(drop) }.boxed()
        }),
        (Operation::DeleteWebhookEndpoint, |c| async move { webhooks(&c).delete(&endpoint_id()).await }.boxed()),
        (Operation::RotateWebhookSecret, |c| {
            async move { webhooks(&c).rotate_secret(&endpoint_id()).await.map(drop) }.boxed()
        }),
        (Operation::RotateWebhookSecret, |c| {
            async move { webhooks(&c).rotate_secret_raw(&endpoint_id()).await.map(drop) }.boxed()
        }),
        (Operation::TestWebhookEndpoint, |c| {
            async move { webhooks(&c).send_test(&endpoint_id()).await.map(drop) }.boxed()
        }),
    ]
}

/// What the span of the call and that of its last attempt say.
fn said(records: &[Record]) -> (Vec<String>, Option<Vec<String>>) {
    let of = |name: &str| {
        let record = records.iter().rev().find(|record| record.name == name)?;
        let field = |field: &str| record.fields.get(field).cloned().unwrap_or_default();
        Some(vec![field("rixl.outcome"), field("error.type"), field("otel.status_code")])
    };
    (of("rixl.call").unwrap(), of("rixl.attempt"))
}

#[tokio::test]
async fn a_call_that_is_dropped_says_what_is_true_then() {
    let changes = changes();
    for operation in Operation::ALL.iter().filter(|operation| operation.changes_state()) {
        assert!(changes.iter().any(|(known, _)| known == operation), "{operation} is not dropped here");
    }
    let reads: [(Operation, Call); 3] = [
        (Operation::ListApiKeys, |c| {
            async move { c.first_generation().api_keys().list_page(PageRequest::default()).await.map(drop) }.boxed()
        }),
        (Operation::ListClientCredentials, |c| {
            async move { c.first_generation().client_credentials().list_page(PageRequest::default()).await.map(drop) }
                .boxed()
        }),
        (Operation::GetWebhookEndpoint, |c| async move { webhooks(&c).get(&endpoint_id()).await.map(drop) }.boxed()),
    ];
    let body = json!({ "api_key": { "id": "XyZ9aB8cD1", "secret": "rxl_TESTSECRET" }, "client_secret": "TESTSECRET",
        "credential": { "id": "Z9Y8X7W6V5" }, "access_token": "TESTACCESS", "api_keys": [], "credentials": [],
        "endpoint": { "id": "E1ndp0intX" }, "secret": "whsec_TESTSECRET", "event_id": "Ev3ntExmpl" });
    for (operation, call) in changes.into_iter().chain(reads) {
        let mut seen = Vec::new();
        for polls in 1.. {
            assert!(polls < 1_000, "{operation} does not end");
            // Busy the first time, so that there is a wait; and then it does as it is told.
            let is_for_effect = matches!(
                operation,
                Operation::DeleteApiKey | Operation::RevokeClientCredential | Operation::DeleteWebhookEndpoint
            );
            let body = if is_for_effect { "{}".to_owned() } else { body.to_string() };
            let count = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&count);
            let raw = Raw::start(move |stream, _| match counter.fetch_add(1, Ordering::SeqCst) {
                0 => respond(stream, "429 Busy", "", ""),
                _ => respond(stream, "200 OK", "", &body),
            });
            let client = Client::builder().base_url(&raw.url).token_source(Slow);
            let client = client.retry(RetryPolicy::default()).timing(Paused(Fake::with_chance(0.0))).build().unwrap();
            let recorder = Recorder::default();
            let guard = rixl_testing::listen(recorder.clone());
            let result = polled(polls, call(client)).await;
            drop(guard);
            let records: Vec<_> = recorder.take().into_iter().filter(|of| of.target == "rixl_credentials").collect();
            let (of_call, of_attempt) = said(&records);
            if let Some(result) = result {
                result.unwrap();
                assert_eq!(of_call, ["ok", "", ""], "{operation}");
                seen.push("ok".to_owned());
                break;
            }
            assert_eq!(of_call[1..], ["cancelled", "ERROR"], "{operation} after {polls} polls");
            // An attempt that is under way says the same; one that has ended says how.
            let of_attempt = of_attempt.unwrap_or_else(|| vec![String::new(); 3]);
            let is_under_way = of_attempt[1] == "cancelled";
            assert!(!is_under_way || of_attempt == of_call, "{operation} after {polls} polls: {of_attempt:?}");
            assert!(is_under_way || of_call[0] == "not_applied", "{operation} after {polls} polls: {of_attempt:?}");
            seen.push(if is_under_way { format!("{} under way", of_call[0]) } else { of_call[0].clone() });
        }
        seen.dedup();
        let under_way = if operation.changes_state() { "unknown under way" } else { "not_applied under way" };
        let mut expected = vec!["not_applied", under_way, "not_applied", under_way, "ok"];
        // These need no token, and so begin with what they send.
        if matches!(operation, Operation::ExchangeApiKey | Operation::RefreshToken | Operation::MintClientToken) {
            expected.remove(0);
        }
        assert_eq!(seen, expected, "{operation}");
    }
}
