//! The rules of keys and tokens: which of them live, and for how long.

use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use reqwest::Method;
use rixl_sandbox::Sandbox;
use serde_json::json;

use super::{
    GENERATIONS, Generation, create_key, delete, exchange, get, issued, opens, patch, post, refresh, request, rotate,
    send, text,
};

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_key_has_one_live_secret() {
    let sandbox = Sandbox::start().unwrap();
    let mut secrets = Vec::new();
    let key = create_key(&sandbox).await;
    secrets.push(key.secret);
    for _ in 0..3 {
        secrets.push(rotate(&sandbox, &key.id).await.secret);
    }
    let live: Vec<_> = secrets.iter().map(|secret| sandbox.is_live(secret)).collect();
    assert_eq!(live, [false, false, false, true]);
    for (secret, status) in secrets.iter().zip([401, 401, 401, 200]) {
        assert_eq!(exchange(&sandbox, secret).await.status, status);
    }
}

#[tokio::test]
async fn an_old_secret_lives_as_long_as_its_grace() {
    let sandbox = Sandbox::builder().grace(HOUR).start().unwrap();
    let key = create_key(&sandbox).await;
    let second = rotate(&sandbox, &key.id).await.secret;
    exchange(&sandbox, &key.secret).await.ok();
    sandbox.advance(HOUR / 2);
    // A further rotation must not give the first secret a longer life.
    let third = rotate(&sandbox, &key.id).await.secret;
    sandbox.advance(HOUR / 2);
    let live = [&key.secret, &second, &third].map(|secret| sandbox.is_live(secret));
    assert_eq!(live, [false, true, true]);
    exchange(&sandbox, &key.secret).await.refused(401);
    sandbox.advance(HOUR);
    assert_eq!([&second, &third].map(|secret| sandbox.is_live(secret)), [false, true]);
    delete(&sandbox, &format!("/platform/api-keys/{}", key.id)).await.ok();
    assert!(!sandbox.is_live(&third));
}

#[tokio::test]
async fn responses_are_dated_by_the_clock_where_they_are_set_to() {
    for by_its_clock in [false, true] {
        let sandbox = Sandbox::builder().dated(by_its_clock).start().unwrap();
        sandbox.advance(24 * HOUR);
        let response = reqwest::get(sandbox.url()).await.unwrap();
        let date = response.headers()["date"].to_str().unwrap();
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).unwrap();
        let ahead = date.duration_since(Timestamp::now());
        assert_eq!(ahead > jiff::SignedDuration::from_hours(23), by_its_clock, "{ahead:?}");
    }
}

#[tokio::test]
async fn tokens_end_with_their_secret_where_they_are_set_to() {
    for ends in [false, true] {
        let sandbox = Sandbox::builder().tokens_end_with_secret(ends).grace(HOUR / 4).start().unwrap();
        let key = sandbox.create_key("key");
        let buy = async |secret: &str| {
            let pair = exchange(&sandbox, secret).await.ok();
            (text(&pair, "access_token"), text(&pair, "refresh_token"))
        };
        let list = async |token: &str| {
            let request = request(&sandbox, Method::GET, "/platform/api-keys");
            send(request.bearer_auth(token)).await.status
        };
        let (old, old_refresh) = buy(&key.secret).await;
        let new = rotate(&sandbox, &key.id).await.secret;
        assert_eq!(list(&old).await, 200, "in its grace time");
        sandbox.advance(HOUR / 2);
        let refused = if ends { 401 } else { 200 };
        assert_eq!((list(&old).await, refresh(&sandbox, &old_refresh).await.status), (refused, refused));
        let (access, _) = buy(&new).await;
        assert_eq!(list(&access).await, 200);
        delete(&sandbox, &format!("/platform/api-keys/{}", key.id)).await.ok();
        assert_eq!(list(&access).await, refused);
    }
}

#[tokio::test]
async fn a_new_secret_opens_once_it_is_active() {
    let sandbox = Sandbox::builder().activation(HOUR).start().unwrap();
    let seeded = sandbox.create_key("seeded");
    assert!(sandbox.is_live(&seeded.secret));
    let created = create_key(&sandbox).await.secret;
    let rotated = rotate(&sandbox, &seeded.id).await.secret;
    sandbox.advance(HOUR / 2);
    let later = rotate(&sandbox, &seeded.id).await.secret;
    sandbox.advance(HOUR / 2 - SECOND * 30);
    for secret in [&seeded.secret, &created, &rotated, &later] {
        assert!(!sandbox.is_live(secret) && !sandbox.opens(&seeded.id, secret));
        assert_eq!(exchange(&sandbox, secret).await.refused(401)["error"], "invalid_grant");
    }
    sandbox.advance(SECOND * 30);
    exchange(&sandbox, &created).await.ok();
    assert!(!sandbox.is_live(&later));
    sandbox.advance(HOUR / 2);
    exchange(&sandbox, &later).await.ok();
    // The second rotation ended this one before it ever opened.
    assert!(!sandbox.is_live(&rotated));
}

#[tokio::test]
async fn rotations_are_limited_by_the_second() {
    let sandbox = Sandbox::builder().rate_limit(2).start().unwrap();
    let (first, second) = (sandbox.create_key("first"), sandbox.create_key("second"));
    let (mut passed, mut was_refused) = (0, false);
    // A slow computer may need more than a second for the first three.
    for number in 0..50 {
        let key_id = if number % 2 == 0 { &first.id } else { &second.id };
        let reply = post(&sandbox, &format!("/platform/api-keys/{key_id}/rotate"), json!({})).await;
        if reply.status == 200 {
            passed += 1;
            assert!(!reply.headers.contains_key("retry-after"));
            continue;
        }
        assert_eq!(reply.headers["retry-after"], "1");
        assert_eq!(reply.refused(429)["code"], 429);
        was_refused = true;
        break;
    }
    assert!(was_refused && passed >= 2, "{passed}");
    assert_eq!(sandbox.rotations(&first.id) + sandbox.rotations(&second.id), passed);
    // Only rotations are limited.
    get(&sandbox, "/platform/api-keys").await.ok();
    for _ in 0..3 {
        sandbox.advance(SECOND);
        rotate(&sandbox, &first.id).await;
        rotate(&sandbox, &second.id).await;
    }
}

#[tokio::test]
async fn tokens_outlive_a_rotation_but_not_their_time() {
    let sandbox = Sandbox::builder().token_lifetime(HOUR * 2).start().unwrap();
    let key = create_key(&sandbox).await;
    let pair = exchange(&sandbox, &key.secret).await.ok();
    assert_eq!(pair["expires_in"], 7200);
    rotate(&sandbox, &key.id).await;
    let token = text(&pair, "access_token");
    sandbox.advance(HOUR * 2 - SECOND * 30);
    assert!(opens(&sandbox, &token).await);
    sandbox.advance(SECOND * 30);
    assert!(!opens(&sandbox, &token).await);
    assert!(opens(&sandbox, sandbox.bearer_token()).await);
}

#[tokio::test]
async fn a_refresh_replaces_both_tokens_and_works_once() {
    let sandbox = Sandbox::start().unwrap();
    let key = create_key(&sandbox).await;
    let first = exchange(&sandbox, &key.secret).await.ok();
    // It does not expire with its access token.
    sandbox.advance(HOUR * 2);
    let second = refresh(&sandbox, &text(&first, "refresh_token")).await.ok();
    let refused = refresh(&sandbox, &text(&first, "refresh_token")).await.refused(401);
    assert_eq!(refused["error"], "invalid_grant");
    assert!(opens(&sandbox, &text(&second, "access_token")).await);
    let third = refresh(&sandbox, &text(&second, "refresh_token")).await.ok();
    assert!(!opens(&sandbox, &text(&second, "access_token")).await);
    assert!(opens(&sandbox, &text(&third, "access_token")).await);
    // An access token is no refresh token, and a refresh token no access token.
    refresh(&sandbox, &text(&third, "access_token")).await.refused(401);
    assert!(!opens(&sandbox, &text(&third, "refresh_token")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_refreshes_at_the_same_time_one_wins() {
    let sandbox = Sandbox::start().unwrap();
    let key = create_key(&sandbox).await;
    let token = text(&exchange(&sandbox, &key.secret).await.ok(), "refresh_token");
    let refreshes: Vec<_> = (0..8)
        .map(|_| {
            let body = json!({ "refresh_token": token });
            tokio::spawn(send(request(&sandbox, Method::POST, "/platform/auth/refresh").json(&body)))
        })
        .collect();
    let mut won = 0;
    for refresh in refreshes {
        won += u32::from(refresh.await.unwrap().status == 200);
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn refresh_ends_with_the_key() {
    let sandbox = Sandbox::start().unwrap();
    let key = create_key(&sandbox).await;
    let pair = exchange(&sandbox, &key.secret).await.ok();
    delete(&sandbox, &format!("/platform/api-keys/{}", key.id)).await.ok();
    refresh(&sandbox, &text(&pair, "refresh_token")).await.refused(401);
}

#[tokio::test]
async fn an_expired_key_buys_nothing_until_it_is_given_more_time() {
    let sandbox = Sandbox::start().unwrap();
    let keys = Generation::Second.keys(&sandbox);
    let body = json!({ "expiring_at": Timestamp::now() + 1.hour() });
    let key = issued(&post(&sandbox, &keys, body).await.ok());
    assert!(sandbox.is_live(&key.secret));
    sandbox.advance(HOUR);
    assert!(!sandbox.is_live(&key.secret));
    assert_eq!(exchange(&sandbox, &key.secret).await.refused(401)["error"], "invalid_grant");
    let body = json!({ "expiring_at": Timestamp::now() + 2.hours() });
    patch(&sandbox, &format!("{keys}/{}", key.id), body).await.ok();
    exchange(&sandbox, &key.secret).await.ok();
}

#[tokio::test]
async fn expiring_at_is_rfc_3339() {
    let sandbox = Sandbox::start().unwrap();
    for generation in GENERATIONS {
        for (text, status) in [
            ("2126-01-15T10:30:00Z", 200),
            ("2126-01-15t10:30:00.123456789z", 200),
            ("2126-01-15T10:30:00-00:00", 200),
            ("2126-01-15T10:30:00.5+05:30", 200),
            ("2016-01-15T10:30:00Z", 200),
            ("2126-01-15", 400),
            ("2126-01-15T10:30Z", 400),
            ("2126-01-15 10:30:00Z", 400),
            ("2126-01-15T10:30:00", 400),
            ("2126-01-15T10:30:00+0530", 400),
            ("2126-01-15T10:30:00.Z", 400),
            ("2126-01-15T10:30:00Z[UTC]", 400),
            ("2126-13-15T10:30:00Z", 400),
            ("+002126-01-15T10:30:00Z", 400),
            ("", 400),
        ] {
            let body = json!({ "name": "a", "project_id": "b", "expiring_at": text });
            let reply = post(&sandbox, &generation.keys(&sandbox), body).await;
            assert_eq!(reply.status, status, "{text}");
        }
    }
    // A key may be expired from the start.
    let body = json!({ "expiring_at": "2016-01-15T10:30:00Z" });
    let created = post(&sandbox, &Generation::Second.keys(&sandbox), body).await.ok();
    assert!(!sandbox.is_live(created["api_key"]["secret"].as_str().unwrap()));
}

#[tokio::test]
async fn the_clock_stops_at_the_end_of_time() {
    let sandbox = Sandbox::builder().token_lifetime(Duration::MAX).grace(Duration::MAX).start().unwrap();
    let key = create_key(&sandbox).await;
    sandbox.advance(Duration::MAX);
    sandbox.advance(Duration::MAX);
    rotate(&sandbox, &key.id).await;
    assert_eq!(get(&sandbox, "/platform/api-keys").await.ok()["total"], 1);
}

#[tokio::test]
async fn key_strings_are_checked_before_they_are_looked_up() {
    let sandbox = Sandbox::start().unwrap();
    for (text, status, error) in [
        ("rxl_unknown", 401, "invalid_grant"),
        ("a_b_c__", 401, "invalid_grant"),
        ("rxl", 400, "invalid_request"),
        ("rxl_", 400, "invalid_request"),
        ("rxl__a", 400, "invalid_request"),
        ("_a", 400, "invalid_request"),
        ("rxl_a\n", 400, "invalid_request"),
        ("", 400, "invalid_request"),
    ] {
        assert_eq!(exchange(&sandbox, text).await.refused(status)["error"], error, "{text:?}");
    }
}

#[tokio::test]
async fn names_have_1_to_64_characters_whatever_their_bytes() {
    let sandbox = Sandbox::start().unwrap();
    for generation in GENERATIONS {
        for (name, status) in [("é".repeat(64), 200), ("é".repeat(65), 400), (String::new(), 400)] {
            let body = json!({ "name": name, "project_id": "anyProject1" });
            assert_eq!(post(&sandbox, &generation.keys(&sandbox), body.clone()).await.status, status);
            assert_eq!(post(&sandbox, generation.credentials(), body).await.status, status);
        }
    }
}

#[tokio::test]
async fn lists_come_in_pages_in_the_order_of_creation() {
    for generation in GENERATIONS {
        let sandbox = Sandbox::start().unwrap();
        let mut ids = Vec::new();
        for _ in 0..27 {
            ids.push(json!(create_key(&sandbox).await.id));
        }
        let keys = generation.keys(&sandbox);
        let page = |query: String| {
            let path = format!("{keys}{query}");
            let sandbox = &sandbox;
            async move {
                let page = get(sandbox, &path).await.ok();
                assert_eq!(page["total"], 27);
                page["api_keys"].as_array().unwrap().iter().map(|key| key["id"].clone()).collect::<Vec<_>>()
            }
        };
        assert_eq!(page(String::new()).await, ids[..25]);
        assert_eq!(page(generation.page("100", "0")).await, ids);
        assert_eq!(page(generation.page("1", "26")).await, ids[26..]);
        assert_eq!(page(generation.page("10", "20")).await, ids[20..]);
        assert!(page(generation.page("1", "27")).await.is_empty());
        assert!(page(generation.page("1", "2147483647")).await.is_empty());
        // The other generation's names mean nothing here.
        let other = GENERATIONS[usize::from(generation == Generation::First)];
        assert_eq!(page(other.page("1", "5")).await, ids[..25]);
    }
}

#[tokio::test]
async fn pages_out_of_bounds_are_refused() {
    let sandbox = Sandbox::start().unwrap();
    for generation in GENERATIONS {
        for path in [generation.keys(&sandbox), generation.credentials().to_owned()] {
            for (limit, offset) in [
                ("0", "0"),
                ("101", "0"),
                ("-1", "0"),
                ("", "0"),
                ("ten", "0"),
                ("1.0", "0"),
                ("%2B1", "0"),
                ("1", "-1"),
                ("1", "2147483648"),
                ("1", "%00"),
                ("1", "0&limit=1&pagination.limit=1"),
            ] {
                get(&sandbox, &format!("{path}{}", generation.page(limit, offset))).await.refused(400);
            }
        }
    }
}

#[tokio::test]
async fn another_organization_is_not_found() {
    let sandbox = Sandbox::start().unwrap();
    let id = sandbox.organization_id();
    let credentials = Generation::Second.credentials();
    for (org_id, status) in [(id, 200), ("OR98234j23", 404), ("not%20base62", 400), ("", 400)] {
        assert_eq!(get(&sandbox, &format!("{credentials}?org_id={org_id}")).await.status, status, "{org_id}");
    }
    for (org_id, status) in [(json!(id), 200), (json!(null), 400), (json!("OR98234j23"), 404), (json!("not it"), 400)] {
        let body = json!({ "name": "Server", "org_id": org_id });
        assert_eq!(post(&sandbox, credentials, body).await.status, status, "{org_id}");
    }
    get(&sandbox, "/organizations/OR98234j23/api-keys/v1").await.refused(404);
    get(&sandbox, "/organizations/not-base62/api-keys/v1").await.refused(400);
    post(&sandbox, "/organizations/OR98234j23/api-keys/v1/XyZ9aB8cD1/rotate", json!({})).await.refused(404);
    // Who has no token learns nothing about the organization.
    send(request(&sandbox, Method::GET, "/organizations/OR98234j23/api-keys/v1")).await.refused(401);
}
