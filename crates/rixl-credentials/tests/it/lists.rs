//! Lists end, whatever the server says of their length.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::TryStreamExt as _;
use httpmock::{HttpMockResponse, MockServer};
use proptest::prelude::*;
use rixl_credentials::{Client, ErrorKind, Outcome};
use serde_json::{Value, json};

use crate::mock::{TOKEN, organization_id};

/// A server of pages: `respond` gets the offset that was asked for.
async fn server(respond: impl Fn(usize) -> Value + Send + Sync + 'static) -> (MockServer, Client, Arc<AtomicUsize>) {
    let server = MockServer::start_async().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    server
        .mock_async(move |_, then| {
            then.respond_with(move |request| {
                counter.fetch_add(1, Ordering::SeqCst);
                let query = request.query_params();
                let offset = query.iter().find(|(name, _)| name.ends_with("offset")).map_or("0", |(_, value)| value);
                let body = respond(offset.parse().unwrap()).to_string();
                HttpMockResponse::builder().status(200).body(body).build()
            });
        })
        .await;
    let client = Client::builder().base_url(server.base_url()).bearer_token(TOKEN).build().unwrap();
    (server, client, calls)
}

fn items(range: std::ops::Range<usize>) -> Vec<Value> {
    range.map(|number| json!({ "id": format!("key{number}") })).collect()
}

/// `count` keys in pages of at most `cap`, with what the server says is their total.
fn page(count: usize, cap: usize, total: &Value, offset: usize) -> Value {
    let end = count.min(offset + cap);
    json!({ "api_keys": items(offset.min(end)..end), "credentials": items(offset.min(end)..end), "total": total })
}

#[tokio::test]
async fn all_pages_are_read_whatever_the_total_says() {
    for (count, cap, total, calls_expected) in [
        (0, 100, json!(0), 1),
        (0, 100, Value::Null, 1),
        (250, 100, json!(250), 3),
        (250, 100, json!("250"), 3),
        (200, 100, json!(200), 2),
        // A full first page may have been counted for the whole.
        (25, 25, json!(25), 2),
        (24, 25, json!(24), 1),
        // Without a total, an empty page ends the list: a short one may just be capped.
        (250, 100, Value::Null, 4),
        (60, 25, Value::Null, 4),
        // A total that is wrong costs one more call, never a key.
        (250, 100, json!(7), 4),
        (250, 100, json!(0), 4),
        (250, 100, json!(-1), 4),
        (250, 100, json!("many"), 4),
    ] {
        let respond = move |offset| page(count, cap, &total, offset);
        let (_server, client, calls) = server(respond).await;
        let keys: Vec<_> = client.first_generation().api_keys().list().try_collect().await.unwrap();
        let ids: Vec<_> = keys.iter().map(|key| key.id.as_str().to_owned()).collect();
        assert_eq!(ids, (0..count).map(|number| format!("key{number}")).collect::<Vec<_>>());
        assert_eq!(calls.load(Ordering::SeqCst), calls_expected);

        let of = client.organization(&organization_id());
        assert_eq!(of.api_keys().list().try_collect::<Vec<_>>().await.unwrap().len(), count);
        let mut credentials = of.client_credentials().list();
        let mut seen = 0;
        while let Some(credential) = credentials.next().await {
            credential.unwrap();
            seen += 1;
        }
        assert_eq!(seen, count);
    }
}

/// A server that counts the page as the whole has more.
#[tokio::test]
async fn a_total_that_counts_the_page_does_not_end_a_list() {
    let respond = |offset| page(60, 25, &json!(60_usize.saturating_sub(offset).min(25)), offset);
    let (_server, client, _) = server(respond).await;
    assert_eq!(client.first_generation().api_keys().list().try_collect::<Vec<_>>().await.unwrap().len(), 60);
}

/// What is missing may be the one key that matters: a short list is never taken as whole.
#[tokio::test]
async fn a_list_that_ends_before_its_total_is_incomplete() {
    let renamed = |_| json!({ "keys": items(0..1), "total": "1" });
    let short = |offset| page(100, 100, &json!(150), offset);
    for (name, respond) in [("short", short as fn(usize) -> Value), ("of another name", renamed)] {
        let (_server, client, _) = server(respond).await;
        let error = client.first_generation().api_keys().list().try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::IncompleteList, Outcome::NotApplied), "{name}");
    }
}

/// An error with a 200, or a gateway's page: an empty list would say that there are no keys.
#[tokio::test]
async fn what_is_no_page_is_no_empty_list() {
    for (body, is_page) in [
        (json!({ "code": 7, "message": "permission denied" }), false),
        (json!({ "code": 7, "message": "permission denied", "details": [] }), false),
        (json!({ "error": "unauthorized" }), false),
        (json!([]), false),
        (json!({}), true),
        (json!({ "total": 0, "next": "" }), true),
        (json!({ "api_keys": null, "credentials": null }), true),
    ] {
        let sent = body.clone();
        let (_server, client, _) = server(move |_| sent.clone()).await;
        let of = client.organization(&organization_id());
        let results = [
            client.first_generation().api_keys().list().try_collect::<Vec<_>>().await.map(drop),
            of.api_keys().list_page(Default::default()).await.map(drop),
            client.first_generation().client_credentials().list().try_collect::<Vec<_>>().await.map(drop),
            of.client_credentials().list_page(Default::default()).await.map(drop),
        ];
        for result in results {
            let kind = result.err().map(|error| (error.kind(), error.outcome()));
            assert_eq!(kind, (!is_page).then_some((ErrorKind::Malformed, Outcome::NotApplied)), "{body}");
        }
    }
}

/// A server that has not caught up is asked once more.
#[tokio::test]
async fn an_empty_page_before_the_end_is_asked_for_again() {
    let asked = AtomicUsize::new(0);
    let respond = move |offset| match offset {
        100 if asked.fetch_add(1, Ordering::SeqCst) == 0 => page(100, 100, &json!(150), offset),
        _ => page(150, 100, &json!(150), offset),
    };
    let (_server, client, _) = server(respond).await;
    assert_eq!(client.first_generation().api_keys().list().try_collect::<Vec<_>>().await.unwrap().len(), 150);
}

/// New ids for ever.
#[tokio::test]
async fn a_list_without_an_end_is_incomplete() {
    let (_server, client, calls) = server(|offset| json!({ "api_keys": items(offset..offset + 1) })).await;
    let error = client.first_generation().api_keys().list().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IncompleteList);
    assert_eq!(calls.load(Ordering::SeqCst), 10_000);
}

/// What is more than was asked for is not lost: it is asked for by its offset.
#[tokio::test]
async fn a_page_has_at_most_what_was_asked_for() {
    let respond = |offset| page(1_000, 1_000, &json!(1_000), offset);
    let (_server, client, calls) = server(respond).await;
    let keys: Vec<_> = client.first_generation().api_keys().list().try_collect().await.unwrap();
    let ids: Vec<_> = keys.iter().map(|key| key.id.as_str().to_owned()).collect();
    assert_eq!(ids, (0..1_000).map(|number| format!("key{number}")).collect::<Vec<_>>());
    assert_eq!(calls.load(Ordering::SeqCst), 10);
    for (limit, expected) in [(None, 100), (Some(7), 7), (Some(100), 100)] {
        let request = || {
            let request = rixl_credentials::PageRequest::default();
            match limit {
                Some(limit) => request.with_limit(limit),
                None => request,
            }
        };
        // Even where the server says that this is all.
        for total in [1_000, expected] {
            let (_server, client, _) = server(move |offset| page(1_000, 1_000, &json!(total), offset)).await;
            let page = client.first_generation().api_keys().list_page(request()).await.unwrap();
            assert_eq!((page.items.len(), page.next), (expected, Some(request().with_offset(expected as u32))));
            assert_eq!(
                client.first_generation().client_credentials().list_page(request()).await.unwrap().items.len(),
                expected
            );
        }
    }
}

/// Not only the page before.
#[tokio::test]
async fn a_server_that_turns_in_a_circle_is_stopped() {
    for circle in [2, 3, 5] {
        let respond = move |offset: usize| page(100 * circle, 100, &Value::Null, offset % (100 * circle));
        let (_server, client, calls) = server(respond).await;
        let mut keys = client.first_generation().api_keys().list();
        for _ in 0..100 * circle {
            keys.next().await.unwrap().unwrap();
        }
        let error = keys.next().await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::RepeatedPage, Outcome::NotApplied));
        assert_eq!(calls.load(Ordering::SeqCst), circle + 1);
    }
}

#[tokio::test]
async fn a_server_that_repeats_a_page_is_stopped() {
    let (_server, client, calls) = server(|_| page(1_000, 25, &json!(1_000), 0)).await;
    let mut keys = client.first_generation().api_keys().list();
    for _ in 0..25 {
        keys.next().await.unwrap().unwrap();
    }
    let error = keys.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::RepeatedPage, Outcome::NotApplied));
    assert!(keys.next().await.is_none());
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn pages_can_be_turned_by_hand() {
    let (_server, client, _) = server(|offset| page(250, 100, &json!(250), offset)).await;
    let mut request = Some(rixl_credentials::PageRequest::default().with_limit(100));
    let mut seen = Vec::new();
    while let Some(next) = request {
        let page = client.first_generation().api_keys().list_page(next).await.unwrap();
        assert_eq!(page.total, Some(250));
        seen.extend(page.items);
        request = page.next;
    }
    assert_eq!(seen.len(), 250);
}

#[tokio::test]
async fn a_key_that_cannot_be_named_fails_its_page() {
    for id in [json!("../x"), Value::Null, json!("")] {
        let (_server, client, _) = server(move |_| json!({ "api_keys": [{ "id": id }] })).await;
        let error = client.first_generation().api_keys().list().next().await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Malformed, Outcome::NotApplied));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_server_says_every_key_is_read_once_and_the_list_ends(
        count in 0_usize..350,
        cap in 1_usize..120,
        total in prop_oneof![Just(Value::Null), (-5_i64..500).prop_map(Value::from), "[0-9]{1,3}".prop_map(Value::from)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let says = total.as_u64().or_else(|| total.as_str()?.parse().ok());
        let (keys, calls) = runtime.block_on(async {
            let (_server, client, calls) = server(move |offset| page(count, cap, &total, offset)).await;
            let keys = client.first_generation().api_keys().list().try_collect::<Vec<_>>().await;
            (keys, calls.load(Ordering::SeqCst))
        });
        if says.is_some_and(|says| says > count as u64) {
            prop_assert_eq!(keys.unwrap_err().kind(), ErrorKind::IncompleteList);
            return Ok(());
        }
        let ids: Vec<_> = keys.unwrap().into_iter().map(|key| key.id.to_string()).collect();
        // A total that happens to be met early ends the list there: the server said that this is all.
        let expected: Vec<_> = (0..ids.len()).map(|number| format!("key{number}")).collect();
        prop_assert_eq!(&ids, &expected);
        let cap = cap.min(100);
        prop_assert!(calls <= count / cap + 2);
        prop_assert!(ids.len() == count || ids.len().is_multiple_of(cap), "{} of {count} keys", ids.len());
    }
}
